"""Quantized modules: bounds, codes by brute force, files, own teachers and students, refusals."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lab.compression import Quantized, distill, quantize
from lab.compression.quantized_distillation import (
    QuantizedConvolution,
    QuantizedLinear,
    RecurrentStudent,
    huffman_bits,
)
from lab.compression.studies import quantized_distillation as study
from lab.training import Stack, UniformQuantizer, mlp


def test_a_quantized_module_has_few_levels_and_leaves_its_source_alone():
    model = mlp(20, 5, widths=(30,), seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for points in (None, "quantile"):
        found = quantize(model, bits=3, bucket=None, points=points)
        small = found.model(model)
        for name, value in small.named_parameters():
            assert len(value.unique()) <= 8
            spread = before[name].max() - before[name].min()
            assert points or (value - before[name]).abs().max() <= spread / 14 * (1 + 1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("bits", [1, 3, 8, 11])
@pytest.mark.parametrize("points", [None, "quantile"])
def test_saved_weights_load_bit_for_bit_and_the_file_is_small(tmp_path, bits, points):
    model = mlp(64, 10, widths=(64,), seed=0)
    found = quantize(model, bits, points=points)
    found.save(tmp_path / "small.npz")
    again = Quantized.load(tmp_path / "small.npz")
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.model(model)(x), found.model(model)(x))
    assert all(torch.equal(value, again.weights()[name]) for name, value in found.weights().items())
    overhead = 8000 + 4 * 4 * 2**bits  # headers of the arrays, and their tables
    assert (tmp_path / "small.npz").stat().st_size <= found.bytes(huffman=False) + overhead
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="no quantized weights"):
        Quantized.load(tmp_path / "other.npz")


def test_huffman_codes_are_the_shortest_prefix_codes():
    def best(counts):
        """Least total length over all assignments of lengths that a prefix code can have (Kraft's inequality)."""
        lengths = itertools.product(range(1, len(counts) + 1), repeat=len(counts))
        return min(sum(c * n for c, n in zip(counts, one)) for one in lengths if sum(2.0**-n for n in one) <= 1)

    for counts in ([5, 1], [4, 2, 1, 1], [7, 7, 1, 3], [1, 1, 1, 1], [9, 5, 3, 2, 1]):
        assert huffman_bits(counts) == best(counts)
        p = torch.tensor(counts, dtype=torch.float64) / sum(counts)
        entropy = float(-(p * p.log2()).sum()) * sum(counts)
        assert entropy - 1e-9 <= huffman_bits(counts) < entropy + sum(counts)
    assert huffman_bits([6]) == 6 and huffman_bits([0, 0]) == 0


def test_bytes_count_levels_scales_and_code():
    model = nn.Linear(64, 8, bias=False)
    found = quantize(model, bits=4, bucket=128)
    assert found.bytes(huffman=False) == 64 * 8 * 4 // 8 + 8 * 4  # levels, and two floats for each of four buckets
    counts = found.levels["weight"].flatten().bincount(minlength=16)
    assert found.bytes() == -(-(huffman_bits(counts) + 8 * 16) // 8) + 8 * 4


@pytest.mark.parametrize("layer", [QuantizedLinear(6, 4, bits=2), QuantizedConvolution(2, 3, bits=2)])
def test_a_quantized_layer_computes_with_levels_and_moves_its_full_copy(layer):
    generator = torch.Generator().manual_seed(0)
    x = (
        torch.randn(5, 6, generator=generator)
        if isinstance(layer, nn.Linear)
        else torch.randn(5, 2, 6, 6, generator=generator)
    )
    weight, bias = (UniformQuantizer(2, 256)(v.detach()).requires_grad_() for v in (layer.weight, layer.bias))
    wanted = F.linear(x, weight, bias) if isinstance(layer, nn.Linear) else F.conv2d(x, weight, bias, padding=1)
    assert torch.equal(layer(x), wanted)
    layer(x).square().sum().backward()
    wanted.square().sum().backward()  # the gradient at the quantized weights, applied to the copy
    assert torch.allclose(layer.weight.grad, weight.grad) and torch.allclose(layer.bias.grad, bias.grad)


def test_quantized_students_are_stacked_and_equal_to_single_ones():
    students = [RecurrentStudent(5, 6, 3, bits=3) for _ in range(2)]
    x = torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(0))
    found = Stack(students)(x)
    for one, student in zip(found, students):
        assert torch.allclose(one, student(x), atol=1e-6)


def test_the_recurrent_student_is_a_gated_recurrent_unit():
    student = RecurrentStudent(5, 6, 3, bits=0)
    cell = nn.GRU(5, 6, batch_first=True)
    order = [*range(6, 12), *range(6), *range(12, 18)]  # torch's gates stand as reset, update, new
    with torch.no_grad():
        for mine, theirs in ((student.read, "ih"), (student.gates, "hh")):
            getattr(cell, f"weight_{theirs}_l0").copy_(mine.weight[order])
            getattr(cell, f"bias_{theirs}_l0").copy_(mine.bias[order])
    x = torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(student(x), student.head(cell(x)[0][:, -1]), atol=1e-6)


def lesson():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 3
    x = 3 * F.one_hot(y, 8).float() + torch.randn(300, 8, generator=generator)
    teacher = lambda x: 4 * x[:, :3]  # noqa: E731
    return x, y, teacher


@pytest.mark.parametrize("learn", ["weights", "points"])
def test_own_students_learn_from_own_teachers(learn):
    x, y, teacher = lesson()
    student = mlp(8, 3, widths=(16,), seed=0)
    if learn == "points":
        student = distill(teacher, student, x, y, bits=8, steps=100).model(student)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    found = distill(teacher, student, x, y, bits=2, bucket=None, learn=learn, steps=100)
    accuracy = lambda model: float((model(x).argmax(1) == y).float().mean())  # noqa: E731
    assert all(len(value.unique()) <= 4 for value in found.weights().values())
    assert found.losses[-20:].mean() < found.losses[:20].mean()
    start = quantize(student, 2, bucket=None, points="quantile" if learn == "points" else None)
    assert accuracy(found.model(student)) > accuracy(start.model(student)) or accuracy(start.model(student)) > 0.95
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    again = distill(teacher, student, x, y, bits=2, bucket=None, learn=learn, steps=100)
    assert all(torch.equal(value, again.weights()[name]) for name, value in found.weights().items())


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"student": 3}, TypeError, "student"),
        ({"teacher": lambda x: x[:5]}, ValueError, "teacher must return logits"),
        ({"y": None}, ValueError, "y must hold one class"),
        ({"learn": "levels"}, ValueError, "learn"),
        ({"bits": 0}, ValueError, "bits"),
        ({"steps": 0}, ValueError, "steps"),
        ({"x": torch.full((300, 8), torch.nan)}, ValueError, "x must be finite"),
    ],
)
def test_bad_lessons_are_refused_in_words(change, error, words):
    x, y, teacher = lesson()
    arguments = {"teacher": teacher, "student": mlp(8, 3, seed=0), "x": x, "y": y} | change
    with pytest.raises(error, match=words):
        distill(**arguments)


