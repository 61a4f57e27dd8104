"""Speed of persistence against multipers, gudhi and torch_topological; writes data/benchmarks/persistence.csv."""

import pytest

from tests.bench import frame, peers

CASES = [
    ("function_rips", {"count": 100, "degree": 0, "target": 60, "floor": 30}),
    ("function_rips", {"count": 300, "degree": 0, "target": 200, "floor": 100}),
    ("function_rips", {"count": 500, "degree": 0, "target": 300, "floor": 150, "rounds": 3}),
    ("large_cloud", {"count": 5000, "budget": 1.0, "floor": 0.667}),
    ("bifiltered_image", {"size": 64, "levels": 50, "target": 60, "floor": 40}),
    ("bifiltered_image", {"size": 128, "levels": 50, "target": 100, "floor": 60, "rounds": 3}),
    ("small_graphs", {"count": 100, "target": 20, "floor": 10}),
    ("function_rips", {"count": 200, "degree": 1, "target": 15, "floor": 5, "rounds": 3}),
    ("function_rips", {"count": 300, "degree": 1, "target": 15, "floor": 5, "rounds": 2}),
    ("function_rips", {"count": 500, "degree": 1, "target": 15, "floor": 5, "rounds": 1}),
    ("cubical", {"size": 256, "target": 25, "floor": 15}),
    ("rips_loops", {"count": 500, "target": 2, "floor": 1}),
    ("rips_expansion", {"count": 200, "target": 25, "floor": 10, "rounds": 2}),
    ("rips_components", {"count": 1000, "target": 10, "floor": 5}),
    ("sliced_batch", {"count": 40, "target": 5, "floor": 3}),
    ("rank_invariant", {"count": 100, "degree": 0, "lines": 20, "target": 1, "floor": 0.5}),
    ("rank_invariant", {"count": 100, "degree": 1, "lines": 20, "target": 1, "floor": 0.5}),
    ("landscape", {"count": 100, "lines": 50, "target": 1, "floor": 0.5}),
]


@pytest.mark.peers
@pytest.mark.bench
@pytest.mark.parametrize("name, arguments", CASES, ids=[f"{n}-{'-'.join(map(str, a.values()))}" for n, a in CASES])
def test_speed_of_persistence(name, arguments):
    """Equal outputs are asserted by the frame; the speed is a row of the table."""
    row = peers.call(f"tests.bench.persistence_cases:{name}", **arguments)
    frame.write("persistence", [row])
    print(frame.show([row]))
    assert row.ratio > 0
