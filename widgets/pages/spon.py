"""Operator networks on finite-element spaces, interactively: pull a force over the mesh, and change the mesh."""

from functools import lru_cache
from pathlib import Path

import panel as pn
import torch

from lab.physics import boundary_problems as problems
from lab.physics.finite_elements import Space
from lab.physics.spon import Spon
from widgets import pages
from widgets.figures.physics import spon as figures

TITLE, ROUTE, METHOD = "Structure-preserving operator networks", "spon", "spon"
QUESTION = "How well does a network predict the answer to a force on a mesh, and what does it keep exactly?"
NET = Path(__file__).resolve().parents[2] / "data" / "samples" / "spon_operator.pt"
LEVELS = {"65 nodes (trained on)": 2, "225 nodes (trained on)": 3, "833 nodes (never seen)": 4}


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "across": pn.widgets.FloatSlider(label="Force: centre across", start=-1, end=1, step=0.05, value=-0.4),
        "up": pn.widgets.FloatSlider(label="Centre up", start=-1, end=1, step=0.05, value=0.4),
        "width": pn.widgets.FloatSlider(label="Width", start=0.15, end=0.8, step=0.05, value=0.4),
        "strength": pn.widgets.IntSlider(label="Strength", start=-100, end=100, step=5, value=60),
        "level": pn.widgets.Select(label="Mesh", options=list(LEVELS), value="225 nodes (trained on)"),
    }
    pages.sync(widgets, state)
    maps, table = pages.plot(label="force, solution, prediction, error"), pages.numbers(metrics=METRICS)
    notice = pages.react(widgets, draw, maps, table)
    return pages.layout(TITLE, QUESTION, widgets, [maps, table], notice=notice, method=METHOD)


METRICS = {
    "relative error in L2": pages.Metric(
        "distance of prediction and solution over the norm of the solution", "", "lower"
    ),
    "relative error in H1": pages.Metric("the same with gradients", "", "lower"),
    "largest value on the boundary": pages.Metric("of the prediction; the decoder writes 0 there", "", "lower"),
    "nodes": pages.Metric("points of the mesh", "", ""),
}


def draw(across, up, width, strength, level, theme):
    if strength == 0:
        raise ValueError("Strength must not be 0: without a force there is nothing to predict")
    if across > 0 and up > 0:
        raise ValueError("The centre of the force must lie in the L-shape: across and up cannot both be positive")
    space, net = learned()[LEVELS[level]]
    f = strength * torch.exp(-((space.points - torch.tensor([across, up])) ** 2).sum(1) / (2 * width**2))[None]
    u, out = problems.diffusion(space, f), net(f)
    gap = {norm: float(space.norm(out - u, norm) / space.norm(u, norm)) for norm in ("L2", "H1")}
    numbers = {
        "relative error in L2": gap["L2"],
        "relative error in H1": gap["H1"],
        "largest value on the boundary": float(out[:, space.boundary].abs().max()),
        "nodes": space.size,
    }
    cells = torch.from_numpy(space.mesh.t.T.astype("int64"))
    shown = {"force": f[0], "solution": u[0], "prediction": out[0], "error": (out - u)[0]}
    return figures.functions(space.points, cells, shown, gap["L2"], theme=theme), numbers


@lru_cache(maxsize=1)
def learned() -> dict[int, tuple[Space, Spon]]:
    """The network trained on the L-shape with 65 and 225 nodes, on each of three meshes, the coarsest level fixed."""
    net, found = Spon.load(NET), {}
    for k in LEVELS.values():
        space = Space(problems.domain("L-shape", k), "P1")
        found[k] = (space, net.on(space, space, [problems.domain("L-shape", 1)]))
    return found
