r"""Environments of online learning, many seeds side by side: the stochastically extended adversary and experts.

In round t a learner plays x_t in a convex set, the environment draws f_t from a distribution of its choice, and the learner sees
grad f_t(x_t). :class:`SEA` draws quadratic losses on a ball,

.. math:: f_t(x) = \tfrac12 a_t \|x\|^2 + \tfrac12 (\phi_t^\top x)^2 - b_t^\top x + c_t ,

whose mean F_t, noise :math:`\sigma_t^2 = \max_x E\|\nabla f_t(x) - \nabla F_t(x)\|^2`, drift
:math:`\Sigma_t^2 = \max_x \|\nabla F_t(x) - \nabla F_{t-1}(x)\|^2` (from the second round on) and best comparator are all known
in closed form. :class:`Experts` are linear losses on the simplex. Decision processes with changing
losses stand in :mod:`lab.online.processes`.

Source of the model: S. Sachs, H. Hadiji, T. van Erven, C. Guzman, 'Between stochastic and adversarial online convex optimization:
improved regret bounds via smoothness', NeurIPS 2022, section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch

from lab import checks

LOSSES = ("linear", "squared", "regression", "random curvature")
SPECTRUM = ("constant", "i.i.d.", "random order", "corrupted", "slow drift", "switching")
CURVATURE_NOISE = 2.0  # of "random curvature": f_t has curvature 1 + 2 or 1 - 2, the mean curvature is 1


def project_ball(x: torch.Tensor, radius) -> torch.Tensor:
    """The nearest point of the ball of ``radius`` round 0 to each ``x`` (..., dimension)."""
    length = x.norm(dim=-1, keepdim=True)
    return x * (radius / length.clamp_min(1e-300)).clamp_max(1.0)


def project_simplex(x: torch.Tensor) -> torch.Tensor:
    """The nearest point of the simplex to each ``x`` (..., actions), by sorting."""
    u = x.sort(dim=-1, descending=True).values
    over = (u.cumsum(-1) - 1) / torch.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    count = (u > over).sum(-1, keepdim=True)
    return (x - over.gather(-1, count - 1)).clamp_min(0)


@dataclass(frozen=True, eq=False)
class Environment:
    """What learners are told: batch, dimension, rounds, the set, and constants of the losses, each (batch, 1).

    ``diameter`` D of the set, ``lipschitz`` G with ``|grad f_t| <= G``, ``smooth`` L and ``strong`` lambda of the mean losses,
    ``exp_concave`` alpha of the losses (0 where there is none).
    """

    diameter: torch.Tensor
    lipschitz: torch.Tensor
    smooth: torch.Tensor
    strong: torch.Tensor
    exp_concave: torch.Tensor

    def start(self) -> torch.Tensor:
        """The centre of the set, (batch, dimension)."""
        raise NotImplementedError

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """The nearest point of the set."""
        raise NotImplementedError

    def gradient(self, t: int, x: torch.Tensor) -> torch.Tensor:
        """grad f_t(x), (batch, dimension)."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Quadratic(Environment):
    """Quadratic losses on a ball; :func:`SEA` and :func:`stream` make them, :func:`stack` joins several to one batch.

    ``curvature`` (batch, rounds or 1, 1), ``features`` and ``slope`` (batch, rounds, dimension), ``constant`` (batch, rounds).
    Of the mean losses, where they are known: ``mean_curvature`` (batch, 1), ``mean_slope`` (batch, rounds, dimension),
    ``noise2`` and ``drift2`` (batch, rounds), the :math:`\\sigma_t^2` and :math:`\\Sigma_t^2`.
    """

    radius: torch.Tensor
    curvature: torch.Tensor
    features: torch.Tensor | None
    slope: torch.Tensor
    constant: torch.Tensor
    mean_curvature: torch.Tensor | None = None
    mean_slope: torch.Tensor | None = None
    noise2: torch.Tensor | None = None
    drift2: torch.Tensor | None = None

    @property
    def batch(self) -> int:
        """Environments side by side."""
        return self.slope.shape[0]

    @property
    def rounds(self) -> int:
        """Rounds that were drawn."""
        return self.slope.shape[1]

    @property
    def dimension(self) -> int:
        """Numbers a point has."""
        return self.slope.shape[2]

    def start(self) -> torch.Tensor:
        return self.slope.new_zeros(self.batch, self.dimension)

    def project(self, x: torch.Tensor) -> torch.Tensor:
        radius = self.radius if x.ndim == 2 else self.radius.reshape(-1, *[1] * (x.ndim - 1))
        return project_ball(x, radius)

    def gradient(self, t: int, x: torch.Tensor) -> torch.Tensor:
        found = self.curvature[:, min(t, self.curvature.shape[1] - 1)] * x - self.slope[:, t]
        if self.features is not None:
            row = self.features[:, t]
            found = found + row * (row * x).sum(-1, keepdim=True)
        return found

    def losses(self, x: torch.Tensor) -> torch.Tensor:
        """f_t(x_t) of points (batch, rounds played, dimension)."""
        rounds = x.shape[1]
        found = 0.5 * (self.curvature[:, :rounds, 0] * x.square().sum(-1)) - (self.slope[:, :rounds] * x).sum(-1)
        if self.features is not None:
            found = found + 0.5 * (self.features[:, :rounds] * x).sum(-1).square()
        return found + self.constant[:, :rounds]

    def mean_losses(self, x: torch.Tensor) -> torch.Tensor:
        """F_t(x_t) of points (batch, rounds played, dimension), up to the constant that f_t has in the mean."""
        slope = self.known("mean_slope")[:, : x.shape[1]]
        return 0.5 * self.known("mean_curvature") * x.square().sum(-1) - (slope * x).sum(-1)

    def minimizers(self) -> torch.Tensor:
        """argmin of each F_t on the ball, (batch, rounds, dimension); 0 where F_t is constant."""
        curvature, slope = self.known("mean_curvature")[:, :, None], self.known("mean_slope")
        free = project_ball(slope / curvature.clamp_min(1e-300), self.radius[:, :, None])
        edge = slope / slope.norm(dim=-1, keepdim=True).clamp_min(1e-300) * self.radius[:, :, None]
        return torch.where(curvature > 0, free, edge)

    def known(self, name: str) -> torch.Tensor:
        """A quantity of the mean losses; refused for a data stream, whose distribution nobody knows."""
        value = getattr(self, name)
        if value is None:
            raise ValueError(
                f"{name} is unknown: the environment is a data stream, not drawn from a known distribution"
            )
        return value


