"""The explorer of required bits: three routes to one tail, and the bits of a task, under sliders."""

from __future__ import annotations

import math

import ipywidgets
import numpy as np
import torch

from lab import checks
from lab.inductive_bias import GaussianQuadraticLaw, KernelSpace, Task, bit_map, estimates, required_bits
from widgets.figures import inductive_bias as figures
from widgets.jupyter.explorer import Explorer


class BiasExplorer(Explorer):
    """Contour, saddlepoint and drawn losses of one law, side by side.

    Without arguments the law is a spectrum ``exp(-i / decay)`` with shifts, under the sliders ``decay``, ``offset`` and
    ``position`` (of the threshold, between the deepest shown and the mean). With ``task`` and ``space`` it is theirs,
    the slider is ``position`` alone, and the bit map stands below.

    Args:
        task: a :class:`lab.inductive_bias.Task` with squared error.
        space: a :class:`lab.inductive_bias.KernelSpace`.
        draws: drawn losses.
    """

    def __init__(self, task: Task | None = None, space: KernelSpace | None = None, *, draws: int = 10_000):
        checks.integer("draws", draws, low=100)
        if (task is None) != (space is None):
            raise TypeError("task and space must be given together")
        self._draws, self._cache = draws, {}
        self._task, self._law = task, None if task is None else space.loss_law(task)
        style = {"style": {"description_width": "110px"}, "layout": {"width": "340px"}, "continuous_update": False}
        controls = {
            "position": ipywidgets.FloatSlider(value=40, min=0, max=100, step=1, description="Threshold ε (%)", **style)
        }
        if task is None:
            controls |= {
                "decay": ipywidgets.FloatLogSlider(
                    value=20, min=0, max=2, base=10, description="Spectrum decay", **style
                ),
                "offset": ipywidgets.FloatSlider(value=0.5, min=0, max=3, step=0.1, description="Offset", **style),
            }
        super().__init__("Required bits", controls, self._results_at)

    def law_at(self, values: dict) -> GaussianQuadraticLaw:
        """The law that the sliders describe."""
        if self._law is not None:
            return self._law
        weights = torch.exp(-torch.arange(100, dtype=torch.float64) / values["decay"])
        return GaussianQuadraticLaw(weights, values["offset"] ** 2 * weights, 1, 0.0, 100)

    def _results_at(self, values):
        key = (values.get("decay"), values.get("offset"))
        if key not in self._cache:
            law = self.law_at(values)
            self._cache = {key: (law, estimates(law, draws=self._draws, points=60))}
        law, routes = self._cache[key]
        low, high = np.log(routes.eps[[0, -1]])
        eps = float(np.exp(low + (high - low) * values["position"] / 100))
        found, fast = required_bits(law, eps), required_bits(law, eps, method="saddlepoint")
        share = float((routes.losses <= eps).mean())
        fitted = float(np.interp(math.log(eps), np.log(routes.eps), routes.fitted))
        rows = [
            {"route": "contour integral", "bits": found.bits},
            {"route": "saddlepoint, second order", "bits": fast.bits},
            {"route": f"counted in {routes.draws:,} draws", "bits": -math.log2(share) + 0.0 if share else math.inf},
            {"route": "fitted non-central chi-square", "bits": fitted},
        ]
        shown = [figures.tail(routes, eps=eps), rows]
        if self._task is not None and eps < law.mean:
            people = bit_map(law, eps)
            square = math.isqrt(self._task.test_inputs[0].numel()) ** 2 == self._task.test_inputs[0].numel() > 4
            images = self._task.test_inputs.reshape(self._task.n_test, -1)
            shown.insert(1, figures.bit_map(people, images) if square else figures.bits_by_example(people))
        return shown
