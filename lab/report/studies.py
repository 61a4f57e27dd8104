"""The notebooks of the project, and how far each method of the catalog is: module, tests, claims, notebook, page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import claims
from lab.report.store import project_root

PARTS = ("module", "tests", "claims", "notebook", "page")


def notebooks_of(names: Sequence[str] = (), *, front: bool = False, every: bool = False) -> list[Path]:
    """Notebook files: the named files and folders, those marked ``{"lab": {"front": true}}``, or all.

    Raises:
        ValueError: a name that is neither a notebook nor a folder.
    """
    folder = project_root() / "notebooks"
    if names:
        found = []
        for name in names:
            path = Path(name) if Path(name).exists() else project_root() / name
            if path.is_dir():
                found += _in(path)
            elif path.suffix == ".ipynb" and path.is_file():
                found.append(path)
            else:
                raise ValueError(f"{name!r} is neither a notebook nor a folder")
        return list(dict.fromkeys(found))
    everything = _in(folder)
    if front:
        return [path for path in everything if is_front(path)]
    return everything if every else []


def is_front(path: Path) -> bool:
    """Whether a notebook belongs to the front page."""
    text = path.read_text(encoding="utf-8")
    return '"front"' in text and bool(json.loads(text).get("metadata", {}).get("lab", {}).get("front"))


@dataclass(frozen=True)
class Study:
    """One method of the catalog and which of its parts exist."""

    method: claims.Method
    parts: dict[str, bool]

    @property
    def missing(self) -> list[str]:
        """The parts that do not exist yet."""
        return [name for name in PARTS if not self.parts[name]]

    @property
    def works(self) -> bool:
        """Whether module, tests, measured claims, notebook and page all exist."""
        return not self.missing


def studies(room: str | None = None) -> list[Study]:
    """Every method of the catalog with its parts, found by reading files; nothing is imported."""
    return [_study(method) for method in claims.methods(room)]


def _study(method):
    root = project_root()
    module = root.joinpath(*method.module.split(".")) if method.module else None
    tests = root / "tests" / method.room
    stem = method.module.split(".")[-1]
    parts = {
        "module": bool(module) and (module.with_suffix(".py").is_file() or (module / "__init__.py").is_file()),
        "tests": tests.is_dir()
        and any(stem in path.name or stem in path.read_text(encoding="utf-8") for path in tests.rglob("test_*.py")),
        "claims": _claims_measured(root / "lab" / method.room, method),
        "notebook": bool(method.notebook) and (root / method.notebook).is_file(),
        "page": bool(method.page) and _page(root / "widgets" / "pages", method.page),
    }
    return Study(method, parts)


def _page(folder, name):
    return (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()


def _claims_measured(folder, method):
    files = [folder / "claims.py", *sorted((folder / "claims").glob("*.py"))]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files if path.is_file())
    wanted = [(claim.id, *claim.aliases) for claim in method.claims if not claim.untestable]
    return bool(method.claims) and all(any(f'"{name}"' in text for name in names) for names in wanted)


def _in(folder):
    return sorted(
        path
        for path in folder.rglob("*.ipynb")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
