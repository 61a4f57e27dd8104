r"""Distances between sets of segmentations: samples of a model against the masks of several raters.

With S = {s_1..s_N} soft masks of a probabilistic model and Y = {y_1..y_R} masks of raters, each a point in R^{HW}, the training
loss is a distance of the two empirical distributions, here half the energy distance

.. math:: D_E(S, Y) = \mathbb E\|s - y\| - \tfrac12 \mathbb E\|s - s'\| - \tfrac12 \mathbb E\|y - y'\|

(expectations over all pairs, a point with itself included) or the debiased Sinkhorn divergence. Evaluation uses the generalized
energy distance with d = 1 - IoU, two empty masks having d = 0:

.. math:: \mathrm{GED}^2 = 2\,\mathbb E\,d(S, Y) - \mathbb E\,d(S, S') - \mathbb E\,d(Y, Y').

Sources: S. Chatterjee et al., 'PULASki: Learning inter-rater variability using statistical distances to improve probabilistic
segmentation', Medical Image Analysis 2025; the network: S. Kohl et al., 'A Probabilistic U-Net for Segmentation of Ambiguous
Images', NeurIPS 2018. The published code names its energy form 'Hausdorff' after an alias of the library it calls.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import nn

from lab import checks, training
from lab.kernels.precision import wide, without_autocast

EPSILON = 1e-8


@without_autocast
def energy_set_distance(
    samples: Float[torch.Tensor, "batch n *space"], raters: Float[torch.Tensor, "batch r *space"], *, scale: bool = True
) -> Float[torch.Tensor, " batch"]:
    """Half the energy distance of the two sets of each image.

    Args:
        samples: soft masks (B, N, ...space) with values in [0, 1].
        raters: masks (B, R, ...space) of the same space, in [0, 1].
        scale: divide by sqrt(number of pixels), so that the weight against other terms does not depend on the resolution.

    Gradients are finite where points coincide. Half precision is computed, and returned, in float32.

    Raises:
        ValueError: values outside [0, 1], such as masks of 0 and 255 or logits; shapes that do not fit.
    """
    s, y = _sets(samples, raters)
    return _energy(s, y, scale)


@without_autocast
def sinkhorn_set_distance(
    samples: torch.Tensor, raters: torch.Tensor, blur: float = 0.05, *, iterations: int = 100, scale: bool = True
) -> Float[torch.Tensor, " batch"]:
    r"""Debiased Sinkhorn divergence OT(S, Y) - OT(S, S)/2 - OT(Y, Y)/2 with cost |s - y|^2/2 and entropy blur^2.

    With ``scale`` the cost is per pixel and ``blur`` in units of mask values; few points in many dimensions make it nearly the
    cost of the best assignment.
    """
    s, y = _sets(samples, raters)
    blur = checks.number("blur", blur, low=0.0, open_low=True)
    if scale:
        s, y = s / math.sqrt(s.shape[2]), y / math.sqrt(y.shape[2])

    def transport(a, b):
        cost = 0.5 * torch.cdist(a, b).square()
        log_a, log_b = -math.log(a.shape[1]), -math.log(b.shape[1])
        f, g = cost.new_zeros(cost.shape[:2]), cost.new_zeros(cost.shape[0], cost.shape[2])
        eps = max(float(cost.detach().max()), blur**2)
        for k in range(iterations):
            # the entropy anneals to blur^2: a cold start at small blur needs far more iterations
            eps = max(eps * 0.5, blur**2) if k else eps
            f = -eps * torch.logsumexp(log_b + (g[:, None, :] - cost) / eps, 2)
            g = -eps * torch.logsumexp(log_a + (f[:, :, None] - cost) / eps, 1)
        return f.mean(1) + g.mean(1)

    return transport(s, y) - 0.5 * transport(s, s) - 0.5 * transport(y, y)


@without_autocast
def generalized_energy_distance(
    samples: torch.Tensor, raters: torch.Tensor, threshold: float = 0.5
) -> Float[torch.Tensor, " batch"]:
    """GED^2 of thresholded samples and raters with d = 1 - IoU, one value an image. Not differentiable: a metric."""
    s, y = _sets(samples, raters)
    s, y = (s > threshold).to(s), (y > threshold).to(y)

    def distance(a, b):
        both = a @ b.transpose(1, 2)
        either = a.sum(2)[:, :, None] + b.sum(2)[:, None, :] - both
        return torch.where(either > 0, 1 - both / either.clamp_min(1), torch.zeros_like(both)).mean((1, 2))

    return 2 * distance(s, y) - distance(s, s) - distance(y, y)


def focal_tversky_loss(
    prediction: torch.Tensor, target: torch.Tensor, *, alpha: float = 0.7, gamma: float = 0.75
) -> torch.Tensor:
    """|1 - TI|^gamma with TI = (TP + 1)/(TP + alpha FN + (1 - alpha) FP + 1), per image, averaged.

    Source: N. Abraham, N. M. Khan, 'A Novel Focal Tversky Loss Function with Improved Attention U-Net for Lesion
    Segmentation', ISBI 2019.
    """
    checks.same_shape("prediction", prediction, "target", target)
    prediction = wide(prediction)
    p, t = prediction.flatten(1), target.flatten(1).to(prediction)
    hit = (p * t).sum(1)
    index = (hit + 1) / (hit + alpha * ((1 - p) * t).sum(1) + (1 - alpha) * (p * (1 - t)).sum(1) + 1)
    return (1 - index).clamp_min(EPSILON).pow(gamma).mean()


class Draw(NamedTuple):
    """What one training pass takes: images (B, channels, ...space), one mask each (B, 1, ...space), noise (B, n, latent)."""

    image: torch.Tensor
    mask: torch.Tensor
    noise: torch.Tensor


class TinyProbUNet(nn.Module):
    """A small probabilistic U-Net: U-Net features, a Gaussian prior p(z|x) and posterior q(z|x, y), z mixed in by 1x1 convolutions.

    Args:
        channels: image channels.
        widths: of the U-Net.
        latent: dimensions of z.
        dimension: 2 or 3 spatial axes.
        seed: of the weights.
    """

    def __init__(
        self,
        channels: int = 1,
        widths: tuple[int, ...] = (16, 32),
        latent: int = 2,
        dimension: int = 2,
        seed: int | torch.Generator = 0,
    ):
        super().__init__()
        generator = checks.generator(seed)
        self.latent, self.dimension = (
            checks.integer("latent", latent, low=1),
            checks.integer("dimension", dimension, low=2, high=3),
        )
        self.features = training.unet(channels, widths[0], widths=widths, dimension=dimension, seed=generator)
        self.prior = training.cnn(channels, 2 * latent, widths=widths, dimension=dimension, seed=generator)
        self.posterior = training.cnn(channels + 1, 2 * latent, widths=widths, dimension=dimension, seed=generator)
        convolution = nn.Conv2d if dimension == 2 else nn.Conv3d
        self.mix = training.initialize(
            nn.Sequential(convolution(widths[0] + latent, widths[0], 1), nn.ReLU(), convolution(widths[0], 1, 1)),
            generator,
        )

    def forward(self, draw: Draw) -> tuple[Float[torch.Tensor, "batch n *space"], Float[torch.Tensor, " batch"]]:
        """Logits of n masks decoded from the posterior given each image's mask, and the KL of posterior and prior."""
        (prior_mean, prior_log), (mean, log) = self.distributions(draw.image, draw.mask)
        squares = (2 * log).exp() + (mean - prior_mean).square()
        divergence = (prior_log - log + 0.5 * squares * (-2 * prior_log).exp() - 0.5).sum(1)
        return self.decode(draw.image, mean[:, None] + log.exp()[:, None] * draw.noise), divergence

    def distributions(self, x: torch.Tensor, y: torch.Tensor | None = None):
        """Prior, and posterior given one mask (B, 1, ...space) if there is one."""
        prior = self._gaussian(self.prior(x))
        return prior if y is None else (prior, self._gaussian(self.posterior(torch.cat([x, y], 1))))

    def decode(
        self, x: torch.Tensor, z: Float[torch.Tensor, "batch n latent"]
    ) -> Float[torch.Tensor, "batch n *space"]:
        """Logits of the masks of n latents an image; the U-Net runs once an image."""
        features = self.features(x)
        batch, n, _ = z.shape
        space = x.shape[2:]
        tiled = z.reshape(batch * n, self.latent, *[1] * len(space)).expand(-1, -1, *space)
        return self.mix(torch.cat([features.repeat_interleave(n, 0), tiled], 1)).reshape(batch, n, *space)

    def sample(self, x: torch.Tensor, n: int, seed: int | torch.Generator = 0) -> Float[torch.Tensor, "batch n *space"]:
        """n masks from the prior, as probabilities."""
        mean, log_scale = self.distributions(x)
        noise = torch.randn(len(x), n, self.latent, generator=checks.generator(seed)).to(mean)
        return torch.sigmoid(self.decode(x, mean[:, None] + log_scale.exp()[:, None] * noise))

    def _gaussian(self, moments):
        mean, log_scale = moments.split(self.latent, 1)
        return mean, log_scale.clamp(-5, 2)


