"""The live comparison of the speed notebook: both sides really run, and their outputs are compared."""

import pytest

from lab.report import speed
from widgets.figures import report as figures


def test_forked_and_fresh_kernels_are_measured_with_equal_outputs(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = speed.measure(2)
    assert found.kernels == ("warm",)
    assert found.equal
    assert found.warm > 0
    assert found.cold > 0
    title = figures.notebook_seconds(found).layout.title.text
    assert f"{found.ratio:.1f}×" in title


def test_the_title_says_when_nothing_was_forked():
    cold = speed.Speed(2, 1.0, 1.0, 0.0, True, ("cold",))
    assert "fresh here" in figures.notebook_seconds(cold).layout.title.text


@pytest.mark.parametrize("count", [1, 51, 2.0])
def test_a_wrong_count_is_refused(count):
    with pytest.raises((ValueError, TypeError), match="count must be"):
        speed.measure(count)


def test_the_committed_table_has_every_column():
    assert all(
        {"case", "peer", "ours_ms", "peer_ms", "ratio", "floor", "target", "date"} <= set(row)
        for row in speed.committed()
    )