def test_bad_modules_are_refused_in_words():
    with pytest.raises(TypeError, match="model must be a torch module"):
        quantize(3)
    with pytest.raises(ValueError, match="no parameters"):
        quantize(nn.ReLU())
    with pytest.raises(ValueError, match="differ in"):
        quantize(nn.Linear(3, 2)).model(nn.Linear(3, 2, bias=False))
    broken = nn.Linear(2, 2)
    with torch.no_grad():
        broken.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="parameter weight must be finite"):
        quantize(broken)


def test_a_result_saves_loads_and_makes_a_frame(tmp_path):
    result = study.run(study.Setting.of("smoke"), seeds=(0, 1))
    assert {"teacher", "distilled, 4 bits", "rounded, 2 bits", "learned points, 3 bits"} <= set(result.accuracy)
    result.save(tmp_path / "result.pt")
    assert torch.equal(study.Result.load(tmp_path / "result.pt").accuracy["student"], result.accuracy["student"])
    assert list(result.to_frame().columns) == ["arm", "accuracy", "spread", "bytes"]


def test_the_recorded_curve_has_eight_steps():
    curve = study.by_bits()
    assert curve["accuracy"].shape == (8, 3) and (np.diff(curve["bytes"][:, 0]) > 0).all()
    assert len(np.unique(curve["weights"][0])) <= 2 * -(-196 * 32 // 256)
