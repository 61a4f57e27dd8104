"""Claims measured from a page: each in a process of its own, with progress, and cancelled at once.

``POST /measure?claim=ID&budget=smoke`` begins, ``GET /measure?job=NUMBER`` tells how it stands, ``DELETE`` ends it. The process is
``lab claim ID --control --json``: what it measures is stored as any measurement of this machine is, and the claim's row
of the page is written anew from there.
"""

from __future__ import annotations

import atexit
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import IO

from tornado.web import HTTPError, RequestHandler

from lab import claims
from lab.report.store.redaction import scrub
from widgets.pages import _studies
from widgets.pages._handlers import refuse_strangers
from widgets.pages._measuring import BUDGETS, claim_item, expected_seconds

MOST = 2  # measurements at once
_KEPT = 200
_LATE = 0.95  # where the bar waits for a measurement that takes longer than expected


@dataclass
class Measuring:
    """A measurement under way, or ended: its process, what it is expected to take, where its words go."""

    claim: claims.Claim
    budget: str
    process: subprocess.Popen
    output: IO[bytes]
    errors: IO[bytes]
    expected: float
    began: float = field(default_factory=time.monotonic)
    cancelled: bool = False

    @classmethod
    def begin(cls, claim: claims.Claim, budget: str) -> Measuring:
        """Start the process."""
        output, errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        command = [sys.executable, "-m", "lab", "claim", claim.id, "--budget", budget, "--json"]
        command += ["--control"] if claim.control else []
        nice = int(os.environ.get("LAB_NICE", "0") or 0)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True,
            preexec_fn=(lambda: os.nice(nice)) if nice else None,
        )  # fmt: skip
        return cls(claim, budget, process, output, errors, expected_seconds(claim, budget))

    @property
    def running(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def cancel(self) -> None:
        """End the process and what it started."""
        if self.running:
            self.cancelled = True
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def told(self) -> dict:
        """How it stands: ``state`` running, done, cancelled or failed, and what a page shows of that."""
        seconds = time.monotonic() - self.began
        if self.running:
            share = min(_LATE, seconds / self.expected)
            words = f"Measuring: {seconds:.0f} s of about {self.expected:.0f} s"
            return {"state": "running", "share": round(share, 3), "words": words}
        if self.cancelled:
            return {"state": "cancelled", "words": "Cancelled; nothing was stored."}
        line = self._result()
        if line is None:
            return {"state": "failed", "words": f"The measurement failed: {self._reason()}"}
        _studies.forget()
        return {
            "state": "done",
            "words": f"Measured in {line['seconds']:.1f} s.",
            "html": claim_item(self.claim.id, line),
        }

    def _result(self) -> dict | None:
        self.output.seek(0)
        for line in reversed(self.output.read().decode("utf-8", "replace").splitlines()):
            if line.startswith("{"):
                return json.loads(line)
        return None

    def _reason(self) -> str:
        self.errors.seek(0)
        lines = [line for line in self.errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return scrub(lines[-1])[:400] if lines else f"its process ended with status {self.process.returncode}"


_STARTED: dict[str, Measuring] = {}


@atexit.register
def _end_all() -> None:
    for one in _STARTED.values():
        one.cancel()


class Handler(RequestHandler):
    """``/measure``; only where visitors may run notebooks."""

    async def prepare(self):
        await refuse_strangers(self)
        self.set_header("Cache-Control", "no-store")

    def post(self):
        if sum(one.running for one in _STARTED.values()) >= MOST:
            self.set_status(429)
            self.write({"state": "failed", "words": f"{MOST} measurements are running; try again when one has ended."})
            return
        wanted, budget = self.get_query_argument("claim", ""), self.get_query_argument("budget", "smoke")
        claim = next((claim for claim in claims.ledger() if claim.id == wanted), None)
        if claim is None or budget not in BUDGETS or claim.untestable or claims.measuring_function(claim.id) is None:
            raise HTTPError(404, reason="No such claim or budget")
        while len(_STARTED) >= _KEPT:
            del _STARTED[next(name for name, one in _STARTED.items() if not one.running)]
        job = secrets.token_urlsafe(12)
        _STARTED[job] = Measuring.begin(claim, budget)
        self.write({"job": job, **_STARTED[job].told()})

    def get(self):
        self.write(self._job().told())

    def delete(self):
        job = self._job()
        job.cancel()
        self.write(job.told())

    def _job(self) -> Measuring:
        job = _STARTED.get(self.get_query_argument("job", ""))
        if job is None:
            raise HTTPError(404, reason="No such measurement")
        return job
