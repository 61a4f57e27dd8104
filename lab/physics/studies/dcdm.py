"""Directions of a network against conjugate gradients: other sizes, obstacles, other systems, a plume of smoke, time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from pydantic import Field

from lab import study
from lab.claims import tunes
from lab.physics import dcdm
from lab.physics.elliptic import Grid, conjugate_gradients, incomplete_cholesky, multigrid
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

RATES = {"symmetric": (2e-3, 4e-3, 1e-2), "plain": (2e-3, 4e-3, 1e-2)}


class Setting(study.Setting):
    """Poisson's equation on squares; the network is trained on one empty box without solutions."""

    n: int = Field(32, ge=8, le=256, title="Cells a side in training")
    vectors: int = Field(300, ge=10, le=20_000, title="Ritz vectors")
    steps: int = Field(200, ge=5, le=100_000, title="Training steps", json_schema_extra={"step": 20})
    channels: int = Field(8, ge=1, le=64, title="Channels")
    levels: int = Field(4, ge=1, le=8, title="Levels")
    tolerance: float = Field(1e-4, gt=1e-14, lt=0.1, title="Relative residual")
    frames: int = Field(30, ge=2, le=1000, title="Pressure solves of the plume")

    most: int = Field(400, ge=5, le=100_000, title="Most iterations: a solve that needs more counts as these")

    PROFILES: ClassVar = {
        "smoke": {"most": 100, "n": 16, "vectors": 40, "steps": 40, "channels": 6, "levels": 3, "frames": 2},
        "full": {"n": 64, "vectors": 3000, "steps": 10_000, "channels": 16, "levels": 5, "frames": 200},
    }


@dataclass(frozen=True)
class Result:
    """Iterations (seeds,) to the tolerance by arm and case, for example ``iterations["symmetric", "64"]``.

    Arms: ``symmetric`` (f + f^T), ``plain`` (f), ``CG``. Cases: three sizes, and each with an obstacle (``"64 obstacle"``).
    ``curves``: relative residuals (iterations + 1,) of the first seed on the middle size; ``losses[arm]`` (steps, seeds).
    """

    setting: Setting
    seeds: tuple[int, ...]
    sizes: tuple[int, ...]
    iterations: Mapping[tuple[str, str], torch.Tensor]
    curves: Mapping[str, torch.Tensor]
    losses: Mapping[str, torch.Tensor]

    def to_frame(self):
        """One row a case: mean iterations of each arm."""
        import pandas as pd

        cases = list(dict.fromkeys(case for _, case in self.iterations))
        arms = list(dict.fromkeys(arm for arm, _ in self.iterations))
        mean = {key: float(count.double().mean()) for key, count in self.iterations.items()}
        return pd.DataFrame([{"case": case, **{arm: mean[arm, case] for arm in arms}} for case in cases])

    def save(self, path) -> None:
        """Write the table as CSV."""
        self.to_frame().to_csv(path, index=False)

    @staticmethod
    def load(path):
        """Read the table that :meth:`save` wrote."""
        import pandas as pd

        return pd.read_csv(path)


@lru_cache(maxsize=8)
def trained(setting: Setting, seeds: tuple[int, ...], symmetric: bool = True, rate: float | None = None):
    """Networks of all seeds, side by side, trained on the empty box, and their losses (steps, seeds)."""
    rate = rate or chosen("dcdm", "directions", RATES)["symmetric" if symmetric else "plain"]
    box = Grid((setting.n, setting.n))
    _, vectors = dcdm.ritz_vectors(box, setting.vectors)
    net = dcdm.DirectionNet(2, setting.channels, setting.levels, symmetric, seeds)
    losses = dcdm.train(net, box, vectors, steps=setting.steps, rate=rate, seed=min(seeds))
    return net.requires_grad_(False), losses


