"""The offline site in Chromium from file://: figures drawn by the right plotly.js, no request, a clean console, both themes."""

import json
import re

import plotly
import pytest

from lab.report import site
from lab.report.runs import sweeps
from lab.report.runs.batch import Batch
from lab.report.runs.run import execute, plan
from lab.report.site import export
from lab.report.store.layout import Store

pytestmark = pytest.mark.browser

CELLS = [
    ("markdown", "# Waves\n\nWhere do waves of frequency $f$ cancel?"),
    ("parameters", "n: int = 50  # 2..500\nrate: float = 1.0"),
    ("markdown", "## Mathematics\n\n$$\\int_0^1 \\sin(2\\pi f t)\\,dt = \\frac{1 - \\cos 2\\pi f}{2\\pi f}$$"),
    (
        "code",
        "import numpy as np, lab\nimport plotly.graph_objects as go\nfrom widgets.figures import figure\nt = np.linspace(0, 9, n)\n"
        "figure(go.Scatter(x=t, y=np.sin(rate * t), line_color='#000000'), title='A wave', x='time (s)', y='height (m)')",
    ),
    ("code", "figure(go.Heatmap(z=np.outer(t, t)), title='A square', x='x (mm)', y='y (mm)')"),
    ("code", "figure(go.Scatter3d(x=t, y=t, z=t), title='A line')"),
    ("code", "lab.report.record('energy', float((np.sin(rate * t) ** 2).mean()), unit='J')"),
]


