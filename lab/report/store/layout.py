"""The store of runs: ``data/runs/<run_id>/{run.json, notebook.ipynb, records.jsonl, figures/*.json, log.txt}``.

A run is written in ``data/runs/.work`` and moved to its place in one rename, so that a folder with a run's name is always
a whole run. A lock per run id (released by the system when its owner dies) lets several drivers share one store.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lab import checks
from lab.report.store.records import recorded
from lab.source import project_root as project_root

SCHEMA = 1
_OLD = "-replaced"
_NEEDED = {"notebook", "status", "parameters"}  # without these a run.json says nothing
RUN_ID = re.compile(r"(?!\.)[\w .+=@(),-]{1,200}", re.ASCII)  # what the name of a run's folder is made of
_NO_WRITING = {getattr(errno, name, 0) for name in "ENOSPC EDQUOT EROFS EACCES EPERM EFBIG EIO ENOTDIR EEXIST".split()}


class StoreError(OSError):
    """The store cannot be read or written, or has no such run."""


@contextlib.contextmanager
def writing(place: str | Path) -> Iterator[None]:
    """A full disk, a read-only file system or a forbidden folder as a :class:`StoreError` that names ``place``."""
    try:
        yield
    except OSError as error:
        if isinstance(error, StoreError) or error.errno not in _NO_WRITING:
            raise
        raise StoreError(
            f"{place} cannot be written: {error.strerror}; free space or choose another folder with LAB_DATA"
        ) from error


def data_folder() -> Path:
    """``$LAB_DATA`` or the project's ``data`` folder."""
    return Path(os.environ["LAB_DATA"]).expanduser() if os.environ.get("LAB_DATA") else project_root() / "data"


