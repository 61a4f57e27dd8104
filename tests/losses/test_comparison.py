"""The comparison of losses: noise, imbalance and shift do what they say, every loss is tuned alike, own tables are welcome."""

import pandas as pd
import pytest
import torch

from lab import datasets
from lab.losses import comparison
from lab.losses.comparison import Comparison, compare, mean_interval, noisy_labels
from lab.losses.studies.common import table, tune_rates, tuned_rates

QUICK = {"seeds": 2, "epochs": 8, "learning_rates": (1e-2,)}


def blobs(generator, items=240, classes=3):
    y = torch.arange(items) % classes
    return 4 * torch.eye(classes, 5)[y] + torch.randn(items, 5, generator=generator), y


@pytest.mark.parametrize("classes", [2, 5])
def test_uniform_noise_redraws_over_all_classes(classes):
    y = torch.arange(40000) % classes
    changed = float((noisy_labels(y, 0.6, seed=1) != y).double().mean())
    assert changed == pytest.approx(0.6 * (classes - 1) / classes, abs=0.01)
    assert torch.equal(noisy_labels(y, 0.0, seed=1), y)
    assert torch.equal(noisy_labels(y, 0.6, seed=1), noisy_labels(y, 0.6, seed=1))


def test_next_and_pairs_confuse_fixed_classes():
    y = torch.arange(5)
    assert noisy_labels(y, 1.0, kind="next").tolist() == [1, 2, 3, 4, 0]
    assert noisy_labels(y, 1.0, kind="pairs").tolist() == [1, 0, 3, 2, 4]  # the fifth class has no partner


def test_imbalance_thins_classes_geometrically_in_the_training_part_alone(generator):
    x, y = blobs(generator, 900)
    split = comparison._split(x, y, 3, 0, 0.0, "uniform", 16.0, 0.0, 0.3, 0.2)
    counts = torch.bincount(split["train_y"], minlength=3).tolist()
    assert counts[0] / counts[2] == pytest.approx(16, rel=0.1)
    assert counts[0] / counts[1] == pytest.approx(4, rel=0.1)
    assert torch.bincount(split["test_y"]).min() > 70


def test_shift_moves_test_inputs_alone(generator):
    x, y = blobs(generator)
    plain, moved = (comparison._split(x, y, 3, 0, 0.2, "uniform", 1.0, shift, 0.3, 0.2) for shift in (0.0, 2.0))
    for name in ("train_x", "train_y", "test_y"):
        assert torch.equal(plain[name], moved[name])
    assert float((moved["test_x"] - plain["test_x"]).std()) == pytest.approx(2.0, rel=0.1)


def test_accuracy_is_high_on_separable_classes_and_chance_on_shuffled_labels(generator):
    x, y = blobs(generator)
    shuffled = y[torch.randperm(len(y), generator=generator)]
    for names in (["cross-entropy", "ldr-kl"],):
        found, chance = compare(names, x, y, **QUICK), compare(names, x, shuffled, **QUICK)
        for name in names:
            assert float(found.accuracy[name].mean()) > 0.9
            assert float(chance.accuracy[name].mean()) < 0.55


def test_a_loss_is_judged_alike_whatever_it_is_compared_with(generator):
    x, y = blobs(generator)
    alone = compare(["focal"], x, y, noise=0.3, **QUICK)
    among = compare(["cross-entropy", "focal", "aldr-kl"], x, y, noise=0.3, **QUICK)
    torch.testing.assert_close(alone.accuracy["focal"], among.accuracy["focal"], atol=0.03, rtol=0)
    assert alone.trials == among.trials == 1
    mean, low, high = among.difference("focal", "cross-entropy")
    back = among.difference("cross-entropy", "focal")
    assert (mean, low, high) == pytest.approx((-back[0], -back[2], -back[1]))


def test_frame_has_one_row_a_loss_best_first(generator):
    x, y = blobs(generator)
    frame = compare(
        ["mean-absolute-error", "cross-entropy"], x, y, noise=0.2, imbalance=3.0, shift=0.5, **QUICK
    ).to_frame()
    assert sorted(frame["loss"]) == ["cross-entropy", "mean-absolute-error"]
    assert frame["accuracy"].is_monotonic_decreasing
    assert (frame["low"] <= frame["accuracy"]).all() and (frame["accuracy"] <= frame["high"]).all()


