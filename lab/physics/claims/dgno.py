"""Measurements of the statements about the deep generative neural operator."""

from __future__ import annotations

import torch

from lab.claims import Effects, measures
from lab.physics import dgno
from lab.physics.studies import dgno as study
from lab.physics.studies.dgno import Setting


@measures("dgno.weak-identity")
def identity(trial):
    """Relative distance of int s . grad v and of int f v from f(centre), over 20 centres, on a line and a square.

    f is harmonic, so that its mean under every radial v is its value in the centre. Control: 7 points a side.
    """
    draw, gaps = torch.Generator().manual_seed(trial.seeds[0]), []
    k, q = (1 + 3 * torch.rand(2, generator=draw)).double()
    flows = {
        1: (lambda x: k * x + q * x**2 / 2, lambda x: -(k + q * x[..., 0])),
        2: (
            lambda x: torch.stack([torch.exp(k * x[..., 0]) * torch.cos(k * x[..., 1] + q) / k, 0 * x[..., 0]], -1),
            lambda x: -torch.exp(k * x[..., 0]) * torch.cos(k * x[..., 1] + q),
        ),
    }
    for d, (flux, source) in flows.items():
        centres = 0.2 + 0.6 * torch.rand(20, d, generator=draw).double()
        sides = dgno.weak_residual(flux, source, centres, dgno.WendlandTest(d, 0.1), 7 if trial.control else 31)
        gaps += [float((side - source(centres)).norm() / source(centres).norm()) for side in sides]
    return Effects(gaps)


@measures("dgno.contains-deeponet")
def contains(trial):
    """Largest distance of a MultiONet, earlier layers' weights 0, from the product of last layers. Control: weights 1."""
    draw = torch.Generator().manual_seed(trial.seeds[0])
    x, beta = torch.rand(7, 2, generator=draw).double(), torch.rand(1, 3, 4, generator=draw).double()
    many = dgno.MultiONet(2, 4, 2, width=8, depth=3, layers=3, seeds=trial.seeds[:1]).double().requires_grad_(False)
    if not trial.control:
        many.weights[..., :2, :], many.weights[..., 2:, :] = 0.0, 3.0
    last = [each[..., -8:] for each in (many.branch(beta), many.trunk(x)[0])]
    weight = 3.0 if trial.control else 1.0
    wanted = weight * torch.einsum("mfik,mqk->mfiq", *last)
    return Effects(float((many(x, beta) - wanted).abs().max()))


def _setting(trial, problem="two phases"):
    """The budget's setting of a problem; others than the first are trained for half of the steps."""
    setting = Setting.of(trial.budget, problem=problem)
    return (
        setting
        if problem in ("two phases", "line")
        else setting.model_copy(update={"steps": max(setting.steps // 2, 5)})
    )


def _error(trial, problem="two phases", **how):
    """Error of u. Control: weight 0 for the residuals."""
    return study.forward_error(_setting(trial, problem), trial.seeds, "no physics" if trial.control else "DGNO", **how)


def _ratio(trial, arm, control, problem="two phases"):
    """Error of u over that of an arm. Control: another arm in place of the operator."""
    setting = _setting(trial, problem)
    ours = study.forward_error(setting, trial.seeds, control if trial.control else "DGNO")
    theirs = study.forward_error(setting, trial.seeds, arm)
    return Effects(ours / theirs, {"errors": ours.tolist(), arm: theirs.tolist()})


@measures("dgno.no-labels", stacked=True)
def no_labels(trial):
    """Relative error of u in two-phase media. Control: weight 0 for the residuals."""
    return Effects(_error(trial))


@measures("dgno.fewer-labels", stacked=True)
def fewer_labels(trial):
    """Error over that of a DeepONet with 50 solutions. Control: weight 0 for the residuals."""
    return _ratio(trial, "50 labels", "no physics")


@measures("dgno.near-supervision", stacked=True)
def near_supervision(trial):
    """Error over that of a DeepONet with 500 solutions. Control: weight 0 for the residuals."""
    return _ratio(trial, "500 labels", "no physics")


@measures("dgno.unlabelled-fields", stacked=True)
def unlabelled(trial):
    """Error with all fields over that with 50. Control: the 50 in place of all."""
    return _ratio(trial, "few fields", "few fields")


@measures("dgno.weak-form-on-jumps", stacked=True)
def weak_form(trial):
    """Error on a line over that of the residual of second derivatives. Control: that residual."""
    return _ratio(trial, "strong form", "strong form", "line")


@measures("dgno.weak-form-on-small-jumps", stacked=True)
def weak_form_small(trial):
    """The same on a square. Control as there."""
    return _ratio(trial, "strong form", "strong form")


@measures("dgno.multionet", stacked=True)
def multionet(trial):
    """Error over that of DeepONet. Control: DeepONet."""
    return _ratio(trial, "DeepONet", "DeepONet")


@measures("dgno.latent-inverse", stacked=True)
def latent_inverse(trial):
    """Misclassified cells over those of descent on the cells' values. Control: that descent."""
    setting = _setting(trial)
    raw = study.raw_error(setting, trial.seeds)
    ours = raw if trial.control else study.phase_error(setting, trial.seeds)
    return Effects(ours / raw.clamp_min(1e-3), {"latent": ours.tolist(), "raw": raw.tolist()})


@measures("dgno.noise", stacked=True)
def noise(trial):
    """Misclassified cells at 10 % of noise over those at 1 %. Control: at 10 % readings of another medium."""
    setting = _setting(trial)
    loud, quiet = (
        study.phase_error(setting, trial.seeds, noise=s, exchanged=trial.control and s == 0.1) for s in (0.1, 0.01)
    )
    return Effects(loud / quiet.clamp_min(1e-3), {"10 %": loud.tolist(), "1 %": quiet.tolist()})


@measures("dgno.sparse-sensors", stacked=True)
def sparse(trial):
    """Misclassified cells with a quarter of the sensors over those without any. Control: readings of another medium."""
    setting = _setting(trial)
    ours = study.phase_error(setting, trial.seeds, sensors=setting.sensors // 4, exchanged=trial.control)
    blind = study.prior_error(setting, trial.seeds)
    return Effects(ours / blind, {"sensors": setting.sensors // 4, "with": ours.tolist(), "without": blind.tolist()})


@measures("dgno.bands", stacked=True)
def bands(trial):
    """Coverage of u by bands of 80 %, minus 0.8. Control: no prior, and no error of the operator."""
    return Effects(study.coverage(_setting(trial), trial.seeds, prior=not trial.control) - 0.8)


@measures("dgno.three-jumps", stacked=True)
def three_jumps(trial):
    """Relative error of u at three jumps on a line. Control: weight 0 for the residuals."""
    return Effects(_error(trial, "line", jumps=(3, 3)))


@measures("dgno.three-phases", stacked=True)
def three_phases(trial):
    """Relative error of u in media of three phases. Control: weight 0 for the residuals."""
    return Effects(_error(trial, "three phases"))


@measures("dgno.benchmarks", stacked=True)
def benchmarks(trial):
    """Error over that of DeepONet, the larger of smooth media and Burgers' equation. Control: DeepONet."""
    both = [torch.as_tensor(_ratio(trial, "DeepONet", "DeepONet", problem).values) for problem in ("smooth", "Burgers")]
    return Effects(torch.stack(both).amax(0), {"smooth": both[0].tolist(), "Burgers": both[1].tolist()})
