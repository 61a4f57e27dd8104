"""The verdict of every measured experiment flips: it holds where the method does what is said, and not where it is switched off.

Training is replaced by its outcome here, so that all verdicts are tried in milliseconds; test_claims.py switches off the
methods themselves where a small run shows the effect.
"""

import pytest
import torch

from lab import claims
from lab.losses.claims import (
    correctness_calibration,
    ldr,
    pulaski,
    target_surrogates,
)
from lab.losses.comparison import Comparison

SEEDS = tuple(range(5))
JITTER = torch.tensor([-0.002, -0.001, 0.0, 0.001, 0.002], dtype=torch.float64)


def over_seeds(value):
    return value + JITTER


def comparison(accuracy, train=0.0):
    def compare(names, x, y, **options):
        found = {name: over_seeds(accuracy.get(name, 0.8)) + 0.0005 * JITTER * k for k, name in enumerate(names)}
        trained = {name: torch.ones(5, dtype=torch.float64) - train * (name == "ensloss") for name in names}
        return Comparison(found, found, trained, dict.fromkeys(names, 1e-3), SEEDS, 4, {"noise": options.get("noise", 0.0)})

    return compare


def constant(table):
    return lambda *arguments, **options: table


def rater_study(values):
    def evaluate(loss, setting, runs):
        small = setting.radius == 1.0 and loss != "energy"
        generators = [torch.Generator().manual_seed(seed + len(loss)) for seed, _ in runs]
        mean = values.get(loss, 0.3) * (2 if small else 1)
        return [(mean + 0.01 * torch.randn(6, generator=generator), 0.2) for generator in generators]

    return evaluate


def calibrators(aware, balanced, transforms):
    def study(seed):
        row = {name: (0.05 + 0.0001 * seed, 0.8) for name in ("temperature", "vector", "isotonic", "histogram")}
        row |= {"correctness": (aware + 0.0001 * seed, transforms), "correctness, balanced": (balanced, 0.8)}
        row["correctness without transforms"] = (0.05, 0.8 - 0.0001 * seed)
        return {test: row for test in ("clean", "noise", "roll")}, dict.fromkeys(("clean", "noise", "roll"), 0.8)

    return study


def surrogate_losses(one, many):
    return lambda arm, x, y, seeds, calls, value: over_seeds(
        (one if value[1] == 1 else many) if arm == "sso" else 0.1
    )


# claim, module, attributes to replace where the statement is true, the same where the method is switched off
ROWS = [
    ("ldr.robust-under-noise", ldr, {"compare": comparison({"ldr-kl": 0.9})}, {"compare": comparison({})}),
    ("ldr.adaptive-is-stable", ldr,
     {"_suite_on_digits": lambda *_: {"clean": comparison({"aldr-kl": 0.9, "focal": 0.85})(ldr.LOSSES, None, None)}},
     {"_suite_on_digits": lambda *_: {"clean": comparison({"aldr-kl": 0.7})(ldr.LOSSES, None, None)}}),
    ("calibration.in-distribution", correctness_calibration,
     {"study": calibrators(0.05, 0.2, 0.8)}, {"study": calibrators(0.08, 0.2, 0.8)}),
    ("calibration.shifted", correctness_calibration,
     {"study": calibrators(0.05, 0.02, 0.8)}, {"study": calibrators(0.05, 0.06, 0.8)}),
    ("calibration.transforms-inform", correctness_calibration,
     {"study": calibrators(0.05, 0.2, 0.85)}, {"study": calibrators(0.05, 0.2, 0.7)}),
    ("pulaski.captures-variability", pulaski,
     {"evaluate": rater_study({"energy": 0.1})}, {"evaluate": rater_study({})}),
    ("pulaski.beats-baselines", pulaski, {"evaluate": rater_study({"energy": 0.1})}, {"evaluate": rater_study({})}),
    ("pulaski.small-data", pulaski, {"evaluate": rater_study({"energy": 0.1})}, {"evaluate": rater_study({})}),
    ("pulaski.class-imbalance", pulaski,
     {"evaluate": rater_study({"energy": 0.1})},
     {"evaluate": lambda loss, setting, runs: [(torch.full((6,), 0.3), 0.2)] * len(runs)}),
    ("pulaski.three-dimensions", pulaski,
     {"evaluate": rater_study({"energy": 0.1}), "slice_by_slice": lambda seeds, *_: [[0.3 + seed / 100, 0.4] for seed in seeds]},
     {"evaluate": rater_study({"energy": 0.1}), "slice_by_slice": lambda seeds, *_: [[0.3 + seed / 100, 0.05] for seed in seeds]}),
    ("sso.convex-rate", target_surrogates,
     {"excess_losses": lambda seed, calls: torch.arange(1.0, calls + 1) ** (-0.6 - seed / 100)},
     {"excess_losses": lambda seed, calls: torch.arange(1.0, calls + 1) ** (-0.3 - seed / 100)}),
    ("sso.inner-steps-help", target_surrogates,
     {"final": surrogate_losses(0.2, 0.15)}, {"final": surrogate_losses(0.2, 0.2)}),
    ("sso.matches-adaptive", target_surrogates,
     {"final": surrogate_losses(0.1, 0.09)}, {"final": surrogate_losses(0.3, 0.2)}),
    ("sso.imitation", target_surrogates,
     {"_imitate": lambda eta, inner, seed, rounds: (2.0 if inner == 1 else 1.0) + seed % 5 / 100},
     {"_imitate": lambda eta, inner, seed, rounds: 2.0 + seed * inner % 7 / 100}),
]  # fmt: skip
ALWAYS = {
    pulaski: {"tuned": lambda loss, setting, trials=(): (1e-2, 1e-2)},
    target_surrogates: {"_binary": constant((None, None))},
    correctness_calibration: {},
}  # fmt: skip


def verdict(claim, module, replaced):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (ALWAYS.get(module, {}) | replaced).items():
            patch.setattr(module, name, value)
        return claims.measure(claim, budget="default", seeds=SEEDS).holds


@pytest.mark.parametrize(("claim", "module", "works", "off"), ROWS, ids=[row[0] for row in ROWS])
def test_verdict_follows_the_outcome(claim, module, works, off):
    assert verdict(claim, module, works)
    assert not verdict(claim, module, off)


def test_every_experiment_of_the_room_has_a_verdict_that_flips():
    elsewhere = {  # test_claims.py runs these methods, whole and switched off
        "calibration.narrow-miss", "ldr.temperature-follows-noise",
    }  # fmt: skip
    tried = {row[0] for row in ROWS} | elsewhere
    experiments = {
        claim.id for method in claims.methods("losses") for claim in method.claims
        if claim.kind == "experiment" and not claim.untestable and not claim.control  # others: tests/claims
    }  # fmt: skip
    assert experiments <= tried, f"no flip is tried for {sorted(experiments - tried)}"
