"""The served application: home, the pages found by contract, runs and jobs; :mod:`widgets.serving` starts it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path

import panel as pn

from lab.report import Run, Store
from widgets import pages
from widgets.pages import _frame, _home, _jobs, _runs, _studies
from widgets.pages._layout import claims_pane, head, html


def applications(
    *, run: str = "", jobs: bool = True, notebooks: Path | None = None, max_sessions: int = 200
) -> dict[str, Callable]:
    """Every route of the application and the function that builds its document, in the form of ``panel.serve``."""
    routes = {"": partial(_served, _home_view, "Studies", ".", run=run), "runs": partial(_served, _runs.build, "Runs", "runs")}
    if jobs:
        routes["run"] = partial(_served, partial(_jobs.build, folder=notebooks), "New run", "run")
    for page in pages.discover().values():
        if page.route in routes:
            raise ValueError(f"page {page.name}: the ROUTE {page.route!r} belongs to the application")
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
            words = "This server is full at the moment. Load the page again in a minute."
            view = pn.Column(head("Full"), html(f'<div role="alert">{words}</div>', "lab-notice"))
            return _frame.frame(view, "Full")
        return build()

    return document


def _served(build, title, active, run=None):
    """A document: the view at the address's state, or the refusal of that state in words."""
    state = pages.query(pn.state.location.search if pn.state.location else "")
    try:
        view = build(state, run) if run is not None else build(state)
    except (ValueError, TypeError) as error:
        view = pn.Column(
            head(title),
            html(
                f'<div role="alert">This address cannot be shown: {escape(str(error))}. '
                f'<a href="?">Open the page at its defaults</a></div>',
                "lab-notice",
            ),
            sizing_mode="stretch_width",
            margin=0,
        )
    return _frame.frame(view, title, active)


def _home_view(state: dict, run: str = "") -> pn.Column:
    view = _home.build(state)
    if run:
        found = Store().get(run)
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
    return pn.Column(
        banner, page.build(state), *filter(None, [title, measured]), sizing_mode="stretch_width", margin=0
    )


def _sessions() -> int:
    """Open sessions of this process."""
    return sum(len(server.get_sessions()) for server, _, _ in pn.state._servers.values())
