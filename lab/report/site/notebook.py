"""An executed notebook as HTML: prose, folded code, outputs, and its plotly figures as divisions with inlined data."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lab.report.site import sanitize
from lab.report.site.mathematics import extract, restore

PLOTLY = "application/vnd.plotly.v1+json"
HIDDEN_TAGS = {"parameters", "injected-parameters", "remove-cell", "papermill-error-cell-tag"}
_PICTURE_BYTES = 4 * 2**20


@dataclass
class Body:
    """The HTML of a notebook's cells, its headings ``(level, anchor, text)`` and how many figures it holds."""

    html: str = ""
    headings: list[tuple[int, str, str]] = field(default_factory=list)
    figures: int = 0


def body(content: dict[str, Any], *, folder: Path | None = None, caption: str = "") -> Body:
    """Render the cells of a notebook; ``folder`` is where its markdown looks for images, ``caption`` stands under figures."""
    found = Body()
    parts = []
    first = True
    for number, cell in enumerate(content["cells"], 1):
        source = "".join(cell["source"])
        if not source.strip() or HIDDEN_TAGS & set(cell.get("metadata", {}).get("tags", [])):
            continue
        if cell["cell_type"] == "markdown":
            if first:
                source = _without_title(source)
                first = False
            parts.append(f'<section class="prose">{_markdown(source, cell, folder, found)}</section>')
        elif cell["cell_type"] == "code":
            parts.append(_code(number, source, cell, found, caption))
    found.html = "\n".join(parts)
    return found


def text_as_html(text: str) -> str:
    """Markdown of one line, such as a question, with its formulas."""
    marked, formulas = extract(text)
    return restore(sanitize.phrase(_parser().renderInline(marked)), formulas)


def _markdown(source, cell, folder, found):
    marked, formulas = extract(source)
    tokens = _parser().parse(marked)
    for position, token in enumerate(tokens):
        if token.type == "heading_open":
            text = re.sub(r"\x02\d+\x03", "", tokens[position + 1].content).strip("# *`")
            words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or f"section-{len(found.headings)}"
            anchor = sanitize.PREFIX + words
            if anchor in {known for _, known, _ in found.headings}:
                anchor += f"-{len(found.headings)}"
            token.attrSet("id", anchor)
            found.headings.append((int(token.tag[1]), anchor, text))
        for child in token.children or ():
            if child.type == "image":
                _inline(child, cell, folder)
    html = _parser().renderer.render(tokens, _parser().options, {})
    return restore(sanitize.clean(html), formulas)


def _code(number, source, cell, found, caption):
    outputs = "".join(filter(None, (_output(number, output, found, caption) for output in cell.get("outputs", []))))
    failed = any(output["output_type"] == "error" for output in cell.get("outputs", []))
    fold = f'<details class="code"{" open" if failed else ""}><summary>Code</summary>{_highlight(source)}</details>'
    return f'<section class="cell" id="cell-{number}">{fold}{outputs}</section>'


def _output(number, output, found, caption):
    kind = output["output_type"]
    if kind == "stream":
        text = "".join(output["text"]).rstrip()
        name = "stderr" if output.get("name") == "stderr" else "stdout"
        return f'<pre class="stream {name}">{_ansi(_last_of_lines(text))}</pre>' if text else ""
    if kind == "error":
        trace = "\n".join(output["traceback"]) or f"{output['ename']}: {output['evalue']}"
        return f'<pre class="stream error">{_ansi(trace)}</pre>'
    data = output.get("data", {})
    if PLOTLY in data:
        found.figures += 1
        return figure(data[PLOTLY], f"figure-{number}-{found.figures}", caption)
    if "text/html" in data:
        html = sanitize.clean("".join(data["text/html"]))
        if html.strip():
            return f'<div class="output html">{html}</div>'
    for kind in ("image/svg+xml", "image/png", "image/jpeg"):
        if kind in data:
            content = "".join(data[kind])
            if kind == "image/svg+xml":
                content = base64.b64encode(content.encode("utf-8", "replace")).decode()
            address = sanitize.picture(kind, content)
            if not address:
                return f'<p class="small">The {kind} of cell {number} is not a base64 image and is not shown.</p>'
            return f'<div class="output"><img alt="output of cell {number}" src="{address}"></div>'
    if "text/markdown" in data:
        marked, formulas = extract("".join(data["text/markdown"]))
        return f'<div class="output prose">{restore(sanitize.clean(_parser().render(marked)), formulas)}</div>'
    if "text/latex" in data:
        marked, formulas = extract("".join(data["text/latex"]))
        return f'<div class="output">{restore(escape(marked), formulas)}</div>'
    if "text/plain" in data and not any("widget" in name for name in data):
        return f'<pre class="stream result">{_ansi("".join(data["text/plain"]))}</pre>'
    return ""


