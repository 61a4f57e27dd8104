"""Neural constitutive laws, interactively: pull one element, throw a body that the law never saw."""

from functools import lru_cache
from pathlib import Path

import panel as pn
import torch

from lab.physics import FittedLaw, MetaElasticity
from lab.physics import continuum as c
from lab.physics.studies import nclaw as study
from widgets import pages
from widgets.figures import physics as figures

TITLE, ROUTE, METHOD = "Neural constitutive laws", "nclaw", "nclaw"
QUESTION = "Is one throw of one body enough to learn a material and predict other bodies?"
LAW = Path(__file__).resolve().parents[2] / "data" / "samples" / "jelly_law.pt"
STEPS, EVERY = 400, 10
VISITED = (0.7, 1.13)


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "stretch": pn.widgets.FloatSlider(
            label="Stretch of a single element", start=0.7, end=1.3, step=0.01, value=0.85
        ),
        "shape": pn.widgets.Select(label="Body", options=["ring", "bar", "square", "disc"], value="ring"),
        "speed": pn.widgets.FloatSlider(label="Downward speed (m/s)", start=0.5, end=3, step=0.1, value=2.0),
        "time": pn.widgets.IntSlider(label="Time (steps)", start=0, end=STEPS, step=EVERY, value=200),
        "law": pn.widgets.Select(label="Law", options=["learned", "untrained"], value="learned"),
    }
    pages.sync(widgets, state)
    curve, scene, table = pages.plot(label="stress vs. stretch"), pages.plot(label="bodies"), pages.numbers()
    notice = pages.react(widgets, draw, curve, scene, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(curve, scene), table], notice=notice, method=METHOD)


def draw(stretch, shape, speed, time, law, theme):
    setting, laws = study.Setting(), materials()
    curves = {name: study.uniaxial(one, setting) for name, one in laws.items()}
    axis = torch.linspace(0.7, 1.3, 61, dtype=torch.float64)
    true, learned = motions(shape, round(speed, 3), law)
    frame = time // EVERY
    near = int((axis - stretch).abs().argmin())
    error = (true[: frame + 1] - learned[: frame + 1]).square().sum(-1).mean().sqrt()
    numbers = {
        f"true stress at stretch {stretch:g} (kPa)": float(curves["true"][near]) / 1e3,
        "learned (kPa)": float(curves["learned"][near]) / 1e3,
        "untrained (kPa)": float(curves["untrained"][near]) / 1e3,
        "RMS distance up to this time (mm)": 1e3 * float(error),
    }
    return (
        figures.stress_curves(axis, curves, VISITED, mark=stretch, theme=theme),
        figures.bodies(true[frame], learned[frame], time=time * setting.dt, theme=theme),
        numbers,
    )


@lru_cache(maxsize=1)
def materials():
    """The true jelly, the law learned from data/samples/jelly.npz, and one before training."""
    return {
        "true": study.MATERIALS["jelly"][0],
        "learned": FittedLaw.load(LAW).elastic,
        "untrained": MetaElasticity(seeds=(0,)).requires_grad_(False),
    }


@lru_cache(maxsize=32)
def motions(shape: str, speed: float, law: str):
    """Positions (frames, particles, 2) of the true and the learned body."""
    setting = study.Setting()
    start = study.thrown(setting, shape, (1.0, -speed), 4.0)
    true = c.record(start, *study.MATERIALS["jelly"], setting.scene(), STEPS, EVERY).x[:, 0]
    x, _ = study.roll(start, materials()[law], None, setting.scene(), STEPS)
    return true, x[::EVERY, 0]
