r"""Self-tuning networks: a network that knows its best response to its own regularization, and tunes it while it trains.

Every layer has a second copy of its weights, gated by a linear function of the hyperparameters' gate input v in R^h,

.. math:: y = c\,(W_0 x + b_0) + (V_w v) \odot (W_1 x) + (V_b v) \odot b_1,

so that the network stands for w(u) near the present u. Training steps fit it under perturbations u + softplus(s) eps, one an
example; validation steps, without regularization, move u (and the scale s) through the gates alone,

.. math:: \min_{u, s}\; E_\varepsilon L_{val}(w(u + \mathrm{softplus}(s)\,\varepsilon)) - \tau \sum_j \log \mathrm{softplus}(s_j).

The training loss is never differentiated by a hyperparameter: integers and augmentation are allowed. For a linear network y = a'Qx
and the penalty exp(lambda) ||dy/dx||^2 the best response is exactly gated: in the principal basis of the inputs every hidden unit
is the unpenalized one times sigmoid(log e_i - lambda), e_i the eigenvalue of X'X/n.

Source: M. MacKay, P. Vicol, J. Lorraine, D. Duvenaud, R. Grosse, 'Self-Tuning Networks: Bilevel Optimization of Hyperparameters
using Structured Best-Response Functions', ICLR 2019, equations (10) and (15), theorem 2, algorithm 1. The published code steps on
whole batches of examples with one perturbation each, as here; its decay of learning rates and its patience are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, vmap

from lab import checks
from lab.training import batch_order

KINDS = ("dropout", "noise", "shift")


class HyperLinear(nn.Module):
    """A gated linear layer, ``(x (items, inputs), v (items, h)) -> (items, outputs)``; h = ``hyperparameters``."""

    def __init__(self, inputs: int, outputs: int, hyperparameters: int, *, seed: int | torch.Generator = 0):
        super().__init__()
        generator = checks.generator(seed)
        bound = 1 / math.sqrt(checks.integer("inputs", inputs, low=1))
        for name, shape in (
            ("weight", (outputs, inputs)),
            ("weight1", (outputs, inputs)),
            ("bias", (outputs,)),
            ("bias1", (outputs,)),
        ):
            self.register_parameter(name, nn.Parameter(bound * (2 * torch.rand(shape, generator=generator) - 1)))
        for name in ("gate", "gate_bias"):
            self.register_parameter(
                name, nn.Parameter(0.01 * torch.randn(outputs, hyperparameters, generator=generator))
            )
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        plain, second = (x @ torch.cat([self.weight, self.weight1]).T).chunk(2, -1)
        gate, gate_bias = (v @ torch.cat([self.gate, self.gate_bias]).T).chunk(2, -1)
        return self.scale * (plain + self.bias) + gate * second + gate_bias * self.bias1

    def implied(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of the plain layer that this one is at one gate input ``v`` (h,)."""
        weight = self.scale * self.weight + (self.gate @ v)[:, None] * self.weight1
        return weight, self.scale * self.bias + (self.gate_bias @ v) * self.bias1


