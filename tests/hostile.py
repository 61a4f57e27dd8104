"""What a stranger may put into a notebook to run a script in the reader's browser: every vector calls ``alarm()``."""

import base64
import json
from pathlib import Path

_SVG = '<svg xmlns="http://www.w3.org/2000/svg" onload="alarm()"><script>alarm()</script></svg>'
_CODED = base64.b64encode(_SVG.encode()).decode()

HTML = [
    "<script>alarm()</script>",
    "<SCRIPT SRC=data:text/javascript,alarm()></SCRIPT>",
    "<scr<base>ipt>alarm()</scr</base>ipt>",
    "<scr<script>ipt>alarm()</scr</script>ipt>",
    "<svg/onload=alarm()>",
    "<svg onload=alarm()><a xlink:href=javascript:alarm()><text y=20>x</text></a></svg>",
    "<svg><script>alarm()</script></svg>",
    "<svg><foreignObject><iframe srcdoc='<script>parent.alarm()</script>'></iframe></foreignObject></svg>",
    "<svg><foreignObject><img src=x onerror=alarm()></foreignObject></svg>",
    "<svg><animate onbegin=alarm() attributeName=x dur=1s></svg>",
    "<svg><style><img src=x onerror=alarm()></style></svg>",
    "<svg><use href='data:image/svg+xml;base64," + _CODED + "#x'/></svg>",
    "<img src=x onerror=alarm()>",
    "<img/src='x'/onerror='alarm()'>",
    '<img src="x"onerror="alarm()">',
    "<img src='data:image/png;base64,AA\" onerror=\"alarm()'>",
    "<image href=x onerror=alarm()>",
    "<details open ontoggle=alarm()><summary>x</summary></details>",
    "<video><source onerror=alarm()></video><audio src=x onerror=alarm()></audio>",
    "<body onload=alarm()><input autofocus onfocus=alarm()><select autofocus onfocus=alarm()>",
    "<p style='animation:x 1s' onanimationstart=alarm()>x</p><style>@keyframes x{}</style>",
    "<marquee onstart=alarm()>x</marquee><object data='data:text/html,<script>parent.alarm()</script>'></object>",
    "<iframe srcdoc='<script>parent.alarm()</script>'></iframe>",
    "<iframe src='javascript:parent.alarm()'></iframe><embed src='data:text/html,<script>alarm()</script>'>",
    "<a href='java&#115;cript:alarm()' class=click>x</a>",
    "<a href=' jav&#9;ascript:alarm()' class=click>x</a>",
    "<a href='&#1;javascript:alarm()' class=click>x</a>",
    "<a href='javascript&colon;alarm()' class=click>x</a>",
    "<a href='data:text/html,<script>opener.alarm()</script>' class=click>x</a>",
    "<a href='vbscript:alarm()' class=click>x</a>",
    f"<a href='{Path.cwd()}/javascript:alarm()' class=click>x</a>",
    "<form action='javascript:alarm()'><button class=click>x</button><input type=submit formaction='javascript:alarm()'></form>",
    "<base href='javascript:alarm()//'><a href='#' class=click>x</a>",
    "<meta http-equiv=refresh content='0;url=javascript:alarm()'><link rel=stylesheet href='data:text/css,*{}'>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alarm()&gt;'>",
    "<math><mi><mglyph><svg><mtext><style><path id='</style><img onerror=alarm() src=x>'></mtext></svg></mi></math>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alarm()>",
    "<math href='javascript:alarm()' class=click>x</math>",
    "<math><maction actiontype='statusline#x' xlink:href='javascript:alarm()'>x</maction></math>",
    "<noscript><p title='</noscript><img src=x onerror=alarm()>'></noscript>",
    "<template><script>alarm()</script></template><xmp><img src=x onerror=alarm()></xmp>",
    "<textarea><img title='</textarea><img src=x onerror=alarm()>'></textarea>",
    "<title><img title='</title><img src=x onerror=alarm()>'></title>",
    "<p title='<!--'></p><img title='--><img src=x onerror=alarm()>'>",
    "<style>@import 'data:text/css,*{}'; td{background:url(javascript:alarm())} p{x:expression(alarm())}</style>",
    "<style>p{font-family:'</style><img src=x onerror=alarm()>'}</style>",
    "<style><!--</style><img src=x onerror=alarm()>--></style>",
    "<p style=\"background:url('javascript:alarm()');behavior:url(x);-moz-binding:url(x)\">x</p>",
    "<a id=Plotly></a><img name=querySelectorAll><form id=documentElement><input name=dataset></form><a id=theme class=click>x</a>",
    "<p title='-----BEGIN PRIVATE KEY-----'>-----END PRIVATE KEY-----<b title=' onmouseover=alarm() x='>x</b></p>",
    "<p title='-----BEGIN&#32;PRIVATE KEY-----'>-----END&#32;PRIVATE KEY-----<b title=' onfocus=alarm() tabindex=0 x='>x</b></p>",
    "<p title='\x020\x03'>x</p>",
]

