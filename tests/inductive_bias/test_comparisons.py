"""Rankings, curves, edits, the bit map, neighbours, the published route, least bits, scale."""

import math
import re

import numpy as np
import pytest
import torch

from lab.inductive_bias import (
    NNGP,
    NTK,
    RBF,
    AddDimensions,
    FewerLabels,
    KernelSpace,
    LabelNoise,
    Linear,
    Matern,
    Reaches,
    RotateImages,
    Share,
    ShuffleFeatures,
    Task,
    bit_map,
    bits_over_dimension,
    bits_over_n_test,
    bits_over_n_train,
    bound_2023,
    compare,
    cosine_task,
    estimates,
    hardest,
    least_bits,
    price,
    published,
    rank_own_table,
    related_measures,
    required_bits,
    scale,
    task_edits,
)
from lab.inductive_bias.studies import few_shot_task, pendulum_task

from .cases import digits, smooth


def test_ranking_holds_everything_a_number_depends_on():
    frame = compare([KernelSpace(Linear()), KernelSpace(RBF()), KernelSpace(NNGP(2))], digits(60, 40), 0.04)
    assert frame["bits"].iloc[-1] == math.inf
    assert frame["verdict"].iloc[-1] == "unreachable"
    assert (frame["bits"].diff().dropna() >= 0).all()
    for name in ("n_train", "n_test", "eps", "amplitude", "width", "floor", "reasons", "evidence_bits"):
        assert name in frame
    assert (
        frame.loc[frame["space"] == "RBF", "bits"].item()
        == required_bits(KernelSpace(RBF()).loss_law(digits(60, 40)), 0.04).bits
    )


def test_own_csv_gives_a_ranked_table(tmp_path):
    import pandas as pd

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(120, 3)), columns=["a", "b", "c"])
    frame["kind"] = rng.choice(["red", "blue"], 120)
    frame["answer"] = np.where(frame["a"] * frame["b"] + (frame["kind"] == "red") > 0, "yes", "no")
    frame.loc[5, "b"] = np.nan
    frame.to_csv(tmp_path / "own.csv", index=False)
    ranked = rank_own_table(tmp_path / "own.csv", eps_rule=Share(0.8))
    assert len(ranked) == 11
    assert np.isfinite(ranked["bits"].iloc[0])
    assert ranked["n_train"].iloc[0] + ranked["n_test"].iloc[0] == 119
    with pytest.raises(ValueError, match="target"):
        rank_own_table(tmp_path / "own.csv", target="anwser")


def test_threshold_of_a_model_is_what_it_reaches():
    from sklearn.linear_model import LinearRegression

    task = smooth(60, 40)
    eps = Reaches(LinearRegression()).of(task)
    model = LinearRegression().fit(task.train_inputs, task.train_targets)
    assert eps == pytest.approx(float(((model.predict(task.test_inputs) - task.test_targets.numpy()) ** 2).mean()))


def test_more_dimensions_need_more_bits_and_more_labels_fewer():
    assert (bits_over_dimension([6, 8, 10, 15], n_train=100, n_test=100)["bits"].diff().dropna() > 0).all()
    frame = bits_over_n_train(KernelSpace(RBF()), digits(120, 60), [30, 60, 120], 0.03)
    assert (frame["bits"].diff().dropna() < 0).all()


def test_white_noise_bits_grow_in_proportion_to_the_test_points():
    task = cosine_task(20, n_train=20, n_test=200)
    frame = bits_over_n_test(KernelSpace(RBF(0.1), amplitude=1.0), task, [25, 50, 100, 200], 0.1)
    assert frame["slope"].iloc[1:].min() > 0.8
    found = required_bits(KernelSpace(RBF(0.1), amplitude=1.0).loss_law(task), 0.1)
    assert "white-noise" in found.sentence()


