"""Measurements of tasks: dimension, training budget, the design of harder tasks, and the earlier bound."""

from __future__ import annotations

from lab.claims import Effects, measures
from lab.inductive_bias.studies import tasks as study
from lab.inductive_bias.studies.digits import own_or_digits


@measures("inductive_bias.direct")
def direct(trial):
    """log10 of the bound of 2023 over the exact bits. Control: the bound in place of the bits."""
    found = [study.bound_and_bits(seed) for seed in trial.seeds]
    return Effects(
        [bound - (bound if trial.control else bits) for bound, bits in found],
        {"exact bits": [round(10**bits, 1) for _, bits in found]},
    )


@measures("inductive_bias.dimension")
def dimension(trial):
    """Bits over the dimensions 6 to 20, for sums of cosines at a fixed error. Control: all tasks have 8 dimensions."""
    sizes = trial.of((100, 100), (200, 400), (400, 800))
    intrinsic = 8 if trial.control else None
    return Effects(
        [study.bits_by_dimension(seed, sizes, intrinsic=intrinsic) for seed in trial.seeds],
        {"dimensions": list(study.DIMENSIONS)},
    )


@measures("inductive_bias.more-labels")
def more_labels(trial):
    """Bits at half the training set minus bits at all of it, at the same threshold. Control: the labels are shuffled."""
    setting = {"share": 0.2, "noise": 0.0} if trial.data is None else {"share": 0.5, "noise": 0.05}
    return Effects([
        study.saved_by_labels(
            own_or_digits(trial.data, seed, trial.budget, shuffled=trial.control), seed=seed, **setting
        )
        for seed in trial.seeds
    ])  # fmt: skip


@measures("inductive_bias.task-design")
def task_design(trial):
    """Bits that the edit chosen on one split adds on another, beyond the median edit. Control: the easiest is chosen."""
    sizes = trial.of((80, 60), (200, 150), (500, 300))
    found = [study.designed(seed, sizes, easiest=trial.control) for seed in trial.seeds]
    return Effects([gain for gain, _ in found], {"chosen": [name for _, name in found]})
