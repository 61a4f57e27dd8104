"""Measurements of the statements about sharpDARTS."""

from __future__ import annotations

from itertools import product

import torch
from torch import nn

from lab.claims import Effects, measures
from lab.search import sharpdarts, supernet
from lab.search.studies import sharpdarts as study
from lab.search.studies.common import shown


@measures("sharpdarts.schedule")
def schedule(trial):
    """Distance from cosine annealing as the order goes to one, from the largest and smallest rate at the ends, and from the epochs
    at which orders 1, 2, 10 halve the rate. Control: every order is twice as large."""
    factor = 2.0 if trial.control else 1.0
    e = torch.arange(1, 301, dtype=torch.float64)
    cosine = 0.5 * (1 + torch.cos(torch.pi * e / 300))
    near = sharpdarts.cosine_power_annealing(300, highest=1.0, lowest=0.0, order=factor * 1.000001)
    curves = {
        p: sharpdarts.cosine_power_annealing(300, highest=0.1, lowest=7.5e-4, order=factor * p)
        for p in (1.0, 2.0, 10.0)
    }
    found = {
        "cosine limit": float((near - cosine / cosine[0]).abs().max()),
        "ends": max(abs(float(c[0]) - 0.1) + abs(float(c[-1]) - 7.5e-4) for c in curves.values()),
        "rises": max(float(c.diff().max().clamp_min(0)) for c in curves.values()),
        "half times": max(abs(sharpdarts.half_time(curves[p]) - at) for p, at in ((1.0, 150), (2.0, 134), (10.0, 102))),
    }
    return Effects(list(found.values()), found)


@measures("sharpdarts.leader-keeps-one")
def leader(trial):
    """Distance of the leader's coefficient from one, of its gradient from zero, and of the others' gradient with respect to the
    leader's softmax weight from -1. Control: softmax."""
    alpha = torch.randn(
        50, 5, generator=torch.Generator().manual_seed(trial.seeds[0]), dtype=torch.float64, requires_grad=True
    )
    rule = "softmax" if trial.control else "max-w"
    w = supernet.mix(alpha, rule)
    top = torch.softmax(alpha, 1).argmax(1)
    rows = torch.arange(50)
    (own,) = torch.autograd.grad(w[rows, top].sum(), alpha, retain_graph=True, allow_unused=True)
    p = torch.softmax(alpha, 1)
    expected = [1 - p[rows, top] + p[rows, k] for k in range(5)]
    w, others = w.detach(), torch.stack(expected, 1).detach()
    return Effects([float(each.abs().max()) for each in (w[rows, top] - 1, own, w - others)])


@measures("sharpdarts.block-is-uniform")
def uniform(trial):
    """Distances of each block from four convolutions in depth and a receptive field of 2k - 1, over variants and kernels.

    Control: the first half of the block alone.
    """
    errors = []
    for variant, kernel in product(sharpdarts.VARIANTS, (3, 5, 7)):
        block = sharpdarts.SharpSepConv(3, 3, kernel, variant=variant).double()
        layers = nn.Sequential(*list(block)[:4]) if trial.control else block
        depth = sum(isinstance(layer, nn.Conv2d) for layer in layers)
        reach = nn.Sequential(
            *(layer for layer in layers if isinstance(layer, nn.Conv2d))
        )  # normalization sees all pixels
        for value in reach.parameters():
            nn.init.constant_(value, 1.0)
        x = torch.zeros(1, 3, 21, 21, dtype=torch.float64, requires_grad=True)
        reach(block[0](x) * 0 + x)[0, 0, 10, 10].backward()
        field = int((x.grad[0].abs().sum((0, 1)) > 0).sum())
        errors += [abs(depth - 4), abs(field - (2 * kernel - 1))]
    return Effects(errors)


