"""Betti matching of volumes against the C++ code: exact agreement in every voxel, then speed and memory. ``make bench``
writes data/benchmarks/betti_volumes.csv."""

import pytest

from tests.bench import frame, peers, volume_cases

MATCHING = [(kind, size, 8.0, 4.0) for kind in ("seg", "coarse") for size in (32, 64, 96)]
MATCHING += [("noise", 32, 7.0, 4.0), ("noise", 64, 7.0, 4.0)]
BARCODES = [("seg", 32), ("seg", 64), ("noise", 32), ("noise", 64)]


@pytest.mark.peers
@pytest.mark.parametrize("seed", range(2))
def test_matching_of_volumes_equals_the_cpp_code_in_every_voxel(seed):
    found = peers.call("tests.bench.volume_cases:parity", 300, seed)
    assert found["different"] == []
    assert min(found["bars"]) > 1_000


@pytest.mark.peers
def test_barcodes_of_volumes_equal_those_of_oineus():
    found = peers.call("tests.bench.oineus_cases:barcodes", 300, 0)
    assert found["different"] == []
    assert min(found["bars"]) > 500


@pytest.mark.peers
def test_matched_bars_go_where_oineus_says_that_the_inclusions_lead():
    found = peers.call("tests.bench.oineus_cases:matchings", 40, 0)
    print(found)
    assert found["missing"] == found["beyond"] == 0
    assert min(found["pairs"]) > 0
    assert sum(found["pairs"]) > 150


@pytest.mark.bench
@pytest.mark.peers
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("case", MATCHING, ids=lambda case: f"{case[0]}-{case[1]}")
def test_speed_of_matching_volumes(case):
    row = peers.call("tests.bench.volume_cases:matching_ratio", *case, timeout=1700)
    frame.write("betti_volumes", [row])
    print(frame.show([row]))
    assert row.difference == 0


@pytest.mark.bench
@pytest.mark.peers
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("case", BARCODES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_speed_of_barcodes_of_volumes(case):
    row = peers.call("tests.bench.volume_cases:barcode_ratio", *case, 2.0, 1.0, timeout=1700)
    frame.write("betti_volumes", [row])
    print(frame.show([row]))
    assert row.difference == 0


@pytest.mark.bench
@pytest.mark.peers
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("size", [64, 96, 128, 192, 256])
def test_time_and_memory_of_large_volumes(size):
    """The C++ code joins up to 128 voxels a side, where it takes 3 GB."""
    ours = peers.call("tests.bench.volume_cases:memory", "seg", size, False, timeout=1700)
    theirs = peers.call("tests.bench.volume_cases:memory", "seg", size, True, timeout=1700) if size <= 128 else None
    row = volume_cases.memory_row(size, ours, theirs)
    volume_cases.keep_memory(row)
    print(row)
    assert ours["bytes_per_voxel"] < 200
    assert theirs is None or ours["megabytes"] < theirs["megabytes"]