SETS, SINGLE = ("energy", "sinkhorn"), ("cross-entropy", "focal-tversky", "dice")


def set_loss(
    model: TinyProbUNet,
    x: Float[torch.Tensor, "batch channels *space"],
    raters: Float[torch.Tensor, "batch r *space"],
    *,
    distance: str = "energy",
    latent_weight: float = 1e-2,
    seed: int | torch.Generator = 0,
) -> torch.Tensor:
    """Training loss: distance of as many posterior samples as raters to all raters, plus the weighted KL of posterior and prior.

    ``distance``: ``"energy"``, ``"sinkhorn"``, or a baseline on one random rater: ``"cross-entropy"``, ``"focal-tversky"``,
    ``"dice"``.

    Raises:
        ValueError: another distance; images and masks that are not finite or differ in batch or space; masks outside [0, 1].
    """
    checks.choice("distance", distance, (*SETS, *SINGLE))
    x = checks.tensor("x", x, floating=True)
    raters = _unit("raters", checks.tensor("raters", raters)).to(x)
    if x.ndim < 3 or raters.ndim != x.ndim or raters.shape[0] != x.shape[0] or raters.shape[2:] != x.shape[2:]:
        raise ValueError(
            f"x (batch, channels, ...space) and raters (batch, r, ...space) must share batch and space, got {tuple(x.shape)} "
            f"and {tuple(raters.shape)}"
        )
    generator = checks.generator(seed)
    count = raters.shape[1]
    chosen = torch.randint(count, (len(x),), generator=generator)
    noise = torch.randn(len(x), samples_drawn(distance, count), model.latent, generator=generator).to(x)
    return pass_loss(
        model, Draw(x, raters[torch.arange(len(x)), chosen][:, None], noise), raters, distance, latent_weight
    )


