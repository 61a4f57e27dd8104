"""Files of a visitor: streamed to disk under a limit, read in a process of their own, refused in words.

On a page::

    prediction = uploads.Upload("Prediction", kinds=("image", "volume"), role="prediction")
    ...
    prediction.value            # None, or Uploaded(name, kind, data, spacing)

``Upload`` is a control (put it among the page's controls) whose ``value`` follows the visitor's file; give it to
:func:`widgets.pages.react` beside the widgets, as ``{"prediction": prediction, **widgets}``, and the page follows it too.

What happens to a file: the browser posts it to ``upload?token=...``; the server counts bytes while it writes them to a
private folder and stops at the limit. The name a visitor gave is shown and otherwise only its ending is used. A child
process (:mod:`widgets.server.worker`) with limits on memory, time and file size reads the headers, refuses what would
decode to more than the limit, decodes, and hands plain arrays back. Nothing is unpickled anywhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import panel as pn
import param
import psutil
from tornado.web import HTTPError, RequestHandler, stream_request_body

from lab import checks
from widgets.pages import _shared
from widgets.pages._state import in_session

SUFFIXES = {
    "image": (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".npy", ".npz"),
    "channels": (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".npy", ".npz"),
    "volume": (".nii", ".nii.gz", ".tif", ".tiff", ".npy", ".npz"),
    "table": (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet"),
    "weights": (".safetensors", ".pt", ".pth"),
    "sound": (".wav",),
}
ROLES = ("image", "label", "prediction", "labels", "predictions")
_POLL_MILLISECONDS = 250


@dataclass(frozen=True)
class Limits:
    """What one file may cost: bytes on the wire and decoded, memory and seconds of the process that reads it."""

    file_bytes: int = 64 * 2**20
    decoded_bytes: int = 512 * 2**20
    memory_bytes: int = 2 * 2**30
    seconds: float = 30.0


LIMITS = Limits()
# What all visitors of a server process may cost together: files that wait to be read, and memory for what was read.
WAITING = 20
HELD_BYTES = psutil.virtual_memory().total // 8
_UNREAD = 2


@dataclass(frozen=True)
class Uploaded:
    """A file that was read.

    ``data`` is a numpy array (image: two axes, channels: classes and two axes, volume: three; values by the role), a
    ``DataFrame`` (table), a mapping from names to arrays (weights) or samples (sound, ``spacing`` the seconds between
    them). ``spacing`` is one length an axis, of images and
    volumes; ``affine`` the (4, 4) matrix of a NIfTI file, else empty; ``notes`` say what reading did.
    """

    name: str
    kind: str
    data: Any
    spacing: tuple[float, ...] = ()
    shape: tuple[int, ...] = field(default=(), compare=False)
    affine: tuple[tuple[float, ...], ...] = ()
    notes: tuple[str, ...] = ()


class Refused(ValueError):
    """A file that is not taken, with the reason in words for the visitor."""


def suffix_of(name: str, kinds: Sequence[str]) -> str:
    """The known ending of a file name, ``".nii.gz"`` included; the rest of the name is never used.

    Raises:
        Refused: none of the endings that the kinds allow.
    """
    allowed = [suffix for kind in kinds for suffix in SUFFIXES[kind]]
    lower = name.lower()
    found = [suffix for suffix in sorted(set(allowed), key=len, reverse=True) if lower.endswith(suffix)]
    if not found:
        given = "." + lower.rpartition(".")[2][:12] if "." in lower else "no ending"
        raise Refused(f"this file type is not supported here ({given}); allowed: {', '.join(dict.fromkeys(allowed))}")
    return found[0]


async def read(
    path: Path, name: str, kinds: Sequence[str], *, role: str = "image", limits: Limits = LIMITS
) -> Uploaded:
    """Read a file in a process of its own.

    Args:
        path: where the file lies; its ending is that of ``name``.
        name: the visitor's name for it, for messages.
        kinds: what is wanted: ``"image"``, ``"channels"``, ``"volume"``, ``"table"``, ``"weights"``.
        role: what an image or volume is to be: ``"image"`` (values in [0, 1]), ``"label"`` (ids), ``"prediction"``
            (probabilities), ``"labels"`` and ``"predictions"`` (the same, with channels of a class each allowed); the
            rules are those of :mod:`lab.datasets.files`.
        limits: what it may cost.

    Raises:
        Refused: with the reason in words.
    """
    with tempfile.TemporaryDirectory(prefix="lab-read-") as folder:
        request = {
            "path": str(path), "kinds": list(kinds), "role": role, "decoded_bytes": limits.decoded_bytes,
            "memory_bytes": limits.memory_bytes, "seconds": limits.seconds, "out": folder,
        }  # fmt: skip
        outcome = await asyncio.to_thread(_reader().ask, request)
        if "refused" in outcome:
            raise Refused(outcome["refused"])
        return await asyncio.to_thread(_collect, Path(folder), name, outcome)


class _Reader:
    """The reading process, started when first needed and again if it ended; one file at a time."""

    def __init__(self):
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._waiting = 0

    def start(self) -> None:
        """Start the process if it does not run; it imports while the visitor looks for a file."""
        if self._process is not None and self._process.poll() is None:
            return
        # one thread, so that it may fork; arrow's default pools reserve more addresses than a reader may have
        settings = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
        settings["ARROW_DEFAULT_MEMORY_POOL"] = "system"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "widgets.server.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, cwd=Path(__file__).parents[2], env={**os.environ, **settings},
        )  # fmt: skip
        self._greeted = False

    def ask(self, request: dict) -> dict:
        """The answer to one request; blocks, so call it in a thread. Files wait in a queue, a full one refuses."""
        if self._waiting >= WAITING:
            return {"refused": f"{WAITING} files from other visitors are waiting to be read; try again in a minute"}
        self._waiting += 1
        try:
            with self._lock:
                return self._ask(request)
        finally:
            self._waiting -= 1

    def _ask(self, request: dict) -> dict:
        self.start()
        try:
            if not self._greeted:
                self._greeted = self._process.stdout.readline() == "ready\n"
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, ValueError):
            self._process.kill()
            return {"refused": "it could not be read: the reader stopped unexpectedly; try again"}


@cache
def _reader() -> _Reader:
    return _Reader()


def _collect(folder: Path, name: str, outcome: dict) -> Uploaded:
    """The plain files that the worker left, as one result."""
    kind = outcome["kind"]
    if kind == "table":
        import pandas as pd

        data = pd.read_parquet(folder / "table.parquet")
        shape = data.shape
    elif kind == "weights":
        arrays = [np.load(folder / f"{i}.npy", allow_pickle=False) for i in range(len(outcome["names"]))]
        data = dict(zip(outcome["names"], arrays))
        shape = (len(data),)
    else:
        data = np.load(folder / "array.npy", allow_pickle=False)
        shape = data.shape
    affine = tuple(tuple(row) for row in outcome.get("affine") or ())
    return Uploaded(name, kind, data, tuple(outcome.get("spacing", ())), shape, affine, tuple(outcome.get("notes", ())))


class _Held:
    """The memory that what visitors have read takes, one number a control; a control that is gone takes none."""

    def __init__(self):
        self._bytes: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def keep(self, owner: Any, found: Uploaded | None) -> None:
        """Count ``found`` for ``owner``, in place of what it had.

        Raises:
            Refused: all visitors together would hold too much; ``owner`` then holds nothing.
        """
        self._bytes.pop(owner, None)
        size = _bytes(found.data) if found is not None else 0
        held = sum(self._bytes.values())
        if held + size > HELD_BYTES:
            raise Refused(
                f"it takes {_size(size)} in memory, and files of other visitors take {_size(held)} of the {_size(HELD_BYTES)} that "
                "this server has for them; try again later, or with a smaller file"
            )
        if size:
            self._bytes[owner] = size


_held = _Held()


def _bytes(data) -> int:
    if isinstance(data, dict):
        return sum(array.nbytes for array in data.values())
    return int(data.memory_usage(deep=True).sum()) if hasattr(data, "memory_usage") else data.nbytes


class Upload(pn.viewable.Viewer):
    """The control. ``value`` is ``None`` or the last file that was read; ``message`` says what happened."""

    value = param.Parameter(default=None, doc="Uploaded or None")
    message = param.String(default="")

    def __init__(self, label: str, kinds: Sequence[str] = ("image",), *, role: str = "image", limits: Limits = LIMITS):
        super().__init__()
        self.role = checks.choice("role", role, ROLES)
        for kind in kinds:
            checks.choice("kinds", kind, SUFFIXES)
        self.label, self.kinds, self.limits = label, tuple(kinds), limits
        self.token = secrets.token_urlsafe(24)
        self._status = pn.pane.HTML("", sizing_mode="stretch_width", margin=0, css_classes=["lab-upload-status"])
        clear = pn.widgets.Button(
            label=f"Remove {label.lower()}", visible=False, margin=(4, 0), sizing_mode="stretch_width"
        )
        clear.on_click(lambda _: self.clear())
        self._clear = clear
        self._poll = None
        picker = pn.pane.HTML(self._picker(), sizing_mode="stretch_width", margin=0, css_classes=["lab-upload"])
        self._view = pn.Column(picker, self._status, clear, margin=(4, 0), sizing_mode="stretch_width")
        if in_session():
            _reader().start()
            folder = _folder(self.token)
            folder.mkdir(mode=0o700)
            (folder / "limits.json").write_text(json.dumps({"bytes": limits.file_bytes, "kinds": list(kinds)}))
            look: Any = self._look  # panel waits for coroutines, though its types do not say so
            self._poll = pn.state.add_periodic_callback(look, period=_POLL_MILLISECONDS)

            def leave(_):
                shutil.rmtree(folder, ignore_errors=True)
                self.clear()

            pn.state.on_session_destroyed(leave)

    def __panel__(self):
        return self._view

    def clear(self) -> None:
        """Forget the file."""
        self.value = None
        _held.keep(self, None)
        self._say("")

    async def take(self, path: Path, name: str) -> None:
        """Read a file and show it or its refusal; the file is deleted."""
        self._say(f"Reading {name} …")
        try:
            found = await read(path, name, self.kinds, role=self.role, limits=self.limits)
            _held.keep(self, found)
        except Refused as refusal:
            self._say(f"{name} was rejected: {refusal}", refused=True)
            return
        finally:
            path.unlink(missing_ok=True)
        self.value = found
        size = " × ".join(str(length) for length in found.shape)
        self._say("; ".join([f"{name}: {found.kind} of {size}", *found.notes]))

    def _say(self, text: str, *, refused: bool = False) -> None:
        self.message = text
        role = "alert" if refused else "status"
        self._status.object = (
            f'<div role="{role}" class="{"refused" if refused else ""}">{escape(text)}</div>' if text else ""
        )
        self._clear.visible = self.value is not None

    async def _look(self):
        """A file that the handler has finished, or its refusal."""
        folder = _folder(self.token)
        note = folder / "done.json"
        if not note.exists():
            return
        done = json.loads(note.read_text(encoding="utf-8"))
        note.unlink()
        if "refused" in done:
            self._say(f"{done['name']} was rejected: {done['refused']}", refused=True)
        else:
            await self.take(folder / done["file"], done["name"])

    def _picker(self) -> str:
        suffixes = list(dict.fromkeys(suffix for kind in self.kinds for suffix in SUFFIXES[kind]))
        shown = ", ".join(suffix.lstrip(".").upper() for suffix in suffixes)
        name = f"lab-file-{self.token[:8]}"
        return (
            f'<label class="lab-drop" for="{name}" data-lab-drop="{name}"><b>{escape(self.label)}</b>'
            f"<span>Choose a file or drop it here</span><small>{shown}; up to {self.limits.file_bytes // 2**20} MB</small>"
            f'<input type="file" id="{name}" accept="{",".join(suffixes)}" data-lab-upload="{self.token}" '
            f'data-limit="{self.limits.file_bytes}"></label>'
        )


def _folder(token: str) -> Path:
    """The private folder of one control; any process of the server may take the file."""
    return _shared.folder("uploads") / token


@stream_request_body
class Handler(RequestHandler):
    """``POST /upload?token=...``: the body is the file, ``X-File-Name`` its name. Answers 204, or 4xx with words."""

    def prepare(self):
        token = self.get_query_argument("token", "")
        self._folder = _folder(token)
        if not re.fullmatch(r"[\w-]{1,64}", token, re.ASCII) or not (self._folder / "limits.json").is_file():
            raise HTTPError(403, reason="No page of this server asks for a file under this token")
        if len(list(self._folder.iterdir())) > _UNREAD:  # limits.json and one file
            raise HTTPError(429, reason="The previous file is still being read")
        limits = json.loads((self._folder / "limits.json").read_text(encoding="utf-8"))
        self._limit = int(limits["bytes"])
        self.request.connection.set_max_body_size(self._limit + 1)
        self._name = _shown_name(self.request.headers.get("X-File-Name", "file"))
        self._count = 0
        try:
            length = int(self.request.headers.get("Content-Length", "0"))
            if length > self._limit:
                raise Refused(f"it has {_size(length)}, more than the limit of {_size(self._limit)}")
            suffix = suffix_of(self._name, limits["kinds"])
        except Refused as refusal:
            self._refuse(str(refusal))
            raise HTTPError(413, reason="Refused") from None
        self._path = self._folder / f"{secrets.token_hex(8)}{suffix}"
        self._file = self._path.open("xb")

    def data_received(self, chunk: bytes):
        self._count += len(chunk)
        if self._count > self._limit:
            self._refuse(f"it has more than the limit of {_size(self._limit)}")
            raise HTTPError(413, reason="Refused")
        self._file.write(chunk)

    def post(self):
        self._file.close()
        self._note({"name": self._name, "file": self._path.name})
        self.set_status(204)

    def on_connection_close(self):
        self._drop()

    def _refuse(self, words: str) -> None:
        self._drop()
        self._note({"name": self._name, "refused": words})

    def _note(self, content: dict) -> None:
        part = self._folder / f"{secrets.token_hex(4)}.part"
        part.write_text(json.dumps(content), encoding="utf-8")
        part.replace(self._folder / "done.json")

    def _drop(self) -> None:
        if getattr(self, "_file", None) is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)


def _shown_name(header: str) -> str:
    from urllib.parse import unquote

    name = unquote(header).replace("\\", "/").rpartition("/")[2]
    printable = "".join(letter for letter in name if letter.isprintable())
    return printable[-120:] or "file"


def _size(count: int) -> str:
    return f"{count / 2**20:.3g} MB"