def SEA(
    mean,
    noise=0.0,
    *,
    loss: str = "squared",
    radius: float = 1.0,
    seeds: Sequence[int] = (0,),
) -> Quadratic:
    """Losses whose mean follows a path, each drawn with independent bounded noise.

    Args:
        mean: the path c_t, (rounds, dimension) or one a seed (seeds, rounds, dimension): the cost vectors of ``"linear"`` losses
            <c_t, x>, the centres of ``"squared"`` ones |x - c_t|^2 / 2, the weights behind the labels of ``"regression"``,
            (phi_t'x - phi_t'c_t - e_t)^2 / 2 with features phi_t of signs / sqrt(dimension). ``"random curvature"`` is squared
            with curvature 1 + 2 or 1 - 2 at random: single losses are often concave, their mean is not.
        noise: s >= 0, a number or one a round: the noise in c_t (signs s / sqrt(dimension)), in the labels (signs s).
        radius: of the ball.
        seeds: one environment a seed.

    Raises:
        ValueError, TypeError: a path that is no path, negative noise, an unknown loss, no seeds.
    """
    mean = checks.tensor("mean", mean, ndim=(2, 3), floating=True).double()
    checks.choice("loss", loss, LOSSES)
    radius = checks.number("radius", radius, low=0.0)
    if not radius > 0:
        raise ValueError(f"radius must be positive, got {radius}")
    seeds = tuple(checks.integer("seeds", seed, low=0) for seed in seeds)
    if not seeds:
        raise ValueError("seeds must name at least one seed, got none")
    mean = mean.expand(len(seeds), *mean.shape) if mean.ndim == 2 else mean
    if len(mean) != len(seeds):
        raise ValueError(f"mean must hold one path a seed, got {len(mean)} paths and {len(seeds)} seeds")
    batch, rounds, dimension = mean.shape
    scale = checks.tensor("noise", noise, ndim=(0, 1)).double().expand(rounds)
    if bool((scale < 0).any()):
        raise ValueError(f"noise must not be negative, got {float(scale.min())}")
    generators = [torch.Generator().manual_seed(7919 * seed + 17) for seed in seeds]
    signs = lambda *shape: torch.stack([2.0 * torch.randint(2, shape, generator=g).double() - 1 for g in generators])  # noqa: E731
    length, ones = mean.norm(dim=-1), torch.ones(batch, 1, dtype=torch.float64)
    largest, s2 = (length + scale).amax(1, keepdim=True), scale.square().expand(batch, rounds)
    features, curvature, constant = None, ones[:, :, None], torch.zeros(batch, rounds, dtype=torch.float64)
    if loss == "regression":
        features = signs(rounds, dimension) / dimension**0.5
        label = (features * mean).sum(-1) + scale * signs(rounds)
        slope, constant, curvature = features * label[..., None], 0.5 * label.square(), 0 * curvature
        residual, bend = radius + largest, ones / dimension
        noise2 = (dimension - 1) / dimension**2 * (radius + length).square() + s2
        mean_slope, told = mean / dimension, (residual, bend, bend, residual**-2)
    else:
        drawn = mean + scale[:, None] * signs(rounds, dimension) / dimension**0.5
        noise2 = s2
        if loss == "linear":
            slope, mean_slope, curvature = -drawn, -mean, 0 * curvature
            told = (largest, 0 * ones, 0 * ones, 0 * ones)
        else:
            slope, mean_slope, constant = drawn, mean, 0.5 * drawn.square().sum(-1)
            told = (radius + largest, ones, ones, (radius + largest) ** -2)
            if loss == "random curvature":
                curvature = 1 + CURVATURE_NOISE * signs(rounds, 1)
                noise2 = s2 + (CURVATURE_NOISE * radius) ** 2
                told = ((1 + CURVATURE_NOISE) * radius + largest, ones, ones, 0 * ones)
    lipschitz, smooth, strong, concave = told
    drift2 = torch.zeros(batch, rounds, dtype=torch.float64)
    drift2[:, 1:] = mean_slope.diff(dim=1).square().sum(-1)
    return Quadratic(
        2 * radius * ones, lipschitz.clamp_min(1e-12), smooth, strong, concave, radius * ones, curvature, features, slope, constant,
        smooth, mean_slope, noise2, drift2,
    )  # fmt: skip


