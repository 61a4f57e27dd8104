"""Statements about spaces of models: kinds, classes, architectures, limits."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from lab.claims import Measured, by_id, measures
from lab.inductive_bias import boolean
from lab.inductive_bias.bits import required_bits
from lab.inductive_bias.claims.common import CHOSEN, digits_task, interval, own_or_digits
from lab.inductive_bias.covariances import NNGP, NTK, RBF, Matern, Patch, Polynomial
from lab.inductive_bias.edits import ShuffleFeatures
from lab.inductive_bias.kernel_space import KernelSpace
from lab.inductive_bias.networks import WeightPriorSpace
from lab.inductive_bias.ranking import Share, threshold
from lab.inductive_bias.splitting import Splitting
from lab.inductive_bias.task import Task
from lab.inductive_bias.trained import TrainedSpace
from lab.kernels.random_hypotheses import RandomNetwork


@measures("bias.diverse-spaces")
def diverse_spaces(data, seeds, budget) -> Measured:
    """Six kinds of space answer for one small task each can represent: majority of four bits, 8 rows seen."""
    found = {}
    for name, space, task in _kinds(seeds[0], budget):
        bits = required_bits(space.loss_law(task), 1 / 8 if task.metric == "error" else 0.5, seed=seeds[0])
        found[name] = (round(bits.bits, 2), bits.method, bits.verdict)
    good = sum(math.isfinite(bits) and verdict == "valid" for bits, _, verdict in found.values())
    return Measured(good, (good, good), good == len(found), {"spaces": found})


def _kinds(seed, budget):
    majority = torch.where(boolean.cube(4).sum(1) > 0, 1.0, -1.0).double()
    rows = torch.randperm(16, generator=torch.Generator().manual_seed(seed))[:8].tolist()
    task = boolean.task(majority, rows)
    values = Task((task.train_inputs, task.train_targets), (task.test_inputs, task.test_targets), centre=False)
    module = nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 1))
    networks = {"smoke": 32, "default": 128, "full": 1024}[budget]

    def build(one):
        from lab.training import mlp

        return mlp(4, 1, widths=(16,), seed=one)

    return [
        ("kernel", KernelSpace(RBF(2.0)), values),
        ("infinitely wide network", KernelSpace(NNGP(2, bias_variance=0.2)), values),
        ("all Boolean functions", boolean.space(boolean.all_functions(4), task), task),
        ("random network", WeightPriorSpace(RandomNetwork(4, (16,), 1, bias_scale=0.5)), task),
        ("random convolutional network", WeightPriorSpace(module, bias_scale=0.5), task),
        (
            "trained network",
            TrainedSpace(build, networks=networks, learning_rate=1e-2, batch_size=8, epochs=60),
            values,
        ),
    ]


@measures("bias.networks-encode")
def networks_encode(data, seeds, budget) -> Measured:
    """Bits that each class saves against the generic space of the paper, RBF of width one and amplitude one."""
    return _encoded(data, seeds, budget)


def _encoded(data, seeds, budget, *, networks=None) -> Measured:
    """``networks`` replaces the network classes; the generic space in their place encodes nothing."""
    noise = 0.0 if data is None else 0.05
    classes = {"Matern 1/2": Matern(nu=0.5), "RBF": RBF(), "polynomial": Polynomial(3), "Matern 5/2": Matern(nu=2.5)}
    networks = networks or {
        "NNGP 1": NNGP(1, bias_variance=0.1),
        "NNGP 3": NNGP(3, bias_variance=0.1),
        "NTK 3": NTK(3, bias_variance=0.1),
    }
    beyond, table = [], []
    for seed in seeds:
        task = own_or_digits(data, seed, budget)
        eps = threshold(Share(0.25 if data is None else 0.5), task)
        generic = required_bits(KernelSpace(RBF(1.0), amplitude=1.0, noise=noise).loss_law(task), eps).bits
        saved = {
            name: generic - required_bits(KernelSpace(c, noise=noise).loss_law(task), eps).bits
            for name, c in (classes | networks).items()
        }
        others = float(np.median([saved[name] for name in classes]))
        beyond.append(float(np.median([saved[name] for name in networks])) - others)
        table.append({name: round(value, 1) for name, value in saved.items()} | {"generic": round(generic, 1)})
    value, ends = interval(beyond)
    positive = all(row[name] > 0 for row in table for name in networks)
    return Measured(value, ends, math.isfinite(value) and ends[0] > 0 and positive, {"encoded bits": table})


@measures("bias.architectures")
def architectures(data, seeds, budget) -> Measured:
    """Infinitely wide networks of four architectures on the same tasks; the spread of their mean bits."""
    return _between(data, seeds, budget)


def _between(data, seeds, budget, *, names=("1 layer", "3 layers", "8 layers", "receptive fields 5 x 5")) -> Measured:
    kinds = {"1 layer": NNGP(1), "3 layers": NNGP(3), "8 layers": NNGP(8), "receptive fields 5 x 5": Patch(5)}
    if data is not None:
        names = tuple(name for name in names if name != "receptive fields 5 x 5")
    rows = []
    for seed in seeds:
        task = own_or_digits(data, seed, budget)
        eps = threshold(Share(0.25 if data is None else 0.5), task)
        noise = 0.0 if data is None else 0.05
        rows.append([required_bits(KernelSpace(kinds[name], noise=noise).loss_law(task), eps).bits for name in names])
    table = np.array(rows)
    most, least = int(table.mean(0).argmax()), int(table.mean(0).argmin())
    value, ends = interval(table[:, most] - table[:, least])
    details = {"mean bits": dict(zip(names, table.mean(0).round(1).tolist()))}
    return Measured(value, ends, math.isfinite(value) and ends[0] > 0, details)


@measures("bias.benefits")
def benefits(data, seeds, budget) -> Measured:
    """What local receptive fields save against a dense kernel, on images and with the pixels shuffled."""
    return _saved_by_locality(seeds, budget)


def _saved_by_locality(seeds, budget, *, shuffled_twice: bool = False) -> Measured:
    """``shuffled_twice`` compares two shuffles, on both of which locality is worth nothing."""
    differences, table = [], []
    for seed in seeds:
        task = digits_task(seed, budget)
        eps = threshold(Share(0.25), task)
        pair = (ShuffleFeatures(seed + 77)(task) if shuffled_twice else task, ShuffleFeatures(seed)(task))
        dense, local = KernelSpace(RBF()), KernelSpace(Patch(5))
        saved = [required_bits(dense.loss_law(t), eps).bits - required_bits(local.loss_law(t), eps).bits for t in pair]
        differences.append(saved[0] - saved[1])
        table.append([round(v, 1) for v in saved])
    value, ends = interval(differences)
    return Measured(value, ends, ends[0] > 0, {"saved on images, on shuffled pixels": table})


@measures("bias.ranking", "bias.ranking-of-means")
def ranking(data, seeds, budget, id) -> Measured:
    """Spearman correlation over twelve spaces between bits on one split and a loss on fresh points, on four data sets.

    The loss is that of the hypotheses themselves, averaged over the posterior, or that of their mean as one predictor.
    """
    found = _rank_correlations(seeds, budget)
    own, other = (found["hypotheses"], found["mean"]) if id == "bias.ranking" else (found["mean"], found["hypotheses"])
    value, ends = interval(own)
    details = {
        "by data set and seed": [round(v, 3) for v in own],
        "the same with the other loss": round(float(np.mean(other)), 3),
        "the same with marginal likelihood": round(
            float(np.mean(found["evidence, hypotheses" if id == "bias.ranking" else "evidence, mean"])), 3
        ),
        "that the two losses are told apart": CHOSEN,
    }
    return Measured(value, ends, value >= by_id(id).margin, details)


def _rank_correlations(seeds, budget, *, shuffled: bool = False):
    from scipy.stats import spearmanr

    n = {"smoke": 60, "default": 150, "full": 300}[budget]
    spaces = [
        RBF(),
        RBF(1.0),
        RBF(2.0),
        RBF(6.0),
        Matern(nu=0.5),
        Matern(nu=1.5),
        Matern(nu=2.5),
        Polynomial(2),
        Polynomial(3),
        NNGP(1, bias_variance=0.1),
        NNGP(4, bias_variance=0.1),
        NTK(3, bias_variance=0.1),
    ]
    found: dict[str, list[float]] = {
        name: [] for name in ("hypotheses", "mean", "evidence, hypotheses", "evidence, mean")
    }
    for seed in seeds:
        for x, y in _data_sets():
            rng = np.random.default_rng(seed)
            order = rng.permutation(len(x))[: 3 * n]
            x_, y_ = x[order], y[order]
            if shuffled:
                y_ = rng.permutation(y_)
            third = len(x_) // 3
            parts = [(x_[i * third : (i + 1) * third], y_[i * third : (i + 1) * third]) for i in range(3)]
            task, fresh = Task(parts[0], parts[1]), Task(parts[0], parts[2])
            eps = threshold(Share(0.5), task)
            rows = []
            for covariance in spaces:
                space = KernelSpace(covariance, noise=0.1)
                law = space.loss_law(task)
                again = space.loss_law(fresh)
                evidence = -law.meta["log_marginal_likelihood"]
                rows.append((required_bits(law, eps).bits, evidence, again.mean, again.posterior_mean_loss))
            bits, evidence, hypotheses, mean = np.nan_to_num(np.array(rows).T, posinf=1e12)
            for name, first, second in (
                ("hypotheses", bits, hypotheses),
                ("mean", bits, mean),
                ("evidence, hypotheses", evidence, hypotheses),
                ("evidence, mean", evidence, mean),
            ):
                found[name].append(float(spearmanr(first, second).statistic))
    return found


def _data_sets():
    """Digits, wine, diabetes and the breast cancer table, standardized; targets as floats of spread one."""
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

    for load in (load_digits, load_wine, load_diabetes, load_breast_cancer):
        x, y = load(return_X_y=True)
        spread = x.std(0)
        x = (x - x.mean(0)) / np.where(spread > 0, spread, 1)
        y = np.eye(int(y.max()) + 1)[y] if load is not load_diabetes else ((y - y.mean()) / y.std())[:, None]
        yield x, y.astype(float)


@measures("bias.network-limit")
def network_limit(data, seeds, budget) -> Measured:
    """Bits to fit seven labels to a tolerance: splitting over random networks, against the exact law of the kernel."""
    return _limit(seeds, budget, bias=0.5)


def _limit(seeds, budget, *, bias: float, weight_variance: float = 2.0) -> Measured:
    """Another ``weight_variance`` of the kernel than the networks' own 2 is another limit."""
    widths = {"smoke": (2, 128), "default": (2, 16, 128), "full": (2, 16, 128, 1024, 4096)}[budget]
    particles = {"smoke": 256, "default": 1024, "full": 2048}[budget]
    margin = by_id("bias.network-limit").margin
    covariance = NNGP(1, weight_variance=weight_variance, bias_variance=bias**2)
    differences, table = [], []
    for seed in seeds:
        x = torch.rand(8, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        y = (2 * x[:, 0] - 1).numpy()
        task = Task((x[:7], y[:7]), (x[7:], y[7:]), centre=False)
        tolerance = 0.02
        exact = required_bits(KernelSpace(covariance, amplitude=1.0).prior_law(task), tolerance).bits
        row = []
        for width in widths:
            law = WeightPriorSpace(RandomNetwork(3, (width,), 1, bias_scale=bias)).prior_law(task)
            row.append(Splitting(particles=particles, runs=4).bits(law, tolerance, seed=seed).bits)
        differences.append(row[-1] / exact - 1)
        table.append([round(v, 2) for v in [*row, exact]])
    value, ends = interval(differences)
    holds = abs(value) < margin + (ends[1] - ends[0]) / 2 and abs(value) < 0.15
    return Measured(value, ends, holds, {"widths": list(widths), "bits by width, then exact": table, "task": CHOSEN})
