"""Measurements of the statements about hard constraints by a mixture of experts."""

from __future__ import annotations

import math

import torch

from lab.claims import Effects, measures
from lab.physics import pi_hc_moe as m
from lab.physics.studies import pi_hc_moe as study
from lab.physics.studies.pi_hc_moe import Setting


def _small(seed, blocks, rows="local", points=200, fields=6):
    """Untrained basis fields on a small grid of Burgers' equation, initial values, and the constraint with its blocks."""
    setting = Setting.of("smoke", fields=fields, width=8)
    where, basis, initial, _ = study.basis_of(setting, seed, points)
    split = m.expert_split(where.shape, (1, blocks), periodic=where.axes)
    return basis, initial, m.MoEConstraint(where, split, rows=rows, tolerance=1e-11)


@measures("pi_hc_moe.weights-of-scipy")
def weights(trial):
    """Largest distance of the weights of four blocks and of the whole from scipy's. Control: one iteration."""
    import numpy as np
    from scipy.optimize import least_squares

    found = []
    for blocks in (1, 4):
        basis, initial, moe = _small(trial.seeds[0], blocks)
        problem = moe.problem(basis, initial)
        ours = m.solve(problem, tolerance=1e-11, iterations=1 if trial.control else 100).weights
        for k, w in enumerate(ours):
            one = problem[k : k + 1]
            theirs = least_squares(
                lambda v, one=one: one.F(torch.from_numpy(v)[None])[0].numpy(), np.zeros(len(w)), method="lm", xtol=1e-15,
                jac=lambda v, one=one: one.jacobian(torch.from_numpy(v)[None])[0].numpy(), ftol=1e-15, gtol=1e-15,
            )  # fmt: skip
            found.append(float((w - torch.from_numpy(theirs.x)).abs().max()))
    return Effects(found)


@measures("pi_hc_moe.implicit-gradient")
def implicit(trial):
    """Relative error of the derivative of |u - target|^2 along smooth fields, by central differences.

    Control: J^T J in place of the Hessian.
    """
    hessian, found = "Gauss-Newton" if trial.control else "full", []
    for blocks in (1, 4):
        basis, initial, moe = _small(trial.seeds[0], blocks, rows="global")
        along = _small(trial.seeds[0] + 1, blocks)[0]
        target = torch.cos(moe.system.x) * (1 + moe.system.t[:, None])
        loss = lambda b, moe=moe, initial=initial, target=target: (  # noqa: E731
            (moe(b, initial, hessian=hessian).u - target).square().mean()
        )
        leaf = basis.clone().requires_grad_()
        loss(leaf).backward()
        h = 1e-4
        a, b, c, d = (float(loss(basis + k * h * along)) for k in (-2, -1, 1, 2))
        wanted = (a - 8 * b + 8 * c - d) / (12 * h)
        found.append(abs(float((leaf.grad * along).sum()) - wanted) / abs(wanted))
    return Effects(found)


@measures("pi_hc_moe.blocks-fit-better")
def blocks_fit(trial):
    """|F|^2 of a block at its own optimum, less that at the global weights, relative; and |J^T F| at the optimum.

    Control: weights of the next expert.
    """
    basis, initial, moe = _small(trial.seeds[0], 4)
    problem = moe.problem(basis, initial)
    _, _, whole = _small(trial.seeds[0], 1)
    common = m.solve(whole.problem(basis, initial), tolerance=1e-11).weights.expand(4, -1)
    own = m.solve(problem, tolerance=1e-11).weights
    own = own.roll(1, 0) if trial.control else own
    excess = (problem.cost(own) - problem.cost(common)) / problem.cost(common)
    return Effects([*excess.tolist(), *problem.model(own)[1].abs().amax(1).tolist()])


