"""Samplers, learned scores, likelihoods and qualities: closed forms, scipy and POT, files, own points, refusals."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from lab import datasets, generative
from lab.claims import coverage, methods
from lab.generative import SDES, VE, VP, GaussianMixture, quality, samplers, score_sde, scores
from lab.generative.samplers import Noise, Observed
from lab.generative.studies import score_sde as study
from lab.generative.studies.common import images, images_of

DOUBLE = torch.float64


# Langevin steps alone do not cross from VE's deviation of 50 in 150 levels
@pytest.mark.parametrize(
    ("name", "sampler"), [(n, s) for n in SDES for s in score_sde.SAMPLERS if (n, s) != ("VE", "corrector")]
)
def test_every_sampler_brings_a_gaussian_back(name, sampler):
    target = GaussianMixture(torch.tensor([[1.0, -1.0]]), 0.5)
    options = {"sampler": sampler, "steps": 150, "seeds": (0, 1), "snr": 0.3}
    found = score_sde.draw(target.at(SDES[name]()), SDES[name](), 2000, 2, **options)
    assert found.x.shape == (2, 2000, 2)
    assert torch.allclose(found.x.mean(1), target.means.expand(2, 2), atol=0.15)
    assert torch.allclose(found.x.std(1), torch.full((2, 2), 0.5).double(), atol=0.12)


def test_samples_of_a_seed_do_not_depend_on_the_others_and_repeat():
    score = GaussianMixture.ring().at(VP())
    one, two = (samplers.reverse(score, VP(), 5, 2, seeds=s, steps=25, corrections=1).x for s in ((3,), (1, 3)))
    assert torch.equal(one[0], two[1])
    assert samplers.reverse(score, VP(), 5, 2, steps=25, corrections=1).evaluations == 50


def test_the_kernel_is_bayes_rule_by_quadrature_and_that_of_ddpm():
    sde, t, s = VP(), torch.tensor(0.6, dtype=DOUBLE), torch.tensor(0.5, dtype=DOUBLE)
    x, x0 = torch.tensor([[0.4]], dtype=DOUBLE), torch.tensor([[-0.9]], dtype=DOUBLE)
    mean, std = samplers.kernel(sde, x, x0, t, s)
    u = torch.linspace(-6, 6, 200_001, dtype=DOUBLE)
    a = sde.mean(t) / sde.mean(s)
    forward = torch.distributions.Normal(a * u, torch.sqrt(sde.std(t) ** 2 - a**2 * sde.std(s) ** 2)).log_prob(x[0])
    weight = (forward + torch.distributions.Normal(sde.mean(s) * x0[0], sde.std(s)).log_prob(u)).softmax(0)
    assert float(mean) == pytest.approx(float((weight * u).sum()), abs=1e-7)
    assert float(std**2) == pytest.approx(float((weight * (u - mean[0]) ** 2).sum()), abs=1e-7)
    abar_t, abar_s = sde.mean(t) ** 2, sde.mean(s) ** 2
    beta = 1 - abar_t / abar_s
    assert float(std**2) == pytest.approx(float(beta * (1 - abar_s) / (1 - abar_t)))
    wanted = (abar_s.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - abar_s) * x) / (1 - abar_t)
    assert torch.allclose(mean, wanted)


def test_likelihood_of_a_mixture_and_its_estimate():
    target, x = GaussianMixture.ring(), GaussianMixture.ring().sample(30, 4)
    exact, calls = samplers.log_likelihood(target.at(VP()), VP(), x, rtol=1e-6, atol=1e-6)
    assert torch.allclose(exact, target.log_density(x), atol=2e-3) and calls < 400
    rough, _ = samplers.log_likelihood(target.at(VP()), VP(), x, probes=200)
    assert float((rough - exact).mean().abs()) < 0.05


def test_divergence_is_the_trace_of_the_jacobian():
    f = lambda x: torch.stack([x[..., 0] ** 2 * x[..., 1], torch.sin(x[..., 1])], -1)  # noqa: E731
    x = torch.randn(3, 4, 2, dtype=DOUBLE)
    value, div = samplers.divergence(f, x)
    assert torch.equal(value, f(x))
    assert torch.allclose(div, 2 * x[..., 0] * x[..., 1] + torch.cos(x[..., 1]))


def test_what_is_observed_stays_and_grey_is_a_coordinate():
    basis, known = score_sde.grey_basis(4)
    assert torch.allclose(basis @ basis.T, torch.eye(12).double(), atol=1e-12)
    image = torch.rand(12).double()
    assert torch.allclose((image @ basis)[:4], image.reshape(3, 4).sum(0) / math.sqrt(3))
    seen = Observed(known, image @ basis, basis)
    target = GaussianMixture(torch.zeros(1, 12), 1.0)
    x = score_sde.draw(target.at(VP()), VP(), 6, 12, steps=22, observed=seen).x[0]
    assert torch.allclose((x @ basis)[:, :4], (image @ basis)[:4].expand(6, 4))
    with pytest.raises(ValueError, match="sampler must not be 'flow'"):
        score_sde.draw(target.at(VP()), VP(), 6, 12, sampler="flow", observed=seen)


def test_stacked_networks_learn_what_single_ones_learn_and_stand_in_a_file(tmp_path):
    x = GaussianMixture.ring().sample(200, 0)
    both = scores.train_score(VP(), x, seeds=(0, 1), steps=20, width=16)
    alone = scores.train_score(VP(), x, seeds=(1,), steps=20, width=16)
    at = torch.randn(2, 7, 2, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    t = torch.rand(2, 7, dtype=DOUBLE)
    assert torch.allclose(both(at, t)[1], alone(at[1:], t[1:])[0], atol=1e-4)
    both.save(tmp_path / "score.pt")
    assert torch.equal(scores.LearnedScore.load(tmp_path / "score.pt")(at, t), both(at, t))
    tweedie = (at + (VP().std(t) ** 2)[..., None] * both(at, t)) / VP().mean(t)[..., None]
    assert torch.allclose(both.denoised(at, t), tweedie, atol=1e-5)


def test_a_u_net_takes_rows_and_the_classifier_has_a_gradient():
    net = scores.ImageNetwork((1, 6, 6), widths=(4, 8))
    assert net(torch.randn(3, 37)).shape == (3, 36)
    x, y = torch.randn(60, 3), torch.arange(60) % 2
    judge = scores.train_classifier(VP(), x, y, classes=2, steps=5, width=8)
    at, t = torch.randn(1, 4, 3), torch.tensor(0.3)
    slope = judge.gradient(at, t, torch.zeros(4).long())
    h = 1e-2
    for k in range(3):
        step = torch.zeros(3)
        step[k] = h
        up, down = (judge.logits(at + sign * step, t).log_softmax(-1)[..., 0] for sign in (1, -1))
        assert torch.allclose(slope[..., k], (up - down) / (2 * h), atol=2e-3)


def test_qualities_against_pot_scipy_and_closed_forms():
    import ot
    from scipy.linalg import sqrtm

    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(300, 3, generator=g, dtype=DOUBLE), 1 + 2 * torch.randn(300, 3, generator=g, dtype=DOUBLE)
    d = torch.randn(3, 40, generator=torch.Generator().manual_seed(5), dtype=DOUBLE)
    wanted = ot.sliced_wasserstein_distance(x.numpy(), y.numpy(), projections=(d / d.norm(dim=0)).numpy())
    assert float(quality.sliced_wasserstein(x, y, 40, 5)) == pytest.approx(wanted)
    a, b = (np.cov(v.numpy().T, bias=True) for v in (x, y))
    gap = float((x.mean(0) - y.mean(0)).square().sum())
    assert float(quality.frechet(x, y)) == pytest.approx(gap + np.trace(a + b - 2 * sqrtm(a @ b).real), rel=1e-6)
    cross = torch.cdist(x, y).mean()
    inner = [torch.pdist(v).mean() for v in (x, y)]
    assert float(quality.energy_distance(x, y)) == pytest.approx(float(2 * cross - sum(inner)))
    kernel = lambda u: torch.exp(-0.5 * (u / 2.0) ** 2)  # noqa: E731
    found = kernel(torch.pdist(x)).mean() + kernel(torch.pdist(y)).mean() - 2 * kernel(torch.cdist(x, y)).mean()
    assert float(quality.mmd(x, y, 2.0)) == pytest.approx(float(found))
    assert quality.sliced_wasserstein(torch.stack([x, y]), x).shape == (2,)
    centres = torch.tensor([[0.0, 0.0], [9.0, 9.0]])
    assert float(quality.coverage(torch.zeros(10, 2), centres, 1.0)) == 0.5
    assert float(quality.class_coverage(torch.arange(4), 4)) == pytest.approx(1)
    assert float(quality.class_coverage(torch.zeros(4).long(), 4)) == pytest.approx(0.25)
    assert float(quality.classifier_score(torch.eye(5)[None])) == pytest.approx(5, rel=1e-5)


def test_own_points_from_a_file_in_and_out(tmp_path):
    points = 5 + 3 * torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    np.save(tmp_path / "points.npy", points.numpy())
    model = generative.fit_score(np.load(tmp_path / "points.npy"), steps=400, width=32)
    new = generative.sample(model, 400, tolerance=1e-3)
    assert torch.allclose(new.mean(0), points.mean(0), atol=0.8) and torch.allclose(new.std(0), points.std(0), atol=0.8)
    model.save(tmp_path / "score.pt")
    again = generative.ScoreModel.load(tmp_path / "score.pt")
    assert torch.equal(
        generative.sample(again, 9, sampler="predictor", steps=25),
        generative.sample(model, 9, sampler="predictor", steps=25),
    )
    normal = torch.distributions.Normal(points.mean(0), points.std(0)).log_prob(points[:20]).sum(1)
    assert torch.allclose(generative.log_likelihood(model, points[:20]).mean(), normal.mean(), atol=0.4)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: generative.fit_score(torch.zeros(5, 65)), "at most 64 columns"),
        (lambda: generative.fit_score(torch.zeros(5, 2)), "all the same"),
        (lambda: generative.fit_score(torch.full((5, 2), torch.nan)), "points must be finite"),
        (lambda: generative.fit_score([[1.0, 2.0], [3.0, 4.0]], sde="vp"), "sde must be one of"),
        (lambda: generative.sample(GaussianMixture.ring(), 5, sampler="ode"), "sampler must be one of"),
        (lambda: samplers.reverse(None, VP(), 5, 2, steps=10), "steps must be at least 21"),
        (lambda: samplers.reverse(None, VP(), 5, 2, predict=False), "corrections must be at least 1"),
        (lambda: samplers.reverse(None, VP(), 0, 2), "items must be at least 1"),
        (lambda: quality.sliced_wasserstein(torch.zeros(3, 2), torch.zeros(4, 2)), "as many points"),
        (lambda: Noise(()), "seeds must name"),
        (lambda: study.walk(points=torch.zeros(3, 3)), "2 columns"),
    ],
)  # fmt: skip
def test_refusals_name_the_argument(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_file_of_another_kind_is_refused(tmp_path):
    torch.save({"a": 1}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="holds no score model"):
        generative.ScoreModel.load(tmp_path / "other.pt")
    with pytest.raises(TypeError, match="ScoreModel"):
        generative.sample(3, 5)


def test_a_folder_of_images_runs_the_rows_that_need_one(tmp_path):
    g = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for k in range(10):
            Image.fromarray(g.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(tmp_path / name / f"{k}.png")
    data = datasets.load(tmp_path)
    where = images_of(data)
    assert where.shape == (3, 8, 8) and where.levels == 256 and where.x.shape == (16, 192)
    setting = study.Setting.of("smoke", training=3, network="unet")
    bits = study.bits(setting, seeds=(0,), data=data)
    assert bits.shape == (1,) and 4 < float(bits) < 40
    with pytest.raises(ValueError, match="classification set"):
        images_of(datasets.load("wine"))


def test_images_are_standardized_and_the_judge_knows_them():
    where = images("digits")
    assert where.shape == (1, 8, 8) and where.levels == 17 and float(where.x.std()) == pytest.approx(1, abs=1e-3)
    assert float((where.judge(where.test).argmax(1) == where.test_y).double().mean()) > 0.9


def test_results_stand_in_a_file_and_every_sentence_has_a_row(tmp_path):
    result = study.run(study.Setting.of("smoke", score="exact"), seeds=(0,))
    result.save(tmp_path / "result.pt")
    again = study.Result.load(tmp_path / "result.pt")
    assert again.to_frame().equals(result.to_frame())
    assert float(result.distance["flow"]) < float(result.distance["prior"])
    (method,) = [one for one in methods("generative") if one.id == "score_sde"]
    covered = {number for claim in method.claims for number in claim.sentences}
    assert covered == {sentence.number for sentence in coverage.sentences("score_sde")}


def test_the_training_of_ve_starts_from_scaled_inputs():
    x = GaussianMixture.ring().sample(100, 0)
    found = scores.train_score(VE(), x, steps=3, width=8)
    assert bool(torch.isfinite(found(50 * torch.randn(1, 5, 2).double(), torch.tensor(1.0))).all())
