"""The project's own source: its folder, which modules a piece of source imports (transitively, from the syntax tree, without
running it), and hashes of what modules do."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

PACKAGES = ("lab", "widgets")


def project_root() -> Path:
    """The folder that holds ``lab`` and ``notebooks``; the current folder for an installed ``lab`` without them."""
    root = Path(__file__).resolve().parents[1]
    return root if (root / "pyproject.toml").exists() else Path.cwd()


def modules_of(source: str) -> set[str]:
    """The project modules whose content ``source`` uses, directly or through others.

    Names are followed to where they are defined: ``lab.losses.EnsLoss`` and ``from lab.losses import EnsLoss`` count
    ``lab.losses.ensloss`` and what that uses, not the package's other re-exports. A package that is used as a whole
    (``getattr(lab.losses, name)``) counts with all of them, and ``import_module(f"lab.losses.{name}")`` with all of its
    modules. What is imported under a name computed otherwise is not seen here; the modules recorded at the end of a run
    complete the set.
    """
    return _closure(_used(source, ()), _used_by)


def loaded_by(modules: Iterable[str]) -> set[str]:
    """All project modules that are in memory once ``modules`` are imported and every import in them was met.

    More than :func:`modules_of`: a package's ``__init__`` brings every module that it re-exports from.
    """
    return _closure(set(modules), _imported_by)


def _closure(waiting, neighbours):
    waiting, found, stamp = set(waiting), set(), _stamp()
    while waiting:
        module = waiting.pop()
        if path_of(module) is not None and module not in found:
            found.add(module)
            waiting |= neighbours(module, path_of(module).stat().st_mtime_ns, stamp) - found
    return found


def _stamp():
    """When the packages last changed: what a name means depends on their ``__init__`` files and on which modules there are."""
    files = [path for package in PACKAGES for path in (project_root() / package).rglob("__init__.py")]
    return max(
        (time for path in files for time in (path.stat().st_mtime_ns, path.parent.stat().st_mtime_ns)), default=0
    )


def path_of(module: str) -> Path | None:
    """The file of a project module, or ``None``."""
    base = project_root().joinpath(*module.split("."))
    for candidate in (base / "__init__.py", base.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def hash_of(module: str) -> str:
    """A hash of what a module does: its syntax tree without docstrings, comments and argument types, with a package's catalog.

    ``"missing"`` if the file is gone.
    """
    path = path_of(module)
    if path is None:
        return "missing"
    status = path.stat()
    digest = _tree_hash(str(path), status.st_size, status.st_mtime_ns)
    catalog = path.parent / "catalog.toml"
    if path.name == "__init__.py" and catalog.exists():
        digest = text_hash(digest + file_hash(catalog))
    return digest


def code_hash(module: str, *, without: tuple[str, ...] = ()) -> str:
    """A short hash of ``module`` and of all project modules that it uses; those below ``without`` do not count, nor does what
    only they use."""
    path = path_of(module)
    if path is None:
        return "missing"

    def left_out(name):
        return any(name == left or name.startswith(f"{left}.") for left in without)

    def used_by(name, time, stamp):
        return set() if left_out(name) else _used_by(name, time, stamp)

    kept = sorted(name for name in _closure({module}, used_by) if not left_out(name))
    return text_hash("\n".join(f"{name} {_tree_hash_of(name)}" for name in kept))[:12]


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, remembered by its size and time."""
    path = Path(path)
    status = path.stat()
    return _file_hash(str(path), status.st_size, status.st_mtime_ns)


def committed_table(name: str, *, command: str = "make bench"):
    """A table of ``data/benchmarks`` as a frame, ``"persistence.csv"`` for example; ``command`` is what writes it.

    Raises:
        FileNotFoundError: the project's data folder holds no such table.
    """
    import pandas as pd

    path = project_root() / "data" / "benchmarks" / name
    if not path.exists():
        raise FileNotFoundError(f"no table at data/benchmarks/{name}; `{command}` writes it")
    return pd.read_csv(path)


def text_hash(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _tree_hash_of(module):
    path = path_of(module)
    status = path.stat()
    return _tree_hash(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=65536)
def _tree_hash(path, size, time):
    source = Path(path).read_bytes()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return hashlib.sha256(source).hexdigest()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node, False
        ):
            node.body = node.body[1:]
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.decorator_list:
            _strip_annotations(node)
    return hashlib.sha256(_dump(tree).encode()).hexdigest()


