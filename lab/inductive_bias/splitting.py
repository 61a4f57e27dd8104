"""Multilevel splitting: rare losses of any energy, found level by level, with an interval from independent runs.

Particles start as independent latent normals. Each level keeps the better part, multiplies it, and moves every
particle by preconditioned Crank-Nicolson steps ``x' = sqrt(1 - beta^2) x + beta z`` that leave the normal law
unchanged and are accepted when the loss stays within the level. ``P`` is the product of the kept shares. Levels fall
strictly, so that plateaus of a discrete loss are crossed or reported, never looped on.

Source: S.-K. Au, J. Beck, 'Estimation of Small Failure Probabilities in High Dimensions by Subset Simulation',
Probabilistic Engineering Mechanics 2001; S. Cotter, G. Roberts, A. Stuart, D. White, 'MCMC Methods for Functions',
Statistical Science 2013, section 4 (the moves).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from lab import checks
from lab.inductive_bias.bits import Bits
from lab.inductive_bias.laws import LOG2, EnergyLaw


@dataclass(frozen=True)
class Splitting:
    """Settings of a splitting estimate.

    Args:
        particles: in each run.
        runs: independent runs, at least 4; the interval comes from their spread.
        survivors: the share kept at a level.
        moves: Crank-Nicolson steps between levels.
        max_evaluations: of the energy over all runs; beyond it the estimate stops with what it has.
        patience: rounds of moves without any lower loss after which a run counts as stuck.
    """

    particles: int = 128
    runs: int = 4
    survivors: float = 0.25
    moves: int = 6
    max_evaluations: int = 2_000_000
    patience: int = 20

    def __post_init__(self):
        checks.integer("particles", self.particles, low=8)
        checks.integer("runs", self.runs, low=4)
        checks.number("survivors", self.survivors, low=0.05, high=0.9)
        checks.integer("moves", self.moves, low=1)
        checks.integer("max_evaluations", self.max_evaluations, low=1)
        checks.integer("patience", self.patience, low=1)

    def bits(self, law: EnergyLaw, eps: float, *, seed: int | torch.Generator = 0) -> Bits:
        """``-log2 P(energy <= eps | constraint <= tolerance)`` with a 95 % interval from the runs."""
        state = _Runs(self, law, checks.generator(seed))
        meta = dict(law.meta, particles=self.particles, runs=self.runs, moves=self.moves)
        if law.constraint is not None:
            fitted = state.descend(law.constraint, law.tolerance)
            meta["bits_to_fit_training"] = float(-fitted.mean() / LOG2)
            if state.stopped:
                reason = f"no hypothesis fits the training set to {law.tolerance:.4g} ({state.stopped})"
                return _stuck(reason, float((-fitted / LOG2).min()), eps, state, meta)
            state.hold(law.constraint, law.tolerance)
        logs = state.descend(law.energy, eps)
        meta.update(
            evaluations=state.evaluations, acceptance=state.acceptance, levels=state.levels, ancestors=state.ancestors()
        )
        if state.stopped:
            least = float(state.best.min())
            reason = f"{state.stopped}; the lowest loss met is {least:.4g}"
            return _stuck(reason, float((-logs / LOG2).min()), eps, state, meta)
        return _summary(logs, eps, state, meta)


def _summary(logs, eps, state, meta):
    from lab.claims import statistics

    runs = len(logs)
    spread = float(logs.std())
    # each run is unbiased for P; where the runs agree, log P = mean + variance / 2 of nearly log-normal runs, and where one
    # lost its way the mean of P itself does not follow it
    mean_p = float(torch.logsumexp(logs, 0)) - math.log(runs)
    log_p = min(float(logs.mean()) + spread**2 / 2 if spread < 2.0 else mean_p, 0.0)
    mean = statistics.interval(logs.tolist())
    half = math.hypot(mean.high - mean.value, 1.96 * spread**2 / math.sqrt(2 * (runs - 1)))
    # the spread of few runs may be small by chance; particles with twice the variance of independent ones set its floor
    floor = 1.96 * math.sqrt(2 * max(-log_p, 0.0) / (state.settings.particles * runs))
    half = max(half, floor)
    interval = (max(0.0, (-log_p - half) / LOG2), (-log_p + half) / LOG2)
    reasons = [f"{runs} independent runs of {state.settings.particles} particles, {state.evaluations} evaluations"]
    valid = True
    if state.acceptance < 0.02:
        valid = False
        reasons.append(f"moves are hardly ever accepted ({100 * state.acceptance:.1f} %)")
    if spread > 0.25 * max(-log_p, 4.0) or half > 0.5 * max(-log_p, 8.0):
        valid = False
        reasons.append("the runs disagree by more than a quarter of the value, or leave an interval as wide as it")
    return Bits(-log_p / LOG2, interval, "splitting", valid, tuple(reasons), eps, meta)


def _stuck(reason, bound, eps, state, meta):
    meta.update(evaluations=state.evaluations, acceptance=state.acceptance, levels=state.levels)
    return Bits(math.inf, (bound, math.inf), "splitting", False, (reason, f"more than {bound:.1f} bits"), eps, meta)


@dataclass(eq=False)
class _Runs:
    """All runs side by side: latents ``(runs, particles, dimension)``, one level and one step size a run."""

    settings: Splitting
    law: EnergyLaw
    generator: torch.Generator
    evaluations: int = 0
    levels: int = 0
    stopped: str = ""
    held: list = field(default_factory=list)

    def __post_init__(self):
        s = self.settings
        self.x = self._normal(s.runs, s.particles)
        self.origin = torch.arange(s.particles).expand(s.runs, -1).clone()
        self.beta = torch.full((s.runs,), 0.5, dtype=torch.float64)
        self.tried = self.taken = 0

    @property
    def acceptance(self) -> float:
        return self.taken / max(1, self.tried)

    def ancestors(self) -> int:
        """The fewest distinct starting particles that any run still descends from."""
        return min(len(torch.unique(row)) for row in self.origin)

    def hold(self, constraint, tolerance):
        """From now on every move must keep ``constraint <= tolerance``."""
        self.held.append((constraint, tolerance))

    def descend(self, energy, target: float) -> torch.Tensor:
        """Lower the energy to ``target`` in every run; the log probabilities ``(runs,)``, partial where it stopped."""
        s = self.settings
        logs = torch.zeros(s.runs, dtype=torch.float64)
        values = self._evaluate(energy, self.x)
        self.best = values.min(1).values
        active = torch.ones(s.runs, dtype=torch.bool)
        stalls = torch.zeros(s.runs, dtype=torch.long)
        self.stopped = ""
        while bool(active.any()):
            level, done, stuck = _levels(values, target, s.survivors)
            keep = values <= level[:, None]
            share = keep.double().mean(1)
            falls = active & ~stuck
            logs = torch.where(falls, logs + share.log(), logs)
            stalls = torch.where(falls, torch.zeros_like(stalls), stalls + 1)
            active &= ~(done & ~stuck)
            if bool((active & (stalls > s.patience)).any()):
                self.stopped = f"{s.patience} rounds of moves found no lower loss"
                break
            if self.evaluations > s.max_evaluations:
                self.stopped = f"{s.max_evaluations} evaluations did not suffice" if bool(active.any()) else ""
                break
            self._multiply(values, keep, falls)
            if bool(active.any()) or self.held or self.law.constraint is not None:
                self._move(energy, values, level, falls | (active & stuck))
            self.best = torch.minimum(self.best, values.min(1).values)
            self.levels += 1
        return logs

    def _multiply(self, values, keep, which):
        for run in torch.nonzero(which)[:, 0].tolist():
            survivors = torch.nonzero(keep[run])[:, 0]
            copies = torch.randint(
                len(survivors), (self.settings.particles - len(survivors),), generator=self.generator
            )
            chosen = torch.cat([survivors, survivors[copies]])
            self.x[run], values[run] = self.x[run, chosen], values[run, chosen]
            self.origin[run] = self.origin[run, chosen]

    def _move(self, energy, values, level, which):
        rows = torch.nonzero(which)[:, 0]
        for _ in range(self.settings.moves):
            x = self.x[rows]
            beta = self.beta[rows, None, None]
            trial = (1 - beta**2).sqrt() * x + beta * self._normal(len(rows), self.settings.particles)
            found = self._evaluate(energy, trial)
            accepted = found <= level[rows, None]
            for constraint, tolerance in self.held:
                accepted &= self._evaluate(constraint, trial) <= tolerance
            self.x[rows] = torch.where(accepted[:, :, None], trial, x)
            values[rows] = torch.where(accepted, found, values[rows])
            rate = accepted.double().mean(1)
            self.taken, self.tried = self.taken + float(rate.sum()), self.tried + len(rows)
            # a step is best when about a third of the moves is taken
            self.beta[rows] = (self.beta[rows] * torch.exp(0.5 * (rate - 0.3))).clamp(1e-4, 0.99)

    def _evaluate(self, energy, x):
        self.evaluations += x.shape[0] * x.shape[1]
        values = energy(x.reshape(-1, self.law.dimension)).detach().double()
        if values.shape != (x.shape[0] * x.shape[1],):
            raise ValueError(f"energy must return one loss per latent, got shape {tuple(values.shape)}")
        return torch.nan_to_num(values, nan=math.inf).reshape(x.shape[:2])

    def _normal(self, runs, particles):
        return torch.randn(runs, particles, self.law.dimension, generator=self.generator, dtype=torch.float64)


def _levels(values, target, survivors):
    """Next level of each run, whether it is the target, and whether no particle lies below the others.

    The level is the loss of the best particle that is given up, and particles strictly below it are kept: with the kept
    share this makes the product unbiased (keeping the level's own particle would add ``1 / particles`` at each level).
    """
    ordered = values.sort(1).values
    count = max(1, round(survivors * values.shape[1]))
    edge = ordered[:, count]
    bottom, top = ordered[:, 0], ordered[:, -1]
    # on a plateau at the bottom, keep exactly the plateau
    above = torch.where(values > bottom[:, None], values, torch.full_like(values, math.inf)).min(1).values
    edge = torch.where(edge > bottom, edge, above)
    done = (edge <= target) | (top <= target)
    stuck = (bottom >= top) & ~done
    below = torch.nextafter(edge, torch.full_like(edge, -math.inf))
    level = torch.where(done, torch.full_like(edge, target), torch.where(stuck, top, below))
    # a bottom plateau that already lies within the target ends the descent
    ends = ~done & ~stuck & (level <= target)
    return torch.where(ends, torch.full_like(level, target), level), done | ends, stuck
