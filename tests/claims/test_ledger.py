"""A row that cannot decide is refused when it is read."""

import pytest

from lab.claims import by_id, ledger, measuring_function
from lab.claims.ledger import _claim

ROW = {
    "id": "m.row", "text": "t", "kind": "experiment", "setting": "small", "rule": "at least", "margin": 0.5, "unit": "points",
    "statistic": "mean", "replicates": 8, "drawn": "seeds", "control": "labels shuffled",
}  # fmt: skip


def read(**changes):
    row = {key: value for key, value in {**ROW, **changes}.items() if value is not None}
    return _claim("room/claims/m.toml", row, {"id": "m", "source": "s"}, "room")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"control": None}, "control is missing"),
        ({"drawn": None}, "drawn is missing"),
        ({"replicates": 3}, "at least 5 replicates"),
        ({"margin": 0.0}, "needs why_zero"),
        ({"statistic": "exact"}, "an experiment is sampled"),
        ({"rule": "within", "margin": 0.0}, "needs a margin above 0"),
        ({"rule": "more"}, "rule must be one of"),
        ({"statistic": "mode"}, "statistic must be one of"),
        ({"id": "other.row"}, "must begin with 'm.'"),
        ({"margn": 1.0}, "did you mean 'margin'"),
        ({"seeds": 5}, "unknown key 'seeds'"),
    ],
)
def test_row_that_cannot_decide_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        read(**changes)


def test_regions_of_the_rules():
    assert read().region() == (0.5, float("inf"))
    assert read(rule="at most").region() == (float("-inf"), 0.5)
    assert read(rule="within").region() == (-0.5, 0.5)
    strict = read(margin=0.0, why_zero="any gain counts").region()
    assert strict[0] > 0 and strict[0] < 1e-300
    assert read(kind="theorem", margin=0.0).region()[0] == 0


def test_rule_hash_follows_what_decides_and_nothing_else():
    assert read().rule_hash() == read(text="other words", published="3 points").rule_hash()
    changed = [
        read(margin=0.6),
        read(rule="at most"),
        read(replicates=9),
        read(statistic="median"),
        read(control="none"),
    ]
    assert len({claim.rule_hash() for claim in (read(), *changed)}) == 6


def test_every_testable_row_is_measured_and_every_earlier_id_still_finds_it():
    for claim in ledger():
        assert claim.untestable or (claim.control and measuring_function(claim.id)), claim.id
        assert all(by_id(alias) is claim for alias in claim.aliases)
    assert by_id("betti.differentiable").id == "betti_matching.differentiable"


def test_every_study_of_the_catalog_is_whole():
    """A row whose module, notebook or page has moved is found here and not on the first user's screen."""
    from lab.report.studies import studies

    assert {study.method.id: study.missing for study in studies() if study.missing} == {}
