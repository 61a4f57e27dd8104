"""The served application: home, the pages found by contract, runs and jobs, on 127.0.0.1 unless told otherwise.

``make dashboards`` and ``lab serve`` call :func:`serve`; ``python -m widgets.app --help`` lists what Panel offers beyond:
another address, allowed origins, basic auth or OAuth, limits on sessions.

Behind a reverse proxy that ends TLS, pass the outside host and the prefix::

    python -m widgets.app --allow-websocket-origin lab.example.org --prefix /lab --use-xheaders

and let the proxy hand on ``Upgrade`` and ``Connection`` headers; in nginx::

    location /lab/ { proxy_pass http://127.0.0.1:5006/lab/; proxy_http_version 1.1; proxy_set_header Host $host;
                     proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; proxy_read_timeout 3600s; }

A page, its websocket, its uploads and its jobs live in one process. For more than one process start several servers on
several ports and let the proxy keep a visitor with one of them (``upstream lab { ip_hash; server ...; server ...; }``).

``GET /health`` answers ``{"status": "ok", "sessions": 3, ...}`` without opening a session.
"""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from pathlib import Path

import panel as pn
from panel.io.server import get_server

from lab.report import Run, Store
from widgets import pages, uploads
from widgets.pages import _frame, _home, _jobs, _runs, _studies
from widgets.pages._handlers import Health, Report
from widgets.pages._layout import claims_pane, head, html

MESSAGE_BYTES = 32 * 2**20
SESSION_SECONDS = 15.0  # a closed tab's session is dropped after this
TOKEN_SECONDS = 600


