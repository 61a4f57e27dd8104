"""Measurements of the statements about refined regret in adversarial processes with linear function approximation."""

from __future__ import annotations

import torch

from lab.claims import Effects, measures
from lab.online.processes import linear_process
from lab.online.refined_regret_linear_mdp import (
    dilated_bonus,
    estimates,
    geometric_resampling,
    inverse_covariance,
    learn,
    log_barrier,
    stability,
)
from lab.online.studies import refined_regret_linear_mdp as study


def _run(trial, control: bool | str = False, **changes):
    control = control if trial.control else False
    setting = study.Setting.of(trial.budget, **changes)
    return study.run(setting, seeds=trial.seeds, data=trial.data, control=control)


def _shown(result):
    return {arm: [round(float(v), 1) for v in values.mean(1)] for arm, values in result.regret.items()}


@measures("refined_regret_linear_mdp.stability-for-any-loss")
def lemma(trial):
    """Stability over eta sum p l^2, 4,000 random steps: 2 to 20 actions, eta from 1e-3 to 10, losses down to -1e3. Control:
    eta sum p^2 l^2, the form of the usual analysis, in the denominator."""
    generator = torch.Generator().manual_seed(trial.seeds[0])
    worst, number = 0.0, 400
    for actions in (2, 3, 4, 5, 7, 10, 13, 16, 18, 20):
        normal = torch.randn(2, number, actions, generator=generator, dtype=torch.float64)
        eta, size = 10 ** (torch.rand(2, number, 1, generator=generator, dtype=torch.float64) * 4 - 3)
        total = 30 * normal[0] / eta
        step = (normal[1] - 1) * 250 * size / 10
        cost, refined, usual = stability(total, step, eta)
        p = log_barrier(total, eta)
        if not torch.allclose(p.sum(-1), torch.ones_like(p[:, 0])):
            raise ArithmeticError("the log-barrier's weights do not sum to 1")
        worst = max(worst, float((cost / (usual if trial.control else refined)).max()))
    return Effects(worst, {"steps": 10 * number})


def _exact(trial, actions=30, d=5):
    """All estimates of a random layer, for every pair that could be visited: Q^, Q~ (visited, pairs), probabilities, gammas."""
    generator = torch.Generator().manual_seed(trial.seeds[0])
    phi = torch.randn(3, actions, d, generator=generator, dtype=torch.float64)
    phi = phi / phi.norm(dim=-1, keepdim=True)
    phi[..., 0] = phi[..., 0].abs()
    q = torch.softmax(3 * torch.randn(3, actions, generator=generator, dtype=torch.float64), -1)
    gamma = torch.tensor([1e-2, 1e-3, 1e-4], dtype=torch.float64)[:, None, None]
    inverse = inverse_covariance(phi, q, gamma)
    togo = 3 * torch.rand(3, actions, generator=generator, dtype=torch.float64)
    one = lambda v: v[:, None].expand(-1, actions, *v.shape[1:])  # noqa: E731
    plain, better = estimates(one(phi), one(inverse), one(q), phi, togo, 3)
    gram = (phi * q[..., None]).mT @ phi + gamma * torch.eye(d, dtype=torch.float64)
    wanted = (phi @ torch.linalg.solve(gram, phi.mT)).mT * togo[..., None]
    if not torch.allclose(plain, wanted, rtol=1e-6) or bool((inverse.diagonal(dim1=-2, dim2=-1) <= 0).any()):
        raise ArithmeticError("the plain estimates or the inverse differ from their formulas")
    return plain, better, q, gamma


@measures("refined_regret_linear_mdp.estimate-keeps-its-mean")
def mean(trial):
    """|E Q~ - E Q^| over |E Q^|, expectations summed over all visits. Control: plain estimates, halved
    where negative."""
    plain, better, q, _ = _exact(trial)
    other = torch.where(plain > 0, plain, 0.5 * plain) if trial.control else better
    gap = (q[..., None] * (other - plain)).sum(1).abs().max()
    return Effects(float(gap / (q[..., None] * better).sum(1).abs().max()))


