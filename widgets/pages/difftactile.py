"""Differentiable tactile pads, interactively: press and drag a finger, and lower friction until it slips."""

from functools import lru_cache

import panel as pn
import torch

from lab.physics import difftactile as dt
from widgets import pages
from widgets.figures.physics import difftactile as figures

TITLE, ROUTE, METHOD = "Differentiable tactile pads", "difftactile", "difftactile"
QUESTION = "How do the marks and forces of a soft finger answer a press and a drag, and when does it slip?"
PRESS, DRAG = 20, 60
FRAME = 10 * 2e-4
SHAPES = {"disc": (0.03,), "rounded box": (0.015, 0.02, 0.01), "flat table": (0.06, 0.02, 0.001)}


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "friction": pn.widgets.FloatSlider(label="Friction coefficient μ_f", start=0, end=2, step=0.05, value=0.5),
        "depth": pn.widgets.FloatSlider(label="Press (mm)", start=0.5, end=6, step=0.25, value=4.0),
        "slide": pn.widgets.FloatSlider(label="Drag (mm)", start=-2, end=2, step=0.25, value=1.0),
        "frame": pn.widgets.IntSlider(
            label="Time (frames of 2 ms)", start=0, end=PRESS + DRAG - 1, value=PRESS + DRAG - 1
        ),
        "shape": pn.widgets.Select(label="Object", options=list(SHAPES), value="disc"),
        "stiffness": pn.widgets.Select(label="Young's modulus of the pad (kPa)", options=[4, 8, 16], value=8),
    }
    pages.sync(widgets, state)
    pad, trace = pages.plot(label="pad, marks and object"), pages.plot(label="forces over time")
    cone, solid, table = pages.plot(label="friction cone"), pages.plot(label="pad in three dimensions"), pages.numbers()
    notice = pages.react(widgets, draw, pad, cone, trace, solid, table)
    figures_ = [pages.row(pad, cone), pages.row(trace, solid), table]
    return pages.layout(TITLE, QUESTION, widgets, figures_, notice=notice, method=METHOD)


def draw(friction, depth, slide, frame, shape, stiffness, theme):
    flat, outline = rolled(2, round(friction, 3), round(depth, 3), round(slide, 3), shape, stiffness)
    deep, _ = rolled(3, round(friction, 3), round(depth, 3), round(slide, 3), shape, stiffness)
    moved, force = flat.markers()[frame + 1, 0], flat.force[:, 0, 0]
    marks = flat.x[frame + 1, 0, flat.pad.marks]
    holds = friction * force[frame, 1]
    share = float(force[frame, 0].abs() / holds.clamp_min(1e-9))
    touching = flat.pad.marks[int((flat.pad.mesh.points[flat.pad.marks, 0] - 0.03).abs().argmin())]
    dragged = max(0, frame + 1 - PRESS) / DRAG * abs(slide) * 1e-3
    way = float((flat.x[frame + 1, 0, touching, 0] - flat.x[PRESS, 0, touching, 0]).abs()) if frame >= PRESS else 0.0
    slipped = way / dragged if dragged else 0.0
    numbers = {
        "normal force (N)": float(force[frame, 1]),
        "tangential force (N)": float(force[frame, 0]),
        "tangential force over μ_f times normal force": share,
        "share of the drag that the middle mark slid": slipped,
        "largest mark displacement (mm)": 1e3 * float(moved.norm(dim=1).max()),
    }
    shift = deep.markers()[frame + 1, 0].norm(dim=1)
    nodes = torch.zeros(len(deep.pad.mesh.points), dtype=shift.dtype)
    nodes[deep.pad.marks] = shift
    return (
        figures.pressed(
            flat.x[frame + 1, 0], marks - moved, flat.pad.mesh.elements, flat.pad.marks, outline, share, theme=theme
        ),
        figures.cone(force, friction, frame, theme=theme),
        figures.forces({"object": force}, FRAME, theme=theme),
        figures.solid(deep.x[frame + 1, 0], boundary(), nodes, theme=theme),
        numbers,
    )


@lru_cache(maxsize=32)
def rolled(d, friction, depth, slide, shape, stiffness):
    """The rollout in d dimensions, and the outline (n, 2) of the object in the plane."""
    size = (0.06, 0.02) if d == 2 else (0.06, 0.06, 0.02)
    pad = dt.Pad.block(size, (6, 2) if d == 2 else (6, 6, 2), young=1e3 * stiffness)
    *half, radius = SHAPES[shape]
    wide = (half if d == 2 else [half[0], 0.02, half[1]]) if half else []
    top = radius + (half[1] if half else 0.0)
    place = (0.03, -top) if d == 2 else (0.03, 0.03, -top)
    actions = torch.zeros(PRESS + DRAG, 1, d, dtype=torch.float64)
    actions[:PRESS, :, -1] = -1e-3 * depth / (PRESS * FRAME)
    actions[PRESS:, :, 0] = 1e-3 * slide / (DRAG * FRAME)
    contact = dt.Contact(*(1000, 200, 100) if d == 2 else (10, 2, 0.5), friction)
    with torch.no_grad():
        found = dt.Scene(pad, [dt.Rigid((*wide, radius), place)], contact).roll(actions)
    turn = torch.linspace(0, 2 * torch.pi, 181, dtype=torch.float64)
    circle = radius * torch.stack([turn.cos(), turn.sin()], 1)
    corner = torch.tensor(half if half else [0.0, 0.0], dtype=torch.float64) * circle.sign()
    return found, circle + corner + torch.tensor([0.03, -top], dtype=torch.float64)


@lru_cache(maxsize=1)
def boundary() -> torch.Tensor:
    """Triangles of the surface of the pad in three dimensions."""
    elements = dt.Pad.block((0.06, 0.06, 0.02), (6, 6, 2)).mesh.elements
    sides = torch.cat([elements[:, [j for j in range(4) if j != k]] for k in range(4)]).sort(1).values
    unique, count = torch.unique(sides, dim=0, return_counts=True)
    return unique[count == 1]