def applications(
    *, run: str | None = None, jobs: bool = True, notebooks: Path | None = None, max_sessions: int = 200
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


def serve(
    run: str | None = None,
    port: int = 5006,
    address: str = "127.0.0.1",
    *,
    allow_websocket_origin: Sequence[str] = (),
    prefix: str = "",
    use_xheaders: bool = False,
    basic_auth: str | None = None,
    oauth_provider: str | None = None,
    oauth_key: str | None = None,
    oauth_secret: str | None = None,
    cookie_secret: str | None = None,
    oauth_encryption_key: str | None = None,
    max_sessions: int = 200,
    session_seconds: float = SESSION_SECONDS,
    jobs: bool = True,
    notebooks: str | Path | None = None,
    show: bool = False,
) -> None:
    """Serve the dashboards until interrupted.

    Args:
        run: a run id; its page opens with the run's parameters and results, and its link is printed.
        port: 0 picks a free one.
        address: ``"127.0.0.1"`` is this machine only.
        allow_websocket_origin: hosts (``"lab.example.org"``) whose pages may connect, besides this machine.
        prefix: path under which a reverse proxy hands requests on.
        use_xheaders: trust the proxy's ``X-Real-Ip`` and ``X-Scheme``.
        basic_auth: a password, or a JSON file of users and passwords; needs ``cookie_secret``.
        oauth_provider: one of Panel's providers, with its ``oauth_key``, ``oauth_secret``, ``oauth_encryption_key``.
        max_sessions: visitors at once; one more is told that the server is full.
        session_seconds: how long a session outlives its closed tab.
        jobs: whether visitors may run notebooks; whoever may is as powerful as the notebooks' typed parameters allow.
        notebooks: a folder of notebooks that may be run, instead of the project's own.
        show: open a browser.

    Raises:
        ValueError: the port is taken, no such run or folder, authentication without a cookie secret.
    """
    if notebooks is not None and not Path(notebooks).is_dir():
        raise ValueError(f"notebooks must be a folder, got {str(notebooks)!r}")
    if (basic_auth or oauth_provider) and not cookie_secret:
        raise ValueError("authentication needs cookie_secret: any long random text that stays the same between starts")
    link = _link_of_run(run) if run else ""
    port = _free(address, port)
    root = prefix.strip("/")
    root = f"/{root}" if root else ""
    _frame.use_plotly_of_figures()
    pn.extension(notifications=False)
    host = f"[{address}]" if ":" in address else address
    origins = [f"{name}:{port}" for name in dict.fromkeys([host, "127.0.0.1", "localhost"])]
    where = f"http://{'127.0.0.1' if address in ('0.0.0.0', '::') else host}:{port}{root}/{link}"
    server = get_server(
        applications(
            run=run, jobs=jobs, notebooks=Path(notebooks) if notebooks else None, max_sessions=max_sessions
        ),
        port=port,
        address=address,
        websocket_origin=[*origins, *allow_websocket_origin],
        prefix=root,
        use_xheaders=use_xheaders,
        static_dirs=_frame.STATIC,
        extra_patterns=[
            (r"/health", Health),
            (r"/report", Report),
            (r"/reports/(.*)", Report.Files),
            (r"/upload", uploads.Handler),
        ],
        basic_auth=basic_auth,
        oauth_provider=oauth_provider,
        oauth_key=oauth_key,
        oauth_secret=oauth_secret,
        oauth_encryption_key=oauth_encryption_key,
        cookie_secret=cookie_secret,
        session_token_expiration=TOKEN_SECONDS,
        unused_session_lifetime_milliseconds=int(1000 * session_seconds),
        check_unused_sessions_milliseconds=5000,
        websocket_max_message_size=MESSAGE_BYTES,
        title="Objective Lab",
        location=True,
    )
    server.start()
    print(f"Run {run} is served at {where}" if run else f"The dashboards are served at {where}", flush=True)
    if show:
        import webbrowser

        webbrowser.open(where)
    signal.signal(signal.SIGTERM, lambda *_: server.io_loop.add_callback_from_signal(server.io_loop.stop))
    server.io_loop.start()


def _limited(max_sessions, build):
    def document():
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


def _home_view(state: dict, run: str | None = None) -> pn.Column:
    view = _home.build()
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


def _link_of_run(run_id: str) -> str:
    run: Run | None = Store().get(run_id)
    if run is None:
        raise ValueError(f"no stored run has the id {run_id!r}; `lab show` lists them")
    link = _runs.dashboard_link(run)
    if not link:
        raise ValueError(f"run {run_id} recorded no page; its notebook must end in widgets.pages.show(...)")
    return link


def _free(address: str, port: int) -> int:
    """``port`` if it can be listened on, a free one for 0; a clear sentence otherwise."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ValueError(f"port {port} on {address} cannot be used: {reason}; choose another with --port") from None
        return probe.getsockname()[1]


def _sessions() -> int:
    """Open sessions of this process."""
    return sum(len(server.get_sessions()) for server, _, _ in pn.state._servers.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this module; the exit status."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m widgets.app", description="Serve the dashboards of the lab.")
    add = parser.add_argument
    add("run", nargs="?", help="a run id: its page opens with the run's parameters and results")
    add("--port", type=int, default=5006, help="port, 0 for a free one (default 5006)")
    add("--address", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine only)")
    add("--allow-websocket-origin", action="append", default=[], metavar="HOST", help="host whose pages may connect")
    add("--prefix", default="", help="path under which a reverse proxy hands requests on")
    add("--use-xheaders", action="store_true", help="trust the proxy's X-Real-Ip and X-Scheme")
    add("--basic-auth", help="a password, or a JSON file of users and passwords")
    add("--oauth-provider", help="one of Panel's OAuth providers")
    add("--oauth-key")
    add("--oauth-secret")
    add("--oauth-encryption-key")
    add("--cookie-secret", help="signs cookies; any long random text")
    add("--max-sessions", type=int, default=200, help="visitors at once (default 200)")
    add("--session-seconds", type=float, default=SESSION_SECONDS, help="how long a session outlives its closed tab")
    add("--no-jobs", dest="jobs", action="store_false", help="visitors may not run notebooks")
    add("--notebooks", metavar="DIR", help="notebooks that may be run, instead of the project's own")
    add("--show", action="store_true", help="open a browser")
    given = vars(parser.parse_args(arguments))
    try:
        serve(**given)
    except ValueError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
