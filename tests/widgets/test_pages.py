"""The contract of pages: discovery, state, static output, tables, glossary, thumbnails."""

import json
import math
import types

import numpy as np
import pandas as pd
import panel as pn
import plotly.graph_objects as go
import pytest

from lab.report.site.thumbnail import drawing
from widgets import pages
from widgets.figures import colours, figure
from widgets.figures.theme import TITLE_WIDTH, lines
from widgets.pages import _anatomy, _glossary, _home, _runs, _studies


def controls():
    return {
        "level": pn.widgets.FloatSlider(label="Level", start=0, end=1, step=0.1, value=0.5),
        "count": pn.widgets.IntSlider(label="Count", start=1, end=9, value=3),
        "image": pn.widgets.Select(label="Image", options=["coins", "retina"], value="coins"),
        "size": pn.widgets.Select(label="Size", options={"small": (8, 8), "large": (64, 64)}, value=(8, 8)),
        "parts": pn.widgets.CheckBoxGroup(label="Parts", options=["a", "b"], value=["a"]),
        "smooth": pn.widgets.Checkbox(label="Smooth", value=False),
        "span": pn.widgets.RangeSlider(label="Span", start=0, end=10, value=(2, 5)),
        "text": pn.widgets.TextInput(label="Text", value=""),
    }


def page(state):
    widgets = controls()
    pages.sync(widgets, state)
    curve, table = pages.plot(), pages.numbers()
    notice = pages.react(widgets, draw, curve, table)
    return pages.layout("Waves", "A question?", widgets, [curve, table], notice=notice)


def draw(level, count, image, size, parts, smooth, span, text, theme):
    x = np.linspace(0, 1, count)
    return figure(go.Scatter(x=x, y=level * x), theme=theme, title=f"{image} at {level}"), {
        "slope": level,
        "points": count,
    }


FULL = {
    "level": 0.3, "count": 7, "image": "retina", "size": "large", "parts": ["a", "b"], "smooth": True, "span": [1, 9], "text": "5",
}  # fmt: skip


def test_every_page_of_the_project_keeps_the_contract():
    from lab import claims

    methods = {method.id: method for method in claims.methods()}
    for route, found in pages.discover().items():
        assert route == found.route
        assert found.method in methods, f"{found.name}: METHOD {found.method!r} is not in the catalog"


@pytest.mark.parametrize("name", pages.names())
def test_every_page_refuses_an_unknown_setting_in_words(name):
    with pytest.raises(ValueError, match="no_such_setting"):
        pages.find(name).build({"no_such_setting": 1})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"TITLE": ""}, "TITLE"),
        ({"ROUTE": "Two Words"}, "kebab-case"),
        ({"METHOD": None}, "METHOD"),
        ({"build": 3}, "build"),
    ],
)
def test_module_that_breaks_the_contract_is_refused(changes, words):
    good = {"TITLE": "T", "ROUTE": "a-b", "METHOD": "m", "build": lambda state: None}
    module = types.SimpleNamespace(__name__="widgets.pages.x", **{**good, **changes})
    with pytest.raises(ValueError, match=words):
        pages._discovery._checked(module)


def test_unknown_page_names_the_nearest():
    with pytest.raises(ValueError, match="comp_sum"):
        pages.find("comp_sums")


def test_state_goes_through_an_address_unchanged():
    widgets = controls()
    pages.sync(widgets, FULL)
    assert pages.values(widgets) == {**FULL, "size": [64, 64]} or pages.values(widgets)["size"] in ("large", [64, 64])
    assert pages.query("?" + pages.address(FULL)) == FULL
    assert pages.query(pages.address({"text": "true", "n": 2, "t": True})) == {"text": "true", "n": 2, "t": True}


def test_what_the_widgets_hold_restores_them():
    first, second = controls(), controls()
    pages.sync(first, FULL)
    pages.sync(second, pages.query(pages.address(pages.values(first))))
    assert {key: widget.value for key, widget in first.items()} == {key: widget.value for key, widget in second.items()}


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"level": 1.5}, "level must be at most 1"),
        ({"level": "high"}, "level must be a number"),
        ({"level": math.nan}, "level must be finite"),
        ({"level": True}, "level must be a number"),
        ({"count": 2.5}, "count must be an integer"),
        ({"count": 0}, "count must be at least 1"),
        ({"image": "coin"}, "did you mean 'coins'"),
        ({"image": ["coins"]}, "image must be one of"),
        ({"parts": "a"}, "parts must be a list"),
        ({"parts": ["c"]}, "parts must be one of"),
        ({"smooth": 1}, "smooth must be true or false"),
        ({"span": [5, 2]}, "span must be ordered"),
        ({"span": 3}, "span must be a pair"),
        ({"text": "x" * 20000}, "text must have at most"),
        ({"levle": 0.5}, "did you mean 'level'"),
    ],
)
def test_wrong_state_is_refused_in_words_and_touches_no_widget(state, words):
    widgets = controls()
    before = {key: widget.value for key, widget in widgets.items()}
    with pytest.raises((ValueError, TypeError), match=words):
        pages.sync(widgets, {"image": "retina", **state} if "image" not in state else state)
    assert {key: widget.value for key, widget in widgets.items()} == before


