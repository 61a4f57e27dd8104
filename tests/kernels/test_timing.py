"""Timing and the door to the peers: outputs first, ratios in the right direction, errors carried through."""

import dataclasses

import pytest

from lab.kernels import timing
from tests.bench import frame, peers


def test_outputs_that_differ_are_not_timed():
    with pytest.raises(ValueError, match="nothing was timed"):
        timing.alternate(lambda: 1.0, lambda: 2.0, compare=lambda a, b: abs(a - b), tolerance=0.5)


def test_nan_difference_is_not_timed():
    with pytest.raises(ValueError, match="nothing was timed"):
        timing.alternate(lambda: 1.0, lambda: 1.0, compare=lambda a, b: float("nan"), tolerance=0.5)


def test_ratio_is_other_over_ours_whatever_the_order_and_repetition(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(timing.time, "process_time", lambda: clock[0])

    def work(seconds):
        clock[0] += seconds
        return 1.0

    found = timing.alternate(lambda: work(0.002), lambda: work(0.030), compare=lambda a, b: abs(a - b), tolerance=0.0)
    assert found.ratio == pytest.approx(15.0)
    assert found.ours == pytest.approx(0.002)
    assert found.low == pytest.approx(found.high)


def test_table_keeps_other_rows_and_replaces_the_same_case(tmp_path, monkeypatch):
    monkeypatch.setattr(frame, "FOLDER", tmp_path)
    row = frame.ratio(
        "sum of 10",
        lambda: sum(range(10)),
        lambda: sum(range(10)),
        compare=lambda a, b: float(a != b),
        tolerance=0.0,
        peer="numpy",
        rounds=3,
        least=0.001,
    )
    frame.write("room", [row, dataclasses.replace(row, case="another")])
    frame.write("room", [dataclasses.replace(row, ratio=7.0)])
    read = {found.case: found for found in frame.read("room")}
    assert set(read) == {"sum of 10", "another"}
    assert read["sum of 10"].ratio == 7.0
    assert "numpy" in read["another"].versions
    assert "sum of 10" in frame.show(read.values())


@pytest.mark.peers
def test_door_returns_results_and_carries_tracebacks():
    assert peers.call("math:hypot", 3, 4) == 5.0
    assert "topolosses" in peers.call("tests.bench.peers:versions", "topolosses")
    with pytest.raises(peers.PeerError, match="ZeroDivisionError"):
        peers.call("operator:truediv", 1, 0)


@pytest.mark.peers
def test_door_loads_the_compiled_betti_matching():
    assert peers.call("tests.kernels.peer_probe:topolosses_names")


def test_the_readme_quotes_the_committed_tables():
    text = frame.README.read_text(encoding="utf-8")
    assert frame.quoted(text) == text, "python -m tests.bench.frame writes it anew"
    assert frame.quoted(text.replace(frame.quote(), "")) == text
