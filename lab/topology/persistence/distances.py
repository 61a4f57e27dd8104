r"""Distances between signed measures and between barcodes, differentiable in the atoms.

For signed measures of equal mass the distance is that of two positive measures,

.. math:: \|\mu - \nu\| = W_1(\mu^+ + \nu^-,\ \nu^+ + \mu^-),

exactly by linear programming (:func:`optimal_transport`) or averaged over lines, where it is the area between two
distribution functions (:func:`sliced_wasserstein`). With F the distribution function of the projected mu - nu on the
line of direction theta,

.. math:: SW(\mu, \nu) = \frac1L \sum_{\theta} \int |F_\theta(t)|\, dt.

Source: Loiseaux, Scoccola, Carriere, Botnan, Oudot, 'Stable vectorization of multiparameter persistent homology using
signed barcodes as measures', NeurIPS 2023, sections 3 and 4.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from lab import checks
from lab.topology.persistence.diagrams import Diagram
from lab.topology.persistence.lengths import power_of_two
from lab.topology.persistence.signed_measures import SignedMeasure


def sliced_wasserstein(first, second, *, lines: int = 50, corner=None, seed: int | torch.Generator = 0) -> torch.Tensor:
    """Sliced Wasserstein distance of two signed measures, or of two equally long lists of them.

    Args:
        first, second: SignedMeasure each, or lists; then the result has one entry a pair.
        lines: number of random directions, uniform on the half sphere.
        corner: a point (p,) that receives the mass by which the measures differ; without it unequal masses are refused.
        seed: draws the directions; the same for all pairs.

    Returns:
        Scalar or (pairs,), differentiable in the atoms of both.
    """
    single = isinstance(first, SignedMeasure)
    firsts, seconds = ([first], [second]) if single else (list(first), list(second))
    if len(firsts) != len(seconds):
        raise ValueError(f"first and second must have the same length, got {len(firsts)} and {len(seconds)}")
    if not firsts:
        return torch.zeros(0)
    count = np.arange(len(firsts))
    result = _sliced([*firsts, *seconds], count, count + len(firsts), lines, corner, seed)
    return result[0] if single else result


def sliced_wasserstein_matrix(measures, *, lines: int = 50, corner=None, seed: int | torch.Generator = 0):
    """All pairwise distances (m, m) of a list of measures; exp(-distance / scale) is a positive definite kernel.

    Every measure is projected and sorted once, then pairs are merged."""
    measures = list(measures)
    rows, columns = np.triu_indices(len(measures), 1)
    if not len(rows):
        return torch.zeros(len(measures), len(measures))
    pairs = _sliced(measures, rows, columns, lines, corner, seed)
    result = pairs.new_zeros(len(measures), len(measures))
    result[rows, columns] = pairs
    return result + result.T


def _sliced(measures, first, second, lines, corner, seed):
    lines = checks.integer("lines", lines, low=1)
    for measure in measures:
        if not isinstance(measure, SignedMeasure):
            raise TypeError(f"measures must be SignedMeasure, got {type(measure).__name__}")
    parameters = {measure.parameters for measure in measures}
    if len(parameters) > 1:
        raise ValueError(f"measures must have the same number of parameters, got {sorted(parameters)}")
    like = measures[0].points
    parts, weights = [measure.points.to(like) for measure in measures], [measure.weights for measure in measures]
    mass = np.array([measure.mass for measure in measures])
    if corner is None:
        differs = np.flatnonzero(mass[first] != mass[second])
        if len(differs):
            _refuse_masses(mass[first[differs[0]]], mass[second[differs[0]]])
    else:
        place = checks.tensor("corner", corner, shape=(like.shape[1],)).to(like)[None]
        parts = [torch.cat([part, place]) for part in parts]
        weights = [torch.cat([weight, weight.new_tensor([-total])]) for weight, total in zip(weights, mass)]
    offset = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    directions = _directions(like.shape[1], lines, seed)
    points = torch.cat(parts)
    weight = torch.cat(weights).double().cpu().numpy()
    return _Sliced.apply(points.double().cpu(), directions, weight, offset, first, second).to(like)


class _Sliced(torch.autograd.Function):
    """Areas of pairs of measures and their gradient in the atoms, both by merging sorted projections."""

    @staticmethod
    def forward(context, points, directions, weight, offset, first, second):
        from lab.kernels.persistence import cpu

        place = (directions @ points.T).numpy()
        order = np.empty(place.shape, np.int64)
        for begin, end in zip(offset[:-1], offset[1:]):
            np.add(np.argsort(place[:, begin:end], axis=1), begin, out=order[:, begin:end])
        rows = cpu.sliced_rows(place, weight, order, offset)
        context.inputs = (*rows, offset + np.arange(len(offset)), first, second, len(place))
        context.order, context.directions = order, directions
        return torch.from_numpy(cpu.sliced_areas(*context.inputs))

    @staticmethod
    def backward(context, upstream):
        from lab.kernels.persistence import cpu

        gradient = np.zeros(context.order.shape)
        cpu.sliced_gradient(*context.inputs, upstream.double().numpy(), context.order, gradient)
        return torch.from_numpy(gradient).T @ context.directions, None, None, None, None, None


def _refuse_masses(first, second):
    raise ValueError(f"measures must have the same mass, got {first} and {second}; pass corner=(...) to complete them")


def _difference(first, second, corner):
    if not isinstance(first, SignedMeasure) or not isinstance(second, SignedMeasure):
        raise TypeError(f"measures must be SignedMeasure, got {type(first).__name__} and {type(second).__name__}")
    if first.parameters != second.parameters:
        raise ValueError(
            f"measures must have the same number of parameters, got {first.parameters} and {second.parameters}"
        )
    points = torch.cat([first.points, second.points.to(first.points)])
    weights = torch.cat([first.weights, -second.weights.to(first.weights.device)])
    missing = int(weights.sum())
    if missing and corner is None:
        _refuse_masses(first.mass, second.mass)
    if corner is not None:
        corner = checks.tensor("corner", corner, shape=(first.parameters,)).to(points)
        points = torch.cat([points, corner[None]])
        weights = torch.cat([weights, weights.new_tensor([-missing])])
    return points, weights.to(points.dtype)


def _directions(parameters, lines, seed):
    if parameters == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    generator = checks.generator(seed)
    found = torch.randn(lines, parameters, dtype=torch.float64, generator=generator)
    return found / found.norm(dim=1, keepdim=True)


def optimal_transport(first, second, *, corner=None, norm: float = 1.0) -> torch.Tensor:
    """Exact W1 distance of two signed measures with ground metric the ``norm``-norm (1, 2 or infinity), by POT.

    The optimal plan is held fixed in the gradient (envelope theorem). Masses as in :func:`sliced_wasserstein`.
    """
    import ot

    if norm not in (1, 2, math.inf):
        raise ValueError(f"norm must be 1, 2 or infinity, got {norm!r}")
    points, weights = _difference(first, second, corner)
    positive, negative = points[weights > 0], points[weights < 0]
    if not len(positive):
        return points.sum() * 0
    refuse_memory(
        "optimal_transport",
        (24 + 16 * points.shape[1]) * len(positive) * len(negative),
        f"the pairs of {len(positive)} and {len(negative)} atoms",
    )
    cost = _norms(positive[:, None] - negative[None], norm)
    unit = float(cost.detach().amax()) or 1.0  # the solver's tolerances are absolute
    plan, log = ot.emd(
        weights[weights > 0].double().cpu().numpy(),
        -weights[weights < 0].double().cpu().numpy(),
        cost.detach().double().cpu().numpy() / unit,
        numItermax=10_000_000,
        log=True,
    )
    if log["warning"]:
        raise ValueError(f"optimal_transport found no optimal plan: {log['warning']}")
    return (torch.as_tensor(plan).to(cost) * cost).sum()


def refuse_memory(name: str, wanted: float, what: str) -> None:
    """``ValueError`` before work starts that would take more bytes than three quarters of what is free."""
    import psutil

    free = psutil.virtual_memory().available
    if wanted > 0.75 * free:
        raise ValueError(
            f"{name} needs about {wanted / 1e9:.3g} GB for {what}, and {free / 1e9:.3g} GB are free; leave out short bars "
            "or atoms of little weight first"
        )


def _norms(differences, norm):
    if norm == 1:
        return differences.abs().sum(-1)
    if norm == math.inf:
        return differences.abs().amax(-1)
    unit = power_of_two(differences)
    square = (differences / unit).square().sum(-1)
    positive = square > 0
    return unit * torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)


def wasserstein(first: Diagram, second: Diagram, *, order: float = 2.0) -> torch.Tensor:
    r"""Wasserstein distance of two barcodes with the maximum norm, differentiable; endless bars are matched by birth.

    .. math:: W_q = \Big(\min_\gamma \sum_{x} \|x - \gamma(x)\|_\infty^q\Big)^{1/q}

    The best pairing is exact at any scale of the bars; it takes 32 bytes for every pair of bars.

    Raises:
        ValueError: the barcodes have different numbers of endless bars, or so many bars that the memory left does not
            hold their pairs.
    """
    order = checks.number("order", order, low=1.0)
    _same_endless(first, second)
    a, b = first.points, second.points.to(first.points)
    refuse_memory("wasserstein", 32 * len(a) * len(b), f"the pairs of {len(a)} and {len(b)} bars")
    rows, columns = _pairing(_numpy(a), _numpy(b), order)
    alone_a, alone_b = np.ones(len(a), bool), np.ones(len(b), bool)
    alone_a[rows] = alone_b[columns] = False
    rows, columns, alone_a, alone_b = (
        torch.from_numpy(each).to(a.device) for each in (rows, columns, alone_a, alone_b)
    )
    costs = [
        (a[rows] - b[columns]).abs().amax(1) if len(rows) else a.new_zeros(0),
        (a[:, 1] - a[:, 0])[alone_a] / 2,
        (b[:, 1] - b[:, 0])[alone_b] / 2,
        (first.essential.sort().values - second.essential.to(a).sort().values).abs(),
    ]
    cost = torch.cat(costs)
    unit = float(cost.detach().amax()) if len(cost) else 0.0
    if order == 1 or unit == 0:
        return cost.sum()
    return unit * (cost / unit).pow(order).sum().pow(1 / order)


def _pairing(a: np.ndarray, b: np.ndarray, order: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the bars that the best pairing joins; all others go to the diagonal.

    The pairing minimizes the sum of gains :math:`c_{ij}^q - h_i^q - g_j^q \\le 0`, h and g half the lengths. Lengths far
    above the distance itself would drown it in rounding. So, with W the cost of a pairing that is at hand, a length
    above W (such a bar must be paired) counts as 2 W, and the search is repeated while W falls: the rounding is then
    relative to the distance, and any scale is a scale near one.
    """
    from scipy.optimize import linear_sum_assignment

    none = np.zeros(0, np.int64)
    if not len(a) or not len(b):
        return none, none
    distance = np.abs(a[:, None, 0] - b[None, :, 0])
    np.maximum(distance, np.abs(a[:, None, 1] - b[None, :, 1]), out=distance)
    mine, theirs = (a[:, 1] - a[:, 0]) / 2, (b[:, 1] - b[:, 0]) / 2
    best, found = math.inf, (none, none)
    unit = max(mine.max(), theirs.max())
    while unit > 0:
        h, g = (np.minimum(each / unit, 2.0) ** order for each in (mine, theirs))
        gain = np.minimum(distance / unit, 4.0)
        gain **= order
        gain -= h[:, None]
        gain -= g
        np.minimum(gain, 0.0, out=gain)
        rows, columns = linear_sum_assignment(gain)
        kept = gain[rows, columns] < 0
        rows, columns = rows[kept], columns[kept]
        cost = np.concatenate([distance[rows, columns], np.delete(mine, rows), np.delete(theirs, columns)])
        largest = cost.max()
        total = 0.0 if largest == 0 else largest * ((cost / largest) ** order).sum() ** (1 / order)
        if total >= best:
            break
        improved = total < best / 2
        best, found, unit = total, (rows, columns), total
        if not improved:
            break
    return found


