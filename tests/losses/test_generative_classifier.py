import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from lab.losses.generative_classifier import SharedVarianceGaussianNB, bayes_error, mixture, sample_need


def test_one_feature_is_linear_discriminant_analysis():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=300)
    x = y[:, None] + rng.normal(size=(300, 1))
    ours = SharedVarianceGaussianNB(0.0).fit(x, y).predict_proba(x)
    # the discriminant's shared variance has the same maximum-likelihood form with priors from frequencies
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(x, y).predict_proba(x)
    np.testing.assert_allclose(ours, theirs, atol=5e-3)


def test_scores_are_log_prior_plus_log_density():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(50, 4)) + 100, rng.integers(2, size=50)
    model = SharedVarianceGaussianNB(0.0).fit(x, y)
    variance = sum((y == k).mean() * x[y == k].var(0) for k in (0, 1))
    exact = [np.log((y == k).mean()) - 0.5 * ((x - x[y == k].mean(0)) ** 2 / variance).sum(1) for k in (0, 1)]
    scores = model.decision_function(x)
    np.testing.assert_allclose(scores[:, 1] - scores[:, 0], exact[1] - exact[0], rtol=1e-8)


def test_partial_fits_equal_one_fit():
    x, y = (v.numpy() for v in mixture(6, 3, 0, samples=400))
    whole = SharedVarianceGaussianNB().fit(x, y)
    parts = SharedVarianceGaussianNB()
    for start in range(0, 400, 90):
        parts.partial_fit(x[start : start + 90], y[start : start + 90], classes=[0, 1, 2])
    np.testing.assert_allclose(parts.predict_proba(x), whole.predict_proba(x), atol=1e-9)
    assert np.array_equal(
        whole.fit(x[:100], y[:100]).predict(x), SharedVarianceGaussianNB().fit(x[:100], y[:100]).predict(x)
    )


@pytest.mark.parametrize("n", [2, 4, 10])
def test_bayes_error_of_the_mixture_agrees_with_its_discriminant(n):
    x, y = mixture(n, 2, 0, samples=200_000)
    variance = torch.ones(n, dtype=torch.float64)
    variance[: n // 2] = n
    wrong = ((x / variance).sum(1) > 0).long() != y
    assert wrong.double().mean().item() == pytest.approx(bayes_error(n), abs=4 * (bayes_error(n) / 200_000) ** 0.5)


def test_constant_features_do_not_dominate():
    x, y = (v.numpy() for v in mixture(6, 2, 0, samples=300))
    widened = np.concatenate([x, np.ones((300, 2))], 1)
    test_x, test_y = (v.numpy() for v in mixture(6, 2, 1, samples=2000))
    shifted = np.concatenate([test_x, np.ones((2000, 2)) + 1e-3], 1)
    accuracy = (SharedVarianceGaussianNB(1e-6).fit(widened, y).predict(shifted) == test_y).mean()
    assert accuracy > 0.9


def test_naive_bayes_needs_fewer_samples_than_logistic_regression():
    def sampler(generator, samples):
        return mixture(20, 2, generator, samples=samples)

    sizes = [int(6 * 1.5**k) for k in range(9)]
    target = bayes_error(20) + 0.01
    bayes = sample_need(SharedVarianceGaussianNB, sampler, target, sizes=sizes, repeats=3, test=4000)
    logistic = sample_need(
        lambda: LogisticRegression(max_iter=1000), sampler, target, sizes=sizes, repeats=3, test=4000
    )
    assert bayes.mean < logistic.mean


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least 2 classes"):
        SharedVarianceGaussianNB().fit(np.ones((3, 2)), [1, 1, 1])
    with pytest.raises(ValueError, match="NaN"):
        SharedVarianceGaussianNB().fit(np.array([[np.nan], [1.0]]), [0, 1])
    model = SharedVarianceGaussianNB().partial_fit(np.ones((2, 1)), [0, 1], classes=[0, 1])
    with pytest.raises(ValueError, match="not named"):
        model.partial_fit(np.ones((1, 1)), [2])