class HyperConv2d(nn.Module):
    """A gated convolution; the gate multiplies whole output channels. ``(x (items, C, H, W), v (items, h))``."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        hyperparameters: int,
        *,
        padding: int = 0,
        seed: int | torch.Generator = 0,
    ):
        super().__init__()
        self.padding, self.shape = padding, (outputs, inputs, kernel, kernel)
        self.dense = HyperLinear(inputs * kernel**2, outputs, hyperparameters, seed=seed)

    def forward(self, x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        own = self.dense
        plain, second = (
            F.conv2d(x, weight.reshape(self.shape), padding=self.padding) for weight in (own.weight, own.weight1)
        )
        bias = own.scale * own.bias + (v @ own.gate_bias.T) * own.bias1
        return own.scale * plain + (v @ own.gate.T)[:, :, None, None] * second + bias[:, :, None, None]


class HyperGRUCell(nn.Module):
    """A gated recurrent unit of gated layers, ``(x (items, inputs), h (items, width), v) -> h``."""

    def __init__(self, inputs: int, width: int, hyperparameters: int, *, seed: int | torch.Generator = 0):
        super().__init__()
        generator = checks.generator(seed)
        self.outer = HyperLinear(inputs, 3 * width, hyperparameters, seed=generator)
        self.inner = HyperLinear(width, 3 * width, hyperparameters, seed=generator)

    def forward(self, x: torch.Tensor, h: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        reset, update, new = self.outer(x, v).chunk(3, -1)
        reset_h, update_h, new_h = self.inner(h, v).chunk(3, -1)
        z = torch.sigmoid(update + update_h)
        return (1 - z) * torch.tanh(new + torch.sigmoid(reset + reset_h) * new_h) + z * h


class HyperMLP(nn.Module):
    """Gated layers with ReLU between them; ``masks`` multiply the input of each layer (dropout)."""

    def __init__(self, sizes: Sequence[int], hyperparameters: int, seed: int = 0):
        super().__init__()
        generator = checks.generator(seed)
        self.layers = nn.ModuleList(
            HyperLinear(a, b, hyperparameters, seed=generator) for a, b in zip(sizes[:-1], sizes[1:])
        )

    def forward(self, x: torch.Tensor, v: torch.Tensor, masks: Sequence[torch.Tensor] = ()) -> torch.Tensor:
        for number, layer in enumerate(self.layers):
            x = torch.relu(x) if number else x
            x = layer(x * masks[number] if masks else x, v)
        return x


@dataclass(frozen=True)
class Hyperparameter:
    """A regularizer with a range. ``dropout`` of the input of ``layer``, Gaussian ``noise`` on the inputs (its deviation), or
    ``shift``: inputs are rolled by a whole number of places up to the value, an integer."""

    kind: str
    low: float = 0.0
    high: float = 0.9
    start: float = 0.05
    layer: int = 0

    def __post_init__(self):
        checks.choice("kind", self.kind, KINDS)
        checks.number("start", self.start, low=self.low, high=self.high)
        if not self.low < self.start < self.high:
            raise ValueError(f"start must lie inside ({self.low:g}, {self.high:g}), got {self.start:g}")

    def value(self, u: torch.Tensor) -> torch.Tensor:
        """r(u) = low + (high - low) sigmoid(u), rounded down for integers."""
        found = self.low + (self.high - self.low) * torch.sigmoid(u)
        return found.floor() if self.kind == "shift" else found

    def unconstrained(self, value: float) -> float:
        """The u with r(u) = value (before rounding)."""
        share = (value - self.low) / (self.high - self.low)
        return math.log(share / (1 - share))


@dataclass(frozen=True, eq=False)
class Tuned:
    """Networks and the hyperparameters that they found.

    ``path`` (records, seeds, h) holds u over time at the steps ``at``; ``validation`` (records, seeds) the loss there;
    ``parameters`` those of the best validation loss of each seed, ``u`` (seeds, h) what belongs to them.
    """

    network: HyperMLP
    hyperparameters: tuple[Hyperparameter, ...]
    parameters: dict[str, torch.Tensor]
    u: torch.Tensor
    at: tuple[int, ...]
    path: torch.Tensor
    validation: torch.Tensor
    gated: bool

    def values(self, u: torch.Tensor | None = None) -> torch.Tensor:
        """Hyperparameters in their own ranges, at ``u`` or over the path."""
        u = self.path if u is None else u
        return torch.stack([one.value(u[..., k]) for k, one in enumerate(self.hyperparameters)], -1)

    @torch.no_grad()
    def logits(self, x: torch.Tensor, u: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (seeds, items, classes) at the found hyperparameters, or at other ``u`` (seeds, h): the network's response."""
        u = self.u if u is None else u
        return _outputs(self.network, self.parameters, x, u if self.gated else torch.zeros_like(u))

    def losses(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Cross-entropy (seeds,) on other items."""
        return vmap(lambda z: F.cross_entropy(z, y))(self.logits(x)).double()


def self_tune(
    hyperparameters: Sequence[Hyperparameter], train, validation, *, seeds: Sequence[int], widths: Sequence[int] = (64, 64),
    steps: int = 1200, warm_up: int = 150, every: int = 2, batch_size: int = 64, rate: float = 1e-3, tuning_rate: float = 0.02,
    spread: float = 0.5, entropy: float = 1e-3, tune: bool = True, schedule: torch.Tensor | None = None, records: int = 40,
) -> Tuned:  # fmt: skip
    """Train one network a seed, all at once, and tune its hyperparameters on the way.

    Args:
        hyperparameters: what is tuned, each from its ``start``.
        train, validation: (inputs (items, features), classes).
        warm_up, every: training steps before the first validation step, and between two of them.
        tuning_rate: of Adam for u and s.
        spread: softplus(s) at the start; with ``tune=False`` there is no perturbation and no gate.
        entropy: tau.
        tune: ``False`` trains a plain network at ``schedule``, or at the starts.
        schedule: u over time, (points, seeds, h) or (points, h), stretched over the steps; for ``tune=False`` only.

    Raises:
        ValueError: nothing to tune, a schedule together with tuning.
    """
    hyperparameters, seeds = tuple(hyperparameters), tuple(checks.integer("seeds", seed, low=0) for seed in seeds)
    steps = checks.integer("steps", steps, low=1)
    if not hyperparameters:
        raise ValueError("hyperparameters is empty; at least one is needed")
    if schedule is not None and tune:
        raise ValueError("schedule fixes the hyperparameters over time; it needs tune=False")
    (x, y), h = train, len(hyperparameters)
    sizes = (x.shape[1], *widths, int(max(y.max(), validation[1].max())) + 1)
    models = [HyperMLP(sizes, h, seed) for seed in seeds]
    names = [name for name, _ in models[0].named_parameters()]
    parameters = {
        name: torch.stack([dict(m.named_parameters())[name].detach() for m in models]).requires_grad_()
        for name in names
    }
    starts = torch.tensor([one.unconstrained(one.start) for one in hyperparameters])
    u = starts.repeat(len(seeds), 1).requires_grad_()
    s = torch.full((len(seeds), h), math.log(math.expm1(spread))).requires_grad_()
    weights, moves = torch.optim.Adam(list(parameters.values()), rate), torch.optim.Adam([u, s], tuning_rate)
    draws = [torch.Generator().manual_seed(70_000 + seed) for seed in seeds]
    best, kept, at, path, curve = torch.full((len(seeds),), torch.inf), None, [], [], []
    for number in range(steps):
        if schedule is not None:
            with torch.no_grad():
                u.copy_(schedule[min(len(schedule) - 1, number * len(schedule) // steps)].expand_as(u))
        rows = _rows(len(x), seeds, 0, number, batch_size)
        v = (
            (u + F.softplus(s) * _normal(draws, (rows.shape[1], h)).transpose(0, 1)).transpose(0, 1)
            if tune
            else u[:, None]
        )
        v = v.detach().expand(-1, rows.shape[1], -1)
        inputs, masks = regularized(x[rows], v, hyperparameters, sizes[:-1], draws)
        logits = _outputs(models[0], parameters, inputs, v if tune else torch.zeros_like(v), masks)
        weights.zero_grad()
        vmap(F.cross_entropy)(logits, y[rows]).sum().backward(inputs=list(parameters.values()))
        weights.step()
        if tune and number >= warm_up and number % every == 0:
            held = _rows(len(validation[0]), seeds, 500_000, number // every, batch_size)
            eps = _normal(draws, (held.shape[1], h))
            logits = _outputs(models[0], parameters, validation[0][held], u[:, None] + F.softplus(s)[:, None] * eps)
            loss = vmap(F.cross_entropy)(logits, validation[1][held]).sum() - entropy * F.softplus(s).log().sum()
            moves.zero_grad()
            loss.backward(inputs=[u, s])
            moves.step()
        if (number + 1) % max(1, steps // records) == 0 or number + 1 == steps:
            with torch.no_grad():
                logits = _outputs(models[0], parameters, validation[0], u if tune else torch.zeros_like(u))
                losses = vmap(lambda z: F.cross_entropy(z, validation[1]))(logits)
            better = losses < best
            best = torch.where(better, losses, best)
            state = {**{name: value.detach().clone() for name, value in parameters.items()}, "u": u.detach().clone()}
            kept = state if kept is None else {n: _where(better, state[n], kept[n]) for n in state}
            at.append(number + 1)
            path.append(u.detach().clone())
            curve.append(losses)
    assert kept is not None  # the last step is always recorded
    found = kept.pop("u")
    return Tuned(models[0], hyperparameters, kept, found, tuple(at), torch.stack(path), torch.stack(curve), tune)


def regularized(x, v, hyperparameters, sizes, draws) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Inputs (seeds, items, features) with noise and shifts, and the dropout masks of every layer, one value of v an item."""
    masks = [torch.ones(()).expand(*x.shape[:2], 1)] * len(sizes)
    for k, one in enumerate(hyperparameters):
        value = one.value(v[..., k : k + 1])
        if one.kind == "noise":
            x = x + value * _normal(draws, x.shape[1:])
        elif one.kind == "shift":
            drawn = torch.stack([torch.rand(x.shape[1], 1, generator=generator) for generator in draws])
            places = ((2 * value + 1) * drawn).floor() - value
            x = x.gather(2, (torch.arange(x.shape[2]) - places.long()) % x.shape[2])
        else:
            drawn = torch.stack([torch.rand(x.shape[1], sizes[one.layer], generator=generator) for generator in draws])
            masks[one.layer] = (drawn >= value) / (1 - value)
    return x, masks


def linear_response(
    x: torch.Tensor, y: torch.Tensor, penalty: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gated best response of a linear network to exp(``penalty``) ||dy/dx||^2: ``(basis, unpenalized, gates)``.

    The predictor's weights are ``basis @ (gates * unpenalized)``; x (items, features), y (items,).
    """
    x, y = checks.tensor("x", x, floating=True, ndim=2), checks.tensor("y", y, floating=True, ndim=1)
    values, basis = torch.linalg.eigh(x.T @ x / len(x))
    unpenalized = (basis.T @ x.T @ y / len(x)) / values
    return basis, unpenalized, torch.sigmoid(values.log() - checks.number("penalty", penalty))


def ridge_response(
    x,
    y,
    held_x,
    held_y,
    *,
    steps: int = 3000,
    start: float = -4.0,
    spread: float = 0.5,
    rate: float = 0.02,
    seed: int = 0,
):
    """Self-tuning of a ridge penalty exp(u) with the linear response w(u) = theta + (u - u_0) U: ``(u, theta, U)`` at the end.

    u_0 is the present u, so that theta is the answer and U its slope there.
    """
    generator = checks.generator(seed)
    theta, slope = torch.zeros(x.shape[1], dtype=x.dtype), torch.zeros(x.shape[1], dtype=x.dtype)
    u, moments = torch.tensor(start, dtype=x.dtype), [0.0, 0.0]
    gram, target = x.T @ x / len(x), x.T @ y / len(x)
    size = 1 / float(torch.linalg.eigvalsh(gram).max() + math.exp(2.0))
    for number in range(steps):
        for _ in range(2):
            eps = spread * torch.randn(64, generator=generator, dtype=x.dtype)
            responses = theta + eps[:, None] * slope
            pull = responses @ gram - target + (u + eps).exp()[:, None] * responses
            theta = theta - size * pull.mean(0)
            slope = slope - size / spread**2 * (eps[:, None] * pull).mean(0)
        if number >= steps // 10:
            gradient = float(2 * slope @ (held_x.T @ (held_x @ theta - held_y)) / len(held_x))
            moments = [0.9 * moments[0] + 0.1 * gradient, 0.999 * moments[1] + 0.001 * gradient**2]
            count = number - steps // 10 + 1
            move = (
                rate
                * (1 - number / steps)
                * moments[0]
                / (1 - 0.9**count)
                / (math.sqrt(moments[1] / (1 - 0.999**count)) + 1e-8)
            )
            u, theta = u - move, theta - move * slope
    return u, theta, slope


def bayesian_search(
    evaluate, bounds: Sequence[tuple[float, float]], *, seeds: Sequence[int], rounds: int = 8, first: int = 3
):
    """Bayesian optimization by a Gaussian process with expected improvement, a run for each seed, side by side.

    Args:
        evaluate: points (seeds, h) -> losses (seeds,).
        bounds: lowest and highest value of each of the h coordinates.
        rounds: evaluations of a seed, the ``first`` of them drawn uniformly.

    Returns:
        points (rounds, seeds, h) and losses (rounds, seeds).
    """
    import warnings

    from scipy.stats import norm
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    low, high = (torch.tensor(ends) for ends in zip(*bounds))
    draws = [torch.Generator().manual_seed(80_000 + seed) for seed in seeds]
    points, losses = [], []
    for number in range(checks.integer("rounds", rounds, low=1)):
        following = []
        for place, generator in enumerate(draws):
            candidates = torch.rand(256, len(bounds), generator=generator)
            if number < first:
                following.append(candidates[0])
                continue
            seen = torch.stack([one[place] for one in points]).numpy()
            values = torch.stack([one[place] for one in losses]).double().numpy()
            kernel = ConstantKernel() * Matern(nu=2.5) + WhiteKernel(1e-2)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                process = GaussianProcessRegressor(kernel, normalize_y=True).fit(seen, values)
                mean, deviation = process.predict(candidates.numpy(), return_std=True)
            gain = values.min() - mean
            z = gain / (deviation + 1e-12)
            following.append(candidates[int((gain * norm.cdf(z) + deviation * norm.pdf(z)).argmax())])
        points.append(torch.stack(following))
        losses.append(evaluate(low + (high - low) * points[-1]))
    return low + (high - low) * torch.stack(points), torch.stack(losses)


def _outputs(network, parameters, x, v, masks=()):
    """Logits (seeds, items, classes); x shared or a batch a seed, v (seeds, h) or (seeds, items, h)."""
    seeds = len(v)
    x = x.expand(seeds, *x.shape) if x.ndim == 2 else x
    v = v[:, None].expand(-1, x.shape[1], -1) if v.ndim == 2 else v
    return vmap(lambda own, a, b, c: functional_call(network, own, (a, b, c)))(parameters, x, v, tuple(masks))


def _rows(items, seeds, salt, number, size):
    size = min(size, items)
    epoch, place = divmod(number, items // size)
    return torch.stack([batch_order(items, seed + salt, epoch)[place * size : (place + 1) * size] for seed in seeds])


def _normal(draws, shape):
    return torch.stack([torch.randn(shape, generator=generator) for generator in draws])


def _where(mask, a, b):
    return torch.where(mask.view(-1, *[1] * (a.ndim - 1)), a, b)
