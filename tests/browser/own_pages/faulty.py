"""A page for tests whose ``draw`` fails beyond half the slider, and whose ``build`` fails at a word."""

import panel as pn
import plotly.graph_objects as go

from widgets import pages
from widgets.figures import figure

TITLE, ROUTE, METHOD = "Faulty", "faulty", "faulty"


def build(state):
    if state == {"word": "fail"}:
        raise KeyError("nothing of that name")
    widgets = {"level": pn.widgets.FloatSlider(label="Level", start=0, end=1, step=0.5, value=0)}
    pages.sync(widgets, state)
    shown = pages.plot(label="line")
    notice = pages.react(widgets, draw, shown)
    return pages.layout(TITLE, "What happens when drawing fails?", widgets, [shown], notice=notice)


def draw(level, theme):
    if level > 0.5:
        raise RuntimeError("the drawing broke down")
    line = go.Scatter(x=[0, 1], y=[level, 1], name="=1+1", text=["-3", "@SUM(1)"])
    return figure(line, theme=theme, title=f"A line from {level:g}", x="x", y="y")
