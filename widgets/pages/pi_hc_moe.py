"""Hard constraints by experts, interactively: move the borders of the blocks and their overlap; residual, error and jumps."""

from functools import lru_cache
from pathlib import Path

import panel as pn
import torch

from lab.physics import pi_hc_moe as m
from lab.physics.studies import pi_hc_moe as study
from widgets import pages
from widgets.figures.physics import pi_hc_moe as figures

TITLE, ROUTE, METHOD = "Hard constraints by experts", "pi-hc-moe", "pi_hc_moe"
QUESTION = "What do blocks gain when each solves its own equation, and what do they lose at their borders?"
NET = Path(__file__).resolve().parents[2] / "data" / "samples" / "basis_operator.pt"


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "overlap": pn.widgets.IntSlider(label="Overlap (points)", start=0, end=16, value=0),
        "first": pn.widgets.IntSlider(label="First border (point of 48)", start=4, end=16, value=12),
        "second": pn.widgets.IntSlider(label="Second border", start=18, end=28, value=24),
        "third": pn.widgets.IntSlider(label="Third border", start=30, end=44, value=36),
        "blocks": pn.widgets.Select(label="Blocks", options=[1, 2, 3, 4], value=4),
        "rows": pn.widgets.Select(
            label="Initial values that a block sees", options=["global", "local"], value="global"
        ),
        "instance": pn.widgets.IntSlider(label="Instance", start=0, end=7, value=0),
    }
    pages.sync(widgets, state)
    surface, maps = pages.plot(label="u over space and time", height=520), pages.plot(label="residual and error")
    jumps, table = pages.plot(label="jumps at the borders"), pages.numbers()
    notice = pages.react(widgets, draw, surface, maps, jumps, table)
    return pages.layout(
        TITLE, QUESTION, widgets, [surface, pages.row(maps, jumps), table], notice=notice, method=METHOD
    )


def draw(overlap, first, second, third, blocks, rows, instance, theme):
    borders = [first, second, third][: blocks - 1]
    where, basis, initial, true = learned(instance)
    split = m.expert_split(where.shape, (1, borders) if borders else (1, 1), overlap=(0, overlap), periodic=where.axes)
    found = m.MoEConstraint(where, split, rows=rows, tolerance=1e-6)(basis, initial)
    whole = m.MoEConstraint(where, tolerance=1e-6)(basis, initial)
    error, before = (float((one.u[0] - true).norm() / true.norm()) for one in (found, whole))
    gaps = m.jumps(basis, found.weights, split, 1, periodic=True)[0]
    places = [0, *borders] if borders else []
    at = {f"x = {float(where.x[b]):.2f}": gaps[:, b] for b in places}
    owner = split.owner.reshape(where.shape)
    numbers = {
        "relative error, blocks": error,
        "relative error, one block": before,
        "rms residual, blocks": float(found.residual.square().mean().sqrt()),
        "rms residual, one block": float(whole.residual.square().mean().sqrt()),
        "largest jump": float(gaps.abs().max()),
        "iterations of the slowest block": int(found.iterations.max()),
        "blocks that did not converge": int((~found.converged).sum()),
    }
    return (
        figures.solution(found.u[0], owner, where.t, where.x, error=error, whole=before, theme=theme),
        figures.maps(found.residual[0], found.u[0] - true, where.t, where.x, borders, theme=theme),
        figures.jumps(where.t, at, theme=theme),
        numbers,
    )


@lru_cache(maxsize=16)
def learned(instance: int):
    """The equation of the default setting, basis fields of a network trained on it, initial values, the reference (nt, nx)."""
    kept = torch.load(NET, weights_only=True)
    net = m.BasisOperator(**kept["form"])
    net.load_state_dict(kept["weights"])
    setting = study.Setting.of("default")
    where, initial = study.system(setting), study.instances(setting, (0,), 8)[:, instance]
    with torch.no_grad():
        basis = net(where.inputs(initial)[None].float())[0].double()
    return where, basis, initial, study.reference(setting, initial)[0]
