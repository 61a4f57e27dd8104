"""The counter generator: published vectors, equal words in three languages, moments, replay."""

import numpy as np
import pytest
import torch

from lab.kernels import philox
from lab.kernels.philox import cpu

# Published with the generator (Random123, kat_vectors): philox4x32 with 10 rounds.
VECTORS = [
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0), "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "answer"), VECTORS)
def test_words_are_the_published_ones(counter, key, answer):
    index, seed = counter[0] | counter[1] << 32, key[0] | key[1] << 32
    found = philox.words_numpy(seed, index, counter[2], stream=counter[3])
    assert " ".join(f"{int(word):08x}" for word in found) == answer


@pytest.mark.parametrize("seed", [0, 5, 2**40 + 77, 2**64 - 1])
@pytest.mark.parametrize("index", [0, 2**32 - 1, 4_700_000_000_123, 2**62])
def test_words_are_equal_in_numpy_torch_and_numba(seed, index):
    blocks = np.arange(9)
    exact = philox.words_numpy(seed, index, blocks, stream=3)
    in_torch = philox.words(seed, torch.tensor(index), torch.arange(9), stream=3)
    in_numba = np.zeros((4, 9), np.uint32)
    cpu.fill_words(np.uint64(seed), np.uint64(index), 3, 9, in_numba)
    assert np.array_equal(exact, torch.stack(in_torch).numpy().astype(np.uint32))
    assert np.array_equal(exact, in_numba)


def test_normals_of_numba_are_those_of_torch():
    words, numbers = np.zeros((4, 1000), np.uint32), np.zeros(4000, np.float32)
    cpu.fill_words(np.uint64(9), np.uint64(1), 0, 1000, words)
    cpu.fill_normals(words, 1000, numbers)
    exact = philox.normals(9, torch.tensor([1]), 4000)[0].numpy()
    assert np.abs(numbers - exact).max() < 2e-6
    cpu.fill_uniforms(words, 1000, numbers)
    assert np.array_equal(numbers, philox.uniforms(9, torch.tensor([1]), 4000)[0].numpy())


def test_extreme_words_give_finite_normals():
    edge = torch.tensor([0, 1, 2**31, 2**32 - 1])
    first, second = torch.meshgrid(edge, edge, indexing="ij")
    a, b = philox.normals_from_words(first.flatten(), second.flatten())
    assert torch.isfinite(a).all()
    assert torch.isfinite(b).all()
    assert 6.7 < float(torch.maximum(a.abs().max(), b.abs().max())) < 6.8
    words = np.stack([first.flatten(), second.flatten()] * 2).astype(np.uint32)
    numbers = np.zeros(4 * 16, np.float32)
    cpu.fill_normals(words, 16, numbers)
    assert np.abs(numbers.reshape(16, 4)[:, 0] - a.numpy()).max() < 2e-6


def test_moments_are_those_of_the_normal_and_uniform_law():
    numbers = philox.normals(1, torch.arange(2000), 500).double().flatten()
    assert abs(float(numbers.mean())) < 0.005
    assert abs(float(numbers.var()) - 1.0) < 0.007
    assert abs(float((numbers**4).mean()) - 3.0) < 0.05
    uniform = philox.uniforms(1, torch.arange(2000), 500).double().flatten()
    assert abs(float(uniform.mean()) - 0.5) < 0.0015
    assert float(uniform.min()) > 0
    assert float(uniform.max()) <= 1


def test_items_do_not_depend_on_the_batch_they_are_drawn_in():
    alone = philox.normals(3, torch.tensor([17]), 10)
    assert torch.equal(philox.normals(3, torch.arange(40), 10)[17:18], alone)
    assert not torch.equal(philox.normals(3, torch.tensor([17]), 10, stream=1), alone)