def obstacle(n: int, seed: int) -> torch.Tensor:
    """Two random discs and a bar, True inside, on n x n cells."""
    draw = torch.Generator().manual_seed(40 + seed)
    y, x = torch.meshgrid(torch.linspace(0, 1, n), torch.linspace(0, 1, n), indexing="ij")
    solid = torch.zeros(n, n, dtype=torch.bool)
    for _ in range(2):
        a, b, r = torch.rand(3, generator=draw)
        solid |= (y - 0.2 - 0.6 * a) ** 2 + (x - 0.2 - 0.6 * b) ** 2 < (0.06 + 0.1 * r) ** 2
    a, b = torch.rand(2, generator=draw)
    return solid | (((y - 0.2 - 0.6 * a).abs() < 1.5 / n) & ((x - b).abs() < 0.2))


def sources(n: int, seeds) -> torch.Tensor:
    """One smooth and noisy right-hand side (seeds, n, n) a seed."""
    found = []
    for seed in seeds:
        noise = torch.randn(n, n, generator=torch.Generator().manual_seed(3000 + seed), dtype=torch.float64)
        found.append(noise + noise.cumsum(0).cumsum(1) / n)
    return torch.stack(found)


def sizes(setting: Setting) -> tuple[int, int, int]:
    """Cells a side in training, twice and four times as many."""
    return setting.n, 2 * setting.n, 4 * setting.n


def counted(A, b, f, setting: Setting) -> torch.Tensor:
    """Iterations (seeds,) of systems b (seeds, n, n), each with its own network; ``most`` where one did not get there."""
    found = dcdm.solve(A, b[None], f, tolerance=setting.tolerance, iterations=setting.most)
    return torch.where(arrived(A, b, found.x[0], setting.tolerance), found.iterations[0], setting.most)


def arrived(A, b: torch.Tensor, x: torch.Tensor, tolerance: float) -> torch.Tensor:
    """Whether |b - A x| <= tolerance |b|, up to rounding, of systems (..., n, n)."""
    b = A.project(b.double())
    return A.project(b - A(x)).norm(dim=(-2, -1)) <= 1.001 * tolerance * b.norm(dim=(-2, -1))


def plainly(A, b, tolerance: float) -> torch.Tensor:
    """Iterations (seeds,) of conjugate gradients."""
    return torch.tensor([conjugate_gradients(A, each, tolerance).iterations for each in b])