def _strip_annotations(function):
    """Drop the types of a function's arguments and result: a decorator may read them, the function itself never does."""
    function.returns = None
    for argument in ast.walk(function.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None


def _dump(node):
    """A syntax tree as text that is the same under every supported Python: empty fields, which come and go, are left out."""
    if isinstance(node, ast.AST):
        parts = (f"{name}={_dump(value)}" for name, value in ast.iter_fields(node) if value not in (None, []))
        return f"{type(node).__name__}({','.join(parts)})"
    if isinstance(node, list):
        return f"[{','.join(map(_dump, node))}]"
    return repr(node)


@lru_cache(maxsize=65536)
def _file_hash(path, size, time):
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _tree_of(module):
    try:
        return ast.parse(path_of(module).read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return ast.Module([], [])


def _package_of(module):
    return tuple(module.split(".")) if _is_package(module) else tuple(module.split(".")[:-1])


def _is_package(module):
    path = path_of(module)
    return path is not None and path.name == "__init__.py"


@lru_cache(maxsize=4096)
def _used_by(module, time, stamp):
    return frozenset(_used(ast.unparse(_tree_of(module)), _package_of(module)))


@lru_cache(maxsize=4096)
def _imported_by(module, time, stamp):
    """Parents of a module and every module that an import anywhere in it names."""
    parts = module.split(".")
    found = {".".join(parts[:length]) for length in range(1, len(parts))}
    tree = _tree_of(module)
    told = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    unmet = {id(node) for block in told for node in ast.walk(block)}  # what only editors and type checkers read
    for node in ast.walk(tree):
        for base, name in () if id(node) in unmet else _names_of(node, _package_of(module)):
            found |= {base, f"{base}.{name}" if name else base}
    return frozenset(name for name in found if path_of(name) is not None)


def _names_of(node, package):
    """``(module, name)`` pairs of an import statement, ``name`` empty for a plain import."""
    if isinstance(node, ast.Import):
        return [(alias.name, "") for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = list(package[: len(package) - node.level + 1]) if node.level else []
        base += node.module.split(".") if node.module else []
        return [(".".join(base), alias.name) for alias in node.names]
    return []


def _used(source, package):
    """Modules that one source uses by name, re-exports followed."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return {name for name in PACKAGES if name in source and path_of(name)}
    aliases: dict[str, str] = {}
    found: set[str] = set()
    for node in ast.walk(tree):
        for (base, name), alias in zip(_names_of(node, package), getattr(node, "names", ())):
            full = f"{base}.{name}" if name else base
            if full.split(".")[0] not in PACKAGES:
                continue
            if name == "*":
                found.add(base)
            elif alias.asname or name:
                aliases[alias.asname or name] = full
            else:
                aliases[full.split(".")[0]] = full.split(".")[0]
            if name != "*" and not _is_package(full):
                found |= _resolved(full)
        if isinstance(node, ast.Call) and _called(node) == "import_module" and node.args:
            found |= _computed(node.args[0])
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Attribute, ast.Name)) and id(node) not in inner:
            chain = _chain(node)
            if chain and chain[0] in aliases and not isinstance(node.ctx, ast.Store):
                full = ".".join([aliases[chain[0]], *chain[1:]])
                if full not in PACKAGES:
                    found |= _resolved(full)
    return found


def _called(node):
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _computed(name):
    """Modules that ``f"lab.losses.{name}"`` may stand for."""
    parts = name.values if isinstance(name, ast.JoinedStr) else []
    if len(parts) != 2 or not isinstance(parts[0], ast.Constant) or not parts[0].value.endswith("."):
        return set()
    package = parts[0].value.rstrip(".")
    if not _is_package(package) or package in PACKAGES:
        return set()
    return {f"{package}.{path.stem}" for path in path_of(package).parent.glob("*.py") if path.stem != "__init__"}


def _resolved(name):
    """The module that holds a dotted name, re-exports of packages followed."""
    parts = name.split(".")
    if parts[0] not in PACKAGES:
        return set()
    length = next((k for k in range(len(parts), 0, -1) if path_of(".".join(parts[:k])) is not None), 0)
    module = ".".join(parts[:length])
    if length == len(parts) or not _is_package(module):
        return {module} - set(PACKAGES) if length else set()
    exported = _exports(module, path_of(module).stat().st_mtime_ns).get(parts[length])
    return {module} - set(PACKAGES) if exported is None else _resolved(exported)


@lru_cache(maxsize=1024)
def _exports(package, time):
    """What a package's ``__init__`` imports: ``{name: where it stands}``."""
    found = {}
    for node in ast.walk(_tree_of(package)):
        for (base, name), alias in zip(_names_of(node, _package_of(package)), getattr(node, "names", ())):
            if name and name != "*" and base != package:
                found[alias.asname or name] = f"{base}.{name}"
    return found


def _chain(node):
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else None