def test_draw_follows_every_widget_and_refuses_wrong_counts():
    view = page({"level": 0.2})
    plot = view.select(pn.pane.Plotly)[0]
    assert plot.object.layout.title.text == "coins at 0.2"
    view.select(pn.widgets.FloatSlider)[0].value = 0.9
    assert plot.object.layout.title.text == "coins at 0.9"
    with pytest.raises(RuntimeError, match="2 objects for 1 panes"):
        pages.react({}, lambda: (1, 2), pages.numbers())


def test_static_content_is_what_the_page_shows():
    view = page(FULL)
    content = pages.static("waves", FULL, view)
    assert [item.layout.title.text for item in content.figures] == ["retina at 0.3"]
    assert content.to_dict()["numbers"] == [[{"quantity": "slope", "value": 0.3}, {"quantity": "points", "value": 7}]]
    assert json.loads(json.dumps(content.to_dict()))["state"] == FULL


def test_show_keeps_figures_numbers_and_a_record_in_the_notebook(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.get_ipython", lambda: object())
    monkeypatch.setattr("IPython.display.display", lambda item, **_: shown.append(item))
    assert pages.show("comp_sum", {"tau": 0.5}) is None
    record = shown[0]["application/vnd.lab.page+json"]
    assert (record["page"], record["state"]) == ("comp_sum", {"tau": 0.5})
    drawn = [item for item in shown if isinstance(item, go.Figure)]
    assert [item.layout.title.text for item in drawn] == record["figures"]
    tables = [item["text/html"] for item in shown if isinstance(item, dict) and "<table" in item.get("text/html", "")]
    assert len(tables) == len(record["numbers"]) >= 1


@pytest.mark.parametrize("state", [{"tau": math.nan}, {"tau": object()}, [1], {1: 2}])
def test_show_refuses_a_state_that_is_no_plain_json(state):
    with pytest.raises(TypeError, match="state must"):
        pages.show("comp_sum", state)


def test_page_of_a_notebook_is_the_last_one_shown(tmp_path):
    def cell(page, state):
        return {"outputs": [{"data": {"application/vnd.lab.page+json": {"page": page, "state": state}}}]}

    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps({"cells": [cell("a", {}), {"source": ""}, cell("b", {"x": 1})]}))
    assert pages.page_of_notebook(path) == ("b", {"x": 1})
    path.write_text(json.dumps({"cells": [{"source": ""}]}))
    assert pages.page_of_notebook(path) is None


def test_table_shows_four_digits_keeps_all_and_escapes():
    frame = pd.DataFrame(
        {"what": ["<b>", "birth"], "value": [0.123456789, -2.0], "count": [12345, 2], "holds": [True, False]}
    )
    text = pages.table_html(frame)
    assert "0.1235" in text
    assert 'title="0.123456789"' in text
    assert "\u22122" in text
    assert "12,345" in text
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    assert 'data-meaning="The threshold' in text
    assert "<td>yes</td>" in text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (3.0, "3"), (1e-9, "1e-09"), (math.inf, "inf"), (math.nan, "nan"), (1e20, "1e+20")]
)
def test_numbers_of_every_size_have_a_text(value, text):
    assert _anatomy.number_text(value) == text


def test_glossary_marks_a_word_once_and_leaves_code_formulas_and_links():
    text = _glossary.mark("The birth, the `birth`, $birth$ and [birth](x); Birth.", html=False)
    assert text.count("data-meaning") == 1
    assert "`birth`" in text
    assert "$birth$" in text
    assert "[birth](x)" in text
    assert "rebirth" in _glossary.mark("rebirth")
    assert "data-meaning" not in _glossary.mark("rebirths")


def test_home_lists_every_method_and_every_claim():
    from lab import claims

    text = "".join(pane.object for pane in _home.build().select(pn.pane.HTML))
    for method in claims.methods():
        assert f"{sum(1 for _ in method.claims)}" in text
        assert method.title.replace("&", "&amp;").replace("'", "&#x27;") in text