@study.remembered(size=4)
def run(setting: Setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """Iterations of both networks and of conjugate gradients, on three sizes without and with obstacles."""
    nets = {arm: trained(setting, seeds, arm == "symmetric") for arm in ("symmetric", "plain")}
    found, curves = {}, {}
    for n in sizes(setting):
        b = sources(n, seeds)
        cases = {
            f"{n}": [Grid((n, n))] * len(seeds),
            f"{n} obstacle": [Grid((n, n), obstacle=obstacle(n, k)) for k in seeds],
        }
        for case, grids in cases.items():
            one = len({id(A) for A in grids}) == 1 and len(grids) > 1
            for arm, (net, _) in nets.items():
                if one:
                    found[arm, case] = counted(grids[0], b, net, setting)
                else:  # every seed has its own obstacle: solved with the network of its seed
                    found[arm, case] = torch.stack([counted(A, b, net, setting)[k] for k, A in enumerate(grids)])
            found["CG", case] = torch.stack(
                [plainly(A, b[k : k + 1], setting.tolerance)[0] for k, A in enumerate(grids)]
            )
    n = 2 * setting.n
    for name, f in (("symmetric", nets["symmetric"][0]), ("plain", nets["plain"][0]), ("CG", torch.nn.Identity())):
        whole = dcdm.solve(Grid((n, n)), sources(n, seeds)[None], f, tolerance=1e-10, iterations=setting.most)
        curves[name] = whole.residuals[:, 0, 0]
    losses = {arm: losses for arm, (_, losses) in nets.items()}
    return Result(setting, tuple(seeds), sizes(setting), found, curves, losses)


def others(setting: Setting, n: int, seeds) -> dict[str, list[Grid]]:
    """Systems that differ from training in more than size, one a seed."""
    draws = [torch.Generator().manual_seed(70 + seed) for seed in seeds]
    rough = [torch.rand(n, n, generator=g) for g in draws]
    blocks = [10 ** torch.nn.functional.avg_pool2d(x[None], 5, 1, 2)[0].sub(0.35).mul(3).clamp(0, 1) for x in rough]
    return {
        "walls all around": [Grid((n, n), sides="wall")] * len(draws),
        "I + dt A": [Grid((n, n), shift=1.0, scale=20.0)] * len(draws),
        "coefficients 1 to 10": [Grid((n, n), coefficient=k) for k in blocks],
    }


@study.remembered(size=8)
def systems(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Iterations (seeds,) on systems unlike the training, and those of conjugate gradients (``"... CG"``).

    Control: directions are the residuals themselves.
    """
    net = torch.nn.Identity() if control else trained(setting, seeds)[0]
    n, found = 2 * setting.n, {}
    b = sources(n, seeds)
    for name, grids in others(setting, n, seeds).items():
        found[name] = torch.stack([counted(A, b, net, setting)[k] for k, A in enumerate(grids)])
        found[f"{name} CG"] = torch.stack([plainly(A, b[k : k + 1], setting.tolerance)[0] for k, A in enumerate(grids)])
    return found


def plume(n: int, frames: int, pressure, seed: int = 0) -> dict[str, torch.Tensor]:
    """Smoke that rises in a box with an open top past a disc: (frames, n, n) of smoke, and what each pressure solve did.

    Staggered velocities, semi-Lagrangian transport, buoyancy; ``pressure(A, b)`` solves A p = b, and its iterations are
    counted beside those of conjugate gradients. Returns ``smoke``, ``iterations``, ``CG``, ``divergence`` (largest after over
    largest before), ``obstacle``.
    """
    draw = torch.Generator().manual_seed(seed)
    across, source = (0.4 + 0.2 * torch.rand(2, generator=draw)).tolist()
    y, x = torch.meshgrid(*[torch.arange(n, dtype=torch.float64) + 0.5] * 2, indexing="ij")
    solid = (y - 0.5 * n) ** 2 + (x - across * n) ** 2 < (0.12 * n) ** 2
    A = Grid((n, n), sides=[("wall", "open"), ("wall", "wall")], obstacle=solid)
    free = ~solid
    up, side, smoke = torch.zeros(n + 1, n).double(), torch.zeros(n, n + 1).double(), torch.zeros(n, n).double()
    rows, columns = free[1:] & free[:-1], free[:, 1:] & free[:, :-1]
    inlet = (y < 0.1 * n) & ((x - source * n).abs() < 0.1 * n)
    seen = {name: [] for name in ("smoke", "iterations", "CG", "divergence")}
    for _ in range(frames):
        smoke = torch.where(inlet, 1.0, smoke)
        up[1:-1] += 0.25 * (smoke[1:] + smoke[:-1]) / 2
        up[0], side[:, 0], side[:, -1] = 0.0, 0.0, 0.0
        up[1:-1] *= rows
        up[-1] *= free[-1]
        side[:, 1:-1] *= columns
        divergence = (up[1:] - up[:-1] + side[:, 1:] - side[:, :-1]) * free
        found = pressure(A, -divergence)
        p = found.x.reshape(n, n)
        up[1:-1] -= (p[1:] - p[:-1]) * rows
        up[-1] += p[-1] * free[-1]
        side[:, 1:-1] -= (p[:, 1:] - p[:, :-1]) * columns
        after = (up[1:] - up[:-1] + side[:, 1:] - side[:, :-1]) * free
        seen["divergence"].append(after.abs().max() / divergence.abs().max().clamp_min(1e-300))
        seen["iterations"].append(torch.as_tensor(found.iterations).reshape(()).double())
        seen["CG"].append(torch.tensor(float(conjugate_gradients(A, -divergence, 1e-4).iterations)))
        smoke = carried(smoke, up, side, y, x) * free
        up, side = carried(up, up, side, *_faces(n, 0)), carried(side, up, side, *_faces(n, 1))
        seen["smoke"].append(smoke)
    return {**{name: torch.stack(values) for name, values in seen.items()}, "obstacle": solid}


def _faces(n, axis):
    """Places of the staggered velocities along an axis."""
    ends = [torch.arange(n + 1, dtype=torch.float64), torch.arange(n, dtype=torch.float64) + 0.5]
    return torch.meshgrid(*(ends if axis == 0 else ends[::-1]), indexing="ij")


def carried(field, up, side, y, x):
    """A field where the flow brings it from after a unit of time, by a step of second order."""
    n = up.shape[1]

    def at(values, y, x, low):
        size = torch.tensor(values.shape, dtype=torch.float64) - 1
        place = torch.stack([2 * (x - low[1]) / size[1] - 1, 2 * (y - low[0]) / size[0] - 1], -1)
        grid = torch.nn.functional.grid_sample(
            values[None, None], place[None], mode="bilinear", padding_mode="border", align_corners=True
        )
        return grid[0, 0]

    def flow(y, x):
        return at(up, y, x, (0.0, 0.5)), at(side, y, x, (0.5, 0.0))

    v, u = flow(y, x)
    v, u = flow(y - v / 2, x - u / 2)
    low = (0.5 if field.shape[0] == n else 0.0, 0.5 if field.shape[1] == n else 0.0)
    return at(field, y - v, x - u, low)


@study.remembered(size=8)
def plumes(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """The plume of every seed at twice the training size: mean iterations (seeds,), those of CG, the largest divergence left.

    ``"smoke"`` (frames, n, n) is that of the first seed. Controls: directions are the residuals themselves; ``"one step"``: one
    iteration with the network.
    """
    found = {name: [] for name in ("iterations", "CG", "divergence")}
    kept = {}
    for k, seed in enumerate(seeds):
        f = torch.nn.Identity() if control is True else trained(setting, seeds)[0]

        def pressure(A, b, f=f, k=k):
            systems = b.expand(1, len(seeds), *b.shape)
            one = dcdm.solve(A, systems, f, tolerance=1e-4, iterations=1 if control == "one step" else setting.most)
            there = arrived(A, b, one.x[0, k], 1e-4)
            count = torch.where(there, one.iterations[0, k], setting.most)
            return dcdm.Solution(one.x[0, k], one.residuals[:, 0, k], count, one.reached[0, k])

        one = plume(2 * setting.n, setting.frames, pressure, seed)
        for name in ("iterations", "CG"):
            found[name].append(one[name].mean())
        found["divergence"].append(one["divergence"].max())
        kept = kept or one
    result = {name: torch.stack(values) for name, values in found.items()}
    return {**result, "smoke": kept["smoke"], "obstacle": kept["obstacle"], "history": kept["iterations"],
            "CG history": kept["CG"]}  # fmt: skip


def timed(setting: Setting, f, models: int, n: int, seed: int) -> dict[str, float]:
    """CPU seconds of one solve on n x n cells with an obstacle, set-up included, and iterations, of every solver.

    A solve that does not reach the tolerance counts as setting.most seconds.
    """
    A, b = Grid((n, n), obstacle=obstacle(n, seed)), sources(n, (seed,))[0]
    found = {}
    for name, preconditioner in (("CG", None), ("IC(0)-CG", incomplete_cholesky), ("AMG-CG", multigrid)):
        one = min((conjugate_gradients(A, b, setting.tolerance, preconditioner=preconditioner) for _ in range(2)),
                  key=lambda s: s.setup + s.seconds)  # fmt: skip
        found[name], found[f"{name} iterations"] = one.setup + one.seconds, one.iterations
    costs, b = [], b.expand(1, models, n, n)
    for _ in range(2):
        begin = time.process_time()
        ours = dcdm.solve(A, b, f, tolerance=setting.tolerance, iterations=setting.most)
        costs.append((time.process_time() - begin) / models)
    there = bool(arrived(A, b, ours.x, setting.tolerance).all())
    found["DCDM"] = min(costs) if there else float(setting.most)
    found["DCDM iterations"] = int(ours.iterations.flatten()[0])
    return found


@tunes("dcdm")
def tune_rates(progress=None) -> None:
    """Tune the step size of both networks, three each, by iterations at twice the training size; record all trials."""
    setting = Setting.of("default")

    def scores(arm, grid, seeds):
        n = 2 * setting.n
        b = sources(n, seeds)
        nets = [trained.__wrapped__(setting, tuple(seeds), arm == "symmetric", rate)[0] for rate in grid]
        return [(-counted(Grid((n, n)), b, net, setting).double()).tolist() for net in nets]

    record("dcdm", tune("directions", RATES, scores, seeds=TUNING_SEEDS[:2], progress=progress))
