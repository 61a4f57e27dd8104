"""Is the estimate right? Exact bits against counts and closed forms, and the published fit against exact bits."""

from __future__ import annotations

import math

import numpy as np
import torch

from lab.inductive_bias import chi_square_fit as fitting
from lab.inductive_bias import published
from lab.inductive_bias.bit_methods import required_bits
from lab.inductive_bias.covariances import RBF
from lab.inductive_bias.kernel_space import KernelSpace
from lab.inductive_bias.laws import LOG2, EnergyLaw, GaussianQuadraticLaw, SampleLaw
from lab.inductive_bias.scale import large_bits
from lab.inductive_bias.studies.digits import digits_task
from lab.inductive_bias.studies.scale import bits_at_scale, image_task
from lab.inductive_bias.task import Task
from lab.kernels.chi_square import chi_square_tail

DRAWS = {"smoke": 2000, "default": 10_000, "full": 10_000}
TOLERANCE = 0.1  # an answer within this share of the exact bits is right


def against_counts(seed: int, *, draws: int, factor: float = 1.0) -> float:
    """Largest distance, in standard errors of the count, of ``2^-bits`` from the share of drawn hypotheses that pass.

    Functions are drawn, not losses, and judged at depths of about 1, 3 and 5 bits; ``factor`` multiplies the threshold of the
    count alone.
    """
    task = digits_task(seed, "smoke", sizes=(60, 60))
    space = KernelSpace(RBF(2.0))
    law = space.loss_law(task)
    losses = task.losses(space.condition(task).draw(draws, seed=seed))
    worst = 0.0
    for depth in (1.0, 3.0, 5.0):
        eps = float(law.quantile([depth])[0])
        share, exact = float((losses <= factor * eps).double().mean()), 2.0 ** -required_bits(law, eps).bits
        error = math.sqrt(max(share * (1 - share), 1 / draws) / draws)
        worst = max(worst, abs(share - exact) / error)
    return worst


def tail_errors(most_dof: int, *, sankaran: bool = False) -> list[float]:
    """Relative errors of ``log P`` for central chi-square laws in closed form, as one weight and as many equal ones.

    Near ``P = 1``, where ``log P`` is small, the error of ``P`` counts. ``sankaran`` puts the published code's normal
    approximation in the place of the integral.
    """
    from scipy.special import gammainc

    errors = []
    for dof in (1, 2, 3, 10, 50, 200, most_dof):
        q = dof * torch.tensor([1e-6, 1e-3, 0.1, 0.5, 0.9, 1.0, 1.2], dtype=torch.float64)
        exact = np.array([_log_gamma_share(dof / 2, float(v) / 2) for v in q])
        use = (exact > -1e4) & (exact < -1e-6)
        if sankaran:
            found = [np.array([-published.sankaran_nats(float(v), dof, 0.0) for v in q])]
        else:
            single = chi_square_tail([1.0], 0.0, float(dof), q).log_cdf.numpy()
            found = [single, chi_square_tail(np.ones(dof), 0.0, 1.0, q).log_cdf.numpy()]
        for one in found:
            errors.extend(np.abs(one[use] / exact[use] - 1))
            errors.extend(np.abs(np.exp(one) - gammainc(dof / 2, q.numpy() / 2)))
    return errors


def _log_gamma_share(a, x):
    """``log P(a, x)`` of the regularized lower incomplete gamma function, by its series in extended precision.

    ``P(a, x) = x^a e^-x / Gamma(a + 1) sum_j x^j / ((a + 1) ... (a + j))``: all terms positive.
    """
    total, term, j = 1.0, 1.0, 0
    while term > 1e-18 * total:
        j += 1
        term *= x / (a + j)
        total += term
    return a * math.log(x) - x - math.lgamma(a + 1) + math.log(total)


def space_of(task: Task) -> GaussianQuadraticLaw | EnergyLaw:
    """The law of the test loss under the room's plain space: an RBF of the median distance, amplitude one."""
    return KernelSpace(RBF(), amplitude=1.0).loss_law(task)


