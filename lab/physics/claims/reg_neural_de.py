"""Measurements of the statements about neural equations regularized by their solver's estimates."""

from __future__ import annotations

import torch

from lab.claims import Effects, measures
from lab.integrate import dopri5
from lab.physics import reg_neural_de as rn
from lab.physics.studies import reg_neural_de as study
from lab.physics.studies.reg_neural_de import Setting

DOUBLE = torch.float64


def _field(seed, width=4, gain=1.0):
    """A network f(t, z) in double precision with random weights, and 16 states."""
    states = torch.randn(16, width, generator=torch.Generator().manual_seed(500 + seed), dtype=DOUBLE)
    f = rn.TimeMLP(width, 16, seed).double()
    f.load_state_dict({name: gain * weight for name, weight in f.state_dict().items()})
    return f, states


@measures("reg_neural_de.depth-follows-the-problem", stacked=True)
def depth(trial):
    """Evaluations of a network with its weights times 1, 2 and 4. Control: every step is accepted."""
    tolerance = (0.0, 1e9) if trial.control else (1e-6, 1e-6)
    found = []
    for seed in trial.seeds:
        fields = [_field(seed, gain=gain) for gain in (1.0, 2.0, 4.0)]
        found.append([dopri5(f, y, [0.0, 1.0], *tolerance, first_step=0.1).evaluations for f, y in fields])
    return Effects(found)


def _run(trial, control):
    return study.run(Setting.of(trial.budget), seeds=trial.seeds, control=control).values


RATIOS = {
    "reg_neural_de.fewer-evaluations": ("error", "evaluations"),
    "reg_neural_de.fewer-evaluations-stiffness": ("stiffness", "evaluations"),
    "reg_neural_de.prediction-time": ("error", "prediction seconds"),
    "reg_neural_de.training-time": ("error", "training seconds"),
}


@measures(*RATIOS, stacked=True)
def ratio(trial):
    """What a penalty leaves of the evaluations, of the wall time (least of seven) of a prediction, of the CPU time of training.

    Control: the penalty is detached.
    """
    arm, what = RATIOS[trial.claim.id]
    found = _run(trial, trial.control)
    ours, plain = found[arm][what], found["none"][what]
    return Effects(ours / plain, {"with penalty": ours.tolist(), "without": plain.tolist()})


@measures("reg_neural_de.accuracy-is-kept", stacked=True)
def accuracy(trial):
    """Accuracy lost on items held out, the worse of the two penalties. Control: training labels change places."""
    found = _run(trial, "shuffled" if trial.control else False)
    lost = {arm: found["none"]["accuracy"] - found[arm]["accuracy"] for arm in study.ARMS[1:]}
    return Effects(torch.stack(list(lost.values())).amax(0), {arm: each.tolist() for arm, each in lost.items()})


@measures("reg_neural_de.estimates-are-cheap", "reg_neural_de.derivatives-are-dear", stacked=True)
def cost(trial):
    """CPU time of a training step with the penalty on the error, or on the third derivative, over that without.

    Control: the other of the two.
    """
    arm = "error" if trial.claim.id.endswith("cheap") != trial.control else "derivative 3"
    found = [study.step_seconds(Setting.of(trial.budget), seed) for seed in trial.seeds]
    return Effects([one[arm] / one["none"] for one in found], {"seconds": found[0]})


def _replayed(f, y, steps):
    """Mean of E |h| and mean of S / 3.3066 over steps of given sizes, each from one call of the solver, and the tensors."""
    now, errors, stiff = 0.0, [], []
    for h in steps:
        found = dopri5(f, y, [now, now + h], 0.0, 1e9, first_step=h)
        errors.append(found.error[0] * 1e9 * h)
        stiff.append(found.stiffness[0] / rn.STABILITY)
        y, now = found.y[-1], now + h
    return torch.stack(errors).mean(), torch.stack(stiff).mean()


@measures("reg_neural_de.discrete-adjoint")
def adjoint(trial):
    """Distance of each penalty's derivatives along eight directions from central differences at its own steps.

    Control: the penalty is detached.
    """
    (f, y), tolerance, eps, worst = _field(trial.seeds[0], gain=2.0), 1e-4, 1e-4, []
    weights = list(f.parameters())
    start = torch.nn.utils.parameters_to_vector(weights).detach()
    draw = torch.Generator().manual_seed(trial.seeds[0])
    directions = torch.nn.functional.normalize(torch.randn(8, len(start), generator=draw, dtype=DOUBLE))
    for which, (name, scale) in enumerate({"error": 1 / tolerance, "stiffness": 1.0}.items()):
        solution = dopri5(f, y, [0.0, 1.0], 0.0, tolerance)
        found = torch.autograd.grad(rn.REGULARIZERS[name](solution), weights, allow_unused=True, materialize_grads=True)
        ours = directions @ torch.cat([g.flatten() for g in found]) * (not trial.control)
        ends = []
        for sign in (1, -1):
            for way in directions:
                torch.nn.utils.vector_to_parameters(start + sign * eps * way, weights)
                with torch.no_grad():
                    ends.append(_replayed(f, y, solution.steps.tolist())[which] * scale)
        torch.nn.utils.vector_to_parameters(start, weights)
        wanted = (torch.stack(ends[:8]) - torch.stack(ends[8:])) / (2 * eps)
        worst.append(float((ours - wanted).norm() / wanted.norm()))
    return Effects(worst)


