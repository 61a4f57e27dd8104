"""The deep generative neural operator, interactively: move or drop sensors, turn up the noise, and see what the medium may be."""

from functools import lru_cache
from pathlib import Path

import panel as pn
import torch

from lab.physics import dgno
from lab.physics.studies import dgno as study
from widgets import pages
from widgets.figures.physics import dgno as figures
from widgets.server import uploads

TITLE, ROUTE, METHOD = "Deep generative neural operator", "dgno", "dgno"
QUESTION = "What medium lies between a few noisy sensors of the flow, and how sure can one be?"
OPERATOR = Path(__file__).resolve().parents[2] / "data" / "samples" / "operator.pt"
EXPLANATION = (
    "An operator that never saw a solution maps 16 latent variables to a medium of two phases (a = 0.5 and 1) and to the solution "
    "u of -div(a grad u) = 1, u = 0 on the boundary. Chains of Hamiltonian Monte Carlo draw the latent variables that agree with "
    "the sensors. An own table has the columns x, y in the unit square, and u; it is not kept."
)
REGIONS = {"the whole square": (1.0, 1.0), "the left half": (0.5, 1.0), "the lower left quarter": (0.5, 0.5)}


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "sensors": pn.widgets.IntSlider(label="Sensors", start=4, end=100, step=4, value=64),
        "noise": pn.widgets.FloatSlider(label="Noise (share of the size of u)", start=0.01, end=0.3, step=0.01, value=0.02),
        "region": pn.widgets.Select(label="Sensors in", options=list(REGIONS), value="the whole square"),
        "medium": pn.widgets.IntSlider(label="Medium", start=0, end=19, value=7),
        "prior": pn.widgets.Checkbox(label="Prior on the latent variables, and an error of the operator", value=True),
    }  # fmt: skip
    pages.sync(widgets, state)
    maps, band, sheets = pages.plot(label="phases"), pages.plot(label="band of u"), pages.plot(label="posterior draws")
    table = pages.numbers()
    file = uploads.Upload("Your sensors: x, y, u", kinds=("table",))
    notice = pages.react({**widgets, "file": file}, draw, maps, band, sheets, table)
    return pages.layout(
        TITLE, QUESTION, [*widgets.values(), file], [maps, pages.row(band, sheets), table], notice=notice, method=METHOD,
        explanation=EXPLANATION,
    )  # fmt: skip


def draw(sensors, noise, region, medium, prior, file, theme):
    own = file is not None
    truth, u, x, found = read(file, noise, prior) if own else inverted(sensors, round(noise, 3), region, medium, prior)
    n = learned().cells
    cells, middle = dgno.lattice(n, 2), torch.stack([torch.arange(1, n) / n, torch.full((n - 1,), 0.5)], 1)
    probability = found.probabilities(cells)[0, 1, 0].reshape(n, n)
    draws, raw = found.solutions(middle)[0, 0], found.inputs(cells)[0, 0, 0].sigmoid()
    shown = raw[torch.linspace(0, len(raw) - 1, 5).long()].reshape(5, n, n)
    known = None if own else u[:, n // 2 - 1]
    numbers = {
        "mean entropy of the phase": float(entropy(probability).mean()),
        "largest R-hat of the chains": float(found.r_hat.max()),
    }
    if not own:
        numbers["share of misclassified cells"] = float(((probability > 0.5) != truth).double().mean())
        numbers["relative error of the posterior mean of u"] = float((draws.mean(0) - known).norm() / known.norm())
    return (
        figures.phases(truth, probability, x, theme=theme),
        figures.band(middle[:, 0], known, draws, theme=theme),
        figures.stack(shown, theme=theme),
        numbers,
    )


def read(file, noise, prior):
    """The posterior from a visitor's table."""
    frame = getattr(file.data, "frame", file.data)
    numeric = frame.select_dtypes("number")
    if numeric.shape[1] != 3 or not 2 <= len(numeric) <= 2000:
        raise ValueError(
            f"the table needs 2 to 2000 rows of three numbers x, y, u; it has {len(numeric)} of {numeric.shape[1]}"
        )
    table = torch.from_numpy(numeric.to_numpy(dtype="float64").copy())
    return None, None, table[:, :2], answer(table[:, :2], table[:, 2], noise, prior)


def answer(x, u, noise, prior):
    """The posterior of the recorded operator from values u at x, with noise as a share of their root mean square."""
    size = noise * float(u.square().mean().sqrt())
    return dgno.invert(learned(), x, u, noise=size, descent=80, warmup=60, draws=60, leapfrog=6, prior=prior)


def entropy(p: torch.Tensor) -> torch.Tensor:
    """Entropy of a binary variable in bits."""
    p = p.clamp(1e-9, 1 - 1e-9)
    return -(p * p.log2() + (1 - p) * (1 - p).log2())


@lru_cache(maxsize=1)
def learned() -> dgno.DGNO:
    """The operator trained on two-phase media without a solution."""
    return dgno.load_operator(OPERATOR)


@lru_cache(maxsize=32)
def inverted(sensors, noise, region, medium, prior):
    """The true phase (n, n), its u at inner corners (n - 1, n - 1), sensors (sensors, 2), and the posterior."""
    n = learned().cells
    setting = study.Setting.of("default", cells=n)
    a = study.fields(setting, 20, 50_000)[medium]
    u = study.reference(setting, a[None])[0]
    generator = torch.Generator().manual_seed(medium)
    places, (wide, high) = dgno.corners(n, 2), REGIONS[region]
    free = torch.nonzero((places[:, 0] <= wide) & (places[:, 1] <= high))[:, 0]
    taken = free[torch.randperm(len(free), generator=generator)[:sensors]]
    exact = u[taken]
    values = exact + noise * exact.square().mean().sqrt() * torch.randn(len(taken), generator=generator)
    return a > 0.75, u.reshape(n - 1, n - 1), places[taken], answer(places[taken], values, noise, prior)
