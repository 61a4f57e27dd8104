import pytest
import torch

from lab.losses.correctness_calibration import (
    AdaptiveTemperature,
    CorrectnessAwareLoss,
    confidences,
    fit_calibrator,
    histogram_scaling,
    isotonic_scaling,
    temperature_scaling,
    transform_features,
    vector_scaling,
)


def miscalibrated(generator, n=4000, classes=4, factor=3.0):
    """Logits whose softmax at temperature ``factor`` is the law of the label."""
    z = 2 * torch.randn(n, classes, generator=generator)
    y = torch.multinomial(torch.softmax(z, 1), 1, generator=generator)[:, 0]
    return factor * z, y


def test_unweighted_loss_is_the_brier_score_of_the_top_label(generator):
    z, y = miscalibrated(generator)
    expected = (torch.softmax(z, 1).amax(1) - (z.argmax(1) == y).float()).square().mean()
    torch.testing.assert_close(CorrectnessAwareLoss(balance=False)(z, torch.ones(4000), y), expected)


def test_balanced_loss_weighs_right_and_wrong_alike(generator):
    z, y = miscalibrated(generator)
    right = z.argmax(1) == y
    squared = (torch.softmax(z, 1).amax(1) - right.float()).square()
    expected = 0.5 * squared[right].mean() + 0.5 * squared[~right].mean()
    torch.testing.assert_close(CorrectnessAwareLoss()(z, torch.ones(4000), y), expected)


@pytest.mark.parametrize("label", [0, 1])
def test_batch_of_only_right_or_only_wrong_predictions_has_a_finite_loss(label):
    z = torch.tensor([[2.0, 0.0], [3.0, 0.0]])
    loss = CorrectnessAwareLoss()(z, torch.ones(2, requires_grad=True), torch.full((2,), label))
    loss.backward()
    assert torch.isfinite(loss)


def test_temperature_never_changes_a_prediction(generator):
    z, _ = miscalibrated(generator, 100)
    temperature = AdaptiveTemperature(4, seed=1)(torch.rand(100, 4, generator=generator))
    assert torch.equal((z / temperature[:, None]).argmax(1), z.argmax(1))
    assert ((temperature > 0.1) & (temperature < 10)).all()


def test_calibrator_starts_at_temperature_one(generator):
    temperature = AdaptiveTemperature(4)(torch.rand(50, 4, generator=generator))
    assert (temperature - 1).abs().max() < 0.15


def test_temperature_scaling_recovers_the_factor(generator):
    z, y = miscalibrated(generator)
    assert temperature_scaling(z, y) == pytest.approx(3.0, rel=0.05)


def test_every_calibrator_lowers_the_error_of_overconfident_logits(generator):
    z, y = miscalibrated(generator)
    fit, test = slice(0, 2000), slice(2000, 4000)

    def error(confidence):
        correct = (z[test].argmax(1) == y[test]).double()
        return abs(float((confidence - correct).mean()))

    plain = error(confidences(z[test], 1.0))
    phi = torch.softmax(z, 1).topk(3).values
    calibrator = fit_calibrator(z[fit], phi[fit], y[fit], steps=300)
    assert error(confidences(z[test], calibrator(phi[test]).detach())) < 0.5 * plain
    assert error(vector_scaling(z[fit], y[fit])(z[test]).amax(1)) < 0.5 * plain
    assert error(isotonic_scaling(z[fit], y[fit])(z[test])) < 0.5 * plain
    assert error(histogram_scaling(z[fit], y[fit])(z[test])) < 0.5 * plain


def test_features_follow_the_classes_of_the_untransformed_input():
    def model(x):
        return x

    x = torch.tensor([[3.0, 1.0, 0.0, -2.0]])
    features = transform_features(model, x, [lambda v: v.flip(1), lambda v: 0 * v], top=2)
    flipped = torch.softmax(x.flip(1), 1)
    torch.testing.assert_close(features, torch.tensor([[flipped[0, 0], flipped[0, 1], 0.25, 0.25]]))


def test_bad_input_is_refused():
    z, y = torch.ones(3, 2), torch.tensor([0, 1, 0])
    with pytest.raises(ValueError, match="temperature must be greater than 0"):
        CorrectnessAwareLoss()(z, torch.zeros(3), y)
    with pytest.raises(ValueError, match="temperature must be one number"):
        confidences(z, torch.ones(2))
    with pytest.raises(ValueError, match="top must be at most"):
        transform_features(lambda x: x, z, [], top=3)
    with pytest.raises(ValueError, match="loss must be one of"):
        fit_calibrator(z, z, y, loss="ce")


def test_held_out_rows_keep_a_calibrator_from_learning_noise_by_heart(generator):
    n = 80
    z = torch.randn(n, 3, generator=generator)
    y, phi = torch.randint(3, (n,), generator=generator), torch.randn(n, 12, generator=generator)
    spread = {}
    for held_out in (0.0, 0.25):
        calibrator = fit_calibrator(z, phi, y, steps=600, learning_rate=0.02, held_out=held_out)
        with torch.no_grad():
            spread[held_out] = float(calibrator(torch.randn(500, 12, generator=generator)).log().std())
    assert spread[0.25] < 0.75 * spread[0.0]
    with pytest.raises(ValueError, match="held_out must be at most"):
        fit_calibrator(z, phi, y, held_out=1.0)
