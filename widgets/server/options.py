"""What a server is told: the options of ``lab serve``, checked before it starts, and the addresses that follow from them."""

from __future__ import annotations

import base64
import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

from lab import checks


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
        encryption(options.oauth_encryption_key)
    if options.basic_auth.endswith(".json") and not Path(options.basic_auth).is_file():
        raise ValueError(f"basic_auth names the file {options.basic_auth!r}, which is not there")
    return options


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


def encryption(key: str):
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
