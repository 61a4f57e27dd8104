"""GAQAT: disorder, quantized layers, both gradients, freezing, and one's own network."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, grad

from lab import training
from lab.generalization.gaqat import (
    Quantized,
    bytes_of,
    disorder,
    quantize_layers,
    train_gaqat,
    train_stacked,
    two_gradients,
)
from lab.generalization.integers import load_integers, save_integers
from lab.generalization.stacked import stack
from lab.generalization.studies import gaqat as study


@given(st.lists(st.sampled_from([-2.0, -0.5, 1.0, 3.0]), min_size=2, max_size=20))
@settings(max_examples=60, deadline=None)
def test_disorder_counts_sign_changes(values):
    changes = sum(a * b < 0 for a, b in zip(values, values[1:]))
    assert float(disorder(torch.tensor(values)[:, None])[0]) == pytest.approx(changes / (len(values) - 1))


def test_disorder_of_alternating_constant_and_silent_sequences():
    signs = torch.tensor([1.0, -1, 1, -1])
    assert disorder(torch.stack([signs, signs.abs(), 0 * signs, torch.tensor([1.0, 0, 1, 0])], 1)).tolist() == [
        1,
        0,
        0,
        0,
    ]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_weights_and_inputs_lie_on_their_levels(bits, generator):
    x = torch.rand(50, 6, generator=generator)
    model = quantize_layers(training.mlp(6, 3, widths=(7,)), x, bits)
    layers = [layer for layer in model if isinstance(layer, Quantized)]
    assert len(layers) == 2
    for layer in layers:
        weight = layer.weight_step(layer.layer.weight)
        assert len(weight.unique()) <= 2**bits
        levels, step = layer.integers()
        torch.testing.assert_close(levels.float() * step, weight)
    assert layers[0].input_step.signed is False
    assert quantize_layers(training.mlp(6, 3), x - 0.5, bits)[0].input_step.signed is True


def test_eight_bits_are_near_full_precision_and_bytes_are_counted(generator):
    x = torch.rand(200, 20, generator=generator)
    model = training.mlp(20, 4, widths=(64,))
    errors = [float((quantize_layers(model, x, bits)(x) - model(x)).detach().abs().mean()) for bits in (2, 4, 8)]
    assert errors[0] > 2 * errors[1] > 2 * errors[2]
    packed, plain = bytes_of(quantize_layers(model, x, 4))
    weights, biases = 20 * 64 + 64 * 4, 64 + 4
    assert plain == 4 * (weights + biases)
    assert packed == weights // 2 + 4 * biases + 16


def test_convolutions_and_single_layers_are_quantized_too(generator):
    x = torch.rand(4, 1, 8, 8, generator=generator)
    model = quantize_layers(training.cnn(1, 3, widths=(4, 8)), x, 4)
    assert sum(isinstance(layer, Quantized) for layer in model.modules()) == 3
    assert model(x).shape == (4, 3)
    assert isinstance(quantize_layers(nn.Linear(3, 2), torch.rand(5, 3), 4), Quantized)


def test_second_gradient_is_that_at_the_perturbed_parameters(generator):
    model = training.mlp(4, 3, widths=(5,)).double()
    x, y = torch.rand(9, 4, generator=generator, dtype=torch.float64), torch.arange(9) % 3
    p = {name: value.detach() for name, value in model.named_parameters()}
    loss = lambda q: F.cross_entropy(functional_call(model, q, (x,)), y)  # noqa: E731
    first, second = two_gradients(loss, p, 0.1)
    size = sum(g.square().sum() for g in first.values()).sqrt()
    moved = grad(loss)({name: value + 0.1 * first[name] / size for name, value in p.items()})
    for name in p:
        torch.testing.assert_close(second[name], moved[name])
    same = two_gradients(loss, p, 0.0)
    assert all(torch.equal(same[0][name], same[1][name]) for name in p)


def test_freezing_everything_or_nothing_is_what_tau_says(generator):
    x, y = torch.rand(64, 5, generator=generator), torch.randint(3, (64,), generator=generator)
    start = quantize_layers(training.mlp(5, 3, widths=(8,)), x, 3)

    def run(**options):
        return train_stacked(start, stack([start]), x, y, seeds=[0], epochs=4, batch_size=16, window=4, **options)

    none, free = run(freeze="none"), run(freeze="task", tau=0.0)
    for name in none[0]:
        assert torch.equal(none[0][name], free[0][name])
    held = run(freeze="task", tau=1.0)[1]
    assert len(held.disorder) == 4
    assert torch.equal(held.frozen[0], held.disorder[0] < 1.0)
    assert run(freeze="none", rho=0.0)[1].conflicts.sum() == 0
    assert 0 <= float(none[1].conflicts.min()) <= float(none[1].conflicts.max()) <= 1


def test_own_network_is_copied_and_learns_at_three_bits(generator):
    x = torch.rand(200, 4, generator=generator)
    y = (x[:, 0] > 0.5).long()
    start = training.fit([training.mlp(4, 2, widths=(16,))], x, y, epochs=40, learning_rate=1e-2).model(0)
    before = [value.clone() for value in start.parameters()]
    model = train_gaqat(start, x, y, bits=3, epochs=20, learning_rate=3e-3)
    assert all(torch.equal(a, b) for a, b in zip(before, start.parameters()))
    assert float((model(x).argmax(1) == y).float().mean()) > 0.9


def test_bad_arguments_are_refused():
    model, x = training.mlp(4, 2), torch.rand(6, 4)
    with pytest.raises(ValueError, match="bits"):
        quantize_layers(model, x, 1)
    with pytest.raises(ValueError, match="must hold linear or convolution layers"):
        quantize_layers(nn.ReLU(), x, 4)
    with pytest.raises(ValueError, match="at least 2 steps"):
        disorder(torch.ones(1, 3))
    with pytest.raises(ValueError, match="freeze"):
        train_gaqat(model, x, torch.zeros(6), freeze="both")
    with pytest.raises(ValueError, match="label"):
        train_gaqat(model, x, torch.zeros(5))


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_integers_in_a_file_answer_in_a_new_process_as_the_network_did(bits, generator, tmp_path):
    x = torch.randn(30, 6, generator=generator)
    network = training.mlp(6, 3, widths=(9,), seed=2)
    model = train_gaqat(network, x, (x[:, 0] > 0).long(), bits=bits, epochs=3)
    size = save_integers(model, tmp_path / "small.safetensors")
    assert size == bytes_of(model)[0]
    assert (tmp_path / "small.safetensors").stat().st_size < size + 2000
    torch.save((x, model(x).detach()), tmp_path / "answer.pt")
    code = f"""
