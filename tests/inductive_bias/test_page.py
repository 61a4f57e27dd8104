"""The page, its figures and the explorer show what the library returns."""

import math

import numpy as np
import plotly.graph_objects as go
import pytest

from lab.inductive_bias import RBF, KernelSpace, bit_map, bits_over_dimension, compare, estimates, required_bits
from lab.inductive_bias.studies import image_spaces
from widgets.figures import inductive_bias as figures
from widgets.pages import inductive_bias as page

from .cases import digits

SMALL = {"task": "digits", "space": "RBF", "train": 40, "test": 40, "draws": 1000}


def trace(fig, name):
    return next(item for item in fig.data if item.name == name)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_tail_shows_the_exact_curve_the_draws_and_the_line(theme):
    law = KernelSpace(RBF()).loss_law(digits(40, 40))
    found = estimates(law, draws=1000, points=20)
    fig = figures.tail(found, eps=float(found.eps[5]), theme=theme)
    np.testing.assert_allclose(trace(fig, "exact").y, required_bits(law, found.eps).bits)
    # every shape can be dragged, so the line is the only one
    assert [line.x0 for line in fig.layout.shapes] == [found.eps[5]]
    assert f"{found.exact[5]:.3g} bits" in fig.layout.title.text.replace("<br>", " ")


def test_every_figure_has_a_title_and_axis_labels():
    task = digits(40, 40)
    law = KernelSpace(RBF()).loss_law(task)
    found = estimates(law, draws=1000, points=20)
    people = bit_map(law, law.posterior_mean_loss)
    shown = [
        figures.missed(found),
        figures.bits_by_example(people),
        figures.ranking(compare(image_spaces()[:7], task, 0.05)),
        figures.over_dimension(bits_over_dimension([2, 6, 10], n_train=40, n_test=40)),
    ]
    for fig in shown:
        assert isinstance(fig, go.Figure)
        assert fig.layout.title.text
        assert fig.layout.xaxis.title.text
    images = figures.bit_map(people, task.test_inputs)
    dearest = f"{float(people.examples.max()):.2g} bits"
    assert dearest in [label for item in images.data if item.type == "scatter" for label in item.text]


def test_page_draws_what_the_library_returns():
    low, high = (page.draw(position, **SMALL, theme="light") for position in (20, 80))
    prepared = page._prepared(*SMALL.values())
    for position, shown in ((20, low), (80, high)):
        bits = required_bits(prepared.law, prepared.threshold(position)).bits
        row = next(item for item in shown[4] if item["quantity"] == "required bits")
        assert row["value"] == f"{bits:.4g}"
    assert prepared.position(prepared.threshold(37.5)) == pytest.approx(37.5)


def test_page_moves_with_a_dragged_line():
    view = page.build({**SMALL, "position": 30})
    from widgets.pages._state import Notice

    reaction = next(item.reaction for item in view.select(Notice) if item.reaction)
    curve = reaction.panes[0]
    target = page._prepared(*SMALL.values()).threshold(60)
    curve.relayout_data = {"shapes[0].x0": target, "shapes[0].x1": target}
    assert reaction.widgets["position"].value == pytest.approx(60, abs=0.5)


def test_page_says_why_a_space_is_unreachable():
    with pytest.raises(ValueError, match="fits the training set"):
        page.draw(40, "digits", "linear", 200, 40, 1000, "light")


def test_page_refuses_a_wrong_state():
    with pytest.raises(ValueError, match="space"):
        page.build({"space": "spline"})


def test_explorer_agrees_with_the_law():
    from widgets.jupyter import BiasExplorer

    explorer = BiasExplorer(draws=500)
    explorer.controls["position"].value = 70
    values = explorer.values
    routes = estimates(explorer.law_at(values), draws=500, points=60)
    eps = math.exp(np.interp(70, [0, 100], np.log(routes.eps[[0, -1]])))
    bits = required_bits(explorer.law_at(values), eps).bits
    assert f"{bits:.4g}" in explorer._tables.value
    with pytest.raises(TypeError, match="together"):
        BiasExplorer(task=digits(20, 20))