def samples_drawn(distance: str, raters: int) -> int:
    """Masks decoded for each image in a training pass: as many as raters for a set distance, one for a baseline."""
    return raters if distance in SETS else 1


def pass_loss(
    model, draw: Draw, raters: torch.Tensor, distance: str, latent_weight: float | torch.Tensor
) -> torch.Tensor:
    """:func:`set_loss` of one drawn pass. ``model``: Draw -> (logits, divergence); no value decides, so that it can be mapped."""
    logits, divergence = (wide(each) for each in model(draw))
    one, masks = logits[:, 0], torch.sigmoid(logits)
    if distance == "energy":
        value = _energy(masks.flatten(2), raters.flatten(2), scale=True).mean()
    elif distance == "sinkhorn":
        value = sinkhorn_set_distance(masks, raters, iterations=20).mean()
    elif distance == "cross-entropy":
        value = nn.functional.binary_cross_entropy_with_logits(one, draw.mask[:, 0])
    elif distance == "dice":  # the Tversky index with equal weights, without its focus
        value = focal_tversky_loss(masks[:, 0], draw.mask[:, 0], alpha=0.5, gamma=1.0)
    else:
        value = focal_tversky_loss(masks[:, 0], draw.mask[:, 0])
    return value + latent_weight * divergence.mean()


def _energy(s, y, scale):
    value = _distances(s, y).mean((1, 2)) - 0.5 * _distances(s, s).mean((1, 2)) - 0.5 * _distances(y, y).mean((1, 2))
    return value / math.sqrt(s.shape[2]) if scale else value


def _sets(samples, raters):
    s = wide(_unit("samples", checks.tensor("samples", samples, floating=True)))
    y = _unit("raters", checks.tensor("raters", raters)).to(s)
    if s.ndim < 3 or y.ndim != s.ndim or s.shape[0] != y.shape[0] or s.shape[2:] != y.shape[2:]:
        raise ValueError(
            f"samples (batch, n, ...space) and raters (batch, r, ...space) must share batch and space, got {tuple(s.shape)} "
            f"and {tuple(y.shape)}"
        )
    return s.flatten(2), y.flatten(2)


def _unit(name, masks):
    """``masks`` with values in [0, 1], up to rounding of what a sigmoid gives."""
    low, high = torch.aminmax(masks.detach())
    if float(low) < -1e-3 or float(high) > 1 + 1e-3:
        raise ValueError(
            f"{name} must hold masks with values in [0, 1], got {float(low):.6g} to {float(high):.6g}; divide masks of 0 and "
            "255 by 255, and take the sigmoid of logits"
        )
    return masks


def _distances(a, b):
    """Pairwise Euclidean distances with a finite gradient at zero."""
    squared = (a[:, :, None] - b[:, None]).square().sum(-1)
    return (squared + EPSILON**2).sqrt() - EPSILON
