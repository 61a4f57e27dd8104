"""The private folder that all processes of one server share: files of visitors, and which process drives which job."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

FOLDER = "LAB_SERVER_FOLDER"  # the environment of a server process that has siblings
NUMBER = "LAB_SERVER_NUMBER"


@cache
def folder(part: str) -> Path:
    """A part of the shared folder; ``"uploads"`` and ``"jobs"`` are in use. Removed when the server ends."""
    found = _root() / part
    found.mkdir(mode=0o700, exist_ok=True)
    return found


def own_job(job_id: str) -> None:
    """Remember that this process drives the job, so that its link reaches this process."""
    if NUMBER in os.environ:
        (folder("jobs") / job_id).write_text(os.environ[NUMBER], encoding="utf-8")


@cache
def _root() -> Path:
    if FOLDER in os.environ:
        return Path(os.environ[FOLDER])
    root = Path(tempfile.mkdtemp(prefix="lab-server-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root
