"""Measurements of the statements about score-based modeling through stochastic differential equations."""

from __future__ import annotations

import torch

from lab.claims import Effects, measures
from lab.generative import samplers
from lab.generative.mixtures import GaussianMixture
from lab.generative.samplers import divergence
from lab.generative.sdes import SDES, VE, VP, SubVP
from lab.generative.studies import score_sde as study
from lab.generative.studies.common import shown


def _run(trial, *, control=False, **changes):
    setting = study.Setting.of(trial.budget, **changes)
    return study.run(setting, seeds=trial.seeds, data=trial.data, control=control if trial.control else False)


def _removed(result, arm):
    """Share of the distance from prior to data that an arm removes, fresh data being the floor."""
    found = result.distance
    return (found["prior"] - found[arm]) / (found["prior"] - result.floor)


@measures("score_sde.prior-reached")
def prior_reached(trial):
    """At t = 1, for each process: what is left of a point at distance 1.5, and the deviation's excess, over the prior's deviation.

    Control: a twentieth of the noise.
    """
    made = [VP(0.005, 1.0), SubVP(0.005, 1.0), VE(s_max=2.5)] if trial.control else [make() for make in SDES.values()]
    one = torch.ones((), dtype=torch.float64)
    wanted = [kind().prior_std for kind in SDES.values()]
    values = [
        value
        for sde, prior in zip(made, wanted)
        for value in (1.5 * float(sde.mean(one)) / prior, abs(float(sde.std(one)) / prior - 1))
    ]
    return Effects(values, {"processes": list(SDES)})


@measures("score_sde.flow-and-sde-share-marginals")
def share_marginals(trial):
    """d log p_t / dt + v . s + div v of the exact ring at random points and times, for the flow and, with + g^2 (|s|^2 + div s) / 2
    where diffusion is kept, for the reverse process. Effects: largest residual a process. Control: the reverse drift as a flow.
    """
    truth, generator = GaussianMixture.ring(), torch.Generator().manual_seed(trial.seeds[0])
    x = truth.sample(50, generator)
    values = []
    for make in SDES.values():
        sde, residuals = make(), []
        for t in (0.1, 0.4, 0.9):
            at = torch.tensor(t, dtype=torch.float64)
            y = sde.noised(x, at, torch.randn(x.shape, generator=generator, dtype=torch.float64))
            density = lambda now, y=y, sde=sde: truth.log_density(y, sde.mean(now), sde.std(now))  # noqa: E731
            change = torch.func.jvp(density, (at,), (torch.ones_like(at),))[1]
            s = truth.at(sde)(y, at)
            field = sde.reverse_drift if trial.control else sde.flow
            v, div = divergence(lambda y, at=at, sde=sde, field=field: field(truth.at(sde), y, at), y)
            residuals.append(change + (v * s).sum(-1) + div)
            back, spread = divergence(lambda y, at=at, sde=sde: sde.reverse_drift(truth.at(sde), y, at), y)
            _, curve = divergence(lambda y, at=at, sde=sde: truth.at(sde)(y, at), y)
            backward = (
                change + (back * s).sum(-1) + spread + 0.5 * sde.diffusion(at) ** 2 * (s.square().sum(-1) + curve)
            )
            residuals.append(backward)
        values.append(float(torch.cat(residuals).abs().max()))
    return Effects(values, {"processes": list(SDES)})


@measures("score_sde.reverse-recovers-data", stacked=True)
def reverse_recovers(trial):
    """The least share over the three processes of the distance from prior to data that the reverse process removes.

    Control: the score with its sign turned.
    """
    found = {name: _run(trial, control="negated", score="exact", sde=name) for name in SDES}
    shares = {name: _removed(result, "predictor, twice the steps") for name, result in found.items()}
    return Effects(
        torch.stack(list(shares.values())).amin(0), shown(shares) | {"floor": shown({"VP": found["VP"].floor})}
    )


@measures("score_sde.flow-samples-the-data", stacked=True)
def flow_samples(trial):
    """The least share over the three processes that the probability flow removes. Control: the score with its sign turned."""
    found = {name: _run(trial, control="negated", score="exact", sde=name) for name in SDES}
    shares = {name: _removed(result, "flow") for name, result in found.items()}
    return Effects(torch.stack(list(shares.values())).amin(0), shown(shares))


@measures("score_sde.network-learns-the-score", stacked=True)
def network_learns(trial):
    """Squared error of a learned score, weighted with std^2, over the true score's size. Control: points paired with the
    noise of others."""
    result = _run(trial, control="shuffled")
    by_time = dict(zip(map(str, result.error_times.tolist()), result.error_by_time.mean(1).tolist()))
    return Effects(result.error, {"error by time": by_time})


@measures("score_sde.learned-score-generates", stacked=True)
def learned_generates(trial):
    """Distance of samples of a learned score to held-out points over that of fresh points. Control: score negated."""
    result = _run(trial, control="negated")
    ratio = result.distance["predictor, twice the steps"] / result.floor
    return Effects(ratio, shown({**result.distance, "fresh data": result.floor}))


