"""Closures learned from kinetic runs at four corners of the parameters, judged between them: a priori, in time, over the plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from lab import study
from lab.physics import active_fluid_closures as a
from lab.physics.active_fluid_closures import ActiveFluid, Bingham, Quadratic

CORNERS = ((-2.0, 0.6), (-2.0, 1.5), (-5.0, 0.6), (-5.0, 1.5))
JUDGED = (-3.5, 1.0)
WINDOW = 20


class Setting(study.Setting):
    """Kinetic runs at four corners of activity and alignment, closures fitted to them, one run between for the judgement."""

    n: int = Field(32, ge=16, le=256, title="Grid points a side", json_schema_extra={"step": 16})
    harmonics: int = Field(8, ge=3, le=64, title="Harmonics of the kinetic theory")
    steps: int = Field(500, ge=40, le=20_000, title="Steps of a run", json_schema_extra={"step": 20})
    epochs: int = Field(300, ge=1, le=5000, title="Steps of a fit")
    width: int = Field(32, ge=4, le=256, title="Width of the networks")
    closure: Literal["invariant", "strain", "tensor", "plain", "nonlocal"] = Field("strain", title="Closure")

    PROFILES: ClassVar = {
        "smoke": {"n": 16, "harmonics": 4, "steps": 80, "epochs": 15, "width": 8},
        "full": {"n": 128, "harmonics": 32, "steps": 2500, "epochs": 2000},
    }

    @property
    def dt(self) -> float:
        """Time of a step."""
        return 0.02

    def fluid(self, *points, seeds: int = 1) -> ActiveFluid:
        """The suspension at parameters (alpha, zeta), one run a point and seed, seeds slowest."""
        alpha, zeta = (torch.tensor(each).repeat(seeds)[:, None, None] for each in zip(*points))
        return ActiveFluid(alpha, zeta, n=self.n, harmonics=self.harmonics, dt=self.dt)


@dataclass(frozen=True)
class Records:
    """Moments of kinetic runs, seeds first: a_2, a_4, e (seeds, runs * frames, n, n), and the whole of a_2 (frames, ...)."""

    a2: torch.Tensor
    a4: torch.Tensor
    e: torch.Tensor
    frames: torch.Tensor
    first: torch.Tensor


@dataclass(frozen=True)
class Result:
    """What one study found.

    ``errors[closure]``: |a_4 - true| / |true| on the judged run, one a seed, ``"Bingham"`` and ``"quadratic"`` among them;
    ``curves``: r over s of each closure in a_2 alone; ``laws``: the fitted modules; ``teach``, ``judge``: the records.
    """

    setting: Setting
    seeds: tuple[int, ...]
    errors: Mapping[str, torch.Tensor]
    s: torch.Tensor
    curves: Mapping[str, torch.Tensor]
    laws: Mapping[str, nn.Module]
    teach: Records
    judge: Records

    def to_frame(self):
        """One row a closure: its error, mean over seeds."""
        import pandas as pd

        return pd.DataFrame(
            [{"closure": name, "relative error of a4": float(e.mean())} for name, e in self.errors.items()]
        )

    def save(self, path) -> None:
        """Write the table as CSV."""
        self.to_frame().to_csv(path, index=False)

    @staticmethod
    def load(path):
        """Read the table that :meth:`save` wrote."""
        import pandas as pd

        return pd.read_csv(path)


def kinetic(setting: Setting, points, seeds, steps: int | None = None, progress=None) -> Records:
    """Runs of the kinetic theory at ``points``, every seed with its own start, recorded at four late times."""
    fluid = setting.fluid(*points, seeds=len(seeds))
    steps, runs = steps or setting.steps, len(points)
    first = torch.cat([a.disturbed(fluid, runs, 7 * seed + 1) for seed in seeds])
    every = max(1, steps // 20)
    seen = a.roll(fluid, first, steps, every, progress=progress)
    grown, before = (float(a.order(f[:, 0]).mean()) for f in (seen[-1], first))
    if not grown > before:
        raise ValueError(
            f"the fluid must order for closures to differ: the mean order went from {before:.3g} to {grown:.3g}"
        )
    late = seen[-1 - 4 * max(1, (len(seen) - 1) // 5) :: max(1, (len(seen) - 1) // 5)]
    box = fluid.box
    parts = []
    for f in late:
        a2, a4 = f[:, 0], f[:, 1]
        parts.append((a2, a4, a.flow(fluid, box, a2, a4)[3]))

    def by_seed(values):
        return torch.stack(values, 1).unflatten(0, (len(seeds), runs)).flatten(1, 2)

    a2, a4, e = (by_seed(list(each)) for each in zip(*parts))
    return Records(a2, a4, e, seen[:, :, 0], first)


def error(closure, records: Records) -> torch.Tensor:
    """|closure - a_4| / |a_4| over the records, one a seed."""
    with torch.no_grad():
        found = closure(records.a2.flatten(0, 1), records.e.flatten(0, 1)).reshape(records.a4.shape)
    gap, size = ((x.abs().square().mean((1, 2, 3))) for x in (found - records.a4, records.a4))
    return (gap / size).sqrt()


def fitted(name: str, setting: Setting, records: Records, seeds, target=None, progress=None) -> nn.Module:
    """The closure ``name`` fitted to records (its own for each seed), frozen."""
    law = a.CLOSURES[name](setting.width, seeds)
    a4 = records.a4 if target is None else target
    a.fit(law, *(x.flatten(0, 1) for x in (records.a2, records.e, a4)), steps=setting.epochs, progress=progress)
    return law.requires_grad_(False)


@study.remembered(size=8)
def run(setting: Setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """Kinetic runs, five fits, errors on the run between the corners.

    Controls: ``"shuffled"`` (the directions of a_4 are exchanged among points), ``"planted"`` (a_4 is made of neighbours' a_2).
    """
    teach, judge = (kinetic(setting, points, seeds) for points in (CORNERS, (JUDGED,)))
    target = None
    if control == "shuffled":
        flat = teach.a4.flatten(2)
        target = flat[..., torch.randperm(flat.shape[2], generator=torch.Generator().manual_seed(0))].reshape(
            teach.a4.shape
        )
    if control == "planted":
        teach, judge = (Records(r.a2, planted(r.a2), r.e, r.frames, r.first) for r in (teach, judge))
    laws = {name: fitted(name, setting, teach, seeds, target, progress) for name in a.CLOSURES}
    arms = {"Bingham": Bingham(), "quadratic": Quadratic(), **laws}
    s = torch.linspace(0.01, 0.99, 50)
    curves = {}
    for name in ("Bingham", "quadratic", "invariant"):
        with torch.no_grad():
            models = getattr(arms[name], "models", 1)
            curves[name] = arms[name](torch.complex(s, 0 * s).repeat(models, 1, 1), None)[0, 0].real
    errors = {name: error(law, judge) for name, law in arms.items()}
    return Result(setting, tuple(seeds), errors, s, curves, laws, teach, judge)


def planted(a2: torch.Tensor) -> torch.Tensor:
    """A closure that is not local: Bingham's of a_2 averaged over neighbours."""
    n = a2.shape[-1]
    k = 2 * torch.pi * torch.fft.fftfreq(n)
    smooth = torch.fft.ifft2(torch.fft.fft2(a2) * torch.exp(-(k[:, None] ** 2 + k[None, :] ** 2) * 8))
    return Bingham()(smooth, None)


@study.remembered(size=8)
def in_time(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Coarse runs of the judged fluid with each closure beside the kinetic one, from a state in mid-run.

    ``"<closure> speed"``, ``"... order"``, ``"... spectrum"``: relative difference of the averages over the late two thirds,
    10 where it blew up. Also the maps of |a_2| of the first seed, ``"maps <closure>"`` (frames, n, n).
    """
    result = run(setting, seeds=seeds)
    fluid = setting.fluid(JUDGED, seeds=len(seeds))
    every = max(1, setting.steps // 10)
    seen = a.roll(fluid, result.judge.first, 2 * setting.steps, every)
    middle = len(seen) // 4
    true, found = seen[middle:], {}
    found["maps kinetic"] = true[:, 0, 0].abs()
    steps = every * (len(true) - 1)

    def averages(frames, a4_of):
        late = frames[len(frames) // 3 :]
        parts = [a.flow(fluid, fluid.box, a2, a4_of(k, a2)) for k, a2 in enumerate(late)]
        u, v = (torch.stack([p[i] for p in parts]) for i in (0, 1))
        speed = (u**2 + v**2).mean((0, 2, 3)).sqrt()
        return speed, a.order(late).mean(0), a.spectrum(fluid, u, v).mean(0)

    offset = len(true) // 3
    reference = averages(true[:, :, 0], lambda k, a2: true[offset + k][:, 1])
    for name, law in {"Bingham": Bingham(), "quadratic": Quadratic(), setting.closure: result.laws[setting.closure],
                      "plain": result.laws["plain"]}.items():  # fmt: skip
        with torch.no_grad():
            frames, broken = finite_roll(fluid, true[0][:, :1], steps, every, law)
            speed, order, spectrum = averages(frames, lambda k, a2, law=law: law(a2, strain(fluid, a2)))
        found[f"{name} speed"] = torch.where(broken, 10.0, speed / reference[0] - 1)
        found[f"{name} order"] = torch.where(broken, 10.0, order / reference[1] - 1)
        gap = (spectrum - reference[2]).abs().sum(1) / reference[2].sum(1)
        found[f"{name} spectrum"] = torch.where(broken, 10.0, gap)
        found[f"maps {name}"] = frames[:, 0].abs()
    return found


def strain(fluid: ActiveFluid, a2: torch.Tensor) -> torch.Tensor:
    """The strain rate of Bingham's stress."""
    return a.flow(fluid, fluid.box, a2, Bingham()(a2, None), 2)[3]


def finite_roll(fluid: ActiveFluid, f: torch.Tensor, steps: int, every: int, law) -> tuple[torch.Tensor, torch.Tensor]:
    """a_2 (frames, runs, n, n) of the coarse model and which runs blew up; those are rolled no further and shown as 0."""
    lost = torch.zeros(len(f), dtype=torch.bool)
    return a.roll(fluid, f, steps, every, closure=law, lost=lost)[:, :, 0], lost


@study.remembered(size=8)
def a_posteriori(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """A closure from the a_2 of one run alone, by gradients through the coarse solver over windows of 20 steps.

    ``"error"``: of a_4 on the judged run; ``"loss"`` (steps, seeds); ``"<closure> later"``: relative error of a_2 in a coarse
    run of the judged fluid as long as ten windows, 10 where it blew up. Control: the windows run backwards in time.
    """
    fluid = setting.fluid((-5.0, 1.5), seeds=len(seeds))
    first = torch.cat([a.disturbed(fluid, 1, 7 * seed + 1) for seed in seeds])
    window = min(WINDOW, setting.steps // 8)
    seen = a.roll(fluid, first, setting.steps)[:, :, 0]
    starts = torch.linspace(len(seen) // 4, len(seen) - window - 1, 6).long().tolist()
    law = a.CLOSURES["invariant"](setting.width, seeds)
    optimizer = torch.optim.Adam(law.parameters(), lr=1e-2)
    losses = []
    for k in range(max(2, setting.epochs // 5)):
        start = starts[k % len(starts)]
        frames = seen[start : start + window + 1]
        loss = a.rollout_loss(fluid, law, frames.flip(0) if control else frames)
        optimizer.zero_grad()
        (loss / seen[start].abs().square().mean((1, 2))).sum().backward()
        optimizer.step()
        losses.append(loss.detach())
        if progress is not None:
            progress((k + 1) / max(2, setting.epochs // 5))
    law.requires_grad_(False)
    judge = run(setting, seeds=seeds).judge
    fluid, every = setting.fluid(JUDGED, seeds=len(seeds)), max(1, setting.steps // 20)
    start, later = judge.frames[6], judge.frames[14]
    found = {"error": error(law, judge), "loss": torch.stack(losses)}
    for name, one in (("learned", law), ("quadratic", Quadratic()), ("Bingham", Bingham())):
        with torch.no_grad():
            frames, broken = finite_roll(fluid, start[:, None], 8 * every, 8 * every, one)
        gap = (frames[-1] - later).abs().square().mean((1, 2)) / later.abs().square().mean((1, 2))
        found[f"{name} later"] = torch.where(broken, 10.0, gap.sqrt())
    return found


@study.remembered(size=8)
def estimated(setting: Setting, *, seeds, data=None, control=False, progress=None) -> torch.Tensor:
    """alpha and zeta from a_2 alone by gradients through the coarse solver: relative errors (seeds, 2). Control: no gradient."""
    truth = setting.fluid(JUDGED, seeds=len(seeds))
    first = torch.cat([a.disturbed(truth, 1, 7 * seed + 3) for seed in seeds])
    window = min(2 * WINDOW, setting.steps // 4)
    seen = a.roll(truth, first, setting.steps)[:, :, 0]
    starts = torch.linspace(len(seen) // 5, len(seen) - window - 1, 4).long().tolist()
    logs = torch.log(torch.tensor([2.0, 0.6])).repeat(len(seeds), 1).requires_grad_()
    optimizer = torch.optim.Adam([logs], lr=0.1)
    steps = 0 if control else max(2, setting.epochs // 5)
    for k in range(steps):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - k / steps)
        start = starts[k % len(starts)]
        alpha, zeta = -logs[:, :1, None].exp(), logs[:, 1:, None].exp()
        fluid = ActiveFluid(alpha, zeta, n=setting.n, harmonics=setting.harmonics)
        loss = a.rollout_loss(fluid, Bingham(), seen[start : start + window + 1])
        optimizer.zero_grad()
        (loss / loss.detach()).sum().backward()
        optimizer.step()
        if progress is not None:
            progress((k + 1) / steps)
    wanted = torch.tensor([-JUDGED[0], JUDGED[1]])
    return (logs.detach().exp() / wanted - 1).abs()


@study.remembered(size=8)
def plane(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """One network for all parameters: runs chosen where an ensemble of three disagrees most, against runs by lot.

    ``"ratio"`` (seeds, 16): error over Bingham's at 16 held-out points from four chosen runs; ``"chosen"``, ``"random"`` (seeds,):
    mean errors of four chosen and of five random runs. Control: the ensemble is asked where it agrees most, from the first run.
    """
    axis = torch.linspace(0, 1, 4)
    grid = [(-2 - 3 * float(x), 0.6 + 0.9 * float(y)) for x in axis for y in axis]
    between = [(-2 - 3 * float(x), 0.6 + 0.9 * float(y)) for x in axis * 0.9 + 0.05 for y in axis * 0.9 + 0.05]
    short = setting.model_copy(update={"epochs": max(5, setting.epochs // 2)})
    pool, held = (kinetic(short, points, seeds) for points in (grid, between))
    runs, models = len(grid), len(seeds)

    def part(records, chosen):
        """Records of the runs chosen for each seed."""
        fields = []
        for x in (records.a2, records.a4, records.e):
            split = x.unflatten(1, (runs, -1))
            fields.append(torch.stack([split[k, chosen[k]].flatten(0, 1) for k in range(models)]))
        return Records(*fields, records.frames, records.first)

    def disagreement(chosen):
        guesses = []
        for member in range(3):
            law = fitted("strain", short, part(pool, chosen), [100 * seed + member for seed in seeds])
            guesses.append(law(pool.a2.flatten(0, 1), pool.e.flatten(0, 1)).reshape(pool.a2.shape))
        spread = (torch.stack(guesses) - torch.stack(guesses).mean(0)).abs().square().mean((0, 3, 4))
        return spread.unflatten(1, (runs, -1)).mean(2)

    chosen = [[0] for _ in seeds]
    for _ in range(3):
        spread = disagreement(chosen)
        for k, taken in enumerate(chosen):
            order = spread[k].argsort(descending=not control)
            taken.append(next(int(i) for i in order if int(i) not in taken))
    draws = [torch.randperm(runs, generator=torch.Generator().manual_seed(seed))[:5].tolist() for seed in seeds]
    laws = [fitted("strain", short, part(pool, which), seeds) for which in (chosen, draws)]

    def each(law):
        with torch.no_grad():
            found = law(held.a2.flatten(0, 1), held.e.flatten(0, 1)).reshape(held.a4.shape)
        gap = (found - held.a4).abs().square().unflatten(1, (runs, -1)).mean((2, 3, 4))
        return (gap / held.a4.abs().square().unflatten(1, (runs, -1)).mean((2, 3, 4))).sqrt()

    ours, lots, bingham = each(laws[0]), each(laws[1]), each(Bingham())
    return {"ratio": ours / bingham, "chosen": ours.mean(1), "random": lots.mean(1), "runs": torch.tensor(chosen)}
