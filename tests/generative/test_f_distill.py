"""One-step distillation: weights against autograd and mpmath, gradients by quadrature, exact students, normalization, refusals."""

import math
import subprocess
import sys

import mpmath
import numpy as np
import pytest
import torch

from lab.generative import GaussianMixture, OneStepGenerator
from lab.generative import f_distill as fd
from lab.generative.f_distill import DIVERGENCES, AffineGenerator, RatioNormalizer, f_value, f_weight

PAIR = GaussianMixture(torch.tensor([[-1.0], [1.5]]), torch.tensor([0.4, 0.7]), torch.tensor([0.3, 0.7]))
USUAL = {  # f as written in the literature, on mpmath's numbers
    "reverse KL": lambda r: -mpmath.log(r),
    "softened reverse KL": lambda r: (r + 1) * mpmath.log((r + 1) / (2 * r)),
    "Neyman": lambda r: (1 - r) ** 2 / (2 * r),
    "Jensen-Shannon": lambda r: r * mpmath.log(r) - (r + 1) * mpmath.log((r + 1) / 2),
    "squared Hellinger": lambda r: 2 * (1 - mpmath.sqrt(r)) ** 2,
    "forward KL": lambda r: r * mpmath.log(r),
    "Jeffreys": lambda r: (r - 1) * mpmath.log(r),
}


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_weights_are_the_second_derivative_times_the_square(kind):
    for r in (0.03, 0.7, 1.0, 4.5, 80.0):
        wanted = mpmath.diff(USUAL[kind], mpmath.mpf(r), 2) * r**2
        assert float(f_weight(kind, torch.tensor(r, dtype=torch.float64))) == pytest.approx(float(wanted), rel=1e-8)
        assert float(f_value(kind, torch.tensor(r, dtype=torch.float64))) == pytest.approx(
            float(USUAL[kind](mpmath.mpf(r))), abs=1e-12
        )
    r = torch.tensor([0.0, 1.0], dtype=torch.float32)
    assert f_weight(kind, r).isfinite().all() and f_weight(kind, r).dtype == torch.float32
    assert f_value(kind, torch.ones(1)).item() == 0


def quadrature(kind, shift, factor, mean, std, points=40_001):
    """D_f of the noised teacher and an affine student in one dimension, on a grid."""
    x = torch.linspace(-14, 14, points, dtype=torch.float64)[:, None]
    variance = (mean * factor) ** 2 + std**2
    log_q = -0.5 * ((x[:, 0] - mean * shift) ** 2 / variance + torch.log(2 * math.pi * variance))
    r = (PAIR.log_density(x, mean, std) - log_q).exp()
    return torch.trapezoid(log_q.exp() * DIVERGENCES[kind][0](r), x[:, 0])


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_gradients_are_those_of_the_divergence_by_quadrature(kind):
    mean, std = 0.8, 0.9
    place = torch.tensor([0.3, 1.1], dtype=torch.float64, requires_grad=True)
    wanted = torch.autograd.grad(quadrature(kind, place[0], place[1], mean, std), place)[0]
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(80))
    z, e = (v.flatten()[:, None] for v in torch.meshgrid(nodes, nodes, indexing="ij"))
    mass = (weights[:, None] * weights).flatten() / (2 * math.pi)
    student = AffineGenerator(place[:1].detach(), place[1:].detach()[None])
    slope = fd.student_gradient(PAIR, student, kind, z, e, std, mean=mean)[:, 0]
    found = torch.stack([(mass * slope).sum(), (mass * slope * z[:, 0]).sum()])
    assert torch.allclose(found, wanted, atol=2e-3 * float(wanted.abs().max()))


def test_affine_densities_and_scores_against_torch():
    g = torch.Generator().manual_seed(0)
    student = AffineGenerator(torch.randn(3, 2, generator=g).double(), torch.randn(3, 2, 2, generator=g).double())
    x = torch.randn(3, 5, 2, generator=g).double().requires_grad_()
    log, score = student.noised(x, 0.7, 0.4)
    for k in range(3):
        covariance = 0.49 * student.factor[k] @ student.factor[k].T + 0.16 * torch.eye(2)
        law = torch.distributions.MultivariateNormal(0.7 * student.shift[k], covariance)
        assert torch.allclose(log[k], law.log_prob(x[k]))
    assert torch.allclose(score, torch.autograd.grad(log.sum(), x)[0])


