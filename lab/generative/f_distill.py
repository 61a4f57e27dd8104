r"""One-step generators distilled from diffusion models by matching f-divergences of noised distributions.

For a teacher density p, a student x = G(z) with density q and x_t = m x + s e, e ~ N(0, I), let p_t, q_t be the noised
densities and r_t = p_t / q_t. With D_f(p || q) = E_q f(p / q) the gradient for the student's parameters is the
weighted difference of scores:

.. math:: \nabla_\theta D_f(p_t \| q_t) = - E\Bigl[ h(r_t(x_t))\, \bigl(\nabla \log p_t(x_t) - \nabla \log q_t(x_t)\bigr)^\top
          \frac{\partial x_t}{\partial \theta} \Bigr], \qquad h(r) = f''(r)\, r^2 .

===================  =================================  ===========
divergence           f(r)                               h(r)
===================  =================================  ===========
reverse KL           -log r                             1
softened reverse KL  (r + 1) log((r + 1) / (2 r))       1 / (1 + r)
Neyman               (1 - r)^2 / (2 r)                  1 / r
Jensen-Shannon       r log r - (r + 1) log((r + 1)/2)   r / (1 + r)
squared Hellinger    2 (1 - sqrt r)^2                   sqrt r
forward KL           r log r                            r
Jeffreys             (r - 1) log r                      1 + r
===================  =================================  ===========

f is scaled so that h has no constant: with Neyman's this is half, with Hellinger's twice the usual one. The reverse KL is
variational score distillation. Where nothing is in closed form, the student's score comes from a network that is trained on its
samples, r = exp(logit) from a critic of *noised* samples, and weights are normalized in two stages: r by its mean in the bin of t
(E_q r = 1 at every t), then h by its batch mean. One step moves x towards x - w (D_q(x_t) - D_p(x_t)), D the denoisers and
w = h / mean |x - D_p(x_t)|, and adds a small adversarial loss.

Source: Y. Xu, W. Nie, A. Vahdat, 'One-step diffusion models with f-divergence distribution matching', arXiv 2502.15681, 2025,
sections 3 and 4, table 1. There the critic is a head on the teacher's features and data are noised with m = 1; here it is a network
of its own and the process is VP, up to the time at which a twelfth of the data is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lab import checks
from lab.generative.mixtures import GaussianMixture
from lab.generative.one_step import Networks, OneStep, OneStepGenerator, train_denoiser
from lab.generative.samplers import Noise
from lab.generative.score_sde import ScoreModel, draw
from lab.generative.scores import descend, stacked
from lab.generative.sdes import VP, over

Function = Callable[[torch.Tensor], torch.Tensor]
DIVERGENCES: dict[str, tuple[Function, Function]] = {  # name: f, h; from mode seeking to mode covering
    "Neyman": (lambda r: (1 - r).square() / (2 * r), lambda r: 1 / r),
    "softened reverse KL": (lambda r: (r + 1) * torch.log((r + 1) / (2 * r)), lambda r: 1 / (1 + r)),
    "reverse KL": (lambda r: -torch.log(r), torch.ones_like),
    "Jensen-Shannon": (
        lambda r: r * torch.log(r) - (r + 1) * torch.log((r + 1) / 2),
        lambda r: r / (1 + r),
    ),
    "squared Hellinger": (lambda r: 2 * (1 - r.sqrt()).square(), torch.sqrt),
    "forward KL": (lambda r: r * torch.log(r), lambda r: r),
    "Jeffreys": (lambda r: (r - 1) * torch.log(r), lambda r: 1 + r),
}
CLIP = (0.1, 20.0)  # of learned ratios
TIMES = (0.02, 0.7)  # of VP in training: at 0.7 a twelfth of the data is left


def f_weight(kind: str | Sequence[str], ratio: torch.Tensor, floor: float = 1e-8) -> torch.Tensor:
    """h(r) = f''(r) r^2 of density ratios teacher / student, raised to ``floor`` where below.

    ``kind`` is one of :data:`DIVERGENCES`, or one for each entry of the first axis of ``ratio``.

    Raises:
        ValueError, TypeError: an unknown kind, ratios below 0 or not floating point.

    >>> f_weight("Jensen-Shannon", torch.tensor([1.0, 3.0]))
    tensor([0.5000, 0.7500])
    """
    ratio = checks.tensor("ratio", ratio, floating=True)
    if bool((ratio < 0).any()):
        raise ValueError(f"ratio must be at least 0, got {float(ratio.min()):.4g}")
    ratio = ratio.clamp_min(checks.number("floor", floor, low=0.0))
    if isinstance(kind, str):
        return DIVERGENCES[checks.choice("kind", kind, DIVERGENCES)][1](ratio)
    if len(kind) != len(ratio):
        raise ValueError(f"kind must name one divergence for each of {len(ratio)} rows of ratio, got {len(kind)}")
    return torch.stack([f_weight(one, row, floor) for one, row in zip(kind, ratio)])


def f_value(kind: str, ratio: torch.Tensor) -> torch.Tensor:
    """f(r) of density ratios r > 0; D_f(p || q) is its mean under q."""
    return DIVERGENCES[checks.choice("kind", kind, DIVERGENCES)][0](checks.tensor("ratio", ratio, floating=True))


def critic_ratio(logits: torch.Tensor) -> torch.Tensor:
    """exp of logits within 10 of 0, kept within :data:`CLIP`, without gradient: p_t / q_t where the critic is optimal."""
    return logits.detach().clamp(-10, 10).exp().clamp(*CLIP)


class RatioNormalizer:
    """Divides ratios by their mean in bins of t: the first stage of normalization.

    Args:
        bins: equal bins of t in [0, 1].
        rate: share of a bin's old mean that is kept, 0 for the batch's own. An empty bin keeps its mean, 1 at first.
    """

    def __init__(self, bins: int = 10, rate: float = 0.0):
        self.bins, self.rate = checks.integer("bins", bins, low=1), checks.number("rate", rate, low=0.0, high=1.0)
        self.means: torch.Tensor | None = None

    def __call__(self, ratio: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """``ratio`` and ``t`` (..., items); each leading index has bins of its own."""
        index = (t * self.bins).long().clamp(0, self.bins - 1)
        inside = F.one_hot(index, self.bins).to(ratio)
        count = inside.sum(-2)
        found = (ratio[..., None] * inside).sum(-2) / count.clamp_min(1)
        if self.means is None:
            self.means = torch.where(count > 0, found, 1.0)
        else:
            self.means = torch.where(count > 0, self.rate * self.means + (1 - self.rate) * found, self.means)
        return ratio / self.means.gather(-1, index)


def normalized_weight(kind, ratio: torch.Tensor, t: torch.Tensor, normalizer: RatioNormalizer | None) -> torch.Tensor:
    """h over its mean along the last axis, of ratios that ``normalizer`` has divided by their means in bins of t."""
    h = f_weight(kind, ratio if normalizer is None else normalizer(ratio, t))
    return h / h.mean(-1, keepdim=True)


def distillation_loss(
    x: torch.Tensor, student: torch.Tensor, teacher: torch.Tensor, weight: torch.Tensor, scaled: bool = True
) -> torch.Tensor:
    """mean |x - target|^2 / 2 over coordinates, one value an item, whose gradient in x is w (student - teacher) / d.

    Args:
        x: samples of the generator (..., d); ``student`` and ``teacher`` their denoised noisy versions.
        weight: h (...), one an item; with ``scaled`` divided by mean |x - teacher| + 1e-6.
    """
    if scaled:
        weight = weight / ((x - teacher).abs().mean(-1) + 1e-6)
    target = (x - weight[..., None] * (student - teacher)).detach()
    return 0.5 * (x - target).square().mean(-1)


@dataclass(frozen=True, eq=False)
class AffineGenerator:
    """x = shift + factor z with z ~ N(0, I): a student whose noised density and score are exact. (..., d) and (..., d, d)."""

    shift: torch.Tensor
    factor: torch.Tensor

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        """Samples (..., n, d) from ``z`` of that shape."""
        return self.shift[..., None, :] + z @ self.factor.mT

    def noised(self, x: torch.Tensor, mean=1.0, std=0.0) -> tuple[torch.Tensor, torch.Tensor]:
        """log q_t (..., n) and its gradient (..., n, d) at x (..., n, d), m and s numbers or (..., n)."""
        values, vectors = torch.linalg.eigh(self.factor @ self.factor.mT)
        m, s = (torch.as_tensor(v, dtype=x.dtype, device=x.device)[..., None] for v in (mean, std))
        variance = m**2 * values.clamp_min(0)[..., None, :] + s**2
        y = (x - m * self.shift[..., None, :]) @ vectors
        log = -0.5 * (y.square() / variance + torch.log(2 * math.pi * variance)).sum(-1)
        return log, -(y / variance) @ vectors.mT


def student_gradient(
    teacher: GaussianMixture, student: AffineGenerator, kind, z, noise, std, *, mean=1.0, inverted: bool = False, clip=None,
    normalize: bool = False,
) -> torch.Tensor:  # fmt: skip
    """d D_f / d x for samples x = student(z) (..., n, d) noised by ``mean`` x + ``std`` ``noise``, from exact scores and ratios.

    ``kind``: one divergence, or one for each entry of the first axis. ``inverted`` takes student over teacher (a mistake that turns
    the forward KL into Neyman's); ``clip`` bounds r; ``normalize`` divides h by its mean along n.
    """
    std, mean = (torch.as_tensor(v, dtype=z.dtype) for v in (std, mean))
    x = over(mean, z) * student(z) + over(std, z) * noise
    log_q, score_q = student.noised(x, mean, std)
    log_r = (teacher.log_density(x, mean, std) - log_q).clamp(-80, 80)
    r = torch.exp(-log_r if inverted else log_r)
    h = f_weight(kind, r if clip is None else r.clamp(*clip), floor=0.0)
    h = h / h.mean(-1, keepdim=True) if normalize else h
    return -over(mean, z) * h[..., None] * (teacher.score(x, mean, std) - score_q)


@torch.no_grad()
def fit_affine(
    teacher: GaussianMixture, kinds: Sequence[str], *, high: float | Sequence[float] = 0.5, span: float = 50.0,
    steps: int = 1500, rate: float = 0.01, batch: int = 512, seeds: Sequence[int] = (0,), start: float = 1.0,
    scale: float = 1.5, frames: int = 1, inverted: bool = False, progress=None,
) -> list[AffineGenerator]:  # fmt: skip
    """Gaussian students by Adam on the exact gradient: arrays (divergences, noise ranges, seeds), ``frames`` + 1 of them over time.

    Args:
        high: largest noise level, ``span`` times the least; levels are uniform in their logarithm. Several make several students.
        start: distance of the first shift from the teacher's mean, in a direction drawn for each seed.
        scale: first factor, times the identity.
    """
    for kind in kinds:
        checks.choice("kinds", kind, DIVERGENCES)
    steps, batch = checks.integer("steps", steps, low=1), checks.integer("batch", batch, low=2)
    span = checks.number("span", span, low=1.0, open_low=True)
    given = [high] if isinstance(high, (int, float)) else list(high)
    top = torch.tensor([checks.number("high", one, low=0.0, open_low=True) for one in given], dtype=torch.float64)
    draws, d, shape = Noise(seeds), teacher.dimension, (len(kinds), len(given), len(seeds))
    shift = teacher.weights @ teacher.means + start * F.normalize(draws(d), dim=-1)
    shift = shift.expand(*shape, d).clone()
    factor = (scale * torch.eye(d, dtype=torch.float64)).expand(*shape, d, d).clone()
    state = [(one, torch.zeros_like(one), torch.zeros_like(one)) for one in (shift, factor)]
    marks, kept = (
        {round(k * steps / frames) for k in range(1, frames + 1)},
        [AffineGenerator(shift.clone(), factor.clone())],
    )
    for step in range(1, steps + 1):
        z, noise, u = draws(batch, d), draws(batch, d), draws.uniform(batch)
        std = top[:, None, None] * span ** (u - 1)
        g = student_gradient(
            teacher, AffineGenerator(shift, factor), kinds, z.expand(*shape, batch, d), noise, std.expand(*shape, batch),
            inverted=inverted, normalize=True,
        )  # fmt: skip
        for (value, first, second), slope in zip(state, (g.mean(-2), g.mT @ z / batch)):
            first.mul_(0.9).add_(slope, alpha=0.1)
            second.mul_(0.999).addcmul_(slope, slope, value=0.001)
            size = (second / (1 - 0.999**step)).sqrt() + 1e-8
            value.sub_(rate * first / (1 - 0.9**step) / size)
        if step in marks:
            kept.append(AffineGenerator(shift.clone(), factor.clone()))
        if progress is not None and step % 50 == 0:
            progress(step, steps)
    return kept


def train_critic(
    critic: Networks, real: Callable, fake: Callable, *, seeds: Sequence[int], steps: int, batch: int = 256, rate: float = 2e-3,
    times: tuple[float, float] = TIMES, clean: bool = False,
) -> Networks:  # fmt: skip
    """Logistic loss on noised samples of teacher and student, ``real`` and ``fake`` (batch, noise) -> (networks, batch, d).

    ``clean`` trains on samples without noise, at the least time: its logits are no log ratio of noised samples.
    """
    noise, sde = Noise(seeds, torch.float32), critic.sde

    def loss(step):
        t = times[0] + (times[1] - times[0]) * noise.uniform(batch)
        t = torch.full_like(t, times[0]) if clean else t
        pair = [made(batch, noise) for made in (real, fake)]
        pair = pair if clean else [sde.noised(x, t, noise(*x.shape[1:])) for x in pair]
        logits = [critic(x, t)[..., 0] for x in pair]
        return (F.softplus(-logits[0]) + F.softplus(logits[1])).mean(1)

    descend(critic.stack, loss, checks.integer("steps", steps, low=1), rate)
    return critic


def distill_networks(
    teacher: Networks | Callable, start: Networks, x: torch.Tensor, y: torch.Tensor | None = None, *, kinds: Sequence[str],
    seeds: Sequence[int] = (0,), steps: int = 1500, every: int = 5, batch: int = 64, rate: float | Sequence[float] = 3e-4,
    adversarial: float = 1e-3, inverted: bool = False, progress=None,
) -> OneStep:  # fmt: skip
    """Students of all ``kinds`` and ``seeds`` side by side.

    Args:
        teacher: networks (one a seed), or a function (x_t, t) -> E[x_0 | x_t] of any x.
        start: networks (one a seed) from which students and their denoisers start.
        x, y: standardized data and classes, the critic's real samples.
        steps: of all kinds; each ``every``-th moves the students, the others their denoisers and critics.
        rate: of Adam for the students, one for all or one for each kind, falling to 0 as a cosine; the other networks have ten
            times the largest, at most 2e-3.
        adversarial: weight of softplus(-critic) in the students' loss.
        inverted: take student over teacher.

    Returns:
        The exponential mean of the students' weights.
    """
    kinds = tuple(checks.choice("kinds", kind, DIVERGENCES) for kind in kinds)
    arms, n, d = len(kinds), len(seeds), x.shape[1]
    every, steps = checks.integer("every", every, low=2), checks.integer("steps", steps, low=2)
    sde, classes = start.sde, start.classes
    student, fake = start.repeated(arms), start.repeated(arms)
    made, mean = OneStep(student, kinds), start.repeated(arms)
    critic = Networks(stacked(d + classes, 1, [*seeds] * arms, 64, 2), sde, classes)
    rates = torch.full((arms,), rate) if isinstance(rate, (int, float)) else torch.tensor([float(v) for v in rate])
    rates = rates.repeat_interleave(n)
    moved = list(student.stack.parameters())
    helped = [*fake.stack.parameters(), *critic.stack.parameters()]
    first = torch.optim.Adam(moved, lr=1.0, betas=(0.5, 0.99))
    second, helper_rate = torch.optim.Adam(helped, lr=1e-3), min(2e-3, 10 * float(rates.max()))
    noise, normalizer = Noise(seeds, torch.float32), RatioNormalizer()
    x = checks.tensor("x", x, ndim=2).float()
    seen = lambda v: v.unflatten(0, (arms, n)).movedim(0, 1).flatten(1, 2)  # noqa: E731 (seeds, arms x items, ...)
    back = lambda v: v.unflatten(1, (arms, -1)).movedim(1, 0).flatten(0, 1)  # noqa: E731

    def taught(x_t, t, labels):
        if not isinstance(teacher, Networks):
            return teacher(x_t.double(), t.double()).float()
        return back(teacher.denoised(seen(x_t), seen(t), None if labels is None else seen(labels)))

    for step in range(steps):
        rows = (noise.uniform(batch) * len(x)).long().clamp_max(len(x) - 1)
        label = None if y is None else y[rows].repeat(arms, 1)
        u = noise.uniform(batch).repeat(arms, 1)
        t, z, e = (
            TIMES[0] + (TIMES[1] - TIMES[0]) * u,
            noise(batch, d).repeat(arms, 1, 1),
            noise(batch, d).repeat(arms, 1, 1),
        )
        decay = 0.5 * (1 + math.cos(math.pi * step / steps))
        if step % every != every - 1:
            with torch.no_grad():
                x_t, real_t = sde.noised(made(z, label), t, e), sde.noised(x[rows].repeat(arms, 1, 1), t, e)
            denoising = (fake(x_t, t, label) - e).square().mean((1, 2))
            logits = [critic(v, t, label)[..., 0] for v in (real_t, x_t)]
            second.param_groups[0]["lr"] = helper_rate * decay
            second.zero_grad()
            (denoising + (F.softplus(-logits[0]) + F.softplus(logits[1])).mean(1)).sum().backward()
            second.step()
        else:
            x_0 = made(z, label)
            x_t = sde.noised(x_0, t, e)
            judged = critic(x_t, t, label)[..., 0]
            with torch.no_grad():
                r = critic_ratio(-judged if inverted else judged)
                h = normalized_weight(kinds, r.unflatten(0, (arms, n)), u.unflatten(0, (arms, n)), normalizer)
                guesses = fake.denoised(x_t, t, label), taught(x_t, t, label)
            loss = distillation_loss(x_0, *guesses, h.flatten(0, 1)).mean(1) + adversarial * F.softplus(-judged).mean(1)
            slopes = torch.autograd.grad(loss.sum(), moved)
            before = [one.detach().clone() for one in moved]
            for one, slope in zip(moved, slopes):
                one.grad = slope
            first.step()
            with torch.no_grad():
                keep = min(0.99, (1 + step // every) / (10 + step // every))
                for one, old, kept in zip(moved, before, mean.stack.parameters()):
                    one.copy_(old + (decay * rates).reshape(-1, *(1,) * (one.ndim - 1)) * (one - old))
                    kept.lerp_(one, 1 - keep)
        if progress is not None and step % 20 == 19:
            progress(step + 1, steps)
    mean.stack.requires_grad_(False)
    return OneStep(mean, kinds)


def kernel_density(points, bandwidth: float | None = None) -> GaussianMixture:
    """A Gaussian on every one of points (items, d); ``bandwidth`` is Scott's, std n^(-1/(d + 4)), where not given.

    Raises:
        ValueError, TypeError: points that are no finite table of at least two different rows.
    """
    x = checks.tensor("points", points, ndim=2).double()
    spread = float((x - x.mean(0)).square().mean().sqrt()) if len(x) else 0.0
    if len(x) < 2 or spread == 0:
        raise ValueError(f"points must be at least two different rows, got shape {tuple(x.shape)}")
    if bandwidth is None:
        bandwidth = spread * len(x) ** (-1 / (x.shape[1] + 4))
    return GaussianMixture(x, checks.number("bandwidth", bandwidth, low=0.0, open_low=True))


def distill(
    teacher, *, divergence: str = "Jensen-Shannon", steps: int = 2000, training: int = 1500, width: int = 128, seed: int = 0,
    progress=None,
) -> OneStepGenerator:  # fmt: skip
    """A one-step generator from a fitted model, a mixture, or own points.

    Args:
        teacher: a :class:`~lab.generative.score_sde.ScoreModel` (VP), a mixture with exact score, or points (items, d), which
            become a kernel density by :func:`kernel_density`.
        divergence: of :data:`DIVERGENCES`.
        steps, training: of the distillation, and of the network from which it starts where the teacher is no network.
    """
    checks.choice("divergence", divergence, DIVERGENCES)
    if isinstance(teacher, ScoreModel):
        net = teacher.score
        if type(net.sde) is not VP:
            raise ValueError(f"teacher must be learned with sde='VP', got {type(net.sde).__name__}")
        start = Networks(net.stack, net.sde)
        real = draw(net, net.sde, 2000, len(teacher.location), sampler="flow", tolerance=1e-3, seeds=(seed,)).x[0]
        denoise, location, scale = start, teacher.location, teacher.scale
    else:
        law = teacher if isinstance(teacher, GaussianMixture) else kernel_density(teacher)
        real = law.sample(4000, seed)
        location, scale = real.mean(0), float((real - real.mean(0)).square().mean().sqrt())
        if scale == 0:
            raise ValueError("teacher must have a positive deviation")
        standard = GaussianMixture((law.means - location) / scale, law.stds / scale, law.weights)
        real, denoise = (real - location) / scale, standard.denoiser(VP())
        start = train_denoiser(real, seeds=(seed,), steps=training, width=width)
    found = distill_networks(denoise, start, real, kinds=(divergence,), seeds=(seed,), steps=steps, progress=progress)
    return OneStepGenerator(found, location, scale)
