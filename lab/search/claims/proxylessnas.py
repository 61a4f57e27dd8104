"""Measurements of the statements about direct search with one path a step."""

from __future__ import annotations

from itertools import product

import torch

from lab.claims import Effects, measures
from lab.search import proxylessnas
from lab.search.bilevel import cross_entropies
from lab.search.latency import LatencyTable
from lab.search.studies import proxylessnas as study
from lab.search.supernet import Supernet, one_hot


@measures("proxylessnas.gate-gradient")
def gate(trial):
    """Largest difference of the gate gradient from autograd through the softmax. Control: gates without normalization, p_j s_j."""
    generator = torch.Generator().manual_seed(trial.seeds[0])
    alpha = torch.randn(20, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    slopes = torch.randn(20, 5, generator=generator, dtype=torch.float64)
    p = torch.softmax(alpha, 1)
    (expected,) = torch.autograd.grad((p * slopes).sum(), alpha)
    found = (p * slopes) if trial.control else proxylessnas.gate_gradient(p.detach(), slopes)
    return Effects(float((found - expected).detach().abs().max()))


@measures("proxylessnas.pair-leaves-the-rest")
def pair(trial):
    """Largest change of probabilities off the pair, and 1 where the pair did not move. Control: no common offset."""
    generator = torch.Generator().manual_seed(trial.seeds[0])
    alpha = torch.randn(20, 6, generator=generator, dtype=torch.float64)
    places = torch.stack([torch.randperm(6, generator=generator)[:2] for _ in range(20)])
    moved = alpha.gather(1, places) + torch.randn(20, 2, generator=generator, dtype=torch.float64)
    after = alpha.scatter(1, places, moved) if trial.control else proxylessnas.rescaled(alpha, places, moved)
    change = (torch.softmax(after, 1) - torch.softmax(alpha, 1)).abs()
    inside = change.gather(1, places).max()
    return Effects([float(change.scatter(1, places, 0.0).max()), float(inside.abs() == 0)])


@measures("proxylessnas.one-operation-a-step")
def one(trial):
    """How many operations of an edge more or fewer than one get a gradient from a weight step. Control: the mixture."""
    space = proxylessnas.chain(2, 3)
    supernet = Supernet(space)
    parameters = {name: value.requires_grad_() for name, value in supernet.initialize([trial.seeds[0]]).items()}
    x, y = study.spiral(60)
    choice = 1 + torch.randint(3, (1, space.places), generator=torch.Generator().manual_seed(trial.seeds[0]))
    if trial.control:
        loss = cross_entropies(supernet(parameters, torch.full((1, space.places, 4), 0.25), x), y)
    else:
        loss = proxylessnas.step_path(supernet, parameters, choice, x, y)
    slopes = torch.autograd.grad(loss.sum(), list(parameters.values()), allow_unused=True)
    moved = {name for name, slope in zip(parameters, slopes) if slope is not None and bool(slope.any())}
    active = [{name.split(".")[2] for name in moved if name.startswith(f"{cell}.0.")} for cell in range(space.cells)]
    reference = cross_entropies(supernet.path({n: v.detach() for n, v in parameters.items()}, choice, x), y)
    wrong = 0.0 if trial.control else float((loss - reference).detach().abs().max())
    return Effects([*(abs(len(names) - 1) for names in active), wrong])


@measures("proxylessnas.pair-needs-two-outputs")
def two(trial):
    """Largest difference of the pair's gate gradients from autograd with all candidates. Control: the pair exchanged."""
    space = proxylessnas.chain(2, 3)
    supernet = Supernet(space)
    parameters = supernet.initialize([0, 1], torch.float64)
    x, y = study.spiral(60)
    active = space.random(2, trial.seeds[0])
    other = (active + 1) % len(space.names)
    gates = one_hot(active, space, torch.float64).requires_grad_()
    (whole,) = torch.autograd.grad(cross_entropies(supernet(parameters, gates, x.double()), y).sum(), gates)
    found = proxylessnas.pair_slopes(supernet, parameters, active, other, x.double(), y)
    expected = torch.stack([whole.gather(2, each[..., None])[..., 0] for each in (active, other)], 2)
    return Effects(float(((found.flip(2) if trial.control else found) - expected).abs().max()))


@measures("proxylessnas.memory-of-one-path")
def memory(trial):
    """Bytes kept for the backward pass with 12 candidates over those with 3. Control: the mixture of all."""
    found = [study.saved_bytes(count, mixture=trial.control, seed=trial.seeds[0]) for count in (3, 12)]
    space = proxylessnas.chain(2, 3)
    x, y = study.spiral(30)
    supernet = Supernet(space)
    parameters, choice = supernet.initialize([0]), space.random(1, 0)
    wrong = proxylessnas.step_path(supernet, parameters, choice, x, y) - cross_entropies(
        supernet.path(parameters, choice, x), y
    )
    return Effects(
        found[1] / found[0] + 1e6 * float(wrong.abs().max()), {"3 candidates": found[0], "12 candidates": found[1]}
    )


@measures("proxylessnas.latency-is-an-expectation")
def latency(trial):
    """Largest difference of the expected latency from the mean over all networks. Control: the latency of the likeliest network."""
    space = proxylessnas.chain(2, 3, blocks=3)
    generator = torch.Generator().manual_seed(trial.seeds[0])
    p = torch.softmax(torch.randn(space.places, 4, generator=generator, dtype=torch.float64), 1)
    table = study.SERIAL
    mean = 0.0
    for choice in product(range(4), repeat=space.places):
        weight = torch.stack([p[place, one] for place, one in enumerate(choice)]).prod()
        mean += float(weight) * sum(list(table.costs.values())[one] for one in choice)
    found = table.of(p.argmax(1), space) if trial.control else table.expected(p, space)
    return Effects(abs(float(found) - mean))


def _run(trial):
    return study.run(study.Setting.of(trial.budget), seeds=trial.seeds, data=trial.data, control=trial.control)


@measures("proxylessnas.front", stacked=True)
def front(trial):
    """Minus the expected latency at the five trade-offs. Control: the latency term is off."""
    result = _run(trial)
    return Effects(-result.expected, {"table": result.to_frame().round(3).to_dict("records")})


@measures("proxylessnas.half-the-latency", stacked=True)
def half(trial):
    """Accuracy of the fastest network within half the latency of trade-off 0, the best of them, less that of trade-off 0.

    Control: the latency term is off.
    """
    result = _run(trial)
    fast = result.latency <= result.latency[:, :1] / 2
    accuracy = torch.where(fast, result.accuracy, torch.zeros(()).double())[:, 1:].amax(1)
    return Effects(accuracy - result.accuracy[:, 0], {"table": result.to_frame().round(3).to_dict("records")})


@measures("proxylessnas.specialized", stacked=True)
def specialized(trial):
    """Mean over two devices of the relative time saved by the network that was searched for the device. Control: both are searched
    for the serial device."""
    found = study.run_devices(study.Setting.of(trial.budget), seeds=trial.seeds, data=trial.data, control=trial.control)
    saved = []
    for own, other in (("serial", "parallel"), ("parallel", "serial")):
        mine, theirs = (found[f"{name} network on the {own} device"] for name in (own, other))
        saved.append(1 - mine / theirs)
    return Effects(torch.stack(saved).mean(0), {name: value.double().mean().item() for name, value in found.items()})


@measures("proxylessnas.direct-beats-proxies", stacked=True)
def direct(trial):
    """Accuracy of the direct search less the mean of three proxies, on the target. Control: a network by lot for the direct one."""
    found = study.run_proxies(study.Setting.of(trial.budget), seeds=trial.seeds, data=trial.data, control=trial.control)
    others = torch.stack([values for name, values in found.items() if name != "direct"]).mean(0)
    return Effects(found["direct"] - others, {name: float(values.mean()) for name, values in found.items()})


@measures("proxylessnas.step-costs-a-training-step")
def cost(trial):
    """Processor time of a weight step over that of training one fixed network. Control: the mixture of all candidates."""
    rounds = trial.of(3, 25, 51)
    return Effects([study.step_ratio(mixture=trial.control, rounds=rounds, seed=seed) for seed in trial.seeds])


@measures("proxylessnas.table", stacked=True)
def table(trial):
    """Regret of random search of equal cost less that of the search, over 512 networks. Control: choices by lot."""
    found = study.run_table(study.Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(
        found["regret of random search"] - found["regret"], {name: float(v.mean()) for name, v in found.items()}
    )


@measures("proxylessnas.measured-latency")
def measured(trial):
    """Median measured time of the widest block less that of skip, over the latter. Control: the skip connection twice."""
    effects = []
    for _ in trial.seeds:
        costs = LatencyTable.measure(proxylessnas.chain(2, 3), batch=256, repeats=trial.of(3, 31, 101)).costs
        effects.append((costs["skip" if trial.control else "mlp64"] - costs["skip"]) / costs["skip"])
    return Effects(effects)