def test_bit_map_adds_up_and_predicts_deletions():
    task, space = digits(60, 50), KernelSpace(RBF())
    law = space.loss_law(task)
    found = bit_map(law, 0.03)
    assert float(found.examples.sum()) + found.remainder == pytest.approx(found.bits, rel=1e-9)
    assert float(found.directions.sum()) == pytest.approx(float(found.examples.sum()), rel=1e-9)
    assert float(found.examples.min()) >= 0
    actual = []
    for j in range(50):
        keep = torch.arange(50) != j
        part = task.replaced(test_inputs=task.test_inputs[keep], test_targets=task.test_targets[keep])
        actual.append(found.bits - required_bits(space.loss_law(part), 0.03).bits)
    predicted = found.deletion.numpy()
    assert np.corrcoef(actual, predicted)[0, 1] > 0.99
    # at the threshold the passing hypotheses have exactly that loss
    assert float(found.error.mean()) == pytest.approx(0.03, rel=1e-6)


def test_bit_map_refuses_what_it_cannot_explain():
    law = KernelSpace(RBF()).loss_law(digits(40, 30))
    for eps, word in ((2 * law.mean, "above the mean"), (0.0, "not reachable")):
        with pytest.raises(ValueError, match=word):
            bit_map(law, eps)


def test_edits_cost_what_they_destroy():
    task = digits(120, 60)
    space = KernelSpace(RBF(), noise=1e-3)
    table = price(space, task, [FewerLabels(0.25), LabelNoise(0.3), RotateImages(60.0), AddDimensions(40)], Share(0.4))
    added = table.set_index("edit")["added_bits"]
    assert (added.drop("none") > 0).all()
    assert added["none"] == 0
    # a dense kernel does not see the order of the features
    assert price(space, task, [ShuffleFeatures()], Share(0.4))["added_bits"].abs().max() < 1e-6


def test_search_finds_the_hardest_pair():
    task, space = digits(60, 40), KernelSpace(RBF(), noise=1e-3)
    options = [FewerLabels(0.5), LabelNoise(0.2), RotateImages(45.0)]
    chosen, table = hardest(space, task, options, steps=2, eps_rule=Share(0.5))
    best, _ = task_edits.exhaustive(space, task, options, steps=2, eps_rule=Share(0.5))
    assert table["bits"].iloc[-1] >= 0.8 * best
    assert (table["bits"].diff().dropna() > 0).all()


def test_prequential_code_with_fixed_hyperparameters_is_the_marginal_likelihood():
    task = smooth(24, 5)
    space = KernelSpace(RBF(0.7), amplitude=1.3, noise=0.05)
    evidence = -space.condition(task).meta["log_marginal_likelihood"] / math.log(2)
    assert related_measures.prequential_bits(space, task, blocks=6) == pytest.approx(evidence, rel=1e-8)


def test_leave_one_out_agrees_with_leaving_out():
    task = smooth(12, 5)
    space = KernelSpace(Matern(0.8), amplitude=1.0, noise=0.1)
    errors = []
    for i in range(12):
        keep = torch.arange(12) != i
        part = task.replaced(
            train_inputs=task.train_inputs[keep],
            train_targets=task.train_targets[keep],
            test_inputs=task.train_inputs[i : i + 1],
            test_targets=task.train_targets[i : i + 1],
        )
        errors.append(float(part.losses(space.condition(part).mean[None])[0]))
    assert related_measures.leave_one_out_loss(space, task) == pytest.approx(np.mean(errors), rel=1e-8)


def test_bound_of_2023_grows_exponentially_with_dimension():
    logs = [bound_2023(dimension=m, n_train=1000, eps=0.01, radius=2.0, resolution=0.5).log10_bits for m in (4, 8, 16)]
    assert logs[0] < logs[1] < logs[2]
    assert logs[2] - logs[1] > 2
    mnist = bound_2023(
        dimension=14, n_train=60_000, eps=1e-3, radius=17.179, resolution=2.3987, outputs=9, combinations=10
    )
    assert mnist.log10_bits == pytest.approx(16.17, abs=0.02)


def test_published_estimate_is_far_too_low_and_changes_with_the_unit():
    law = KernelSpace(RBF(), amplitude=1.0).loss_law(digits(100, 100))
    losses, eps = law.sample(1000, seed=0), 0.5 * law.mean
    assert published.scipy_fit(losses).bits(eps) < 0.7 * required_bits(law, eps).bits
    changed = published.scipy_fit(1000 * losses).bits(1000 * eps)
    assert abs(changed / published.scipy_fit(losses).bits(eps) - 1) > 0.01


