"""Keeps what belongs to one machine or person out of reports: absolute paths, user names, host names and secrets."""

from __future__ import annotations

import getpass
import os
import re
import socket
import sys
from functools import lru_cache
from pathlib import Path

from lab.report.store import project_root

HIDDEN = "[hidden]"
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL", re.I)
_SECRET_FORM = (
    r"AKIA[0-9A-Z]{16}",
    r"gh[pousr]_[A-Za-z0-9]{30,}",
    r"github_pat_[A-Za-z0-9_]{40,}",
    r"glpat-[A-Za-z0-9_-]{20,}",
    r"hf_[A-Za-z0-9]{30,}",
    r"sk-[A-Za-z0-9_-]{24,}",
    r"xox[abpr]-[A-Za-z0-9-]{20,}",
    r"eyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
)
_COMMON_NAMES = {
    "root",
    "user",
    "users",
    "admin",
    "home",
    "test",
    "guest",
    "ubuntu",
    "debian",
    "runner",
    "jovyan",
    "localhost",
}
# an absolute path below a well-known top folder, not inside base64 or a URL
_PATH = re.compile(
    r"(?<![\w+=./:-])/(?:tmp|var|home|root|Users|opt|mnt|srv|usr|etc|work|private|scratch|media|Volumes|workspace)"
    r"(?:/[^\s\"'<>()\[\]{},;:&|\\]+)+"
)
_WINDOWS = re.compile(r"\b[A-Z]:\\(?:[^\s\\\"'<>]+\\)+([^\s\\\"'<>]*)")


def scrub(text: str) -> str:
    """``text`` without secrets, absolute paths, and the names of this user and this machine.

    Paths in the project become relative, paths in installed packages begin at ``site-packages``, of others the last part
    stays behind an ellipsis.
    """
    secrets, names = _patterns()
    text = secrets.sub(HIDDEN, text)
    text = _PATH.sub(lambda match: _short(match[0]), text)
    text = _WINDOWS.sub(lambda match: f"…\\{match[1]}", text)
    return names.sub(HIDDEN, text) if names else text


def _short(path):
    for root in _roots():
        if path == root:
            return "."
        if path.startswith(root + "/"):
            path = path[len(root) + 1 :]
            break
    if "site-packages/" in path:
        return path[path.index("site-packages/") :]
    return path if not path.startswith("/") else "…/" + path.rstrip("/").rsplit("/", 1)[-1]


@lru_cache(maxsize=1)
def _roots():
    root = project_root()
    return tuple(dict.fromkeys((str(root), os.path.realpath(root), str(Path.cwd()))))


@lru_cache(maxsize=1)
def _patterns():
    values = [
        value
        for name, value in os.environ.items()
        if _SECRET_NAME.search(name) and len(value) >= 8 and not value.isdigit()
    ]
    values = [value for value in values if not os.path.exists(value)]
    secrets = re.compile(
        "|".join([*_SECRET_FORM, *(re.escape(value) for value in sorted(values, key=len, reverse=True))])
    )
    names = set()
    try:
        names |= {getpass.getuser(), socket.gethostname()}
    except (OSError, KeyError):
        pass
    names = {name for name in names if len(name) >= 5 and name.lower() not in _COMMON_NAMES and name != sys.platform}
    found = "|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in sorted(names, key=len, reverse=True))
    return secrets, re.compile(found) if found else None
