"""The verdict of every measured experiment flips: it holds where the method does what is said, and not where it is switched off.

Training is replaced by its outcome here, so that all verdicts are tried in milliseconds; test_claims.py switches off the
methods themselves where a small run shows the effect.
"""

import pytest
import torch

from lab import claims
from lab.losses.claims import (
    adversarial,
    contrastive_temperature,
    correctness_calibration,
    ensloss,
    generative_classifier,
    groco,
    ldr,
    pulaski,
    target_surrogates,
)
from lab.losses.claims import comp_sum as comp_sum_claims
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


def quality(**fields):
    """A stand-in for ``stack``: the quality of a representation by loss, value and field."""

    def stack(name, values, seeds, epochs, field):
        return torch.stack([over_seeds(fields[field](name, value)) for value in values])

    return stack


def peak(name, value):
    return 0.9 - (0.05 * abs(value - 0.3) if name != "hard" else 0.0)


def flat(name, value):
    return 0.9


def rising(name, value):
    return value


def falling(name, value):
    return -value


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


def needs(power_bayes, power_logistic):
    dimensions = (20, 40, 80)
    found = {}
    for n in dimensions:
        found["naive Bayes", n] = [8.0 * (n / 20) ** power_bayes * (1 + s / 100) for s in range(5)]
        found["logistic", n] = [40.0 * (n / 20) ** power_logistic * (1 + s / 200) for s in range(5)]
    return lambda seeds, budget: (dimensions, found, SEEDS)


def error_curves(bayes, logistic):
    def curves(x, y, sizes, seeds):
        few, last = max(len(sizes) - 1, 1), min(len(sizes) - 1, 1)
        return {
            "naive Bayes": torch.stack([over_seeds(bayes[0])] * few + [over_seeds(bayes[1])] * last),
            "logistic": torch.stack([over_seeds(logistic[0]) + JITTER] * few + [over_seeds(logistic[1])] * last),
        }

    return curves


def attacked(clean, robust):
    """A stand-in for the adversarial study: accuracies of the smooth loss, those of its baselines are one half."""
    half = {"TRADES": [0.5, 0.5], "adversarial training": [0.4, 0.5]}
    return constant((half | {"smooth comp-sum": clean or [0.5, 0.5]}, half | {"smooth comp-sum": robust or [0.5, 0.5]}, {}))


def surrogate_losses(one, many):
    return lambda arm, x, y, seeds, calls, value: over_seeds(
        (one if value[1] == 1 else many) if arm == "sso" else 0.1
    )