@measures("pi_hc_moe.experts-separate")
def separate(trial):
    """Gradient of one expert's weights at basis values that it does not see, relative to the largest, and the distance of the sum
    of the experts' gradients in the network from that of all. Control: one w for all experts.
    """
    setting, seed = Setting.of("smoke"), trial.seeds[0]
    basis, initial, moe = _small(seed, 4, points=400)
    leaf = basis.clone().requires_grad_()
    found = m.layer(moe.problem(leaf, initial), **moe.options)
    study.at_optimum(moe.problem(basis, initial), found.weights, 1e-9)
    w = found.weights.mean(0) if trial.control else found.weights[0]
    w.sum().backward()
    size, n = leaf.grad.abs().amax((0, 1, 3)), leaf.shape[2]
    far = size[n // 4 + 2 : n - 2].max() / size.max()  # the stencils reach two points across a border
    whole = study.own_gradient(setting, seed, range(4), coupled=trial.control)
    alone = sum(study.own_gradient(setting, seed, [e], coupled=trial.control) for e in range(4))
    return Effects([float(far), float((whole - alone).norm() / whole.norm())])


@measures("pi_hc_moe.two-processes")
def processes(trial):
    """Relative distance of the gradient of two processes from that of one. Control: the gradient of one of the two."""
    setting, seed = Setting.of("smoke"), trial.seeds[0]
    whole = study.own_gradient(setting, seed, range(4))
    found = study.own_gradient(setting, seed, (0, 1)) if trial.control else study.two_processes(setting, seed)
    return Effects(float((found - whole).norm() / whole.norm()), {"weights": len(whole)})


def _arms(trial, **changes):
    return study.run(Setting.of(trial.budget, **changes), seeds=trial.seeds).arms


def _ratio(trial, what, arm, against, **changes):
    """A number of an arm over that of another. Control: the other in place of the arm."""
    arms = _arms(trial, **changes)
    ours, theirs = getattr(arms[against if trial.control else arm], what), getattr(arms[against], what)
    mean = {name: float(getattr(one, what).mean()) for name, one in arms.items()}
    seen = {
        name: {"mean": mean[name], "CPU s": one.seconds, "unconverged": one.unconverged} for name, one in arms.items()
    }
    return Effects(ours / theirs, seen)


@measures("pi_hc_moe.residual-below-soft", stacked=True)
def residual(trial):
    """Root of the mean |F|^2 over that of the soft constraint. Control: the soft constraint."""
    return _ratio(trial, "residual", "hard", "soft")


@measures("pi_hc_moe.more-accurate-than-soft", stacked=True)
def accurate(trial):
    """Relative error over that of the soft constraint, which has twice the steps. Control: the soft constraint."""
    return _ratio(trial, "error", "hard", "soft")


@measures("pi_hc_moe.vorticity-more-accurate-than-soft", stacked=True)
def accurate_vorticity(trial):
    """The same with vorticity."""
    return _ratio(trial, "error", "hard", "soft", system="vorticity")


@measures("pi_hc_moe.more-accurate-as-published", stacked=True)
def published(trial):
    """Relative error of four blocks over that of one. Control: one block."""
    return _ratio(trial, "error", "published", "hard")


@measures("pi_hc_moe.more-accurate-with-overlap", stacked=True)
def overlapping(trial):
    """The same of blocks that overlap."""
    return _ratio(trial, "error", "overlap", "hard")


@measures("pi_hc_moe.more-accurate-diffusion-sorption", stacked=True)
def published_sorption(trial):
    """The same as published, with diffusion-sorption."""
    return _ratio(trial, "error", "published", "hard", system="diffusion-sorption")


@measures("pi_hc_moe.more-accurate-vorticity", stacked=True)
def published_vorticity(trial):
    """The same as published, with vorticity."""
    return _ratio(trial, "error", "published", "hard", system="vorticity")


@measures("pi_hc_moe.any-network", stacked=True)
def any_network(trial):
    """The worse residual ratio of two networks. Control: the soft constraint."""
    found = [_ratio(trial, "residual", "hard", "soft")]
    setting = Setting.of(trial.budget, network="CNN")
    soft, hard = (
        study.judged(setting, trial.seeds, arm).residual for arm in ("soft", "soft" if trial.control else "hard")
    )
    both = torch.stack([torch.as_tensor(found[0].values), hard / soft])
    return Effects(both.amax(0), {"MLP": both[0].tolist(), "CNN": both[1].tolist()})


@measures("pi_hc_moe.converges-sooner", stacked=True)
def sooner(trial):
    """Steps until the running mean of the loss is below the soft constraint's final one, over all its steps; 1 if never.

    Control: the soft constraint.
    """
    losses = study.run(Setting.of(trial.budget), seeds=trial.seeds).losses
    tail = max(1, len(losses["soft"]) // 10)
    final = losses["soft"][-tail:].mean(0)
    ours = losses["soft" if trial.control else "hard"]
    smooth = torch.stack([ours[max(0, k - tail + 1) : k + 1].mean(0) for k in range(len(ours))])
    below = smooth <= final
    first = torch.where(below.any(0), below.double().argmax(0) + 1, len(losses["soft"]))
    return Effects(first.double() / len(losses["soft"]))


@measures("pi_hc_moe.fewer-instances", stacked=True)
def fewer(trial):
    """Error with a quarter of the instances over the soft constraint's with four times as many. Control: the soft one with few."""
    found = study.efficiency(Setting.of(trial.budget), seeds=trial.seeds)
    few, _, many = sorted({n for _, n in found})
    return Effects(found["soft" if trial.control else "hard", few] / found["soft", many],
                   {f"{arm}, {n} instances": float(error.mean()) for (arm, n), error in found.items()})  # fmt: skip


@measures("pi_hc_moe.steadier-training", stacked=True)
def steadier(trial):
    """Variance of the steps of log |F|^2 in the second half of training, over that of one block. Control: one block."""
    losses = study.run(Setting.of(trial.budget), seeds=trial.seeds).losses
    late = {
        arm: losses[arm][len(losses[arm]) // 2 :].log().diff(dim=0).square().mean(0) for arm in ("published", "hard")
    }
    return Effects(late["hard" if trial.control else "published"] / late["hard"])


def _costs(trial, what):
    setting = Setting.of(trial.budget)
    found = [study.costs(setting, seed, setting.points) for seed in trial.seeds]
    return Effects([one[f"{what} {1 if trial.control else 4}"] / one[f"{what} 1"] for one in found], found[0])


@measures("pi_hc_moe.solve-time")
def solve_time(trial):
    """Wall time of four experts on two threads over that of one global solve. Control: one block."""
    return _costs(trial, "solve")


@measures("pi_hc_moe.inference-time")
def inference_time(trial):
    """The same of network, derivatives and solve."""
    return _costs(trial, "inference")


@measures("pi_hc_moe.training-time")
def training_time(trial):
    """The same with the way back."""
    return _costs(trial, "training")


@measures("pi_hc_moe.memory")
def memory(trial):
    """Peak bytes of the largest of four experts over those of one global solve. Control: one block."""
    return _costs(trial, "memory")


@measures("pi_hc_moe.memory-grows")
def memory_grows(trial):
    """Binary logarithm of the peak bytes of one global solve at a quarter, half and all of the points.

    Control: the largest of one, two and four experts.
    """
    setting, seed = Setting.of(trial.budget), trial.seeds[0]
    found = []
    for times in (1, 2, 4):
        where, basis, initial, _ = study.basis_of(setting, seed, times * setting.points // 4)
        made = study.parts(where, basis, initial, times if trial.control else 1)
        for one in made:
            study.at_optimum(one, m.solve(one, tolerance=setting.tolerance).weights, setting.tolerance)
        found.append(
            math.log2(max(study.peak(lambda one=one: m.solve(one, tolerance=setting.tolerance)) for one in made))
        )
    return Effects(found)


@measures("pi_hc_moe.time-grows")
def time_grows(trial):
    """Exponent of the wall time of one global solve from a quarter of the points to all. Control: the slowest of four experts."""
    setting, found = Setting.of(trial.budget), []
    for seed in trial.seeds:
        few, many = (study.costs(setting, seed, n, rounds=2) for n in (setting.points // 4, setting.points))
        found.append(math.log(many["slowest expert" if trial.control else "solve 1"] / few["solve 1"], 4))
    return Effects(found)