@measures("reg_neural_de.one-argument")
def one_argument(trial):
    """Distance of states and evaluations with a penalty from those without, and of the penalty from the mean of E |h|.

    Control: the third total derivative, which joins the state and so the control of the steps.
    """
    f, y = _field(trial.seeds[0], gain=2.0)
    f.requires_grad_(False)
    plain = rn.NeuralODE(f)(y)
    if trial.control:
        other = rn.TaylorODE(f)(y)
        return Effects([float((other.y - plain.y).abs().max()), float(abs(other.evaluations - plain.evaluations))])
    found = []
    for arm, per_step in (("error", lambda s: s.error * s.steps), ("stiffness", lambda s: s.stiffness / rn.STABILITY)):
        flow = rn.NeuralODE(f, regularize=arm)(y)
        wanted = per_step(plain.solution)[rn.counted(plain.solution)].mean()
        found += [float((flow.y - plain.y).abs().max()), float(abs(flow.evaluations - plain.evaluations))]
        found.append(float((flow.penalty / wanted - 1).abs()))
    return Effects(found)


@measures("reg_neural_de.estimate-tracks-error", stacked=True)
def tracks(trial):
    """Spearman's correlation of E with the distance from a solution at 1e-12, over steps of random sizes.

    Control: every step has the estimate of another.
    """
    found = []
    for seed in trial.seeds:
        draw, estimates, errors = torch.Generator().manual_seed(seed), [], []
        for k in range(trial.of(20, 60, 200)):
            f, y = _field(1000 * seed + k, gain=2.0)
            h = 0.05 * 20 ** float(torch.rand((), generator=draw))
            with torch.no_grad():
                one = dopri5(f, y, [0.0, h], 0.0, 1e9, first_step=h)
                true = dopri5(f, y, [0.0, h], 1e-12, 1e-12).y[-1]
            estimates.append(float(rn.ErrorRegularizer()(one)) / h)
            errors.append(float((one.y[-1] - true).norm()))
        if trial.control:
            estimates = estimates[1:] + estimates[:1]
        ranks = torch.tensor([estimates, errors], dtype=DOUBLE).argsort(1).argsort(1).double()
        found.append(float(torch.corrcoef(ranks)[0, 1]))
    return Effects(found)


@measures("reg_neural_de.stiffness-finds-the-fast-rate")
def fast_rate(trial):
    """Distance of the largest S over the norm of a turned diag(-1, -30) from 3/4. Control: S from the ends of each step."""
    angle = torch.tensor(float(trial.seeds[0]) + 0.4, dtype=DOUBLE)
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    matrix = turn @ torch.diag(torch.tensor([-1.0, -30.0], dtype=DOUBLE)) @ turn.T
    y, f = turn.sum(1)[None], lambda t, y: y @ matrix
    found = dopri5(f, y, [0.0, 2.0], 1e-6, 1e-6)
    top = float(rn.StiffnessRegularizer("maximum")(found)) * rn.STABILITY / 30
    if trial.control:
        late = found.steps.cumsum(0)[found.steps.cumsum(0) > 1].tolist()
        ends = dopri5(f, y, [0.0, *late[:-1]], 1e-6, 1e-6).y[1:, 0]
        moved = ends.diff(dim=0)
        top = float(((moved @ matrix).norm(dim=1) / moved.norm(dim=1)).amin()) / 30
    return Effects(abs(top - 0.75))


def _control(trial):
    """Of rows on evaluations: the penalty is detached; of rows on quality: labels or values of training change places."""
    return trial.control and (True if trial.claim.control == "penalty detached" else "shuffled")


@measures("reg_neural_de.noise", "reg_neural_de.noise-accuracy", stacked=True)
def noise(trial):
    """Evaluations under noise over those without the penalty on the error, or the accuracy lost by it."""
    found = study.noisy(Setting.of(trial.budget), seeds=trial.seeds, control=_control(trial))
    if trial.claim.id.endswith("accuracy"):
        return Effects(found["accuracy, none"] - found["accuracy, error"])
    return Effects(found["evaluations, error"] / found["evaluations, none"], {k: v.tolist() for k, v in found.items()})


@measures("reg_neural_de.irregular-series", "reg_neural_de.irregular-series-error", stacked=True)
def irregular(trial):
    """Evaluations of a latent equation over those without the penalty on the error, or error at unseen times added by it."""
    setting, strength = Setting.of(trial.budget), study.tuned("series")
    pairs = [(study.latent(setting, k, strength, _control(trial)), study.latent(setting, k, 0.0)) for k in trial.seeds]
    if trial.claim.id.endswith("error"):
        return Effects([(a["error"] - b["error"]) / b["spread"] for a, b in pairs], {"without": [b for _, b in pairs]})
    return Effects([a["evaluations"] / b["evaluations"] for a, b in pairs], {"without": [b for _, b in pairs]})


@measures("reg_neural_de.spirals-lose", stacked=True)
def spirals(trial):
    """Accuracy lost on two spirals at the paper's λ, the smaller loss of the two penalties. Control: two moons."""
    setting, name = Setting.of(trial.budget), "moons" if trial.control else "spirals"
    lost, seen = [], {}
    for seed in trial.seeds:
        arms = {"none": 0.0, "error": 100.0, "stiffness": 0.1}
        seen = {arm: study.planar(setting, name, seed, arm, strength)[2:] for arm, strength in arms.items()}
        lost.append(min(seen["none"][1] - seen[arm][1] for arm in study.ARMS[1:]))
    return Effects(lost, {arm: {"evaluations": n, "accuracy": a} for arm, (n, a) in seen.items()})
