"""DeepMesh, interactively: pull a vertex of a surface that becomes a torus, and see how the whole field answers."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import panel as pn
import torch

from lab.physics import deepmesh as d
from lab.physics import surfaces as s
from widgets import pages
from widgets.figures import physics as figures

TITLE, ROUTE, METHOD = "DeepMesh: differentiable iso-surfaces", "deepmesh", "deepmesh"
QUESTION = "How does a field answer when a vertex of its surface is pulled, and how does a sphere become a torus?"
RECORD = Path(__file__).resolve().parents[2] / "data" / "samples" / "torus_field.npz"
STEPS = np.load(RECORD, allow_pickle=False)["steps"].tolist()


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "step": pn.widgets.DiscreteSlider(label="Step of the descent", options=STEPS, value=STEPS[len(STEPS) // 2]),
        "around": pn.widgets.IntSlider(label="Pulled vertex: longitude (degrees)", start=0, end=350, step=10, value=40),
        "up": pn.widgets.IntSlider(label="Latitude (degrees)", start=-80, end=80, step=10, value=30),
        "pull": pn.widgets.FloatSlider(label="Pull outwards by", start=-0.2, end=0.2, step=0.02, value=0.06),
        "resolution": pn.widgets.Select(label="Grid points a side", options=[16, 24, 32, 48], value=24),
    }
    pages.sync(widgets, state)
    solid, curve, table = pages.plot(label="the surface", height=520), pages.plot(label="the descent"), pages.numbers()
    notice = pages.react(widgets, draw, solid, curve, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(solid, curve), table], notice=notice, method=METHOD)


def draw(step, around, up, pull, resolution, theme):
    trace, nets = recorded()
    net = nets[STEPS.index(step)]
    shape = d.IsoSurface(net, resolution)
    mesh = shape()
    turn, rise = np.deg2rad([around, up])
    towards = torch.tensor([np.cos(rise) * np.cos(turn), np.cos(rise) * np.sin(turn), np.sin(rise)]).float()
    points = mesh.vertices.detach()
    pulled = int((points @ towards).argmax())
    moved, outward = answer(net, mesh, pulled, pull)
    other = s.isosurface(moved, resolution)
    euler = s.euler(mesh.faces)
    arrow = (points[pulled], points[pulled] + outward * (pull or 1e-3) * 2.5)
    with torch.no_grad():
        change = moved(points) - net(points)
    numbers = {
        "vertices, faces": f"{len(points)}, {len(mesh.faces)}",
        "genus": 1 - euler // 2,
        "field evaluations of a full pass": shape.evaluations,
        "field evaluations with the narrow band": s.sample(net, resolution, before=shape.samples).evaluations,
        "volume": float(s.volume(*mesh).detach()),
        "volume after the pull": float(s.volume(other.vertices, other.faces)),
        "share of vertices that move by a tenth of the pull or more": float((change.abs() >= abs(pull) / 10).double().mean()),
    }  # fmt: skip
    return (
        figures.demanded(mesh, change, euler=euler, step=step, mark=arrow, theme=theme),
        figures.descent({"field": trace}, mark=step, theme=theme),
        numbers,
    )


def answer(net: d.NeuralField, mesh: d.Posed, vertex: int, pull: float):
    """The network after the one gradient step that moves a vertex outwards by ``pull``, and the normal there."""
    point = mesh.vertices.detach()[vertex].clone().requires_grad_()
    value = net(point)
    (slope,) = torch.autograd.grad(value, point, retain_graph=True)
    gradients = torch.autograd.grad(value, list(net.parameters()), allow_unused=True)
    size = sum(float(g.square().sum()) for g in gradients if g is not None)
    moved = d.NeuralField(**net.form)
    moved.load_state_dict(net.state_dict())
    with torch.no_grad():
        for weight, g in zip(moved.parameters(), gradients):
            if g is not None:
                weight -= pull * float(slope.norm()) / size * g
    return moved.requires_grad_(False), slope / slope.norm()


@lru_cache(maxsize=1)
def recorded() -> tuple[d.Trace, list[d.NeuralField]]:
    """The recorded descent from a sphere to a torus: its trace, and the field at each of :data:`STEPS`."""
    file = np.load(RECORD, allow_pickle=False)
    nets = []
    for row in torch.from_numpy(file["weights"]):
        net = d.NeuralField(width=int(file["width"]))
        torch.nn.utils.vector_to_parameters(row, net.parameters())
        nets.append(net)
    return d.Trace(torch.from_numpy(file["losses"]), tuple(file["euler"].tolist()), 0), nets
