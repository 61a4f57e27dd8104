"""Measurements of the statements about the deep conjugate direction method."""

from __future__ import annotations

import torch

from lab.claims import Effects, measures
from lab.physics import dcdm
from lab.physics.elliptic import Grid, conjugate_gradients
from lab.physics.studies import dcdm as study
from lab.physics.studies.dcdm import Setting


def _wild(seed, n):
    """A map of residuals to directions that knows nothing of A: nonlinear, not symmetric."""
    draw = torch.Generator().manual_seed(seed)
    weight = 0.6 + torch.rand(n, n, generator=draw, dtype=torch.float64)
    return lambda r: weight * r + 0.3 * torch.roll(torch.tanh(r), 1, -1)


@measures("dcdm.error-falls")
def falls(trial):
    """Largest share of the A-norm of the error that an iteration leaves, for a map that knows nothing of A.

    Control: steps of fixed length along the same directions.
    """
    n = 16
    A = Grid((n, n), obstacle=study.obstacle(n, trial.seeds[0]))
    b, f = study.sources(n, trial.seeds[:1]), _wild(trial.seeds[0], n)
    true = torch.linalg.solve(torch.from_numpy(A.matrix().toarray()), A.project(b).flatten()).reshape(n, n)
    xs = [torch.zeros_like(b)]
    if trial.control:
        for _ in range(15):
            r = A.project(b - A(xs[-1]))
            xs.append(xs[-1] + r.norm() * A.project(f(r / r.norm())))
    else:
        xs += [dcdm.solve(A, b, f, tolerance=1e-12, iterations=k).x for k in range(1, 13)]
    errors = [float(((x - true) * A(x - true)).sum().sqrt()) for x in xs]
    return Effects(max(b / a for a, b in zip(errors, errors[1:])), {"errors": errors})


@measures("dcdm.contains-conjugate-gradients")
def contains(trial):
    """Distance of the solution by f = I from that of conjugate gradients after as many iterations, and of that by f = A^-1 after
    one iteration from the solution. Control: no conjugation.
    """
    n = 12
    A = Grid((n, n), coefficient=1 + torch.rand(n, n, generator=torch.Generator().manual_seed(trial.seeds[0])))
    b = study.sources(n, trial.seeds[:1])
    inverse = torch.linalg.inv(torch.from_numpy(A.matrix().toarray()))
    true = (inverse @ b.flatten()).reshape(n, n)
    wanted = conjugate_gradients(A, b[0], 1e-12, iterations=20).x
    ours = dcdm.solve(A, b, lambda r: r, tolerance=1e-12, iterations=20, conjugations=0 if trial.control else 2).x[0]
    one = dcdm.solve(
        A, b, lambda r: (inverse @ r.reshape(-1, n * n).T).T.reshape(r.shape), tolerance=1e-12, iterations=1
    ).x[0]
    return Effects([float((ours - wanted).norm() / wanted.norm()), float((one - true).norm() / true.norm())])


@measures("dcdm.factor-is-free")
def free_factor(trial):
    """|L(c f) - L(f)| for factors c from -1000 to 1000, and the distance of L from one minus the squared cosine of b and A f(b).

    Control: the factor in the loss is fixed at one.
    """
    n = 16
    A, net = Grid((n, n)), dcdm.DirectionNet(2, 4, 3, seeds=(trial.seeds[0],)).double().requires_grad_(False)
    b = study.sources(n, trial.seeds[:1])[:, None]
    image = A(net(b))
    wanted = 1 - (b * image).sum() ** 2 / (b.square().sum() * image.square().sum())

    def loss(c):
        if trial.control:
            return (b - c * image).square().sum() / b.square().sum()
        return dcdm.loss(A, lambda r: c * net(r), b).squeeze()

    return Effects([float((loss(c) - wanted).abs()) for c in (-1000.0, -0.01, 1.0, 1000.0)])


def _run(trial):
    return study.run(Setting.of(trial.budget), seeds=trial.seeds)


def _ratio(trial, case, arm="symmetric"):
    """Iterations over those of conjugate gradients. Control: conjugate gradients over themselves."""
    found = _run(trial).iterations
    ours, plain = found["CG" if trial.control else arm, case].double(), found["CG", case].double()
    return Effects(ours / plain, {"iterations": ours.tolist(), "conjugate gradients": plain.tolist()})


@measures("dcdm.fewer-iterations", stacked=True)
def fewer(trial):
    """Iterations over those of conjugate gradients at twice the training size. Control: conjugate gradients themselves."""
    return _ratio(trial, f"{2 * Setting.of(trial.budget).n}")


@measures("dcdm.obstacles", stacked=True)
def obstacles(trial):
    """The same with obstacles that training never saw, at four times the training size. Control as there."""
    return _ratio(trial, f"{4 * Setting.of(trial.budget).n} obstacle")


