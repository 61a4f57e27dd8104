"""Login by a password: one page of our own, below the prefix, slower after every wrong answer."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from functools import cache
from html import escape
from pathlib import Path

from panel.auth import BasicAuthProvider
from panel.config import config
from tornado.web import RequestHandler

from widgets.pages import _shared
from widgets.server import guard

FORGOTTEN_SECONDS, LONGEST_SECONDS = 900.0, 60.0
_NAME = '<p><label>Name <input name="username" autocomplete="username"></label></p>'
_PAGE = Path(__file__).parents[1] / "assets" / "login.html"
_POLICY = "default-src 'none'; style-src 'nonce-{}'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


class Password(BasicAuthProvider):
    """Asks for ``password``, or for a name and password that the JSON file of that name holds."""

    def __init__(self, password: str):
        super().__init__()
        Login.password = password

    @property
    def login_handler(self):
        return Login

    @property
    def logout_handler(self):
        return Logout


class Login(RequestHandler):
    """``GET /login`` shows the form, ``POST /login`` checks it and leads to the page that was asked for."""

    password = ""

    def get(self):
        self._show("")

    def post(self):
        wait = waiting(guard.address(self))
        if wait > 0:
            self.set_status(429)
            self.set_header("Retry-After", str(int(wait) + 1))
            self._show(f"Too many wrong passwords came from your address. Try again in {int(wait) + 1} s.")
            return
        name, given = self.get_body_argument("username", ""), self.get_body_argument("password", "", strip=False)
        if not is_right(self.password, name, given):
            missed(guard.address(self))
            self.set_status(403)
            self._show("The name or the password is wrong." if self._names else "The password is wrong.")
            return
        forgive(guard.address(self))
        place = {"httponly": True, "path": self.application.prefix or "/", "samesite": "Lax"}
        self.set_secure_cookie("user", name if self._names else "visitor", expires_days=config.oauth_expiry, **place)
        self.redirect(self._next())

    @property
    def _names(self) -> bool:
        """Whether visitors have names: one password for all is asked for alone."""
        return self.password.endswith(".json")

    def _next(self):
        """The page that was asked for, if it is one of this server, else the home page."""
        home, asked = f"{self.application.prefix}/", self.get_query_argument("next", "")
        own = asked.startswith(home) and not asked.startswith("//") and "\\" not in asked and asked.isprintable()
        return asked if own else home

    def _show(self, words):
        nonce = secrets.token_hex(16)
        self.set_header("Content-Security-Policy", _POLICY.format(nonce))
        self.set_header("Cache-Control", "no-store")
        alert = f'<p role="alert">{escape(words)}</p>' if words else ""
        name = _NAME if self._names else ""
        page = _page().replace("NONCE", nonce).replace("<!-- words -->", alert).replace("<!-- name -->", name)
        # the first field that is asked for has the cursor
        self.finish(page.replace("<input ", "<input autofocus ", 1))


class Logout(RequestHandler):
    """``GET /logout`` forgets the visitor."""

    def get(self):
        for path in {self.application.prefix or "/", "/"}:
            self.clear_cookie("user", path=path)
        self.redirect(f"{self.application.prefix}/login")


def is_right(password: str, name: str, given: str) -> bool:
    """Whether ``given`` is the password, of ``name`` where a file holds several; takes as long for a wrong one as for the right."""
    wanted = password
    if password.endswith(".json"):
        known = json.loads(Path(password).read_text(encoding="utf-8"))
        wanted = known.get(name)
    right = hmac.compare_digest(given.encode(), str(wanted).encode())
    return right and isinstance(wanted, str) and wanted != ""


def waiting(address: str) -> float:
    """The seconds until a password from ``address`` is looked at again."""
    count, last = _misses(address)
    return min(2.0 ** (count - 1), LONGEST_SECONDS) - (time.time() - last) if count else 0.0


def missed(address: str) -> None:
    """Remember a wrong password; all processes of the server know of it."""
    count, _ = _misses(address)
    _note(address).write_text(json.dumps([count + 1, time.time()]), encoding="utf-8")


def forgive(address: str) -> None:
    """Forget the wrong passwords of an address."""
    _note(address).unlink(missing_ok=True)


def _misses(address):
    try:
        count, last = json.loads(_note(address).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return 0, 0.0
    return (count, last) if time.time() - last < FORGOTTEN_SECONDS else (0, 0.0)


def _note(address):
    return _shared.folder("logins") / hashlib.sha256(address.encode()).hexdigest()[:32]


@cache
def _page() -> str:
    return _PAGE.read_text(encoding="utf-8")
