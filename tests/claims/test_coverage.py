"""Every sentence of the abstract of an existing method has a claim or a reason."""

from dataclasses import replace

import pytest

from lab.claims import coverage, ledger, methods


@pytest.mark.parametrize("method", [m for m in methods() if coverage.sentences(m.id)], ids=lambda m: m.id)
def test_no_sentence_of_the_abstract_is_left_open(method):
    open_ones = [f"{one.number}. {one.text}" for one in coverage.sentences(method.id) if one.is_open]
    assert not open_ones


def test_sentence_without_claim_or_reason_is_open(monkeypatch):
    method = replace(next(m for m in methods() if m.claims), id="m")
    covering = replace(method.claims[0], sentences=(1,))
    monkeypatch.setattr(coverage, "method", lambda id: replace(method, claims=(covering,)))
    rows = [{"text": "one"}, {"text": "two"}, {"text": "three", "reason": "motivation"}]
    monkeypatch.setattr(coverage, "_file", lambda: {"m": rows})
    assert [one.is_open for one in coverage.sentences("m")] == [False, True, False]
    assert coverage.sentences("m")[0].claims == (covering.id,)
    monkeypatch.setattr(coverage, "_file", lambda: {"m": []})
    assert coverage.sentences("m") == ()
    monkeypatch.setattr(coverage, "_file", lambda: {"m": rows})
    monkeypatch.setattr(coverage, "method", lambda id: replace(method, claims=(replace(covering, sentences=(4,)),)))
    with pytest.raises(ValueError, match="covers sentences \\[4\\], the abstract has 3"):
        coverage.sentences("m")


def test_every_method_with_moved_rows_has_its_abstract_numbered():
    from lab.claims.coverage import _file

    known = set(_file())
    assert known <= {method.id for method in methods()}
    assert all(claim.method in known for claim in ledger() if claim.sentences)
