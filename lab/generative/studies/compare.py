"""All samplers on one set of points with one learned score, at an equal number of score evaluations, and a student of one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lab import checks
from lab.generative import quality, score_sde, svdd
from lab.generative.f_distill import distill_networks
from lab.generative.one_step import Networks, train_denoiser
from lab.generative.scores import train_score
from lab.generative.sdes import SDES
from lab.generative.studies.common import Kept, cloud, table

METHODS = (*score_sde.SAMPLERS, "ancestral")
DISTILLED = "distilled"  # a student of one evaluation, by Jensen-Shannon
TOLERANCES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1)


@dataclass(frozen=True, eq=False)
class Comparison(Kept):
    """``distance``, ``energy`` and ``mmd`` {arm: (seeds,)} to held-out points, ``floor`` (seeds,) the sliced Wasserstein
    distance of
    other held-out points, ``evaluations`` and processor ``seconds`` {arm: number}, ``samples`` {arm: (items, d)} of the
    first seed."""

    distance: dict[str, torch.Tensor]
    energy: dict[str, torch.Tensor]
    mmd: dict[str, torch.Tensor]
    floor: torch.Tensor
    evaluations: dict[str, int]
    seconds: dict[str, float]
    samples: dict[str, torch.Tensor]
    data: torch.Tensor

    def to_frame(self):
        """One row an arm, the closest first."""
        found = table(self.distance, "sliced Wasserstein")
        for name, values in (("energy distance", self.energy), ("MMD", self.mmd)):
            found[name] = [float(values[arm].mean()) for arm in found["arm"]]
        found["evaluations"] = [self.evaluations[arm] for arm in found["arm"]]
        found["seconds"] = [self.seconds[arm] for arm in found["arm"]]
        return found.sort_values("sliced Wasserstein", ignore_index=True)


def compare(
    methods: Sequence[str] = METHODS, data=None, *, points: str = "ring", sde: str = "VP", score: str = "learned",
    evaluations: int = 60,
    items: int = 1000, training: int = 2000, width: int = 128, snr: float = 0.16, seeds: int = 3, progress=None,
) -> Comparison:  # fmt: skip
    """Run every sampler with the same score and at most as many evaluations of it a sample.

    Args:
        methods: of :data:`METHODS`: the predictor, with a corrector, the corrector alone, the probability flow at the
        tightest tolerance
            that the evaluations allow, and DDPM's ancestral sampling; :data:`DISTILLED` may stand among them, whose ``seconds``
            hold its training of as many steps as the score's; not with VE.
        data: own points, 20 or more; half of them are held out. Without them ``points``, "ring" or "moons".
        sde: the process.
        score: "learned", or "exact" for the ring.
        evaluations: allowed a sample.
    """
    for method in methods:
        checks.choice("methods", method, (*METHODS, DISTILLED))
    if DISTILLED in methods and sde == "VE":
        raise ValueError(
            f"methods must not hold {DISTILLED!r} with sde='VE': students start from noise of unit variance"
        )
    budget, drawn = (
        checks.integer("evaluations", evaluations, low=44),
        tuple(range(checks.integer("seeds", seeds, low=1))),
    )
    where, process = cloud(points, data), SDES[checks.choice("sde", sde, SDES)]()
    checks.choice("score", score, ("learned", "exact"))
    if score == "exact" and where.truth is None:
        raise ValueError("score='exact' needs points='ring', whose law is known")
    count, d = min(items, len(where.test) // 2), where.train.shape[1]
    net = train_score(process, where.train, seeds=drawn, steps=training, width=width) if score == "learned" else None
    field = net if net is not None else where.truth.at(process)  # type: ignore[union-attr]
    denoise = net.denoised if net is not None else where.truth.denoiser(process)  # type: ignore[union-attr]
    orders = [torch.randperm(len(where.test), generator=torch.Generator().manual_seed(seed)) for seed in drawn]
    held, fresh = (torch.stack([where.test[rows[k * count : (k + 1) * count]] for rows in orders]) for k in (0, 1))

    def made(method):
        shared = {"seeds": drawn, "snr": snr}
        if method == DISTILLED:
            start = None if net is None else Networks(net.stack, process)
            taught = denoise if start is None else start
            start = start or train_denoiser(where.train, sde=process, seeds=drawn, steps=training, width=width)
            steps = max(2, training)
            found = distill_networks(
                taught, start, where.train, kinds=("Jensen-Shannon",), seeds=drawn, steps=steps, rate=1e-3
            )
            return found.sample(count, drawn)[0].double(), 1
        if method == "ancestral":
            chain = svdd.Diffusion(denoise, process, d, budget - 1)
            return svdd.decode(chain, lambda x, step: x[..., 0], items=count, candidates=1, seeds=drawn), budget
        if method == "flow":
            for tolerance in TOLERANCES:
                found = score_sde.draw(field, process, count, d, sampler="flow", tolerance=tolerance, **shared)
                if found.evaluations <= budget:
                    return found.x, found.evaluations
            raise ValueError(f"evaluations must be at least {found.evaluations} for the flow, got {budget}")
        steps = budget // 2 if method == "predictor-corrector" else budget
        found = score_sde.draw(field, process, count, d, sampler=method, steps=steps, **shared)
        return found.x, found.evaluations

    samples, calls, seconds = {}, {}, {}
    for number, method in enumerate(methods):
        began = time.process_time()
        samples[method], calls[method] = made(method)
        seconds[method] = time.process_time() - began
        if progress is not None:
            progress(number + 1, len(methods))
    between = lambda x: quality.sliced_wasserstein(x, held, 128)  # noqa: E731
    return Comparison(
        {arm: between(x) for arm, x in samples.items()}, {arm: quality.energy_distance(x, held) for arm, x in samples.items()},
        {arm: quality.mmd(x, held) for arm, x in samples.items()}, between(fresh), calls, seconds,
        {arm: x[0] for arm, x in samples.items()}, held[0],
    )  # fmt: skip
