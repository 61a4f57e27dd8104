"""Expert trajectories: training against torch, penalties by autograd, matching by hand, own images, refusals."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lab.compression import condense_by_trajectories
from lab.compression import smooth_expert_distillation as method
from lab.compression.smooth_expert_distillation import Arm, train_experts
from lab.compression.studies import smooth_expert_distillation as study
from lab.compression.synthetic import SyntheticSet
from lab.training import batch_order, flatten, mlp


def items(count=60, classes=3):
    y = torch.arange(count) % classes
    x = 2 * F.one_hot(y, 6).float() + torch.randn(count, 6, generator=torch.Generator().manual_seed(0))
    return x, y


def network(seed):
    return mlp(6, 3, widths=(8,), seed=seed)


@pytest.mark.parametrize("clip, penalty", [(False, 0.0), (True, 0.3)])
def test_experts_are_those_of_torchs_optimizer_with_the_penalty_by_autograd(clip, penalty):
    x, y = items()
    found = train_experts(
        x, y, clip=clip, penalty=penalty, seeds=(4, 5), network=network, epochs=2, batch=20, learning_rate=0.1
    )
    for place, seed in enumerate((4, 5)):
        model = network(seed + 10_000)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
        for epoch in range(2):
            for rows in batch_order(len(x), seed, epoch).split(20):
                inputs = x[rows].clone().requires_grad_()
                logits = model(inputs)
                (slope,) = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
                loss = (0.5 + 0.05 * epoch if clip else 1.0) * F.cross_entropy(logits, y[rows])
                loss = loss + penalty * (slope.norm(dim=1) - 1).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            wanted = flatten(dict(model.named_parameters())).detach()
            assert torch.allclose(found.path[place, epoch + 1], wanted, atol=1e-5)
    assert torch.allclose(found.movement()[0, 0], (found.path[0, 1] - found.path[0, 0]).norm())
    assert found.accuracy(x, y).shape == (2,)


def test_the_matching_loss_of_one_step_is_the_formula():
    x, y = items()
    experts = train_experts(x, y, seeds=(0,), network=network, epochs=2)
    found = method.match_trajectories(
        x, y, [Arm(experts)], seeds=(3,), iterations=1, steps=1, ahead=1, latest=1, student_rate=0.2
    )
    assert found.x.shape == (1, 1, 3, 6) and found.y.tolist() == [0, 1, 2]
    model = network(10_000)
    start = method.random_items(y, 1, (3,))[0]
    F.cross_entropy(model(x[start]), torch.arange(3)).backward()
    end = torch.cat([(p - 0.2 * p.grad).detach().flatten() for p in model.parameters()])
    target, begun = experts.path[0, 1], experts.path[0, 0]
    wanted = (end - target).square().sum() / (begun - target).square().sum()
    assert float(found.losses[0, 0, 0]) == pytest.approx(float(wanted), rel=1e-4)
    assert float(method.matching_loss(end, target, begun)) == pytest.approx(float(wanted), rel=1e-6)


def test_matching_brings_students_nearer_and_recomputation_changes_nothing():
    x, y = items()
    experts = train_experts(x, y, seeds=(0, 1), network=network, epochs=4, batch=20)
    options = {"seeds": (0, 1), "iterations": 30, "steps": 4, "ahead": 2, "latest": 2, "image_rate": 1.0}
    arms = [Arm(experts), Arm(experts, method.TRICKS)]
    found = method.match_trajectories(x, y, arms, **options)
    assert (found.losses[-8:].mean(0) < found.losses[:8].mean(0)).all()
    again = method.match_trajectories(x, y, arms, recompute=True, **options)
    assert torch.allclose(found.x, again.x, atol=1e-2)
    errors = method.chained_error(found, arms, steps=4, ahead=1, chain=2)
    assert errors.shape == (2, 2) and errors.isfinite().all()


def test_arms_side_by_side_equal_arms_alone():
    x, y = items()
    plain = train_experts(x, y, clip=False, penalty=0.0, seeds=(0, 1), network=network, epochs=4)
    smooth = train_experts(x, y, seeds=(0, 1), network=network, epochs=4)
    options = {"seeds": (0, 1), "iterations": 5, "steps": 4, "latest": 2}
    together = method.match_trajectories(x, y, [Arm(plain), Arm(smooth, ("intermediate",))], **options)
    alone = method.match_trajectories(x, y, [Arm(smooth, ("intermediate",))], **options)
    assert torch.allclose(together.x[1], alone.x[0], atol=1e-4)
    assert not torch.allclose(together.x[0], alone.x[0], atol=1e-2)


def test_the_balance_is_one_over_on_both_sides_of_the_middle():
    factor = method.balance(torch.arange(8), 8)
    assert float(factor[4]) == pytest.approx(math.log(8, 5)) and float(factor[3]) == pytest.approx(1 / math.log(9, 5))


def test_representatives_are_items_near_the_centres_of_clusters():
    y = torch.tensor([0] * 20 + [1] * 20)
    features = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)) * 0.1
    features[:10] += 5
    rows = method.representatives(features, y, 2, 0)
    assert y[rows].tolist() == [0, 0, 1, 1] and len(set(rows.tolist())) == 4
    assert (rows[:2] < 10).sum() == 1  # one of each of the two clusters
    with pytest.raises(ValueError, match="at most 20"):
        method.representatives(features, y, 21, 0)


def test_own_images_become_a_set_with_its_rate(tmp_path):
    labels = np.arange(90) % 3
    images = np.random.default_rng(0).normal(100 + 60 * labels[:, None, None], 20, (90, 4, 4))
    made = condense_by_trajectories(images, labels, per_class=1, experts=2, epochs=4, iterations=20, steps=4)
    assert made.images.shape == (3, 4, 4) and made.learning_rate > 0 and made.method == "ast"
    made.save(tmp_path / "set.npz")
    again = SyntheticSet.load(tmp_path / "set.npz")
    assert again.learning_rate == pytest.approx(made.learning_rate)
    right = again.train(seeds=2).predict(again.standardized(images)).argmax(2) == torch.from_numpy(labels)
    assert right.double().mean() > 0.6  # a third by chance


@pytest.mark.parametrize(
    "change, words",
    [
        ({"tricks": ("balance",)}, "tricks"),
        ({"per_class": 50}, "at most 30"),
        ({"epochs": 0}, "epochs"),
        ({"ahead": 9, "steps": 9}, "ahead"),
        ({"latest": 9}, "latest"),
        ({"labels": np.zeros(3, dtype=int)}, "labels must have shape"),
    ],
)
def test_bad_arguments_are_refused_in_words(change, words):
    arguments = {"images": np.random.default_rng(0).normal(size=(90, 4)), "labels": np.arange(90) % 3, "per_class": 1}
    arguments |= {"experts": 1, "epochs": 3, "iterations": 1, "steps": 2, "latest": 1}
    with pytest.raises(ValueError, match=words):
        condense_by_trajectories(**(arguments | change))


def test_an_expert_that_stands_still_cannot_be_matched():
    with pytest.raises(ValueError, match="start must differ"):
        method.matching_loss(torch.ones(3), torch.zeros(3), torch.zeros(3))


def test_a_result_saves_loads_and_makes_a_frame(tmp_path):
    result = study.run(study.Setting.of("smoke"), seeds=(0, 1))
    assert {"random", "dcc", "plain", "smooth", "slow", "smooth, balanced", "smooth, all tricks"} <= set(
        result.accuracy
    )
    result.save(tmp_path / "result.pt")
    assert torch.equal(study.Result.load(tmp_path / "result.pt").losses["smooth"], result.losses["smooth"])
    assert list(result.to_frame().columns) == ["arm", "accuracy", "spread", "matching"]


def test_all_condensers_are_compared_on_own_data(tmp_path):
    from lab import datasets
    from lab.compression.studies import compare

    x, y = items(100, 4)
    data = datasets.Points(x, y, "own", tuple("abcd"))
    result = compare.run(compare.Setting.of("smoke"), seeds=(0, 1), data=data)
    assert set(result.accuracy) == {*result.sets, "all items"} and result.items == 80
    result.save(tmp_path / "result.pt")
    assert list(compare.Result.load(tmp_path / "result.pt").to_frame()["arm"]) == list(result.accuracy)
