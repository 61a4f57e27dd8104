"""Several server processes behind one port, every visitor with one of them.

A page's document lives in the process that built it: a websocket that reaches a sibling finds a document with other
identifiers and the page stays blank, also where siblings share the secret that signs sessions. So a small front reads the
head of every request, chooses the process, and then only moves bytes::

    browser -- front (port) -- process 0 (its own port on 127.0.0.1), process 1, ...

A process is chosen by, in this order,

1. the session that a websocket's token names: the front gave the session its name when the page was asked for;
2. ``job=`` in the address: a link to a job leads to the process that drives it;
3. the visitor's cookie ``lab_process``;
4. the fewest open connections, in turn.

A process that ends is started again. ``GET /health`` sums what the processes say. The front is one coroutine a connection;
it decodes no message and holds at most one block of bytes in each direction.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import secrets
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from lab.report.store.layout import RUN_ID
from widgets.pages import _shared
from widgets.server import guard
from widgets.server.options import Options, origins

COOKIE = "lab_process"
_HEAD_BYTES = 64 * 2**10
_BLOCK_BYTES = 64 * 2**10
_HEAD_SECONDS = 20.0
_START_SECONDS = 120.0
_RESTART_SECONDS = 1.0
_OURS = ("bokeh-session-id", "x-real-ip", "x-forwarded-for", "connection", "keep-alive", "proxy-connection")
_AGAIN = b"A part of this server is starting. Load the page again in a few seconds.\n"


class Refusal(Exception):
    """A request whose head cannot be taken."""


class Process:
    """One server process: its port (0 while it starts), its open connections, when it was last chosen."""

    def __init__(self, number: int, options: Options, folder: Path, allowed: list[str]):
        self.number, self.port, self.open, self.turn = number, 0, 0, 0
        self._request = {"options": asdict(options), "allowed": allowed}
        self._environment = {**os.environ, _shared.FOLDER: str(folder), _shared.NUMBER: str(number)}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the process and wait until it listens.

        Raises:
            ChildProcessError: it ended before it listened; its own words are on stderr.
        """
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "widgets.server.process", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env=self._environment, cwd=Path(__file__).parents[2], start_new_session=True,
        )  # fmt: skip
        # the pipe stays open: its end tells the process that the front is gone
        self._process.stdin.write(json.dumps(self._request).encode() + b"\n")
        line = await asyncio.wait_for(self._process.stdout.readline(), _START_SECONDS)
        if not line.strip().isdigit():
            raise ChildProcessError(f"server process {self.number} did not start; its own words stand above")
        self.port = int(line)

    async def keep(self) -> None:
        """Start the process again whenever it ends."""
        while True:
            code = await self._process.wait()
            self.port = 0
            print(
                f"Server process {self.number} ended with status {code} and is started again",
                file=sys.stderr,
                flush=True,
            )
            await asyncio.sleep(_RESTART_SECONDS)
            try:
                await self.start()
            except (TimeoutError, OSError) as error:
                print(error, file=sys.stderr, flush=True)

    async def stop(self) -> None:
        """End the process."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), 10)
            except TimeoutError:
                self._process.kill()


def front(options: Options, port: int, ready: Callable[[], None]) -> None:
    """Serve until terminated: ``options.num_procs`` processes behind ``port``; ``ready()`` is called once all listen."""
    with tempfile.TemporaryDirectory(prefix="lab-server-") as folder:
        asyncio.run(_front(options, port, ready, Path(folder)))


async def _front(options, port, ready, folder):
    share = replace(options, max_sessions=-(-options.max_sessions // options.num_procs), num_procs=1, use_xheaders=True)
    allowed = origins(options, port)
    processes = [Process(k, share, folder, allowed) for k in range(options.num_procs)]
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, ended.set)
    try:
        await asyncio.gather(*(process.start() for process in processes))
        keepers = [asyncio.create_task(process.keep()) for process in processes]
        switch = Switch(processes, options, folder, allowed)
        server = await asyncio.start_server(switch.serve, options.address, port, limit=_HEAD_BYTES)
        ready()
        await ended.wait()
        server.close()
        for keeper in keepers:
            keeper.cancel()
    finally:
        await asyncio.gather(*(process.stop() for process in processes))


class Switch:
    """Takes connections, chooses the process of each and moves the bytes."""

    def __init__(self, processes: list[Process], options: Options, folder: Path, allowed: list[str]):
        self._processes, self._options, self._jobs, self._allowed = processes, options, folder / "jobs", allowed
        self._turns = itertools.count(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a browser: one request."""
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_SECONDS)
            request = Head(head)
            if not guard.is_own(request.values("host"), request.values("origin"), self._allowed):
                await _answer(writer, "403 Forbidden", guard.FOREIGN.encode() + b"\n")
                return
            if request.path == f"{self._options.root}/health":
                await self._health(writer)
                return
            process = self.choose(request)
            if not process.port:
                await _answer(writer, "503 Service Unavailable", _AGAIN)
                return
            peer = writer.get_extra_info("peername")[0]
            await self._splice(process, request, peer, reader, writer)
        except Refusal:
            await _answer(writer, "400 Bad Request", b"This request cannot be read.\n")
        except asyncio.LimitOverrunError:
            await _answer(writer, "431 Request Header Fields Too Large", b"The head of this request is too long.\n")
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            pass
        finally:
            writer.close()

    def choose(self, request: Head) -> Process:
        """The process that the request belongs to."""
        named = [request.session_process(), self._of_job(request.job), request.cookie_process()]
        for number in named:
            if number is not None and number < len(self._processes):
                return self._processes[number]
        chosen = min(self._processes, key=lambda process: (not process.port, process.open, process.turn))
        chosen.turn = next(self._turns)
        return chosen

    def _of_job(self, job: str) -> int | None:
        path = self._jobs / job
        if not RUN_ID.fullmatch(job) or not path.is_file():
            return None
        return int(path.read_text(encoding="utf-8"))

    async def _splice(self, process, request, peer, reader, writer):
        upstream, downstream = await asyncio.open_connection("127.0.0.1", process.port, limit=_HEAD_BYTES)
        process.open += 1
        try:
            downstream.write(request.forwarded(process.number, peer, trust=self._options.use_xheaders))
            up = asyncio.create_task(_move(reader, downstream))
            try:
                answer = await upstream.readuntil(b"\r\n\r\n")
                if request.cookie_process() != process.number:
                    place = f"{COOKIE}={process.number}; Path={self._options.root or '/'}; HttpOnly"
                    cookie = guard.stamped(place, encrypted=self._options.use_xheaders and request.is_encrypted)
                    answer = answer[:-2] + f"Set-Cookie: {cookie}\r\n\r\n".encode()
                writer.write(answer)
                await _move(upstream, writer)
            finally:
                up.cancel()
        finally:
            process.open -= 1
            downstream.close()

    async def _health(self, writer):
        found = await asyncio.gather(*(self._health_of(process) for process in self._processes))
        alive = [answer for answer in found if answer]
        content = {
            "status": "ok" if len(alive) == len(found) else "starting",
            **{key: value for answer in alive[:1] for key, value in answer.items() if key == "version"},
            "sessions": sum(answer["sessions"] for answer in alive),
            "seconds": max((answer["seconds"] for answer in alive), default=0),
            "processes": [answer["sessions"] if answer else None for answer in found],
        }
        await _answer(writer, "200 OK", json.dumps(content).encode(), kind="application/json")

    async def _health_of(self, process) -> dict | None:
        if not process.port:
            return None
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
            try:
                lines = (
                    f"GET {self._options.root}/health HTTP/1.1",
                    f"Host: {self._allowed[0]}",
                    "Connection: close",
                    "",
                    "",
                )
                writer.write("\r\n".join(lines).encode())
                answer = await asyncio.wait_for(reader.read(), _HEAD_SECONDS)
            finally:
                writer.close()
            return json.loads(answer.partition(b"\r\n\r\n")[2])
        except (OSError, ValueError, TimeoutError):
            return None


