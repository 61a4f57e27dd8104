"""What a run depends on, and whether a stored run still answers for it.

A run is defined before it starts by its notebook's cells and kernel, its resolved parameters, the content of the files they
name, the project modules that the cells import (transitively, from the syntax tree), the lock file, the thread count and the
device class: their hash is its id. While it runs, the modules, packages and data files it really used are recorded; a
stored run is reused only if all of these are unchanged too.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.report.notebook.trace import listing, matching
from lab.report.store import provenance
from lab.report.store.layout import Run, project_root
from lab.report.store.redaction import is_secret
from lab.source import PACKAGES, file_hash, hash_of, loaded_by, modules_of, path_of, text_hash

_CHANGED = "changed during the run"


def cell_hashes(content: Mapping[str, Any]) -> list[str]:
    """A short hash of each cell of a notebook: its type, tags and source. Outputs and other metadata do not count."""
    found = []
    for cell in content["cells"]:
        tags = sorted(cell.get("metadata", {}).get("tags", []))
        found.append(text_hash(json.dumps([cell["cell_type"], tags, "".join(cell["source"])]))[:16])
    return found


def definition(
    content: Mapping[str, Any], parameters: Mapping[str, Any], files: Mapping[str, Path], threads: int
) -> dict[str, Any]:
    """Everything that defines a run before it starts, as plain values (``files``: path parameters that name a file)."""
    code = [
        re.sub(r"^\s*[%!].*$", "", "".join(cell["source"]), flags=re.M)
        for cell in content["cells"]
        if cell["cell_type"] == "code"
    ]
    modules = modules_of("\n".join(filter(_parses, code)))
    return {
        "cells": cell_hashes(content),
        "kernel": kernel_of(content),
        "parameters": {key: _unsaid(key, value) for key, value in sorted(parameters.items()) if key not in files},
        "files": {name: content_hash(path) for name, path in sorted(files.items())},
        "modules": {name: hash_of(name)[:16] for name in sorted(modules)},
        "lock": provenance.lock_hash(),
        "device": provenance.device(),
        "threads": threads,
    }


def kernel_of(content: Mapping[str, Any]) -> str:
    """The name of the kernel that a notebook asks for; empty where it names none."""
    metadata = content.get("metadata")
    asked = metadata.get("kernelspec") if isinstance(metadata, Mapping) else None
    return str(asked.get("name") or "") if isinstance(asked, Mapping) else ""


def _unsaid(name, value):
    """A secret counts by a short hash: it tells two apart and is too short to guess from."""
    return f"hidden {text_hash(value)[:6]}" if isinstance(value, str) and is_secret(name) else value


def run_id(stem: str, wanted: Mapping[str, Any]) -> str:
    """The id of a run: the notebook's stem and ten digits of the hash of what defines it."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", stem).strip("-").lower()[:40] or "notebook"
    return f"{slug}-{text_hash(json.dumps(wanted, sort_keys=True, ensure_ascii=True))[:10]}"


def observed(used: Mapping[str, Any], *, began: float = math.inf) -> dict[str, Any]:
    """What a finished run really used, from what its kernel noted (:mod:`lab.report.notebook.trace`).

    An empty ``used`` is unknown: all of the project's modules count then. A file that was written after ``began`` (seconds
    since the epoch) may have been read before or after that: it never answers for the run. Of folders that were listed and
    patterns that were searched the found names count; ``unseen`` says what may have read files that nobody noted.
    """
    modules = used.get("modules", []) if used else sorted(_all_modules())
    root = project_root()
    files = {}
    for name in used.get("data", []):
        path = Path(name)
        if path.is_file():
            name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
            files[name] = _CHANGED if path.stat().st_mtime > began else file_hash(path)[:16]
    return {
        "modules": {name: _CHANGED if _written(name) > began else hash_of(name)[:16] for name in sorted(set(modules))},
        "packages": provenance.versions(used.get("packages", [])),
        "data": files,
        "folders": {folder: _listing_hash(folder) for folder in used.get("folders", [])},
        "patterns": [[*search, _matching_hash(*search)] for search in used.get("patterns", [])],
        "unseen": list(used.get("unseen", [])),
        "complete": bool(used),
    }


