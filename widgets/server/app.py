"""The served application: home, the pages found by contract, runs and jobs; :mod:`widgets.server.serve` starts it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import panel as pn

from lab.report import Run, Store
from lab.report.store.redaction import scrub
from widgets import pages
from widgets.pages import _frame, _home, _jobs, _runs, _stills, _studies
from widgets.pages._first import first
from widgets.pages._layout import claims_pane, head, html
from widgets.pages._stills import Still
from widgets.pages._summary import Summary

_WORDS = 600


def applications(
    *, run: str = "", jobs: bool = True, notebooks: Path | None = None, max_sessions: int = 200
) -> dict[str, Any]:
    """Every route of the application and the function that builds its document, in the form of ``panel.serve``."""
    found, broken = pages.survey(
        taken=(
            "runs",
            "run",
            "health",
            "report",
            "reports",
            "upload",
            "take",
            "measure",
            "assets",
            "static",
        )
    )
    routes: dict[str, Callable] = {
        "": partial(_served, partial(_home_view, survey=(found, broken)), "Studies", ".", run=run),
        "runs": partial(_served, _runs.build, "Runs", "runs"),
    }
    if jobs:
        routes["run"] = partial(_served, partial(_jobs.build, folder=notebooks), "New run", "run")
    for name, reason in broken.items():
        print(f"widgets/pages/{name}.py cannot be shown: {reason}", file=sys.stderr, flush=True)
        routes[_home.route_of_module(name)] = partial(_served, partial(_fault, name, reason), name, "")
    for page in found.values():
        routes[page.route] = partial(_served, partial(_page_view, page), page.title, "")
    return {f"/{route}": _limited(max_sessions, build) for route, build in routes.items()}


def link_of_run(run_id: str) -> str:
    """The address of a run's page, relative to the application.

    Raises:
        ValueError: no such run, or one that recorded no page.
    """
    run: Run | None = Store().get(run_id)
    if run is None:
        raise ValueError(f"no stored run has the id {run_id!r}; `lab show` lists them")
    link = _runs.dashboard_link(run)
    if not link:
        raise ValueError(f"run {run_id} recorded no page; its notebook must end in widgets.pages.show(...)")
    return link


def _limited(max_sessions, build):
    def document():
        _frame.use_own_files()
        if _sessions() >= max_sessions:
            return _frame.frame(
                _words("Full", "This server is full at the moment. Please reload the page in a minute."), "Full"
            )
        return build()

    return document


def _served(build, title, active, run=None):
    """A document: the view at the address's state, the refusal of that state in words, or the fault of the page."""
    state, still = {}, None
    try:
        state = pages.query(pn.state.location.search if pn.state.location else "")
        view = build(state, run) if run is not None else build(state)
        still = still_of(build, view, state)
    except (ValueError, TypeError) as error:
        back = '<a href="?">Open the page at its defaults</a>'
        view = _words(title, f"This address cannot be shown: {escape(_shown(error))}. {back}")
    except Exception as error:  # a page's own fault is told on that page; the others go on
        traceback.print_exc()
        view = _fault(title, f"{type(error).__name__}: {_shown(error)}", state)
    return _frame.frame(view, title, active, first(view, still), take=page.route if (page := page_of(build)) else "")


def page_of(build) -> pages.Page | None:
    """The page that a route shows, or ``None`` for the home page, runs and jobs."""
    return (
        build.args[0] if isinstance(build, partial) and build.args and isinstance(build.args[0], pages.Page) else None
    )


def still_of(build, view, state) -> Still | None:
    """The stored still of a page that stands at its defaults; its words are told to the view."""
    page = (
        build.args[0] if isinstance(build, partial) and build.args and isinstance(build.args[0], pages.Page) else None
    )
    still = _stills.load(page.name) if page is not None and not state and not pages.run_of_address() else None
    if still is not None:
        for summary in view.select(Summary):
            summary.tell(still.titles, still.frames())
    return still


def _shown(error: Exception) -> str:
    """The words of an error, a few hundred at most, without this machine's paths."""
    text = scrub(str(error))
    return text if len(text) <= _WORDS else f"{text[:_WORDS]} …"


def _fault(title: str, reason: str, _) -> pn.Column:
    """In place of a page that cannot be built: why."""
    return _words(title, f"This page failed to load: <code>{escape(reason)}</code>. The other pages work.")


def _words(title: str, text: str) -> pn.Column:
    """A page of one sentence, given as HTML."""
    alert = html(f'<div role="alert">{text}</div>', "lab-notice")
    return pn.Column(head(title), alert, sizing_mode="stretch_width", margin=0)


def _home_view(state: dict, run: str = "", survey=None) -> pn.Column:
    view = _home.build(state, survey)
    if run and (found := Store().get(run)) is not None:
        view.insert(1, html(f"<p><b>{escape(found.title)}</b> {_runs.run_facts(found)}</p>", "lab-run"))
    return view


def _page_view(page: pages.Page, state: dict) -> pn.viewable.Viewable:
    """A page; if the address names a run, with that run's parameters and claims above and below it."""
    asked = pages.run_of_address()
    if not asked:
        return page.build(state)
    run = Store().get(asked)
    if run is None:
        raise ValueError(f"no stored run has the id {asked!r}")
    banner = html(f'<div class="lab-banner">From run <b>{escape(run.id)}</b>: {_runs.run_facts(run)}</div>', "lab-run")
    measured = claims_pane(page.method, _studies.rows_of_run(run, page.method)) if run.claims else None
    title = html("<h2>Measured in this run</h2>") if measured else None
    return pn.Column(banner, page.build(state), *filter(None, [title, measured]), sizing_mode="stretch_width", margin=0)


def _sessions() -> int:
    """Open sessions of this process."""
    return sum(len(server.get_sessions()) for server, _, _ in pn.state._servers.values())
