"""The recorded state: what may enter it, which line counts, when it is stale, and that a recording goes on after a kill."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from lab import source
from lab.claims import Effects, Measured, by_id, measure, recorded
from lab.claims import measure as measure_claim
from lab.report.store import recording, standing

EXTREME, REPLAY = "kernels.extreme", "kernels.replay"
CONTEXT = {"commit": "abc", "versions": {}, "machine": {}}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The state goes to a folder of its own; units run in this process."""
    monkeypatch.setattr(recorded, "_path", lambda room: tmp_path / "claims" / f"{room}.jsonl")
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))

    @contextmanager
    def pool(*_):
        with ThreadPoolExecutor(1) as one:
            yield one

    monkeypatch.setattr(recording, "_pool", pool)
    recording._key.cache_clear()
    return tmp_path


def a_line(**changes):
    found = recorded.line(measure(EXTREME), measure(EXTREME, control=True), context=CONTEXT)
    return {**found, **changes}


def test_line_with_most_replicates_then_the_newest_counts(project):
    for value, replicates in ((1.0, 8), (2.0, 20), (3.0, 20), (4.0, 8)):
        recorded.append("kernels", a_line(value=value, replicates=replicates))
    assert recorded.latest("kernels")[EXTREME]["value"] == 3.0
    assert [line["value"] for line in recorded.history("kernels")] == [1.0, 2.0, 3.0, 4.0]


def test_broken_lines_are_left_out_and_a_cut_one_stays_alone(project):
    path = recorded.append("kernels", a_line())
    with path.open("ab") as file:
        file.write(b'{"id": "kernels.extreme", "val')
    recorded.append("kernels", a_line(value=7.0))
    with path.open("ab") as file:
        file.write(b'[1, 2]\n\xff\n{"id": "no.such", "replicates": 3}\n')
    assert [line["value"] for line in recorded.history("kernels")][1:] == [7.0]


def test_infinite_ends_survive_the_file(project):
    recorded.append("kernels", a_line(low=float("-inf")))
    line = recorded.latest("kernels")[EXTREME]
    assert standing.ends(line)[0] == float("-inf")


@pytest.mark.parametrize("change", [{"budget": "smoke"}, {"own": "data"}, {"own": "parameters"}, {"seeds": ()}])
def test_what_is_not_the_papers_is_not_recorded(change):
    with pytest.raises(ValueError, match="is not recorded"):
        recorded.line(replace(measure(EXTREME), **change), None, context=CONTEXT)


def test_changed_rule_code_or_tuning_make_a_line_stale(project):
    recorded.append("kernels", a_line())
    assert recorded.stale("kernels") == {}
    recorded.append("kernels", a_line(rule_hash="other", code_hash="other", tuning_hash="other"))
    assert recorded.stale("kernels")[EXTREME].count(";") == 2


def test_docstrings_and_comments_change_no_hash(tmp_path):
    (tmp_path / "a.py").write_text('"""One."""\ndef f(x):\n    """Doc."""\n    return x + 1\n')
    (tmp_path / "b.py").write_text('"""Two."""\n# why\ndef f(x):\n\n    return x + 1\n')
    (tmp_path / "c.py").write_text("def f(x):\n    return x + 2\n")
    first, second, third = (source._tree_hash(str(tmp_path / f"{name}.py"), 0, 0) for name in "abc")
    assert first == second != third


def test_types_of_arguments_change_no_hash_except_where_a_decorator_may_read_them(tmp_path):
    (tmp_path / "a.py").write_text("def f(x: int) -> int:\n    return x + 1\n")
    (tmp_path / "b.py").write_text("def f(x):\n    return x + 1\n")
    (tmp_path / "c.py").write_text("@op\ndef f(x: int) -> int:\n    return x + 1\n")
    (tmp_path / "d.py").write_text("@op\ndef f(x: float) -> int:\n    return x + 1\n")
    first, second, third, fourth = (source._tree_hash(str(tmp_path / f"{name}.py"), 0, 0) for name in "abcd")
    assert first == second
    assert third != fourth


def test_what_only_a_left_out_module_uses_does_not_count(monkeypatch):
    uses = {"a": {"b", "left"}, "left": {"only"}, "b": {"shared"}, "only": {"shared"}, "shared": set()}
    hashes = dict.fromkeys(uses, "1")
    monkeypatch.setattr(source, "path_of", lambda name: source.Path(__file__))
    monkeypatch.setattr(source, "_used_by", lambda name, time, stamp: uses[name])
    monkeypatch.setattr(source, "_tree_hash_of", hashes.get)
    before = source.code_hash("a", without=("left",))
    changed = {}
    for name in uses:
        hashes[name] = "2"
        changed[name] = source.code_hash("a", without=("left",)) != before
        hashes[name] = "1"
    assert changed == {"a": True, "left": False, "b": True, "only": False, "shared": True}


def test_no_built_in_data_set_is_read_by_what_does_not_count():
    built_in = "catalog clouds fields images moves numerals outlines packaged patches predictions resampling surveys tables tubes"
    for name in (*built_in.split(), "vessels", "volumes"):
        path = source.path_of(f"lab.datasets.{name}")
        used = {each.rpartition(".")[2] for each in source.modules_of(path.read_text(encoding="utf-8"))}
        assert not used & set(recorded.READERS), (name, used)


