"""Keeps what belongs to one machine or person out of reports: absolute paths, user names, host names and secrets.

Secrets are taken out of a run before it is stored (:func:`hide_secrets`): later, the environment that holds them may be gone.
Paths and names are taken out of pages (:func:`scrub`).
"""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from lab.report.store.layout import project_root

HIDDEN = "[hidden]"
_SECRET_NAME = re.compile(
    r"TOKEN(?!I[ZS])|SECRET|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL"
    r"|(?:_|^)(?:KEY|PAT|DSN|AUTH)$",
    re.I,
)
_KEY = r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)-----END [A-Z ]*PRIVATE KEY-----"
_SECRET_FORM = [
    re.compile(form)
    for form in (
        r"(?<![\w+/=-])AKIA[0-9A-Z]{16}(?![\w+/=-])",  # by itself: numbers of a figure in base64 hold these letters too
        r"gh[pousr]_[A-Za-z0-9]{30,}",
        r"github_pat_[A-Za-z0-9_]{40,}",
        r"glpat-[A-Za-z0-9_-]{20,}",
        r"hf_[A-Za-z0-9]{30,}",
        r"sk-[A-Za-z0-9_-]{24,}",
        r"xox[abpr]-[A-Za-z0-9-]{20,}",
        r"eyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
        _KEY,
        r"(?<=://)[^\s/:@\"'<>\\]+:[^\s/:@\"'<>\\]+(?=@)",
    )
]
_MARKED = re.compile(_KEY)
_ADDRESS = re.compile(r'(\s(?:href|src)="[^"]*")')
_COMMON_NAMES = set("root user users admin home test guest ubuntu debian runner jovyan localhost".split())
# an absolute path below a well-known top folder, not inside base64 or a URL
_TOP = (
    "tmp|var|home|root|Users|opt|mnt|srv|usr|etc|work|private|scratch|media|Volumes|workspace|data|nfs|gpfs|lustre|cluster|"
    "projects?|storage|run|net|export|app|content|kaggle"
)
_PATH = re.compile(rf"(?<![\w+=./:~…-])/(?:{_TOP})(?:/[^\s\"'<>()\[\]{{}},;:&|\\]+)+")
_HOME = re.compile(r"(?<![\w+=./:-])/(?:home|Users)/[^\s\"'<>()\[\]{},;:&|\\/]+|\b[A-Z]:\\+Users\\+[^\s\\\"'<>/]+")
_WINDOWS = re.compile(r"(?:\b[A-Z]:|~)\\+(?:[^\s\\\"'<>]+\\+)+([^\s\\\"'<>]*)")


def scrub(text: str) -> str:
    """``text`` without secrets, absolute paths, and the names of this user and this machine.

    Paths in the project become relative, paths in installed packages begin at ``site-packages``, home folders become ``~``,
    of others the last part stays behind an ellipsis.
    """
    text = without_secrets(text)
    for known, short in _known():
        text = known.sub(short, text)
    text = _PATH.sub(lambda match: _short(match[0]), text)
    text = _WINDOWS.sub(lambda match: f"…\\{match[1]}", _HOME.sub("~", text))
    names = _names()
    return names.sub(HIDDEN, text) if names else text


def scrub_page(html: str) -> str:
    """:func:`scrub` of a whole page: nothing that reaches over a tag or a quotation mark is taken out, and addresses stay.

    Otherwise a stranger's text could make a handler of an attribute, or a script of an address, by what is missing then.
    """
    parts = _ADDRESS.split(html)
    return "".join(part if place % 2 else scrub(_MARKED.sub(_apart, part)) for place, part in enumerate(parts))


def _apart(match):
    """A key between two tags, in pieces, so that its ends are no longer seen as one."""
    return match[0] if not re.search(r'[<>"]', match[0]) else match[0].replace("-----BEGIN", "----- BEGIN")


def without_secrets(text: str) -> str:
    """``text`` without the values of secret environment variables (also as JSON or HTML) and without what looks like a key."""
    for value in _secrets():
        text = text.replace(value, HIDDEN)
    for form in _SECRET_FORM:
        text = form.sub(HIDDEN, text)
    return text


def is_secret(name: str) -> bool:
    """Whether a parameter or variable of this name holds a secret: a password, a token, a key."""
    return bool(_SECRET_NAME.search(name))


