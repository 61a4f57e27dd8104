"""Every method has a statement that holds, and that stops to hold when the method is switched off or labels are shuffled."""

import pandas as pd
import pytest
import torch

from lab import claims, datasets
from lab.losses.claims import (
    correctness_calibration,
    ldr,
    pulaski,
    target_surrogates,
)
from lab.losses.comparison import compare


def _one_temperature(scores, initial, alpha):
    return torch.full((len(scores),), float(initial), dtype=scores.dtype)


def _cross_entropy_only(logits, phi, target, *, loss, **options):
    return fit(logits, phi, target, loss="cross-entropy", **options)


def _longer_step(z, z_t, gradient, eta):
    return surrogate(z, z_t, gradient, 10 * eta)


def _mean_distance_only(samples, raters, *, scale=True):
    return (samples[:, :, None] - raters[:, None]).flatten(3).norm(dim=3).mean((1, 2))


fit = correctness_calibration.fit_calibrator
surrogate = target_surrogates.target_surrogate

SWITCHED_OFF = [
    ("ldr.adaptive-temperature-solves-the-inner-problem", ldr, "adaptive_temperature", _one_temperature),
    ("calibration.narrow-miss", correctness_calibration, "fit_calibrator", _cross_entropy_only),
    ("sso.majorizes", target_surrogates, "target_surrogate", _longer_step),
    ("pulaski.energy-distance", pulaski, "energy_set_distance", _mean_distance_only),
]


@pytest.mark.parametrize(("claim", "module", "name", "off"), SWITCHED_OFF, ids=[row[0] for row in SWITCHED_OFF])
def test_statement_does_not_hold_when_its_method_is_switched_off(monkeypatch, claim, module, name, off):
    assert claims.measure(claim, budget="smoke").holds
    monkeypatch.setattr(module, name, off)
    assert not claims.measure(claim, budget="smoke").holds


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


def test_loss_for_two_classes_is_refused_with_more_of_them():
    x, y = torch.randn(90, 3), torch.arange(90) % 3
    with pytest.raises(ValueError, match="'ensloss' is defined for two classes, y has 3"):
        compare(("cross-entropy", "ensloss"), x, y)