def test_reverse_kl_seeks_a_mode_and_forward_kl_matches_moments():
    pair = GaussianMixture(torch.tensor([[-3.0], [3.0]]), 0.5)
    found = fd.fit_affine(pair, ["reverse KL", "forward KL"], steps=400, batch=128, rate=0.05, seeds=(0, 1))[-1]
    assert found.shift.shape == (2, 1, 2, 1)
    assert (found.shift[0].abs() > 2.9).all() and (found.factor[0].abs() < 0.6).all()
    assert (found.shift[1].abs() < 0.6).all() and (found.factor[1].abs() - math.sqrt(9.25)).abs().max() < 0.4
    wrong = fd.fit_affine(pair, ["forward KL"], steps=400, batch=128, rate=0.05, inverted=True)[-1]
    assert (wrong.shift.abs() > 2.5).all()


def test_normalizer_by_hand_and_empty_bins_keep_their_mean():
    normalize = RatioNormalizer(bins=2, rate=0.5)
    r, t = torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0.1, 0.2, 0.9])
    assert torch.allclose(normalize(r, t), torch.tensor([0.5, 1.5, 1.0]))
    assert torch.allclose(normalize(torch.tensor([4.0, 4.0]), torch.tensor([0.0, 0.4])), torch.tensor([4 / 3, 4 / 3]))
    assert torch.allclose(normalize.means, torch.tensor([3.0, 5.0]))
    one = RatioNormalizer()(r, t)
    factor = torch.tensor([7.0, 7.0, 0.2])  # a bin of ten holds the first two
    assert torch.allclose(RatioNormalizer(bins=2)(factor * r, t), RatioNormalizer(bins=2)(r, t))
    assert one.shape == r.shape
    h = fd.normalized_weight("forward KL", r, t, RatioNormalizer())
    assert float(h.mean()) == pytest.approx(1)
    two = fd.normalized_weight(("forward KL", "reverse KL"), r.expand(2, 3), t.expand(2, 3), None)
    assert torch.allclose(two, torch.stack([r / 3, torch.ones(3)]))


def test_loss_has_the_weighted_difference_as_its_gradient():
    g = torch.Generator().manual_seed(1)
    x, student, teacher = (torch.randn(4, 3, generator=g).double() for _ in range(3))
    h = torch.rand(4, generator=g).double()
    x.requires_grad_()
    found = torch.autograd.grad(fd.distillation_loss(x, student, teacher, h, scaled=False).sum(), x)[0]
    assert torch.allclose(found, h[:, None] * (student - teacher) / 3)
    found = torch.autograd.grad(fd.distillation_loss(x, student, teacher, h).sum(), x)[0]
    scale = (x.detach() - teacher).abs().mean(1, keepdim=True) + 1e-6
    assert torch.allclose(found, h[:, None] / scale * (student - teacher) / 3)
    assert torch.allclose(fd.critic_ratio(torch.tensor([-20.0, 0.0, 9.0])), torch.tensor([0.1, 1.0, 20.0]))


def test_a_critic_of_noised_samples_learns_their_ratio():
    student = AffineGenerator(torch.zeros(1).double(), torch.eye(1).double())
    critic = fd.Networks(fd.stacked(1, 1, (0,), 32, 2), fd.VP())
    real = lambda count, noise: PAIR.sample(count, noise.generators[0]).float()[None]  # noqa: E731
    fake = lambda count, noise: noise(count, 1)  # noqa: E731
    fd.train_critic(critic, real, fake, seeds=(0,), steps=150)
    t = torch.tensor(0.3).double()
    x, mean, std = torch.linspace(-1.5, 1.5, 20).double()[:, None], fd.VP().mean(t), fd.VP().std(t)
    exact = PAIR.log_density(x, mean, std) - student.noised(x, mean, std)[0]
    with torch.no_grad():
        assert (critic(x[None], t)[0, :, 0] - exact).abs().mean() < 0.2