# of run.json what the lab itself writes, not the notebook or its user
_STRUCTURE = {"schema", "id", "notebook", "path", "status", "sweep", "kernel", "started", "observed", "provenance"}


def hide_secrets(folder: Path, more: Iterable[str] = ()) -> None:
    """Take the secrets of this process's environment, and ``more``, out of the files of a run that is to be stored.

    Of JSON the texts are cleaned, never keys or structure: a secret may be a word that stands there too.
    """
    own = _shown(value for value in more if len(value) >= 4)

    def clean(text):
        text = without_secrets(text)
        for value in own:
            text = text.replace(value, HIDDEN)
        return text

    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        if path.name == "run.json":
            found = _json(text, lambda info: _clean_info(info, clean), indent=1)
        elif path.suffix in (".json", ".ipynb"):
            found = _json(text, lambda value: cleaned(value, clean), indent=1 if path.suffix == ".ipynb" else None)
        elif path.suffix == ".jsonl":
            lines = (_json(line, lambda value: cleaned(value, clean)) or clean(line) for line in text.splitlines())
            found = "".join(line + "\n" for line in lines)
        else:
            found = None
        found = clean(text) if found is None else found
        if found != text:
            path.write_text(found, encoding="utf-8", errors="surrogateescape")


def _json(text, change, indent=None):
    """JSON with its value changed, as it was where nothing changed; ``None`` for what is no JSON."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    found = change(value)
    if found == value:
        return text
    return json.dumps(found, indent=indent, ensure_ascii=False, separators=(",", ":") if indent is None else None)


def cleaned(value: Any, clean: Callable[[str], str]) -> Any:
    """``value`` with every text in it cleaned; keys stay."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [cleaned(item, clean) for item in value]
    if isinstance(value, dict):
        return {key: cleaned(item, clean) for key, item in value.items()}
    return value


def _clean_info(info, clean):
    found = {key: value if key in _STRUCTURE else cleaned(value, clean) for key, value in info.items()}
    if "definition" in info:
        parameters = cleaned(info["definition"].get("parameters", {}), clean)
        found["definition"] = {**info["definition"], "parameters": parameters}
    return found


def _short(path):
    for root in _roots():
        if path == root:
            return "."
    if "site-packages/" in path:
        return path[path.index("site-packages/") :]
    if _HOME.fullmatch(path):
        return "~"
    return "…/" + path.rstrip("/").rsplit("/", 1)[-1]


@lru_cache(maxsize=1)
def _known():
    """The project, the current folder and the home folder as patterns with what stands for them; they may hold spaces."""
    home = os.path.expanduser("~").rstrip("/\\")
    found = [(re.compile(rf"(?<![\w+=./:-]){re.escape(root)}/"), "") for root in _roots()]
    if len(home) > 3 and home not in _roots():
        found.append((re.compile(rf"(?<![\w+=./:-]){re.escape(home)}(?![\w-])"), "~"))
    return found


@lru_cache(maxsize=1)
def _roots():
    root = project_root()
    return [path for path in dict.fromkeys((str(root), os.path.realpath(root), str(Path.cwd()))) if len(path) > 3]


@lru_cache(maxsize=1)
def _secrets():
    return _shown(
        value
        for name, value in os.environ.items()
        if is_secret(name) and len(value) >= 8 and not value.isdigit() and not os.path.exists(value)
    )


def _shown(values):
    """Values as they are, as Python shows them, and as they stand in JSON and HTML, the longest first."""
    found = set(values)
    found |= {repr(value)[1:-1] for value in found} | {escape(value) for value in found}
    found |= {json.dumps(value, ensure_ascii=False)[1:-1] for value in found}
    found |= {value.replace("<", "\\u003c").replace(">", "\\u003e") for value in found}
    return sorted(found, key=len, reverse=True)


@lru_cache(maxsize=1)
def _names():
    names = set()
    try:
        names |= {getpass.getuser(), socket.gethostname()}
    except (OSError, KeyError):
        pass
    names = {name for name in names if len(name) >= 5 and name.lower() not in _COMMON_NAMES and name != sys.platform}
    found = "|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in sorted(names, key=len, reverse=True))
    return re.compile(found) if found else None
