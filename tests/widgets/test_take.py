"""What a visitor takes along: the Python of a state, and the citation."""

import pytest

from widgets import pages
from widgets.pages import _take


def test_python_of_a_state_makes_the_figures_and_numbers_of_the_page(capsys, monkeypatch):
    page, state = pages.find("comp_sum"), {"tau": 0.5, "classes": 7}
    text = _take.python_of(page, state)
    shown = []
    monkeypatch.setattr("plotly.graph_objects.Figure.show", lambda figure: shown.append(figure))
    exec(compile(text, "state.py", "exec"), {})
    view = pages.at("comp_sum", state)
    assert [figure.to_json() for figure in shown] == [figure.to_json() for figure in view.figures]
    assert "τ = 0.5" in shown[0].layout.title.text.replace("<br>", " ")
    assert capsys.readouterr().out.count("bound on the excess error") == len(view.numbers[0])
    assert "import lab.losses.comp_sum" in text


def test_a_hostile_state_stays_a_value():
    state = {"text": "'); __import__('os').abort() #", "n": [1, {"a": None}]}
    text = _take.python_of(pages.find("comp_sum"), state)
    found = {}
    stub = type(
        "Stub",
        (),
        {
            "at": staticmethod(
                lambda name, given: found.update(given) or type("V", (), {"figures": (), "numbers": ()})()
            )
        },
    )
    exec(compile(text.replace("from widgets import pages", ""), "state.py", "exec"), {"pages": stub})
    assert found == state
    with pytest.raises(ValueError, match="characters"):
        _take.python_of(pages.find("comp_sum"), {"text": "x" * 30_000})


def test_page_without_a_server_refuses_what_the_page_refuses():
    with pytest.raises(ValueError, match="no_such_setting"):
        pages.at("comp_sum", {"no_such_setting": 1})
    with pytest.raises(TypeError, match="plain JSON"):
        pages.at("comp_sum", {"tau": object()})


def test_citation_of_a_page_names_paper_and_lab():
    text = _take.bibtex_of(pages.find("comp_sum"))
    assert "Cross-Entropy Loss Functions" in text and "Objective Lab" in text