class Head:
    """The head of a request, as far as the front reads it."""

    def __init__(self, raw: bytes):
        first, *lines = raw[:-4].decode("latin-1").split("\r\n")
        words = first.split(" ")
        if (
            len(words) != 3
            or not words[2].startswith("HTTP/1.")
            or any(letter in "".join([first, *lines]) for letter in "\n\r\0")
        ):
            raise Refusal
        self.first = first
        self.headers: list[tuple[str, str]] = []
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise Refusal
            self.headers.append((name.lower(), value.strip()))
        try:
            parts = urlsplit(words[1])
        except ValueError:
            raise Refusal from None
        self.path = parts.path
        self.job = parse_qs(parts.query).get("job", [""])[0].strip('"')

    def values(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for key, value in self.headers if key == name]

    def value(self, name: str) -> str:
        """The first value of a header, or an empty string."""
        return next(iter(self.values(name)), "")

    @property
    def is_encrypted(self) -> bool:
        """Whether a proxy says that the visitor speaks to it over TLS."""
        return "https" in (self.value("x-scheme"), self.value("x-forwarded-proto"))

    @property
    def upgrades(self) -> bool:
        """Whether this asks for a websocket."""
        return self.value("upgrade").lower() == "websocket"

    def session_process(self) -> int | None:
        """The process that the websocket's session names."""
        if not self.upgrades:
            return None
        from bokeh.util.token import get_session_id

        token = self.value("sec-websocket-protocol").partition(",")[2].strip()
        try:
            session = str(get_session_id(token))
        except (ValueError, KeyError, UnicodeDecodeError):
            return None
        return _number(session.rpartition("-")[2])

    def cookie_process(self) -> int | None:
        """The process that the visitor's cookie names."""
        found = re.search(rf"(?:^|;\s*){COOKIE}=(\d+)", self.value("cookie"))
        return _number(found[1]) if found else None

    def forwarded(self, number: int, peer: str, *, trust: bool) -> bytes:
        """The head for the process: one request a connection, a session that names the process, the visitor's address."""
        known = self.value("x-real-ip") or self.value("x-forwarded-for").partition(",")[0].strip()
        kept = [(name, value) for name, value in self.headers if name not in _OURS]
        if not trust:
            kept = [(name, value) for name, value in kept if name not in ("x-scheme", "x-forwarded-proto")]
        own = [
            ("X-Real-Ip", known if trust and known else peer),
            ("Connection", "Upgrade" if self.upgrades else "close"),
        ]
        if not self.upgrades:
            own.append(("Bokeh-Session-Id", f"{secrets.token_hex(22)}-{number}"))
        lines = [self.first, *(f"{name}: {value}" for name, value in [*kept, *own])]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else None


async def _move(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes from one side to the other until there are no more."""
    try:
        while block := await reader.read(_BLOCK_BYTES):
            writer.write(block)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except (ConnectionError, OSError):
        pass


async def _answer(writer: asyncio.StreamWriter, status: str, content: bytes, *, kind: str = "text/plain") -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {len(content)}\r\n"
    head += f"X-Content-Type-Options: nosniff\r\nContent-Security-Policy: {guard.NOTHING}\r\n"
    writer.write(head.encode() + b"Cache-Control: no-store\r\nConnection: close\r\n\r\n" + content)
    await writer.drain()
