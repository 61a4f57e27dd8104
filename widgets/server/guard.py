"""Who may ask, and what an answer allows: own hosts and origins, and the security headers of every answer.

A page of another site can make a visitor's browser send requests here, and a name of its own can lead to this address (DNS
rebinding); the browser then says so in ``Host`` or ``Origin``. Whatever names another host than this server's is refused
before any handler sees it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from panel.io.server import DocHandler
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.routing import Matcher, Rule
from tornado.web import Application, HTTPError, OutputTransform, RequestHandler

FOREIGN = (
    "This request names a host that this server does not serve. Add it with `lab serve --allow-websocket-origin HOST`."
)
NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def is_own(hosts: Sequence[str], origins: Sequence[str], allowed: Sequence[str]) -> bool:
    """Whether a request with these ``Host`` and ``Origin`` headers is meant for this server and comes from its own pages.

    Args:
        hosts: the values of all ``Host`` headers; exactly one is wanted.
        origins: the values of all ``Origin`` headers; a request that no page makes has none.
        allowed: the server's own hosts, ``"localhost:5006"`` or ``"lab.example.org"``; ``*`` stands for one part of a name,
            alone for every host.
    """
    if len(hosts) != 1 or len(origins) > 1:
        return False
    patterns = [_pattern(host) for host in allowed]
    named = [_whole(host) for host in (*hosts, *map(_host_of, origins))]
    return all(any(pattern.fullmatch(host) for pattern in patterns) for host in named)


def _host_of(origin: str) -> str:
    """``"localhost:5006"`` of ``"http://localhost:5006"``; an empty string, which is nobody's host, of ``"null"``."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return ""
    rest = parts.path or parts.query or parts.fragment
    return parts.netloc if parts.scheme in ("http", "https") and not rest else ""


def _whole(host: str) -> str:
    """A host in small letters with its port; that of the scheme, which is not written, counts as 80."""
    host = host.lower()
    return host if re.search(r":\d+$", host) else f"{host}:80"


def _pattern(host: str) -> re.Pattern:
    if host == "*":
        return re.compile(r"[^@/\s]+")
    return re.compile(re.escape(_whole(host)).replace(r"\*", r"[a-z0-9-]+"))


class _Foreign(Matcher):
    """Matches every request that is not the server's own."""

    def __init__(self, allowed: Sequence[str]):
        self._allowed = tuple(allowed)

    def match(self, request: HTTPServerRequest):
        own = is_own(request.headers.get_list("Host"), request.headers.get_list("Origin"), self._allowed)
        return None if own else {}


class _Unreadable(Matcher):
    """Matches an address with a character that no name of a page or file has."""

    def match(self, request: HTTPServerRequest):
        return {} if re.search(r"[\x00-\x1f\x7f]", unquote(request.path)) else None


class _Refusal(RequestHandler):
    def initialize(self, status: int, words: str):
        self._answer = status, words

    def prepare(self):
        status, words = self._answer
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(words + "\n")


class _Headers(OutputTransform):
    """Headers that every answer bears: no frame around it, no guess at its kind, no address given away, cookies for this site."""

    def __init__(self, request: HTTPServerRequest):
        _stamp_cookies(request)
        self._shared = "/reports/assets/" in request.path  # what reports, each an origin of its own, may load

    def transform_first_chunk(self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool):
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "same-origin"
        headers["X-Frame-Options"] = "DENY"
        headers["Cross-Origin-Resource-Policy"] = "cross-origin" if self._shared else "same-origin"
        headers.setdefault("Content-Security-Policy", NOTHING)
        return status_code, headers, chunk


def _stamp_cookies(request):
    """Stamp what any handler sets, where the headers are written: tornado adds cookies after the transforms."""
    write = request.connection.write_headers

    def write_headers(start_line, headers, chunk=None):
        cookies = headers.get_list("Set-Cookie")
        if cookies:
            del headers["Set-Cookie"]
        for cookie in cookies:
            headers.add("Set-Cookie", stamped(cookie, encrypted=request.protocol == "https"))
        return write(start_line, headers, chunk)

    request.connection.write_headers = write_headers


def stamped(cookie: str, *, encrypted: bool) -> str:
    """A cookie that other sites do not send, and that is sent in the clear only where the page was."""
    words = cookie.lower()
    if "samesite=" not in words:
        cookie += "; SameSite=Lax"
    if encrypted and not re.search(r";\s*secure\b", words):
        cookie += "; Secure"
    return cookie


def protect(application: Application, allowed: Sequence[str]) -> None:
    """Refuse foreign requests and add the headers, in front of all handlers of ``application``."""
    refusals = (_Foreign(allowed), 403, FOREIGN), (_Unreadable(), 400, "This address cannot be read.")
    rules = [Rule(matcher, _Refusal, {"status": status, "words": words}) for matcher, status, words in refusals]
    application.default_router.rules[:0] = rules
    application.add_transform(_Headers)


class Document(DocHandler):
    """A page of the application with its policy: the scripts that bear this answer's number, and requests to this server only."""

    async def get_session(self):
        session = await super().get_session()
        if session is not None:
            self.set_header("Content-Security-Policy", policy(session.document.template_variables.get("nonce", "")))
        return session

    def write_error(self, status_code: int, **problem):
        self.set_header("Content-Security-Policy", NOTHING)
        super().write_error(status_code, **problem)


def policy(nonce: str) -> str:
    """What a page of the application may do.

    Bokeh makes functions of the text of its callbacks and sets styles as text, so both stay allowed to scripts that run; no
    script but those of the answer itself does.
    """
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; media-src data:; font-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def address(handler: RequestHandler) -> str:
    """The visitor's address as far as one visitor holds it: of the sixth version of the protocol the first half.

    Raises:
        HTTPError: 400 where a proxy hands on what is no address.
    """
    import ipaddress

    try:
        found = ipaddress.ip_address(handler.request.remote_ip.partition("%")[0])
    except ValueError:
        raise HTTPError(400, reason="Bad Request") from None
    return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))
