"""The explanations page and explorer show what the library returns, and move with their controls."""

from types import SimpleNamespace

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
    assert (found.route, found.method) == ("explanations", "explanations")
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
    assert table.set_index("method").loc["Occlusion", "error on your question"] < 1e-9


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


def test_own_network_in_a_named_architecture_is_explained_as_torch_computes_it(tmp_path):
    from lab import training

    subject = studies.table("diabetes", "linear", instances=20)
    net = training.mlp(10, 3, widths=(8,), activation="tanh", seed=3).double()
    own = page.with_weights(subject, net.state_dict(), "layers with tanh", "probability", page.UNITS[1])
    raw = subject.x * subject.spread + subject.mean
    torch.testing.assert_close(own.f(subject.x), torch.softmax(net(raw), 1)[:, 0].detach())
    with pytest.raises(ValueError, match="did you mean|must be one of"):
        page.with_weights(subject, net.state_dict(), "layers with tan")


def mixed():
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({
        "age": generator.integers(20, 60, 200).astype(float), "colour": generator.choice(["red", "green", "blue"], 200),
        "income": generator.normal(size=200),
    })  # fmt: skip
    frame["y"] = ((frame["colour"] == "red") & (frame["income"] > 0)).astype(int)
    frame.loc[5, "age"], frame.loc[7, "colour"] = np.nan, None
    return frame


def test_table_with_levels_and_missing_values_keeps_one_column_one_player():
    upload = SimpleNamespace(data=mixed(), name="mine.csv")
    answer, shown, table = page.draw(ASKED["noise"], 0.1, 1.0, 0.0, 0, "wine", "trees", "", upload=upload)
    assert list(table["method"]) == ["LIME", "KernelSHAP", "Occlusion"]
    assert {str(label).split(" = ")[0] for label in bars(shown, "KernelSHAP").y} == {"age", "colour", "income"}
    assert "using this question instead" in answer.layout.title.text.replace("<br>", " ")
    again = page.draw(ASKED["coalitions"], 0.1, 2.0, 0.0, 0, "wine", "trees", "", upload=upload)
    assert len(page._TRAINED) <= 8
    assert tuple(bars(again[1], "KernelSHAP").x) == tuple(bars(shown, "KernelSHAP").x)
    with pytest.raises(ValueError, match="target must be one of|did you mean"):
        page.draw(ASKED["coalitions"], 0.1, 2.0, 0.0, 0, "wine", "trees", "yy", upload=upload)


def test_exclusive_or_is_refused_on_the_page():
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {name: generator.choice([-1.0, 1.0], 800) + 0.05 * generator.normal(size=800) for name in "ab"}
    )
    frame["y"] = frame["a"] * frame["b"]
    upload = SimpleNamespace(data=frame, name="xor.csv")
    answer = page.draw(ASKED["coalitions"], 0.1, 1.0, 0.0, 0, "wine", "deep relu network", "", upload=upload)[0]
    assert answer.layout.title.text.startswith("No linear explanation is faithful")


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
