"""The project's own source: its folder, which modules a piece of source imports (transitively, from the syntax tree, without
running it), and hashes of what modules do."""

from __future__ import annotations

import ast
import hashlib
from functools import lru_cache
from pathlib import Path

PACKAGES = ("lab", "widgets")


def project_root() -> Path:
    """The folder that holds ``lab`` and ``notebooks``; the current folder for an installed ``lab`` without them."""
    root = Path(__file__).resolve().parents[1]
    return root if (root / "pyproject.toml").exists() else Path.cwd()


def modules_of(source: str) -> set[str]:
    """The project modules that ``source`` imports, directly or through others.

    ``import lab`` followed by ``lab.topology.match`` counts as an import of ``lab.topology``. A module that is imported
    under a computed name is not seen here; the modules recorded at the end of a run complete the set.
    """
    waiting = [name for name in _named(source, ()) if name]
    found: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        path = path_of(module)
        package = tuple(module.split(".")) if path.name == "__init__.py" else tuple(module.split(".")[:-1])
        waiting += [name for name in _named_in_file(path, path.stat().st_mtime_ns, package) if name not in found]
    return found


def path_of(module: str) -> Path | None:
    """The file of a project module, or ``None``."""
    base = project_root().joinpath(*module.split("."))
    for candidate in (base / "__init__.py", base.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def hash_of(module: str) -> str:
    """A hash of what a module does: its syntax tree without docstrings and comments; a package's counts its catalog too.

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
    """A short hash of ``module`` and of all project modules that it imports, those below ``without`` left out."""
    path = path_of(module)
    if path is None:
        return "missing"
    found = sorted(modules_of(f"import {module}"))
    kept = [name for name in found if not any(name == left or name.startswith(f"{left}.") for left in without)]
    return text_hash("\n".join(f"{name} {_tree_hash_of(name)}" for name in kept))[:12]


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, remembered by its size and time."""
    path = Path(path)
    status = path.stat()
    return _file_hash(str(path), status.st_size, status.st_mtime_ns)


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
    return hashlib.sha256(_dump(tree).encode()).hexdigest()


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


@lru_cache(maxsize=4096)
def _named_in_file(path, time, package):
    try:
        return _named(path.read_text(encoding="utf-8"), package)
    except (SyntaxError, UnicodeDecodeError):
        return set()


def _named(source, package):
    """Dotted project names that one source imports, resolved to existing modules with all their parent packages."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return {module for name in PACKAGES if name in source for module in [name] if path_of(name)}
    names: set[str] = set()
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names.add(alias.name)
                aliases[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                full = ".".join([*base, alias.name])
                names |= {".".join(base), full}
                aliases[alias.asname or alias.name] = full
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            chain = _chain(node)
            if chain and chain[0] in aliases:
                names.add(".".join([aliases[chain[0]], *chain[1:]]))
    return set().union(*map(_existing, names)) if names else set()


def _chain(node):
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else None


@lru_cache(maxsize=4096)
def _existing(name):
    parts = name.split(".")
    if parts[0] not in PACKAGES:
        return frozenset()
    found = set()
    for length in range(1, len(parts) + 1):
        module = ".".join(parts[:length])
        if path_of(module) is None:
            break
        found.add(module)
    return frozenset(found)
