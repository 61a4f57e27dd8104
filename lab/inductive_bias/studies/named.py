"""The tasks and spaces that the notebooks of this room name."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from torch import nn

from lab import checks, source
from lab.inductive_bias.covariances import NNGP, NTK, RBF, Linear, Matern, Patch, Polynomial
from lab.inductive_bias.kernel_space import KernelSpace
from lab.inductive_bias.networks import WeightPriorSpace
from lab.inductive_bias.ranking import cosine_task
from lab.inductive_bias.task import Task
from lab.inductive_bias.trained import TrainedSpace
from lab.kernels.random_hypotheses import RandomNetwork

SIZES = {"smoke": (100, 100), "default": (300, 500), "full": (1000, 797)}
COVARIANCES = {"rbf": RBF(), "matern": Matern(nu=1.5), "patches": Patch(5), "nngp": NNGP(3)}


def named_task(name: str, profile: str = "default", *, seed: int = 0) -> Task:
    """``"digits"`` (8 x 8 pixels, ten one-hot classes), ``"cosines"`` (in ten dimensions) or ``"pendulum"`` (control)."""
    checks.choice("profile", profile, SIZES)
    checks.choice("name", name, ("digits", "cosines", "pendulum"))
    n_train, n_test = SIZES[profile]
    if name == "cosines":
        return cosine_task(10, n_train=n_train, n_test=n_test, seed=seed)
    if name == "pendulum":
        return pendulum_task(n_train=n_train, n_test=n_test, seed=seed)
    from lab import datasets

    points = datasets.load("digits")
    x, y = np.asarray(points.x).reshape(len(points.x), -1), np.asarray(points.label)
    order = np.random.default_rng(seed).permutation(len(x))[: n_train + n_test]
    x, y = x[order], y[order]
    return Task((x[:n_train], y[:n_train]), (x[n_train:], y[n_train:]), name="digits")


def named_space(name: str):
    """The covariance behind a word of the notebooks."""
    checks.choice("name", name, COVARIANCES)
    return COVARIANCES[name]


def image_spaces() -> list[KernelSpace]:
    """Eleven spaces for small images: smooth, rough, local, deep and linear."""
    covariances = {
        "RBF, median width": RBF(),
        "RBF, width 1": RBF(1.0),
        "RBF, width 2": RBF(2.0),
        "RBF, width 6": RBF(6.0),
        "Matern 3/2": Matern(),
        "cubic polynomial": Polynomial(3),
        "linear": Linear(),
        "patches 3 x 3": Patch(3),
        "patches 5 x 5": Patch(5),
        "ReLU, 1 layer (NNGP)": NNGP(1),
        "ReLU, 3 layers (NNGP)": NNGP(3),
        "ReLU, 3 layers (NTK)": NTK(3),
    }
    return [KernelSpace(covariance, name=name) for name, covariance in covariances.items()]


def pendulum_task(*, n_train: int = 200, n_test: int = 300, seed: int = 0) -> Task:
    """Control of an inverted pendulum: from (cos angle, sin angle, speed) to the torque of a swing-up controller.

    The controller pumps energy while the pendulum hangs and stabilizes it linearly near the top, with torque clipped to
    ``[-2, 2]``; states are uniform over angle in ``[-pi, pi]`` and speed in ``[-8, 8]`` (the usual benchmark's ranges).
    """
    rng = np.random.default_rng(seed)
    angle, speed = rng.uniform(-math.pi, math.pi, n_train + n_test), rng.uniform(-8, 8, n_train + n_test)
    energy = 0.5 * speed**2 / 3 + 5 * (np.cos(angle) - 1)
    pump = -0.5 * energy * np.sign(speed)
    balance = -10 * np.arctan2(np.sin(angle), np.cos(angle)) - 2 * speed
    torque = np.clip(np.where(np.cos(angle) > 0.9, balance, pump), -2, 2)
    x = np.stack([np.cos(angle), np.sin(angle), speed / 8], 1)
    return Task((x[:n_train], torque[:n_train]), (x[n_train:], torque[n_train:]), name="pendulum")


def few_shot_task(*, ways: int = 5, shots: int = 1, n_test: int = 100, seed: int = 0) -> Task:
    """``ways`` classes of digits with ``shots`` labelled images each."""
    from lab import datasets

    checks.integer("ways", ways, low=2, high=10)
    checks.integer("shots", shots, low=1, high=50)
    points = datasets.load("digits")
    x, y = np.asarray(points.x).reshape(len(points.x), -1), np.asarray(points.label)
    rng = np.random.default_rng(seed)
    classes = rng.permutation(10)[:ways]
    order = rng.permutation(np.flatnonzero(np.isin(y, classes)))
    train = np.concatenate([order[y[order] == c][:shots] for c in classes])
    test = np.setdiff1d(order, train, assume_unique=True)[:n_test]
    return Task((x[train], y[train]), (x[test], y[test]), name=f"{ways} ways, {shots} shots")


class PatchTransformer(nn.Module):
    """A small transformer on 8 x 8 images: sixteen 2 x 2 patches as tokens, one block of attention, mean over tokens."""

    def __init__(self, outputs: int = 10, *, width: int = 24, seed: int = 0):
        super().__init__()
        self.embed, self.place = nn.Linear(4, width), nn.Linear(16, width, bias=False)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.mix, self.first, self.second = (
            nn.Linear(width, width),
            nn.Linear(width, 2 * width),
            nn.Linear(2 * width, width),
        )
        self.head = nn.Linear(width, outputs)
        from lab.training import initialize

        initialize(self, seed)

    def forward(self, x):
        patches = x.reshape(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, 16, 4)
        h = self.embed(patches) + self.place.weight.T
        scores = self.query(h) @ self.key(h).transpose(1, 2) / math.sqrt(h.shape[-1])
        h = h + self.mix(scores.softmax(-1) @ self.value(h))
        h = h + self.second(torch.relu(self.first(h)))
        return self.head(h.mean(1))


def trained_spaces(profile: str = "default", *, outputs: int = 10) -> list[TrainedSpace]:
    """MLP, CNN and transformer, and the MLP under three momentum settings, all trained to the same number of epochs."""
    from lab.training import cnn, mlp

    checks.choice("profile", profile, SIZES)
    networks, epochs = {"smoke": (8, 8), "default": (64, 30), "full": (512, 60)}[profile]

    def dense(seed):
        return mlp(64, outputs, widths=(64, 64), seed=seed)

    def convolutional(seed):
        return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), cnn(1, outputs, widths=(8, 16), seed=seed))

    def attention(seed):
        return PatchTransformer(outputs, seed=seed)

    def sgd(momentum):
        return partial(torch.optim.SGD, lr=0.05, momentum=momentum)

    return [
        TrainedSpace(dense, networks, epochs=epochs, name="MLP, Adam"),
        TrainedSpace(convolutional, networks, epochs=epochs, name="CNN, Adam"),
        TrainedSpace(attention, networks, epochs=epochs, name="transformer, Adam"),
        *[
            TrainedSpace(
                dense, networks, optimizer=sgd(m), learning_rate=0.05, epochs=epochs, name=f"MLP, momentum {m:g}"
            )
            for m in (0.0, 0.5, 0.9)
        ],
    ]


def slope_task(*, n_train: int = 8, n_test: int = 32, seed: int = 0) -> Task:
    """``y = 2 x_0 - 1`` on uniform points of the cube in three dimensions: simple enough for random networks to fit."""
    x = torch.rand(n_train + n_test, 3, generator=checks.generator(seed), dtype=torch.float64)
    y = (2 * x[:, 0] - 1).numpy()
    return Task((x[:n_train], y[:n_train]), (x[n_train:], y[n_train:]), centre=False, name="slope")


def one_axis(profile: str = "default", *, tolerance: float = 0.02, width: int = 64) -> list:
    """One architecture four ways: random weights that fit, its infinite limit, its tangent kernel, and trained."""
    from lab.training import mlp

    checks.choice("profile", profile, SIZES)
    networks = {"smoke": 32, "default": 256, "full": 2048}[profile]

    def dense(seed):
        return mlp(3, 1, widths=(width,), seed=seed)

    return [
        WeightPriorSpace(RandomNetwork(3, (width,), 1, bias_scale=0.5), tolerance, name="random weights that fit"),
        KernelSpace(NNGP(1, bias_variance=0.25), amplitude=1.0, noise=0.02, name="infinite width (NNGP)"),
        KernelSpace(NTK(1, bias_variance=0.25), amplitude=1.0, noise=0.02, name="infinite width (NTK)"),
        TrainedSpace(
            dense,
            networks,
            learning_rate=1e-2,
            epochs=100,
            batch_size=None,
            until_fit=True,
            rounds=5,
            tolerance=tolerance,
            name="trained until it fits",
        ),
    ]


def routes_table(law, *, draws: int = 10_000, shares=(0.95, 0.75, 0.5), seed: int = 0):
    """Bits at shares of the mean loss and at the posterior mean's loss: ``eps, exact, scipy, fitted, gamma, verdict``."""
    import pandas as pd

    from lab.inductive_bias import chi_square_fit as fitting
    from lab.inductive_bias import published
    from lab.inductive_bias.bit_methods import required_bits
    from lab.inductive_bias.laws import LOG2, SampleLaw

    sample = SampleLaw(law.sample(draws, seed=seed))
    scipy = published.scipy_fit(sample.losses)
    rows = []
    for name, eps in [
        *((f"{s:g} of the mean", s * law.mean) for s in shares),
        ("posterior mean", law.posterior_mean_loss),
    ]:
        fitted = required_bits(sample, eps, method="fit")
        rows.append(
            {
                "threshold": name,
                "eps": eps,
                "exact": required_bits(law, eps).bits,
                "scipy": scipy.bits(eps),
                "fitted": fitted.bits,
                "gamma": fitting.shifted_gamma_nats(sample.losses, eps) / LOG2,
                "verdict of the fit": fitted.verdict,
            }
        )
    return pd.DataFrame(rows)


def trained_table(spaces, task: Task):
    """Trained spaces at the median loss of the first: ``space, bits, low, high, verdict, train_loss, test_loss, networks``."""
    import pandas as pd

    from lab.inductive_bias.bit_methods import required_bits

    laws = [space.loss_law(task) for space in spaces]
    eps = float(laws[0].losses.median())
    rows = []
    for space, law in zip(spaces, laws):
        found = required_bits(law, eps, method="counting")
        rows.append(
            {
                "space": space.label,
                "law": "law of an optimizer",
                "bits": found.bits,
                "low": found.interval[0],
                "high": found.interval[1],
                "verdict": found.verdict,
                "eps": eps,
                "train_loss": float(law.train_losses.mean()),
                "test_loss": float(law.losses.mean()),
                "networks": law.drawn,
            }
        )
    return pd.DataFrame(rows).sort_values("bits", ignore_index=True)


def few_shot_curve(shots, *, ways: int = 5, n_test: int = 100, share: float = 0.5, seed: int = 0):
    """Bits of three spaces against the number of examples of each class, at the same threshold: one column a space."""
    import pandas as pd

    from lab.inductive_bias.bit_methods import required_bits
    from lab.inductive_bias.ranking import Share, threshold

    eps, rows = None, []
    for count in shots:
        task = few_shot_task(ways=ways, shots=count, n_test=n_test, seed=seed)
        eps = threshold(Share(share), task) if eps is None else eps
        bits = {
            name: required_bits(KernelSpace(covariance).loss_law(task), eps).bits
            for name, covariance in (("RBF", RBF()), ("patches", Patch(5)), ("NNGP", NNGP(3)))
        }
        rows.append({"shots": count, **bits})
    return pd.DataFrame(rows)


def rank_agreement(table):
    """Spearman correlations between the measures of :func:`lab.inductive_bias.compare` over the reachable spaces."""
    columns = ["bits", "evidence_bits", "prequential_bits", "cross_validation_loss", "held_out_loss"]
    return table.loc[np.isfinite(table["bits"]), columns].corr(method="spearman")


def least_bits_report(profile: str = "default", *, eps: float = 0.03, seed: int = 0):
    """Bits of an RBF on a reporting split, before and after its width and amplitude were searched on another split."""
    import pandas as pd

    from lab.inductive_bias.bit_methods import required_bits
    from lab.inductive_bias.least_bits import least_bits_kernel

    checks.choice("profile", profile, SIZES)
    steps = {"smoke": 15, "default": 40, "full": 100}[profile]
    search, report = (named_task("digits", "smoke", seed=seed + part).subset(n_test=60) for part in (1, 2))
    found = least_bits_kernel(search, eps, width=8.0, amplitude=3.0, steps=steps)
    rows = [("start", 8.0, 3.0, found.before), ("least bits", found.width, found.amplitude, found.after)]
    return pd.DataFrame(
        [
            {
                "kernel": name,
                "width": width,
                "amplitude": amplitude,
                "bits on the search split": bits,
                "bits on the reporting split": required_bits(
                    KernelSpace(RBF(width), amplitude=amplitude).loss_law(report), eps
                ).bits,
            }
            for name, width, amplitude, bits in rows
        ]
    )


def benchmark_table():
    """The committed comparison with peers, as ``make bench`` wrote it."""
    return source.committed_table("inductive_bias.csv")


def growth(sizes, *, eps_share: float = 0.5, seed: int = 0):
    """CPU time of exact bits by number of points, and of the tail alone: ``points, bits_ms, tail_ms, bits``."""
    import time

    import pandas as pd

    from lab.inductive_bias.bit_methods import required_bits

    rows = []
    for size in sizes:
        task = cosine_task(6, n_train=size, n_test=size, seed=seed)
        space = KernelSpace(RBF(0.7), amplitude=1.0)
        law = space.loss_law(task)
        eps = eps_share * law.mean
        required_bits(law, eps)  # the first call loads the compiled kernel
        began = time.process_time()
        bits = required_bits(space.loss_law(task), eps).bits
        middle = time.process_time()
        required_bits(law, eps)
        rows.append(
            {
                "points": size,
                "bits_ms": 1e3 * (middle - began),
                "tail_ms": 1e3 * (time.process_time() - middle),
                "bits": bits,
            }
        )
    return pd.DataFrame(rows)
