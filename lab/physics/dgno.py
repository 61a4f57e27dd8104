r"""The deep generative neural operator: one latent vector decodes to a PDE's input and to its solution, trained without labels.

With z ~ N(0, I) and β = tanh(z) every field is a :class:`MultiONet`

.. math:: g(x; \beta) = \frac{1}{L} \sum_{l} \frac{w_l}{\sqrt{W}} \langle t_l(x), b_l(\beta) \rangle + b_0

over the last L of the layers of a trunk on x and of a branch on β (W wide; L = 1 is DeepONet). A phase field has the probabilities
softmax(g), a smooth one log a = g; the solution is u = m(x) g with a factor m that vanishes on the boundary. For
-div(a grad u) = f the flux s = a grad u is a field of its own, and the residuals

.. math:: r_1 = s/a - \nabla u, \qquad r_2 = \int s \cdot \nabla v - \int f v

take part in training as virtual observations of zero; the test functions v are :class:`WendlandTest` functions around every point
of a lattice that is shifted at random in each step. An encoder gives q(z|a), so that training maximizes the evidence bound of
inputs a alone, and inverse problems are solved in z: :func:`invert` draws from p(z | sensors) by Hamiltonian Monte Carlo.

Differences from the published code: trunks are shared between fields, the encoder has a variance (there it is deterministic, so
that z has no prior), layer weights start at 1 (at 0 nothing but b_0 has a gradient at first), r_1 is divided by a.

Source: Y. Zang, P.-S. Koutsourelakis, 'DGNO: A Novel Physics-aware Neural Operator for Solving Forward and Inverse PDE Problems
based on Deep, Generative Probabilistic Modeling', Journal of Computational Physics 538, 2025.

>>> a = torch.where(torch.rand(20, 8, generator=torch.Generator().manual_seed(0)) > 0.5, 1.0, 0.2)
>>> operator = fit_operator(a, steps=2, points=20, width=8)
>>> operator.predict(a, corners(8, 1)).shape
torch.Size([1, 20, 7])
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from lab import checks
from lab.physics import hmc
from lab.physics.weak_forms import (
    Burgers,
    Darcy,
    WendlandTest,
    at,
    bubble,
    burgers,
    corners,
    lattice,
    lattice_residual,
    reference,
    weak_residual,
)  # fmt: skip


class MultiONet(nn.Module):
    """Fields (models, outputs, items, points) of x (points, d) in the unit box and β (models, items, latent), models side by side.

    One trunk on x and a branch per output on β, ``depth`` layers of equal width each; the last ``layers`` of them enter.
    The trunk's activation is tanh(sin(π(h + 1))) + h.
    """

    def __init__(
        self, d: int, latent: int, outputs: int, *, width: int = 48, depth: int = 4, layers: int = 3,
        seeds: Sequence[int] = (0,),
    ):  # fmt: skip
        super().__init__()
        self.layers = checks.integer("layers", layers, low=1, high=checks.integer("depth", depth, low=1))
        generators = [checks.generator(seed) for seed in seeds]
        self.width = width

        def drawn(*shape, scale):
            return nn.Parameter(scale * torch.stack([torch.randn(shape, generator=g) for g in generators]))

        def shared(*shape, value=0.0):
            return nn.Parameter(torch.full((len(generators), *shape), value))

        ins = [1.0, *[width**-0.5] * (depth - 1)]
        self.trunks = nn.ParameterList(drawn(width if k else d, width, scale=c) for k, c in enumerate(ins))
        self.shifts = nn.ParameterList(drawn(1, width, scale=0.5) for _ in ins)
        sizes = [latent, *[width] * (depth - 1)]
        self.branches = nn.ParameterList(drawn(outputs, n, width, scale=1.4 * n**-0.5) for n in sizes)
        self.biases = nn.ParameterList(drawn(outputs, 1, width, scale=0.3) for _ in sizes)
        self.weights, self.offset = shared(outputs, 1, layers, 1, value=1.0), shared(outputs, 1, 1)

    def trunk(self, x: torch.Tensor, order: int = 0) -> list[torch.Tensor]:
        """Features (models, points, layers * width); with order 1 their gradients (models, d, ...), with 2 their Laplacians."""
        h, slope, curve = 2 * x - 1, None, None
        kept: list[list[torch.Tensor]] = [[], [], []]
        for k, (weight, shift) in enumerate(zip(self.trunks, self.shifts)):
            h = h @ weight + shift
            if order:
                slope = slope @ weight[:, None] if k else 2 * weight[:, :, None].expand(-1, -1, len(x), -1)
            if order > 1:
                curve = curve @ weight if k else torch.zeros_like(h)
            wave = torch.sin(math.pi * h)
            t = torch.tanh(-wave)
            if order:
                rise, flat = -math.pi * torch.cos(math.pi * h), 1 - t * t
                first = flat * rise + 1
                if order > 1:
                    second = flat * (math.pi**2 * wave) - 2 * t * flat * rise**2
                    curve = first * curve + second * slope.square().sum(1)
                slope = first[:, None] * slope
            h = h + t
            for each, found in zip(kept, (h, slope, curve)):
                each.append(found)
        return [torch.cat(each[-self.layers :], -1) for each in kept[: order + 1]]

    def branch(self, beta: torch.Tensor, only: slice = slice(None)) -> torch.Tensor:
        """Coefficients (models, outputs, items, layers * width) of the trunk's features, of all outputs or a slice of them."""
        h, kept = beta[:, None], []
        for weight, bias in zip(self.branches, self.biases):
            h = F.silu(h @ weight[:, only] + bias[:, only])
            kept.append(h)
        scaled = torch.stack(kept[-self.layers :], -2) * self.weights[:, only] / (self.layers * self.width**0.5)
        return scaled.flatten(-2)

    def forward(self, x: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        return self.join(self.branch(beta), self.trunk(x)[0])

    def join(self, branch: torch.Tensor, features: torch.Tensor, first: int = 0) -> torch.Tensor:
        """Values (models, outputs, items, points) of the outputs from number ``first`` on, whose ``branch`` is given."""
        return branch @ features[:, None].mT + self.offset[:, first : first + branch.shape[1]]


class DGNO(nn.Module):
    """An encoder q(z|a) and a decoder of inputs and outputs, models of all seeds side by side.

    Args:
        problem: :class:`Darcy`, or an object with the same members: another weak form, another decoder of inputs.
        cells: n of inputs with n^d cells. latent: the length of z. layers: L, 1 for DeepONet.
    """

    def __init__(
        self, problem, cells: int, *, latent: int = 16, width: int = 48, depth: int = 4, layers: int = 3, hidden: int = 128,
        seeds: Sequence[int] = (0,),
    ):  # fmt: skip
        super().__init__()
        self.problem, self.cells, self.latent, self.seeds = problem, cells, latent, tuple(seeds)
        self.form = {
            "cells": cells,
            "latent": latent,
            "width": width,
            "depth": depth,
            "layers": layers,
            "hidden": hidden,
        }
        self.decoder = MultiONet(
            problem.d, latent, problem.inputs + problem.outputs, width=width, depth=depth, layers=layers, seeds=seeds
        )
        generators = [checks.generator(1_000_003 + seed) for seed in seeds]
        sizes = [cells**problem.inner, hidden, hidden, 2 * latent]
        self.encoder = nn.ParameterList(
            nn.Parameter(c * n**-0.5 * torch.stack([torch.randn(n, m, generator=g) for g in generators]))
            for n, m, c in zip(sizes, sizes[1:], (1.4, 1.4, 0.5))
        )
        self.steady = nn.ParameterList(nn.Parameter(torch.zeros(len(seeds), 1, n)) for n in sizes[1:])

    @property
    def models(self) -> int:
        """How many models stand side by side."""
        return len(self.seeds)

    def encode(self, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log standard deviation (models, items, latent) of q(z|a) for a (items, n, ...) or (models, items, n, ...)."""
        return self.encode_labels(self.problem.label(a))

    def encode_labels(self, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same of ``problem.label(a)``, which may lie between whole phases."""
        h = labels.to(self.encoder[0].dtype).flatten(-self.problem.inner)
        h = h.expand(self.models, *h.shape[-2:]) - 0.5 * self.problem.inputs * (self.problem.phases is not None)
        for k, (weight, bias) in enumerate(zip(self.encoder, self.steady)):
            h = h @ weight + bias
            h = F.silu(h) if k < 2 else h
        mean, spread = h.chunk(2, -1)
        return mean, spread - 2.0

    def inputs(self, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Decoded inputs (models, inputs, items, points): logits of phases, or log a."""
        branch = self.decoder.branch(torch.tanh(z), slice(self.problem.inputs))
        return self.decoder.join(branch, self.decoder.trunk(x)[0])

    def solution(self, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """u (models, items, points) of z (models, items, latent)."""
        k = self.problem.inputs
        branch = self.decoder.branch(torch.tanh(z), slice(k, k + 1))
        return self.problem.solution(x, self.decoder.join(branch, self.decoder.trunk(x)[0], k)[:, 0])

    def predict(self, a: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """u (models, items, points) at points x (points, d) for inputs a (items, n, ...)."""
        with torch.no_grad():
            return self.solution(self.encode(self._field(a))[0], x.to(self.encoder[0].dtype))

    def _field(self, a):
        a = checks.tensor("a", a, shape=(None, *[self.cells] * self.problem.inner), floating=True)
        if not bool((a > 0).all()) and isinstance(self.problem, Darcy):
            raise ValueError(f"a must be positive, got {float(a.min()):g}")
        return a.to(self.encoder[0].dtype)


def loss(
    model: DGNO, a: torch.Tensor, generator: torch.Generator, *, physics: float = 1.0, form: str = "weak",
    test: WendlandTest, points: int, labels: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """The negative evidence bound per cell with the residuals as virtual observations, (models,), of a (models, items, n, ...).

    Args:
        physics: weight of the residuals.
        form: ``"weak"``: r_1 and r_2; ``"strong"``: the residual of second derivatives in place of both; ``"labels"``: the
            relative square error of ``labels`` (models, items, corners) alone, without noise in z and without residuals.
        points: lattice points a side for the test functions.
    """
    problem, decoder, k, d = model.problem, model.decoder, model.problem.inputs, model.problem.d
    mean, spread = model.encode(a)
    if form == "labels":
        u = model.solution(mean, corners(model.cells, d).to(mean.dtype))
        return ((u - labels).square().mean(-1) / labels.square().mean(-1)).mean(1)
    z = mean + spread.exp() * torch.randn(mean.shape, generator=generator)
    branch = decoder.branch(torch.tanh(z))
    side = min(points, model.cells)
    x = problem.place(lattice(side, d, torch.rand(side**d, d, generator=generator)))
    features = decoder.trunk(x, 0 if physics == 0 else 2 if form == "strong" else 1)
    values, raw = at(a, x[:, : problem.inner]), decoder.join(branch, features[0])
    bound = (mean.square() + (2 * spread).exp() - 1 - 2 * spread).sum(-1).mean(1) / (2 * model.cells**problem.inner)
    bound = bound + problem.misfit(raw[:, :k], values).mean((1, 2))
    if physics == 0:
        return bound
    slopes = branch[:, k : k + 1] @ features[1].mT
    if form == "strong":
        curve = branch[:, k] @ features[2].mT
        return bound + physics * problem.strong(x, values, raw[:, k:], slopes, curve).square().mean((1, 2))
    bound = bound + physics * problem.local(x, values, raw[:, k:], slopes).square().sum(1).mean((1, 2))
    x = lattice(points, d, torch.rand(d, generator=generator))
    features = decoder.trunk(x, problem.order)
    slopes = branch[:, k : k + 1] @ features[1].mT if problem.order else None
    flux = problem.flux(x, decoder.join(branch[:, k:], features[0], k), slopes)
    residual, weight = lattice_residual(x, flux.transpose(1, 2).flatten(0, 1), problem.source, test)
    square = (residual / problem.size).square() * weight / weight.mean()
    return bound + physics * square.unflatten(0, (model.models, -1)).mean((1, 2))


def train(
    model: DGNO, a: torch.Tensor, *, steps: int, rate: float = 2e-3, batch: int = 16, physics: float = 1.0,
    form: str = "weak", radius: float = 0.1, points: int = 64, labels: torch.Tensor | None = None, seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:  # fmt: skip
    """Train on inputs a (items, n, ...) alone, in place; returns the losses (steps, models). Arguments as in :func:`loss`."""
    generator, optimizer = checks.generator(seed), torch.optim.Adam(model.parameters(), lr=rate)
    a, test, kept = a.float(), WendlandTest(model.problem.d, radius), []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = (
            rate * min(1.0, (step + 1) / 50) * (0.51 + 0.49 * math.cos(math.pi * step / steps))
        )
        items = torch.randint(len(a), (model.models, min(batch, len(a))), generator=generator)
        each = loss(
            model, a[items], generator, physics=physics, form=form, test=test, points=points,
            labels=None if labels is None else labels[items],
        )  # fmt: skip
        optimizer.zero_grad()
        each.sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0 * model.models**0.5)
        optimizer.step()
        kept.append(each.detach())
        if progress is not None:
            progress((step + 1) / steps)
    return torch.stack(kept)


@dataclass(frozen=True)
class Posterior:
    """Draws of p(z | sensors) through a frozen operator.

    z (draws, models, items, chains, latent); error (draws, models, items, chains), the standard deviation of the operator's own
    error; r_hat (models, items), the largest over z; acceptance (models, items, chains).
    """

    operator: DGNO
    z: torch.Tensor
    error: torch.Tensor
    r_hat: torch.Tensor
    acceptance: torch.Tensor

    def _flat(self):
        return self.z.permute(1, 2, 0, 3, 4).flatten(2, 3)  # (models, items, draws, latent)

    def inputs(self, x: torch.Tensor) -> torch.Tensor:
        """Decoded inputs (models, inputs, items, draws, points)."""
        z = self._flat()
        with torch.no_grad():
            return self.operator.inputs(z.flatten(1, 2), x.to(z.dtype)).unflatten(2, z.shape[1:3])

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """Posterior probability (models, phases, items, points) of each phase."""
        raw = self.inputs(x)
        return self.operator.problem.probabilities(raw.flatten(2, 3)).unflatten(2, raw.shape[2:4]).mean(3)

    def solutions(self, x: torch.Tensor, seed: int | torch.Generator = 0) -> torch.Tensor:
        """Draws of u (models, items, draws, points): the operator's answer and a draw of its error."""
        z, generator = self._flat(), checks.generator(seed)
        with torch.no_grad():
            u = self.operator.solution(z.flatten(1, 2), x.to(z.dtype)).unflatten(1, z.shape[1:3])
        error = self.error.permute(1, 2, 0, 3).flatten(2)[..., None]
        return u + error * torch.randn(u.shape, generator=generator, dtype=u.dtype)


def invert(
    operator: DGNO, sensors, u=None, *, noise: float, chains: int = 4, starts: int = 8, descent: int = 150, warmup: int = 150,
    draws: int = 100, leapfrog: int = 8, prior: bool = True, seed: int | torch.Generator = 0,
    progress: Callable[[float], None] | None = None,
) -> Posterior:  # fmt: skip
    """The posterior of z from values of u at sensors: u_k = u(x_k; z) + operator's error + noise, z ~ N(0, I).

    The operator's error is normal with standard deviation τ; log τ is drawn along with z, under a normal prior around 2 % of the
    values' size with deviation 1. Chains start from the best of ``starts`` descents.

    Args:
        sensors: (sensors, d) in the unit box, or a table (file) whose columns are the coordinates and then u.
        u: values (sensors,), (items, sensors) or (models, items, sensors).
        noise: standard deviation of the sensors, in units of u.
        prior: False leaves out the prior of z, and the operator's error with its own; ``noise`` must then be positive.

    Raises:
        ValueError, TypeError: other shapes, sensors outside the box, a negative noise.
    """
    if u is None:
        sensors, u = read_sensors(sensors, operator.problem.d) if isinstance(sensors, (str, Path)) else _split(sensors)
    x = checks.tensor("sensors", sensors, shape=(None, operator.problem.d), floating=True).float()
    if float(x.min()) < 0 or float(x.max()) > 1:
        raise ValueError(
            f"sensors must lie in the unit box, got coordinates from {float(x.min()):g} to {float(x.max()):g}"
        )
    u = checks.tensor("u", u, ndim=(1, 2, 3), floating=True).float()
    u = u.reshape(1, *[1] * (2 - u.ndim), *u.shape) if u.ndim < 3 else u
    if u.shape[-1] != len(x) or u.shape[0] not in (1, operator.models):
        raise ValueError(
            f"u must hold a value for each of {len(x)} sensors (items, sensors), got {tuple(u.shape[-2:])}"
        )
    noise, generator = checks.number("noise", noise, low=0.0, open_low=not prior), checks.generator(seed)
    starts = max(checks.integer("starts", starts, low=1), checks.integer("chains", chains, low=1))
    u = u.expand(operator.models, *u.shape[1:])
    size = u.square().mean(-1).sqrt().clamp_min(1e-12)[..., None]
    with torch.no_grad():
        features = operator.decoder.trunk(x)[0]
    place, k = {id(p): p.requires_grad for p in operator.parameters()}, operator.problem.inputs
    only, one = slice(k, k + 1), operator.decoder

    def density(w):
        beta = torch.tanh(w[..., :-1])
        raw = one.join(one.branch(beta.flatten(1, 2), only), features, k)[:, 0]
        gap = u[:, :, None] - operator.problem.solution(x, raw).unflatten(1, w.shape[1:3])
        error = (size * w[..., -1].exp()).square() if prior else torch.zeros_like(w[..., -1])
        variance = noise**2 + error
        value = (
            -(gap.square().sum(-1) / variance + len(x) * variance.log()) / 2
            - (w[..., -1] - math.log(0.02)).square() / 2
        )
        return value - w[..., :-1].square().sum(-1) / 2 if prior else value

    try:
        operator.requires_grad_(False)
        w = torch.randn(operator.models, u.shape[1], starts, operator.latent + 1, generator=generator)
        w = torch.cat([0.5 * w[..., :-1], torch.full_like(w[..., :1], math.log(0.1))], -1).requires_grad_()
        optimizer = torch.optim.Adam([w], lr=0.05)
        for _ in range(descent):
            optimizer.zero_grad()
            (-density(w).sum()).backward()
            optimizer.step()
        w = w.detach()
        best = density(w).topk(chains, 2).indices
        w = torch.gather(w, 2, best[..., None].expand(*best.shape, w.shape[-1]))
        found = hmc.sample(
            density, w, warmup=warmup, draws=draws, leapfrog=leapfrog, step=0.05, seed=generator, progress=progress
        )
    finally:
        for p in operator.parameters():
            p.requires_grad_(place[id(p)])
    z, error = found.z[..., :-1], size * found.z[..., -1].exp() * prior
    r_hat = hmc.split_r_hat(z.permute(0, 3, 1, 2, 4)).amax(-1)
    return Posterior(operator, z, error, r_hat, found.acceptance)


def _split(table):
    table = checks.tensor("sensors", table, ndim=2, floating=True)
    return table[:, :-1], table[:, -1]


def read_sensors(path: str | Path, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Coordinates (sensors, d) and values (sensors,) from a CSV file or table whose columns are the coordinates and then u.

    Raises:
        ValueError: another number of columns, text, missing values.
    """
    from lab import datasets

    path = Path(path)
    frame = datasets.load(path).frame
    names, numeric = list(frame.columns), frame.select_dtypes("number")
    if len(names) != d + 1 or numeric.shape[1] != d + 1:
        raise ValueError(
            f"{path.name} must have {d + 1} columns of numbers, coordinates and u, got {', '.join(map(str, names))}"
        )
    return _split(torch.from_numpy(numeric.to_numpy(dtype="float64").copy()))


def fit_operator(
    a, problem=None, *, steps: int = 600, rate: float = 1e-2, physics: float = 5.0, latent: int = 16, width: int = 64,
    depth: int = 3, layers: int = 3, points: int = 48, radius: float = 0.1, seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> DGNO:  # fmt: skip
    """A trained operator from inputs a (items, n, ...) alone: an array, or a ``.npy`` file; no solution is needed.

    Args:
        problem: :class:`Darcy` (the default, its phases the values that a takes where these are at most six), :class:`Burgers`,
            or an object with the same members.
    """
    if isinstance(a, (str, Path)):
        import numpy as np

        a = np.load(a, allow_pickle=False)
    a = checks.tensor("a", a, ndim=(2, 3), floating=True)
    if problem is None:
        values = a.flatten()[:100_000].unique()
        problem = Darcy(a.ndim - 1, values.tolist() if 1 < len(values) <= 6 else None)
    model = DGNO(problem, a.shape[-1], latent=latent, width=width, depth=depth, layers=layers, seeds=(seed,))
    model._field(a)
    train(model, a, steps=steps, rate=rate, physics=physics, points=points, radius=radius, seed=seed, progress=progress)
    return model.requires_grad_(False)


PROBLEMS = {"Darcy": Darcy, "Burgers": Burgers}


def save_operator(operator: DGNO, path: str | Path) -> None:
    """Write an operator of :class:`Darcy` or :class:`Burgers` to one file; for an own problem keep its ``state_dict()``."""
    name = checks.choice("the operator's problem", type(operator.problem).__name__, PROBLEMS)
    torch.save(
        {"problem": name, "arguments": operator.problem.form, "form": operator.form, "seeds": list(operator.seeds),
         "weights": operator.state_dict()}, path
    )  # fmt: skip


def load_operator(path: str | Path) -> DGNO:
    """Read what :func:`save_operator` wrote; nothing in the file is executed."""
    kept = torch.load(path, weights_only=True)
    problem = PROBLEMS[checks.choice("the file's problem", kept["problem"], PROBLEMS)](**kept["arguments"])
    model = DGNO(problem, **kept["form"], seeds=kept["seeds"])
    model.load_state_dict(kept["weights"])
    return model.requires_grad_(False)


__all__ = ["Burgers", "DGNO", "Darcy", "MultiONet", "Posterior", "WendlandTest", "at", "bubble", "burgers", "corners",
           "fit_operator", "invert", "lattice", "lattice_residual", "load_operator", "loss", "read_sensors", "reference",
           "save_operator",
           "train", "weak_residual"]  # fmt: skip
