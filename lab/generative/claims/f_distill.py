"""Measurements of the statements about one-step distillation by f-divergences."""

from __future__ import annotations

import math

import torch

from lab.claims import Effects, measures
from lab.generative import f_distill as fd
from lab.generative.f_distill import DIVERGENCES, AffineGenerator, RatioNormalizer
from lab.generative.mixtures import GaussianMixture
from lab.generative.studies import f_distill as study
from lab.generative.studies.common import shown

LAW = GaussianMixture(torch.tensor([[-1.0], [1.5]]), torch.tensor([0.4, 0.7]), torch.tensor([0.3, 0.7]))
MEAN, STD = 0.8, 0.9  # of the noise in the identities
COVERING = ("Jensen-Shannon", "squared Hellinger", "Jeffreys")
FAVOURING = (*COVERING, "forward KL")


def _run(trial, **changes):
    return study.run(study.Setting.of(trial.budget, **changes), seeds=trial.seeds, control=trial.control)


def _of(result, kind):
    """Coverage of a divergence at the smallest range of noise, a seed at a time."""
    return result.coverage[study.KINDS.index(kind), 0]


@measures("f_distill.weights-are-second-derivatives")
def weights(trial):
    """h against r^2 times the second derivative of f by automatic differentiation, relative, r from 0.05 to 20, seven divergences.

    Control: the ratio inverted.
    """
    r = torch.logspace(math.log10(0.05), math.log10(20), 60, dtype=torch.float64).requires_grad_()
    worst = []
    for kind in DIVERGENCES:
        slope = torch.autograd.grad(fd.f_value(kind, r).sum(), r, create_graph=True)[0]
        wanted = torch.autograd.grad(slope.sum(), r)[0] * r.detach() ** 2
        found = fd.f_weight(kind, 1 / r.detach() if trial.control else r.detach())
        worst.append(float(((found - wanted) / wanted).abs().max()))
    return Effects(max(worst), dict(zip(DIVERGENCES, worst)))


@measures("f_distill.gradient-is-the-weighted-score-difference")
def gradient(trial):
    """The gradient for shift and factor of a Gaussian student, by quadrature over z and noise, against automatic differentiation
    of the divergence by quadrature over x; largest relative difference of seven divergences. Control: the ratio inverted."""
    place = torch.tensor([0.3, 1.1], dtype=torch.float64, requires_grad=True)
    x = torch.linspace(-14, 14, 8001, dtype=torch.float64)
    variance = (MEAN * place[1]) ** 2 + STD**2
    log_q = -0.5 * ((x - MEAN * place[0]) ** 2 / variance + torch.log(2 * math.pi * variance))
    r = (LAW.log_density(x[:, None], MEAN, STD) - log_q).exp()
    axis = torch.linspace(-9, 9, 301, dtype=torch.float64)
    z, e = (v.flatten()[:, None] for v in torch.meshgrid(axis, axis, indexing="ij"))
    mass = torch.exp(-0.5 * (z**2 + e**2))[:, 0]
    student = AffineGenerator(place[:1].detach(), place[1:].detach()[None])
    worst = []
    for kind in DIVERGENCES:
        value = torch.trapezoid(log_q.exp() * fd.f_value(kind, r), x)
        wanted = torch.autograd.grad(value, place, retain_graph=True)[0]
        slope = fd.student_gradient(LAW, student, kind, z, e, STD, mean=MEAN, inverted=trial.control)[:, 0]
        found = torch.stack([(mass * slope).sum(), (mass * slope * z[:, 0]).sum()]) / mass.sum()
        worst.append(float((found - wanted).norm() / wanted.norm()))
    return Effects(max(worst), dict(zip(DIVERGENCES, worst)))


@measures("f_distill.reverse-kl-is-variational-score-distillation")
def variational(trial):
    """Reverse-KL gradients against the gradient in x of log q_t - log p_t with the student's density held fixed, relative. Control:
    the forward KL."""
    noise = fd.Noise(trial.seeds)
    student = AffineGenerator(torch.tensor([0.3, -0.5]).double(), torch.tensor([[1.1, 0.2], [0.0, 0.7]]).double())
    law, z, e = study.teacher_of("square", 1.0), noise(200, 2)[0], noise(200, 2)[0]
    clean = student(z).requires_grad_()
    x = MEAN * clean + STD * e
    covariance = MEAN**2 * student.factor @ student.factor.T + STD**2 * torch.eye(2, dtype=torch.float64)
    log_q = torch.distributions.MultivariateNormal(MEAN * student.shift, covariance).log_prob(x)
    wanted = torch.autograd.grad((log_q - law.log_density(x, MEAN, STD)).sum(), clean)[0]
    kind = "forward KL" if trial.control else "reverse KL"
    found = fd.student_gradient(law, student, kind, z, e, STD, mean=MEAN)
    return Effects(float((found - wanted).norm() / wanted.norm()))


@measures("f_distill.reverse-kl-seeks-a-mode", stacked=True)
def seeks(trial):
    """Coverage of two modes by the forward KL less that by the reverse KL. Control: the ratio inverted."""
    result = _run(trial)
    return Effects(
        _of(result, "forward KL") - _of(result, "reverse KL"), shown({k: _of(result, k) for k in study.KINDS})
    )


@measures("f_distill.less-mode-seeking-divergences-cover-more", "f_distill.coverage-in-the-plane", stacked=True)
def covers(trial):
    """Least coverage of Jensen-Shannon, Hellinger and Jeffreys less that of the reverse KL, of two modes on a line or four in the
    plane. Control: the ratio inverted."""
    result = _run(trial, teacher="square" if trial.claim.id.endswith("plane") else "pair")
    least = torch.stack([_of(result, kind) for kind in COVERING]).amin(0)
    return Effects(least - _of(result, "reverse KL"), shown({k: _of(result, k) for k in study.KINDS}))