def bottleneck(first: Diagram, second: Diagram) -> torch.Tensor:
    """Bottleneck distance of two barcodes: the value by hera, the gradient through the one difference that attains it."""
    from gudhi.hera import bottleneck_distance

    _same_endless(first, second)
    a, b = first.points, second.points.to(first.points)
    ours, theirs = (each[each[:, 0] != each[:, 1]] for each in (_numpy(a), _numpy(b)))
    unit = max((np.abs(each).max() for each in (ours, theirs) if len(each)), default=0.0) or 1.0
    finite = unit * bottleneck_distance(ours / unit, theirs / unit, delta=0.0)
    endless = (first.essential.sort().values - second.essential.to(a).sort().values).abs()
    return torch.cat([_attaining(a, b, finite)[None], endless]).amax()


def _attaining(a, b, value) -> torch.Tensor:
    """The half length or difference that is nearest to ``value``, differentiable; pairs are gone through in blocks."""
    x, y = _numpy(a), _numpy(b)
    halves = torch.cat([(a[:, 1] - a[:, 0]) / 2, (b[:, 1] - b[:, 0]) / 2, a.new_zeros(1)])
    miss = np.abs(_numpy(halves) - value)
    best, found = miss.min(), halves[int(miss.argmin())]
    rows = max(1, 4_000_000 // max(1, len(y)))
    for start in range(0, len(x) if len(y) else 0, rows):
        block = np.abs(np.abs(x[start : start + rows, None] - y[None]).max(2) - value)
        if block.min() < best:
            best = block.min()
            i, j = np.unravel_index(int(block.argmin()), block.shape)
            found = (a[start + int(i)] - b[int(j)]).abs().amax()
    return found


def _same_endless(first, second):
    for name, item in (("first", first), ("second", second)):
        if not isinstance(item, Diagram):
            raise TypeError(f"{name} must be a barcode of lab.topology.persistence.diagrams, got {type(item).__name__}")
    if len(first.essential) != len(second.essential):
        raise ValueError(
            f"barcodes must have the same number of endless bars, got {len(first.essential)} and {len(second.essential)}"
        )


def _numpy(points):
    return points.detach().double().cpu().numpy()
