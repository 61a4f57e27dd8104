"""Fractional noise, interactively: move the Hurst index, watch paths on one Brownian motion and the evidence of a series."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import panel as pn
import torch

from lab.generative import vi_fractional_sde as model
from lab.generative.studies import vi_fractional_sde as study
from widgets import pages
from widgets.figures.generative import vi_fractional_sde as figures
from widgets.server import uploads

TITLE, ROUTE, METHOD = "Inference with fractional noise", "fractional-noise", "vi_fractional_sde"
QUESTION = "How much memory has the noise behind a series, and what does a model gain that knows it?"
EXPLANATION = (
    "All paths use the same Brownian motion: the slider only changes how a handful of processes with different decay rates are "
    "weighted. Below H = 1/2 the past pushes back, above it carries on. The lower figure asks which H explains a series best: the "
    "evidence bound over H, at its best control. An own table is read as one series a numeric column, from its first value on, "
    "scaled by the size of its increments; it is not kept."
)
INDICES = [round(0.05 * k, 2) for k in range(2, 19)]


def build(state: dict) -> pn.viewable.Viewable:
    widgets = pages.controls(study.Setting, "hurst", "K", "kind")
    pages.sync(widgets, state)
    file = uploads.Upload("Your series, one a column", kinds=("table",))
    paths, error, curve, table = (
        pages.plot(label="paths", height=340), pages.plot(label="approximation", height=320),
        pages.plot(label="evidence", height=340), pages.numbers(),
    )  # fmt: skip
    notice = pages.react({**widgets, "file": file}, draw, paths, error, curve, table)
    return pages.layout(
        TITLE,
        QUESTION,
        [*widgets.values(), file],
        [paths, pages.row(error, curve), table],
        notice=notice,
        method=METHOD,
        explanation=EXPLANATION,
    )


def draw(hurst, K, kind, file, theme):
    noise = model.Noise.of(hurst, K=K, kind=kind)
    found = model.simulate(
        noise, torch.zeros(1, 8, 1), horizon=1.0, steps=400, generator=torch.Generator().manual_seed(3)
    )
    result = study.run(study.Setting(hurst=hurst, K=K), seeds=(0,)) if file is None else own(file, K)
    errors = approximation_errors(K, kind)
    error = float(model.relative_error(noise.weights, hurst, noise.gamma, 1.0, kind))
    numbers = {
        "mean square error of the approximation": f"{error:.2g}",
        "H by evidence bound": round(float(result.elbo[0]), 3),
        "H by exact likelihood": round(float(result.likelihood[0]), 3),
        "H by variogram": round(float(result.variogram[0]), 3),
        "evidence gained over ordinary noise (nats a series)": round(float(result.bound[0] - result.ordinary[0]), 2),
        "weights": ", ".join(f"{float(w):.2f}" for w in noise.weights),
    }
    if file is None:
        numbers = {"true H of the series": hurst} | numbers
    return (
        figures.paths(found.x[0, :, :, 0], found.times, hurst=hurst, theme=theme),
        figures.approximation(INDICES, errors, now=hurst, theme=theme),
        figures.profile(result, theme=theme),
        numbers,
    )


def own(file, K):
    """The estimates of a visitor's table."""
    from lab.datasets import Table

    frame = getattr(file.data, "frame", file.data)
    numeric = frame.select_dtypes("number")
    if not 1 <= numeric.shape[1] <= 100:
        raise ValueError(f"the table needs 1 to 100 numeric columns, one a series; it has {numeric.shape[1]}")
    if len(numeric) > 301:
        numeric = numeric.iloc[np.linspace(0, len(numeric) - 1, 301).astype(int)]
    return study.run(study.Setting(K=K), seeds=(0,), data=Table(numeric))


@lru_cache(maxsize=32)
def approximation_errors(K, kind):
    """Errors of optimal weights over H, and of the trapezoid rule where it exists."""
    gamma = model.rates(K)
    found = {
        "optimal weights": [
            float(model.relative_error(model.optimal_weights(H, gamma, 1.0, kind), H, gamma, 1.0, kind))
            for H in INDICES
        ]
    }
    if kind == "II":
        rough = [H for H in INDICES if H < 0.5]
        found["trapezoid rule"] = [
            float(model.relative_error(model.quadrature_weights(H, gamma), H, gamma)) for H in rough
        ]
    return found