MARKDOWN = [
    "[x](javascript:alarm())",
    "[x](java&#115;cript:alarm())",
    '<a title="$x onfocus=alarm() autofocus tabindex=0 y$">x</a>',
    "$\\text{<img src=x onerror=alarm()>}$",
    "$\\text{</mtext></math><img src=x onerror=alarm()>}$ $\\href{javascript:alarm()}{x}$",
    '!["onerror="alarm()](x "y\\" onerror=alarm()")',
    "![x](data:image/svg+xml;base64," + _CODED + ")",
    "![x](attachment:a.png)",
    "## <img src=x onerror=alarm()> Diff",
    "```html\n<img src=x onerror=alarm()>\n```",
    *HTML,
]

MIME = [
    {"image/png": 'AA" onerror="alarm()'},
    {"image/jpeg": "AA'><script>alarm()</script>"},
    {"image/svg+xml": _SVG},
    {"text/latex": "$\\text{<img src=x onerror=alarm()>}$ <img src=x onerror=alarm()>"},
    {"text/plain": "<img src=x onerror=alarm()>"},
    {"application/javascript": "alarm()"},
    {"application/vnd.plotly.v1+json": {
        "data": [{"type": "scatter", "y": [1, 2], "name": "</script><script>alarm()</script><!--<script>", "mode": "text",
                  "text": ["<a href='javascript:alarm()'>x</a>", "<img src=x onerror=alarm()>"]}],
        "layout": {"title": {"text": "\"><img src=x onerror=alarm()><a href='java&#115;cript:alarm()'>x</a>"},
                   "images": [{"source": "https://elsewhere.example/x.png"}]},
        "config": {"plotlyServerURL": "javascript:alarm()"}}},
]  # fmt: skip


def notebook(path: Path) -> Path:
    """A notebook at ``path`` whose title, question, prose, outputs and names are all hostile."""

    def cell(kind, source, **more):
        return {"cell_type": kind, "id": str(len(cells)), "metadata": {}, "source": source, **more}

    cells: list[dict] = []
    image = "<img src=x onerror=alarm()>"
    cells.append(
        cell("markdown", f"# A {image}<svg/onload=alarm()> title\n\nDoes <details open ontoggle=alarm()> it hold?")
    )
    parameters = f"n: int = 1  # [{image}] {image}\nname: str = '{image}'"
    cells.append(cell("code", parameters, outputs=[], execution_count=None) | {"metadata": {"tags": ["parameters"]}})
    for text in MARKDOWN:
        cells.append(cell("markdown", text, attachments={"a.png": {'image/png" onerror="alarm()': "AA"}}))
    for shown in [*({"text/html": html} for html in HTML), *({"text/markdown": text} for text in MARKDOWN), *MIME]:
        source = f"import json\ndisplay(json.loads({json.dumps(shown)!r}), raw=True)"
        cells.append(cell("code", source, outputs=[], execution_count=None))
    source = f"import lab\nlab.report.record('{image}', '{image}', unit='<svg/onload=alarm()>')"
    cells.append(cell("code", source, outputs=[], execution_count=None))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.write_text(
        json.dumps({"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})
    )
    return path