def random_order(items, *, loss: str = "linear", radius: float = 1.0, seeds: Sequence[int] = (0,)) -> Quadratic:
    """A fixed set of losses in random order: given the past, f_t is drawn from what is left, and F_t is the mean of that.

    Args:
        items: cost vectors or centres (rounds, dimension).
        loss: ``"linear"`` or ``"squared"``.
    """
    items = checks.tensor("items", items, ndim=2, floating=True).double()
    checks.choice("loss", loss, ("linear", "squared"))
    orders = [torch.randperm(len(items), generator=torch.Generator().manual_seed(104_729 * s + 5)) for s in seeds]
    path = torch.stack([items[order] for order in orders])
    made = SEA(path, loss=loss, radius=radius, seeds=seeds)
    left = torch.arange(len(items), 0, -1, dtype=torch.float64)[:, None]
    mean = path.flip(1).cumsum(1).flip(1) / left
    second = path.square().sum(-1).flip(1).cumsum(1).flip(1) / left[:, 0]
    drift2 = torch.zeros_like(second)
    drift2[:, 1:] = mean.diff(dim=1).square().sum(-1)
    noise2 = (second - mean.square().sum(-1)).clamp_min(0)
    return replace(made, mean_slope=-mean if loss == "linear" else mean, noise2=noise2, drift2=drift2)


