r"""Neural constitutive laws: the momentum equation is kept, the material is learned from motion.

Elasticity and plasticity are small networks on invariants of the deformation gradient F = R S that vanish at rest,

.. math:: q(F) = (\mathrm{tr} S - d,\ \mathrm{upper}(F^TF - I),\ J - 1),\qquad X = \mathrm{sym}(\mathrm{MLP}(q)),

.. math:: \tau = s\,R X F^T \ \text{(first Piola-Kirchhoff stress } P = s R X)\quad\text{or}\quad \tau = s\,R X R^T,
          \qquad F_{new} = F + \alpha R\,\mathrm{sym}(\mathrm{MLP}(q)),

with GELU and no biases: F -> Q F turns the stress with the frame, and F = I has none and stays. s is a stress unit in Pa, best
rho v^2 of the motion. Trained through :func:`lab.kernels.mpm_step` on positions alone, from the observed state again at the
start of each segment (teacher forcing); segments are independent and run side by side as scenes, and so do models.

Source: P. Ma, P. Y. Chen, B. Deng, J. B. Tenenbaum, T. Du, C. Gan, W. Matusik, 'Learning Neural Constitutive Laws From Motion
Observations for Generalizable PDE Dynamics', ICML 2023, equations (4) to (9). The published form tau = s R X F^T is symmetric
only where X commutes with S, so a body can gain angular momentum; ``symmetric=True`` is our variant that keeps it. The published
code gives the network the sorted singular values, which have kinks where two are equal, and trains with learning rate 1 at a
gradient norm of 0.1; here the trace of S and a stress unit make Adam at 1e-2 with norm 1 do.

>>> law = MetaElasticity(d=2, width=8)
>>> float(law(torch.eye(2)[None, None]).detach().abs().max())
0.0
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lab import checks
from lab.kernels import MpmState, mpm_step
from lab.physics.continuum import Law, Scene, det, invariants, polar


class _Stack(nn.Module):
    """One network a model side by side: weights (models, in, out), GELU, biases only where asked for."""

    def __init__(self, sizes: Sequence[int], seeds: Sequence[int], *, biases: bool = False, last: float = 1.0):
        super().__init__()
        drawn: list[list[torch.Tensor]] = []
        for seed in seeds:
            generator = checks.generator(seed)
            drawn.append([torch.randn(a, b, generator=generator) / math.sqrt(a) for a, b in zip(sizes, sizes[1:])])
        layers = [torch.stack(each) for each in zip(*drawn)]
        layers[-1] = last * layers[-1]
        self.weights = nn.ParameterList(layers)
        self.biases = nn.ParameterList([torch.full((len(seeds), 1, b), 0.1) for b in sizes[1:]] if biases else [])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for k, weight in enumerate(self.weights):
            x = nn.functional.gelu(x) if k else x
            x = torch.baddbmm(self.biases[k].to(x), x, weight.to(x)) if len(self.biases) else x @ weight.to(x)
        return x


class _Meta(nn.Module):
    """What both laws share: F (models * scenes, particles, d, d) -> R and one symmetric matrix a particle."""

    def __init__(
        self, d: int = 2, width: int = 32, depth: int = 2, seeds: Sequence[int] = (0,), *, biases: bool = False
    ):
        super().__init__()
        checks.choice("d", d, (2, 3))
        checks.integer("width", width, low=1)
        checks.integer("depth", depth, low=1)
        self.d, self.models = d, len(seeds)
        inputs = {2: 5, 3: 8}[d]
        self.network = _Stack([inputs, *[width] * depth, d * d], seeds, biases=biases)

    def rotated(self, F: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if F.shape[-1] != self.d or F.shape[0] % self.models:
            raise ValueError(
                f"F must be (scenes, particles, {self.d}, {self.d}) with a multiple of {self.models} scenes, got {tuple(F.shape)}"
            )
        found = self.network(invariants(F).reshape(self.models, -1, 5 if self.d == 2 else 8))
        X = found.reshape(*F.shape)
        return polar(F), (X + X.mT) / 2


class MetaElasticity(_Meta):
    """Kirchhoff stress of F by a network, ``unit`` in Pa; ``symmetric=True`` is tau = s R X R^T, else tau = s R X F^T.

    ``seeds`` draws one network each; scenes are split evenly among them, in order.
    """

    def __init__(self, d: int = 2, width: int = 32, depth: int = 2, seeds: Sequence[int] = (0,), *,
                 unit: float = 5e3, symmetric: bool = False, biases: bool = False):  # fmt: skip
        super().__init__(d, width, depth, seeds, biases=biases)
        self.unit, self.symmetric = checks.number("unit", unit, low=0.0, open_low=True), symmetric

    def forward(self, F: torch.Tensor) -> torch.Tensor:
        R, X = self.rotated(F)
        return self.unit * R @ X @ (R.mT if self.symmetric else F.mT)


class MetaPlasticity(_Meta):
    """F_new = F + alpha R sym(y): the plastic map by a network. ``alpha`` bounds how fast it can yield (the paper: 1e-3)."""

    def __init__(self, d: int = 2, width: int = 32, depth: int = 2, seeds: Sequence[int] = (0,), *,
                 alpha: float = 0.02, biases: bool = False):  # fmt: skip
        super().__init__(d, width, depth, seeds, biases=biases)
        self.alpha = checks.number("alpha", alpha, low=0.0, open_low=True)

    def forward(self, F: torch.Tensor) -> torch.Tensor:
        R, X = self.rotated(F)
        return F + self.alpha * R @ X


class RawElasticity(nn.Module):
    """The network without priors: vec(F - I) -> tau, with biases; what NCLaw is compared with."""

    def __init__(self, d: int = 2, width: int = 32, depth: int = 2, seeds: Sequence[int] = (0,), *, unit: float = 5e3):
        super().__init__()
        self.d, self.models, self.unit = d, len(seeds), unit
        self.network = _Stack([d * d, *[width] * depth, d * d], seeds, biases=True)

    def forward(self, F: torch.Tensor) -> torch.Tensor:
        raw = (F - torch.eye(self.d, dtype=F.dtype)).reshape(self.models, -1, self.d * self.d)
        return self.unit * self.network(raw).reshape(F.shape)


@dataclass(frozen=True)
class TeacherSchedule:
    """Lengths of the segments in frames, one after the other for equal parts of the epochs."""

    lengths: tuple[int, ...] = (5, 10, 20, 40)

    def at(self, epoch: int, epochs: int) -> int:
        """The length in force at ``epoch`` of ``epochs``."""
        return self.lengths[min(len(self.lengths) - 1, epoch * len(self.lengths) // epochs)]


def train(
    elastic: nn.Module | Law,
    plastic: nn.Module | Law | None,
    observed: MpmState,
    scene: Scene,
    *,
    epochs: int,
    every: int = 1,
    schedule: TeacherSchedule | None = None,
    learning_rate: float = 1e-2,
    targets: torch.Tensor | None = None,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """Fit the laws that are modules, in place; returns the loss (epochs, models): mean squared distance in cells.

    Args:
        observed: states with frames and models in front, (frames, models, particles, ...), ``every`` steps apart.
        targets: positions to reach, (frames, models, particles, d); those observed if ``None``.
        schedule: of the segments; frames that do not fill a segment are left out of it.
        progress: called with the share done; an exception from it stops the training.

    Raises:
        ValueError: fewer frames than one segment; a rollout that leaves the grid (with epoch, step, scene and particle).
    """
    schedule, targets = schedule or TeacherSchedule(), observed.x if targets is None else targets
    modules = [law for law in (elastic, plastic) if isinstance(law, nn.Module)]
    parameters = [p for law in modules for p in law.parameters()]
    frames, models = observed.x.shape[0] - 1, observed.x.shape[1]
    if frames < min(schedule.lengths):
        raise ValueError(f"observed must have at least {min(schedule.lengths) + 1} frames, got {frames + 1}")
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    losses = []
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        length = min(schedule.at(epoch, epochs), frames)
        starts = torch.arange(0, frames - length + 1, length)
        state = MpmState(*(each[starts].transpose(0, 1).flatten(0, 1) for each in observed))
        error = torch.zeros(models, dtype=targets.dtype)
        for k in range(length * every):
            try:
                state = mpm_step(*state, elastic(state.F), **scene.options)
            except ValueError as wrong:
                raise ValueError(f"epoch {epoch}, step {k} of its segment: {wrong}") from None
            if plastic is not None:
                state = state._replace(F=plastic(state.F))
            if (k + 1) % every == 0:
                wanted = targets[starts + (k + 1) // every].transpose(0, 1)
                gap = (state.x.unflatten(0, (models, len(starts))) - wanted) / scene.spacing
                error = error + gap.square().sum(-1).mean((1, 2))
        loss = error / length
        optimizer.zero_grad()
        loss.sum().backward()
        clip(parameters, 1.0)
        optimizer.step()
        losses.append(loss.detach())
        if progress is not None:
            progress((epoch + 1) / epochs)
    return torch.stack(losses) if losses else torch.zeros(0, models)


def clip(parameters: Sequence[torch.Tensor], limit: float) -> None:
    """Scale the gradients of each model, on the leading axis, to a norm of at most ``limit``; non-finite ones become 0."""
    square = torch.stack([p.grad.flatten(1).square().sum(1) for p in parameters if p.grad is not None]).sum(0)
    factor = (limit / square.sqrt().clamp_min(1e-30)).clamp_max(1.0)
    factor = torch.where(torch.isfinite(square), factor, torch.zeros_like(factor))
    for p in parameters:
        if p.grad is not None:
            p.grad.nan_to_num_(0.0, 0.0, 0.0).mul_(factor.reshape(-1, *[1] * (p.ndim - 1)))


def reconstruct(tracks: torch.Tensor, dt: float, body: torch.Tensor | None = None, *, neighbours: int = 12) -> MpmState:
    """States x, v, C, F of material points from tracked marks: affine fits in the first frame's coordinates.

    Args:
        tracks: positions of marks (frames, marks, d), the first frame undeformed. dt: seconds from frame to frame.
        body: material points in the first frame (points, d) at which states are wanted; the marks if ``None``.
        neighbours: marks in each fit, weighted by distance.

    Returns:
        (frames, 1, points, ...); v by central differences, C = (dF/dt) F^-1.
    """
    tracks = tracks.double()
    X = tracks[0]
    body = X if body is None else body.double()
    d = X.shape[1]
    neighbours = min(neighbours, len(X))
    if neighbours < d + 1:
        raise ValueError(f"positions must hold at least {d + 1} marks, got {len(X)}")
    distance, near = torch.cdist(body, X).topk(neighbours, largest=False)
    weight = torch.exp(-((distance / distance[:, -1:].clamp_min(1e-12)) ** 2) * 2)
    weight = weight / weight.sum(1, keepdim=True)
    centre = (weight[..., None] * X[near]).sum(1)
    away = X[near] - centre[:, None]
    shape = torch.einsum("pk,pka,pkb->pab", weight, away, away)
    spread = shape.diagonal(dim1=1, dim2=2).sum(1)
    if bool((torch.linalg.eigvalsh(shape)[:, 0] < 1e-4 * spread).any()):
        raise ValueError("positions must spread in every direction around each point: the marks lie on a line or plane")
    places = tracks[:, near]  # (frames, points, neighbours, d)
    middle = (weight[..., None] * places).sum(2)
    F = torch.einsum("pk,tpka,pkb->tpab", weight, places - middle[:, :, None], away) @ torch.linalg.inv(shape)
    x = middle + (F @ (body - centre)[None, ..., None])[..., 0]
    F = F @ torch.linalg.inv(F[:1])  # exactly I in the first frame
    rate, v = (torch.gradient(each, spacing=dt, dim=0, edge_order=2)[0] for each in (F, x))
    if bool((det(F) <= 0).any()):
        raise ValueError("positions must be those of a body that never turns inside out; some local fit has det F <= 0")
    state = (x, v, rate @ torch.linalg.inv(F), F)
    return MpmState(*(each[:, None].float() for each in state))


@dataclass(frozen=True)
class FittedLaw:
    """A material fitted by :func:`fit_law`: a callable F (scenes, particles, d, d) -> tau, with its loss an epoch in cells^2."""

    elastic: nn.Module
    scene: Scene
    losses: torch.Tensor

    def __call__(self, F: torch.Tensor) -> torch.Tensor:
        return self.elastic(F)

    def save(self, path: str | Path) -> None:
        """Write weights, scene and losses to one file."""
        e: Any = self.elastic
        form = {"d": e.d, "width": e.network.weights[0].shape[2], "depth": len(e.network.weights) - 1,
                "unit": e.unit, "symmetric": e.symmetric}  # fmt: skip
        content = {"form": form, "weights": e.state_dict(), "scene": vars(self.scene), "losses": self.losses}
        torch.save(content, path)

    @classmethod
    def load(cls, path: str | Path) -> FittedLaw:
        """Read what :meth:`save` wrote; nothing in the file is executed."""
        content = torch.load(path, weights_only=True)
        elastic = MetaElasticity(**content["form"])
        elastic.load_state_dict(content["weights"])
        return cls(elastic, Scene(**content["scene"]), content["losses"])


def fit_law(
    positions,
    dt: float,
    scene: Scene,
    *,
    body: torch.Tensor | None = None,
    plastic: Law | None = None,
    width: int = 32,
    epochs: int = 150,
    unit: float | None = None,
    symmetric: bool = True,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> FittedLaw:
    """A constitutive law from the motion of marks alone.

    Args:
        positions: (frames, marks, d) in m, the first frame undeformed; an array or a ``.npz`` file with ``positions``.
        dt: seconds from frame to frame, a multiple of ``scene.dt``.
        scene: the box, with ``volume`` that of one simulated particle; its step may not exceed a cell per frame.
        body: the simulated particles in the first frame (points, d); the marks themselves if ``None``.
        plastic: a known plastic law, if any. unit: Pa; rho times the mean squared speed if ``None``.

    Raises:
        ValueError, TypeError: wrong shapes, missing or non-finite values, a ``dt`` that is no multiple of the step, marks
            outside the grid or on one line.
    """
    positions = checks.tensor("positions", _positions(positions), ndim=3, floating=True)
    frames, _, d = positions.shape
    if d not in (2, 3) or frames < 6:
        raise ValueError(f"positions must be (at least 6 frames, marks, 2 or 3), got {tuple(positions.shape)}")
    every = round(checks.number("dt", dt, low=0.0, open_low=True) / scene.dt)
    if every < 1 or abs(every * scene.dt - dt) > 1e-6 * dt:
        raise ValueError(f"dt must be a multiple of the scene's step {scene.dt:g} s, got {dt:g}")
    sizes = torch.as_tensor(scene.cells if isinstance(scene.cells, tuple) else (scene.cells,) * d)
    low, high = 0.5 * scene.spacing, (sizes - 1.5) * scene.spacing
    if bool((positions < low).any()) or bool((positions >= high).any()):
        raise ValueError(f"positions must lie inside the grid, from {low:.4g} to below {high.tolist()} m")
    if len(scene.gravity) != d:
        raise ValueError(f"scene.gravity must have {d} components like the positions, got {len(scene.gravity)}")
    observed = reconstruct(positions, dt, body)
    if unit is None:
        unit = max(1.0, scene.density * float(observed.v.square().sum(-1).mean()))
    elastic = MetaElasticity(d, width, seeds=(seed,), unit=unit, symmetric=symmetric)
    lengths = tuple(dict.fromkeys(max(1, min(frames - 1, round(k / every))) for k in (5, 10, 20, 40)))
    losses = train(
        elastic,
        plastic,
        observed,
        scene,
        epochs=epochs,
        every=every,
        schedule=TeacherSchedule(lengths),
        progress=progress,
    )
    return FittedLaw(elastic.requires_grad_(False), replace(scene), losses)


def _positions(value):
    if not isinstance(value, (str, Path)):
        return value
    import numpy as np

    with np.load(value, allow_pickle=False) as file:
        if not hasattr(file, "files") or "positions" not in file.files:
            held = ", ".join(getattr(file, "files", [])) or "one array without a name"
            raise ValueError(f"positions must be a .npz file with an array 'positions' (frames, marks, d), got {held}")
        return file["positions"]