def write(path):
    cells = []
    for number, (kind, source) in enumerate(CELLS):
        cell = {
            "cell_type": "markdown" if kind == "markdown" else "code",
            "id": str(number),
            "metadata": {},
            "source": source,
        }
        if kind != "markdown":
            cell |= {"outputs": [], "execution_count": None}
        if kind == "parameters":
            cell["metadata"]["tags"] = ["parameters"]
        cells.append(cell)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.write_text(
        json.dumps({"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})
    )
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A site with one study and one sweep: ``(index, run, sweep page)``."""
    folder = tmp_path_factory.mktemp("site")
    store, path = Store(folder / "data"), write(folder / "waves.ipynb")
    run = execute(plan(path), store=store)
    assert run.ok, run.error
    sweep = sweeps.from_mapping({"notebook": str(path), "grid": {"rate": [1.0, 2.0], "n": [20, 40]}})
    plans = sweep.plans()
    Batch(plans, store=store).run(jobs=2)
    sweeps.remember(sweep, plans, store)
    page = site.render_sweep(sweep.id, store=store)
    return site.render(runs=[run], store=store), run, page


class Look:
    """A tab on a page of the site that writes down every request and everything the console says."""

    def __init__(self, browser, path, **options):
        self.requests, self.said = [], []
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        # Chromium's own advice on speed to plotly.js is left out
        advice = re.compile("WebGL|willReadFrequently")
        self.page.on(
            "console",
            lambda message: (
                message.type in ("error", "warning")
                and not advice.search(message.text)
                and self.said.append(message.text)
            ),
        )
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.goto(f"file://{path}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def clean(self):
        assert not self.said, self.said
        assert all(url.startswith(("file:", "data:", "blob:")) for url in self.requests), self.requests


DRAWN = "() => [...document.querySelectorAll('figure.plot .canvas')].map(c => (c._fullData || []).map(t => t.type))"


def test_every_figure_is_drawn_by_the_installed_plotly(chromium, built):
    index, run, _ = built
    version = re.search(
        r"plotly\.js v([\d.]+)", (index.parent / "assets" / "plotly.min.js").read_text(encoding="utf-8")[:400]
    )[1]
    with Look(chromium, index.parent / "runs" / f"{run.id}.html") as look:
        look.page.wait_for_function("() => window.Plotly && window.labDrawAll")
        look.page.evaluate("() => labDrawAll()")
        look.page.wait_for_function("() => [...document.querySelectorAll('figure.plot')].every(f => f.dataset.drawn)")
        assert look.page.evaluate(DRAWN) == [["scatter"], ["heatmap"], ["scatter3d"]]
        assert look.page.evaluate("() => Plotly.version") == version
        y = look.page.evaluate("() => [...document.querySelector('figure.plot .canvas')._fullData[0].y]")
        stored = json.loads(run.figures()[0].read_text())["data"][0]["y"]
        from lab.report.site.thumbnail import values

        assert y == pytest.approx(values(stored).tolist())
        # formulas are drawn by the browser itself: a fraction is higher than a line of text
        assert look.page.locator("math mfrac").count() == 1
        assert look.page.locator("math mfrac").bounding_box()["height"] > 25
        look.clean()


def test_the_theme_changes_page_and_figures_and_is_kept(chromium, built):
    index, run, _ = built
    path = index.parent / "runs" / f"{run.id}.html"
    colour = "() => document.querySelector('figure.plot .canvas')._fullData[0].line.color"
    with Look(chromium, path, color_scheme="light") as look:
        look.page.wait_for_function("() => document.querySelector('figure.plot').dataset.drawn === 'light'")
        assert look.page.evaluate(colour) == "#000000"
        look.page.click("#theme")
        look.page.wait_for_function("() => document.querySelector('figure.plot').dataset.drawn === 'dark'")
        assert look.page.evaluate(colour) == "#e8e8e8"
        # the browser hands what a file's page stores to another process in its own time
        for _ in range(20):
            look.page.wait_for_timeout(500)
            look.page.reload()
            kept = look.page.evaluate("() => document.documentElement.dataset.theme")
            if kept == "dark":
                break
        assert kept == "dark"
        look.clean()


def test_cards_lead_to_pages_and_the_filter_hides(chromium, built):
    index, run, _ = built
    with Look(chromium, index) as look:
        assert look.page.locator("a.card:visible").count() == 1
        assert look.page.locator("a.card svg path").count() >= 1
        look.page.fill("input[type=search]", "nothing like it")
        assert look.page.locator("a.card:visible").count() == 0
        look.page.fill("input[type=search]", "waves")
        look.page.click("a.card")
        look.page.wait_for_selector("text=Provenance")
        assert look.page.locator("h1").text_content() == "Waves"
        look.clean()


def test_the_ledger_is_filtered_by_status(chromium, built):
    with Look(chromium, built[0].parent / "claims.html") as look:
        rows = look.page.locator("tr[data-words]:visible")
        everything = rows.count()
        look.page.click(".chip[data-value='not testable here']")
        assert 0 < rows.count() < everything
        assert {row.get_attribute("data-status") for row in rows.all()} == {"not testable here"}
        look.clean()


def test_a_sweep_is_compared(chromium, built):
    with Look(chromium, built[2]) as look:
        look.page.wait_for_function("() => window.Plotly && window.labDrawAll")
        look.page.evaluate("() => labDrawAll()")
        look.page.wait_for_function("() => [...document.querySelectorAll('figure.plot')].every(f => f.dataset.drawn)")
        assert sorted({kind for kinds in look.page.evaluate(DRAWN) for kind in kinds}) == ["parcoords", "scatter"]
        look.page.select_option("#diff select >> nth=1", index=3)
        differing = look.page.locator("#diff tr.differs td:first-child").all_text_contents()
        assert {"rate", "n", "energy"} <= set(differing)
        look.page.click("table.sortable th:has-text('energy')")
        values = [
            float(text) for text in look.page.locator("table.sortable tbody tr td:nth-child(4)").all_text_contents()
        ]
        assert values == sorted(values)
        look.clean()


def test_the_runs_table_pages_through_its_data(chromium, built):
    index, run, _ = built
    with Look(chromium, index.parent / "runs.html") as look:
        assert look.page.locator("#run-table tbody tr").count() == 5
        look.page.fill("input[type=search]", "rate=2")
        assert look.page.locator("#run-table tbody tr").count() == 2
        look.clean()


def test_pages_have_labelled_controls_and_enough_contrast(chromium, built):
    from axe_playwright_python.sync_playwright import Axe

    index, run, sweep = built
    for scheme in ("light", "dark"):
        for path in (
            index,
            index.parent / "claims.html",
            index.parent / "runs.html",
            index.parent / "runs" / f"{run.id}.html",
            sweep,
        ):
            with Look(chromium, path, color_scheme=scheme) as look:
                found = Axe().run(look.page, context={"exclude": [[".canvas"]]}).response["violations"]
                serious = [
                    (item["id"], [node["html"][:120] for node in item["nodes"][:2]])
                    for item in found
                    if item["impact"] in ("serious", "critical")
                ]
                assert not serious, (path.name, scheme, serious)


def test_paper_is_light_and_the_screen_is_as_before(chromium, built):
    index, run, _ = built
    text = "() => getComputedStyle(document.querySelector('h1')).color"
    drawn = "() => [...document.querySelectorAll('figure.plot')].map(f => f.dataset.drawn)"
    with Look(chromium, index.parent / "runs" / f"{run.id}.html", color_scheme="dark") as look:
        look.page.wait_for_function("() => window.Plotly && window.labDrawAll")
        look.page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
        look.page.emulate_media(media="print")
        assert look.page.evaluate(drawn) == ["light"] * 3
        assert look.page.evaluate(text) == "rgb(29, 33, 41)"
        look.page.emulate_media(media="screen")
        look.page.evaluate("() => dispatchEvent(new Event('afterprint'))")
        assert look.page.evaluate(drawn) == ["dark"] * 3
        assert look.page.evaluate(text) == "rgb(230, 232, 236)"
        look.clean()


def test_a_report_becomes_pdf_and_png(built, tmp_path):
    from PIL import Image

    index, run, _ = built
    page = index.parent / "runs" / f"{run.id}.html"
    printed = export.to_pdf(page, tmp_path / "new folder" / "report.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert re.search(rb"/MediaBox \[0 0 59[45][.\d]* 84[12]", printed), "not A4"
    assert 1 <= len(re.findall(rb"/Type /Page\b", printed)) <= 4
    whole = Image.open(export.to_png(page, tmp_path / "report.png"))
    assert whole.width == export.WIDTH
    assert whole.height > 1500
    paths = export.to_figures(page, tmp_path / "figures")
    assert [path.name for path in paths] == ["figure-1.png", "figure-2.png", "figure-3.png"]
    for path in paths:
        picture = Image.open(path).convert("RGB")
        assert picture.width > 1500
        colours = picture.getcolors(10**6)
        assert 20 < len(colours)
        assert max(colours)[1] == (255, 255, 255) or path.name == "figure-2.png"


def test_the_installed_plotly_is_the_one_that_is_shipped(built):
    assert f"{plotly.__version__.split('.')[0]}." in plotly.__version__
    shipped = built[0].parent / "assets" / "plotly.min.js"
    assert shipped.stat().st_size == site.frame.plotly_script().stat().st_size