def figure(plot: dict[str, Any], name: str, caption: str = "") -> str:
    """One plotly figure: a division that the page's script fills, and its data beside it."""
    layout = plot.get("layout")
    layout = layout if isinstance(layout, dict) else {}
    height, title = layout.get("height"), layout.get("title", {})
    label = re.sub(r"<[^>]+>", " ", str(title.get("text") if isinstance(title, dict) else title) or "figure")
    size = f"{int(height)}px" if isinstance(height, (int, float)) and 0 < height < 1e5 else "420px"
    return (
        f'<figure class="plot" id="{name}"><div class="canvas" role="img" aria-label="{escape(label, quote=True)}" '
        f'style="height:{size}"></div>'
        f"{data_script({'data': plot.get('data', []), 'layout': layout, 'config': plot.get('config', {})})}"
        f"<figcaption>{caption}</figcaption></figure>"
    )


def data_script(data: Any, name: str = "") -> str:
    """Data for the page's script as JSON, in which no character begins a tag or an entity; ``name`` is its id."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e")
    place = f' id="{name}"' if name else ""
    return f'<script type="application/json"{place}>{text}</script>'


def _without_title(source):
    """The title and the question stand in the head of the page already."""
    lines = source.strip().splitlines()
    if lines and lines[0].startswith("# "):
        rest = "\n".join(lines[1:]).strip().split("\n\n", 1)
        return rest[1] if len(rest) > 1 else ""
    return source


def _parser():
    global _shared
    if _shared is None:
        from markdown_it import MarkdownIt

        _shared = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return _shared


_shared = None


def _inline(image, cell, folder):
    """Give an image its content; what is no picture from below the notebook's folder becomes words."""
    source = str(image.attrGet("src") or "")
    if source.startswith("data:"):
        return
    if source.startswith("attachment:"):
        attached = cell.get("attachments", {}).get(unquote(source.removeprefix("attachment:")), {})
        address = next((sanitize.picture(kind, "".join(content)) for kind, content in attached.items()), "")
    else:
        address = _picture_of_file(source, folder)
    if address:
        image.attrSet("src", address)
    else:
        image.type, image.tag = "text", ""
        shown = f"{image.content}: {source}" if image.content else source
        image.content = f"[not shown, a report holds pictures from below the notebook's folder only: {shown}]"


def _picture_of_file(source, folder):
    """The picture at ``source`` below ``folder``, links followed before it is compared, or an empty string."""
    place = unquote(source)
    if folder is None or "://" in place or "\0" in place:
        return ""
    path, root = (folder / place).resolve(), folder.resolve()
    kind = sanitize.IMAGES.get(path.suffix.lower())
    if kind is None or not path.is_relative_to(root) or not path.is_file() or path.stat().st_size >= _PICTURE_BYTES:
        return ""
    return sanitize.picture(f"image/{kind}", base64.b64encode(path.read_bytes()).decode())


def _highlight(source):
    from pygments import highlight
    from pygments.formatters.html import HtmlFormatter
    from pygments.lexers.python import PythonLexer

    return highlight(source, PythonLexer(), HtmlFormatter(cssclass="source"))


def _last_of_lines(text):
    """What a terminal shows of a line that was written over with carriage returns (progress bars)."""
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))


_ANSI = {
    "30": "black",
    "31": "red",
    "32": "green",
    "33": "yellow",
    "34": "blue",
    "35": "magenta",
    "36": "cyan",
    "37": "white",
}


def _ansi(text):
    """Terminal colours as spans."""
    parts, open_spans = [], 0
    for piece in re.split(r"(\x1b\[[0-9;]*[A-Za-z])", text):
        if not piece.startswith("\x1b["):
            parts.append(escape(piece))
            continue
        if not piece.endswith("m"):
            continue
        parts.append("</span>" * open_spans)
        open_spans = 0
        codes = piece[2:-1].split(";")
        names = [
            f"ansi-{_ANSI[code]}"
            for code in (code[-2:].replace("9", "3", 1) if code[:1] == "9" else code for code in codes)
            if code in _ANSI
        ]
        names += ["ansi-bold"] if "1" in codes or "01" in codes else []
        if names:
            parts.append(f'<span class="{" ".join(names)}">')
            open_spans = 1
    return "".join(parts) + "</span>" * open_spans
