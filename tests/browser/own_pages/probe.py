"""A page for tests: a file of the visitor, a slider, an arrow figure."""

import numpy as np
import panel as pn
import plotly.graph_objects as go

from widgets import pages
from widgets.figures import figure
from widgets.server import uploads

TITLE, ROUTE, METHOD = "Probe", "probe", "probe"


def build(state):
    widgets = {"level": pn.widgets.FloatSlider(label="Level", start=0, end=1, step=0.1, value=0.5)}
    pages.sync(widgets, state)
    limits = uploads.Limits(file_bytes=2 * 2**20, decoded_bytes=16 * 2**20)
    picture = uploads.Upload("Picture", kinds=("image",), limits=limits)
    shown, arrows, table = pages.plot(label="picture"), pages.plot(label="arrows"), pages.numbers()
    notice = pages.react({"picture": picture, **widgets}, draw, shown, arrows, table)
    main = [pages.row(shown, arrows), table]
    return pages.layout(
        TITLE, "Where is the picture above its birth level?", [*widgets.values(), picture], main, notice=notice
    )


def draw(picture, level, theme):
    values = np.linspace(0, 1, 48).reshape(6, 8) if picture is None else picture.data
    if level == 1.0:
        raise ValueError("level must be below 1, got 1.0")
    share = float((values > level).mean())
    heat = figure(go.Heatmap(z=values), theme=theme, title=f"{share:.1%} lie above {level:g}", x="column", y="row")
    quiver = figure(go.Quiver(x=[0, 1], y=[0, 1], u=[1, 1], v=[0, 1]), theme=theme, title="Two arrows", x="x", y="y")
    return heat, quiver, {"share": share, "mean": float(values.mean())}