def cards(view) -> str:
    return "".join(pane.object for pane in view.select(pn.pane.HTML))


def test_home_is_filtered_by_every_word_and_the_link_keeps_the_words():
    from lab import claims

    view = _home.build({"search": "comp-sum"})
    (field,) = view.select(pn.widgets.TextInput)
    assert field.value == "comp-sum"
    assert 'href="comp-sum"' in cards(view)
    assert 'href="betti-matching"' not in cards(view)
    assert "1 study" in cards(view)
    field.value_input = "no such word anywhere"
    assert "No studies match" in cards(view)
    field.value_input = "matching topology"
    assert 'href="betti-matching"' in cards(view)
    field.value = ""
    assert f"{len(claims.methods())} studies" in cards(view)
    with pytest.raises(ValueError, match="did you mean 'search'"):
        _home.build({"serch": "x"})


def test_home_finds_studies_by_the_status_of_their_claims():
    from lab import claims

    one = claims.methods()[0]
    index = _studies.Index(rows={claim.id: _studies.Row(claim, "refuted") for claim in one.claims})
    assert _home.matching(claims.methods(), "", index, "refuted") == [one]
    assert _home.matching(claims.methods(), "no such word", index, "refuted") == []
    assert _home.matching(claims.methods(), "", index, "holds") == []


def run(name, status="ok", **parameters):
    place = f"notebooks/{name}.ipynb"
    return types.SimpleNamespace(title=name, notebook=place, id=f"{name}-1", status=status, parameters=parameters)


def test_runs_are_filtered_by_every_word():
    runs = [run("betti", image="coins"), run("betti", image="retina"), run("bias", "failed", image="coins")]
    assert _runs.matching(runs, "") == runs
    assert _runs.matching(runs, "betti COINS") == [runs[0]]
    assert _runs.matching(runs, "image=coins") == [runs[0], runs[2]]
    assert _runs.matching(runs, "coins", "failed") == [runs[2]]
    assert _runs.matching(runs, "nothing") == []


def test_status_of_a_run_is_that_run_s_own():
    from lab import claims

    method = next(method for method in claims.methods() if any(not claim.untestable for claim in method.claims))
    first = next(claim for claim in method.claims if not claim.untestable)
    measured = {first.id: {"status": "refuted", "value": 1.0, "interval": [0, 2]}}
    rows = _studies.rows_of_run(types.SimpleNamespace(claims=measured, id="r"), method.id)
    assert rows[first.id].status == "refuted"
    assert {row.status for key, row in rows.items() if key != first.id} <= {"not run", "not testable here"}


def test_titles_break_into_lines_and_keep_their_words():
    title = (
        "Betti matching loss removes 8 of 9 false loops at equal Dice, and so it should be on every image of the set"
    )
    broken = lines(title)
    assert max(map(len, broken.split("<br>"))) <= TITLE_WIDTH
    assert broken.replace("<br>", " ") == title
    assert figure(title=title).layout.margin.t > figure(title="short").layout.margin.t


def test_series_colours_differ_and_both_themes_name_the_same():
    light, dark = vars(colours("light")), vars(colours("dark"))
    assert set(light) == set(dark)
    assert light["matched"] == dark["matched"]
    assert light["reference"] != dark["reference"]
    assert len(set(light["series"])) == len(light["series"])
    with pytest.raises(ValueError, match="theme must be one of 'light', 'dark'"):
        colours("sepia")


def drawn(figure):
    return drawing(figure.to_plotly_json())


def test_thumbnail_draws_what_the_figure_holds():
    line = drawn(go.Figure(go.Scatter(x=[0, 1, 2], y=[0, 1, 0], line={"color": "#0072B2"})))
    assert "#0072B2" in line
    assert line.count('stroke="#0072B2"') == 1
    points = drawn(go.Figure(go.Scatter(x=[0, 1], y=[3, 4], mode="markers")))
    assert points.count("<circle") == 2
    assert drawn(go.Figure(go.Bar(x=["a", "b"], y=[1, 2]))).count("<rect") == 2
    assert "data:image/png;base64" in drawn(go.Figure(go.Heatmap(z=np.arange(12).reshape(3, 4))))
    packed = json.loads(go.Figure(go.Scatter(x=np.arange(5.0), y=np.arange(5.0) ** 2)).to_json())
    assert "<path" in drawing(packed)
    assert drawn(go.Figure()) == ""
    assert drawn(go.Figure(go.Scatter(x=[None], y=[None]))) == ""
