"""The notebooks of the project, and how far each method of the catalog is: module, tests, claims, notebook, page."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import claims
from lab.report.store.layout import project_root

PARTS = ("module", "tests", "claims", "notebook", "page", "own content")
PLACEHOLDER = "(Replace this text.)"  # what `lab new` writes into every file of a study


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
        """Whether module, tests, measured claims, notebook and page all exist and none is a template's."""
        return not self.missing


def studies(room: str | None = None) -> list[Study]:
    """Every method of the catalog with its parts, found by reading files; nothing is imported."""
    return [_study(method) for method in claims.methods(room)]


def places(method: claims.Method) -> dict[str, list[str]]:
    """Where the parts of a method stand, as paths relative to the project with lines: formula, code, tests, claims, ...

    The formula is in the docstring of the module; code lists the entries that the method's card names. A part that is not
    there yet has no places.
    """
    root, stem = project_root(), method.module.split(".")[-1]
    page = root / "widgets" / "pages" / f"{method.page}.py"
    folder = root / "lab" / method.room / "claims"
    figures = root / "widgets" / "figures" / method.room
    tests = sorted((root / "tests" / method.room).rglob("test_*.py"))
    found = {
        "formula": [_file_of(root, method.module)] if method.module else [],
        "code": [place for entry in method.entry if (place := _definition(root, *entry.split(":")))],
        "study": sorted((root / "lab" / method.room / "studies").glob(f"{method.id}*.py")),
        "tests": [path for path in tests if path.stem in (f"test_{stem}", f"test_{method.id}")] or [
            path for path in tests if f"{method.module} import" in path.read_text(encoding="utf-8")
        ],
        "claims": [folder / f"{method.id}{suffix}" for suffix in (".toml", ".py")],
        "notebook": [root / method.notebook] if method.notebook else [],
        "page": [page],
        "figures": [figures / f"{stem}.py"],
    }  # fmt: skip
    return {
        part: [str(path.relative_to(root)) if isinstance(path, Path) else path for path in paths if _is_there(path)]
        for part, paths in found.items()
    }


def _is_there(path):
    return path is not None and (isinstance(path, str) or path.is_file())


def _file_of(root, module):
    base = root.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _definition(root, module, name):
    """``path:line`` of a function or class, followed through imports of the same name."""
    path = _file_of(root, module)
    if path is None:
        return None
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name.split(".")[0]:
            return f"{path.relative_to(root)}:{node.lineno}"
        if isinstance(node, ast.ImportFrom) and any((alias.asname or alias.name) == name for alias in node.names):
            return _definition(root, node.module, name)
    return None


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
    parts["own content"] = not any(PLACEHOLDER in text for text in _texts(method))
    return Study(method, parts)


def _texts(method):
    """The text of every file of a method that `lab new` writes."""
    root, room, name = project_root(), method.room, method.id
    for path in (
        f"lab/{room}/{name}.py", f"lab/{room}/studies/{name}.py", f"lab/{room}/claims/{name}.py", f"lab/{room}/claims/{name}.toml",
        f"notebooks/{room}/{name}.ipynb", f"widgets/figures/{room}/{name}.py", f"widgets/pages/{name}.py",
    ):  # fmt: skip
        if (root / path).is_file():
            yield (root / path).read_text(encoding="utf-8")


def _page(folder, name):
    return (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()


def _claims_measured(folder, method):
    files = sorted((folder / "claims").glob("*.py"))
    text = "\n".join(path.read_text(encoding="utf-8") for path in files if path.is_file())
    wanted = [(claim.id, *claim.aliases) for claim in method.claims if not claim.untestable]
    return bool(method.claims) and all(any(f'"{name}"' in text for name in names) for names in wanted)


def _in(folder):
    return sorted(
        path
        for path in folder.rglob("*.ipynb")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
