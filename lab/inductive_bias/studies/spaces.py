"""Spaces of models compared: kinds, classes, architectures, rankings, limits."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from lab.inductive_bias import boolean
from lab.inductive_bias.bit_methods import required_bits
from lab.inductive_bias.covariances import NNGP, NTK, RBF, Matern, Patch, Polynomial
from lab.inductive_bias.kernel_space import KernelSpace
from lab.inductive_bias.laws import DiscreteLaw, SampleLaw
from lab.inductive_bias.networks import WeightPriorSpace
from lab.inductive_bias.ranking import Share, threshold
from lab.inductive_bias.splitting import Splitting
from lab.inductive_bias.task import Task
from lab.inductive_bias.task_edits import ShuffleFeatures
from lab.inductive_bias.trained import TrainedSpace
from lab.kernels.random_hypotheses import RandomNetwork

ARCHITECTURES = {"1 layer": NNGP(1), "3 layers": NNGP(3), "8 layers": NNGP(8), "receptive fields 5 x 5": Patch(5)}
GENERIC = {"generic": RBF(1.0)}
NETWORKS = {
    "NNGP 1": NNGP(1, bias_variance=0.1),
    "NNGP 3": NNGP(3, bias_variance=0.1),
    "NTK 3": NTK(3, bias_variance=0.1),
}
OTHERS = {"Matern 1/2": Matern(nu=0.5), "RBF": RBF(), "polynomial": Polynomial(3), "Matern 5/2": Matern(nu=2.5)}


def answers(seed: int, budget: str, *, published: bool = False) -> dict[str, tuple[float, str, str]]:
    """``{kind of space: (bits, method, verdict)}`` of six kinds, for the majority of four bits with 8 of 16 rows seen.

    ``published`` answers by the published fit to 2000 draws of each law instead of the best method that the law allows.
    """
    found = {}
    for name, space, task in _kinds(seed, budget):
        law, eps = space.loss_law(task), 1 / 8 if task.metric == "error" else 0.5
        bits = required_bits(_drawn(law, seed), eps, method="fit") if published else required_bits(law, eps, seed=seed)
        found[name] = (round(bits.bits, 2), bits.method, bits.verdict)
    return found


def _drawn(law, seed) -> SampleLaw:
    if isinstance(law, SampleLaw):
        return law
    if isinstance(law, DiscreteLaw):
        generator = torch.Generator().manual_seed(seed)
        return SampleLaw(law.losses[torch.multinomial(law.log_weights.exp(), 2000, True, generator=generator)])
    return SampleLaw(law.sample(2000, seed=seed))


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


def encoded(task: Task, *, networks=None, share: float = 0.25, noise: float = 0.0) -> dict[str, float]:
    """Bits that each class saves against the generic space of the paper, RBF of width one and amplitude one.

    The threshold is ``share`` of the loss of a constant; ``networks`` takes the place of :data:`NETWORKS`.
    """
    eps = threshold(Share(share), task)
    generic = required_bits(KernelSpace(RBF(1.0), amplitude=1.0, noise=noise).loss_law(task), eps).bits
    return {
        name: generic - required_bits(KernelSpace(covariance, noise=noise).loss_law(task), eps).bits
        for name, covariance in (OTHERS | (NETWORKS if networks is None else networks)).items()
    }


def architecture_bits(
    task: Task, *, names: tuple[str, ...], share: float = 0.25, noise: float = 0.0
) -> dict[str, float]:
    """Bits of infinitely wide networks of the architectures ``names``, keys of :data:`ARCHITECTURES`."""
    eps = threshold(Share(share), task)
    return {
        name: required_bits(KernelSpace(ARCHITECTURES[name], noise=noise).loss_law(task), eps).bits for name in names
    }


def saved_by_locality(task: Task) -> float:
    """Bits that receptive fields of 5 x 5 pixels save against a dense kernel."""
    eps = threshold(Share(0.25), task)
    dense, local = (required_bits(KernelSpace(c).loss_law(task), eps).bits for c in (RBF(), Patch(5)))
    return dense - local


def locality(task: Task, seed: int, *, shuffled_twice: bool = False) -> tuple[float, float]:
    """:func:`saved_by_locality` on images and with their pixels shuffled; ``shuffled_twice`` shuffles both."""
    images = ShuffleFeatures(seed + 77)(task) if shuffled_twice else task
    return saved_by_locality(images), saved_by_locality(ShuffleFeatures(seed)(task))


@lru_cache(maxsize=64)
def rank_correlations(seed: int, n: int, *, shuffled: bool = False) -> dict[str, tuple[float, ...]]:
    """Spearman correlations over twelve spaces between bits on one split and losses on fresh points, one a data set.

    The loss is that of the hypotheses themselves, averaged over the posterior, or that of their mean as one predictor; the
    same with the marginal likelihood in place of bits. ``n`` points a part; ``shuffled`` destroys the labels.
    """
    from scipy.stats import spearmanr

    spaces = (
        *(RBF(), RBF(1.0), RBF(2.0), RBF(6.0)),
        *(Matern(nu=0.5), Matern(nu=1.5), Matern(nu=2.5), Polynomial(2), Polynomial(3)),
        *(NNGP(1, bias_variance=0.1), NNGP(4, bias_variance=0.1), NTK(3, bias_variance=0.1)),
    )
    found: dict[str, list[float]] = {
        name: [] for name in ("hypotheses", "mean", "evidence, hypotheses", "evidence, mean")
    }
    for x, y in _data_sets():
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(x))[: 3 * n]
        x, y = x[order], y[order]
        if shuffled:
            y = rng.permutation(y)
        third = len(x) // 3
        parts = [(x[i * third : (i + 1) * third], y[i * third : (i + 1) * third]) for i in range(3)]
        task, fresh = Task(parts[0], parts[1]), Task(parts[0], parts[2])
        eps = threshold(Share(0.5), task)
        rows = []
        for covariance in spaces:
            space = KernelSpace(covariance, noise=0.1)
            law, again = space.loss_law(task), space.loss_law(fresh)
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
    return {name: tuple(values) for name, values in found.items()}


def _data_sets():
    """Digits, wine, diabetes and the breast cancer table, standardized; targets as floats of spread one."""
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

    for load in (load_digits, load_wine, load_diabetes, load_breast_cancer):
        x, y = load(return_X_y=True)
        spread = x.std(0)
        x = (x - x.mean(0)) / np.where(spread > 0, spread, 1)
        y = np.eye(int(y.max()) + 1)[y] if load is not load_diabetes else ((y - y.mean()) / y.std())[:, None]
        yield x, y.astype(float)


def widths_and_limit(
    seed: int, *, widths: tuple[int, ...], particles: int, bias: float = 0.5, weight_variance: float = 2.0
) -> tuple[list[float], float]:
    """Bits to fit seven labels to 0.02 under random networks of growing width, by splitting, and under their exact limit.

    Another ``weight_variance`` of the kernel than the networks' own 2 is another limit.
    """
    x = torch.rand(8, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y = (2 * x[:, 0] - 1).numpy()
    task = Task((x[:7], y[:7]), (x[7:], y[7:]), centre=False)
    tolerance = 0.02
    covariance = NNGP(1, weight_variance=weight_variance, bias_variance=bias**2)
    exact = required_bits(KernelSpace(covariance, amplitude=1.0).prior_law(task), tolerance).bits
    bits = []
    for width in widths:
        law = WeightPriorSpace(RandomNetwork(3, (width,), 1, bias_scale=bias)).prior_law(task)
        bits.append(Splitting(particles=particles, runs=4).bits(law, tolerance, seed=seed).bits)
    return bits, exact


def reachable(answer: tuple[float, str, str]) -> bool:
    """Whether an entry of :func:`answers` is a finite number that its method supports."""
    bits, _, verdict = answer
    return math.isfinite(bits) and verdict == "valid"