def _written(module):
    path = path_of(module)
    return path.stat().st_mtime if path else 0.0


def changes(run: Run, wanted: Mapping[str, Any], *, trust: bool = False) -> list[str]:
    """Why ``run`` no longer answers for ``wanted``, one sentence per input; empty if it does.

    A run that may have read files unseen answers for nothing, unless ``trust`` says that they are as they were.
    """
    if not run.ok:
        return [f"the stored run ended with status '{run.status}'"]
    had = run.info.get("definition", {})
    found = []
    if had.get("cells") != wanted["cells"]:
        found.append(_cells_changed(had.get("cells", []), wanted["cells"]))
    before, now = had.get("parameters", {}), wanted["parameters"]
    found += [
        f"parameter {name} was {before.get(name)!r}, now {now.get(name)!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    before, now = had.get("files", {}), wanted["files"]
    found += [
        f"the file of parameter {name} changed" for name in sorted({*before, *now}) if before.get(name) != now.get(name)
    ]
    before, now = had.get("modules", {}), wanted["modules"]
    found += [
        f"module {name} {_how(before.get(name), now.get(name))}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    found += [
        f"{key} was {had.get(key)!r}, now {wanted[key]!r}"
        for key in ("kernel", "lock", "device", "threads")
        if had.get(key) != wanted[key]
    ]
    seen = run.info.get("observed", {})
    known = set(before) | set(now)
    known |= loaded_by(known)  # what is in memory only because a package imports it answers for nothing
    for name, value in seen.get("modules", {}).items():
        current = hash_of(name)[:16]
        if value == _CHANGED or (name not in known and current != value):
            found.append(f"module {name} {value if value == _CHANGED else _how(value, current)}")
    if not seen.get("complete", False):
        new = sorted(set(_all_modules()) - set(seen.get("modules", {})))
        found += [f"module {name} is new and it is unknown what the run imported" for name in new]
    for name, value in seen.get("packages", {}).items():
        if provenance.version_of(name) != value:
            found.append(f"package {name} was {value}, now {provenance.version_of(name)}")
    for name, value in seen.get("data", {}).items():
        path = project_root() / name
        if not path.is_file():
            found.append(f"data file {path.name} is gone")
        elif file_hash(path)[:16] != value:
            found.append(f"data file {path.name} changed")
    for folder, value in seen.get("folders", {}).items():
        if _listing_hash(folder) != value:
            found.append(f"the folder {Path(folder).name} holds other files")
    for folder, pattern, recursive, value in seen.get("patterns", []):
        if _matching_hash(folder, pattern, recursive) != value:
            found.append(f"the pattern {pattern} finds other files")
    if not trust:
        found += [f"it is unknown which files the run read: {what}" for what in seen.get("unseen", [])]
    return found


def _listing_hash(folder):
    try:
        return text_hash(json.dumps(listing(folder)))[:16]
    except OSError:
        return "gone"


def _matching_hash(folder, pattern, recursive):
    return text_hash(json.dumps(matching(folder, pattern, recursive)))[:16]


def _parses(source):
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def _how(before, now):
    if before is None:
        return "is newly imported"
    if now is None:
        return "is no longer imported"
    return "is gone" if now == "missing" else "changed"


def _cells_changed(before, now):
    if len(before) != len(now):
        return f"the notebook had {len(before)} cells, now {len(now)}"
    different = [str(number) for number, (old, new) in enumerate(zip(before, now), 1) if old != new]
    return f"cell{'s' * (len(different) > 1)} {', '.join(different)} of the notebook changed"


def content_hash(path: Path) -> str:
    """A short hash of a file, or of the names and files in a folder."""
    if path.is_dir():
        entries = sorted(item for item in path.rglob("*") if item.is_file())
        return text_hash(json.dumps([[str(item.relative_to(path)), file_hash(item)] for item in entries]))[:16]
    return file_hash(path)[:16]


def _all_modules():
    root = project_root()
    for package in PACKAGES:
        for path in (root / package).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
