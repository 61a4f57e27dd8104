"""The explanations page and explorer show what the library returns, and move with their controls."""

import numpy as np
import pandas as pd
import pytest
import torch

from lab import explain
from lab.explain import studies
from widgets import pages
from widgets.jupyter import ExplanationExplorer
from widgets.pages import explanations as page

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore::lab.explain.ExplanationWarning")
ASKED = explain.QUESTIONS


def bars(figure, name):
    return next(trace for trace in figure.data if trace.name == name)


def test_page_follows_the_contract():
    found = pages.find("explanations")
    assert (found.route, found.method) == ("explanations", "explain")
    with pytest.raises(ValueError, match="setting"):
        found.build({"wdith": 1.0})


def test_page_shows_what_the_library_returns():
    answer, shown, table = page.draw(ASKED["one removed"], 0.1, 1.0, 0.0, 2, "diabetes", "tanh network", "")
    subject = studies.table("diabetes", "tanh network", instances=20)
    expected = explain.occlusion(subject.f, subject.x).weights[2]
    drawn = np.array(bars(shown, "Occlusion").x, dtype=float)
    assert set(np.round(drawn, 10)) <= set(np.round(expected.numpy(), 10))
    assert answer.layout.title.text.startswith("Occlusion")
    assert len(table) == 8
    assert table.set_index("method").loc["Occlusion", "risk for your question"] < 1e-9


def test_moving_the_noise_changes_smoothgrad_and_not_occlusion():
    first = page.draw(ASKED["noise"], 0.1, 1.0, 0.0, 0, "diabetes", "tanh network", "")[1]
    second = page.draw(ASKED["noise"], 1.5, 1.0, 0.0, 0, "diabetes", "tanh network", "")[1]

    def values(figure, name):
        return dict(zip(bars(figure, name).y, bars(figure, name).x))

    shared = set(values(first, "Occlusion")) & set(values(second, "Occlusion"))
    assert shared
    assert all(values(first, "Occlusion")[k] == values(second, "Occlusion")[k] for k in shared)
    assert any(values(first, "SmoothGrad")[k] != values(second, "SmoothGrad")[k] for k in shared)


def test_own_weights_are_chained_and_refused_in_words():
    subject = studies.table("diabetes", "linear", instances=20)
    matrix = np.arange(10.0)[None]
    own = page.with_weights(subject, {"layer.weight": matrix, "layer.bias": np.zeros(1)})
    torch.testing.assert_close(own.f(subject.x), subject.x @ torch.arange(10.0).double())
    with pytest.raises(ValueError, match="chain from 10 columns"):
        page.with_weights(subject, {"layer.weight": np.ones((3, 4))})


def test_explorer_resolves_the_width_without_calling_f():
    calls = []
    w = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def f(z):
        calls.append(len(z))
        return torch.tanh(z @ w).sum(1)

    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    explorer = ExplanationExplorer(f, x, names=list("abcdef"))
    before, made = tuple(bars(explorer.figures[0], "LIME").x), len(calls)
    explorer.controls["width"].value = 0.4
    assert len(calls) == made
    assert tuple(bars(explorer.figures[0], "LIME").x) != before
    expected = explain.lime(f, x, width=0.4 * 6**0.5).weights[0]
    assert set(np.round(bars(explorer.figures[0], "LIME").x, 9)) <= set(np.round(expected.numpy(), 9))
    assert len(explorer.static()) == 2


def test_explorer_takes_a_frame_with_categories():
    x = pd.DataFrame({"a": np.linspace(0, 1, 8), "b": list("uvuvuvuv"), "c": np.arange(8)})
    explorer = ExplanationExplorer(
        lambda rows: rows["a"].to_numpy() + (rows["b"] == "u").to_numpy() * rows["c"].to_numpy(), x,
        baseline=explain.typical(x),
    )  # fmt: skip
    assert {trace.name for trace in explorer.figures[0].data} == {"LIME", "KernelSHAP", "Occlusion"}
    with pytest.raises(ValueError, match="names must have 3"):
        ExplanationExplorer(lambda rows: rows["a"].to_numpy(), x, baseline=explain.typical(x), names=["a"])
