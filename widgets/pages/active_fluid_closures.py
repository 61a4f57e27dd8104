"""Learned closures, interactively: set a patch of aligned rods into the fluid; kinetic theory and two closures side by side."""

from functools import lru_cache
from pathlib import Path

import panel as pn
import torch

from lab.physics import active_fluid_closures as a
from widgets import pages
from widgets.figures import physics as figures

TITLE, ROUTE, METHOD = "Learned closures of an active fluid", "active-fluid-closures", "active_fluid_closures"
QUESTION = "Can two moments of swimming rods tell what all their directions would do?"
LAW = Path(__file__).resolve().parents[2] / "data" / "samples" / "closure.pt"
STEPS, EVERY = 300, 15


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "across": pn.widgets.FloatSlider(label="Patch of aligned rods at x", start=0, end=10, step=0.5, value=5.0),
        "up": pn.widgets.FloatSlider(label="at y", start=0, end=10, step=0.5, value=5.0),
        "angle": pn.widgets.IntSlider(label="Its direction (degrees)", start=0, end=175, step=5, value=30),
        "alpha": pn.widgets.FloatSlider(label="Activity alpha", start=-6, end=0, step=0.5, value=-3.5),
        "zeta": pn.widgets.FloatSlider(label="Alignment zeta", start=0, end=2, step=0.1, value=1.0),
        "frame": pn.widgets.IntSlider(label="Time (steps)", start=0, end=STEPS, step=EVERY, value=150),
    }
    pages.sync(widgets, state)
    maps, lines, table = pages.plot(label="order in space"), pages.plot(label="order over time"), pages.numbers()
    notice = pages.react(widgets, draw, maps, lines, table)
    return pages.layout(TITLE, QUESTION, widgets, [maps, pages.row(lines), table], notice=notice, method=METHOD)


def draw(across, up, angle, alpha, zeta, frame, theme):
    runs = rolled(round(across, 3), round(up, 3), angle, round(alpha, 3), round(zeta, 3))
    k = frame // EVERY
    maps = {name: a2[k].abs() for name, a2 in runs.items()}
    orders = {name: a.order(a2) for name, a2 in runs.items()}
    numbers = {f"mean order, {name}": float(values[k]) for name, values in orders.items()}
    numbers["growth rate of uniform order, zeta - 4 d_R"] = zeta - 0.8
    return (
        figures.order_maps(maps, time=frame * 0.02, theme=theme),
        figures.order_over_time(orders, EVERY * 0.02, theme=theme),
        numbers,
    )


@lru_cache(maxsize=1)
def learned() -> a.InvariantClosure:
    """The closure fitted to kinetic runs at four corners of the parameters."""
    law = a.InvariantClosure()
    law.load_state_dict(torch.load(LAW, weights_only=True))
    return law.requires_grad_(False)


@lru_cache(maxsize=32)
def rolled(across, up, angle, alpha, zeta) -> dict[str, torch.Tensor]:
    """a_2 (frames, n, n) of the kinetic theory and of two coarse models from the same patch."""
    fluid = a.ActiveFluid(alpha, zeta)
    x, y = fluid.box.points()
    apart = [torch.remainder(z - at + 5, 10) - 5 for z, at in ((x, across), (y, up))]
    patch = 0.5 * torch.exp(-(apart[0] ** 2 + apart[1] ** 2) / 2)
    turn = torch.polar(torch.ones(()), torch.deg2rad(torch.tensor(2.0 * angle)))
    f = a.disturbed(fluid, 1, 0, size=0.02)
    f[:, 0] += (patch * turn).to(f.dtype)
    with torch.no_grad():
        found = {"kinetic theory": a.roll(fluid, f, STEPS, EVERY)[:, 0, 0]}
        for name, law in (("Bingham", a.Bingham()), ("learned", learned())):
            found[name] = a.roll(fluid, f[:, :1], STEPS, EVERY, closure=law)[:, 0, 0]
    return found
