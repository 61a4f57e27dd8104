"""Start the application: on 127.0.0.1 unless told otherwise, with a login, behind a proxy, in several processes.

``make dashboards`` and ``lab serve`` call :func:`serve`; ``lab serve --help`` names every option.

Behind a reverse proxy that ends TLS, pass the outside host and the prefix::

    lab serve --allow-websocket-origin lab.example.org --prefix /lab --use-xheaders --num-procs 2

and let the proxy hand on ``Upgrade`` and ``Connection``; in nginx::

    location /lab/ { proxy_pass http://127.0.0.1:5006; proxy_http_version 1.1; proxy_set_header Host $host;
                     proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
                     proxy_set_header X-Real-Ip $remote_addr; proxy_set_header X-Scheme $scheme;
                     proxy_read_timeout 3600s; client_max_body_size 256m; }

``GET /health`` (below the prefix) answers ``{"status": "ok", "sessions": 3, ...}`` without opening a session.
With ``num_procs`` above one, :mod:`widgets.server.front` stands in front and keeps every visitor with one process.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import panel as pn
from bokeh.server.urls import per_app_patterns
from panel.io.server import WSHandler, get_server

from widgets.pages import _frame, _measuring
from widgets.pages._handlers import Health, Report, Take
from widgets.server import app, guard, login, measuring, uploads
from widgets.server.front import front
from widgets.server.options import Options, checked, encryption, free, origins

MESSAGE_BYTES = 32 * 2**20
_CHECK_MILLISECONDS = 5000


def serve(options: Options) -> None:
    """Serve the dashboards until interrupted.

    Raises:
        ValueError: options that cannot work, a port that is taken, no such run.
    """
    checked(options)
    link = app.link_of_run(options.run) if options.run else ""
    port = free(options.address, options.port)
    home = "127.0.0.1" if options.address in ("0.0.0.0", "::") else options.host
    where = f"http://{home}:{port}{options.root}/{link}"
    words = (
        f"Run {options.run} is being served at {where}"
        if options.run
        else f"The dashboards are being served at {where}"
    )

    def ready():
        print(words, flush=True)
        if options.show:
            import webbrowser

            webbrowser.open(where)

    if options.num_procs > 1:
        front(options, port, ready)
    else:
        run_server(options, port, options.address, origins(options, port), ready)


def run_server(options: Options, port: int, address: str, allowed: list[str], ready) -> None:
    """One process of the application on a port that is free; returns when it is terminated.

    Args:
        options: checked.
        port: where it listens.
        address: where it listens.
        allowed: hosts whose pages may connect.
        ready: called once it listens.
    """
    os.environ.setdefault("LAB_NICE", "10")  # a job leaves the processor to visitors
    _measuring.offered["measure"] = options.takes_jobs
    _frame.use_plotly_of_figures()
    pn.extension(notifications=False)
    if options.oauth_encryption_key:
        pn.state.encryption = encryption(options.oauth_encryption_key)
    # no page of another site takes a page of this one into itself, so there is neither metadata nor a script for that
    per_app_patterns[:] = [(r"/ws", WSHandler), (r"/?", guard.Document)]
    password: dict[str, Any] = {"auth_provider": login.Password(options.basic_auth)} if options.basic_auth else {}
    server = get_server(
        app.applications(
            run=options.run,
            jobs=options.takes_jobs,
            notebooks=Path(options.notebooks) if options.notebooks else None,
            max_sessions=options.max_sessions,
        ),
        port=port,
        address=address,
        websocket_origin=allowed,
        prefix=options.root,
        use_xheaders=options.use_xheaders,
        static_dirs=_frame.STATIC,
        extra_patterns=[
            (r"/health", Health),
            (r"/take", Take),
            (r"/report", Report),
            (r"/reports/(.*)", Report.Files),
            (r"/upload", uploads.Handler),
            *([(r"/measure", measuring.Handler)] if options.takes_jobs else []),
        ],
        oauth_provider=options.oauth_provider or None,
        oauth_key=options.oauth_key or None,
        oauth_secret=options.oauth_secret or None,
        oauth_redirect_uri=options.oauth_redirect_uri or None,
        cookie_secret=options.cookie_secret or None,
        session_token_expiration=options.token_seconds,
        unused_session_lifetime_milliseconds=int(1000 * options.session_seconds),
        check_unused_sessions_milliseconds=_CHECK_MILLISECONDS,
        websocket_max_message_size=MESSAGE_BYTES,
        title="Objective Lab",
        location=True,
        **password,
    )
    guard.protect(server._tornado, allowed)
    server.start()
    server.io_loop.add_callback(ready)
    signal.signal(signal.SIGTERM, lambda *_: server.io_loop.add_callback_from_signal(server.io_loop.stop))
    server.io_loop.start()
