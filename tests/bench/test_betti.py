"""Betti matching against its peers: exact agreement, then speed. ``make bench`` writes data/benchmarks/betti_matching.csv."""

import numpy as np
import pytest

from tests.bench import frame, peers

REAL = ("retina", "microaneurysms", "coins", "cell", "horse")


@pytest.mark.peers
@pytest.mark.parametrize("seed", range(3))
def test_matching_equals_the_cpp_code_in_every_voxel(seed):
    found = peers.call("tests.bench.betti_cases:parity", 1000, seed)
    assert found["different"] == []
    assert found["bars"] > 50_000


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Files of real images with their mixed predictions, where the peers' environment can read them."""
    from lab import datasets

    folder = tmp_path_factory.mktemp("images")
    for name in REAL:
        data = datasets.load(name)
        np.savez(folder / f"{name}.npz", prediction=data.prediction.numpy(), label=(data.label > 0).numpy())
    return [str(folder / f"{name}.npz") for name in REAL]


@pytest.mark.bench
@pytest.mark.peers
@pytest.mark.timeout(1800)
def test_speed_of_matching_barcodes_and_loss(images):
    rows = peers.call("tests.bench.betti_cases:all_rows", images, timeout=1500)
    mean = np.exp(np.mean([np.log(row.ratio) for row in rows[: len(images) + 3]]))
    frame.write("betti_matching", rows)
    print(frame.show(rows))
    assert mean >= 6
    assert all(row.ratio >= row.floor for row in rows[len(images) + 3 :])


@pytest.mark.bench
@pytest.mark.peers
def test_memory_per_pixel_is_below_half_of_the_cpp_code():
    ours = peers.call("tests.bench.betti_cases:memory", "seg", 1024)["bytes_per_pixel"]
    theirs = peers.call("tests.bench.betti_cases:memory_of_peer", "seg", 1024)["bytes_per_pixel"]
    print(f"bytes a pixel: {ours:.0f} against {theirs:.0f}")
    assert ours < theirs / 2