@measures("dcdm.size-independent", stacked=True)
def size_independent(trial):
    """Iterations at four times the training size over those at the training size. Control: conjugate gradients."""
    found, n, most = _run(trial).iterations, Setting.of(trial.budget).n, Setting.of(trial.budget).most
    small, large = (found["CG" if trial.control else "symmetric", f"{k * n}"].double() for k in (1, 4))
    ratio = torch.where((small == most) | (large == most), float(most), large / small)
    return Effects(ratio, {"small": small.tolist(), "large": large.tolist()})


@measures("dcdm.transpose-repairs", stacked=True)
def transpose(trial):
    """Iterations of f + f^T over those of f at twice the training size. Control: the two exchanged."""
    found, case = _run(trial).iterations, f"{2 * Setting.of(trial.budget).n}"
    ratio = found["symmetric", case] / found["plain", case]
    details = {arm: found[arm, case].tolist() for arm in ("symmetric", "plain")}
    most = Setting.of(trial.budget).most
    stuck = found["symmetric", case] == most
    return Effects(torch.where(stuck, float(most), 1 / ratio if trial.control else ratio), details)


@measures("dcdm.any-tolerance", stacked=True)
def any_tolerance(trial):
    """|b - A x| / |b| at twice the training size, asked for 1e-10. Control: one application of the network, best scaled."""
    setting = Setting.of(trial.budget)
    net, n = study.trained(setting, trial.seeds)[0], 2 * setting.n
    A, b = Grid((n, n)), study.sources(n, trial.seeds)
    x = dcdm.solve(A, b[None], net, tolerance=1e-10, iterations=1 if trial.control else setting.most).x[0]
    matrix = A.matrix()
    left = [(torch.from_numpy(matrix @ one.flatten().numpy()) - c.flatten()).norm() / c.norm() for one, c in zip(x, b)]
    return Effects(torch.stack(left))


@measures("dcdm.other-systems", stacked=True)
def other_systems(trial):
    """Iterations over those of conjugate gradients, the worst of three kinds of systems. Control: f = I."""
    found = study.systems(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    ratios = {name: found[name] / found[f"{name} CG"] for name in found if not name.endswith("CG")}
    return Effects(torch.stack(list(ratios.values())).amax(0), {name: each.tolist() for name, each in ratios.items()})


@measures("dcdm.smoke", stacked=True)
def smoke(trial):
    """Mean iterations of the pressure solves over those of conjugate gradients. Control: f = I."""
    found = study.plumes(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(found["iterations"] / found["CG"], {"iterations": found["iterations"].tolist()})


@measures("dcdm.smoke-without-divergence", stacked=True)
def divergence(trial):
    """Largest divergence after a pressure solve over the largest before. Control: one iteration with the network."""
    control = "one step" if trial.control else False
    return Effects(study.plumes(Setting.of(trial.budget), seeds=trial.seeds, control=control)["divergence"])


@measures("dcdm.large", stacked=True)
def large(trial):
    """Iterations over those of conjugate gradients on n x n cells; n is 1024 at full. Control: f = I."""
    setting, n = Setting.of(trial.budget), trial.of(48, 256, 1024)
    ratios = []
    for k, seed in enumerate(trial.seeds):
        f, b = study.trained(setting, trial.seeds)[0], study.sources(n, (seed,))
        found = conjugate_gradients(Grid((n, n)), b[0], setting.tolerance).iterations
        ours = found
        if not trial.control:
            ours = int(study.counted(Grid((n, n)), b.expand(len(trial.seeds), n, n), f, setting)[k])
        ratios.append(ours / found)
    return Effects(ratios, {"unknowns": n * n})


def _time(trial, other):
    setting, n = Setting.of(trial.budget), trial.of(32, 128, 512)
    net = study.trained(setting, trial.seeds)[0]
    ratios, seen = [], {}
    for seed in trial.seeds:
        f, models = (torch.nn.Identity(), 1) if trial.control else (net, net.models)
        seen = study.timed(setting, f, models, n, seed)
        ratios.append(seen["DCDM"] / seen[other])
    return Effects(ratios, {"cells": n * n, **seen})


@measures("dcdm.faster-than-multigrid", stacked=True)
def faster_than_multigrid(trial):
    """CPU time over that of conjugate gradients with algebraic multigrid, set-up included. Control: f = I."""
    return _time(trial, "AMG-CG")


@measures("dcdm.faster-than-incomplete-cholesky", stacked=True)
def faster_than_cholesky(trial):
    """CPU time over that of conjugate gradients with incomplete Cholesky, set-up included. Control: f = I."""
    return _time(trial, "IC(0)-CG")
