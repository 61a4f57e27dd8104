r"""Graph classification with learned filtrations, and the simplest descriptors against the expensive ones.

A graph network gives every vertex one value or two; the signed barcodes of H0 and H1 of the graph they filter, smoothed on
a grid, are the features of a linear classifier. Everything is trained together. With two values the features are those of
a bifiltration; grids are chosen so that both have the same number of features.

Source: Scoccola, Setlur, Loiseaux, Carriere, Oudot, 'Differentiability and Optimization of Multiparameter Persistent
Homology', ICML 2024, section 4 (graphs); the data here are random graphs of three kinds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from lab import checks
from lab.topology.persistence.filtrations import Graph
from lab.topology.persistence.ranks import multiparameter_landscape, rank
from lab.topology.persistence.signed_measures import SignedMeasure, euler, hilbert, union
from lab.topology.persistence.vectorize import convolution
from lab.training import initialize


@dataclass(frozen=True)
class Graphs:
    """Labelled graphs: edges (E, 2) and number of vertices of each, labels, names of the classes."""

    edges: list[np.ndarray]
    sizes: list[int]
    label: torch.Tensor
    classes: tuple[str, ...]


def random_graphs(count: int = 150, *, seed: int = 0) -> Graphs:
    """Two communities, no communities, and a ring of cliques, with 18 to 30 vertices and about equal numbers of edges."""
    r = np.random.default_rng(checks.integer("seed", seed, low=0))
    edges, sizes = [], []
    label = np.arange(checks.integer("count", count, low=3)) % 3
    for kind in label:
        size = int(r.integers(18, 31))
        group = np.arange(size) * (2 if kind == 0 else max(3, size // 5)) // size
        same = group[:, None] == group
        chance = 0.2 if kind == 1 else np.where(same, *((0.33, 0.07) if kind == 0 else (0.75, 0.05)))
        drawn = np.triu(r.random((size, size)) < chance, 1)
        if kind == 2:
            border = np.flatnonzero(np.diff(group))
            drawn[border, border + 1] = True
            drawn[0, -1] = True
        edges.append(np.argwhere(drawn))
        sizes.append(size)
    return Graphs(edges, sizes, torch.from_numpy(label.copy()), ("two communities", "none", "ring of cliques"))


class LearnedFiltration(torch.nn.Module):
    """Graph network -> vertex values -> smoothed signed barcodes of H0 and H1 -> linear classifier."""

    def __init__(self, parameters: int, classes: int, *, width: int = 16, seed: int = 0):
        super().__init__()
        self.parameters_of_filtration = checks.choice("parameters", parameters, (1, 2))
        self.line = torch.linspace(0, 1, 36 if parameters == 1 else 6)
        self.bandwidth = 0.08 if parameters == 1 else 0.15
        with torch.device("meta"):
            self.first = torch.nn.Linear(4, width)
            self.second = torch.nn.Linear(2 * width, width)
            self.values = torch.nn.Linear(width, parameters)
            self.read = torch.nn.Linear(2 * 36, classes)
        initialize(self.to_empty(device="cpu"), seed)

    def forward(self, edges: torch.Tensor, graph: torch.Tensor, count: int) -> torch.Tensor:
        """Logits (count, classes) of the disjoint union: ``edges`` (E, 2), ``graph`` (V,) the graph of each vertex."""
        features, degree = _vertex_features(edges, len(graph))
        hidden = torch.tanh(self.first(features))
        around = torch.zeros_like(hidden).index_add(0, edges[:, 0], hidden[edges[:, 1]])
        around = around.index_add(0, edges[:, 1], hidden[edges[:, 0]]) / degree.clamp_min(1)[:, None]
        values = torch.sigmoid(self.values(torch.tanh(self.second(torch.cat([hidden, around], 1)))))
        joined = Graph.__new__(Graph)
        joined.values, joined.edges = values, edges.numpy()
        joined.size, joined.parameters = values.shape
        parts = [self._smoothed(hilbert(joined, degree), graph, count) for degree in (0, 1)]
        return self.read(torch.cat(parts, 1))

    def _smoothed(self, measure: SignedMeasure, graph, count):
        """Gaussian convolution on the grid, summed per graph: the measure of a union is the sum of its parts."""
        distance = (self.line - measure.points[..., None]) / self.bandwidth
        kernel = torch.exp(-0.5 * distance.square())
        image = kernel[:, 0] if kernel.shape[1] == 1 else (kernel[:, 0, :, None] * kernel[:, 1, None]).flatten(1)
        image = image * measure.weights[:, None]
        return image.new_zeros(count, 36).index_add(0, graph[measure.index[:, 0]], image) / 10


def _vertex_features(edges, size):
    """Degree, mean and spread of the degrees around, share of closed triangles: (V, 4), and the degrees."""
    from scipy.sparse import csr_matrix

    degree = torch.bincount(edges.reshape(-1), minlength=size).float()
    both = torch.cat([edges, edges.flip(1)])
    mean = torch.zeros(size).index_add(0, both[:, 0], degree[both[:, 1]]) / degree.clamp_min(1)
    square = torch.zeros(size).index_add(0, both[:, 0], degree[both[:, 1]].square()) / degree.clamp_min(1)
    rows, columns = both.T.numpy()
    adjacency = csr_matrix((np.ones(len(both), np.float32), (rows, columns)), shape=(size, size))
    closed = torch.from_numpy(np.asarray((adjacency @ adjacency).multiply(adjacency).sum(1))[:, 0])
    share = closed / (degree * (degree - 1)).clamp_min(1)
    spread = (square - mean.square()).clamp_min(0).sqrt()
    return torch.stack([degree / 8, mean / 8, spread / 4, share], 1), degree


def learned_accuracy(
    parameters: int, *, count: int = 150, epochs: int = 40, batch: int = 50, seed: int = 0, shuffle: bool = False
) -> float:
    """Test accuracy of a :class:`LearnedFiltration` on graphs it has not seen; ``shuffle`` deals the training labels.

    Adam with step 0.01; two thirds of ``count`` graphs are for training."""
    graphs = random_graphs(count, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(count, generator=generator)
    split = 2 * count // 3
    label = graphs.label.clone()
    if shuffle:
        label[order[:split]] = label[order[:split]][torch.randperm(split, generator=generator)]
    model = LearnedFiltration(parameters, len(graphs.classes), seed=seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(epochs):
        shuffled = order[:split][torch.randperm(split, generator=generator)]
        for rows in shuffled.split(batch):
            loss = torch.nn.functional.cross_entropy(model(*_union(graphs, rows)), label[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        found = model(*_union(graphs, order[split:])).argmax(1)
    return float((found == graphs.label[order[split:]]).double().mean())


def _union(graphs, rows):
    sizes = [graphs.sizes[i] for i in rows]
    start = np.concatenate([[0], np.cumsum(sizes)])
    edges = np.concatenate([graphs.edges[i] + first for i, first in zip(rows, start)])
    graph = torch.from_numpy(np.repeat(np.arange(len(rows)), sizes))
    return torch.from_numpy(edges), graph, len(rows)


@dataclass(frozen=True)
class DescriptorScore:
    """Accuracy over splits and seconds to compute the features, for each descriptor."""

    names: list[str]
    accuracy: list[list[float]]
    seconds: list[float]


@lru_cache(maxsize=32)
def descriptor_scores(
    *, count: int = 120, splits: int = 10, seed: int = 0, dealt: tuple[str, ...] = ()
) -> DescriptorScore:
    """Hilbert, Euler, rank and landscape features of one bifiltration (degree, closed triangles) under one classifier.

    The features of the descriptors named in ``dealt`` are given to the wrong graphs. Remembered for the process.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = random_graphs(count, seed=seed)
    graphs = []
    for edges, size in zip(data.edges, data.sizes):
        features, _ = _vertex_features(torch.from_numpy(edges), size)
        graphs.append(Graph(edges, features[:, [0, 3]].double()))
    line = [torch.linspace(0, 1.5, 8).double(), torch.linspace(0, 1, 8).double()]
    makers = {
        "hilbert": lambda: [torch.cat([_smooth(h0, line), _smooth(h1, line)]) for h0, h1 in _both(graphs)],
        "euler": lambda: [_smooth(euler(graph), line) for graph in graphs],
        "rank": lambda: [torch.cat([_rank_features(graph, d, line) for d in (0, 1)]) for graph in graphs],
        "landscape": lambda: [torch.cat([_landscape_features(graph, d, line) for d in (0, 1)]) for graph in graphs],
    }
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    folds = StratifiedShuffleSplit(splits, test_size=1 / 3, random_state=seed)
    accuracy, seconds = [], []
    for name, make in makers.items():
        make()
        began = time.process_time()
        table = torch.stack(make()).numpy()
        seconds.append(time.process_time() - began)
        if name in dealt:
            table = table[np.random.default_rng(seed).permutation(len(table))]
        accuracy.append(cross_val_score(classifier, table, data.label.numpy(), cv=folds).tolist())
    return DescriptorScore(list(makers), accuracy, seconds)


def _both(graphs):
    return zip(hilbert(graphs, 0), hilbert(graphs, 1))


def _smooth(measure, line):
    return convolution(measure, line, (0.2, 0.13)).reshape(-1)


def _rank_features(graph, degree, line):
    found = rank(graph, degree, grid=16)
    places = torch.cartesian_prod(*[part[::2] for part in line])
    lower, upper = places.repeat_interleave(len(places), 0), places.repeat(len(places), 1)
    below = (lower <= upper).all(1)
    return found.at(lower[below], upper[below]).double()


def _landscape_features(graph, degree, line):
    return multiparameter_landscape(graph, degree, line, count=3, direction=(1.5, 1.0)).reshape(-1)


__all__ = [
    "DescriptorScore",
    "Graphs",
    "LearnedFiltration",
    "descriptor_scores",
    "learned_accuracy",
    "random_graphs",
    "union",
]
