r"""Soft value-based decoding (SVDD): steer a frozen diffusion model by a reward of the finished sample, without its gradient.

For a reverse kernel p(x_{t-1} | x_t) and a temperature alpha the soft value and the optimal policy are

.. math:: v_t(x) = \alpha \log E_{p}\bigl[e^{r(x_0)/\alpha} \mid x_t = x\bigr], \qquad
          p^*(x_{t-1} \mid x_t) = \frac{p(x_{t-1} \mid x_t)\, e^{v_{t-1}(x_{t-1})/\alpha}}{e^{v_t(x_t)/\alpha}},

and the chain of p* samples p(x_0) exp(r(x_0) / alpha) up to a constant. SVDD draws M candidates from p(. | x_t), for each
sample on its
own, and keeps one with probability proportional to exp(v / alpha); alpha = 0 keeps the best, ties broken at random. The
value is estimated

- by the posterior mean: v(x) is near r(E[x_0 | x]) (masked sequences: the most probable token at each masked site);
- by Monte Carlo regression along trajectories of the frozen model, of r(x_0), or of exp(r(x_0) / alpha) by exp(f / alpha).

Nothing differentiates r, and states may be points or sequences. Next to it stand the best of N finished samples, twisted sequential
Monte Carlo (a particle filter for each sample) and guidance by the gradient of r(E[x_0 | x]) (DPS).

Source: X. Li, Y. Zhao, C. Wang, G. Scalia, G. Eraslan, S. Nair, T. Biancalani, A. Regev, S. Levine, M. Uehara,
'Derivative-free guidance in
continuous and discrete diffusion models with soft value-based decoding', arXiv 2408.08252, 2024, equations (2) to (6),
algorithms 1 to
3. The published code computes a softmax without alpha and takes the largest entry: that is alpha = 0. TDS: L. Wu et al.,
NeurIPS 2023; DPS:
H. Chung et al., ICLR 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lab import checks
from lab.generative import masked
from lab.generative.mixtures import GaussianMixture
from lab.generative.samplers import Noise, grid, kernel
from lab.generative.score_sde import ScoreModel
from lab.generative.scores import descend, stacked
from lab.generative.sdes import SDE, VP
from lab.training import PerModel

Reward = Callable[[torch.Tensor], torch.Tensor]  # finished samples (..., d) -> (...)


@dataclass(frozen=True, eq=False)
class Diffusion:
    """The reverse chain of a continuous model: DDPM's kernel with ``denoise`` (x, t) -> E[x_0 | x_t], in ``steps`` steps."""

    denoise: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    sde: SDE
    dimension: int
    steps: int = 100
    dtype: torch.dtype = torch.float64

    def start(self, items: int, noise: Noise) -> torch.Tensor:
        return self.sde.prior_std * noise(items, self.dimension)

    def time(self, step: int) -> torch.Tensor:
        """The time after ``step`` steps; 0 steps are t = 1."""
        return grid(self.sde, self.steps)[step].to(self.dtype)

    def finished(self, x: torch.Tensor, step: int) -> torch.Tensor:
        """E[x_0 | x]."""
        return self.denoise(x, self.time(step))

    def propose(self, x: torch.Tensor, step: int, noise: Noise, shift: torch.Tensor | None = None) -> torch.Tensor:
        """A draw of the next state of every x (seeds, n, d); ``shift`` times the variance moves its mean."""
        mean, std = kernel(self.sde, x, self.finished(x, step), self.time(step), self.time(step + 1))
        mean = mean if shift is None else mean + std**2 * shift
        return mean + std * noise(*x.shape[1:])

    def rows(self, x: torch.Tensor, step: int) -> torch.Tensor:
        """States for a value network, the time in the last column."""
        return torch.cat([x.float(), self.time(step).float().expand(*x.shape[:-1], 1)], -1)


