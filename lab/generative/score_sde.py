r"""Score-based generative modeling through stochastic differential equations: one learned score, many ways to use it.

Data become noise by a forward SDE (:mod:`lab.generative.sdes`); its reverse needs the score s(x, t) = grad log p_t(x) alone, which
a network learns by denoising (:mod:`lab.generative.scores`). The same score then gives

- samples, by the reverse SDE with or without Langevin correction, or by the probability flow (:mod:`lab.generative.samplers`);
- exact likelihoods, log p_0(x(0)) = log p_1(x(1)) + int_0^1 div v dt along the flow;
- conditional samples without new training, since the reverse SDE of p(x | y) needs

.. math:: \nabla \log p_t(x \mid y) = s(x, t) + \nabla \log p_t(y \mid x):

a classifier of noised points for classes; for pixels or grey values that are known, the known part is replaced at every time by
a draw of the forward kernel, in a basis in which what is known are coordinates.

Source: Y. Song, J. Sohl-Dickstein, D. P. Kingma, A. Kumar, S. Ermon, B. Poole, 'Score-based generative modeling through stochastic
differential equations', ICLR 2021, equations (5), (6), (7), (13), (14), (39), appendices D, F, G and I.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lab import checks
from lab.generative import samplers
from lab.generative.mixtures import GaussianMixture
from lab.generative.samplers import Noise, Observed, Samples
from lab.generative.scores import LearnedScore, packed, train_score, unpacked
from lab.generative.sdes import SDE, SDES, Score

SAMPLERS = ("predictor", "predictor-corrector", "corrector", "flow")
LARGEST = 64  # coordinates of a user's points


def guided(score: Score, gradient: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], weight: float = 1.0) -> Score:
    """The score of p_t(x | y) from that of p_t(x) and ``gradient``, grad_x log p_t(y | x). ``weight`` 1 is Bayes' rule."""
    return lambda x, t: score(x, t) + weight * gradient(x, t)