import torch
from lab import training
from lab.generalization import load_integers
x, wanted = torch.load({str(tmp_path / "answer.pt")!r}, weights_only=True)
model = load_integers({str(tmp_path / "small.safetensors")!r}, training.mlp(6, 3, widths=(9,), seed=7))
print(float((model(x) - wanted).abs().max()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) <= 1e-5


def test_files_that_hold_other_networks_or_harm_are_refused(generator, tmp_path):
    x = torch.rand(10, 4, generator=generator)
    network = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 2, bias=False))
    model, path = quantize_layers(network, x, 3), tmp_path / "m.safetensors"
    save_integers(model, path)
    torch.testing.assert_close(load_integers(path, network)(x), model(x), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="with weights of shape"):
        load_integers(path, nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 2, bias=False)))
    with pytest.raises(ValueError, match="no quantized layers|quantized layers"):
        save_integers(network, path.with_name("n"))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="damaged or no safetensors"):
        load_integers(path, network)
    path.write_bytes(b"\x80\x04harm")
    with pytest.raises(ValueError, match="damaged or no safetensors"):
        load_integers(path, network)


def test_a_threshold_a_model_is_as_each_alone(generator):
    x, y = torch.rand(60, 5, generator=generator), torch.arange(60) % 2
    start = quantize_layers(training.mlp(5, 2, widths=(8,)), x, 3)
    options = {"window": 2, "epochs": 4, "batch_size": 20}
    both, trace = train_stacked(start, stack([start, start]), x, y, seeds=(0, 0), tau=[0.1, 0.9], **options)
    for k, tau in enumerate((0.1, 0.9)):
        alone, own = train_stacked(start, stack([start]), x, y, seeds=(0,), tau=tau, **options)
        assert torch.equal(torch.stack(trace.frozen)[:, k], torch.stack(own.frozen)[:, 0])
        for name in alone:
            torch.testing.assert_close(both[name][k], alone[name][0], atol=1e-5, rtol=1e-4)


def test_sweep_has_every_window_and_threshold(tmp_path):
    found = study.sweep(study.Setting.of("smoke", items=120, epochs=2), seeds=(0, 1), windows=(2, 3), taus=(0.2, 0.5))
    assert found.unseen.shape == found.frozen.shape == (2, 2, 2) and len(found.to_frame()) == 4
    assert bool((found.frozen[:, 0] <= found.frozen[:, 1]).all())
    found.save(tmp_path / "sweep")
    assert torch.equal(study.Sweep.load(tmp_path / "sweep").unseen, found.unseen)
