"""Persistence against its peers, run behind the door of the peers' environment: each function returns a row of the table."""

from __future__ import annotations

import math

import numpy as np
import torch

from tests.bench import frame

MULTIPERS = ("gudhi",)


def cloud(count: int, seed: int = 0):
    """Noisy circle with minus a Gaussian density as function, both with gradients."""
    from lab.topology.persistence.filtrations import density

    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    noise = 0.15 * torch.randn(count, 2, generator=generator, dtype=torch.float64)
    x = torch.stack([angle.cos(), angle.sin()], 1) + noise
    return x.requires_grad_(), (-density(x, 0.3)).detach().requires_grad_()


def relative(ours, theirs) -> float:
    """Largest relative difference of two lists of arrays."""
    pairs = [(np.asarray(a, float), np.asarray(b, float)) for a, b in zip(ours, theirs, strict=True)]
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-12)) for a, b in pairs)


def _value_and_gradients(points, weights, leaves):
    value = (points.square().sum(1) * torch.as_tensor(weights)).sum()
    return [float(value.detach()), *(g.numpy() for g in torch.autograd.grad(value, leaves))]


def function_rips(count: int, degree: int, target: float, floor: float, rounds: int = 5):
    """Exact function-Rips Hilbert measure and its gradient; the peer collapses edges first, its faster setting."""
    import multipers
    import multipers.filtrations

    from lab.topology.persistence.filtrations import FunctionRips
    from lab.topology.persistence.signed_measures import hilbert

    torch.set_num_threads(1)
    x, f = cloud(count)

    def ours():
        measure = hilbert(FunctionRips(x, f), degree)
        return _value_and_gradients(measure.points, measure.weights, (x, f))

    def theirs():
        tree = multipers.filtrations.RipsLowerstar(points=x, function=f)
        tree.collapse_edges(-1)
        if degree:
            tree.expansion(degree + 1)
        ((points, weights),) = multipers.signed_measure(tree, degree=degree, invariant="hilbert", n_jobs=1)
        return _value_and_gradients(points, weights, (x, f))

    return frame.ratio(
        f"function-Rips H{degree} with gradient, n={count}", ours, theirs, compare=relative, tolerance=1e-6,
        peer="multipers", packages=MULTIPERS, target=target, floor=floor, rounds=rounds,
    )  # fmt: skip


def bifiltered_image(size: int, levels: int, target: float, floor: float, rounds: int = 5):
    """Hilbert measures of H0 and H1 of a two-channel image."""
    import multipers
    import multipers.filtrations

    from lab.topology.persistence.filtrations import Image
    from lab.topology.persistence.signed_measures import hilbert

    torch.set_num_threads(1)
    values = np.floor(np.random.default_rng(0).random((2, size, size)) * levels) / levels
    tensor = torch.from_numpy(values)
    last = np.ascontiguousarray(np.moveaxis(values, 0, -1))
    grades = torch.cartesian_prod(*[torch.linspace(0, 1, 12).double()] * 2)

    def ours():
        return hilbert(Image(tensor, parameters=2), (0, 1))

    def theirs():
        return multipers.signed_measure(
            multipers.filtrations.Cubical(last), degrees=[0, 1], invariant="hilbert", n_jobs=1
        )

    def compare(mine, other):
        functions = [[m.at(grades).numpy() for m in mine], []]
        for points, weights in other:
            below = (torch.as_tensor(points)[None] <= grades[:, None]).all(-1)
            functions[1].append((below * torch.as_tensor(weights)).sum(1).numpy())
        return relative(*functions)

    return frame.ratio(
        f"bifiltered image H0 and H1, {size} x {size}, {levels} levels", ours, theirs, compare=compare, tolerance=0.0,
        peer="multipers", packages=MULTIPERS, target=target, floor=floor, rounds=rounds,
    )  # fmt: skip