def test_an_own_table_with_named_classes_is_compared(tmp_path, generator):
    x, y = blobs(generator)
    frame = pd.DataFrame(x.numpy(), columns=list("abcde")).assign(label=[("low", "mid", "high")[k] for k in y.tolist()])
    frame.to_csv(tmp_path / "mine.csv", index=False)
    features, labels = table(datasets.load(tmp_path / "mine.csv"))
    assert features.shape == (240, 5) and int(labels.max()) == 2
    assert float(compare(["cross-entropy"], features, labels, **QUICK).accuracy["cross-entropy"].mean()) > 0.9


def test_a_loss_of_ones_own_joins_the_comparison(generator):
    x, y = blobs(generator)

    class Squared(torch.nn.Module):
        reduction = "none"

        def forward(self, logits, target):
            return (logits.softmax(1) - torch.nn.functional.one_hot(target, logits.shape[1])).square().sum(1)

    found = compare({"squared": Squared()}, x, y, **QUICK)
    assert float(found.accuracy["squared"].mean()) > 0.8
    with pytest.raises(ValueError, match="must have reduction='none'"):
        compare({"mean": torch.nn.CrossEntropyLoss()}, x, y, **QUICK)


def test_rates_of_an_earlier_tuning_train_the_same_networks(generator):
    x, y = blobs(generator)
    options = {"noise": 0.3, "seeds": 2, "epochs": 4}
    tuned = compare(["cross-entropy", "focal"], x, y, learning_rates=(1e-4, 1e-2), **options)
    assert tuned.validation_accuracy["focal"].shape == (2, 2)
    again = compare(["cross-entropy", "focal"], x, y, learning_rates=tuned.learning_rate, **options)
    assert again.trials == 1 and again.learning_rate == tuned.learning_rate
    for name in tuned.accuracy:
        torch.testing.assert_close(again.accuracy[name], tuned.accuracy[name], atol=0.03, rtol=0)
    with pytest.raises(ValueError, match="names no rate for 'focal'"):
        compare(["cross-entropy", "focal"], x, y, learning_rates={"cross-entropy": 1e-2}, **options)


def test_a_failed_training_is_never_chosen(generator):
    x, y = blobs(generator)
    rates = (1e-2, 1e38)
    loss = {"unchecked": torch.nn.CrossEntropyLoss(reduction="none")}
    found = compare(loss, x, y, seeds=2, epochs=2, learning_rates=rates, optimizer="sgd", clip=None)
    assert found.validation_accuracy["unchecked"].isnan().tolist() == [[False, False], [True, True]]
    assert found.learning_rate == {"unchecked": 1e-2}


def test_every_learning_rate_of_a_loss_is_tried_on_tuning_seeds_and_read_back(generator, monkeypatch, tmp_path):
    from lab.training import comparison as tuning

    monkeypatch.setattr(tuning, "_path", lambda method: tmp_path / f"{method}.csv")
    x, y = blobs(generator)
    trials = tune_rates("noisy", ["focal"], x, y, rates=(1e-6, 1e-2), noise=0.2, epochs=8)
    assert trials.seeds == tuning.TUNING_SEEDS and trials.scores["focal"].shape == (2, 4)
    tuning.record("some_method", trials)
    assert tuned_rates("some_method", "noisy", ["focal"], rates=(1e-6, 1e-2)) == {"focal": 1e-2}
    with pytest.raises(tuning.NotTuned, match="another grid"):
        tuned_rates("some_method", "noisy", ["focal"])


def test_interval_of_accuracies_stays_within_the_range_of_accuracies():
    rows = {"one": torch.tensor([0.99, 1.0]), "two": torch.tensor([0.02, 0.0])}
    same = {name: torch.zeros(2) for name in rows}
    result = Comparison(rows, same, rows, dict.fromkeys(rows, 0.1), (0, 1), 1, {})
    frame = result.to_frame().set_index("loss")
    assert frame.loc["one", "high"] == 1.0
    assert frame.loc["two", "low"] == 0.0
    assert 0.0 < frame.loc["one", "low"] < 0.995
    assert frame.loc["two", "high"] > 0.01
    mean, low, high = result.difference("one", "two")
    assert -1 <= low < mean < high == 1.0
    assert mean_interval(torch.tensor([0.5]), bounds=(0.0, 1.0)) == (0.5, 0.0, 1.0)
    assert mean_interval(torch.tensor([0.0, 10.0]))[1] < -50
