"""Measurements of the statements about compositional likelihood."""

from __future__ import annotations

import math

import torch

from lab.claims import Effects, measures
from lab.losses.meco import MECOLoss, gaussian_slopes
from lab.losses.studies import meco as study

WIDE = ((4.0, 2.0), (8.0, 4.0), (8.0, 6.0))  # mean and noise scale


@measures("meco.compositional-form")
def compositional(trial):
    """The loss and its gradient with noise at the quantiles of its law, against the likelihood by quadrature on a line.

    Control: the tracker held at one instead of the partition function.
    """
    line = torch.linspace(-30, 30, 40001, dtype=torch.float64)
    noise = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 3.0)
    z = noise.icdf((torch.arange(20000, dtype=torch.float64) + 0.5) / 20000)
    data = torch.tensor([-0.3, 0.2, 1.7], dtype=torch.float64)
    worst = []
    for value in (-1.0, 0.4, 2.0):
        theta = torch.tensor(value, dtype=torch.float64, requires_grad=True)

        def log_density(x, theta=theta):
            return theta * x - x**2 / 2 - 0.1 * x.abs()

        truth = torch.logsumexp(log_density(line), 0) + math.log(float(line[1] - line[0])) - log_density(data).mean()
        loss = MECOLoss(noise, gamma=1e-9 if trial.control else 1.0)
        if trial.control:
            loss.log_u.zero_()
        found = loss(log_density, data, z=z)
        (slope,), (true_slope,) = (torch.autograd.grad(one, theta) for one in (found, truth))
        worst += [abs(float((found - truth).detach())), abs(float(slope - true_slope))]
    return Effects(worst, {"loss and slope at theta = -1, 0.4, 2": worst})


def _relative_slopes(trial, mean, scale, distance=0.1):
    """Slopes at a small distance from the optimum over that distance: of noise contrast, and of the likelihood."""
    slopes = gaussian_slopes(mean, scale, mean - distance)
    likelihood = -slopes["likelihood"] / distance
    return likelihood if trial.control else -slopes["noise contrast"] / distance, likelihood


@measures("meco.landscape")
def landscape(trial):
    """Relative slope of noise contrast, and how far that of the likelihood is from one. Control: the likelihood for both."""
    contrast, likelihood = _relative_slopes(trial, 5.0, 1.0)
    return Effects([contrast, abs(likelihood - 1)], {"noise contrast": contrast, "likelihood": likelihood})


@measures("meco.landscape-flattens")
def flattens(trial):
    """Relative slope of noise contrast, turned in sign, over means 2, 4 and 5. Control: that of the likelihood."""
    slopes = {mean: _relative_slopes(trial, mean, 1.0)[0] for mean in (2.0, 4.0, 5.0)}
    return Effects([-slope for slope in slopes.values()], {"slope by mean": slopes})


def _log_ratio(trial, mean, scale, method="meco"):
    """Log ratio of the final errors of ``method`` and noise contrast over seeds, and their means."""
    steps = trial.of(200, 2000, 2000)
    ours, theirs = (study.final_errors(mean, scale, one, trial.seeds, steps) for one in (method, "nce"))
    return ours.log() - theirs.log(), {"likelihood": float(ours.mean()), "noise contrast": float(theirs.mean())}


@measures("meco.faster-mean-estimation", stacked=True)
def faster(trial):
    """Log ratio of final errors at the least favourable setting of three. Control: noise contrast in the likelihood's place."""
    method = "nce" if trial.control else "meco"
    found = {f"R {mean:g}, s {scale:g}": _log_ratio(trial, mean, scale, method) for mean, scale in WIDE}
    worst = max(found, key=lambda name: float(found[name][0].mean()))
    return Effects(found[worst][0], {"final error": {name: errors for name, (_, errors) in found.items()}})


@measures("meco.narrow-noise-diverges")
def narrow(trial):
    """Log ratio of final errors where the noise is too narrow for the data. Control: noise as wide as the mean is far."""
    ratios, shown = _log_ratio(trial, 4.0, 4.0 if trial.control else 1.0)
    return Effects(ratios, {"final error": shown})


@measures("meco.rate")
def rate(trial):
    """Power with which the squared error falls from step 200 on. Control: noise far too narrow for the data."""
    curves = study.squared_error_curves(0.5 if trial.control else 3.0, trial.seeds, trial.of(600, 8000, 8000))
    return Effects(
        study.fitted_power(curves), {"squared error at the end": curves[:, -len(curves[0]) // 4 :].mean(1).tolist()}
    )


@measures("meco.rate-depends-on-noise")
def rate_and_noise(trial):
    """Log ratio of squared errors in the last quarter, noise of scale 12 over scale 3. Control: scale 3 for both."""
    steps = trial.of(600, 8000, 8000)
    wide, moderate = (
        study.squared_error_curves(scale, trial.seeds, steps)[:, -steps // 4 :].mean(1)
        for scale in (3.0 if trial.control else 12.0, 3.0)
    )
    return Effects(wide.log() - moderate.log(), {"squared error": [float(wide.mean()), float(moderate.mean())]})


@measures("meco.density")
def density(trial):
    """Test nats of the likelihood less those of noise contrast. Control: the likelihood trained on noise in place of data."""
    steps = study.DENSITY_STEPS[trial.budget]
    found = torch.tensor([
        [study.held_out_nats("meco", seed, steps, trial.control), study.held_out_nats("nce", seed, steps)] for seed in trial.seeds
    ])  # fmt: skip
    return Effects(
        found[:, 0] - found[:, 1], {"test nats, likelihood and noise contrast": found.mean(0).tolist(), "steps": steps}
    )


@measures("meco.out-of-distribution")
def out_of_distribution(trial):
    """AUROC of the likelihood's energies less that of noise contrast. Control: noise contrast from other weights in its place."""
    steps = trial.of(30, 2000, 10000)
    found = torch.tensor([
        [
            study.detection("nce", seed, steps, 500 + seed) if trial.control else study.detection("meco", seed, steps),
            study.detection("nce", seed, steps),
        ]
        for seed in trial.seeds
    ])  # fmt: skip
    return Effects(
        found[:, 0] - found[:, 1], {"AUROC, likelihood and noise contrast": found.mean(0).tolist(), "steps": steps}
    )