def small_graphs(count: int, target: float, floor: float, rounds: int = 5):
    """Hilbert measures of H0 of many bifiltered graphs."""
    import multipers

    from lab.topology.persistence.filtrations import Graph
    from lab.topology.persistence.signed_measures import hilbert

    torch.set_num_threads(1)
    r = np.random.default_rng(0)
    data = []
    for _ in range(count):
        size = int(r.integers(15, 31))
        edges = np.argwhere(np.triu(r.random((size, size)) < 0.2, 1))
        data.append((edges, r.random((size, 2))))
    lists = [edges for edges, _ in data], [torch.from_numpy(values) for _, values in data]

    def ours():
        return hilbert(Graph.many(*lists), 0)

    def theirs():
        found = []
        for edges, values in data:
            tree = multipers.SimplexTreeMulti(num_parameters=2)
            tree.insert_batch(np.arange(len(values))[None].astype(np.int32), values)
            tree.insert_batch(edges.T.astype(np.int32), np.maximum(values[edges[:, 0]], values[edges[:, 1]]))
            ((points, weights),) = multipers.signed_measure(tree, degree=0, invariant="hilbert", n_jobs=1)
            found.append((points, weights))
        return found

    def compare(mine, other):
        totals = [float((m.weights[:, None] * m.points).sum()) for m in mine]
        return relative([totals], [[float((weights[:, None] * points).sum()) for points, weights in other]])

    return frame.ratio(
        f"{count} bifiltered graphs H0", ours, theirs, compare=compare, tolerance=1e-6, peer="multipers",
        packages=MULTIPERS, target=target, floor=floor, rounds=rounds,
    )  # fmt: skip


def cubical(size: int, target: float, floor: float, rounds: int = 5):
    """Pairs of a 2-D image with the pixels that carry them, smooth noise."""
    import gudhi
    from scipy.ndimage import gaussian_filter

    from lab.topology.persistence.diagrams import bars
    from lab.topology.persistence.filtrations import Image

    torch.set_num_threads(1)
    values = gaussian_filter(np.random.default_rng(0).normal(size=(size, size)), 1.0)
    tensor = torch.from_numpy(values)

    def ours():
        return [bars(Image(tensor), degree).points.numpy() for degree in (0, 1)]

    def theirs():
        complex_ = gudhi.CubicalComplex(vertices=values)
        complex_.compute_persistence(homology_coeff_field=2)
        (regular, _) = complex_.vertices_of_persistence_pairs()
        flat = values.ravel(order="F")
        return [flat[pairs] for pairs in regular]

    def compare(mine, other):
        return relative([np.sort(m.ravel()) for m in mine], [np.sort(o.ravel()) for o in other])

    return frame.ratio(
        f"2-D cubical pairs with generators, {size} x {size}", ours, theirs, compare=compare, tolerance=0.0,
        peer="gudhi", target=target, floor=floor, rounds=rounds,
    )  # fmt: skip


def rips_loops(count: int, target: float, floor: float, rounds: int = 3):
    """One step: H1 bars of a Rips filtration and the gradient of their total length."""
    from torch_topological.nn import VietorisRipsComplex

    from lab.topology.persistence.diagrams import bars
    from lab.topology.persistence.filtrations import Rips

    torch.set_num_threads(1)
    x, _ = cloud(count)
    peer = VietorisRipsComplex(dim=1)

    def ours():
        value = bars(Rips(x), 1).lengths.sum()
        return [float(value.detach()), torch.autograd.grad(value, x)[0].numpy()]

    def theirs():
        diagram = peer(x)[1].diagram
        value = (diagram[:, 1] - diagram[:, 0]).sum()
        return [float(value.detach()), torch.autograd.grad(value, x)[0].numpy()]

    return frame.ratio(
        f"Rips H1 step, n={count}", ours, theirs, compare=relative, tolerance=1e-4, peer="torch_topological",
        packages=("giotto-ph",), target=target, floor=floor, rounds=rounds,
    )  # fmt: skip


