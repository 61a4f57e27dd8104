"""Measurements of the statements about self-tuning networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lab.claims import Effects, measures
from lab.search import self_tuning_networks as stn
from lab.search.self_tuning_networks import Hyperparameter
from lab.search.studies import self_tuning_networks as study


@measures("self_tuning_networks.gates-are-weights")
def gates(trial):
    """Largest difference of gated layers from plain ones with the implied weights, a dense and a convolutional one.

    Control: the gate input is negated in the implied weights.
    """
    generator = torch.Generator().manual_seed(trial.seeds[0])
    x, v = (
        torch.randn(6, 5, generator=generator, dtype=torch.float64),
        torch.randn(3, generator=generator, dtype=torch.float64),
    )
    layer = stn.HyperLinear(5, 4, 3, seed=generator).double()
    turned = -v if trial.control else v
    plain = F.linear(x, *layer.implied(turned))
    image = torch.randn(2, 2, 6, 6, generator=generator, dtype=torch.float64)
    convolution = stn.HyperConv2d(2, 3, 3, 3, seed=generator).double()
    weight, bias = convolution.dense.implied(turned)
    there = F.conv2d(image, weight.reshape(3, 2, 3, 3), bias)
    found = [layer(x, v.expand(6, 3)) - plain, convolution(image, v.expand(2, 3)) - there]
    return Effects([float(each.detach().abs().max()) for each in found] + [float(plain.abs().max() == 0)])


@measures("self_tuning_networks.linear-response-is-gated")
def linear(trial):
    """Largest difference of the gated response from the solution of the penalized problem, over 21 penalties.

    Control: gates that are linear in the penalty.
    """
    generator = torch.Generator().manual_seed(trial.seeds[0])
    x, y = (
        torch.randn(50, 6, generator=generator, dtype=torch.float64),
        torch.randn(50, generator=generator, dtype=torch.float64),
    )
    errors = []
    for penalty in torch.linspace(-5, 5, 21).tolist():
        basis, unpenalized, gate = stn.linear_response(x, y, penalty)
        if trial.control:
            gate = 0.5 + (torch.linalg.eigvalsh(x.T @ x / 50).log() - penalty) / 4
        penalized = x.T @ x / 50 + torch.tensor(penalty, dtype=torch.float64).exp() * torch.eye(6, dtype=torch.float64)
        errors.append(float((basis @ (gate * unpenalized) - torch.linalg.solve(penalized, x.T @ y / 50)).abs().max()))
    return Effects(errors)


@measures("self_tuning_networks.compact")
def compact(trial):
    """Weights of the gated network over those of the plain one, 64-128-128-10 and four hyperparameters. Control: a layer's
    weights for each hyperparameter by itself."""
    sizes, h = (64, 128, 128, 10), 4
    gated = sum(value.numel() for value in stn.HyperMLP(sizes, h).parameters())
    plain = sum((a + 1) * b for a, b in zip(sizes[:-1], sizes[1:]))
    ratio = (plain * (1 + h) if trial.control else gated) / plain
    wrong = _far_from_plain(stn.HyperMLP(sizes, h), torch.ones(2, 64), h)
    return Effects(ratio + 1e6 * wrong, {"plain": plain, "gated": gated})


def _far_from_plain(network, x, h):
    """Largest difference of a gated network without gate input from the plain network of its first weights."""
    y = x
    for number, layer in enumerate(network.layers):
        y = F.linear(torch.relu(y) if number else y, layer.weight, layer.bias)
    return float((network(x, torch.zeros(len(x), h)) - y).detach().abs().max())


@measures("self_tuning_networks.no-training-gradient")
def no_gradient(trial):
    """Size of the training loss's gradient with respect to u, 1 where the validation loss's is zero, and how far the network
    without gate input is from a plain one, for an integer and a dropout. Control: the perturbed values are not detached."""
    one = (Hyperparameter("shift", 0.0, 5.0, 1.2), Hyperparameter("dropout", start=0.3))
    network, u = stn.HyperMLP((6, 8, 3), 2), torch.zeros(1, 2, requires_grad=True)
    generator = [torch.Generator().manual_seed(trial.seeds[0])]
    x, y = torch.randn(1, 20, 6, generator=generator[0]), torch.arange(20) % 3
    v = u[:, None].expand(-1, 20, -1) + 0.5 * torch.randn(1, 20, 2, generator=generator[0])
    v = v if trial.control else v.detach()
    inputs, masks = stn.regularized(x, v, one, (6, 8), generator)
    training = F.cross_entropy(network(inputs[0], v[0], [mask[0] for mask in masks]), y)
    (own,) = torch.autograd.grad(training, u, allow_unused=True) if training.requires_grad else (None,)
    held = F.cross_entropy(network(x[0], u.expand(20, 2)), y)
    (through,) = torch.autograd.grad(held, u)
    wrong = round(_far_from_plain(network, x[0], 2), 5)
    return Effects([0.0 if own is None else float(own.abs().max()), float(through.abs().max() == 0), wrong])


@measures("self_tuning_networks.ridge-near-the-grid")
def near(trial):
    """Validation loss over the best of 161 exact solutions, less one. Control: the penalty stays at its start."""
    found = [study.ridge(seed, steps=trial.of(300, 3000, 10_000), gradient=not trial.control) for seed in trial.seeds]
    return Effects([one["excess"] for one in found])


@measures("self_tuning_networks.ridge-slope")
def slope(trial):
    """Distance of the learned slope of the best response from the exact one, over its size. Control: no slope."""
    found = [study.ridge(seed, steps=trial.of(300, 3000, 10_000)) for seed in trial.seeds]
    return Effects([one["zero slope" if trial.control else "slope error"] for one in found])


@measures("self_tuning_networks.step-costs-little")
def cost(trial):
    """Processor time of a pass of the gated network over that of the plain one. Control: the same with an epoch of the seeds' own
    double pass: the ratio twice."""
    ratios = [study.step_ratio(seed, trial.of(1, 9, 25)) for seed in trial.seeds]
    return Effects([2 * ratio if trial.control else ratio for ratio in ratios])


def _run(trial):
    return study.run(
        study.Setting.of(trial.budget), seeds=trial.seeds, data=trial.data, control="labels" if trial.control else False
    )


def _shown(result):
    return {"table": result.to_frame().round(4).to_dict("records")}


@measures("self_tuning_networks.better-than-start", stacked=True)
def better(trial):
    """Relative fall of the test loss against the start values kept fixed. Control: validation labels shuffled."""
    result = _run(trial)
    return Effects(result.gain("start"), _shown(result))


@measures("self_tuning_networks.better-than-random", stacked=True)
def random_search(trial):
    """Relative fall of the test loss against random search of equal steps in all. Control: validation labels shuffled."""
    result = _run(trial)
    return Effects(result.gain("random search"), _shown(result))


@measures("self_tuning_networks.better-than-bayesian", stacked=True)
def bayesian(trial):
    """Relative fall of the test loss against Bayesian optimization of equal steps in all. Control: validation labels shuffled."""
    result = _run(trial)
    return Effects(result.gain("Bayesian optimization"), _shown(result))


@measures("self_tuning_networks.schedule-beats-last-value", stacked=True)
def schedule(trial):
    """Relative fall of the test loss, schedule replayed against last value fixed. Control: validation labels shuffled."""
    result = _run(trial)
    return Effects(result.gain("last value", "schedule replayed"), _shown(result))


@measures("self_tuning_networks.integers-are-tuned", stacked=True)
def integers(trial):
    """Relative fall of the test loss of shifted digits with the range of shifts tuned. Control: nothing is tuned."""
    found = study.run_shift(study.Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(1 - found["tuned"] / found["start"], {"mean range": float(found["range"].mean())})