@measures("refined_regret_linear_mdp.estimate-has-a-floor")
def floor(trial):
    """The least estimate times sqrt(gamma) / H. Control: the plain estimate."""
    plain, better, _, gamma = _exact(trial)
    found = (plain if trial.control else better) * gamma.sqrt() / 3
    return Effects(float(found.min()), {"plain": float(plain.min()), "reduced": float(better.min())})


@measures("refined_regret_linear_mdp.dilated-bonus-stays-bounded")
def dilation(trial):
    """Root value of the dilated bonus over that of the plain one, 200 random processes of 6 layers. Control: dilation 1 + 1 = 2."""
    world = linear_process([4], seeds=range(200), layers=6)
    generator = torch.Generator().manual_seed(trial.seeds[0])
    shape = world.features.shape[:4]
    plain = torch.rand(shape, generator=generator, dtype=torch.float64)
    policy = torch.softmax(torch.randn(shape, generator=generator, dtype=torch.float64), -1)
    root = lambda factor: (policy[:, 0] * dilated_bonus(plain, policy, world.transition, factor)[:, 0]).sum((1, 2))  # noqa: E731
    if not torch.equal(dilated_bonus(plain, policy, world.transition, 1.0)[:, -1], plain[:, -1]):
        raise ArithmeticError("the bonus of the last layer is not the plain one")
    ratio = root(2.0 if trial.control else 1 + 1 / 6) / root(1.0)
    return Effects(float(ratio.max()))


def _slope(trial, arm, world="process"):
    result = _run(trial, "shuffled", world=world)
    return _exponent(result, arm)


def _exponent(result, arm):
    if bool((result.regret[arm][-1] <= 0).all()):
        raise ArithmeticError("every run pays less than the best fixed policy: its regret has no exponent")
    return Effects(result.slope(arm), _shown(result))


@measures("refined_regret_linear_mdp.log-barrier-root-rate", stacked=True)
def barrier_slope(trial):
    """Exponent of the log-barrier's regret in the number of episodes, three layers. Control: estimates given to the next action."""
    return _slope(trial, "log-barrier")


@measures("refined_regret_linear_mdp.reduced-root-rate", stacked=True)
def reduced_slope(trial):
    """The same of exponential weights on magnitude-reduced estimates."""
    return _slope(trial, "magnitude-reduced")


@measures("refined_regret_linear_mdp.root-rate-on-a-bandit", stacked=True)
def bandit_slope(trial):
    """Exponent of the log-barrier's regret on a bandit of ten actions. Control: estimates given to the next action."""
    return _slope(trial, "log-barrier", "bandit")


@measures("refined_regret_linear_mdp.root-rate-on-continuous-states", stacked=True)
def circle_slope(trial):
    """Exponent of regret of the log-barrier where states are angles drawn afresh. Control: estimates of the opposite action."""
    episodes = trial.of(64, 1000, 16_000)
    result = _run(trial, "shuffled", world="circle", episodes=episodes)
    return _exponent(result, "log-barrier")


@measures("refined_regret_linear_mdp.below-the-earlier-rate", stacked=True)
def earlier(trial):
    """Regret at the last horizon over that of exponential weights with the K^(2/3) tuning, magnitude-reduced, step sizes
    tuned alike. Control: estimates given to the next action, in the reduced arm."""
    plain = study.run(study.Setting.of(trial.budget), seeds=trial.seeds)
    result = _run(trial, "shuffled")
    ratio = result.regret["magnitude-reduced"][-1] / plain.regret["exponential, K^2/3"][-1].clamp_min(1.0)
    return Effects(ratio, _shown(plain))


@measures("refined_regret_linear_mdp.estimates-may-be-negative", stacked=True)
def negative(trial):
    """The least of eta times an estimate under the log-barrier, whose regret has the root rate all the same. Control: the
    magnitude-reduced learner."""
    result = _run(trial)
    return Effects(result.least["magnitude-reduced" if trial.control else "log-barrier"][-1])


@measures("refined_regret_linear_mdp.actions-cost-the-barrier-more", stacked=True)
def actions(trial):
    """log of regret at 64 actions over that at 4, log-barrier less magnitude-reduced, bandit. Control: the two exchanged."""
    few, many = (_run(trial, world="bandit", actions=count, horizons=1) for count in (4, 64))
    growth = {
        arm: (many.regret[arm][-1].clamp_min(1.0) / few.regret[arm][-1].clamp_min(1.0)).log() for arm in few.regret
    }
    gap = growth["log-barrier"] - growth["magnitude-reduced"]
    return Effects(-gap if trial.control else gap, {"4": _shown(few), "64": _shown(many)})


