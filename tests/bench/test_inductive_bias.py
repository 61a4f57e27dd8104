"""Required bits against gx2 and against the published route. ``make bench`` writes data/benchmarks/inductive_bias.csv."""

import math

import pytest

from tests.bench import frame, peers

CASES = "tests.bench.inductive_bias_cases"


@pytest.mark.peers
def test_tail_is_right_where_gx2_loses_its_digits():
    rows = {row["q"]: row for row in peers.call(f"{CASES}:accuracy")}
    for row in rows.values():
        assert row["ours"] == pytest.approx(row["truth"], rel=1e-9)
    # in the body both agree; at 10^-15.6 absolute accuracy has nothing left
    assert rows[30.0]["imhof"] == pytest.approx(rows[30.0]["truth"], abs=1e-3)
    assert not abs(rows[10.0]["imhof"] - rows[10.0]["truth"]) < 0.01
    assert rows[10.0]["truth"] == pytest.approx(-15.63, abs=0.01)


@pytest.mark.bench
@pytest.mark.peers
def test_speed_of_bits():
    rows = [peers.call(f"{CASES}:gx2_ratio", 200, 30.0), peers.call(f"{CASES}:gx2_ratio", 1000, 170.0)]
    rows += [peers.call(f"{CASES}:overhead_ratio", n) for n in (300, 600)]
    rows += [peers.call(f"{CASES}:fit_ratio"), peers.call(f"{CASES}:adam_ratio", 300)]
    rows += [peers.call(f"{CASES}:training_ratio", against=loop) for loop in ("published loop", "plain loop")]
    frame.write("inductive_bias", rows)
    print(frame.show(rows))
    assert all(math.isfinite(row.ratio) and row.ratio > 0 for row in rows)