def rips_expansion(count: int, target: float, floor: float, rounds: int = 3):
    """The same step by full expansion and flag generators."""
    import gudhi

    from lab.topology.persistence.diagrams import bars
    from lab.topology.persistence.filtrations import Rips

    torch.set_num_threads(1)
    x, _ = cloud(count)

    def ours():
        value = bars(Rips(x), 1).lengths.sum()
        return [float(value.detach()), torch.autograd.grad(value, x)[0].numpy()]

    def theirs():
        tree = gudhi.RipsComplex(points=x.detach().numpy()).create_simplex_tree(max_dimension=2)
        tree.compute_persistence(homology_coeff_field=2)
        found = torch.from_numpy(tree.flag_persistence_generators()[1][0].astype(np.int64))
        birth = (x[found[:, 0]] - x[found[:, 1]]).norm(dim=1)
        value = ((x[found[:, 2]] - x[found[:, 3]]).norm(dim=1) - birth).sum()
        return [float(value.detach()), torch.autograd.grad(value, x)[0].numpy()]

    return frame.ratio(
        f"Rips H1 step against full expansion, n={count}", ours, theirs, compare=relative, tolerance=1e-6,
        peer="gudhi", target=target, floor=floor, rounds=rounds,
    )  # fmt: skip


def rips_components(count: int, target: float, floor: float, rounds: int = 5):
    """One step: H0 bars of a Rips filtration and the gradient of their total length."""
    import gudhi

    from lab.topology.persistence.diagrams import bars
    from lab.topology.persistence.filtrations import Rips

    torch.set_num_threads(1)
    x, _ = cloud(count)

    def ours():
        value = bars(Rips(x), 0).lengths.sum()
        return [float(value.detach()), torch.autograd.grad(value, x)[0].numpy()]

    def theirs():
        tree = gudhi.RipsComplex(points=x.detach().numpy()).create_simplex_tree(max_dimension=1)
        tree.compute_persistence(homology_coeff_field=2)
        found = torch.from_numpy(tree.flag_persistence_generators()[0].astype(np.int64))
        value = (x[found[:, 1]] - x[found[:, 2]]).norm(dim=1).sum()
        return [float(value.detach()), torch.autograd.grad(value, x)[0].numpy()]

    return frame.ratio(
        f"Rips H0 step, n={count}", ours, theirs, compare=relative, tolerance=1e-6, peer="gudhi", target=target,
        floor=floor, rounds=rounds,
    )  # fmt: skip


def sliced_batch(count: int, target: float, floor: float, rounds: int = 5):
    """All pairwise sliced Wasserstein distances of signed measures, 50 lines."""
    from multipers.ml.signed_measures import SignedMeasure2SlicedWassersteinDistance

    from lab.topology.persistence.distances import sliced_wasserstein_matrix
    from lab.topology.persistence.filtrations import FunctionRips
    from lab.topology.persistence.signed_measures import hilbert

    torch.set_num_threads(1)
    measures = []
    for seed in range(count):
        x, f = cloud(60, seed)
        measures.append(hilbert(FunctionRips(x.detach(), f.detach()), 0))
    arrays = [[(m.points.numpy(), m.weights.numpy())] for m in measures]

    def ours():
        return sliced_wasserstein_matrix(measures, lines=50).numpy()

    def theirs():
        peer = SignedMeasure2SlicedWassersteinDistance(n_jobs=1, num_directions=50)
        return np.asarray(peer.fit_transform(arrays))

    def compare(mine, other):
        """Directions and their weights differ: the matrices must be alike up to scale."""
        other = other.reshape(count, -1)[:, :count]
        pairs = np.triu_indices(count, 1)
        return 1 - float(np.corrcoef(mine[pairs], other[pairs])[0, 1])

    return frame.ratio(
        f"sliced Wasserstein, all pairs of {count} measures", ours, theirs, compare=compare, tolerance=0.2,
        peer="multipers", packages=MULTIPERS, target=target, floor=floor, rounds=rounds,
    )  # fmt: skip


