"""Adversarial adaptive sampling, interactively: click bumps into a residual and see where the adversary puts its points."""

from functools import lru_cache

import panel as pn
import torch

from lab.physics import aas
from lab.physics.residuals import Box
from widgets import pages
from widgets.figures.physics import aas as figures

TITLE, ROUTE, METHOD = "Adversarial adaptive sampling", "aas", "aas"
QUESTION = "Where does an adversary look for the residual, if it must keep its density of points smooth?"
EXPLANATION = (
    "Click into either map to place a bump of the residual there, click on a bump to take it away. The adversary maximizes "
    "⟨r² p⟩ − β⟨|∇p|²⟩ over all densities p; β = κ β₀, and from κ = 1 on the maximum is one cosine transform. Below, p is 0 on a "
    "part of the box. The gain over the uniform density is to first order the squared Wasserstein distance of r² from it."
)
BOX, SPACE, MOST = Box((0, 0), (1, 1)), Box((0, 0, 0), (1, 1, 1)), 12
START = "0.3 0.3, 0.75 0.6, 0.45 0.85"


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "smoothness": pn.widgets.FloatSlider(label="Smoothness: log₁₀ κ", start=-3, end=1, step=0.1, value=-0.5),
        "bumps": pn.widgets.TextInput(label="Bumps of the residual: x y, x y, ... in [0, 1]", value=START),
        "width": pn.widgets.FloatSlider(label="Width of a bump", start=0.04, end=0.3, step=0.02, value=0.1),
        "count": pn.widgets.IntSlider(label="Points", start=0, end=1000, step=50, value=300),
    }
    pages.sync(widgets, state)
    maps, parts = pages.plot(label="residual and density"), pages.plot(label="both parts of the maximum")
    space, table = pages.plot(label="density in three dimensions"), pages.numbers()
    notice = pages.react(widgets, draw, maps, parts, space, table)
    maps.param.watch(lambda event: clicked(widgets["bumps"], event.new), "click_data")
    main = [maps, pages.row(parts, space), table]
    return pages.layout(TITLE, QUESTION, widgets, main, notice=notice, method=METHOD, explanation=EXPLANATION)


def clicked(bumps: pn.widgets.TextInput, data) -> None:
    """Add the clicked place to the bumps, or take the bump away that is within 0.05 of it."""
    if not data or not data.get("points"):
        return
    x, y = (float(data["points"][0][axis]) for axis in "xy")
    places = read(bumps.value)
    kept = [(a, b) for a, b in places if (a - x) ** 2 + (b - y) ** 2 > 0.05**2]
    if len(kept) == len(places):
        kept.append((x, y))
    if 0 < len(kept) <= MOST:
        bumps.value = ", ".join(f"{a:.2f} {b:.2f}" for a, b in kept)


def read(bumps: str) -> list[tuple[float, float]]:
    """Places of the bumps; at most 12, within the box."""
    places = []
    for part in bumps.split(","):
        try:
            x, y = (float(word) for word in part.split())
        except ValueError:
            raise ValueError(f"bumps must be pairs 'x y' between commas, got {part.strip()!r}") from None
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise ValueError(f"bumps must lie in [0, 1] x [0, 1], got {x:g} {y:g}")
        places.append((x, y))
    if len(places) > MOST:
        raise ValueError(f"bumps must be at most {MOST}, got {len(places)}")
    return places


def draw(smoothness, bumps, width, count, theme):
    places, kappa = tuple(read(bumps)), 10.0**smoothness
    r2, found, curve = solved(places, round(width, 3), round(kappa, 6))
    samples = torch.zeros(0, 2)
    if count:
        samples = aas.cells(found.density[None], BOX, count, [torch.Generator().manual_seed(0)])[0]
    mean = float(r2.mean())
    near = float((found.density * (r2 > 0.25 * r2.max())).sum() / found.density.sum())
    numbers = {
        "smoothness β": float(found.beta),
        "least β without zeros (β₀)": float(found.least),
        "maximum over mean squared residual": float(found.value) / mean,
        "points where r² is above a quarter of its peak": near,
    }
    return (
        figures.density_map(r2, found.density, samples, BOX, kappa=kappa, theme=theme),
        figures.maximum_parts(*curve, mean, float(found.beta), theme=theme),
        figures.density_in_space(spatial(places, round(width, 3), round(kappa, 6)), SPACE, theme=theme),
        numbers,
    )


def residual(x: torch.Tensor, places, width: float) -> torch.Tensor:
    """The square of a sum of bumps of alternating sign; in space their heights are 0.35 and 0.65 in turn."""
    total = torch.zeros(len(x), dtype=torch.float64)
    for k, place in enumerate(places):
        centre = torch.tensor([*place, 0.35 + 0.3 * (k % 2)][: x.shape[1]], dtype=torch.float64)
        total += (-1) ** k * torch.exp(-(x.double() - centre).square().sum(1) / (2 * width**2))
    return total.square()


@lru_cache(maxsize=64)
def solved(places, width, kappa, n=32):
    """r^2 (n, n), the adversary, and both parts of the maximum over beta."""
    r2 = residual(BOX.centres(n), places, width).reshape(n, n)
    found = aas.adversary(r2, BOX.size, kappa=kappa)
    return r2, found, curves(places, width)


@lru_cache(maxsize=16)
def curves(places, width, n=20):
    """Beta (13,) from 0.001 to 10 times the least one without zeros, rewards and smoothness terms."""
    r2 = residual(BOX.centres(n), places, width).reshape(n, n)
    found = [aas.adversary(r2, BOX.size, kappa=10.0**k) for k in torch.linspace(-3, 1, 13).tolist()]
    beta, reward, rough = (torch.stack([getattr(f, name) for f in found]) for name in ("beta", "reward", "smoothness"))
    return beta, reward, beta * rough


@lru_cache(maxsize=16)
def spatial(places, width, kappa, n=14):
    """p* (n, n, n) of the same bumps in three dimensions."""
    return aas.adversary(residual(SPACE.centres(n), places, width).reshape(n, n, n), SPACE.size, kappa=kappa).density
