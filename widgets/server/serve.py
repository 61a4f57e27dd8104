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
With ``num_procs`` above one, :mod:`widgets.server.processes` stands in front and keeps every visitor with one process.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

import panel as pn
from bokeh.server.urls import per_app_patterns
from panel.io.server import WSHandler, get_server

from lab import checks
from widgets.pages import _frame
from widgets.pages._handlers import Health, Report
from widgets.server import app, guard, login, uploads

MESSAGE_BYTES = 32 * 2**20
_CHECK_MILLISECONDS = 5000


@dataclass(frozen=True)
class Options:
    """How the application is served; :func:`checked` refuses what cannot work.

    Attributes:
        run: a run id; its page opens with the run's parameters and results, and its link is printed.
        port: 0 picks a free one.
        address: ``"127.0.0.1"`` is this machine only.
        allow_websocket_origin: hosts (``"lab.example.org"``, ``"lab.example.org:8080"``) whose pages may connect,
            besides this machine.
        prefix: path under which a reverse proxy hands requests on.
        use_xheaders: trust the proxy's ``X-Real-Ip`` and ``X-Scheme``.
        num_procs: server processes; a visitor stays with one of them.
        basic_auth: a password, or a JSON file of users and passwords; needs ``cookie_secret``.
        oauth_provider: one of Panel's providers, with its key and secret; needs ``cookie_secret``.
        oauth_key, oauth_secret: what the provider gave for this application.
        oauth_redirect_uri: where the provider sends the visitor back to.
        oauth_encryption_key: 32 url-safe base64 bytes that encrypt the provider's tokens in the visitor's cookie.
        cookie_secret: signs cookies; any long random text that stays the same between starts.
        max_sessions: visitors at once; one more is told that the server is full.
        session_seconds: how long a session outlives its closed tab.
        token_seconds: how long a page may take from its address to its connection.
        open_to_anyone: serve on an address that others reach although nobody has to log in.
        jobs: whether visitors may run notebooks; whoever may is as powerful as the notebooks' typed parameters allow.
            ``None``: where only this machine comes, or who has logged in.
        notebooks: a folder of notebooks that may be run, instead of the project's own.
        show: open a browser.
    """

    run: str = ""
    port: int = 5006
    address: str = "127.0.0.1"
    allow_websocket_origin: tuple[str, ...] = ()
    prefix: str = ""
    use_xheaders: bool = False
    num_procs: int = 1
    basic_auth: str = ""
    oauth_provider: str = ""
    oauth_key: str = ""
    oauth_secret: str = ""
    oauth_redirect_uri: str = ""
    oauth_encryption_key: str = ""
    cookie_secret: str = ""
    max_sessions: int = 200
    session_seconds: float = 15.0
    token_seconds: int = 600
    open_to_anyone: bool = False
    jobs: bool | None = None
    notebooks: str = ""
    show: bool = False

    @property
    def root(self) -> str:
        """The prefix as it stands in an address: ``""`` or ``"/lab"``."""
        stripped = self.prefix.strip("/")
        return f"/{stripped}" if stripped else ""

    @property
    def has_login(self) -> bool:
        """Whether visitors log in."""
        return bool(self.basic_auth or self.oauth_provider)

    @property
    def is_private(self) -> bool:
        """Whether only this machine reaches the address, and no other host is named."""
        local = self.address == "localhost" or _is_loopback(self.address)
        return local and not self.allow_websocket_origin

    @property
    def takes_jobs(self) -> bool:
        """Whether visitors may run notebooks."""
        return (self.has_login or self.is_private) if self.jobs is None else self.jobs

    @property
    def host(self) -> str:
        """The address as it stands in a URL."""
        return f"[{self.address}]" if ":" in self.address else self.address


def checked(options: Options) -> Options:
    """The options, unless they cannot work.

    Raises:
        ValueError: a number out of range, no such folder, an address that others reach without a login, a login without a
            cookie secret, an unknown provider, an encryption key of another form or without the package that encrypts.
    """
    checks.integer("num_procs", options.num_procs, low=1, high=64)
    checks.integer("max_sessions", options.max_sessions, low=1)
    checks.number("session_seconds", options.session_seconds, low=1)
    checks.integer("token_seconds", options.token_seconds, low=10)
    if options.notebooks and not Path(options.notebooks).is_dir():
        raise ValueError(f"notebooks must be a folder, got {options.notebooks!r}")
    if options.basic_auth and options.oauth_provider:
        raise ValueError("basic_auth and oauth_provider exclude each other; give one of them")
    if (options.basic_auth or options.oauth_provider) and not options.cookie_secret:
        raise ValueError("authentication needs cookie_secret: any long random text that stays the same between starts")
    if not (
        options.has_login or options.open_to_anyone or options.address == "localhost" or _is_loopback(options.address)
    ):
        raise ValueError(
            f"address {options.address!r} is reached from elsewhere, and nobody would have to log in: give --basic-auth or "
            "--oauth-provider, or --open-to-anyone to let everyone see the pages (without jobs, unless --jobs is given)"
        )
    if options.oauth_provider:
        from panel.auth import AUTH_PROVIDERS

        checks.choice("oauth_provider", options.oauth_provider, sorted(AUTH_PROVIDERS))
        if not (options.oauth_key and options.oauth_secret):
            raise ValueError("oauth_provider needs oauth_key and oauth_secret, which the provider gives")
    if options.oauth_encryption_key:
        _encryption(options.oauth_encryption_key)
    if options.basic_auth.endswith(".json") and not Path(options.basic_auth).is_file():
        raise ValueError(f"basic_auth names the file {options.basic_auth!r}, which is not there")
    return options


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
    words = f"Run {options.run} is served at {where}" if options.run else f"The dashboards are served at {where}"

    def ready():
        print(words, flush=True)
        if options.show:
            import webbrowser

            webbrowser.open(where)

    if options.num_procs > 1:
        from widgets.server.processes import front

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
    _frame.use_plotly_of_figures()
    pn.extension(notifications=False)
    if options.oauth_encryption_key:
        pn.state.encryption = _encryption(options.oauth_encryption_key)
    # no page of another site takes a page of this one into itself, so there is neither metadata nor a script for that
    per_app_patterns[:] = [(r"/ws", WSHandler), (r"/?", guard.Document)]
    password = {"auth_provider": login.Password(options.basic_auth)} if options.basic_auth else {}
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
            (r"/report", Report),
            (r"/reports/(.*)", Report.Files),
            (r"/upload", uploads.Handler),
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


def origins(options: Options, port: int) -> list[str]:
    """The hosts whose pages may connect: this machine at this port, and those that the options name."""
    own = dict.fromkeys([options.host, "127.0.0.1", "localhost"])
    return [*(f"{name}:{port}" for name in own), *options.allow_websocket_origin]


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def free(address: str, port: int) -> int:
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


def _encryption(key: str):
    """What encrypts the provider's tokens with ``key``."""
    try:
        length = len(base64.b64decode(key.encode("ascii"), altchars=b"-_", validate=True))
    except ValueError:
        length = 0
    if length != 32:
        raise ValueError("oauth_encryption_key must be 32 url-safe base64 bytes (`panel oauth-secret` makes one)")
    try:
        from cryptography.fernet import Fernet
    except ImportError:
        raise ValueError("oauth_encryption_key needs the package cryptography: pip install cryptography") from None
    return Fernet(key.encode("ascii"))