@dataclass(frozen=True)
class Run:
    """One finished run; ``info`` is its ``run.json``."""

    id: str
    folder: Path
    info: dict[str, Any]

    @property
    def status(self) -> str:
        """``ok``, ``failed``, ``timeout``, ``out of memory``, ``kernel died`` or ``cancelled``."""
        return self.info["status"]

    @property
    def ok(self) -> bool:
        """Whether every cell completed."""
        return self.status == "ok"

    @property
    def notebook(self) -> str:
        """The notebook's path, relative to the project where it lies in it."""
        return self.info["notebook"]

    @property
    def title(self) -> str:
        """The notebook's first heading."""
        return self.info.get("title") or Path(self.notebook).stem

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters with the values of this run."""
        return self.info["parameters"]

    @property
    def error(self) -> dict[str, Any] | None:
        """Of a run that is not ok: ``cell``, ``source``, ``name``, ``message``, ``traceback`` and ``log``."""
        return self.info.get("error")

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """Metrics and claims in the order of recording."""
        return recorded(self.folder)

    @property
    def metrics(self) -> dict[str, Any]:
        """The last value of each recorded metric."""
        return {entry["name"]: entry["value"] for entry in self.records if entry["kind"] == "metric"}

    @property
    def claims(self) -> dict[str, dict[str, Any]]:
        """The last measurement of each claim."""
        return {entry["name"]: entry for entry in self.records if entry["kind"] == "claim"}

    def figures(self) -> list[Path]:
        """The plotly figures of the run as JSON files, in the order of the notebook."""
        return sorted((self.folder / "figures").glob("*.json"))

    def content(self) -> dict[str, Any]:
        """The executed notebook as a mapping."""
        return json.loads((self.folder / "notebook.ipynb").read_text(encoding="utf-8"))


class Store:
    """The runs of one data folder.

    Raises:
        StoreError: on first writing, if the folder cannot be written.
    """

    def __init__(self, data: str | Path | None = None):
        self.data = Path(data) if data is not None else data_folder()
        self.runs = self.data / "runs"
        self._work = self.runs / ".work"
        self._locks = self.runs / ".locks"

    def ids(self) -> list[str]:
        """The ids of all runs, sorted."""
        try:
            with os.scandir(self.runs) as entries:
                return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
        except FileNotFoundError:
            return []

    def all(self) -> list[Run]:
        """All runs, the newest first."""
        found = [run for run in map(self.get, self.ids()) if run is not None]
        return sorted(found, key=lambda run: run.info.get("started", ""), reverse=True)

    def get(self, run_id: str) -> Run | None:
        """The run ``run_id``, or ``None``, also for what can be no id."""
        if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
            return None
        path = self.runs / run_id / "run.json"
        try:
            info = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, RecursionError):
            info = None
        if not isinstance(info, dict) or not _NEEDED <= info.keys():
            warnings.warn(f"run.json of run {run_id} is no description of a run: it is left out", stacklevel=2)
            return None
        return Run(run_id, path.parent, info)

    def find(self, name: str) -> Run:
        """The run with this id, the only one whose id begins so, or the newest of a notebook (by its path or stem).

        Raises:
            StoreError: no run or several runs answer to ``name``.
        """
        ids = self.ids()
        if name in ids:
            run = self.get(name)
            if run:
                return run
        matching = [run_id for run_id in ids if run_id.startswith(name)] if len(name) >= 4 else []
        if len(matching) == 1 and (run := self.get(matching[0])):
            return run
        of_notebook = [
            run for run in self.all() if name in (run.notebook, Path(run.notebook).stem, Path(run.notebook).name)
        ]
        if of_notebook:
            return of_notebook[0]
        if len(matching) > 1:
            raise StoreError(
                f"{len(matching)} runs begin with {name!r}: {', '.join(matching[:4])}{', ...' * (len(matching) > 4)}"
            )
        hint = checks.did_you_mean(name, ids)
        raise StoreError(f"there is no run {name!r}{hint or '; `lab show` lists the runs'}")

    def prepare(self) -> None:
        """Create the folders; ``StoreError`` in words if the store is read-only or full."""
        with writing(f"the store {self.runs}"):
            for folder in (self.runs, self._work, self._locks):
                folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._work) as probe:  # has no name: nothing stays of it after a kill
                probe.write(b"x" * 4096)

    @contextlib.contextmanager
    def work(self, run_id: str) -> Iterator[Path]:
        """A private folder to build a run in; removed at the end unless it was published."""
        folder = self._work / f"{run_id}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        (folder / "figures").mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, folder: Path, run_id: str) -> Run:
        """Move a finished folder to its place, once it is on the disk; a run that stood there is replaced.

        Raises:
            StoreError: what the folder says of its run cannot be read back; nothing is moved then.
        """
        try:
            for name in ("run.json", "notebook.ipynb"):
                json.loads((folder / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError) as error:
            raise StoreError(f"run {run_id} was not stored: {name} cannot be read back ({error})") from None
        for path in (*folder.rglob("*"), folder):
            _sync(path)
        target = self.runs / run_id
        try:
            os.rename(folder, target)
        except OSError:
            if not target.exists():
                raise
            exchange(folder, target)
        run = self.get(run_id)
        if run is None:
            raise StoreError(f"run {run_id} was moved away while it was being published")
        return run

    @contextlib.contextmanager
    def lock(self, run_id: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold the lock of ``run_id``; yields whether it is held (``wait=False`` does not wait for another driver)."""
        self._locks.mkdir(parents=True, exist_ok=True)
        with open(self._locks / f"{run_id}.lock", "a+b") as handle:
            held = _acquire(handle, wait)
            try:
                yield held
            finally:
                if held:
                    _release(handle)

    def sweep_leftovers(self) -> int:
        """Remove the work folders of drivers that are gone; returns how many there were."""
        count = 0
        for folder in self._work.glob("*.*.*"):
            run_id = folder.name.rsplit(".", 2)[0]
            with self.lock(run_id, wait=False) as held:
                if held:
                    if folder.name.endswith(_OLD) and not (self.runs / run_id).exists():
                        os.rename(folder, self.runs / run_id)
                    shutil.rmtree(folder, ignore_errors=True)
                    count += 1
        return count


def _sync(path: Path) -> None:
    """Have the system write a file or the names in a folder to the disk; where it cannot, it does not matter."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` so that a reader sees the old file or the new one and never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text, encoding="utf-8")
            _sync(temporary)  # else a power cut may leave the new name without its content
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def exchange(source: Path, target: Path) -> None:
    """Swap two folders, in one step where the system can (Linux), and remove the old content, now under ``source``."""
    if not _renameat2_exchange(source, target):
        aside = source.with_name(source.name + _OLD)
        os.rename(target, aside)
        os.rename(source, target)  # after a kill between the two, `sweep_leftovers` puts the old one back
        shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(source, ignore_errors=True)


def _renameat2_exchange(source, target):
    import ctypes

    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    at_cwd, exchange_flag = -100, 2
    return function(at_cwd, os.fsencode(source), at_cwd, os.fsencode(target), exchange_flag) == 0


def _acquire(handle, wait):
    try:
        import fcntl
    except ImportError:
        return _acquire_windows(handle, wait)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _release(handle):
    try:
        import fcntl
    except ImportError:
        import msvcrt

        handle.seek(0)
        msvcrt.locking(handle.fileno(), msvcrt.LK_UNLCK, 1)
        return
    fcntl.flock(handle, fcntl.LOCK_UN)


def _acquire_windows(handle, wait):
    import msvcrt

    while True:
        try:
            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
            return True
        except OSError:
            if not wait:
                return False
            time.sleep(0.1)