@measures("refined_regret_linear_mdp.simulator-free-rate", stacked=True)
def free(trial):
    """Exponent of the simulator-free log-barrier's regret. Control: estimates given to the next action."""
    return _slope(trial, study.FREE)


@measures("refined_regret_linear_mdp.fewer-samples-than-resampling", stacked=True)
def samples(trial):
    """Error of the empirical inverse from 8 / gamma samples over that of geometric resampling from 1 / gamma^2, gamma = .02, both
    |C (S - C^-1) C| in operator norm with C = (gamma I + Sigma)^(1/2). Control: resampling with 8 / gamma samples in its place."""
    gamma, found = 0.02, []
    for seed in trial.seeds:
        generator = torch.Generator().manual_seed(seed)
        phi = torch.randn(40, 4, generator=generator, dtype=torch.float64)
        phi = phi / phi.norm(dim=-1, keepdim=True)
        q = torch.softmax(2 * torch.randn(40, generator=generator, dtype=torch.float64), -1)
        truth = torch.linalg.inv(inverse_covariance(phi, q, gamma))
        values, vectors = torch.linalg.eigh(truth)
        root = vectors @ torch.diag(values.sqrt()) @ vectors.mT
        draw = lambda n: phi[torch.multinomial(q, n, replacement=True, generator=generator)]  # noqa: E731, B023
        error = lambda s: float(torch.linalg.matrix_norm(root @ s @ root - torch.eye(4).double(), 2))  # noqa: E731, B023
        count, length = int(8 / gamma), int(4 / gamma)
        rows = draw(count)
        blocks = int(1 / gamma**2) // length
        far = error(geometric_resampling(draw(blocks * length), gamma, blocks, length))
        near = inverse_covariance(rows, torch.full((count,), 1 / count, dtype=torch.float64), gamma)
        other = geometric_resampling(rows, gamma, count // length, length)
        found.append(error(other if trial.control else near) / far)
    return Effects(found, {"samples": [count, blocks * length]})


@measures("refined_regret_linear_mdp.bonus-finds-the-rare-state", stacked=True)
def rare(trial):
    """Regret of the log-barrier without bonus less that with bonus 1 / sqrt K, a fraction of that of uniform actions, where a good
    state is reached by one action in each layer. Control: estimates given to the next action."""
    plain = study.run(study.Setting.of(trial.budget, world="rare"), seeds=trial.seeds)
    result = _run(trial, "shuffled", world="rare", bonus=1.0)
    gain = plain.regret["log-barrier"][-1] - result.regret["log-barrier"][-1]
    return Effects(gain / plain.random, {"plain": _shown(plain), "bonus": _shown(result)})


@measures("refined_regret_linear_mdp.bonus-costs-on-small-processes", stacked=True)
def price(trial):
    """Regret with bonus .1 / sqrt K over that without, log-barrier on three layers. Control: the two exchanged."""
    plain, result = _run(trial), _run(trial, bonus=0.1)
    pair = [one.regret["log-barrier"][-1].clamp_min(1.0) for one in (result, plain)]
    ratio = (pair[0] / pair[1]).log()
    return Effects(-ratio if trial.control else ratio)


@measures("refined_regret_linear_mdp.exponential-weights-need-the-floor", stacked=True)
def needed(trial):
    """Regret on reduced estimates over that of exponential weights on plain ones, one step size 4 / sqrt K for both, bandit.
    Control: the two exchanged."""
    setting = study.Setting.of(trial.budget, world="bandit", horizons=1)
    world = study.process(setting, trial.seeds, (setting.episodes,))
    options = {"eta": 4.0, "seed": trial.seeds[0] + 1}
    plain, better = (learn(world, method, **options).regret for method in ("exponential", "magnitude-reduced"))
    pair = (plain, better) if trial.control else (better, plain)
    return Effects(pair[0] / pair[1].clamp_min(1.0))
