"""Claims on a page: what is shown of a row, and a measurement in a process of its own."""

import time

import pytest

from lab import claims
from lab.report.store.standing import Row
from widgets.pages import _layout, _measuring, _studies
from widgets.server import measuring


@pytest.fixture
def claim():
    return next(claim for claim in claims.method("comp_sum").claims if claim.control and not claim.untestable)


@pytest.fixture
def offered(monkeypatch):
    monkeypatch.setitem(_measuring.offered, "measure", True)


LINE = {"value": 0.5, "low": 0.4, "high": 0.6, "replicates": 20, "date": "2026-11-30", "budget": "default", "seconds": 30.0,
        "control": {"value": 0.0, "low": -0.1, "high": 0.1, "holds": False}}  # fmt: skip


def test_row_shows_rule_record_interval_control_and_this_machine(claim, offered):
    here = {"value": 0.55, "interval": [0.5, 0.6], "replicates": 2, "seeds": [0, 1], "budget": "smoke", "seconds": 3.0}
    text = _measuring.claim_html(Row(claim, "holds", recorded=LINE, here=here))
    for words in (
        "holds if",
        "0.5 [0.4, 0.6]",
        "2026-11-30, 20 replicates",
        "fails, as it should",
        "0.55 [0.5, 0.6]",
        "smoke budget",
    ):
        assert words in text, words
    assert f'data-lab-measure="{claim.id}"' in text
    assert "about 12 s" in text  # the start, and three seconds twice


def test_row_without_a_measurement_says_so_and_names_the_control(claim, offered):
    text = _measuring.claim_html(Row(claim, "not run"))
    assert "not measured yet" in text and "control" in text


def test_only_a_server_that_takes_jobs_offers_to_measure_and_never_the_untestable(claim, offered):
    untestable = next(claim for claim in claims.ledger() if claim.untestable)
    assert "<button" not in _measuring.claim_html(Row(untestable, "not testable here"))
    assert "data-lab-budget" in _layout.claims_pane("comp_sum").object
    _measuring.offered["measure"] = False
    assert "<button" not in _measuring.claim_html(Row(claim, "not run"))
    assert "data-lab-budget" not in _layout.claims_pane("comp_sum").object


def test_expected_seconds_come_from_the_last_measurement_of_that_budget(claim):
    row = Row(claim, "holds", recorded=LINE)
    assert _measuring.expected_seconds(claim, "default", row) == 66
    assert _measuring.expected_seconds(claim, "smoke", row) == 10


def until_ended(job):
    end = time.monotonic() + 280
    while job.running:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_measurement_is_stored_and_its_row_shows_it_with_the_control(claim, tmp_path, monkeypatch, offered):
    monkeypatch.setenv("LAB_DATA", str(tmp_path))
    _studies.forget()
    job = measuring.Measuring.begin(claim, "smoke")
    told = job.told()
    assert told["state"] == "running" and 0 <= told["share"] < 1 and "of about" in told["words"]
    until_ended(job)
    told = job.told()
    assert told["state"] == "done", told
    assert "control on this machine" in told["html"] and "smoke budget" in told["html"]
    assert (tmp_path / "runs" / ".claims" / f"{claim.id}.smoke.json").is_file()


def test_cancelled_measurement_stops_at_once_and_stores_nothing(claim, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DATA", str(tmp_path))
    job = measuring.Measuring.begin(claim, "smoke")
    began = time.monotonic()
    job.cancel()
    assert time.monotonic() - began < 5
    assert job.told()["state"] == "cancelled"
    assert not list(tmp_path.rglob("*.json"))


def test_failed_measurement_says_why(claim, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DATA", "/dev/null/nowhere")
    monkeypatch.setattr(measuring, "expected_seconds", lambda claim, budget: 5.0)
    job = measuring.Measuring.begin(claim, "smoke")
    until_ended(job)
    told = job.told()
    assert told["state"] == "failed" and "failed:" in told["words"]