def test_sankaran_saturates_where_the_truth_diverges():
    from lab.kernels.chi_square import chi_square_tail

    exact = -chi_square_tail([1.0], 2000.0, 500.0, [400.0, 10.0, 0.1, 1e-6]).log_cdf.numpy()
    found = np.array([published.sankaran_nats(q, 500.0, 2000.0) for q in (400.0, 10.0, 0.1, 1e-6)])
    assert found[0] == pytest.approx(exact[0], rel=0.05)
    assert exact[-1] > 2 * exact[1]
    assert found[-1] < 1.5 * found[1]


def test_adam_conditioning_leaves_an_asymmetric_covariance():
    task = digits(30, 20)
    mean, covariance = published.condition_by_adam(task, width=3.0, epochs=20)
    exact = KernelSpace(RBF(3.0), amplitude=1.0).condition(task)
    assert float((covariance - covariance.T).abs().max()) > 1e-3
    assert float((covariance - exact.covariance).abs().max()) > 1e-2
    assert mean.shape == exact.mean.shape


def test_differentiable_bits_agree_with_the_saddlepoint_and_their_differences():
    task = cosine_task(3, n_train=12, n_test=6)
    posterior = KernelSpace(RBF(0.5), amplitude=1.0).condition(task)
    mean, covariance = posterior.mean.clone().requires_grad_(), posterior.covariance.clone().requires_grad_()

    def bits(m, c):
        return least_bits.bits(m, (c + c.T) / 2, task.test_targets, 0.01)

    assert torch.autograd.gradcheck(bits, (mean, covariance), rtol=1e-4)
    assert float(bits(mean, covariance).detach()) == pytest.approx(
        required_bits(posterior.quadratic_law(), 0.01).bits, rel=0.02
    )


def test_gradients_survive_equal_eigenvalues():
    covariance = torch.eye(5, dtype=torch.float64).requires_grad_()
    least_bits.bits(torch.zeros(5, 1, dtype=torch.float64), covariance, torch.ones(5, 1).double(), 0.2).backward()
    assert bool(torch.isfinite(covariance.grad).all())


def test_least_bits_kernel_saves_bits_on_a_fresh_split():
    search, report = digits(60, 60, seed=1), digits(60, 60, seed=2)
    found = least_bits.least_bits_kernel(search, 0.03, width=8.0, amplitude=3.0, steps=15)
    assert found.after < found.before
    start = required_bits(KernelSpace(RBF(8.0), amplitude=3.0).loss_law(report), 0.03).bits
    tuned = required_bits(KernelSpace(RBF(found.width), amplitude=found.amplitude).loss_law(report), 0.03).bits
    assert tuned < start


@pytest.mark.parametrize("method", ["exact", "lanczos"])
def test_large_tasks_agree_with_small_ones(method):
    task = cosine_task(4, n_train=150, n_test=150)
    space = KernelSpace(RBF(0.7), noise=1e-3)
    eps = 0.4 * space.loss_law(task).mean
    found = scale.large_bits(space, task, eps, method=method, block=64)
    exact = required_bits(space.loss_law(task), eps).bits
    if method == "exact":
        assert found.bits == pytest.approx(exact, rel=1e-8)
    else:
        assert found.interval[0] - 1e-3 * exact <= exact <= found.interval[1] + 1e-3 * exact
        assert found.interval[1] - found.interval[0] < 0.01 * exact


@pytest.mark.parametrize("repeats", [1, 3, 10])
def test_repeated_training_points_are_refused_in_words_whatever_the_rounding_of_the_last_pivot(repeats):
    x = np.random.default_rng(0).normal(size=(30, 4))
    task = Task((np.tile(x, (1 + repeats, 1)), np.zeros(30 * (1 + repeats))), (x, np.zeros(30)))
    with pytest.raises(ValueError, match="singular to rounding"):
        scale.large_law(KernelSpace(RBF(2.0)), task)


