"""What the notebooks of the room record follows their parameters, and their numbers add up."""

import json
from pathlib import Path

import pytest
import torch

from lab import datasets, report, topology
from lab.topology.images import comparison

NOTEBOOKS = Path(__file__).parents[2] / "notebooks" / "topology"
LEFT_OUT = ("report.claim", "pages.show", "Explorer(", "figures.", "studies.")


def recorded(name, monkeypatch, **parameters) -> dict:
    """The numbers that a notebook records, from its own cells without figures, claims and pages."""
    found = {}
    monkeypatch.setattr(report, "record", lambda key, value, unit="": found.update({key: value}))
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    space: dict = {}
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            continue
        lines = [
            line for line in source.splitlines() if not any(word in line for word in LEFT_OUT) and line.strip() != "fig"
        ]
        exec("\n".join(lines), space)
        if "parameters" in cell["metadata"].get("tags", ()):
            space.update(parameters)
        if len(found) == 3:
            return found
    raise AssertionError(f"{name} records {sorted(found)}")


@pytest.fixture(scope="module")
def coins():
    return datasets.load("coins")


@pytest.mark.parametrize("variant", ["islands", "holes", "mixed"])
def test_numbers_are_those_of_the_variant_asked_for(variant, coins, monkeypatch):
    found = recorded("betti_matching", monkeypatch, variant=variant, image="coins")
    wanted = comparison.companions(coins.predictions[variant], coins.label > 0)
    assert found["matching error"] == wanted.matching_error > 0
    assert found["dice"] == wanted.dice


def test_every_parameter_that_should_move_a_number_does(monkeypatch):
    base = {"image": "vessel_tree", "variant": "islands"}
    first = recorded("betti_matching", monkeypatch, **base)
    assert recorded("betti_matching", monkeypatch, **base) == first
    for change in ({"variant": "boundary"}, {"image": "coins", "variant": "mixed"}, {"threshold": 0.9}):
        assert (
            recorded("betti_matching", monkeypatch, **{**base, **change})["matching error"] != first["matching error"]
        ), change
    longer = recorded("betti_matching", monkeypatch, **base, min_length=0.6)
    assert longer["unmatched features"] < first["unmatched features"]


def test_variant_without_room_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="nothing errors cannot be placed in the label of .*; available:"):
        recorded("betti_matching", monkeypatch, variant="nothing", image="coins")


def test_counts_by_length_add_up_to_the_bars(coins):
    matching = topology.match(coins.prediction, coins.label > 0)
    for shortest in (0.0, 0.2, 0.5):
        counts = matching.counts(min_length=shortest)
        for d in matching.dimensions:
            bars = (matching.matched[d].prediction, matching.unmatched_prediction[d], matching.unmatched_label[d])
            assert counts.iloc[d].tolist() == [sum(bar.length >= shortest for bar in each) for each in bars]
    frame = matching.to_frame()
    lone = frame[frame.kind == "unmatched"]
    assert matching.counts().drop(columns="matched").to_numpy().sum() == len(lone)
    assert bool(torch.isfinite(matching.loss()))