@measures("score_sde.ddpm-and-ncsn-are-discretizations")
def discretizations(trial):
    """Largest differences at 1,000 steps: the chain's mean coefficient and variance from the process's, for DDPM and NCSN, and the
    reverse diffusion update from DDPM's ancestral one over the update. Control: the wrong process beside each chain.
    """
    steps, values = 1000, []
    pairs = [(VP(), SubVP()), (VE(), VE(s_max=25.0))] if trial.control else [(VP(), VP()), (VE(), VE())]
    times = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    for chain, process in pairs:
        a, noise = chain.discretized(times, 1 / steps)
        mean = a.cumprod(0)
        variance = torch.zeros_like(mean)
        last = chain.std(torch.zeros((), dtype=torch.float64)) ** 2
        for k in range(steps):
            last = a[k] ** 2 * last + noise[k] ** 2
            variance[k] = last
        values.append(float((mean - process.mean(times)).abs().max()))
        values.append(float((variance.sqrt() - process.std(times)).abs().max() / process.prior_std))
    a, noise = VP().discretized(times, 1 / steps)
    kept = a.square().cumprod(0)
    x, s = 1.0, 1.0  # any state and score: the updates are linear in both
    ancestral = (x + (1 - a**2) * s) / a
    reverse = x + (1 - a) * x + noise**2 * s * (0.5 if trial.control else 1.0)
    values.append(float(((ancestral - reverse) / ancestral).abs().max()))
    return Effects(values, {"last mean coefficient of the chain": float(kept[-1].sqrt())})


@measures("score_sde.exact-likelihood", "score_sde.exact-likelihood-ve")
def exact_likelihood(trial):
    """Mean |log p by the flow - log p| over 200 points of the ring: VP and sub-VP, or VE. Control: the reverse drift as a flow."""
    truth, kinds = GaussianMixture.ring(), [VE()] if trial.claim.id.endswith("-ve") else [VP(), SubVP()]
    x = truth.sample(trial.of(40, 200, 1000), trial.seeds[0])
    values, calls = [], []
    for sde in kinds:
        score = truth.at(sde)
        field = (lambda x, t, score=score: 2 * score(x, t)) if trial.control else score
        found, evaluations = samplers.log_likelihood(field, sde, x, rtol=1e-6, atol=1e-6)
        values.append(float((found - truth.log_density(x)).abs().mean()))
        calls.append(evaluations)
    return Effects(values, {"evaluations": calls})


@measures("score_sde.sub-vp-likelihood", stacked=True)
def sub_vp(trial):
    """Mean log density of held-out points under a learned score, sub-VP less VP. Control: VP of the next seed in place of
    sub-VP."""
    found = {name: _run(trial, sde=name).log_density for name in ("VP", "sub-VP")}
    other = found["VP"].roll(1) if trial.control else found["sub-VP"]
    return Effects(other - found["VP"], shown(found))


@measures("score_sde.flow-needs-half-the-evaluations", stacked=True)
def half(trial):
    """Distance of the flow over that of the predictor with twice its evaluations. Control: a flow at tolerance 0.1."""
    changes = {"tolerance": 0.1} if trial.control else {}
    found = study.run(study.Setting.of(trial.budget, score="exact", **changes), seeds=trial.seeds)
    calls = {arm: found.evaluations[arm] for arm in ("flow", "predictor, twice the flow")}
    return Effects(found.distance["flow"] / found.distance["predictor, twice the flow"], {"evaluations": calls})


def _pictures(trial, control):
    return study.pictures(
        study.Setting.of(trial.budget), seeds=trial.seeds, data=trial.data, control=control if trial.control else False
    )


@measures("score_sde.corrector-at-equal-evaluations", stacked=True)
def equal_evaluations(trial):
    """Frechet distance on digits: predictor-corrector at N less predictor at 2 N. Control: a quarter of the predictor's steps."""
    found = _pictures(trial, "equal")
    gap = found.distance["predictor-corrector"] - found.distance["predictor, twice the steps"]
    return Effects(gap, shown({**found.distance, "training images": found.floor}))


@measures("score_sde.corrector-at-equal-steps", stacked=True)
def equal_steps(trial):
    """Frechet distance on digits: predictor-corrector at N less predictor at N. Control: a quarter of the predictor's steps."""
    found = _pictures(trial, "equal")
    gap = found.distance["predictor-corrector"] - found.distance["predictor"]
    return Effects(gap, shown({**found.distance, "training images": found.floor}))


@measures("score_sde.class-conditional", stacked=True)
def class_conditional(trial):
    """Share of guided images in which a classifier of clean images sees the class asked for. Control: guidance with its sign
    turned."""
    found = _pictures(trial, "negated")
    rates = {"guided": found.recognized.double().mean(1), "unguided": found.unguided.double().mean(1)}
    return Effects(rates["guided"], shown(rates))


@measures("score_sde.inpainting", stacked=True)
def inpainting(trial):
    """Excess distance of inpainted points over that of points which ignore what is seen, the exact posterior being zero.

    Control: the first coordinates of other points are imposed.
    """
    found = study.inpainted(study.Setting.of(trial.budget), seeds=trial.seeds, control=trial.control).distance
    floor = found["exact posterior"].mean()
    return Effects((found["inpainted"] - floor) / (found["ignoring what is seen"] - floor).mean(), shown(found))


@measures("score_sde.colourization", stacked=True)
def colourization(trial):
    """Squared error of the chroma of coloured held-out digits over that of unconditional samples. Control: grey values of
    others."""
    found = study.colourized(study.Setting.of(trial.budget), seeds=trial.seeds, control=trial.control).distance
    return Effects(found["coloured"] / found["unconditional"], shown(found))


@measures("score_sde.record-likelihood", stacked=True)
def record_likelihood(trial):
    """Bits a dimension of held-out images of the user's folder, by the flow with one Rademacher probe."""
    return Effects(study.bits(study.Setting.of(trial.budget), seeds=trial.seeds, data=trial.data))


@measures("score_sde.record-samples", "score_sde.high-resolution", stacked=True)
def record_samples(trial):
    """Frechet distance, in principal components of the user's images, of predictor-corrector samples over that of training
    images."""
    found = study.pictures(study.Setting.of(trial.budget), seeds=trial.seeds, data=trial.data)
    return Effects(found.distance["predictor-corrector"] / found.floor, shown(found.distance))