@dataclass(frozen=True, eq=False)
class Masked:
    """The reverse chain of masked sequences: one site revealed a step."""

    denoise: masked.Denoiser
    tokens: int
    dimension: int

    @property
    def steps(self) -> int:
        return self.dimension

    dtype = torch.float64

    def start(self, items: int, noise: Noise) -> torch.Tensor:
        return torch.full((len(noise.generators), items, self.dimension), self.tokens)

    def finished(self, x: torch.Tensor, step: int) -> torch.Tensor:
        """Masked sites filled with their most probable token."""
        return torch.where(x == self.tokens, self.denoise(x).argmax(-1), x)

    def propose(self, x: torch.Tensor, step: int, noise: Noise, shift=None) -> torch.Tensor:
        if shift is not None:
            raise ValueError("shift must be None: sequences have no gradient to follow")
        return masked.reveal(x, self.denoise(x), noise)

    def rows(self, x: torch.Tensor, step: int) -> torch.Tensor:
        return masked.encoded(x, self.tokens)


Chain = Diffusion | Masked
Value = Callable[[torch.Tensor, int], torch.Tensor]  # states after so many steps -> (...)


def posterior_mean_value(chain: Chain, reward: Reward) -> Value:
    """r of the finished sample that the denoiser expects; the reward itself of finished samples."""
    return lambda x, step: reward(x if isinstance(chain, Masked) and step == chain.steps else chain.finished(x, step))


def monte_carlo_value(
    chain: Chain,
    reward: Reward,
    *,
    trajectories: int = 500,
    steps: int = 500,
    width: int = 64,
    alpha: float = 0.0,
    seed: int = 0,
) -> Value:
    """A network fitted to r(x_0) along trajectories of the frozen model, or with ``alpha`` > 0 to exp(r / alpha) by exp(f /
    alpha)."""
    noise, states = Noise((50_000 + seed,), chain.dtype), []
    x = chain.start(checks.integer("trajectories", trajectories, low=2), noise)
    with torch.no_grad():
        for step in range(chain.steps):
            states.append(chain.rows(x, step)[0])
            x = chain.propose(x, step, noise)
        states.append(chain.rows(x, chain.steps)[0])
        found = reward(x)[0].float()
    centre, scale = found.mean(), found.std().clamp_min(1e-6)
    rows, target = torch.stack(states), (found - centre) / scale
    stack, draws = stacked(rows.shape[-1] - 1, 1, (seed,), width, 2), Noise((seed,), torch.float32)

    def loss(_):
        t = (draws.uniform(256)[0] * len(rows)).long().clamp_max(len(rows) - 1)
        k = (draws.uniform(256)[0] * rows.shape[1]).long().clamp_max(rows.shape[1] - 1)
        made, wanted = stack(PerModel(rows[t, k][None]))[0, :, 0], target[k]
        if alpha:
            top = target.max()
            made, wanted = (torch.exp((value - top) * scale / alpha) for value in (made.clamp_max(top), wanted))
        return (made - wanted).square().mean()

    descend(stack, loss, steps, 2e-3)

    def value(x, step):
        made = stack(PerModel(chain.rows(x, step).reshape(1, -1, rows.shape[-1])))[0, :, 0]
        return (centre + scale * made).reshape(x.shape[:-1]).double()

    return value


def choose(values: torch.Tensor, alpha: float, noise: Noise) -> torch.Tensor:
    """Index along the last axis of ``values`` (seeds, ..., M): drawn with exp(v / alpha), or with alpha = 0 a random one of
    the best."""
    level = noise.uniform(*values.shape[1:]).clamp(1e-300, 1 - 1e-16)
    if alpha == 0:
        return torch.where(values == values.amax(-1, keepdim=True), level, -1.0).argmax(-1)
    return (values.double() / alpha - torch.log(-torch.log(level))).argmax(-1)


