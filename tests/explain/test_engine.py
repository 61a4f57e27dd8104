"""Real inputs, error bars, determinism and refusals of the engine."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from lab import explain as E
from lab.explain import solve
from tests.explain.test_presets import instances, network


def frame():
    generator = np.random.default_rng(0)
    size = generator.choice(["small", "large"], 60)
    return pd.DataFrame({
        "age": generator.integers(20, 60, 60), "income": generator.normal(size=60),
        "colour": pd.Categorical(generator.choice(["red", "green", "blue"], 60)), "size": size,
        "member": generator.random(60) < 0.5,
    })  # fmt: skip


def value_of(rows: pd.DataFrame) -> np.ndarray:
    colour = rows["colour"].map({"red": 1.0, "green": -1.0, "blue": 0.5}).astype(float)
    return (0.1 * rows["age"] + 2 * rows["income"] + colour * (rows["size"] == "large") + rows["member"]).to_numpy(
        float
    )


def test_frame_gives_named_shapley_values_that_sum_to_the_rise():
    x = frame()
    found = E.kernelshap(value_of, x[:7], baseline=E.typical(x))
    assert found.names == ("age", "income", "colour", "size", "member")
    rise = value_of(x[:7]) - value_of(E.typical(x))
    np.testing.assert_allclose(found.weights.sum(1).numpy(), rise, atol=1e-10)
    named = found.to_frame().query("instance == 0").set_index("feature")["weight"]
    assert named["income"] == pytest.approx(2 * (x["income"][0] - E.typical(x)["income"][0]))


def test_one_hot_group_equals_the_value_through_a_preprocessing_wrapper():
    x = frame()
    hot = pd.get_dummies(x, columns=["colour"]).drop(columns=["size", "member"])
    columns = [name for name in hot.columns if name.startswith("colour")]
    w = np.array([0.3, -0.7, 1.1])

    def on_hot(rows):
        return 0.1 * rows["age"].to_numpy() + np.tanh(rows[columns].to_numpy(float) @ w * rows["income"].to_numpy())

    def on_raw(rows):
        dummies = pd.get_dummies(rows, columns=["colour"]).reindex(columns=hot.columns, fill_value=False)
        return on_hot(dummies)

    grouped = E.kernelshap(on_hot, hot[:4], baseline=hot[9:10], features={"colour": columns})
    raw = E.kernelshap(on_raw, x[["age", "income", "colour"]][:4], baseline=x[["age", "income", "colour"]][9:10])
    for name in ("age", "income", "colour"):
        ours = grouped.weights[:, grouped.names.index(name)]
        torch.testing.assert_close(ours, raw.weights[:, raw.names.index(name)], atol=1e-6, rtol=0)


def test_sklearn_pipeline_with_categories_and_missing_values_is_explained():
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    x = frame()
    x.loc[3, "income"] = np.nan
    x["size"] = x["size"].astype(object)
    x.loc[5, "size"] = np.nan
    y = (x["age"] > 40).astype(int)
    model = make_pipeline(
        make_column_transformer((SimpleImputer(), ["age", "income"]),
                                (OneHotEncoder(handle_unknown="ignore"), ["colour", "size"])),
        LogisticRegression(max_iter=1000),
    ).fit(x, y)  # fmt: skip
    found = E.kernelshap(model.predict_proba, x[:8], baseline=E.typical(x), target=1)
    rise = model.predict_proba(x[:8])[:, 1] - model.predict_proba(E.typical(x))[:, 1]
    np.testing.assert_allclose(found.weights.sum(1).numpy(), rise, atol=1e-9)
    assert float(found.weights[:, found.names.index("member")].abs().max()) < 1e-12
    swapped = E.explain(model.predict_proba, x[:4], neighbourhood=E.Categories(x, E.Shapley(), pool=20), target=1)
    assert torch.isfinite(swapped.weights).all()


def test_categories_give_the_shapley_values_of_the_mean_over_observed_rows():
    levels = torch.randint(0, 3, (30, 4), generator=torch.Generator().manual_seed(1)).double()
    effect = torch.randn(4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def f(z):
        return effect[torch.arange(4), z.long()].sum(1)

    mean = torch.stack([effect[j, levels[:, j].long()].mean() for j in range(4)])
    truth = effect[torch.arange(4), levels[:3].long()] - mean
    every = E.explain(f, levels[:3], neighbourhood=E.Categories(levels, E.Shapley()), n_samples=14 * 30)
    assert every.diagnostics.exact
    torch.testing.assert_close(every.weights, truth, atol=1e-10, rtol=0)
    some = E.explain(f, levels[:3], neighbourhood=E.Categories(levels, E.Shapley()), n_samples=14 * 12)
    assert not some.diagnostics.exact
    low, high = some.interval
    assert bool(((low <= truth) & (truth <= high)).all())


def test_superpixels_of_a_batch_of_images_are_groups():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 2, 8, 8, generator=generator, dtype=torch.float64)
    w = torch.randn(2, 8, 8, generator=generator, dtype=torch.float64)
    labels = torch.from_numpy(E.grid((8, 8), 2))
    found = E.kernelshap(lambda z: (z * w).sum((1, 2, 3)), image, features=labels)
    assert found.weights.shape == (3, 4)
    expected = torch.stack([((image * w).sum(1) * (labels == k)).sum((1, 2)) for k in range(4)], 1)
    torch.testing.assert_close(found.weights, expected, atol=1e-10, rtol=0)
    gradients = E.gradient_x_input(lambda z: (z * w).sum((1, 2, 3)), image, features=labels)
    torch.testing.assert_close(gradients.weights, expected, atol=1e-10, rtol=0)


def test_superpixels_follow_the_edges_of_an_image():
    image = np.zeros((32, 32))
    image[:, 16:] = 1
    labels = E.superpixels(image, 8)
    assert labels.shape == (32, 32)
    assert not set(labels[:, :15].ravel()) & set(labels[:, 17:].ravel())


def test_token_masks_replace_tokens_by_the_mask_id_and_keep_padding():
    table = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tokens = torch.tensor([[4, 8, 15, 16, 0, 0], [23, 42, 7, 9, 11, 0]])
    labels = torch.where(tokens == 0, -1, torch.arange(6))

    def f(z):
        assert bool((z[:, 5] == 0).all()), "padding must not move"
        return table[z].sum(1)

    found = E.kernelshap(f, tokens, baseline=3, features=labels)
    expected = torch.where(tokens[:, :5] == 0, 0.0, table[tokens[:, :5]] - table[3])
    torch.testing.assert_close(found.weights, expected, atol=1e-10, rtol=0)
    with pytest.raises(TypeError, match="tokens"):
        E.smoothgrad(f, tokens)


def test_all_outputs_one_output_and_the_predicted_one_agree():
    f, x = network(5, outputs=3), instances(4, 5)
    every = E.clime(f, x, n_samples=300)
    assert every.weights.shape == (4, 5, 3)
    picked = f(x).argmax(1)
    predicted = E.clime(f, x, n_samples=300, target="predicted")
    torch.testing.assert_close(predicted.weights, every.weights[torch.arange(4), :, picked], atol=1e-9, rtol=0)
    torch.testing.assert_close(E.gradients(f, x, target=2).weights, E.gradients(f, x).weights[..., 2])
    assert len(every.to_frame()) == 60


@pytest.mark.parametrize("name", list(E.METHODS))
def test_same_seed_same_bits_and_an_instance_alone_as_in_a_batch(name):
    f, x = network(14, dtype=torch.float32), instances(9, 14, dtype=torch.float32)
    state = torch.random.get_rng_state()
    first, again = E.METHODS[name](f, x), E.METHODS[name](f, x)
    assert torch.equal(first.weights, again.weights)
    assert torch.equal(first.standard_error, again.standard_error)
    assert torch.equal(state, torch.random.get_rng_state())
    alone = E.METHODS[name](f, x[4:5])
    torch.testing.assert_close(alone.weights[0], first.weights[4], atol=1e-5, rtol=1e-4)
    order = torch.tensor([8, 7, 6, 5, 4, 3, 2, 1, 0])
    torch.testing.assert_close(E.METHODS[name](f, x[order]).weights, first.weights[order], atol=1e-5, rtol=1e-4)
    if name not in ("C-LIME", "SmoothGrad"):
        chunked = E.METHODS[name](f, x, max_bytes=14 * 4 * 4 * 7)
        torch.testing.assert_close(chunked.weights, first.weights, atol=1e-5, rtol=1e-4)


def test_large_instances_are_timed_in_several_chunk_sizes_with_equal_results():
    f = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 62 * 62, 1)
    )
    f = f.eval().double()
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.from_numpy(E.grid((64, 64), 4))
    first = E.kernelshap(f, image, features=labels, n_samples=400)
    second = E.kernelshap(f, image, features=labels, n_samples=400)
    assert first.diagnostics.chunk in (16, 64, 256)
    torch.testing.assert_close(first.weights, second.weights, atol=1e-10, rtol=0)


def test_new_width_is_resolved_without_calls_and_equals_a_new_fit():
    f, x = network(6), instances(4, 6)
    wide = E.lime(f, x, width=3.0)
    calls = []
    narrow = wide.resolve(E.Masks(E.Exponential(1.2)))
    torch.testing.assert_close(narrow.weights, E.lime(f, x, width=1.2).weights, atol=1e-9, rtol=0)
    assert narrow.diagnostics.calls == 0
    shapley = wide.resolve(E.Masks(E.Shapley()))
    torch.testing.assert_close(shapley.weights, E.kernelshap(f, x).weights, atol=1e-8, rtol=0)
    assert not calls
    with pytest.raises(ValueError, match="stays within one kind"):
        wide.resolve(E.Gaussian(0.1))


def test_jackknife_intervals_cover_exact_shapley_values_on_fresh_seeds():
    f, x = network(12, hidden=24, activation=torch.nn.ReLU), instances(8, 12)
    exact = E.kernelshap(f, x, n_samples=4096).weights
    covered = []
    for seed in range(10):
        found = E.kernelshap(f, x, n_samples=300, seed=seed)
        low, high = found.interval
        covered.append(((low <= exact) & (exact <= high)).double().mean())
    assert 0.90 <= float(torch.stack(covered).mean()) <= 0.995


def test_until_doubles_the_draws_until_the_interval_is_narrow():
    f, x = network(14, hidden=24), instances(3, 14)
    loose = E.kernelshap(f, x, n_samples=128)
    half = float((loose.quantile * loose.standard_error).max())
    tight = E.kernelshap(f, x, n_samples=128, until=half / 3)
    assert float((tight.quantile * tight.standard_error).max()) <= half / 3
    assert tight.diagnostics.draws > loose.diagnostics.draws
    assert bool(tight.diagnostics.converged.all())


def test_integrated_gradients_honour_the_completeness_tolerance_on_relu_kinks():
    f, x = network(10, hidden=32, activation=torch.nn.ReLU), instances(20, 10)
    plain = E.integrated_gradients(f, x)
    certain = E.integrated_gradients(f, x, until=1e-6)
    rise = (f(x) - f(torch.zeros(1, 10).double())).detach()[:, 0]
    assert float((plain.weights.sum(1) - rise).abs().max()) > 1e-4
    assert float((certain.weights.sum(1) - rise).abs().max()) <= 1e-6
    assert float(certain.diagnostics.completeness_gap.max()) <= 1e-6


def test_links_quadratic_and_sparse_surrogates_recover_their_own_models():
    w = torch.tensor([3.0, -2.0, 0.0, 5.0], dtype=torch.float64)
    x = 0.3 * instances(5, 4)
    for sigma in (0.1, 0.01):
        logistic = E.clime(lambda z: torch.sigmoid(z @ w), x, sigma=sigma, model=E.Linear(link="logit"))
        assert float((logistic.weights - w).abs().sum(1).max()) < 1e-6
    grown = E.smoothgrad(lambda z: torch.exp(z @ w), x, model=E.Linear(link="log"))
    assert float((grown.weights - w).abs().max()) < 1e-8
    matrix = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    symmetric = matrix + matrix.T
    square = E.clime(lambda z: torch.einsum("ni,ij,nj->n", z, matrix, z), x, sigma=1.0, model=E.Linear(degree=2))
    torch.testing.assert_close(square.weights, x @ symmetric, atol=1e-8, rtol=0)
    off = ~torch.eye(4, dtype=torch.bool)
    torch.testing.assert_close(square.interactions[0][off], symmetric[off], atol=1e-8, rtol=0)
    xi = instances(6, 4, seed=3)
    torch.testing.assert_close(square.predict(xi)[1], torch.einsum("ni,ij,nj->n", x[1] + xi, matrix, x[1] + xi))
    sparse = E.clime(lambda z: z @ w, x, sigma=1.0, model=E.Linear(penalty=0.05))
    assert float(sparse.weights[:, 2].abs().max()) == 0.0
    everything = E.clime(lambda z: z @ w, x, sigma=1.0, model=E.Linear(penalty=1.0))
    assert float(everything.weights.abs().max()) < 1e-9


def test_sobolev_loss_has_the_gaussian_limit():
    f, x = network(5), instances(3, 5)
    reference = E.smoothgrad(f, x, sigma=0.5, n_samples=40_000).weights
    found = E.explain(f, x, neighbourhood=E.Gaussian(0.5), loss=E.Sobolev(0.25), n_samples=20_000).weights
    torch.testing.assert_close(found, reference, atol=3e-3, rtol=0)


def test_explanation_is_saved_and_loaded_without_f(tmp_path):
    found = E.lime(network(6), instances(2, 6))
    back = E.load(found.save(tmp_path / "one.npz"))
    assert torch.equal(back.weights, found.weights)
    assert back.names == found.names
    with pytest.raises(ValueError, match="holds no f"):
        E.risk(back, E.Gaussian(0.1))


def test_warnings_say_what_is_wrong_in_words():
    f, x = network(20), 4 * instances(2, 20)
    with pytest.warns(E.ExplanationWarning, match="effective draws|singular"):
        found = E.lime(f, x, width=0.5)
    assert not bool(found.diagnostics.converged.all())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        E.kernelshap(f, x)


def random_f(x):
    return torch.rand(len(x))


def failing(x):
    if len(x) > 8:
        raise KeyError("inside f")
    return x.sum(1)


X = torch.ones(3, 4)
BAD = [
    (random_f, {}, ValueError, "must be a function"),
    (lambda x: x.sum(), {}, ValueError, "one value or one row"),
    (lambda x: x.sum(1)[:1], {}, ValueError, "one value or one row"),
    (lambda x: x.sum(1) * math.nan, {}, ValueError, "finite"),
    (
        lambda x: x.sum(1) + x.mean(),
        {"baseline": 0.0, "_x": torch.arange(12.0).reshape(3, 4)},
        ValueError,
        "depends on the other rows",
    ),
    (lambda x: (x, x), {}, TypeError, "one array"),
    (lambda x: ["a"] * len(x), {}, TypeError, "one array"),
    (lambda x: np.array(["a"] * len(x)), {}, TypeError, "predict_proba"),
    (None, {}, TypeError, "callable"),
    (lambda x: x.sum(1), {"baseline": torch.ones(5)}, ValueError, "baseline"),
    (lambda x: x.sum(1), {"baseline": math.nan}, ValueError, "baseline"),
    (lambda x: x.sum(1), {"features": torch.arange(5)}, ValueError, "features"),
    (lambda x: x.sum(1), {"features": torch.ones(4)}, TypeError, "integer labels"),
    (lambda x: x, {"target": 4}, ValueError, "target"),
    (lambda x: x, {"target": torch.tensor([0, 1])}, ValueError, "target"),
    (lambda x: x.sum(1), {"n_samples": 0}, ValueError, "n_samples"),
    (lambda x: x.sum(1), {"confidence": 1.0}, ValueError, "confidence"),
    (lambda x: x.sum(1), {"until": -1.0}, ValueError, "until"),
    (lambda x: x.sum(1), {"loss": "absolute"}, ValueError, "loss"),
    (lambda x: x.sum(1), {"neighbourhood": "gaussian"}, TypeError, "neighbourhood"),
    (lambda x: x.sum(1), {"neighbourhood": E.Scaling(0, 1)}, ValueError, "loss='gradient'"),
    (lambda x: x.sum(1), {"neighbourhood": E.LeaveOneOut(), "loss": "gradient"}, ValueError, "no derivative"),
    (lambda x: x.detach().sum(1), {"loss": "gradient"}, TypeError, "no gradient"),
    (lambda x: x.sum(1), {"model": E.Linear(link="logit")}, ValueError, "strictly between 0 and 1"),
    (lambda x: x.sum(1), {"_x": torch.full((2, 3), math.inf)}, ValueError, "x must be finite"),
    (lambda x: x.sum(1), {"_x": torch.ones(4)}, ValueError, "leading axis"),
    (failing, {}, KeyError, "inside f"),
]


@pytest.mark.parametrize("f, arguments, kind, words", BAD)
def test_bad_input_is_refused_in_words(f, arguments, kind, words):
    arguments = dict(arguments)
    x = arguments.pop("_x", X)
    with pytest.raises(kind, match=words):
        E.explain(f, x, **arguments)


def test_an_error_of_f_names_the_rows_that_raised_it():
    with pytest.raises(KeyError) as raised:
        E.explain(failing, X)
    assert any("instances 0 to" in note and "draws" in note for note in raised.value.__notes__)


def test_training_mode_with_dropout_is_refused_before_any_call():
    with pytest.raises(ValueError, match=r"call f.eval\(\)"):
        E.clime(torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Dropout()), X)


def test_frames_refuse_unseen_levels_missing_columns_and_noise_on_categories():
    x = frame()
    strange = x.copy()
    strange["size"] = "gigantic"
    with pytest.raises(ValueError, match="gigantic"):
        E.explain(value_of, strange[:2], neighbourhood=E.Categories(x))
    with pytest.raises(ValueError, match="lacks the columns"):
        E.kernelshap(value_of, x[:2], baseline=x[["age"]][:1])
    with pytest.raises(ValueError, match="baseline is needed"):
        E.kernelshap(value_of, x[:2])
    with pytest.raises(TypeError, match="categorical columns"):
        E.clime(value_of, x[:2], n_samples=10)
    with pytest.raises(ValueError, match="did you mean"):
        E.kernelshap(value_of, x[:2], baseline=x[:1], features={"a": ["agee"]})
    levels = pd.DataFrame({"level": pd.Categorical(["a", "b"]), "size": [1.0, 2.0]})
    with pytest.raises(ValueError, match="'zz' is not among the categories"):
        E.kernelshap(lambda rows: rows["size"].to_numpy(), levels, baseline={"level": "zz", "size": 0.0})


def test_individual_weights_agree_with_the_shared_solver():
    generator = torch.Generator().manual_seed(0)
    psi = torch.randn(300, 5, generator=generator, dtype=torch.float64)
    y = torch.randn(2, 300, 1, generator=generator, dtype=torch.float64)
    weight = torch.rand(300, generator=generator, dtype=torch.float64)
    group = torch.arange(300) % 20
    shared = solve.least_squares(psi, weight, y, group)
    own = solve.least_squares(psi, weight.expand(2, 300), y, group)
    torch.testing.assert_close(own.theta, shared.theta)
    ratio = own.variance().sqrt() / shared.variance().sqrt()
    assert 0.8 < float(ratio.mean()) < 1.2