def test_bits_at_scale_agree_with_the_plain_route():
    from lab.inductive_bias import large_law
    from lab.inductive_bias.studies.scale import bits_at_scale, image_task

    found = bits_at_scale(120, shares=(0.8,))
    task = image_task(120, 120)
    law = KernelSpace(RBF(), noise=0.01).loss_law(task)
    exact = required_bits(law, float(found["eps"][0])).bits
    assert task.train_inputs.shape == (120, 784)
    assert found["bits"][0] == pytest.approx(exact, rel=1e-7)
    assert abs(found["difference"][1]) < 1e-2
    assert (found["peak_mb"] > 10).all() and (found["cpu_seconds"] > 0).all()
    with pytest.raises(ValueError, match="mse"):
        large_law(KernelSpace(RBF()), Task((np.eye(4), [0, 1, 0, 1]), (np.eye(4), [0, 1, 0, 1]), metric="error"))
    with pytest.raises(ValueError, match="begin with 'exact'"):
        bits_at_scale(20, methods=("lanczos",))


def test_estimates_hold_every_route_on_the_same_draws():
    law = KernelSpace(RBF()).loss_law(digits(60, 50))
    found = estimates(law, draws=1000, points=20)
    assert (np.diff(found.exact) <= 0).all()
    shallow = found.exact < 5
    np.testing.assert_allclose(found.fitted[shallow], found.exact[shallow], rtol=0.15, atol=0.1)
    assert found.missed_share()[0] > found.missed_share()[found.exact < found.seen][0]


def test_control_and_few_shot_tasks_are_reachable():
    for task in (pendulum_task(n_train=60, n_test=40), few_shot_task(n_test=40)):
        law = KernelSpace(NTK(2, bias_variance=0.1), noise=1e-3).loss_law(task)
        assert 0 < required_bits(law, 0.5 * law.mean).bits < math.inf


def test_table_targets_keep_their_kind():
    import pandas as pd

    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x": rng.normal(size=40), "y": rng.normal(size=40)})
    assert Task.from_table(frame).classes == ()
    frame["y"] = rng.integers(0, 3, 40)
    assert len(Task.from_table(frame).classes) == 3


def test_index_of_a_file_tells_nothing_and_what_was_done_is_said(tmp_path):
    import torch

    from lab import datasets

    frame = datasets.load("iris").frame
    frame.to_csv(tmp_path / "with.csv")
    frame.to_csv(tmp_path / "without.csv", index=False)
    one, two = Task.from_table(tmp_path / "with.csv"), Task.from_table(tmp_path / "without.csv")
    assert torch.equal(one.train_inputs, two.train_inputs)
    assert torch.equal(one.test_targets, two.test_targets)
    assert any("'Unnamed: 0' left out" in note for note in one.notes)
    assert one.notes[-1] == "150 of 150 rows used"
    named = frame.rename(columns={"target": "kind"})[["kind", *frame.columns[:4]]]
    assert Task.from_table(named, target="kind").classes == one.classes


def test_empty_and_constant_columns_do_no_harm():
    import pandas as pd

    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"x": rng.normal(size=40), "same": 1.0, "void": np.nan, "y": rng.normal(size=40)})
    task = Task.from_table(pd.concat([frame, frame.iloc[:5]]))
    assert task.n_train + task.n_test == 45
    assert math.isfinite(required_bits(KernelSpace(RBF(), noise=0.1).loss_law(task), 0.5).bits)
    with pytest.raises(ValueError, match="one value"):
        Task.from_table(frame.assign(y="only"))


def test_threshold_that_every_draw_reaches_is_called_too_easy_and_another_is_proposed():
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(60, 1, generator=draw, dtype=torch.float64)
    y = torch.sin(3 * x[:, 0])
    task = Task((x[:40], y[:40].numpy()), (x[40:], y[40:].numpy()), name="an easy curve")
    spaces = [KernelSpace(RBF(width), noise=0.05, name=f"width {width}") for width in (0.3, 0.6)]
    easy = compare(spaces, task, 0.9 * task.constant_loss(), neighbour_columns=False)
    assert (easy["bits"] < 1).all()
    assert set(easy["verdict"]) == {"too easy"}
    proposed = {
        float(re.search(r"too easy: no space needs 1 bit; try eps_rule=([0-9.e+-]+)", text)[1])
        for text in easy["reasons"]
    }
    assert len(proposed) == 1
    harder = compare(spaces, task, proposed.pop(), neighbour_columns=False)
    assert harder["bits"].max() >= 9
    assert "too easy" not in set(harder["verdict"])
