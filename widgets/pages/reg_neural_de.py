"""Neural equations that are easy to solve, interactively: raise λ and see the paths straighten and the steps grow."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import panel as pn
import torch

from lab.physics.reg_neural_de import NeuralODE, TimeMLP
from lab.physics.studies import reg_neural_de as study
from lab.training import mlp
from widgets import pages
from widgets.figures.physics import reg_neural_de as figures

TITLE, ROUTE, METHOD = "Neural equations that are easy to solve", "reg-neural-de", "reg_neural_de"
QUESTION = (
    "How many steps does a neural differential equation need once training penalizes what makes the solver take them?"
)
RECORD = Path(__file__).resolve().parents[2] / "data" / "samples" / "planar_flows.npz"


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "strength": pn.widgets.DiscreteSlider(label="λ", options=list(study.GRID), value=1.0),
        "penalty": pn.widgets.Select(label="Penalty", options=["error", "stiffness"], value="error"),
        "points": pn.widgets.Select(label="Points", options=["moons", "spirals"], value="moons"),
        "tolerance": pn.widgets.Select(label="Tolerance of a step", options=[1e-3, 1e-4, 1e-5, 1e-6], value=1e-5),
    }
    pages.sync(widgets, state)
    solid, steps = pages.plot(label="trajectories", height=480), pages.plot(label="steps")
    curve, table = pages.plot(label="accuracy and evaluations"), pages.numbers()
    notice = pages.react(widgets, draw, solid, steps, curve, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(solid, curve), steps, table], notice=notice, method=METHOD)


def draw(strength, penalty, points, tolerance, theme):
    found = [solved(points, penalty, each, tolerance) for each in study.GRID]
    shown, plain = found[study.GRID.index(strength)], found[0]
    evaluations = [one.solution.evaluations for one in found]
    numbers = {
        "evaluations": shown.solution.evaluations,
        "evaluations without penalty": plain.solution.evaluations,
        "accepted steps": len(shown.solution.steps),
        "rejected steps": shown.solution.rejected,
        "accuracy": shown.accuracy,
        "accuracy without penalty": plain.accuracy,
    }
    return (
        figures.trajectories(shown, theme=theme),
        figures.estimates(shown, theme=theme),
        figures.frontier(study.GRID, evaluations, [one.accuracy for one in found], strength, theme=theme),
        numbers,
    )  # fmt: skip


@lru_cache(maxsize=128)
def solved(points: str, penalty: str, strength: float, tolerance: float) -> study.Paths:
    """The recorded equation trained with this λ (``study.planar`` of seed 0), solved at this tolerance."""
    with np.load(RECORD, allow_pickle=False) as file:
        row = torch.from_numpy(file[f"{points}_{penalty}"][file["strengths"].tolist().index(strength)])
    flow, head = NeuralODE(TimeMLP(3, 48), tolerance=tolerance), mlp(3, 2, widths=())
    torch.nn.utils.vector_to_parameters(row, [*flow.parameters(), *head.parameters()])
    return study.paths(flow, head, points)
