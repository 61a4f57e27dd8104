"""Betti matching against its peers: exact agreement, then speed. ``make bench`` writes data/benchmarks/betti_matching.csv."""

import numpy as np
import pytest

from tests.bench import betti_limits, frame, peers

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
    frame.write("betti_matching", rows)
    print(frame.show(rows))
    assert all(row.difference <= 0.05 for row in rows)
    assert all(row.ratio > 1 for row in rows)


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_threads_overlap_cache_and_first_calls():
    rows = betti_limits.rows()
    betti_limits.write("betti_matching_limits", rows)
    assert all(float(row["value"]) > 0 for row in rows)


@pytest.mark.bench
@pytest.mark.peers
def test_companions_with_topograph():
    from lab import datasets
    from lab.topology.images import comparison

    tables = []
    for name in ("coins", "microaneurysms", "horse"):
        data = datasets.load(name)
        predictions = {"the label itself": (data.label > 0).float(), **data.predictions}
        table = comparison.table(predictions, data.label > 0)
        images = [each.numpy() for each in predictions.values()]
        table["topograph"] = peers.call(
            "tests.bench.betti_cases:topograph", images, [(data.label > 0).numpy()] * len(images)
        )
        tables.append(table.round(4).rename_axis("prediction").reset_index().assign(image=name))
    for table in tables:
        perfect = table[table.prediction == "the label itself"].iloc[0]
        assert perfect.matching_error == perfect.topograph == 0
        assert (table[table.matching_error > 0].topograph > 0).all()
    betti_limits.write("betti_matching_companions", [row for table in tables for row in table.to_dict("records")])


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_cost_and_memory_against_size():
    rows = betti_limits.growth()
    betti_limits.write("betti_matching_growth", rows)
    per_pixel = [float(row["nanoseconds_per_pixel"]) for row in rows]
    assert max(per_pixel) < 20 * min(per_pixel)


@pytest.mark.bench
@pytest.mark.peers
def test_memory_per_pixel_is_below_half_of_the_cpp_code():
    ours = peers.call("tests.bench.betti_cases:memory", "seg", 1024)["bytes_per_pixel"]
    theirs = peers.call("tests.bench.betti_cases:memory_of_peer", "seg", 1024)["bytes_per_pixel"]
    print(f"bytes per pixel: {ours:.0f} against {theirs:.0f}")
    assert 0 < ours < theirs / 2
