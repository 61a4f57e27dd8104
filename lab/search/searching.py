"""One verb for all methods: own candidates and own data in, a network ready to train out.

:func:`search` runs a method with several seeds at once on a split of the data, and keeps the seed whose network is best on
validation data after a short training from scratch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from lab import checks
from lab.search import bilevel, darts_pt, proxylessnas
from lab.search.bilevel import Recipe, Split, train_paths
from lab.search.rarts import Relaxed
from lab.search.sd_darts import VotingTeachers
from lab.search.sharpdarts import power_schedule
from lab.search.space import Genotype, Space
from lab.search.supernet import Network, Supernet


def _selected(supernet, split, recipe, seeds):
    found = bilevel.run(supernet, split, recipe, seeds=seeds)
    return darts_pt.select(found, split, interval=max(1, recipe.steps // 10), recipe=recipe).choice


def _stepped(step="first", **changes):
    def run(supernet, split, recipe, seeds):
        own = step() if isinstance(step, type) else step
        return bilevel.run(supernet, split, replace(recipe, **changes), seeds=seeds, step=own).choice

    return run


def _taught(supernet, split, recipe, seeds):
    teachers = VotingTeachers(interval=max(1, recipe.steps // 10))
    return bilevel.run(supernet, split, recipe, seeds=seeds, start=teachers.attach).choice


def _one_path(supernet, split, recipe, seeds):
    return proxylessnas.search(
        supernet.space, split, seeds=seeds, steps=recipe.steps, batch_size=recipe.batch_size
    ).choice


def _by_lot(supernet, split, recipe, seeds):
    return torch.stack([supernet.space.random(1, 20_000 + seed)[0] for seed in seeds])


METHODS: dict[str, Callable] = {
    "darts": _stepped(),
    "second order": _stepped("second"),
    "joint": _stepped("joint"),
    "darts_pt": _selected,
    "sharpdarts": _stepped(rule="max-w", schedule=power_schedule(2.0)),
    "sd_darts": _taught,
    "rarts": _stepped(Relaxed),
    "proxylessnas": _one_path,
    "random": _by_lot,
}


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a search found.

    ``genotype`` is the best seed's; ``genotypes`` and ``validation`` hold what every seed chose and the accuracy of its network
    after a short training. ``network(seed)`` is the network with fresh weights, ready for :func:`lab.training.fit` or an own loop.
    """

    space: Space
    method: str
    genotype: Genotype
    genotypes: tuple[Genotype, ...]
    validation: torch.Tensor
    test_accuracy: float

    def network(self, seed: int | torch.Generator = 0) -> Network:
        """The network of the best genotype with fresh weights."""
        return Network(self.space, self.genotype, seed)

    def save(self, path) -> None:
        """The genotype as JSON; :meth:`network_from` reads it."""
        Path(path).write_text(self.genotype.to_json() + "\n", encoding="utf-8")

    @staticmethod
    def network_from(path, space: Space, seed: int | torch.Generator = 0) -> Network:
        """The network of a saved genotype in ``space``, which names the candidates again."""
        return Network(space, Genotype.from_json(Path(path).read_text(encoding="utf-8")), seed)


def search(
    candidates: str | tuple[str, ...] | Mapping[str, Callable[[int], nn.Module] | None],
    x,
    y,
    *,
    method: str = "darts_pt",
    seeds: int = 4,
    steps: int = 400,
    width: int = 16,
    cells: int = 2,
    nodes: int = 2,
    batch_size: int = 64,
    seed: int = 0,
) -> Outcome:
    """Search a classifier for own data from own candidates.

    Args:
        candidates: a named set (see :class:`lab.search.Space`), names, or ``{name: build}`` with ``build(width) -> nn.Module``.
        x: rows (items, features), or images (items, channels, H, W) for candidates on images; used as they are, so scale them.
        y: classes 0, 1, ... of the items.
        method: one of :data:`METHODS`.
        seeds: searches side by side.
        steps: of each search, and of the short training that compares them.
        width, cells, nodes: of the space.
        seed: draws the split, 40 % training, 40 % validation, 20 % test.

    Raises:
        ValueError: an unknown method or candidate, classes that are not 0, 1, ..., fewer than 20 items.

    >>> found = search("s2", torch.rand(60, 4), torch.arange(60) % 2, seeds=2, steps=4, width=8)
    >>> found.network()(torch.rand(3, 4)).shape
    torch.Size([3, 2])
    """
    checks.choice("method", method, METHODS)
    x, y = checks.tensor("x", x, ndim=(2, 4)), checks.tensor("y", y, ndim=1)
    if y.is_floating_point():
        raise TypeError(f"y must hold classes as integers, got {y.dtype}")
    if len(x) < 20:
        raise ValueError(f"x must hold at least 20 items, got {len(x)}")
    if len(x) != len(y):
        raise ValueError(f"x and y must have equally many items, got {len(x)} and {len(y)}")
    if int(y.min()) < 0 or len(y.unique()) != int(y.max()) + 1:
        raise ValueError(f"y must hold the classes 0, 1, ... without gaps, got {sorted(set(y.tolist()))[:12]}")
    part = 2 * len(x) // 5
    split = Split.of(x, y, train=part, validation=part, seed=seed)
    space = Space(candidates, x.shape[1], int(y.max()) + 1, nodes=nodes, cells=cells, width=width, image=x.ndim == 4)
    supernet = Supernet(space)
    recipe = Recipe(steps=steps, batch_size=min(batch_size, part))
    drawn = tuple(range(seed, seed + checks.integer("seeds", seeds, low=1)))
    choice = METHODS[method](supernet, split, recipe, drawn)
    weights, plan = train_paths(
        supernet, choice, *split.train, seeds=list(drawn), steps=steps, batch_size=recipe.batch_size
    )
    with torch.no_grad():
        held, test = (
            (supernet.planned(weights, plan, inputs).argmax(2) == labels).double().mean(1)
            for inputs, labels in (split.validation, split.test)
        )
    best = int(held.argmax())
    genotypes = tuple(space.genotype(one) for one in choice)
    return Outcome(space, method, genotypes[best], genotypes, held, float(test[best]))