def test_recording_goes_on_where_it_was_killed(project, monkeypatch):
    measured = []
    one = recording.measure_unit

    def dies_after_two(unit):
        if len(measured) == 2:
            raise MemoryError("killed")
        measured.append(unit)
        return one(unit)

    monkeypatch.setattr(recording, "measure_unit", dies_after_two)
    outcome = recording.record([by_id(REPLAY)])
    assert not outcome.lines and "killed" in outcome.failures[REPLAY]
    monkeypatch.setattr(recording, "measure_unit", lambda unit: measured.append(unit) or one(unit))
    outcome = recording.record([by_id(REPLAY)])
    assert [line["id"] for line in outcome.lines] == [REPLAY]
    assert sorted((unit.seeds[0], unit.control) for unit in measured) == [
        (k, c) for k in range(3) for c in (False, True)
    ]
    assert outcome.controls == 1 and not outcome.controls_that_hold
    assert outcome.lines[0]["values"] == list(measure_claim(REPLAY).values)
    assert recording.wanted([by_id(REPLAY)]) == []
    assert recording.wanted([by_id(REPLAY)], replicates=4) == [by_id(REPLAY)]


def test_one_failing_claim_stops_nothing(project, monkeypatch):
    def broken(trial):
        raise ZeroDivisionError("no data")

    broken.claim_ids, broken.stacked = (EXTREME,), False
    whole = recording.measuring_function
    monkeypatch.setattr(recording, "measuring_function", lambda id: broken if id == EXTREME else whole(id))
    outcome = recording.record([by_id(EXTREME), by_id(REPLAY)])
    assert [line["id"] for line in outcome.lines] == [REPLAY]
    assert outcome.failures == {EXTREME: "ZeroDivisionError: no data"}


def test_standing_shows_the_record_and_this_machine_side_by_side(project):
    (before,) = (row for row in standing.rows("kernels") if row.claim.id == REPLAY)
    assert before.status == "not run"
    recorded.append("kernels", a_line(id=REPLAY, verdict="refuted", replicates=3))
    standing.keep(replace(measure(REPLAY, replicates=2), budget="default"))
    (row,) = (row for row in standing.rows("kernels") if row.claim.id == REPLAY)
    assert row.status == "refuted" and row.provenance.endswith("3 replicates")
    assert row.measured_here.startswith("this machine: 2 of 3 replicates")
    assert "fails, as it should" in row.control
    json.dumps(row.to_dict())


def test_until_decided_spends_more_replicates_only_while_undecided(monkeypatch):
    asked = []
    claim = replace(by_id("kernels.speed"), replicates=5, margin=0.0, why_zero="any gain")

    def fake(id, *, replicates, budget, data):
        asked.append(replicates)
        late = 10  # effects that cancel in the first ten replicates, and do not in the next
        values = [(0.5 if k % 2 else -0.4) if k < late else 5.0 + k / 100 for k in replicates]
        return recording.concluded(claim, Effects(values), replicates)

    monkeypatch.setattr(recording, "by_id", lambda id: claim)
    monkeypatch.setattr("lab.claims.measure", fake)
    found = recording.until_decided("kernels.speed")
    assert [len(seeds) for seeds in asked] == [5, 5, 10] and sorted(sum(asked, ())) == list(range(20))
    assert found.verdict == "holds" and isinstance(found, Measured) and found.replicates == 20


def test_a_measurement_shows_the_recorded_verdict_beside_its_own(project):
    assert "Recorded" not in measure(EXTREME)._repr_html_()
    recorded.append("kernels", a_line(verdict="refuted", date="2026-12-01"))
    assert "Recorded 2026-12-01: refuted" in measure(EXTREME)._repr_html_()


def test_no_recorded_claim_holds_beside_a_control_that_holds():
    lines = recorded.latest()
    assert all(line["control"] is not None for line in lines.values())
    both = [id for id, line in lines.items() if line["verdict"] == "holds" and line["control"]["holds"]]
    assert not both
    assert sum(line["control"]["holds"] for line in lines.values()) <= 0.05 * len(lines)


def test_recorded_lines_are_the_verdicts_of_their_own_values():
    for id, line in recorded.latest().items():
        claim = by_id(id)
        if line["rule_hash"] == claim.rule_hash() and line["values"]:
            again = recording.concluded(
                claim, Effects(line["values"]), range(line["replicates"]), budget=line["budget"]
            )
            assert again.verdict == line["verdict"], id


def test_units_run_on_dask_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "_path", lambda room: tmp_path / "claims" / f"{room}.jsonl")
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    recording._key.cache_clear()
    done = []
    outcome = recording.record(
        [by_id(EXTREME)], executor="dask", jobs=1, progress=lambda count, whole, what: done.append((count, whole))
    )
    assert [line["verdict"] for line in outcome.lines] == ["holds"] and not outcome.failures
    assert done == [(1, 2), (2, 2)]
