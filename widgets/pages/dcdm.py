"""The deep conjugate direction method, interactively: put obstacles into the box and watch the residual and its spectrum."""

from functools import lru_cache
from pathlib import Path

import panel as pn
import torch

from lab.physics import dcdm
from lab.physics.elliptic import Grid
from lab.physics.studies import dcdm as study
from widgets import pages
from widgets.figures.physics import dcdm as figures

TITLE, ROUTE, METHOD = "Deep conjugate directions", "dcdm", "dcdm"
QUESTION = "What does a learned search direction take out of the residual that conjugate gradients leave?"
NET = Path(__file__).resolve().parents[2] / "data" / "samples" / "direction_net.pt"
KEPT = 41


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "iteration": pn.widgets.IntSlider(label="Iteration", start=0, end=KEPT - 1, value=4),
        "across": pn.widgets.FloatSlider(label="Obstacle: centre across", start=0, end=1, step=0.05, value=0.4),
        "up": pn.widgets.FloatSlider(label="Centre up", start=0, end=1, step=0.05, value=0.5),
        "radius": pn.widgets.FloatSlider(label="Radius", start=0, end=0.4, step=0.02, value=0.16),
        "bar": pn.widgets.FloatSlider(label="Length of a thin wall", start=0, end=1, step=0.1, value=0.5),
        "cells": pn.widgets.Select(label="Cells a side (trained on 32)", options=[32, 64, 128], value=64),
        "sides": pn.widgets.Select(label="Sides of the box", options=["open", "wall"], value="open"),
    }
    pages.sync(widgets, state)
    maps, curve = pages.plot(label="residual maps"), pages.plot(label="residual over iterations")
    spectrum, table = pages.plot(label="spectrum of the residual"), pages.numbers()
    notice = pages.react(widgets, draw, maps, curve, spectrum, table)
    return pages.layout(
        TITLE, QUESTION, widgets, [maps, pages.row(curve, spectrum), table], notice=notice, method=METHOD
    )


def draw(iteration, across, up, radius, bar, cells, sides, theme):
    solid, runs = solved(round(across, 3), round(up, 3), round(radius, 3), round(bar, 3), cells, sides)
    maps = {name: residuals[min(iteration, len(residuals) - 1)] for name, (_, residuals) in runs.items()}
    curves = {name: found.residuals[:, 0] for name, (found, _) in runs.items()}
    start = runs["CG"][1][0]
    size = start.norm()
    wave, first = spectrum(start / size)
    power = {"right-hand side": first, **{name: spectrum(r / size)[1] for name, r in maps.items()}}
    numbers = {"unknowns": int((~solid).sum())}
    for name, (found, _) in runs.items():
        label = "network" if name == "DCDM" else "conjugate gradients"
        count = int((found.residuals[:, 0] > 1e-4).sum())
        numbers[f"iterations to 1e-4, {label}"] = count if count < len(found.residuals) else f"more than {count - 1}"
        numbers[f"residual at iteration {iteration}, {label}"] = float(
            curves[name][min(iteration, len(curves[name]) - 1)]
        )
    return (
        figures.residual_maps(maps, solid, iteration, theme=theme),
        figures.residual_curves(curves, mark=iteration, theme=theme),
        figures.spectra(wave, power, iteration, theme=theme),
        numbers,
    )


@lru_cache(maxsize=1)
def learned() -> dcdm.FittedDirection:
    """The network trained on the empty box of 32 x 32 cells."""
    return dcdm.FittedDirection.load(NET)


@lru_cache(maxsize=32)
def solved(across, up, radius, bar, cells, sides):
    """The obstacle, and for each method its solution and residuals (iterations + 1, n, n), the first KEPT of them."""
    y, x = torch.meshgrid(*[(torch.arange(cells) + 0.5) / cells] * 2, indexing="ij")
    solid = (x - across) ** 2 + (y - up) ** 2 < radius**2
    solid |= ((y - 0.8).abs() < 1.2 / cells) & ((x - 0.5).abs() < bar / 2)
    A = Grid((cells, cells), obstacle=solid, sides=sides)
    b = study.sources(cells, (0,))
    runs = {}
    for name, f in (("DCDM", learned()), ("CG", lambda r: r)):
        seen = [A.project(b)[0]]

        def see(k, x, r, seen=seen):
            if len(seen) < KEPT:
                seen.append(r[0])

        count = 60 if name == "DCDM" else 500
        runs[name] = (dcdm.solve(A, b, f, tolerance=1e-8, iterations=count, see=see), torch.stack(seen))
    return solid, runs


def spectrum(r: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Root mean square of the sine coefficients of a residual (n, n) in bands of wave numbers."""
    n = len(r)
    k = torch.arange(1, n + 1, dtype=torch.float64)
    sine = torch.sin(torch.pi * k[:, None] * k / (n + 1)) * (2 / (n + 1)) ** 0.5
    square = (sine @ r @ sine).square()
    band = (k[:, None].square() + k.square()).sqrt().long().clamp_max(n)
    total = torch.zeros(n + 1, dtype=torch.float64).index_add(0, band.flatten(), square.flatten())
    count = torch.bincount(band.flatten(), minlength=n + 1).clamp_min(1)
    return torch.arange(1, n + 1), (total / count).sqrt()[1:]
