"""The pages of losses: each builds at its defaults, answers its main control and refuses what it cannot show."""

import importlib

import plotly.graph_objects as go
import pytest

from lab.losses.aggregate import asymptotic_risk
from lab.losses.contrastive_temperature import relative_penalty
from lab.losses.sorting import soft_sort
from widgets import pages

# page, main control, two of its values
CONTROLS = [
    ("comp_sum", "tau", 0.5, 1.5),
    ("ldr", "temperature", 0.5, 5.0),
    ("ensloss", "box_cox", -0.5, 0.8),
    ("aggregate", "noise", 0.3, 1.5),
    ("contrastive_temperature", "temperature", 0.1, 1.0),
    ("groco", "positive", -0.3, 0.6),
    ("meco", "scale", 1.0, 4.0),
    ("generative_classifier", "samples", 10, 100),
    ("target_surrogates", "eta", 4.0, 30.0),
    ("correctness_calibration", "true", 0.2, 0.7),
    ("pulaski", "share", 0.0, 0.5),
]


def drawn(name, **changes):
    """What the page's draw returns at its defaults with ``changes``."""
    view = pages.find(name).build(changes)
    reaction = next(item.reaction for item in view.select() if isinstance(item, pages.Notice))
    values = {key: widget.value for key, widget in reaction.widgets.items()}
    return reaction.call(values, "light"), reaction.panes


def data(figure):
    return [(trace.name, str(trace.x), str(trace.y), str(trace.z if "z" in trace else None)) for trace in figure.data]


@pytest.mark.parametrize(("name", "control", "first", "second"), CONTROLS, ids=[row[0] for row in CONTROLS])
def test_page_follows_its_main_control(name, control, first, second):
    (*figures, numbers), panes = drawn(name, **{control: first})
    (*moved, other), _ = drawn(name, **{control: second})
    assert len(panes) == len(figures) + 1
    assert any(data(a) != data(b) for a, b in zip(figures, moved))
    assert numbers != other
    for figure in (*figures, *moved):
        assert isinstance(figure, go.Figure)
        assert figure.layout.title.text and figure.data
        assert len(figure.data[0].y if figure.data[0].y is not None else figure.data[0].z) > 0


@pytest.mark.parametrize(("name", "control"), [row[:2] for row in CONTROLS], ids=[row[0] for row in CONTROLS])
def test_page_refuses_a_setting_out_of_range_and_an_unknown_one(name, control):
    build = pages.find(name).build
    with pytest.raises(ValueError, match=control):
        build({control: -1e9})
    with pytest.raises(ValueError, match="no setting"):
        build({"colour": "red"})


@pytest.mark.parametrize("name", [row[0] for row in CONTROLS])
def test_page_is_drawn_in_the_dark_theme(name):
    module = importlib.import_module(f"widgets.pages.{name}")
    view = module.build({})
    reaction = next(item.reaction for item in view.select() if isinstance(item, pages.Notice))
    *figures, _ = reaction.call({key: widget.value for key, widget in reaction.widgets.items()}, "dark")
    light = {figure.layout.template.layout.paper_bgcolor for figure in figures}
    assert light == {"#1b1e24"}


def test_aggregate_page_shows_the_formula_of_the_library():
    (risk, _, numbers), _ = drawn("aggregate", k=3, noise=0.5, rho=0.5)
    exact = asymptotic_risk(0.5, items_per_feature=5.0, k=3, noise=0.25)["risk"]
    assert numbers["risk (asymptotic formula)"] == exact
    curve = next(trace for trace in risk.data if trace.name == "risk (asymptotic formula)")
    assert curve.y[list(curve.x).index(0.5)] == pytest.approx(exact)


def test_contrastive_page_shows_the_penalties_of_the_library():
    module = importlib.import_module("widgets.pages.contrastive_temperature")
    (shares, _, _), _ = drawn("contrastive_temperature", temperature=0.3)
    expected = relative_penalty(module.similarities().sort().values, 0.3)
    assert list(shares.data[0].y) == pytest.approx(expected.tolist())


def test_groco_page_shows_the_permutation_of_the_library():
    module = importlib.import_module("widgets.pages.groco")
    (matrix, _, _), _ = drawn("groco", positive=-0.3, steepness=8.0)
    _, expected = soft_sort(module.pairs(positive=-0.3)[0], 8.0)
    assert [list(row) for row in matrix.data[0].z] == [pytest.approx(row) for row in expected.tolist()]


def test_surrogate_page_says_when_the_bound_is_lost():
    (safe, _, _), _ = drawn("target_surrogates", eta=4.0)
    (lost, _, _), _ = drawn("target_surrogates", eta=40.0)
    assert "lies above" in safe.layout.title.text and "dips" in lost.layout.title.text


def test_samples_like_the_raters_are_nearest_to_them():
    found = {share: drawn("pulaski", share=share)[0][2]["energy distance"] for share in (0.0, 0.5, 1.0)}
    assert found[0.5] == pytest.approx(0, abs=1e-6) and min(found[0.0], found[1.0]) > 0.01