@measures("f_distill.weights-favour-what-the-teacher-makes", stacked=True)
def favours(trial):
    """Least correlation, of four divergences, of h with the teacher's density at a student's noised samples. Control: the ratio
    inverted."""
    result = _run(trial)
    found = {kind: result.emphasis[study.KINDS.index(kind)] for kind in FAVOURING}
    return Effects(torch.stack(list(found.values())).amin(0), shown(found))


@measures("f_distill.jensen-shannon-weights-are-bounded")
def bounded(trial):
    """The supremum of the weights over ratios from 1e-8 to 1e12, less 1. Control: the squared Hellinger distance."""
    r = torch.logspace(-8, 12, 401, dtype=torch.float64)
    return Effects(float(fd.f_weight("squared Hellinger" if trial.control else "Jensen-Shannon", r).max()) - 1)


@measures("f_distill.weight-variance-is-ordered", stacked=True)
def variance(trial):
    """Variance of h at a student's noised samples: Jensen-Shannon, squared Hellinger, forward KL. Control: the opposite order."""
    result = study.run(study.Setting.of(trial.budget), seeds=trial.seeds)
    kinds = ("Jensen-Shannon", "squared Hellinger", "forward KL")
    found = {kind: result.variance[study.KINDS.index(kind)] for kind in kinds}
    rows = torch.stack(list(found.values()), 1)
    return Effects(rows.flip(1) if trial.control else rows, shown(found))


def _ratios(trial, control):
    setting = study.Setting.of(trial.budget)
    return study.ratios(setting, seeds=trial.seeds, control=control if trial.control else False)


@measures("f_distill.critic-of-noised-samples-learns-the-ratio", stacked=True)
def critic(trial):
    """Share of the clipped log ratio's variance that the critic explains at noised samples. Control: a critic of clean ones."""
    return Effects(_ratios(trial, "clean").explained)


@measures("f_distill.normalization-removes-a-bias-in-time")
def bias(trial):
    """Weights of ratios that a critic misses by a factor of its own in each bin of t, against those without, largest relative
    difference over seven divergences. Control: the second stage alone."""
    generator = torch.Generator().manual_seed(trial.seeds[0])
    t, r = torch.rand(400, generator=generator).double(), torch.rand(400, generator=generator).double() + 0.1
    wrong = r * torch.exp(torch.randn(10, generator=generator).double())[(10 * t).long()]
    worst = []
    for kind in DIVERGENCES:
        stages = None if trial.control else RatioNormalizer()
        wanted = fd.normalized_weight(kind, r, t, RatioNormalizer())
        worst.append(((fd.normalized_weight(kind, wrong, t, stages) - wanted) / wanted).abs().max())
    return Effects(float(torch.stack(worst).max()))


@measures("f_distill.two-stages-bring-weights-nearer", stacked=True)
def stages(trial):
    """log of the weights' error after the second stage alone over that after both, mean of the divergences but the reverse KL.
    Control: bins of other items' times."""
    found = _ratios(trial, "mixed").error
    rows = [k for k, kind in enumerate(study.KINDS) if kind != "reverse KL"]
    gain = (found["second stage"][rows] / found["both stages"][rows]).log()
    return Effects(gain.mean(0), shown({study.KINDS[row]: gain[k] for k, row in enumerate(rows)}))


def _pictures(trial, control="one class"):
    setting = study.Setting.of(trial.budget)
    return study.pictures(setting, seeds=trial.seeds, data=trial.data, control=control if trial.control else False)


@measures("f_distill.one-evaluation-draws-the-class-asked-for", stacked=True)
def asked(trial):
    """Least probability of the class asked for, of seven divergences in a hundredth of the teacher's evaluations, over the
    teacher's. Control: the first class is asked for alone."""
    found = _pictures(trial)
    least = torch.stack([found.recognized[kind] for kind in study.KINDS]).amin(0)
    reference = study.pictures(study.Setting.of(trial.budget), seeds=trial.seeds, data=trial.data).recognized["teacher"]
    return Effects(least / reference, shown(found.recognized) | {"evaluations": found.evaluations})


@measures("f_distill.one-evaluation-covers-the-classes", stacked=True)
def classes(trial):
    """Least class coverage of seven divergences. Control: the first class is asked for alone."""
    found = _pictures(trial)
    return Effects(torch.stack([found.coverage[kind] for kind in study.KINDS]).amin(0), shown(found.coverage))


@measures("f_distill.distillation-beats-the-denoiser-used-once", stacked=True)
def once(trial):
    """log of the Frechet distance of the teacher's denoiser used once over the largest of seven divergences. Control: the denoiser
    used once with other seeds in their place."""
    found = study.pictures(study.Setting.of(trial.budget), seeds=trial.seeds, data=trial.data).distance
    arms = [found["its denoiser once"].roll(1) + 0.0] if trial.control else [found[kind] for kind in study.KINDS]
    return Effects((found["its denoiser once"] / torch.stack(arms).amax(0)).log(), shown(found))


@measures(
    "f_distill.forward-kl-and-jensen-shannon-beat-reverse-kl",
    "f_distill.imagenet",
    "f_distill.text-to-image",
    stacked=True,
)
def better(trial):
    """log of the Frechet distance by the reverse KL over the larger of those by the forward KL and Jensen-Shannon. Control: the
    ratio inverted."""
    found = _pictures(trial, "inverted").distance
    larger = torch.maximum(found["forward KL"], found["Jensen-Shannon"])
    return Effects((found["reverse KL"] / larger).log(), shown(found))
