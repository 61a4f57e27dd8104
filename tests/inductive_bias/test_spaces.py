"""Network, finite and trained spaces: against enumeration, counting and their own loops."""

import math

import pytest
import torch
from torch import nn

from lab.inductive_bias import (
    EnergyLaw,
    FiniteSpace,
    SampleLaw,
    Task,
    TrainedSpace,
    WeightPriorSpace,
    boolean,
    required_bits,
)
from lab.kernels.random_hypotheses import RandomNetwork

NETWORK = RandomNetwork(4, (16,), 1, bias_scale=0.5)


def majority(rows=(0, 3, 5, 9, 12, 15)):
    return boolean.task(torch.where(boolean.cube(4).sum(1) > 0, 1.0, -1.0).double(), list(rows))


def test_boolean_functions_under_the_uniform_law_leave_one_bit_for_each_open_row():
    task = majority()
    law = boolean.space(boolean.all_functions(4), task).loss_law(task)
    assert required_bits(law, 0.0).bits == pytest.approx(10.0)
    assert required_bits(law, 1 / 16).bits == pytest.approx(10 - math.log2(11))


def test_linear_threshold_functions_are_counted_right():
    assert [int(boolean.threshold_functions(n).sum()) for n in (1, 2, 3, 4)] == [4, 14, 104, 1882]


def test_bits_of_a_model_class_are_its_mass():
    space = boolean.space(boolean.all_functions(4), majority())
    assert space.class_bits(boolean.threshold_functions(4)) == pytest.approx(16 - math.log2(1882))
    assert space.class_bits(torch.zeros(65536, dtype=torch.bool)) == math.inf


def test_network_prior_favours_simple_functions():
    counts = boolean.network_prior(NETWORK, 20_000, seed=1)
    assert int(counts.sum()) == 20_000
    complexity = boolean.complexity(boolean.all_functions(4)[counts > 0])
    weighted = float((complexity * counts[counts > 0]).sum() / counts.sum())
    assert weighted < float(boolean.complexity(boolean.all_functions(4)[::97]).mean()) - 5


def test_splitting_over_weights_agrees_with_guess_and_check():
    task, space = majority(), WeightPriorSpace(NETWORK)
    counted = required_bits(space.draws(task, 200_000, seed=0), 1 / 16)
    split = required_bits(space.loss_law(task), 1 / 16, seed=0)
    assert counted.method == "counting"
    assert split.bits == pytest.approx(counted.bits, abs=0.8)


def test_a_draw_is_replayed_by_its_index():
    task, space = majority(), WeightPriorSpace(NETWORK)
    from lab.inductive_bias.networks import prior_losses

    losses = prior_losses(NETWORK, task, 50, seed=3)
    (w, b), (v, c) = space.replay(3, 17)
    h = torch.relu(task.test_inputs.float() @ w.T + b) @ v.T + c
    assert float(task.losses(h[None].double())[0]) == pytest.approx(float(losses[17, 1]))


def test_latent_function_of_a_network_is_the_network():
    network = RandomNetwork(3, (5, 4), 2, activation="tanh", bias_scale=0.3)
    evaluate, dimension = WeightPriorSpace(network).function()
    latent, x = torch.randn(1, dimension, generator=torch.Generator().manual_seed(0)), torch.randn(6, 3)
    place, h = 0, x
    for index, ((fan_in, fan_out), (scale, bias)) in enumerate(zip(network.layers, network.scales())):
        w = latent[0, place : place + fan_in * fan_out].reshape(fan_out, fan_in) * scale
        b = latent[0, place + fan_in * fan_out : place + (fan_in + 1) * fan_out] * bias
        place += (fan_in + 1) * fan_out
        h = h @ w.T + b
        h = torch.tanh(h) if index < 2 else h
    torch.testing.assert_close(evaluate(latent, x)[0], h, rtol=1e-4, atol=1e-5)


def test_any_module_is_a_space():
    module = nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(9, 1))
    law = WeightPriorSpace(module, bias_scale=0.5).loss_law(majority())
    assert isinstance(law, EnergyLaw)
    found = required_bits(law, 4 / 16, seed=0)
    assert math.isfinite(found.bits)
    assert law.dimension == sum(p.numel() for p in module.parameters())


def test_finite_space_refuses_labels_that_no_function_fits():
    task = Task(([[0.0], [1.0]], [0.0, 1.0]), ([[2.0]], [1.0]), centre=False)
    space = FiniteSpace(torch.zeros(3, 2), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="fits the training set"):
        space.loss_law(task)


def build(seed):
    from lab.training import mlp

    return mlp(4, 1, widths=(8,), seed=seed)


def values():
    task = majority()
    return Task((task.train_inputs, task.train_targets), (task.test_inputs, task.test_targets), centre=False)


def test_trained_losses_are_means_over_points_whatever_the_batch():
    # the unit of the loss must not change with the batch size, nor partial batches weigh more
    task = values()
    for batch in (1, 4, 6, None):
        space = TrainedSpace(build, networks=3, epochs=2, batch_size=batch)
        models = space.train(task)
        test, train = space.losses(models, task)
        for index, model in enumerate(models):
            with torch.no_grad():
                plain = float(((model(task.test_inputs.float()).double() - task.test_targets) ** 2).mean())
            assert float(test[index]) == pytest.approx(plain, rel=1e-5)
    assert float(train.min()) > 0


def test_training_until_fit_fits():
    law = TrainedSpace(build, networks=8, epochs=60, learning_rate=1e-2, until_fit=True, tolerance=0.1).loss_law(
        values()
    )
    assert isinstance(law, SampleLaw)
    assert law.optimizer
    assert len(law.losses) >= 6
    assert float(law.train_losses.max()) <= 0.1
    assert "training procedure" in required_bits(law, 2.0).sentence()


def test_untrained_networks_are_not_counted_as_hypotheses():
    law = TrainedSpace(build, networks=8, epochs=1, learning_rate=1e-6, tolerance=1e-3).loss_law(values())
    assert len(law.losses) == 0
    assert not required_bits(law, 0.5).valid


@pytest.mark.parametrize("make, word", [
    (lambda: TrainedSpace(build, until_fit=True), "tolerance"),
    (lambda: WeightPriorSpace(RandomNetwork(2, law="uniform")), "normal"),
    (lambda: WeightPriorSpace(RandomNetwork(4, (3,), 5)).loss_law(majority()), "outputs"),
    (lambda: boolean.cube(0), "inputs"),
    (lambda: boolean.network_prior(RandomNetwork(5, (3,), 1)), "at most 4"),
])  # fmt: skip
def test_bad_input_is_refused_by_name(make, word):
    with pytest.raises(ValueError, match=word):
        make()
