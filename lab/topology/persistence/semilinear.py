r"""Descriptors of one's own: integers in, integers out, and a checker of the contract.

A descriptor of a filtration :math:`f: K \to \mathbb R^p` is *semilinear* if it depends on the values of f only through
their order on each axis, and its atoms are then placed at values of f: within one order type it is an affine map of f.
The contract puts this into types. A descriptor is a function

    ``descriptor(cells: Cells) -> (places, weights)``

that sees only the cells and their integer positions on each axis, and returns integer ``places`` (k, p) on that grid with
integer ``weights`` (k,). :func:`signed_measure` turns them into a differentiable measure. Losses of semilinear descriptors
are then locally Lipschitz and definable, so stochastic subgradient descent converges to critical points.

Source: Scoccola, Setlur, Loiseaux, Carriere, Oudot, 'Differentiability and Optimization of Multiparameter Persistent
Homology', ICML 2024, sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from lab import checks
from lab.topology.persistence.ranks import _gathered, _layers
from lab.topology.persistence.signed_measures import SignedMeasure, _assemble


@dataclass(frozen=True)
class Cells:
    """A filtered complex without its values.

    ``dimension`` (m,): of each cell. ``faces``: for each dimension d, the boundaries (number of d-cells, faces) as
    positions among the (d-1)-cells, ``None`` for d = 0. ``place`` (m, p): position of each cell on the grid of distinct
    values of each axis, cells in order of dimension. ``lines`` (p,): number of grid lines of each axis.
    """

    dimension: np.ndarray
    faces: tuple
    place: np.ndarray
    lines: tuple[int, ...]
    owner: tuple[np.ndarray, ...]


def cells(filtration, *, degree: int = 1) -> Cells:
    """The cells of a Graph, Image, FlagDelaunay or FunctionRips up to dimension ``degree + 1``, by order alone.

    Of FunctionRips only the edges that matter for homology up to ``degree`` are kept.
    """
    layers = _all_layers(filtration, checks.choice("degree", degree, (0, 1)))
    ids = np.concatenate([layer[1] for layer in layers])
    place, owner = [], []
    for axis in range(filtration.parameters):
        _, first, position = np.unique(
            _gathered(filtration, axis, ids[:, axis]), return_index=True, return_inverse=True
        )
        place.append(position.reshape(-1))
        owner.append(ids[first, axis])
    dimension = np.repeat(np.arange(len(layers)), [len(layer[1]) for layer in layers])
    lines = tuple(len(part) for part in owner)
    return Cells(dimension, tuple(layer[0] for layer in layers), np.stack(place, 1), lines, tuple(owner))


def _all_layers(filtration, degree):
    from lab.topology.persistence import filtrations as fl

    if isinstance(filtration, fl.Graph):
        values = filtration.values.detach().double().cpu().numpy()
        late = np.take_along_axis(filtration.edges, values[filtration.edges].argmax(1), 1)
        return [
            (None, np.repeat(np.arange(filtration.size)[:, None], filtration.parameters, 1)),
            (filtration.edges, late),
        ]
    if getattr(filtration, "parameters", None) != 2:
        raise ValueError("filtration must be a Graph or have two parameters")
    return _layers(filtration, degree)


def signed_measure(descriptor: Callable, filtration, *, degree: int = 1) -> SignedMeasure:
    """The measure of a descriptor of one's own, differentiable in the filtration.

    Raises:
        ValueError, TypeError: the descriptor breaks its contract, with what it returned.
    """
    seen = cells(filtration, degree=degree)
    places, weights = _contract(descriptor, seen)
    index = np.stack([seen.owner[a][places[:, a]] for a in range(filtration.parameters)], 1)
    return _assemble(filtration, index, weights)


def _contract(descriptor, seen):
    found = descriptor(seen)
    if not isinstance(found, tuple) or len(found) != 2:
        raise TypeError(f"descriptor must return (places, weights), got {type(found).__name__}")
    places, weights = (np.asarray(part) for part in found)
    if places.dtype.kind not in "iu" or weights.dtype.kind not in "iu":
        raise TypeError(f"descriptor must return integers, got places {places.dtype} and weights {weights.dtype}")
    parameters = len(seen.lines)
    if places.ndim != 2 or places.shape[1] != parameters or weights.shape != places.shape[:1]:
        raise ValueError(
            f"descriptor must return places (k, {parameters}) and weights (k,), got {places.shape} and {weights.shape}"
        )
    if len(places) and ((places < 0).any() or (places >= np.array(seen.lines)).any()):
        raise ValueError(f"places must lie on the grid of {seen.lines} lines, got {places.min(0)} to {places.max(0)}")
    return places.astype(np.int64), weights.astype(np.int64)


@dataclass(frozen=True)
class Check:
    """What :func:`check_semilinear` found: each finding is a name, whether it holds, and a number with its meaning."""

    findings: tuple[tuple[str, bool, str], ...]

    @property
    def holds(self) -> bool:
        return all(good for _, good, _ in self.findings)

    def __str__(self):
        return "\n".join(f"{'holds' if good else 'FAILS'}  {name}: {words}" for name, good, words in self.findings)


def check_semilinear(
    descriptor: Callable,
    make: Callable[[torch.Tensor], object],
    parameters: torch.Tensor,
    *,
    degree: int = 1,
    trials: int = 5,
    seed: int | torch.Generator = 0,
) -> Check:
    """Verify the contract of a descriptor of one's own near ``parameters``.

    1. *integers*: places and weights are integers on the grid; two calls agree.
    2. *order only*: after an increasing change of all values the same integers come back.
    3. *gradient*: autograd equals central differences along random directions.
    4. *continuity*: a step of size h changes the integral of a smooth function by at most a multiple of h, also across
       walls where values trade places.

    Args:
        descriptor: see the module.
        make: parameters -> filtration, for example ``lambda v: Graph(edges, v)``.
        parameters: where to check.
    """
    generator = checks.generator(seed)
    parameters = checks.tensor("parameters", parameters, floating=True).detach().double()
    seen = cells(make(parameters), degree=degree)
    places, weights = _contract(descriptor, seen)
    again = _contract(descriptor, seen)
    same = np.array_equal(places, again[0]) and np.array_equal(weights, again[1])
    findings = [("integers", same, f"{len(weights)} atoms, total mass {weights.sum()}")]

    tiny = 1e-9 * torch.randn(parameters.shape, generator=generator, dtype=torch.float64)
    moved = cells(make(parameters + tiny * float(parameters.abs().max().clamp_min(1))), degree=degree)
    if np.array_equal(moved.place, seen.place):
        other = _contract(descriptor, moved)
        kept = np.array_equal(other[0], places) and np.array_equal(other[1], weights)
        findings.append(("order only", kept, "same integers for other values of the same order"))
    else:
        findings.append(
            ("order only", True, "values tie here, the order type cannot be kept; check at a generic point")
        )

    worst, steepest = 0.0, 0.0
    for _ in range(checks.integer("trials", trials, low=1)):
        direction = torch.randn(parameters.shape, generator=generator, dtype=torch.float64)
        direction /= direction.norm()
        worst = max(worst, _gradient_error(descriptor, make, parameters, direction, degree))
        steepest = max(steepest, _steepness(descriptor, make, parameters, direction, degree))
    findings.append(("gradient", worst < 1e-4, f"largest relative error against central differences {worst:.1e}"))
    findings.append(("continuity", steepest < 100.0, f"jump over step, relative to the first half: {steepest:.1f}"))
    return Check(tuple(findings))


def _smooth(measure):
    frequency = torch.linspace(0.7, 1.3, measure.parameters, dtype=measure.points.dtype)
    return (measure.weights * (measure.points * frequency).sin().prod(1)).sum()


def _gradient_error(descriptor, make, at, direction, degree):
    point = at.clone().requires_grad_()
    value = _smooth(signed_measure(descriptor, make(point), degree=degree))
    if not value.requires_grad:
        return float("inf")
    (gradient,) = torch.autograd.grad(value, point)
    slope = float((gradient * direction).sum())
    step = 1e-6
    with torch.no_grad():
        ends = [_smooth(signed_measure(descriptor, make(at + s * direction), degree=degree)) for s in (step, -step)]
    difference = float(ends[0] - ends[1]) / (2 * step)
    return abs(difference - slope) / max(1.0, abs(slope))


def _steepness(descriptor, make, at, direction, degree):
    """Largest change per step over a segment that crosses walls, over the mean change: bounded for a Lipschitz path."""
    positions = torch.linspace(0, 0.5, 401, dtype=torch.float64)
    with torch.no_grad():
        values = torch.stack(
            [_smooth(signed_measure(descriptor, make(at + s * direction), degree=degree)) for s in positions]
        )
    change = values.diff().abs() / positions.diff()
    return float(change.max() / change.mean().clamp_min(1.0))