@torch.no_grad()
def decode(
    chain: Chain, value: Value, *, items: int = 1, candidates: int = 10, alpha: float = 0.0, seeds: Sequence[int] = (0,),
    resample: bool = False, progress=None,
) -> torch.Tensor:  # fmt: skip
    """Steered samples (seeds, items, d).

    Args:
        value: estimate of the soft value of states after so many steps, larger is better.
        candidates: M; 1 is the frozen model.
        alpha: temperature; 0 keeps the best candidate.
        resample: choose among the candidates of all items of a seed at once (the paper's SVDD-R).
    """
    m, alpha = checks.integer("candidates", candidates, low=1), checks.number("alpha", alpha, low=0.0)
    noise = Noise(seeds, chain.dtype)
    x = chain.start(checks.integer("items", items, low=1), noise)
    for step in range(chain.steps):
        many = chain.propose(x.repeat_interleave(m, 1), step, noise)
        if m == 1 and not resample:
            x = many
            continue
        found = value(many, step + 1)
        if found.shape != many.shape[:-1]:
            raise ValueError(
                f"value must return one number a state, shape {tuple(many.shape[:-1])}, got {tuple(found.shape)}"
            )
        if resample:
            place = choose(found[:, None].expand(-1, items, -1), alpha, noise)
        else:
            place = choose(found.unflatten(1, (items, m)), alpha, noise) + m * torch.arange(items)
        x = many.gather(1, place[..., None].expand(-1, -1, many.shape[-1]))
        if progress is not None:
            progress(step + 1, chain.steps)
    return chain.finished(x, chain.steps) if isinstance(chain, Diffusion) else x


def best_of(chain: Chain, reward: Reward, *, items: int, count: int, seeds: Sequence[int] = (0,)) -> torch.Tensor:
    """The best of ``count`` finished samples of the frozen model, for each of the items."""
    made = decode(chain, posterior_mean_value(chain, reward), items=items * count, candidates=1, seeds=seeds)
    place = choose(reward(made).unflatten(1, (items, count)), 0.0, Noise(seeds)) + count * torch.arange(items)
    return made.gather(1, place[..., None].expand(-1, -1, made.shape[-1]))


def gradient(chain: Diffusion, reward: Reward, x: torch.Tensor, step: int) -> torch.Tensor:
    """grad_x r(E[x_0 | x]) by automatic differentiation, for a smooth reward."""
    with torch.enable_grad():
        at = x.detach().requires_grad_()
        return torch.autograd.grad(reward(chain.finished(at, step)).sum(), at)[0]


@torch.no_grad()
def guided(chain: Diffusion, reward: Reward, *, items: int, scale: float, seeds: Sequence[int] = (0,)) -> torch.Tensor:
    """DPS: every step's mean moved by ``scale`` times its variance along the gradient of r(E[x_0 | x])."""
    noise = Noise(seeds, chain.dtype)
    x = chain.start(items, noise)
    for step in range(chain.steps):
        x = chain.propose(x, step, noise, scale * gradient(chain, reward, x, step))
    return chain.finished(x, chain.steps)


@torch.no_grad()
def twisted(
    chain: Chain, value: Value, *, items: int, particles: int = 10, alpha: float = 0.1, seeds: Sequence[int] = (0,)
) -> torch.Tensor:
    """A particle filter for each sample: weights exp((v_{t-1} - v_t) / alpha), resampled when half of the sample size is lost; one
    particle of the last ones is kept. Twisted sequential Monte Carlo with the frozen model as proposal, so that no gradient
    is used."""
    alpha = checks.number("alpha", alpha, low=0.0, open_low=True)
    noise, m = Noise(seeds, chain.dtype), checks.integer("particles", particles, low=1)
    x = chain.start(items * m, noise)
    before = value(x, 0).unflatten(1, (items, m))
    weights = torch.zeros_like(before)
    base = m * torch.arange(items)[:, None]
    for step in range(chain.steps):
        x = chain.propose(x, step, noise)
        now = value(x, step + 1).unflatten(1, (items, m))
        weights, before = weights + (now - before) / alpha, now
        share = weights.softmax(-1)
        poor = 1 / share.square().sum(-1) < m / 2
        level = (torch.arange(m) + noise.uniform(items, 1)) / m
        drawn = torch.searchsorted(share.cumsum(-1), level.to(share)).clamp_max(m - 1)
        place = torch.where(poor[..., None], drawn, torch.arange(m))
        x = x.gather(1, (place + base).flatten(1)[..., None].expand(-1, -1, x.shape[-1]))
        before = before.gather(-1, place)
        weights = torch.where(poor[..., None], 0.0, weights)
    place = choose(weights, 1.0, noise) + base[:, 0]
    x = x.gather(1, place[..., None].expand(-1, -1, x.shape[-1]))
    return chain.finished(x, chain.steps) if isinstance(chain, Diffusion) else x