def rank_invariant(count: int, degree: int, lines: int, target: float, floor: float, rounds: int = 5):
    """Signed barcode of the rank invariant on a grid."""
    import multipers
    import multipers.filtrations

    from lab.topology.persistence.filtrations import FunctionRips
    from lab.topology.persistence.ranks import rank

    torch.set_num_threads(1)
    x, f = (part.detach() for part in cloud(count))

    def ours():
        return rank(FunctionRips(x, f), degree, grid=lines).signed_barcode().weights.abs().sum()

    def theirs():
        tree = multipers.filtrations.RipsLowerstar(points=x.numpy(), function=f.numpy())
        tree.collapse_edges(-1)
        if degree:
            tree.expansion(degree + 1)
        tree = tree.grid_squeeze(resolution=lines, strategy="quantile")
        ((_, weights),) = multipers.signed_measure(tree, degree=degree, invariant="rank", n_jobs=1)
        return np.abs(weights).sum()

    # the two choose their grid lines differently, so only both being there is compared; tests hold ours to elimination
    return frame.ratio(
        f"rank H{degree}, n={count}, {lines} lines", ours, theirs, compare=lambda a, b: 0.0 if float(a) * float(b) > 0 else 1.0,
        tolerance=0.5, peer="multipers", packages=MULTIPERS, target=target, floor=floor, rounds=rounds,
    )  # fmt: skip


def landscape(count: int, lines: int, target: float, floor: float, rounds: int = 3):
    """Three landscape functions of H1 on a grid; the peer's module approximation evaluates the same functions."""
    import multipers
    import multipers.filtrations

    from lab.topology.persistence.filtrations import FunctionRips
    from lab.topology.persistence.ranks import multiparameter_landscape

    torch.set_num_threads(1)
    x, f = (part.detach() for part in cloud(count))
    box = np.array([[0.0, float(f.min())], [2.0, float(f.min()) + 2.0]])
    grid = [np.linspace(box[0, a], box[1, a], lines) for a in range(2)]

    def ours():
        return multiparameter_landscape(FunctionRips(x, f), 1, grid, count=3).numpy()

    def theirs():
        tree = multipers.filtrations.RipsLowerstar(points=x.numpy(), function=f.numpy())
        tree.collapse_edges(-1)
        tree.expansion(2)
        module = multipers.module_approximation(tree, box=box, max_error=float(grid[0][1] - grid[0][0]), verbose=False)
        return np.asarray(module.landscapes(degree=1, ks=[0, 1, 2], box=box, resolution=[lines, lines]))

    def compare(mine, other):
        return float(np.abs(mine[0] - other[0]).max() / mine[0].max()) if other.shape == mine.shape else 1.0

    return frame.ratio(
        f"landscape H1, n={count}, {lines} x {lines}", ours, theirs, compare=compare, tolerance=1.0, peer="multipers",
        packages=MULTIPERS, target=target, floor=floor, rounds=rounds,
    )  # fmt: skip


def large_cloud(count: int, budget: float, floor: float):
    """Seconds of the exact H0 measure of a large cloud against a budget; there is no other side."""
    import datetime

    from lab.kernels import timing
    from lab.topology.persistence.filtrations import FunctionRips
    from lab.topology.persistence.signed_measures import hilbert
    from tests.bench.peers import versions

    torch.set_num_threads(1)
    x, f = cloud(count)

    def ours():
        measure = hilbert(FunctionRips(x, f), 0)
        return _value_and_gradients(measure.points, measure.weights, (x, f))

    found = timing.alternate(ours, ours, compare=lambda a, b: 0.0, tolerance=0.0, rounds=5)
    listed = ", ".join(f"{name} {version}" for name, version in versions("torch", "numba", "numpy").items())
    ratio = budget / found.ours
    return frame.Row(
        f"function-Rips H0 with gradient, n={count}", f"a budget of {budget:g} s", 1e3 * found.ours, 1e3 * budget, ratio, ratio,
        ratio, 0.0, 1.0, floor, listed, timing.machine(), datetime.date.today().isoformat(),
    )  # fmt: skip