def grey_basis(pixels: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """An orthogonal basis (3 n, 3 n) of images (3, n), flattened, and which of its coordinates are the n grey values.

    The grey value of a pixel is (red + green + blue) / sqrt 3; the other two directions hold its colour.
    """
    s = math.sqrt
    rows = [[1 / s(3)] * 3, [1 / s(2), -1 / s(2), 0.0], [1 / s(6), 1 / s(6), -2 / s(6)]]
    turn = torch.tensor(rows, dtype=dtype).T.contiguous()  # channel, direction
    basis = torch.kron(turn, torch.eye(checks.integer("pixels", pixels, low=1), dtype=dtype))
    return basis, torch.arange(3 * pixels) < pixels


def draw(
    score: Score, sde: SDE, items: int, dimension: int, *, sampler: str = "predictor", steps: int = 500, snr: float = 0.16,
    tolerance: float = 1e-4, seeds=(0,), dtype: torch.dtype = torch.float64, observed: Observed | None = None, frames: int = 0,
) -> Samples:  # fmt: skip
    """Samples (seeds, items, d) of any score by one of :data:`SAMPLERS`; the corrector is one Langevin step a level."""
    checks.choice("sampler", sampler, SAMPLERS)
    if sampler == "flow":
        if observed is not None:
            raise ValueError(
                "sampler must not be 'flow' where something is observed: it takes no draws of what is known"
            )
        start = sde.prior_std * Noise(seeds, dtype)(items, dimension)
        return samplers.flow(score, sde, start, rtol=tolerance, atol=tolerance, frames=max(2, frames + 1))
    options = {"predictor": (0, True), "predictor-corrector": (1, True), "corrector": (1, False)}
    corrections, predict = options[sampler]
    return samplers.reverse(
        score, sde, items, dimension, seeds=seeds, steps=steps, corrections=corrections, predict=predict, snr=snr,
        observed=observed, frames=frames, dtype=dtype,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class ScoreModel:
    """A score learned from own points: standardized by ``location`` (d,) and ``scale``, both kept here."""

    score: LearnedScore
    location: torch.Tensor
    scale: float

    def save(self, path: str | Path) -> None:
        """Write the model."""
        torch.save({"score": packed(self.score), "location": self.location, "scale": self.scale}, path)

    @classmethod
    def load(cls, path: str | Path) -> ScoreModel:
        """What :meth:`save` wrote; no code is run from the file.

        Raises:
            ValueError: a file of another kind.
        """
        try:
            content = torch.load(path, weights_only=True)
            location = checks.tensor("location", content["location"], ndim=1)
            return cls(unpacked(LearnedScore, content["score"]), location, checks.number("scale", content["scale"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"path holds no score model: {error}") from None


def fit_score(
    points, *, sde: str = "VP", seed: int = 0, steps: int = 2000, width: int = 128, batch: int = 256, progress=None
) -> ScoreModel:
    """Learn the score of own points (items, d), d at most 64.

    Args:
        points: numbers; shifted by their mean and divided by the deviation of all of them together, which the model keeps.
        sde: "VP", "sub-VP" or "VE".
        steps, width, batch: of the training.

    Raises:
        ValueError, TypeError: points that are no finite table of at least two different rows.
    """
    x = checks.tensor("points", points, ndim=2).double()
    if x.shape[1] > LARGEST or len(x) < 2:
        raise ValueError(f"points must be at least 2 rows of at most {LARGEST} columns, got shape {tuple(x.shape)}")
    process = SDES[checks.choice("sde", sde, SDES)]()
    location, scale = x.mean(0), float((x - x.mean(0)).square().mean().sqrt())
    if scale == 0:
        raise ValueError("points are all the same")
    options = {"steps": steps, "width": width, "batch": batch, "progress": progress}
    return ScoreModel(train_score(process, (x - location) / scale, seeds=(seed,), **options), location, scale)


def sample(
    model: ScoreModel | GaussianMixture, count: int, *, sampler: str = "flow", sde: str = "VP", seed: int = 0, **options
) -> torch.Tensor:
    """``count`` new points (count, d) of a fitted model, or of a mixture under the process ``sde``, in the units of the data.

    Args:
        sampler: "predictor", "predictor-corrector", "corrector" or "flow"; ``options``: ``steps``, ``snr``, ``tolerance``.
    """
    if isinstance(model, GaussianMixture):
        process: SDE = SDES[checks.choice("sde", sde, SDES)]()
        score, location, scale = model.at(process), torch.zeros(model.dimension).double(), 1.0
    elif isinstance(model, ScoreModel):
        score, process, location, scale = model.score, model.score.sde, model.location, model.scale
    else:
        raise TypeError(f"model must be a ScoreModel (see fit_score) or a GaussianMixture, got {type(model).__name__}")
    found = draw(score, process, count, len(location), sampler=sampler, seeds=(seed,), **options)
    return location + scale * found.x[0]


def log_likelihood(
    model: ScoreModel, points, *, tolerance: float = 1e-5, probes: int = 0, seed: int = 0
) -> torch.Tensor:
    """log density of points (items, d) under a fitted model, in nats and in the units of the data.

    ``probes``: 0 computes the divergence exactly, more estimate it (see :func:`lab.generative.samplers.log_likelihood`).
    """
    x = checks.tensor("points", points, shape=(None, len(model.location))).double()
    standard = ((x - model.location) / model.scale)[None]
    found, _ = samplers.log_likelihood(
        model.score, model.score.sde, standard, rtol=tolerance, atol=tolerance, probes=probes, seed=seed
    )
    return found[0] - len(model.location) * math.log(model.scale)


def bits_per_dimension(log_density: torch.Tensor, dimension: int, bins: int = 256, width: float = 1.0) -> torch.Tensor:
    """-log2 P / d of images with ``bins`` levels over a range of ``width``, from log densities of uniformly dequantized ones."""
    return -log_density / (dimension * math.log(2)) + math.log2(bins / width)