def test_networks_are_repeated_and_seeds_do_not_depend_on_each_other():
    x = PAIR.sample(200, 0)
    start = fd.train_denoiser(x, seeds=(3, 5), steps=5, width=8)
    twice = start.repeated(3)
    z = torch.randn(2, 4, 1, generator=torch.Generator().manual_seed(0))
    t = torch.tensor(0.4)
    assert torch.allclose(twice(z.repeat(3, 1, 1), t), start(z, t).repeat(3, 1, 1), atol=1e-6)
    options = {"kinds": ("reverse KL", "Jeffreys"), "steps": 12}
    both = fd.distill_networks(PAIR.denoiser(fd.VP()), start, x, seeds=(3, 5), **options).sample(6, (3, 5))
    alone = fd.train_denoiser(x, seeds=(5,), steps=5, width=8)
    one = fd.distill_networks(PAIR.denoiser(fd.VP()), alone, x, seeds=(5,), **options).sample(6, (5,))
    assert both.shape == (2, 2, 6, 1) and torch.allclose(both[:, 1:], one, atol=1e-4)
    assert not torch.allclose(both[0], both[1])


def test_own_points_are_distilled_saved_and_sampled_in_a_new_process(tmp_path):
    points = torch.cat([torch.full((40, 2), -20.0), torch.full((40, 2), 30.0)]) + torch.randn(80, 2)
    made = fd.distill(points, steps=10, training=20, width=16)
    x = made.sample(50, seed=2)
    assert x.shape == (50, 2) and torch.equal(x, made.sample(50, seed=2))
    made.save(tmp_path / "one.pt")
    code = (
        "import torch; from lab.generative import OneStepGenerator\n"
        f"torch.save(OneStepGenerator.load({str(tmp_path / 'one.pt')!r}).sample(50, seed=2), {str(tmp_path / 'x.pt')!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert torch.allclose(torch.load(tmp_path / "x.pt"), x, atol=1e-4)
    (tmp_path / "text.pt").write_text("1,2\n")
    torch.save({"one-step generator": {"sizes": [2]}}, tmp_path / "bad.pt")
    for name in ("text.pt", "bad.pt"):
        with pytest.raises(ValueError, match="no one-step generator"):
            OneStepGenerator.load(tmp_path / name)


def test_kernel_density_is_scotts():
    x = torch.tensor([[0.0], [2.0], [4.0]])
    law = fd.kernel_density(x)
    assert torch.allclose(law.stds, torch.full((3,), math.sqrt(8 / 3) * 3 ** (-1 / 5)).double())
    assert torch.equal(fd.kernel_density(x, 0.3).stds, torch.full((3,), 0.3).double())


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: f_weight("KL", torch.ones(2)), ValueError, "kind"),
        (lambda: f_weight("reverse KL", torch.tensor([-1.0])), ValueError, "ratio"),
        (lambda: f_weight("reverse KL", torch.tensor([1])), TypeError, "ratio"),
        (lambda: f_weight(("reverse KL",), torch.ones(2, 3)), ValueError, "2 rows"),
        (lambda: RatioNormalizer(bins=0), ValueError, "bins"),
        (lambda: RatioNormalizer(rate=1.5), ValueError, "rate"),
        (lambda: fd.fit_affine(PAIR, ["reverse KL"], high=-1.0), ValueError, "high"),
        (lambda: fd.fit_affine(PAIR, ["f"]), ValueError, "kinds"),
        (lambda: fd.kernel_density(torch.ones(5, 1)), ValueError, "different"),
        (lambda: fd.kernel_density(torch.tensor([[1.0], [math.nan]])), ValueError, "points"),
        (lambda: fd.distill(PAIR, divergence="js"), ValueError, "divergence"),
        (lambda: fd.distill(torch.ones(4)), ValueError, "points"),
    ],
)
def test_bad_input_is_refused_in_words(call, error, words):
    with pytest.raises(error, match=words):
        call()
