"""Plain HTTP beside the pages: health, and the reports of runs."""

from __future__ import annotations

import asyncio
import time
from functools import cache

from tornado.web import HTTPError, RequestHandler, StaticFileHandler

import lab
from lab.report import Store
from lab.report.site.frame import nonce_of, policy
from widgets.pages import _take
from widgets.pages._discovery import survey
from widgets.pages._state import query

_HEAD_CHARACTERS = 4096
_SANDBOX = "sandbox allow-scripts allow-popups allow-popups-to-escape-sandbox; frame-ancestors 'none'"
_STARTED = time.monotonic()


def sessions(settings_owner) -> int:
    """Open browser sessions of the server process that answers."""
    return sum(len(context.sessions) for context in settings_owner._applications.values())


class Health(RequestHandler):
    """``GET /health``: alive, how many sessions, since when; opens no session."""

    def get(self):
        self.set_header("Cache-Control", "no-store")
        self.write(
            {
                "status": "ok",
                "version": lab.__version__,
                "sessions": sessions(self.application),
                "seconds": round(time.monotonic() - _STARTED, 1),
            }
        )


async def refuse_strangers(handler: RequestHandler) -> None:
    """403 for a visitor who has not logged in, where the server asks for a login: by a password or at a provider."""
    provider = getattr(handler.application, "auth_provider")  # noqa: B009 - bokeh's application has one
    if provider.get_user is not None:
        user = provider.get_user(handler)
    elif provider.get_user_async is not None:
        user = await provider.get_user_async(handler)
    else:
        return
    if not user:
        raise HTTPError(403, reason="Log in first")


class Take(RequestHandler):
    """``GET /take?_kind=python&_page=ROUTE&...``: what makes a page's state, or ``_kind=bibtex``: how to cite it."""

    async def prepare(self):
        await refuse_strangers(self)

    def get(self):
        page = next((page for page in self.pages() if page.route == self.get_query_argument("_page", "")), None)
        kind = self.get_query_argument("_kind", "")
        if page is None or kind not in ("python", "bibtex"):
            raise HTTPError(404, reason="No such page or kind")
        state = {key: value for key, value in query(self.request.query).items() if key not in ("_page", "_kind")}
        try:
            text = _take.python_of(page, state) if kind == "python" else _take.bibtex_of(page)
        except ValueError:
            raise HTTPError(400, reason="This state cannot be written") from None
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.write(text)

    @staticmethod
    @cache
    def pages():
        """The pages that work; looked for once."""
        return tuple(survey()[0].values())


class Report(RequestHandler):
    """``GET /report?run=ID``: renders the run's report where it is not there yet, and leads to it."""

    async def prepare(self):
        await refuse_strangers(self)

    async def get(self):
        run = Store().get(self.get_query_argument("run", ""))
        if run is None or run.folder.parent != Store().runs:
            raise HTTPError(404, reason="No such run")
        from lab.report.site import render_run

        page = await asyncio.to_thread(render_run, run)
        self.redirect(f"reports/{page.relative_to(Store().data / 'reports').as_posix()}")

    class Files(StaticFileHandler):
        """The files of the report site, each in an origin of its own: nothing in a report may speak with this server.

        Style and scripts of the site are no secret and are given without a login: an origin of its own has no cookies.
        """

        def initialize(self):
            super().initialize(path=str(Store().data / "reports"), default_filename="index.html")

        async def prepare(self):
            if not self.request.path.removeprefix(f"{self.application.prefix}/reports/").startswith("assets/"):
                await refuse_strangers(self)

        def set_extra_headers(self, path):
            self.set_header("Cache-Control", "no-cache")
            nonce = ""
            if self.absolute_path.endswith(".html"):
                with open(self.absolute_path, encoding="utf-8", errors="replace") as page:
                    nonce = nonce_of(page.read(_HEAD_CHARACTERS))
            self.set_header("Content-Security-Policy", f"{policy(nonce)}; {_SANDBOX}")
