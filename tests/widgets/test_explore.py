"""Explorers: the controls of a page in a notebook, following the same draw function."""

import ipywidgets
import nbformat
import panel as pn
import plotly.graph_objects as go
import pytest

from lab import claims
from widgets.jupyter import explore
from widgets.jupyter.explorer import NotebookExplorer, twin


def test_moving_a_control_gives_the_figure_that_draw_gives():
    from widgets.pages import comp_sum

    explorer = explore("comp-sum", tau=0.5)
    assert explorer.values["tau"] == 0.5
    explorer.controls["tau"].value = 1.7
    expected = comp_sum.draw(**explorer.values, theme="light")
    figures = [item for item in expected if isinstance(item, go.Figure)]
    assert len(explorer.figures) == len(figures)
    for shown, wanted in zip(explorer.figures, figures):
        assert shown.layout.title.text == wanted.layout.title.text
        assert [trace.name for trace in shown.data] == [trace.name for trace in wanted.data]
        assert [list(trace.y) for trace in shown.data] == [list(trace.y) for trace in wanted.data]


def test_first_message_to_the_browser_holds_the_figure(monkeypatch):
    import comm

    from widgets.jupyter.explorer import live

    sent = []
    monkeypatch.setattr(
        comm.DummyComm, "publish_msg", lambda self, kind, data=None, **_: sent.append((self.comm_id, kind, data))
    )
    widget = live(go.Figure(go.Scatter(y=[1.0, 2.0]), layout_title_text="T"))
    opened = [data["state"] for name, kind, data in sent if kind == "comm_open" and name == widget.model_id]
    assert sent[-1][1] == "comm_open"
    assert [trace["y"] for trace in opened[-1]["_widget_data"]] == [[1.0, 2.0]]
    assert opened[-1]["_widget_layout"]["title"]["text"] == "T"
    assert isinstance(widget, go.FigureWidget)


def test_executed_notebook_gets_static_figures(monkeypatch, tmp_path):
    shown = []
    monkeypatch.setenv("LAB_RUN_FOLDER", str(tmp_path))
    monkeypatch.setattr("IPython.display.display", lambda item, **_: shown.append(item))
    explorer = explore("comp-sum")
    explorer._ipython_display_()
    figures = [item for item in shown if isinstance(item, go.Figure)]
    assert len(figures) == len(explorer.figures)
    assert not any(isinstance(item, ipywidgets.Widget) for item in shown)


def test_host_without_widgets_finds_a_figure_beside_them(monkeypatch):
    shown = []
    monkeypatch.delenv("LAB_RUN_FOLDER", raising=False)
    monkeypatch.setattr("IPython.display.display", lambda item, **_: shown.append(item))
    explore("comp-sum")._ipython_display_()
    assert {"application/vnd.jupyter.widget-view+json", "application/vnd.plotly.v1+json"} <= set(shown[0])


def test_every_explorer_that_is_named_exists_whatever_was_imported_before():
    import widgets.jupyter

    for name in dir(widgets.jupyter):
        assert callable(getattr(widgets.jupyter, name)), name
    assert callable(widgets.jupyter.explore)
    assert callable(widgets.jupyter.studies)


def test_table_that_mixes_words_and_numbers_is_shown():
    from widgets.jupyter.explorer import _tables

    text = _tables([go.Figure(), {"name": "<b>", "rate": 0.123456, "count": 3}, "words", None])
    assert "0.1235" in text
    assert "&lt;b&gt;" in text
    assert text.count("<table") == 1


def test_list_of_studies_links_every_notebook():
    from lab import claims
    from lab.report.store.layout import project_root
    from widgets.jupyter import studies

    text = studies()._repr_html_()
    for method in claims.methods():
        if method.notebook and (project_root() / method.notebook).is_file():
            assert f'href="{method.notebook.removeprefix("notebooks/")}"' in text
    assert {method.room for method in studies("losses").methods} == {"losses"}
    with pytest.raises(ValueError, match="did you mean 'losses'"):
        studies("loses")


def test_unknown_method_and_setting_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'comp_sum'"):
        explore("comp-sums")
    with pytest.raises(ValueError, match="did you mean 'tau'"):
        explore("comp-sum", taus=1)


@pytest.mark.parametrize("method", [method.id for method in claims.methods()])
def test_every_method_has_an_explorer_whose_controls_move_it(method):
    explorer = explore(method)
    assert explorer.figures
    assert explorer.controls
    assert all(figure._config["showSendToCloud"] is False for figure in explorer.figures)


@pytest.mark.parametrize(
    ("widget", "kind"),
    [
        (pn.widgets.FloatSlider(start=0, end=1, value=0.5), ipywidgets.FloatSlider),
        (pn.widgets.IntSlider(start=0, end=9, value=5), ipywidgets.IntSlider),
        (pn.widgets.RangeSlider(start=0, end=1, value=(0.2, 0.5)), ipywidgets.FloatRangeSlider),
        (pn.widgets.DiscreteSlider(options=[1, 2, 4], value=2), ipywidgets.SelectionSlider),
        (pn.widgets.Select(options={"a": 1}, value=1), ipywidgets.Dropdown),
        (pn.widgets.CheckBoxGroup(options=["a", "b"], value=["b"]), ipywidgets.SelectMultiple),
        (pn.widgets.Checkbox(value=True), ipywidgets.Checkbox),
        (pn.widgets.IntInput(value=3, start=1, end=5), ipywidgets.BoundedIntText),
        (pn.widgets.FloatInput(value=3.5), ipywidgets.FloatText),
        (pn.widgets.TextInput(value="x"), ipywidgets.Text),
    ],
)
def test_twin_has_kind_and_value(widget, kind):
    found = twin(widget)
    assert type(found) is kind
    assert (
        list(found.value) == list(widget.value)
        if isinstance(widget.value, (tuple, list))
        else found.value == widget.value
    )


def test_notebook_alone_gives_its_typed_parameters(tmp_path):
    content = nbformat.v4.new_notebook()
    source = "n: int = 3  # 1..9\nrate: float = 0.5\nkind: str = 'a'"
    content.cells = [nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})]
    nbformat.write(content, tmp_path / "own.ipynb")
    explorer = NotebookExplorer("Own", tmp_path / "own.ipynb", {"n": 4})
    assert explorer.values == {"n": 4}
    explorer.controls["rate"].value = 0.75
    assert explorer.values == {"n": 4, "rate": 0.75}
    with pytest.raises(ValueError, match="did you mean 'rate'"):
        NotebookExplorer("Own", tmp_path / "own.ipynb", {"rat": 1})