def depth_reached(task: Task, *, draws: int, seed: int, counted: bool = False) -> float:
    """The depth in bits, from 2 to 8 log2(draws), down to which the fit to ``draws`` losses answers within 10 %.

    150 thresholds are looked at. ``counted`` answers by counting the same draws instead. 0 where the first answer is wrong.
    """
    law = space_of(task)
    sample = SampleLaw(law.sample(draws, seed=seed))
    first, last = (float(end) for end in law.quantile([2.0, 8 * math.log2(draws)]))
    eps = np.geomspace(first, last, 150)
    truth = required_bits(law, eps).bits
    if counted:
        answers = required_bits(sample, eps, method="counting").bits
    else:
        fitted = fitting.fit(sample.losses)
        answers = np.array([fitted.nats(float(value)) for value in eps]) / LOG2
    wrong = np.flatnonzero(~(np.abs(answers / truth - 1) <= TOLERANCE))
    last = (wrong[0] if len(wrong) else len(eps)) - 1
    return float(truth[last]) if last >= 0 else 0.0


def fit_error(task: Task, *, draws: int, seed: int, deep: bool, untrained: bool = False) -> tuple[float, float]:
    """Relative error of the fitted bits and the exact ones, at the posterior mean's loss (``deep``) or log2(draws) bits.

    ``untrained`` fits the losses of hypotheses that do not know the training set.
    """
    space = KernelSpace(RBF(), amplitude=1.0)
    law = space.loss_law(task)
    eps = law.posterior_mean_loss if deep else float(law.quantile([math.log2(draws)])[0])
    truth = required_bits(law, eps).bits
    losses = (space.prior_law(task) if untrained else law).sample(draws, seed=seed)
    return fitting.fit(losses).nats(eps) / LOG2 / truth - 1, truth


def missed_shares(task: Task, *, draws: int, seed: int, own_family: bool = False) -> list[float]:
    """Share of the exact bits that the fit misses at depths of 1, 5 and 40 times log2(draws).

    ``own_family`` draws from the fitted law, so that the family of the second fit is the true one.
    """
    law = space_of(task)
    eps = law.quantile(math.log2(draws) * np.array([1.0, 5.0, 40.0])).tolist()
    fitted = fitting.fit(law.sample(draws, seed=seed))
    truth = [required_bits(law, value).nats for value in eps]
    if own_family:
        truth = [fitted.nats(value) for value in eps]
        fitted = fitting.fit(_family(fitted.dof, fitted.shift, fitted.scale, draws, [seed, 1]))
    return [1 - fitted.nats(value) / exact for value, exact in zip(eps, truth)]


def sampling_slope(seed: int, sizes, *, repeats: int = 8, correlated: bool = False) -> float:
    """Slope of the log of the root mean square error of the nats against log draws, for draws of the family itself.

    At 12 bits, over ``repeats`` sets of draws. ``correlated`` repeats few draws many times: no more of them are known.
    """
    from scipy.stats import ncx2

    dof, shift, scale = 20.0, 10.0, 1 / 30
    eps = float(ncx2.ppf(2.0**-12, dof, shift)) * scale
    truth, errors = 12 * LOG2, []
    for size in sizes:
        drawn = sizes[0] if correlated else size
        found = [
            fitting.fit(np.tile(_family(dof, shift, scale, drawn, [seed, size, k]), size // drawn)).nats(eps)
            for k in range(repeats)
        ]
        errors.append(math.sqrt(np.mean(np.square(np.array(found) - truth))))
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


def _family(dof, shift, scale, draws, seed):
    from scipy.stats import ncx2

    return scale * ncx2.rvs(dof, shift, size=draws, random_state=np.random.default_rng(seed))


def in_place_difference(size: int, *, seed: int = 0, noise: float = 0.01) -> float:
    """Largest relative difference of the law in place from the plain one, for images of 28 x 28 pixels, at three thresholds.

    ``noise`` is that of the plain law; another than 0.01 is another task.
    """
    exact = bits_at_scale(size, seed=seed, methods=("exact",))
    law = KernelSpace(RBF(), noise=noise).loss_law(image_task(size, size, seed=seed))
    plain = law.nats(torch.tensor(exact["eps"].tolist(), dtype=torch.float64)).numpy() / LOG2
    return float(np.abs(exact["bits"].to_numpy() / plain - 1).max())


def lanczos_difference(size: int, *, seed: int = 0, noise: float = 0.01) -> float:
    """Largest relative difference of Lanczos, with ``noise``, from the exact law in place, at the same thresholds."""
    exact = bits_at_scale(size, seed=seed, methods=("exact",))
    space, task = KernelSpace(RBF(), noise=noise), image_task(size, size, seed=seed)
    found = [large_bits(space, task, eps, method="lanczos", seed=seed).bits for eps in exact["eps"]]
    return float(np.abs(np.array(found) / exact["bits"].to_numpy() - 1).max())
