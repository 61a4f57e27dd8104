r"""Episodic Markov decision processes whose losses change between episodes, linear in known features, many runs side by side.

An episode passes H layers. In layer h the learner is in state s, takes action a, pays l_k(s, a) in [0, 1] and moves to
s' ~ P_h(. | s, a). With features phi(s, a) = (1, v(s, a)) / sqrt(2), |v| = 1, losses (1 + v'u_k) / 2 and transitions
(1 + rho v'w_{s'}) / S, every Q-function is linear in phi: :func:`linear_process`. :class:`CircleProcess` has the same form with
states on a circle, drawn afresh and never met twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lab import checks

KINDS = ("linear", "rare")


@dataclass(frozen=True, eq=False)
class AdversarialMDP:
    """Runs of a layered process, each with its own number of episodes ``episodes`` (runs,), in descending order.

    ``features`` (runs, H, S, A, d), ``transition`` (runs, H - 1, S, A, S), ``first`` (runs, S) the distribution of the first
    state. The loss of episode k is ``losses[:, j(k)]`` (runs, 2, H, S, A), where j alternates every ``period`` (runs,) episodes,
    or changes once after the first ``period`` of them if ``once``;
    or ``table`` (episodes, A) holds the losses of every episode (a bandit with one layer and one state).
    """

    features: torch.Tensor
    transition: torch.Tensor
    first: torch.Tensor
    episodes: torch.Tensor
    losses: torch.Tensor
    period: torch.Tensor
    table: torch.Tensor | None = None
    once: bool = False

    @property
    def layers(self) -> int:
        """H."""
        return self.features.shape[1]

    def phase(self, k: int | torch.Tensor) -> torch.Tensor:
        """Which of the two losses every run meets in episode k."""
        turns = k // self.period
        return turns.clamp_max(1) if self.once else turns % 2

    def loss(self, k: int, active: int) -> torch.Tensor:
        """Losses of episode k for the first ``active`` runs, (active, H, S, A)."""
        if self.table is not None:
            return self.table[k].expand(active, 1, 1, -1)
        return self.losses[torch.arange(active), self.phase(k)[:active]]

    def occupancy(self, policy: torch.Tensor) -> torch.Tensor:
        """Probability of every state in every layer under ``policy`` (active, H, S, A): (active, H, S)."""
        active = len(policy)
        rows = [self.first[:active]]
        for h in range(self.layers - 1):
            rows.append(torch.einsum("ns,nsa,nsat->nt", rows[-1], policy[:, h], self.transition[:active, h]))
        return torch.stack(rows, 1)

    def best(self) -> torch.Tensor:
        """Cost of the best fixed policy over all episodes of every run, (runs,), by dynamic programming on the summed losses."""
        if self.table is not None:
            total = torch.stack([self.table[: int(k)].sum(0) for k in self.episodes])[:, None, None]
        else:
            k = torch.arange(int(self.episodes.max()))[:, None]
            met = torch.where(k < self.episodes, self.phase(k), torch.zeros_like(k))
            second = met.sum(0).double()
            weights = torch.stack([self.episodes - second, second], 1)
            total = torch.einsum("nj,njhsa->nhsa", weights, self.losses)
        value = total[:, -1].amin(-1)
        for h in range(self.layers - 2, -1, -1):
            value = (total[:, h] + torch.einsum("nsat,nt->nsa", self.transition[:, h], value)).amin(-1)
        return (self.first * value).sum(-1)


def linear_process(
    episodes: Sequence[int],
    *,
    seeds: Sequence[int] = (0,),
    layers: int = 3,
    states: int = 3,
    actions: int = 4,
    kind: str = "linear",
) -> AdversarialMDP:
    """Runs of every number of ``episodes`` and every seed, longest first (all seeds of the longest, then of the next).

    ``"linear"``: random unit vectors v(s, a) in three dimensions, transitions and losses linear in (1, v) / sqrt(2); the losses
    alternate between two vectors every sqrt(K) / 2 episodes. ``"rare"`` (features: one for each state and action): three layers,
    the last state of which is reached by one action in each; it costs all until a fifth of the episodes has passed and nothing
    afterwards, while every other way costs about a half.
    """
    episodes = sorted((checks.integer("episodes", k, low=4) for k in episodes), reverse=True)
    checks.choice("kind", kind, KINDS)
    made = [
        _rare(seed, states, actions) if kind == "rare" else _linear(seed, layers, states, actions) for seed in seeds
    ]
    features, transition, first, losses = (torch.stack(parts) for parts in zip(*made))
    copies = len(episodes)
    counts = torch.tensor(episodes).repeat_interleave(len(seeds))
    period = (counts // 5 if kind == "rare" else (counts.double().sqrt() / 2).long()).clamp_min(1)
    again = lambda v: v.repeat(copies, *[1] * (v.ndim - 1))  # noqa: E731
    return AdversarialMDP(
        again(features), again(transition), again(first), counts, again(losses), period, once=kind == "rare"
    )


def bandit(losses, seeds: Sequence[int] = (0,)) -> AdversarialMDP:
    """A user's table of losses (rounds, actions) as a bandit, one run a seed: only the loss of the action taken is seen.

    Losses, an array or a loaded table of numbers, must lie in [0, 1]; nothing is rescaled.
    """
    table = checks.tensor("losses", getattr(losses, "frame", losses), ndim=2, floating=True).double()
    if float(table.min()) < 0 or float(table.max()) > 1:
        raise ValueError(
            f"losses must lie in [0, 1], got {float(table.min()):g} to {float(table.max()):g}; rescale them first"
        )
    rounds, actions = table.shape
    if actions < 2 or rounds < 4:
        raise ValueError(f"losses must have at least 4 rounds and 2 actions, got {rounds} x {actions}")
    runs, one = len(tuple(seeds)), torch.ones(len(tuple(seeds)), 1, dtype=torch.float64)
    features = torch.eye(actions, dtype=torch.float64).expand(runs, 1, 1, actions, actions)
    episodes = torch.full((runs,), rounds)
    empty = torch.zeros(runs, 2, 1, 1, actions, dtype=torch.float64)
    return AdversarialMDP(features, one.new_zeros(runs, 0, 1, actions, 1), one, episodes, empty, episodes, table)


def _linear(seed, layers, states, actions):
    generator = torch.Generator().manual_seed(15_485_863 * (seed + 1))
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    v = normal(layers, states, actions, 3)
    v = v / v.norm(dim=-1, keepdim=True)
    phi = torch.cat([torch.ones_like(v[..., :1]), v], -1) / 2**0.5
    w = normal(layers - 1, states, 3)
    w = w - w.mean(1, keepdim=True)
    w = 0.9 * w / w.norm(dim=-1).amax(1)[:, None, None].clamp_min(1e-9) if layers > 1 and states > 1 else 0 * w
    transition = (1 + torch.einsum("hsad,htd->hsat", v[:-1], w)) / states
    common, other = normal(layers, 3), normal(layers, 3)
    unit = lambda u: u / u.norm(dim=-1, keepdim=True)  # noqa: E731
    u = torch.stack([0.5 * unit(common) + 0.5 * unit(other), 0.5 * unit(common) - 0.5 * unit(other)])
    losses = 0.5 * (1 + torch.einsum("hsad,jhd->jhsa", v, u))
    return phi, transition, torch.full((states,), 1 / states, dtype=torch.float64), losses


def _rare(seed, states, actions):
    generator = torch.Generator().manual_seed(32_452_843 * (seed + 1))
    pairs = states * actions
    phi = torch.eye(pairs, dtype=torch.float64).reshape(states, actions, pairs).expand(3, -1, -1, -1)
    good = torch.randint(actions, (2,), generator=generator)
    transition = torch.zeros(2, states, actions, states, dtype=torch.float64)
    transition[..., : states - 1] = 1 / (states - 1)
    for h, s in ((0, 0), (1, states - 1)):
        transition[h, s, good[h]] = 0.0
        transition[h, s, good[h], states - 1] = 1.0
    first = torch.zeros(states, dtype=torch.float64)
    first[0] = 1.0
    losses = torch.full((2, 3, states, actions), 0.5, dtype=torch.float64)
    losses += 0.1 * (torch.rand(3, states, actions, generator=generator, dtype=torch.float64) - 0.5)
    losses[0, 2, -1], losses[1, 2, -1] = 1.0, 0.0
    return phi.clone(), transition, first, losses


@dataclass(frozen=True, eq=False)
class CircleProcess:
    """States are angles; phi(s, a) = (1, c cos(s + 2 pi a / A), c sin(s + 2 pi a / A), sqrt(1 - c^2)) / sqrt(2), c = .9.

    The next state has density (1 + rho <v, (cos s', sin s')>) / (2 pi); the first one is uniform. ``vectors`` (2, H, 2) are those
    of the two losses (1 + .9 <v_12, u>) / 2, which alternate every ``period`` episodes.
    """

    layers: int
    actions: int
    vectors: torch.Tensor
    period: int
    rho: float = 0.9

    @classmethod
    def of(cls, seed: int, episodes: int, layers: int = 3, actions: int = 4) -> CircleProcess:
        """The process of a seed, its losses alternating every sqrt(episodes) / 2 episodes."""
        generator = torch.Generator().manual_seed(49_979_687 * (seed + 1))
        common, other = torch.randn(2, layers, 2, generator=generator, dtype=torch.float64)
        unit = lambda u: u / u.norm(dim=-1, keepdim=True)  # noqa: E731
        vectors = torch.stack([0.5 * unit(common) + 0.5 * unit(other), 0.5 * unit(common) - 0.5 * unit(other)])
        return cls(layers, actions, vectors, max(1, int(episodes**0.5 / 2)))

    def features(self, s: torch.Tensor) -> torch.Tensor:
        """phi of every action, (..., A, 4)."""
        angle = s[..., None] + 2 * torch.pi * torch.arange(self.actions, dtype=s.dtype) / self.actions
        one = torch.ones_like(angle)
        return torch.stack([one, 0.9 * angle.cos(), 0.9 * angle.sin(), one * (1 - 0.81) ** 0.5], -1) / 2**0.5

    def loss(self, phi: torch.Tensor, h: int, k: int) -> torch.Tensor:
        """Losses of features (..., 4) in layer h of episode k."""
        u = self.vectors[(k // self.period) % 2, h]
        return 0.5 + 0.5 * 2**0.5 * (phi[..., 1:3] * u).sum(-1)

    def move(self, phi: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Next states: an angle round that of v, density (1 + kappa cos) / (2 pi), by keeping or flipping a uniform one."""
        v = phi[..., 1:3] * 2**0.5
        kappa, theta = (
            self.rho * v.norm(dim=-1),
            2 * torch.pi * torch.rand(v.shape[:-1], generator=generator, dtype=v.dtype),
        )
        keep = torch.rand(v.shape[:-1], generator=generator, dtype=v.dtype) < 0.5 * (1 + kappa * theta.cos())
        return torch.atan2(v[..., 1], v[..., 0]) + torch.where(keep, theta, theta + torch.pi)

    def best(self, episodes: int, grid: int = 512) -> float:
        """Cost of the best fixed policy over all episodes, by dynamic programming with ``grid`` states."""
        s = 2 * torch.pi * torch.arange(grid, dtype=torch.float64) / grid
        phi = self.features(s)
        second = int(((torch.arange(episodes) // self.period) % 2).sum())
        value = torch.zeros(grid, dtype=torch.float64)
        circle = torch.stack([s.cos(), s.sin()], -1)
        for h in range(self.layers - 1, -1, -1):
            u = ((episodes - second) * self.vectors[0, h] + second * self.vectors[1, h]) / episodes
            cost = 0.5 + 0.5 * 2**0.5 * (phi[..., 1:3] * u).sum(-1)
            ahead = value.mean() + self.rho * 2**0.5 * (phi[..., 1:3] * (value[:, None] * circle).mean(0)).sum(-1)
            value = (cost + ahead).amin(-1)
        return float(value.mean()) * episodes
