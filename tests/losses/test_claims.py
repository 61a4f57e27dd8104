"""Every method has a statement that holds, and that stops to hold when the method is switched off or labels are shuffled."""

import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from lab import claims, datasets
from lab.losses.claims import (
    comp_sum,
    contrastive_temperature,
    correctness_calibration,
    ensloss,
    generative_classifier,
    groco,
    ldr,
    pulaski,
    target_surrogates,
)
from lab.losses.comparison import compare
from lab.losses.generative_classifier import mixture


def _half_the_bound(excess, tau, classes):
    return 0.5 * comp_sum_gamma(excess, tau, classes)


def _unsorted_draws(margins, generator, **options):
    return -torch.rand(margins.shape, generator=generator)


def _one_temperature(scores, initial, alpha):
    return torch.full((len(scores),), float(initial), dtype=scores.dtype)


def _one_hardness(similarity, temperature):
    return entropy(similarity, 0.1)


def _groups_exchanged(similarity, positives, steepness, **options):
    return ordering_loss(similarity.flip(1), positives, steepness, **options)


def _cross_entropy_only(logits, phi, target, *, loss, **options):
    return fit(logits, phi, target, loss="cross-entropy", **options)


def _longer_step(z, z_t, gradient, eta):
    return surrogate(z, z_t, gradient, 10 * eta)


def _mean_distance_only(samples, raters, *, scale=True):
    return (samples[:, :, None] - raters[:, None]).flatten(3).norm(dim=3).mean((1, 2))


comp_sum_gamma, entropy = comp_sum.gamma_tau, contrastive_temperature.penalty_entropy
ordering_loss, fit = groco.group_ordering_loss, correctness_calibration.fit_calibrator
surrogate = target_surrogates.target_surrogate

SWITCHED_OFF = [
    ("comp-sum.consistency-bound", comp_sum, "gamma_tau", _half_the_bound),
    ("ensloss.every-draw-is-convex-and-calibrated", ensloss, "sample_calibrated_derivatives", _unsorted_draws),
    ("ldr.adaptive-temperature-solves-the-inner-problem", ldr, "adaptive_temperature", _one_temperature),
    ("contrastive-temperature.entropy-grows", contrastive_temperature, "penalty_entropy", _one_hardness),
    ("groco.loss-counts-misordered", groco, "group_ordering_loss", _groups_exchanged),
    ("calibration.narrow-miss", correctness_calibration, "fit_calibrator", _cross_entropy_only),
    ("sso.majorizes", target_surrogates, "target_surrogate", _longer_step),
    ("pulaski.energy-distance", pulaski, "energy_set_distance", _mean_distance_only),
]


@pytest.mark.parametrize(("claim", "module", "name", "off"), SWITCHED_OFF, ids=[row[0] for row in SWITCHED_OFF])
def test_statement_does_not_hold_when_its_method_is_switched_off(monkeypatch, claim, module, name, off):
    assert claims.measure(claim, budget="smoke").holds
    monkeypatch.setattr(module, name, off)
    assert not claims.measure(claim, budget="smoke").holds


def test_naive_bayes_needs_fewer_samples_only_if_it_is_naive_bayes(monkeypatch):
    generative_classifier.needs.cache_clear()
    assert claims.measure("generative-classifier.needs-fewer", budget="smoke").holds
    generative_classifier.needs.cache_clear()
    monkeypatch.setattr(generative_classifier, "SharedVarianceGaussianNB", lambda *_: LogisticRegression(max_iter=1000))
    assert not claims.measure("generative-classifier.needs-fewer", budget="smoke").holds
    generative_classifier.needs.cache_clear()


def test_naive_bayes_loses_its_advantage_with_few_labels_when_labels_are_shuffled():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(600) % 6
    means = torch.randn(6, 8, generator=generator)
    x = torch.cat([means[y] + 0.2 * torch.randn(600, 8, generator=generator), torch.randn(600, 60, generator=generator)], 1)
    shuffled = y[torch.randperm(len(y), generator=generator)]
    found = [claims.measure("generative-classifier.few-shot", data=_table(x, labels), budget="smoke") for labels in (y, shuffled)]
    assert [one.holds for one in found] == [True, False]


def test_temperatures_follow_the_noise_only_where_labels_mean_something(monkeypatch):
    monkeypatch.setattr(ldr, "scale", lambda budget, seeds: {"seeds": tuple(range(4)), "epochs": 40})
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 4
    x = 3 * torch.randn(4, 6, generator=generator)[y] + torch.randn(300, 6, generator=generator)
    shuffled = y[torch.randperm(300, generator=generator)]
    found = [claims.measure("ldr.temperature-follows-noise", data=_table(x, labels)) for labels in (y, shuffled)]
    assert [one.holds for one in found] == [True, False]


def _table(x, y):
    frame = pd.DataFrame(x.numpy(), columns=[f"x{k}" for k in range(x.shape[1])])
    return datasets.Table(frame.assign(label=y.numpy()), "label", "classes")


def test_every_statement_is_measured_or_says_why_not():
    for method in claims.methods():
        if method.module.startswith("lab.losses."):
            for claim in method.claims:
                assert claim.untestable or claims.measuring_function(claim.id) is not None


def test_generative_classifier_statements_use_the_rows_they_are_given():
    x, y = mixture(20, 2, 1, samples=200)
    errors = generative_classifier.curves(x.numpy(), y.numpy(), (20, 100), range(3))
    assert float(errors["naive Bayes"][-1].mean()) < 0.05
    assert errors["logistic"].shape == (2, 3)


def test_loss_for_two_classes_is_refused_with_more_of_them():
    x, y = torch.randn(90, 3), torch.arange(90) % 3
    with pytest.raises(ValueError, match="'ensloss' is defined for two classes, y has 3"):
        compare(("cross-entropy", "ensloss"), x, y)
