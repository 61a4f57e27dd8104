"""Betti matching of volumes against the C++ code: exact agreement in every voxel, then speed."""

import pytest

from tests.bench import peers


@pytest.mark.peers
@pytest.mark.parametrize("seed", range(2))
def test_matching_of_volumes_equals_the_cpp_code_in_every_voxel(seed):
    found = peers.call("tests.bench.volume_cases:parity", 300, seed)
    assert found["different"] == []
    assert min(found["bars"]) > 1_000


@pytest.mark.bench
@pytest.mark.peers
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["seg", "coarse", "noise"])
@pytest.mark.parametrize("size", [32, 64])
def test_matching_of_volumes_is_faster_than_the_cpp_code(kind, size):
    found = peers.call("tests.bench.volume_cases:speed", kind, size)
    print(f"{kind} {size}^3: {found['lab']:.3f} s against {found['peer']:.3f} s, {found['ratio']:.1f} times")
    assert found["different"] == 0
    assert found["ratio"] > 1