def spectrum(
    name: str,
    rounds: int,
    *,
    noise: float = 0.5,
    period: int = 20,
    dimension: int = 5,
    loss: str = "squared",
    radius: float = 1.0,
    seeds: Sequence[int] = (0,),
) -> Quadratic:
    """A point of the spectrum between i.i.d. and adversarial losses: cost vectors of length 1, or centres at half the radius.

    ``"constant"``: one mean and no noise. ``"i.i.d."``: one mean, noise. ``"random order"``: a fixed set of noisy items, permuted
    (linear and squared losses; for the others it is i.i.d.). ``"corrupted"``: i.i.d., but in every ``period``-th round until round
    ``rounds / 10`` the mean has the opposite sign. ``"slow drift"``: the mean turns by a full circle over all rounds.
    ``"switching"``: the mean changes its sign every ``period`` rounds.
    """
    checks.choice("environment", name, SPECTRUM)
    rounds, period = checks.integer("rounds", rounds, low=1), checks.integer("period", period, low=1)
    dimension = checks.integer("dimension", dimension, low=2)
    t = torch.arange(rounds, dtype=torch.float64)
    size = 1.0 if loss == "linear" else 0.5 * radius
    mean = torch.zeros(rounds, dimension, dtype=torch.float64)
    mean[:, 0] = size
    if name == "switching":
        mean[:, 0] = size * (1 - 2 * ((t // period) % 2))
    elif name == "slow drift":
        angle = 2 * torch.pi * t / rounds
        mean[:, 0], mean[:, 1] = size * angle.cos(), size * angle.sin()
    elif name == "corrupted":
        mean[(t % period == 0) & (t < rounds / 10), 0] = -size
    elif name == "random order" and loss in ("linear", "squared"):
        generator = torch.Generator().manual_seed(rounds)
        signs = 2.0 * torch.randint(2, (rounds, dimension), generator=generator).double() - 1
        return random_order(mean + noise * signs / dimension**0.5, loss=loss, radius=radius, seeds=seeds)
    return SEA(mean, 0.0 if name == "constant" else noise, loss=loss, radius=radius, seeds=seeds)


def stream(features, target, *, radius: float = 1.0) -> Quadratic:
    """A user's data stream as an environment: in round t predict ``target[t]`` linearly from ``features[t]``, squared loss.

    Features are divided by their largest length and targets by their largest size, once for all rounds, so that both are at most 1;
    what a point x means in the user's units is ``x * target_size / feature_length``.
    """
    x = checks.tensor("features", features, ndim=2, floating=True).double()
    y = checks.tensor("target", target, shape=(len(x),)).double()
    x = x / x.norm(dim=1).max().clamp_min(1e-300)
    y = y / y.abs().max().clamp_min(1e-300)
    radius = checks.number("radius", radius, low=0.0)
    one = torch.ones(1, 1, dtype=torch.float64)
    residual = one * (radius + 1)
    return Quadratic(
        2 * radius * one, residual, one, 0 * one, residual**-2, radius * one, 0 * one[:, :, None], x[None],
        (x * y[:, None])[None], 0.5 * y.square()[None],
    )  # fmt: skip


def stack(environments: Sequence[Quadratic]) -> Quadratic:
    """Several environments of one number of rounds and one dimension as one batch."""
    rounds = {(one.rounds, one.dimension) for one in environments}
    if len(rounds) != 1:
        raise ValueError(f"environments must agree in rounds and dimension, got {sorted(rounds)}")
    shape = next(iter(rounds))
    longest = max(one.curvature.shape[1] for one in environments)
    ready = [replace(one, curvature=one.curvature.expand(-1, longest, -1)) for one in environments]
    if any(one.features is not None for one in ready):
        ready = [
            one if one.features is not None else replace(one, features=torch.zeros(one.batch, *shape).double())
            for one in ready
        ]
    values = {field.name: [getattr(one, field.name) for one in ready] for field in fields(Quadratic)}
    return Quadratic(**{n: None if any(v is None for v in vs) else torch.cat(vs) for n, vs in values.items()})  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Experts(Environment):
    """Linear losses on the simplex: in round t the mixture p costs <l_t, p>. ``table`` (batch, rounds, actions)."""

    table: torch.Tensor

    @classmethod
    def of(cls, losses) -> Experts:
        """A table of finite losses, (rounds, actions) or (batch, rounds, actions); a loaded table of numbers is one too."""
        table = checks.tensor("losses", getattr(losses, "frame", losses), ndim=(2, 3), floating=True).double()
        table = table[None] if table.ndim == 2 else table
        if table.shape[2] < 2:
            raise ValueError(f"losses must have at least two actions (columns), got {table.shape[2]}")
        zero = table.new_zeros(len(table), 1)
        largest = table.norm(dim=2).amax(1, keepdim=True).clamp_min(1e-12)
        return cls(zero + 2**0.5, largest, zero, zero, zero, table)

    @property
    def batch(self) -> int:
        """Tables side by side."""
        return self.table.shape[0]

    @property
    def rounds(self) -> int:
        """Rounds of the table."""
        return self.table.shape[1]

    @property
    def dimension(self) -> int:
        """Actions."""
        return self.table.shape[2]

    def start(self) -> torch.Tensor:
        return torch.full_like(self.table[:, 0], 1 / self.dimension)

    def project(self, x: torch.Tensor) -> torch.Tensor:
        return project_simplex(x)

    def gradient(self, t: int, x: torch.Tensor) -> torch.Tensor:
        return self.table[:, t]

    def losses(self, x: torch.Tensor) -> torch.Tensor:
        """<l_t, p_t> of mixtures (batch, rounds played, actions)."""
        return (self.table[:, : x.shape[1]] * x).sum(-1)
