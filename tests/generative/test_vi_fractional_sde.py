"""Fractional noise: weights against mpmath, bounds against evidence, paths, bridges, videos, own series, refusals."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import special

from lab.datasets import load
from lab.generative import vi_fractional_sde as model
from lab.generative.latent_video import LatentVideo, fit, moving_digits
from lab.generative.studies import vi_fractional_sde as study
from lab.source import project_root

DOUBLE = torch.float64


@pytest.mark.parametrize("a", [0.6, 1.0, 1.4])
def test_incomplete_gamma_functions_agree_with_scipy_and_mpmath(a):
    z = torch.tensor([1e-3, 0.3, 4.0, 9.9, 10.1, 60.0, 300.0], dtype=DOUBLE)
    order = torch.full_like(z, a)
    assert np.allclose(model.incomplete_gamma(order, z), special.gammainc(a, z.numpy()), rtol=1e-11)
    wanted = [float(mpmath.exp(float(v)) * mpmath.gammainc(a, float(v), regularized=True)) for v in z]
    assert np.allclose(model.scaled_upper_gamma(order, z), wanted, rtol=1e-8)


@pytest.mark.parametrize("kind", ["I", "II"])
@pytest.mark.parametrize("H", [0.2, 0.5, 0.85])
def test_weights_are_differentiable_and_the_least_error_is_positive(kind, H):
    index = torch.tensor(H, dtype=DOUBLE, requires_grad=True)
    gamma = model.rates(4)
    assert torch.autograd.gradcheck(lambda h: model.optimal_weights(h, gamma, 1.5, kind), (index,), rtol=1e-3)
    error = float(model.relative_error(model.optimal_weights(H, gamma, 1.5, kind), H, gamma, 1.5, kind))
    assert -1e-10 < error < 1


def test_brownian_motion_is_its_own_approximation():
    gamma = model.rates(5)
    assert float(model.relative_error(model.optimal_weights(0.5, gamma), 0.5, gamma)) < 1e-9


def test_exact_covariances_agree_with_their_integrals():
    t = torch.tensor([0.3, 0.8, 2.0])
    for H in (0.2, 0.5, 0.8):
        found = model.fractional_covariance(t, H, "II")
        for i in range(3):
            for j in range(3):
                s, u = sorted((float(t[i]), float(t[j])))
                kernel = lambda v, s=s, u=u, H=H: ((s - v) * (u - v)) ** (H - 0.5)  # noqa: E731
                wanted = mpmath.quad(kernel, [0, s / 2, s]) / mpmath.gamma(H + 0.5) ** 2
                assert float(found[i, j]) == pytest.approx(float(wanted), rel=2e-3)
        one = model.fractional_covariance(t, H, "I")
        assert float(one[2, 2]) == pytest.approx(
            2 ** (2 * H) / (math.gamma(2 * H + 1) * math.sin(math.pi * H)), rel=1e-6
        )
        assert (torch.linalg.eigvalsh(found) > 0).all() and (torch.linalg.eigvalsh(one) > 0).all()


@pytest.mark.parametrize("kind", ["I", "II"])
def test_simulated_paths_have_the_variance_of_fractional_noise(kind):
    noise = model.Noise.of(0.35, kind=kind)
    found = model.simulate(
        noise, torch.zeros(1, 4000, 1), horizon=1.0, steps=400, generator=torch.Generator().manual_seed(0)
    )
    wanted = float(model.fractional_covariance(torch.tensor([1.0]), 0.35, kind)[0, 0])
    assert float(found.x[0, :, -1, 0].var()) == pytest.approx(wanted, rel=0.12)
    assert found.kl.eq(0).all() and found.x.shape == (1, 4000, 401, 1)


def test_a_control_costs_half_its_square_and_moves_the_path():
    noise = model.Noise.of(0.5, K=3)
    options = {"horizon": 1.0, "steps": 100, "generator": torch.Generator().manual_seed(0)}
    found = model.simulate(noise, torch.zeros(2, 500, 1), control=lambda t, x, y, c: torch.full_like(x, 2.0), **options)
    assert torch.allclose(found.kl, torch.full((2, 500), 2.0), atol=1e-4)
    assert float(found.x[..., -1, 0].mean()) == pytest.approx(2.0, abs=0.15)
    drifted = model.simulate(noise, torch.ones(1, 400, 2), drift=lambda x, t: -x, scale=0.01, **options)
    assert float(drifted.x[..., -1, :].mean()) == pytest.approx(math.exp(-1), abs=0.02)


def test_the_best_bound_is_the_evidence_and_that_of_monte_carlo():
    x, _ = study.paths_of(0.4, 3, 0, observations=5, error=0.2)
    noise = model.Noise(model.rates(3), model.optimal_weights(0.4, model.rates(3)))
    places = torch.arange(1, 6) * 8
    best = model.optimal_control(noise, x, places, 0.2, 1.0, 40)
    exact = model.evidence(noise, x, places, 0.2, 1.0, 40)
    assert torch.allclose(model.exact_elbo(noise, best, x, places, 0.2, 1.0), exact, atol=1e-9)
    plain = model.optimal_control(noise, x[:1], places, 0.2, 1.0, 40, free=False)

    def control(t, x, y, context):
        n = round(t * 40)
        z = torch.cat([x[..., None], y], -1)[:, :, 0]
        return (z.double() @ plain.gain[n] + plain.offset[n, 0])[..., None].float()

    options = {"horizon": 1.0, "steps": 40, "generator": torch.Generator().manual_seed(0)}
    found = model.simulate(noise, torch.zeros(1, 20_000, 1), control=control, **options)
    likelihood = model.log_normal(x[0].float(), found.x[0][:, places, 0], 0.2).sum(1)
    wanted = float(model.exact_elbo(noise, plain, x[:1], places, 0.2, 1.0))
    assert float((likelihood - found.kl[0]).mean()) == pytest.approx(wanted, abs=0.15)


def test_hurst_indices_are_recovered():
    for H in (0.3, 0.7):
        x, _ = study.paths_of(H, 100, 3)
        fitted = model.fit_hurst(2.0 * x, std=0.1)
        assert fitted.H == pytest.approx(H, abs=0.07) and fitted.scale == pytest.approx(2.0, rel=0.2)
        fixed = model.fit_hurst(2.0 * x, std=0.1, H=0.5)
        assert fixed.H == 0.5 and fixed.bound.mean() < fitted.bound.mean()


def test_networks_start_without_control_and_a_bridge_is_learned():
    net = model.NetworkControl(2, 3, width=8, context=4, stack=5)
    x, y = torch.randn(5, 7, 2), torch.randn(5, 7, 2, 3)
    assert net(0.3, x, y, torch.randn(5, 7, 4)).eq(0).all()
    found = study.bridge(study.Setting.of("smoke", iterations=40, paths=32), seeds=(0, 1))
    assert found.deviation.shape == (2, 81) and (found.bounds[-5:].mean(0) > found.bounds[:5].mean(0)).all()


def test_videos_are_learned_and_predicted(tmp_path):
    videos = moving_digits(40, seed=0)
    assert videos.shape == (40, 16, 256) and 0 <= videos.min() and videos.max() <= 1
    assert (videos[:, 1:] - videos[:, :-1]).abs().mean() > 0.005
    net = LatentVideo(seed=0)
    bounds = fit(net, videos, iterations=25, batch=16)
    assert bounds[-5:].mean() > bounds[:5].mean()
    one, two = (
        net(
            videos[:2] * (1 if k == 0 else 0.5 + 0.5 * (torch.arange(16) < 8)[None, :, None]),
            torch.Generator().manual_seed(0),
            seen=8,
        )[0]
        for k in range(2)
    )
    assert torch.allclose(one, two)  # nothing after the seen frames is used
    found = study.video(study.Setting.of("smoke"), seeds=(0,))
    found.save(tmp_path / "video.pt")
    assert torch.equal(study.Video.load(tmp_path / "video.pt").frames, found.frames)


def test_own_series_and_results(tmp_path):
    data = load(project_root() / "data" / "samples" / "river.csv")
    result = study.run(study.Setting.of("smoke"), seeds=(0,), data=data)
    assert float(result.elbo[0]) > 0.55 and len(result.to_frame()) == 3
    result.save(tmp_path / "result.pt")
    assert torch.equal(study.Result.load(tmp_path / "result.pt").profile, result.profile)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: model.optimal_weights(1.0, model.rates(3)), "H must lie strictly between 0 and 1"),
        (lambda: model.rates(0), "K must be at least 1"),
        (lambda: model.quadrature_weights(0.7, model.rates(3)), "H must be at most 0.5"),
        (lambda: model.Noise.of(0.5, kind="III"), "kind must be one of"),
        (
            lambda: model.simulate(
                model.Noise.of(0.5), torch.zeros(1, 1, 1), horizon=1.0, steps=10, generator=torch.Generator()
            ),
            "at least 40",
        ),
        (lambda: model.fit_hurst(torch.zeros(2, 7), steps=40), "multiple of the 7 observations"),
        (lambda: model.fit_hurst(torch.full((2, 5), torch.nan)), "observed must be finite"),
        (lambda: study.run(study.Setting(), seeds=(0,), data=3), "data must be a table"),
    ],
)
def test_bad_input_is_refused_in_words(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()
