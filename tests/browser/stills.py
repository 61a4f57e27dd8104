"""Draw the still of every page: ``python -m tests.browser.stills [PAGE ...]`` writes ``widgets/assets/stills``.

A still is what the page's ``draw`` returns at its defaults, drawn by the plotly.js of the dashboards in Chromium, in the widths
that the figures have in a window of 1400 and of 390 pixels.
"""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import time

import panel as pn
import PIL.Image
from playwright.sync_api import sync_playwright

from lab.report.site.thumbnail import drawing
from tests.browser.conftest import FLAGS, executable
from widgets import pages
from widgets.pages import _first, _stills
from widgets.pages._anatomy import Numbers, Plot
from widgets.pages._frame import PLOTLY
from widgets.pages._static import _rows

MOST = 2  # pictures of a page
IMAGE = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")
DRAW = """async ([figure, width, height]) => {
  const found = await Plotly.toImage({data: figure.data, layout: {...figure.layout, autosize: false}, config: {}},
    {format: "svg", width, height});
  return decodeURIComponent(found.slice("data:image/svg+xml,".length));
}"""


def main() -> None:
    chosen = sys.argv[1:] or pages.names()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        tab = browser.new_page()
        tab.add_script_tag(path=PLOTLY / "plotly.min.js")
        for name in chosen:
            began = time.process_time()
            still = drawn(name, tab)
            if still is None:
                print(f"{name}: measures time, no still")
                continue
            path = still.save(name)
            print(f"{name}: {path.stat().st_size / 1024:.0f} kB, {time.process_time() - began:.1f} s", flush=True)
        browser.close()


def drawn(name: str, tab) -> _stills.Still | None:
    """The still of a page."""
    module = sys.modules[pages.find(name).build.__module__]
    if not getattr(module, "STILL", True):
        return None
    view = module.build({})
    plots = [pane for pane in view.select(Plot) if pane.object is not None]
    pictures = [
        {size: picture(pane, width, f"{name}{i}{size}", tab) for size, (pane, width) in sizes.items()}
        for i, sizes in enumerate(places(view)[:MOST])
    ]
    return _stills.Still(
        pictures=pictures,
        titles=[pane.object.layout.title.text or "" for pane in plots],
        tables=[_rows(pane.frame) for pane in view.select(Numbers)],
        prints=[_stills.fingerprint(pane.object) for pane in plots],
        thumbnail=IMAGE.sub(smaller, next(filter(None, (drawing(pane.object.to_plotly_json()) for pane in plots)), "")),
    )


def places(view: pn.viewable.Viewable) -> list[dict]:
    """Of every figure the pane and its width in a wide and in a narrow window."""
    main = next(item for item in view.select(pn.Column) if "lab-main" in item.css_classes)
    both = {size: _first.widths(main, width, size == "phone") for size, width in _stills.SIZES.items()}
    return [dict(zip(both, pair)) for pair in zip(*both.values())]


def picture(pane: Plot, width: float, mark: str, tab) -> str:
    """A figure as SVG that follows the theme of the page around it."""
    size = [round(width), pane.height or 420]
    svg = tab.evaluate(DRAW, [json.loads(pane.object.to_json()), *size])
    svg = re.sub(r' (?:d|transform|x|y|width|height)="[^"]*"', rounded, svg)
    svg = re.sub(r'(width|height)="\d+" (style="[^"]*" )?(?=[^>]*viewBox)', r"\2", svg, count=2)
    svg = IMAGE.sub(smaller, svg)
    for number, uid in enumerate(dict.fromkeys(re.findall(r'id="[a-z]+-?([0-9a-f]{6})', svg))):
        svg = svg.replace(uid, f"{mark}{number}")
    return _stills.themed(svg)


def rounded(found: re.Match) -> str:
    """Places in hundredths of a pixel."""
    return re.sub(r"(\d\.\d\d)\d+", r"\1", found.group(0))


def smaller(found: re.Match) -> str:
    """An image within a picture as WebP where that is smaller."""
    if len(found.group(1)) < 4000:
        return found.group(0)
    image = PIL.Image.open(io.BytesIO(base64.b64decode(found.group(1))))
    packed = io.BytesIO()
    image.save(packed, "webp", quality=82, method=6)
    text = base64.b64encode(packed.getvalue()).decode()
    return f"data:image/webp;base64,{text}" if len(text) < len(found.group(1)) else found.group(0)


if __name__ == "__main__":
    main()
