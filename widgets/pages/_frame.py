"""The frame around every served page: bar, theme, address, and the look of Panel's components in it."""

from __future__ import annotations

import secrets
from functools import cache
from pathlib import Path

import panel as pn
import plotly
from bokeh.embed.bundle import extension_dirs
from panel.io.resources import LOCAL_DIST
from panel.models.plotly import PlotlyPlot
from panel.theme.base import DarkTheme, DefaultTheme, Design, Inherit
from panel.viewable import Viewable

from widgets.pages._state import theme

ASSETS = Path(__file__).parents[1] / "assets"
PLOTLY = Path(plotly.__file__).parent / "package_data"
LINKS = ((".", "Studies"), ("runs", "Runs"), ("run", "New run"))
STATIC = {"/assets": str(ASSETS)}


class LabDesign(Design):
    """Panel's native components under the lab's stylesheet; nothing is fetched from elsewhere."""

    modifiers = {Viewable: {"stylesheets": [Inherit, "assets/widgets.css"]}}
    _themes = {"default": DefaultTheme, "dark": DarkTheme}


def use_plotly_of_figures() -> None:
    """Draw figures in the browser with the plotly.js that plotly's Python package ships and writes for.

    Panel bundles an older major version, which draws newer traces wrongly without a word.
    """
    extension_dirs["plotly"] = PLOTLY
    PlotlyPlot.__javascript__ = [f"static/extensions/plotly/plotly.min.js?v={plotly.__version__}"]
    PlotlyPlot.__javascript_raw__ = list(PlotlyPlot.__javascript__)
    PlotlyPlot.__css__ = []
    PlotlyPlot.__css_raw__ = []
    PlotlyPlot.__js_skip__ = {}


def use_own_files() -> None:
    """Let every component of the present document load its style from this server, whenever it is made.

    Panel says so to a document when it writes its page; a component made before or beside that asks a foreign host.
    """
    if pn.state.curdoc is not None:
        # Counted below the prefix of the server, which Panel takes off only later.
        prefix = next((getattr(server, "prefix", "") for server, *_ in pn.state._servers.values()), "")
        path = pn.state.location.pathname if pn.state.location else ""
        depth = path.removeprefix(prefix).strip("/").count("/")
        pn.state.curdoc._template_variables["dist_url"] = "../" * depth + LOCAL_DIST


class Frame(pn.Template):
    """A template that does not describe its whole content in words at every change."""

    def __repr__(self) -> str:
        return "Frame"


def frame(view: Viewable, title: str, active: str = "", first: str = "", take: str = "") -> Frame:
    """``view`` inside the lab's bar and footer.

    ``active`` is the entry of the bar that is marked as present, ``first`` HTML that is shown until the view stands, ``take`` the
    route of a page of which a visitor may take things along.
    """
    shade = theme()
    shades = {"dark": DarkTheme, "light": DefaultTheme}
    template = Frame(_template(), design=LabDesign, theme=shades[shade], location=True)
    template.add_panel("page", view)
    variables = {
        "nonce": secrets.token_hex(16),
        "shade": shade,
        "heading": f"{title} · Objective Lab" if title else "Objective Lab",
        "links": LINKS,
        "active": active,
        "first": first,
        "take": take,
        "mark": (ASSETS / "icon.svg").read_text(encoding="utf-8"),
    }
    for name, value in variables.items():
        template.add_variable(name, value)
    return template


@cache
def _template() -> str:
    return (ASSETS / "frame.html").read_text(encoding="utf-8")