def tilted_policy(prior: torch.Tensor, values: torch.Tensor, alpha: float) -> torch.Tensor:
    """p* over the last axis from probabilities ``prior`` and soft ``values`` of the next states."""
    return (prior.log() + values / checks.number("alpha", alpha, low=0.0, open_low=True)).softmax(-1)


def steer(
    model,
    reward: Callable,
    count: int = 100,
    *,
    candidates: int = 10,
    alpha: float = 0.0,
    seed: int = 0,
    steps: int = 100,
):
    """Samples of an own model that an own reward function likes: one call a finished sample, any Python that returns a number.

    Args:
        model: a :class:`~lab.generative.score_sde.ScoreModel` or :class:`~lab.generative.mixtures.GaussianMixture` of
        points, or a list of
            texts of one length, of which a masked model is trained first.
        reward: called with an array (d,) in the units of the data, or with a text.
        count, candidates, alpha: see :func:`decode`; ``steps`` of the reverse process of points.

    Returns:
        Points (count, d), or a list of ``count`` texts.

    Raises:
        ValueError, TypeError: a model that cannot be, a reward that returns no finite number.
    """
    if isinstance(model, (list, tuple)):
        if not model or not all(isinstance(one, str) and len(one) == len(model[0]) > 0 for one in model):
            raise ValueError("model must be a list of texts of one length, at least one letter")
        letters = sorted(set("".join(model)))
        x = torch.tensor([[letters.index(letter) for letter in one] for one in model])
        if len(letters) < 2:
            raise ValueError("model must hold at least two different letters")
        chain: Chain = Masked(masked.train_denoiser(x, len(letters), seed=seed), len(letters), x.shape[1])
        back = lambda rows: masked.words(rows, letters)  # noqa: E731
    elif isinstance(model, (GaussianMixture, ScoreModel)):
        fitted = isinstance(model, ScoreModel)
        sde, location, scale = (model.score.sde, model.location, model.scale) if fitted else (VP(), 0.0, 1.0)
        score = model.score if fitted else None
        denoise = (lambda x, t: score.denoised(x, t)) if score is not None else model.denoiser(sde)
        dimension = len(model.location) if fitted else model.dimension
        chain = Diffusion(denoise, sde, dimension, checks.integer("steps", steps, low=21))
        back = lambda rows: (location + scale * rows).numpy()  # noqa: E731
    else:
        raise TypeError(f"model must be a ScoreModel, a GaussianMixture or a list of texts, got {type(model).__name__}")

    def values(x):
        found = [reward(one) for one in back(x.reshape(-1, x.shape[-1]))]
        try:
            return checks.tensor("reward", [float(one) for one in found]).double().reshape(x.shape[:-1])
        except (TypeError, ValueError) as error:
            raise ValueError(f"reward must return a finite number: {error}") from None

    value = posterior_mean_value(chain, values)
    made = decode(chain, value, items=count, candidates=candidates, alpha=alpha, seeds=(seed,))[0]
    return back(made) if isinstance(chain, Masked) else torch.from_numpy(back(made))