# claim, module, attributes to replace where the statement is true, the same where the method is switched off
ROWS = [
    ("comp-sum.cross-entropy-beats-both-ends", comp_sum_claims,
     {"compare": comparison({"cross-entropy": 0.9})}, {"compare": comparison({})}),
    ("comp-sum.label-noise-favours-bounded-losses", comp_sum_claims,
     {"compare": comparison({"generalized-cross-entropy": 0.9})}, {"compare": comparison({})}),
    ("comp-sum.adversarial-robustness", adversarial,
     {"_on_digits": attacked({}, [0.6, 0.61])}, {"_on_digits": attacked({}, [0.5, 0.49])}),
    ("comp-sum.adversarial-clean-accuracy", adversarial,
     {"_on_digits": attacked([0.6, 0.61], {})}, {"_on_digits": attacked([0.5, 0.49], {})}),
    ("ensloss.tables", ensloss,
     {"_table_study": lambda *_: comparison({"ensloss": 0.85})((*ensloss.FIXED, "ensloss"), None, None)},
     {"_table_study": lambda *_: comparison({})((*ensloss.FIXED, "ensloss"), None, None)}),
    ("ensloss.prevents-overfitting", ensloss,
     {"_table_study": lambda *_: comparison({}, train=0.05)((*ensloss.FIXED, "ensloss"), None, None)},
     {"_table_study": lambda *_: comparison({})((*ensloss.FIXED, "ensloss"), None, None)}),
    ("ensloss.digit-pairs", ensloss,
     {"pair_study": constant(({"mlp": dict.fromkeys(ensloss.FIXED, (3, 2, 1))}, {}, {}, 6))},
     {"pair_study": constant(({"mlp": dict.fromkeys(ensloss.FIXED, (0, 6, 0))}, {}, {}, 6))}),
    ("ldr.robust-under-noise", ldr, {"compare": comparison({"ldr-kl": 0.9})}, {"compare": comparison({})}),
    ("ldr.adaptive-is-stable", ldr,
     {"_suite_on_digits": lambda *_: {"clean": comparison({"aldr-kl": 0.9, "focal": 0.85})(ldr.LOSSES, None, None)}},
     {"_suite_on_digits": lambda *_: {"clean": comparison({"aldr-kl": 0.7})(ldr.LOSSES, None, None)}}),
    ("contrastive-temperature.uniformity-tolerance", contrastive_temperature,
     {"stack": quality(uniformity=rising, tolerance=rising)}, {"stack": quality(uniformity=flat, tolerance=flat)}),
    ("contrastive-temperature.interior-optimum", contrastive_temperature,
     {"stack": quality(neighbours=peak, probe=peak)}, {"stack": quality(neighbours=flat, probe=flat)}),
    ("contrastive-temperature.uniformity-separates", contrastive_temperature,
     {"stack": quality(probe=peak, uniformity=rising)}, {"stack": quality(probe=peak, uniformity=falling)}),
    ("contrastive-temperature.hard-negatives", contrastive_temperature,
     {"stack": quality(neighbours=peak, probe=peak)},
     {"stack": quality(neighbours=lambda name, value: 0.9 - 0.05 * value, probe=peak)}),
    ("groco.nearest-neighbours", groco,
     {"stack": quality(neighbours=lambda name, value: 0.95 if name == "groco" else 0.9)}, {"stack": quality(neighbours=flat)}),
    ("groco.linear-probe", groco,
     {"stack": quality(probe=flat)}, {"stack": quality(probe=lambda name, value: 0.85 if name == "groco" else 0.9)}),
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
    ("generative-classifier.log-n", generative_classifier, {"needs": needs(0.1, 1.0)}, {"needs": needs(1.0, 1.0)}),
    ("generative-classifier.linear-n", generative_classifier, {"needs": needs(0.1, 1.0)}, {"needs": needs(0.1, 0.1)}),
    ("generative-classifier.needs-fewer", generative_classifier, {"needs": needs(0.1, 1.0)}, {"needs": needs(1.0, 0.1)}),
    ("generative-classifier.converges-faster", generative_classifier,
     {"curves": error_curves((0.1, 0.05), (0.3, 0.02))}, {"curves": error_curves((0.1, 0.05), (0.1, 0.05))}),
    ("generative-classifier.few-shot", generative_classifier,
     {"curves": error_curves((0.1, 0.05), (0.3, 0.02))}, {"curves": error_curves((0.3, 0.05), (0.1, 0.02))}),
    ("generative-classifier.two-regimes", generative_classifier,
     {"curves": error_curves((0.1, 0.05), (0.3, 0.02))}, {"curves": error_curves((0.1, 0.02), (0.3, 0.05))}),
]  # fmt: skip
ALWAYS = {
    pulaski: {"tuned": lambda loss, setting, trials=(): (1e-2, 1e-2)},
    generative_classifier: {"network_features": constant((torch.zeros(90, 2).numpy(), torch.arange(90).numpy() % 3))},
    target_surrogates: {"_binary": constant((None, None))},
    correctness_calibration: {}, groco: {"raw_pixel_neighbours": constant(0.9)},
    contrastive_temperature: {"raw_pixel_neighbours": constant(0.9)},
}  # fmt: skip


def verdict(claim, module, replaced):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (ALWAYS.get(module, {}) | replaced).items():
            patch.setattr(module, name, value)
        seeds = SEEDS[:2] if module is adversarial else SEEDS
        return claims.measure(claim, budget="default", seeds=seeds).holds


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