@measures("sharpdarts.path-is-the-best")
def path(trial):
    """Log-coefficient of the best path of all less that of the chosen one. Control: the best width of each layer by itself."""
    grid = sharpdarts.HyperCuboid(4, 2, (2, 3, 4), 3)
    generator = torch.Generator().manual_seed(trial.seeds[0])
    weights = [torch.rand(20, len(pairs), generator=generator, dtype=torch.float64) for pairs in grid.pairs]
    tables = [w.log().reshape(20, -1, 3) for w in weights]

    def score(route):
        rows = torch.arange(20)
        total = tables[0][rows, 0, route[:, 0]]
        return total + sum(tables[k][rows, route[:, k - 1], route[:, k]] for k in (1, 2))

    best = torch.stack([score(torch.tensor([one] * 20)) for one in product(range(3), repeat=3)]).amax(0)
    found = grid.path(weights)
    if trial.control:
        found = torch.stack([table.amax(1).argmax(1) for table in tables], 1)
    return Effects(float((best - score(found)).max()))


def _run(trial, **changes):
    return study.run(
        study.Setting.of(trial.budget, **changes), seeds=trial.seeds, data=trial.data, control=trial.control
    )


@measures("sharpdarts.max-w-leaves-skip", stacked=True)
def leaves_skip(trial):
    """Share of edges with skip under softmax less that under Max-W. Control: softmax in both."""
    result = _run(trial)
    return Effects(result.measured["share of skip, DARTS"] - result.measured["share of skip, Max-W"], shown(result))


@measures("sharpdarts.lower-error", stacked=True)
def lower(trial):
    """1 - error of sharpDARTS over that of DARTS, from their means over two sets of candidates. Control: softmax and cosine."""
    results = [_run(trial, operations=name) for name in ("skip-linear-mlp", "s2")]
    errors = {
        arm: torch.stack([1 - result.accuracy[arm] for result in results]).mean(0) for arm in ("DARTS", "sharpDARTS")
    }
    return Effects(1 - errors["sharpDARTS"] / errors["DARTS"], shown(results[0]))


@measures("sharpdarts.max-w-takes-noise", stacked=True)
def takes_noise(trial):
    """Accuracy of Max-W less softmax where none and noise are candidates. Control: softmax in both."""
    result = _run(trial, operations="none-noise")
    return Effects(result.gain("Max-W", "DARTS"), shown(result))


@measures("sharpdarts.power-annealing", stacked=True)
def annealing(trial):
    """Accuracy of one network trained with cosine power annealing less that with cosine annealing. Control: cosine
    annealing in both, from other seeds."""
    found = study.run_schedules(study.Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(found["power"] - found["cosine"], {name: float(values.mean()) for name, values in found.items()})


@measures("sharpdarts.generalization-gap", stacked=True)
def gap(trial):
    """Accuracy of the supernet less that of its network under softmax, less the same under Max-W. Control: softmax in both."""
    result = _run(trial)
    names = ("supernet less network, DARTS", "supernet less network, Max-W")
    return Effects(result.measured[names[0]] - result.measured[names[1]], shown(result))


@measures("sharpdarts.second-test-set", stacked=True)
def second_set(trial):
    """Accuracy of sharpDARTS's networks less DARTS's, trained on MNIST and tried on other digits. Control: networks by lot."""
    found = study.run_second_set(study.Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(found["sharpDARTS"] - found["DARTS"], {name: float(values.mean()) for name, values in found.items()})


def _grid(trial):
    return study.run_grid(study.Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)


@measures("sharpdarts.darts-loses-to-a-hand", stacked=True)
def hand(trial):
    """Accuracy of widths chosen by hand less those by DARTS. Control: the narrowest network in the place of the hand's."""
    found = _grid(trial)
    return Effects(found["by hand"] - found["DARTS"], {name: float(values.mean()) for name, values in found.items()})


@measures("sharpdarts.max-w-beats-a-hand", stacked=True)
def beats(trial):
    """Accuracy of widths by Max-W less those by hand. Control: drawn widths, and the narrowest network."""
    found = _grid(trial)
    return Effects(found["Max-W"] - found["by hand"], {name: float(values.mean()) for name, values in found.items()})
