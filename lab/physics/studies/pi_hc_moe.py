"""Soft and hard constraints and mixtures of experts: Burgers' equation, diffusion-sorption, vorticity; time, memory, processes."""

from __future__ import annotations

import math
import time
import warnings
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lab import study
from lab.claims import tunes
from lab.physics import pi_hc_moe as m
from lab.physics.spectral import Periodic, imex
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

RATES = dict.fromkeys(("soft", "hard", "published", "overlap"), (3e-3, 1e-2, 3e-2))
ARMS = tuple(RATES)
TEST = 8  # instances that no training sees


class Setting(study.Setting):
    """Networks trained without solutions, all arms on the same instances; the soft constraint takes more steps (equal CPU time)."""

    system: Literal["Burgers", "diffusion-sorption", "vorticity"] = Field("Burgers", title="Equation")
    network: Literal["MLP", "CNN"] = Field("MLP", title="Network")
    nt: int = Field(24, ge=6, le=512, title="Points in time")
    nx: int = Field(48, ge=12, le=4096, title="Points in space")
    n: int = Field(32, ge=8, le=256, title="Points a side of the vorticity")
    frames: int = Field(6, ge=6, le=128, title="Points in time of the vorticity")
    instances: int = Field(20, ge=1, le=10_000, title="Instances in training")
    steps: int = Field(80, ge=2, le=100_000, title="Training steps", json_schema_extra={"step": 10})
    soft_factor: int = Field(2, ge=1, le=100, title="Steps of the soft constraint for one of the others")
    batch: int = Field(4, ge=1, le=64, title="Instances in a step")
    fields: int = Field(16, ge=2, le=128, title="Basis fields")
    width: int = Field(32, ge=4, le=512, title="Width of the network")
    overlap: int = Field(6, ge=0, le=256, title="Overlap (points)")
    tolerance: float = Field(1e-6, gt=0, le=1e-2, title="Largest |J^T F| of a solve")
    points: int = Field(20_000, ge=500, le=1_000_000, title="Points when time and memory are measured")

    PROFILES: ClassVar = {
        "smoke": {"nt": 8, "nx": 16, "n": 8, "instances": 5, "steps": 4, "soft_factor": 2, "batch": 2, "fields": 5, "width": 8,
                  "overlap": 2, "points": 1500},
        "full": {"nt": 64, "nx": 256, "n": 64, "frames": 32, "instances": 1000, "steps": 20_000, "batch": 6, "width": 64,
                 "overlap": 32, "points": 200_000},
    }  # fmt: skip

    @property
    def share(self) -> tuple[int, int]:
        """Steps and instances in a step: of the larger system, vorticity, half of each."""
        return (
            (max(2, self.steps // 2), max(1, self.batch // 2))
            if self.system == "vorticity"
            else (self.steps, self.batch)
        )


@lru_cache(maxsize=16)
def system(setting: Setting):
    """The equation on its grid."""
    t = torch.linspace(0, 1, setting.nt, dtype=torch.float64)
    if setting.system == "Burgers":
        return m.Equation(burgers, t, torch.arange(setting.nx) * 2 * math.pi / setting.nx)
    if setting.system == "vorticity":
        return m.Vorticity(torch.linspace(0, 1, setting.frames), setting.n, 0.02)
    x = torch.linspace(0, 1, setting.nx, dtype=torch.float64)
    return m.Equation(sorption, t, x, left=(1.0, 0.0, 1.0), right=(1.0, -D, 0.0))


NU, D, HOURS = 0.05, 5e-4, 500.0


def burgers(u, u_t, u_x, u_xx):
    """u_t + u u_x - nu u_xx."""
    return u_t + u * u_x - NU * u_xx


def sorption(u, u_t, u_x, u_xx):
    """u_t - D/R(u) u_xx in units of the whole time, R = 1 + (1 - p)/p rho k n u^(n - 1), u taken as 1e-6 at least."""
    retard = 1 + (1 - 0.29) / 0.29 * 2880 * 3.5e-4 * 0.874 * u.clamp_min(1e-6) ** (0.874 - 1)
    return u_t - HOURS * D / retard * u_xx


def instances(setting: Setting, seeds, count: int, first: int = 0) -> torch.Tensor:
    """Initial values (seeds, count, ...) of random instances ``first``, ``first + 1``, ...; each seed has its own."""
    where, found = system(setting), []
    for seed in seeds:
        draw = torch.Generator().manual_seed(50_000 + seed)
        c = torch.randn(first + count, 4, 5, generator=draw, dtype=torch.float64)[first:]
        if setting.system == "Burgers":
            waves = torch.stack([f(k * where.x) for k in (1, 2) for f in (torch.sin, torch.cos)])
            found.append(torch.einsum("ck,kx->cx", 0.3 * c[:, :, 0], waves))
        elif setting.system == "vorticity":
            x, y = where.box.points()
            phase = [
                a * x + b * y
                for a, b in ((1, 0), (0, 1), (1, 1), (1, -1), (2, 1), (1, 2), (2, -1), (1, -2), (2, 0), (0, 2))
            ]
            waves = torch.stack([f(p) for p in phase for f in (torch.sin, torch.cos)])
            found.append(torch.einsum("ck,kxy->cxy", 0.4 * c.flatten(1), waves))
        else:
            low, bend = 0.3 + 0.3 * torch.sigmoid(c[:, 0, :1]), 0.3 * torch.tanh(c[:, 1, :1])
            x = where.x
            found.append(torch.exp(-((x / low) ** 2)) * (1 + bend * torch.sin(math.pi * x)) * (1 - x**2))
    return torch.stack(found)


@torch.no_grad()
def reference(setting: Setting, initial: torch.Tensor) -> torch.Tensor:
    """Solutions (..., *grid) from initial values, by a method that shares nothing with the constraints."""
    where = system(setting)
    flat = initial.flatten(0, -len(where.shape))
    nt = where.shape[0]
    if setting.system == "vorticity":
        box = Periodic(setting.n, 2 * math.pi)
        per = max(10, math.ceil(100 / (nt - 1)))

        def transport(w):
            (a, b), (v_x, v_y) = box.gradient(w), where.velocity(w)
            return -v_x * a - v_y * b

        found = imex(transport, -where.nu * box.k2, box, flat, 1 / (per * (nt - 1)), per * (nt - 1), per).movedim(0, 1)
    elif setting.system == "Burgers":
        found = _burgers(flat, nt)
    else:
        found = _sorption(flat, nt)
    return found.reshape(*initial.shape[: initial.ndim - len(where.shape) + 1], *where.shape)


def _burgers(u, nt, finer=4):
    """Fourier modes, the integrating factor of viscosity, Runge-Kutta of fourth order."""
    n = finer * u.shape[1]
    f = torch.fft.rfft(u)
    modes = torch.zeros(len(u), n // 2 + 1, dtype=f.dtype)
    modes[:, : u.shape[1] // 2] = f[:, : u.shape[1] // 2] * finer
    k = torch.arange(n // 2 + 1, dtype=torch.float64)
    steps = max(1, math.ceil(200 / (nt - 1)))
    dt = 1 / (steps * (nt - 1))
    half, keep, seen = torch.exp(-NU * k**2 * dt / 2), k < n / 3, [u]

    def slope(f):
        return -0.5j * k * keep * torch.fft.rfft(torch.fft.irfft(f * keep, n) ** 2)

    for step in range(steps * (nt - 1)):
        a = slope(modes)
        b = slope(half * (modes + dt / 2 * a))
        c = slope(half * modes + dt / 2 * b)
        d = slope(half**2 * modes + dt * half * c)
        modes = half**2 * modes + dt / 6 * (half**2 * a + 2 * half * (b + c) + d)
        if (step + 1) % steps == 0:
            seen.append(torch.fft.irfft(modes, n)[:, ::finer])
    return torch.stack(seen, 1)


def _sorption(u, nt):
    """Second-order differences on the points themselves and between them, Runge-Kutta of fourth order."""
    n, h = 2 * u.shape[1] - 1, 1 / (2 * u.shape[1] - 2)
    v = torch.nn.functional.interpolate(u[:, None], n, mode="linear", align_corners=True)[:, 0]
    steps = math.ceil(0.08 / (0.5 * h**2) / (nt - 1))
    dt, seen = 1 / (steps * (nt - 1)), [u]

    def bounded(v):
        v = v.clone()
        v[:, 0] = 1.0
        v[:, -1] = D * (v[:, -3] - 4 * v[:, -2]) / (2 * h - 3 * D)
        return v

    def slope(v):
        v = bounded(v)
        bent = torch.zeros_like(v)
        bent[:, 1:-1] = (v[:, 2:] - 2 * v[:, 1:-1] + v[:, :-2]) / h**2
        return -sorption(v, 0.0, 0.0, bent)

    for step in range(steps * (nt - 1)):
        a = slope(v)
        b = slope(v + dt / 2 * a)
        c = slope(v + dt / 2 * b)
        v = bounded(v + dt / 6 * (a + 2 * b + 2 * c + slope(v + dt * c)))
        if (step + 1) % steps == 0:
            seen.append(v[:, ::2])
    return torch.stack(seen, 1)


def constraint(setting: Setting, arm: str, blocks: int = 4) -> m.MoEConstraint:
    """The constraint of an arm: blocks in space; with vorticity the published experts see the initial rows of their block."""
    where, flat = system(setting), setting.system == "vorticity"
    split, rows = None, "global"
    if arm in ("published", "overlap", "local"):
        side = max(1, round(math.sqrt(blocks)))
        cut = (1, blocks // side, side) if flat else (1, blocks)
        more = setting.overlap if arm == "overlap" else 0
        around = where.axes
        split = m.expert_split(where.shape, cut, overlap=(0, *[more] * (len(cut) - 1)), periodic=around)
        rows = "local" if arm == "local" or (arm == "published" and flat) else "global"
    return m.MoEConstraint(where, split, rows=rows, tolerance=setting.tolerance)


@dataclass(frozen=True)
class Trained:
    """Networks of all seeds side by side, their losses (steps, seeds) and the CPU seconds of one seed's share of the training."""

    net: m.BasisOperator
    losses: torch.Tensor
    seconds: float


@lru_cache(maxsize=64)
def trained(setting: Setting, seeds: tuple[int, ...], arm: str, rate: float | None = None) -> Trained:
    """Train one arm."""
    rate = rate or chosen("pi_hc_moe", "arms", RATES)[arm]
    where, (steps, batch) = system(setting), setting.share
    initial = instances(setting, seeds, setting.instances, first=TEST)
    inputs = where.inputs(initial[0, :1]).shape[-1]
    net = m.BasisOperator(inputs, setting.fields, setting.width, setting.network, seeds, axes=len(where.shape))
    begin, soft = time.process_time(), arm == "soft"
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", m.Unconverged)  # counted on the test instances, in the result
        losses = m.train(net, constraint(setting, arm), initial, steps=steps * (setting.soft_factor if soft else 1), rate=rate,
                         batch=batch, seed=min(seeds), soft=soft)  # fmt: skip
    return Trained(net.requires_grad_(False), losses, (time.process_time() - begin) / len(seeds))


@dataclass(frozen=True)
class Judged:
    """One arm on the test instances: relative errors (seeds,), root of the mean |F|^2 with one w for the whole domain or one a
    block (seeds,), share of solves that did not converge, u and residual (*grid) of the first instance, CPU seconds."""

    error: torch.Tensor
    residual: torch.Tensor
    unconverged: float
    u: torch.Tensor
    left: torch.Tensor
    weights: torch.Tensor
    seconds: float


@torch.no_grad()
def judged(setting: Setting, seeds, arm: str, rate: float | None = None) -> Judged:
    """Train an arm and solve the test instances."""
    found = trained(setting, tuple(seeds), arm, rate)
    where, test = system(setting), instances(setting, seeds, TEST)
    S, flat = len(seeds), test.flatten(0, 1)
    basis = found.net(where.inputs(flat).unflatten(0, (S, TEST)).float()).flatten(0, 1).double()
    hold = constraint(setting, arm)
    if arm == "soft":
        w = found.net.mix.double().repeat_interleave(TEST, 0)
        cost = hold.problem(basis, flat).cost(w)
        still = torch.ones(len(w), dtype=torch.bool)
        answer = hold.pasted(basis, m.Solution(w, cost, cost, still.long(), still))
    else:
        answer = hold(basis, flat)
    true = truth(setting, tuple(seeds)).flatten(0, 1)
    error = (answer.u - true).flatten(1).norm(dim=1) / true.flatten(1).norm(dim=1)
    size = answer.cost.mean(1).sqrt()
    lost = float((~answer.converged).double().mean())
    return Judged(error.reshape(S, TEST).mean(1), size.reshape(S, TEST).mean(1), lost, answer.u[0], answer.residual[0],
                  answer.weights[0], found.seconds)  # fmt: skip


@lru_cache(maxsize=16)
def truth(setting: Setting, seeds: tuple[int, ...]) -> torch.Tensor:
    """Reference solutions (seeds, TEST, *grid) of the test instances."""
    return reference(setting, instances(setting, seeds, TEST))


@dataclass(frozen=True)
class Result:
    """What every arm reached on test instances, its losses, and the reference of the first instance with its own residual.

    ``headroom``: relative error of the initial values held fixed (baseline) and, as oracle, of the best basis-free answer, the
    reference itself seen through the stencils: its residual is in ``left_of_reference``.
    """

    setting: Setting
    seeds: tuple[int, ...]
    arms: Mapping[str, Judged]
    losses: Mapping[str, torch.Tensor]
    reference: torch.Tensor
    left_of_reference: torch.Tensor
    baseline: float

    def to_frame(self):
        """One row an arm: mean error and its spread over seeds, residual, unconverged solves, CPU seconds a seed."""
        import pandas as pd

        return pd.DataFrame([
            {"arm": arm, "relative error": float(one.error.mean()), "spread": float(one.error.std()) if len(one.error) > 1 else 0.0,
             "residual": float(one.residual.mean()), "unconverged": one.unconverged, "CPU s": one.seconds}
            for arm, one in self.arms.items()
        ])  # fmt: skip

    def save(self, path) -> None:
        """Write the table as CSV."""
        self.to_frame().to_csv(path, index=False)

    @staticmethod
    def load(path):
        """Read the table that :meth:`save` wrote."""
        import pandas as pd

        return pd.read_csv(path)


@study.remembered(size=8)
def run(setting: Setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """Train and judge all four arms on the setting's system."""
    arms = {}
    for k, arm in enumerate(ARMS):
        arms[arm] = judged(setting, seeds, arm)
        if progress is not None:
            progress((k + 1) / len(ARMS))
    where, true = system(setting), truth(setting, tuple(seeds))[0, 0]
    fields = where.fields(true[None, ..., None])[0, ..., 0]
    held = true[:1].expand_as(true)
    return Result(setting, tuple(seeds), arms, {arm: trained(setting, tuple(seeds), arm).losses for arm in ARMS}, true,
                  where.residual(*fields).reshape(where.shape), float((held - true).norm() / true.norm()))  # fmt: skip


@study.remembered(size=4)
def efficiency(
    setting: Setting, *, seeds, data=None, control=False, progress=None
) -> dict[tuple[str, int], torch.Tensor]:
    """Errors (seeds,) of the soft and the hard constraint with a quarter of the instances, all, and four times as many."""
    sizes = [max(1, setting.instances // 4), setting.instances, 4 * setting.instances]
    each = {n: setting.model_copy(update={"instances": n}) for n in sizes}
    return {(arm, n): judged(one, seeds, arm).error for n, one in each.items() for arm in ("soft", "hard")}


def basis_of(setting: Setting, seed: int, points: int) -> tuple[Any, torch.Tensor, torch.Tensor, m.BasisOperator]:
    """A Burgers grid of about ``points`` points (twice as many in x as in t), untrained basis fields, initial values, the net."""
    nt = max(8, round(math.sqrt(points / 2)))
    wide = setting.model_copy(update={"system": "Burgers", "nt": nt, "nx": 8 * max(2, round(points / nt / 8))})
    where, initial = system(wide), instances(wide, (seed,), 1)[0]
    net = m.BasisOperator(11, setting.fields, setting.width, seeds=(seed,)).requires_grad_(False)
    return where, net(where.inputs(initial)[None].float())[0].double(), initial, net


def parts(where, basis, initial, blocks: int, tolerance: float = 1e-6) -> list[m.Problem]:
    """The problems of all experts, one each."""
    split = m.expert_split(where.shape, (1, blocks), periodic=where.axes)
    moe = m.MoEConstraint(where, split, rows="local")
    return [moe.problem(basis, initial, [e]) for e in range(blocks)]


def solved(problems, tolerance: float, threads: int = 2) -> list[m.Solution]:
    """All problems, each whole on one of the threads."""
    if len(problems) == 1:
        return [m.solve(problems[0], tolerance=tolerance)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda one: m.solve(one, tolerance=tolerance), problems))


@torch.no_grad()
def at_optimum(problem: m.Problem, weights: torch.Tensor, tolerance: float) -> torch.Tensor:
    """The largest |J^T F|, evaluated anew.

    Raises:
        ArithmeticError: it is more than ten times the tolerance; costs and gradients of such weights mean nothing.
    """
    left = problem.double().model(weights.detach().double())[1].abs().amax()
    if not float(left) <= 10 * tolerance:
        raise ArithmeticError(f"weights that should be optimal leave |J^T F| = {float(left):.3g}, not {tolerance:g}")
    return left


class Peak(TorchDispatchMode):
    """The largest number of bytes held at once in tensors made while it is entered: ``most``; views count with their storage."""

    def __init__(self):
        super().__init__()
        self.users: dict[int, int] = {}
        self.bytes: dict[int, int] = {}
        self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor):
                place = x.untyped_storage().data_ptr()
                if place in given and place not in self.users:
                    continue  # a view of what was there before
                self.users[place] = self.users.get(place, 0) + 1
                self.bytes[place] = x.untyped_storage().nbytes()
                weakref.finalize(x, self.drop, place)
        self.most = max(self.most, sum(self.bytes.values()))
        return out

    def drop(self, place: int) -> None:
        """One tensor fewer uses a storage."""
        self.users[place] -= 1
        if not self.users[place]:
            del self.users[place], self.bytes[place]


def peak(work) -> int:
    """The largest number of bytes that ``work`` holds at once in new tensors."""
    with Peak() as seen:
        work()
    return seen.most


def _least(work, rounds=2):
    seen = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        seen.append(time.perf_counter() - begin)
    return min(seen)


def costs(setting: Setting, seed: int, points: int, blocks: int = 4, rounds: int = 3) -> dict[str, float]:
    """Wall seconds and peak bytes of one global solve and of ``blocks`` experts on two threads, and of an inference and a
    training step with them; each the least of ``rounds`` alternating ones, on one thread of torch. Memory: the largest expert.
    ``slowest expert``: the longest that any of them takes alone.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found: dict[str, float] = {}
    try:
        where, basis, initial, net = basis_of(setting, seed, points)
        features = where.inputs(initial)[None].float()
        problems = {1: parts(where, basis, initial, 1), blocks: parts(where, basis, initial, blocks)}
        net.requires_grad_(True)

        def infer(count):
            with torch.no_grad():
                b = net(features)[0].double()
                return solved(parts(where, b, initial, count), setting.tolerance)

        def step(count):
            b = net(features)[0].double()
            made = parts(where, b, initial, count)
            held = [m.replace(one, fields=one.fields.detach(), rows=one.rows.detach()) for one in made]
            weights = solved(held, setting.tolerance)
            sum(one.cost(w.weights).sum() for one, w in zip(made, weights)).backward()

        works = {
            "solve": lambda count: solved(problems[count], setting.tolerance),
            "inference": infer,
            "training": step,
        }
        for name, work in works.items():
            taken = {count: [] for count in problems}
            for _ in range(rounds):
                for count in problems:
                    begin = time.perf_counter()
                    work(count)
                    taken[count].append(time.perf_counter() - begin)
            found.update({f"{name} {count}": min(values) for count, values in taken.items()})
        for made in problems.values():
            for one, answer in zip(made, solved(made, setting.tolerance)):
                at_optimum(one, answer.weights, setting.tolerance)
        found["slowest expert"] = max(
            _least(lambda one=one: m.solve(one, tolerance=setting.tolerance)) for one in problems[blocks]
        )
        for count, made in problems.items():
            found[f"memory {count}"] = float(
                max(peak(lambda one=one: m.solve(one, tolerance=setting.tolerance)) for one in made)
            )
        found["points"] = math.prod(where.shape)
    finally:
        torch.set_num_threads(threads)
    return found


def own_gradient(setting: Setting, seed: int, experts, coupled: bool = False) -> torch.Tensor:
    """The gradient of the sum of the chosen experts' losses in all weights of a network, flat, through the implicit function.

    ``coupled``: one w for all experts in place of each one's own.
    """
    where, _, initial, net = basis_of(setting, seed, 8 * 32)
    net.double().requires_grad_(True)
    split = m.expert_split(where.shape, (1, 4), periodic=where.axes)
    moe = m.MoEConstraint(where, split, rows="local", tolerance=1e-11)
    basis = net(where.inputs(initial)[None])[0]
    problem = moe.problem(basis, initial, list(experts))
    found = m.layer(problem, **moe.options)
    at_optimum(problem, found.weights, 1e-9)
    w = found.weights.mean(0, keepdim=True).expand_as(found.weights) if coupled else found.weights
    loss = (w.square().sum(1) * torch.arange(1.0, len(w) + 1)).sum() if coupled else w.square().sum()
    slopes = torch.autograd.grad(loss, [*net.layers, *net.shifts])
    return torch.cat([s.flatten() for s in slopes]).double()


def _work(rank: int, setting: Setting, seed: int, store: str, send) -> None:
    """One process: the gradient of its two experts, summed over processes by gloo."""
    from datetime import timedelta

    from torch import distributed

    torch.set_num_threads(1)
    shared = distributed.FileStore(store, 2)
    distributed.init_process_group("gloo", store=shared, rank=rank, world_size=2, timeout=timedelta(seconds=120))
    try:
        total = own_gradient(setting, seed, (2 * rank, 2 * rank + 1))
        distributed.all_reduce(total)
        send.send(total.numpy())
    finally:
        distributed.destroy_process_group()


def two_processes(setting: Setting, seed: int) -> torch.Tensor:
    """The gradient of four experts, two in each of two processes (gloo)."""
    import multiprocessing
    import tempfile

    context: Any = multiprocessing.get_context("spawn" if torch.cuda.is_available() else "fork")
    with tempfile.TemporaryDirectory() as folder:
        ends = [context.Pipe(duplex=False) for _ in range(2)]
        made = [
            context.Process(target=_work, args=(k, setting, seed, f"{folder}/store", ends[k][1]), daemon=True)
            for k in range(2)
        ]
        for one in made:
            one.start()
        try:
            if not all(end[0].poll(180) for end in ends):
                raise RuntimeError("the two processes gave no gradient within 180 s")
            found = [torch.from_numpy(end[0].recv()) for end in ends]
        finally:
            for one in made:
                one.join(10)
                if one.is_alive():
                    one.terminate()
    return found[0]


@tunes("pi_hc_moe")
def tune_rates(progress=None) -> None:
    """Tune the step size of every arm, three each, by the error on Burgers' equation; record all trials."""
    setting = Setting.of("default")

    def scores(arm, grid, seeds):
        return [(-judged(setting, seeds, arm, rate).error).tolist() for rate in grid]

    record("pi_hc_moe", tune("arms", RATES, scores, seeds=TUNING_SEEDS[:2], progress=progress))
