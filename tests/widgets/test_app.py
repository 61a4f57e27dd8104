"""What the application says before it serves: the link of a run, routes, refusals."""

import json
import socket

import panel as pn
import pytest

from widgets import pages
from widgets.pages import _home
from widgets.server import app, serve
from widgets.server.options import Options


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A store with one run that shows a page and one that shows none."""
    monkeypatch.setenv("LAB_DATA", str(tmp_path))
    record = {"application/vnd.lab.page+json": {"page": "comp_sum", "state": {"tau": 0.5}}}
    for name, data in (("with-page", record), ("without", {"text/plain": "1"})):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        info = {"status": "ok", "notebook": "n.ipynb", "title": "N", "parameters": {}, "started": "2026-01-01T00:00:00"}
        (folder / "run.json").write_text(json.dumps(info))
        (folder / "notebook.ipynb").write_text(json.dumps({"cells": [{"outputs": [{"data": data}]}]}))
    return tmp_path


def test_link_of_a_run_holds_its_page_and_state(stored):
    assert app.link_of_run("with-page") == "comp-sum?run=with-page&tau=0.5"
    assert pages.query("?run=with-page&tau=0.5") == {"tau": 0.5}


def test_run_without_a_page_and_unknown_run_are_refused_in_words(stored):
    with pytest.raises(ValueError, match="recorded no page"):
        serve.serve(Options(run="without", port=0))
    with pytest.raises(ValueError, match="no stored run has the id 'nothing'"):
        serve.serve(Options(run="nothing", port=0))


def test_taken_port_is_refused_in_a_sentence(stored):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port {port} on 127.0.0.1 cannot be used"):
            serve.serve(Options(port=port))


def test_every_page_has_a_route_and_jobs_can_be_left_out():
    routes = app.applications()
    assert {"/", "/runs", "/run"} <= set(routes)
    assert {f"/{route}" for route in pages.discover()} <= set(routes)
    assert "/run" not in app.applications(jobs=False)


def test_broken_pages_keep_an_address_that_says_why_and_the_others_work(tmp_path, monkeypatch, capsys):
    (tmp_path / "no_title.py").write_text("ROUTE = METHOD = 'x'")
    (tmp_path / "raises.py").write_text("1 / 0")
    (tmp_path / "taken.py").write_text("TITLE, ROUTE, METHOD, build = 'T', 'runs', 'x', print")
    (tmp_path / "twice.py").write_text("TITLE, ROUTE, METHOD, build = 'T', 'comp-sum', 'x', print")
    monkeypatch.setattr(pages, "__path__", [*pages.__path__, str(tmp_path)])
    whole = pages.names()
    found, broken = pages.survey(taken=("runs",))
    assert set(broken) == {"no_title", "raises", "taken", "twice"}
    assert "TITLE" in broken["no_title"]
    assert broken["raises"].startswith("ZeroDivisionError")
    assert "belongs to the application" in broken["taken"]
    assert "comp_sum and twice have the same ROUTE" in broken["twice"]
    assert {page.name for page in found.values()} == set(whole) - set(broken)
    assert {"/no-title", "/raises", "/comp-sum", "/runs"} <= set(app.applications())
    assert "widgets/pages/raises.py cannot be shown" in capsys.readouterr().err
    home = _home.build({}, (found, broken))
    assert any("division by zero" in pane.object for pane in home.select(pn.pane.HTML))
