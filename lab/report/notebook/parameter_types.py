"""The kinds of value that a notebook parameter can have: read from an annotation, checked, written as source again."""

from __future__ import annotations

import ast
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import checks

_SIMPLE = {
    "int": "integer",
    "float": "number",
    "str": "text",
    "bool": "boolean",
    "None": "none",
    "Path": "path",
    "Any": "any",
}
_WORDS = {
    "integer": "an integer",
    "number": "a finite number",
    "text": "text",
    "boolean": "true or false",
    "none": "none",
}
_WORDS |= {"path": "a path", "any": "any plain value", "real": "a finite number"}


@dataclass(frozen=True)
class Kind:
    """One kind of value.

    ``name`` is ``integer``, ``number``, ``real`` (an integer or a number, kept as it came), ``text``, ``boolean``, ``none``,
    ``path``, ``any``, ``choice`` (with ``options``), ``enum`` (``options`` are member values, ``label`` the class),
    ``list``, ``tuple``, ``dict`` (``items`` holds the kinds of the elements) or ``union`` (of ``items``).
    """

    name: str
    options: tuple = ()
    items: tuple[Kind, ...] = ()
    label: str = ""

    @property
    def is_numeric(self) -> bool:
        """Whether a range in the comment makes sense."""
        return self.name in ("integer", "number", "real") or any(item.is_numeric for item in self.items)

    def describe(self) -> str:
        """The kind in words."""
        if self.name in ("choice", "enum"):
            return "one of " + ", ".join(map(repr, self.options))
        if self.name == "list":
            return f"a list of {_plural(self.items[0])}" if self.items else "a list"
        if self.name == "tuple":
            return "a tuple of (" + ", ".join(item.describe() for item in self.items) + ")" if self.items else "a tuple"
        if self.name == "dict":
            return "a dictionary"
        if self.name == "union":
            return " or ".join(item.describe() for item in self.items)
        return _WORDS[self.name]

    def accept(self, value: Any) -> Any:
        """``value`` in canonical form (plain JSON values); ``ValueError`` if it is of another kind."""
        return _ACCEPT[self.name](self, _plain(value))

    def parse(self, text: str) -> Any:
        """The value that a command-line ``text`` stands for, accepted."""
        return _parse(self, text)

    def source(self, value: Any) -> str:
        """Python source of an accepted value; paths and enum members are built again in the kernel."""
        if value is None:
            return "None"
        if self.name == "enum":
            return f"{self.label}({value!r})"
        if self.name == "path":
            return f"Path({value!r})"
        if self.name == "union":
            return next(item for item in self.items if _accepts(item, value)).source(value)
        if self.name == "list" and self.items:
            return "[" + ", ".join(self.items[0].source(item) for item in value) + "]"
        return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def kind_of_annotation(node: ast.expr, enums: dict[str, dict]) -> Kind:
    """The kind that an annotation stands for; ``ValueError`` if it is not in the whitelist."""
    if isinstance(node, ast.Constant):
        if node.value is None:
            return Kind("none")
        if isinstance(node.value, str):
            try:
                return kind_of_annotation(ast.parse(node.value, mode="eval").body, enums)
            except SyntaxError:
                pass
    if isinstance(node, (ast.Name, ast.Attribute)):
        name = ast.unparse(node).split(".")[-1]
        if name in enums:
            return Kind("enum", tuple(enums[name].values()), label=name)
        if name in _SIMPLE:
            return Kind(_SIMPLE[name])
        if name in ("list", "tuple", "dict", "List", "Tuple", "Dict"):
            return Kind(name.lower())
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([kind_of_annotation(node.left, enums), kind_of_annotation(node.right, enums)])
    if isinstance(node, ast.Subscript):
        name = ast.unparse(node.value).split(".")[-1]
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if name == "Literal":
            try:
                return Kind("choice", tuple(ast.literal_eval(item) for item in inner))
            except ValueError:
                pass
        elif name == "Optional" and len(inner) == 1:
            return _union([kind_of_annotation(inner[0], enums), Kind("none")])
        elif name == "Union":
            return _union([kind_of_annotation(item, enums) for item in inner])
        elif name in ("list", "List", "Sequence") and len(inner) == 1:
            return Kind("list", items=(kind_of_annotation(inner[0], enums),))
        elif name in ("tuple", "Tuple"):
            if len(inner) == 2 and isinstance(inner[1], ast.Constant) and inner[1].value is ...:
                return Kind("list", items=(kind_of_annotation(inner[0], enums),))
            return Kind("tuple", items=tuple(kind_of_annotation(item, enums) for item in inner))
        elif name in ("dict", "Dict", "Mapping") and len(inner) == 2:
            return Kind("dict", items=(kind_of_annotation(inner[1], enums),))
        elif name == "Annotated" and inner:
            return kind_of_annotation(inner[0], enums)
    raise ValueError(
        f"the annotation {ast.unparse(node)!r} is not one of int, float, str, bool, None, Path, Literal[...], list[...], "
        "tuple[...], dict[str, ...], Optional[...], a union, or an Enum defined in the cell"
    )


def kind_of_default(value: Any) -> Kind:
    """The kind that an unannotated default asks for."""
    if isinstance(value, bool):
        return Kind("boolean")
    if isinstance(value, (int, float)):
        return Kind("real")
    if isinstance(value, str):
        return Kind("text")
    if isinstance(value, (list, tuple)):
        return Kind("list")
    return Kind("dict") if isinstance(value, dict) else Kind("any")


def _union(kinds):
    flat = [inner for kind in kinds for inner in (kind.items if kind.name == "union" else (kind,))]
    return Kind("union", items=tuple(dict.fromkeys(flat)))


def _plural(kind):
    words = {"integer": "integers", "number": "finite numbers", "text": "texts", "boolean": "booleans", "path": "paths"}
    return words.get(kind.name, kind.describe())


def _plain(value):
    """Paths as text, enum members as their values, numpy scalars as Python's."""
    if isinstance(value, Path):
        return str(value)
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(type(value), "__members__"):
        return value.value
    return value


def _accept_integer(kind, value):
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(value)
    return value


def _accept_number(kind, value):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(value)
    return value if kind.name == "real" else float(value)


def _accept_type(*types):
    def accept(kind, value):
        if not isinstance(value, types):
            raise ValueError(value)
        return value

    return accept


def _accept_path(kind, value):
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(value)
    return value


def _accept_choice(kind, value):
    for option in kind.options:
        if type(option) is type(value) and option == value:
            return option
    raise ValueError(checks.did_you_mean(value, kind.options))


def _accept_list(kind, value):
    if not isinstance(value, (list, tuple)):
        raise ValueError(value)
    return [kind.items[0].accept(item) if kind.items else _accept_any(kind, item) for item in value]


def _accept_tuple(kind, value):
    if not isinstance(value, (list, tuple)) or (kind.items and len(value) != len(kind.items)):
        raise ValueError(value)
    return (
        tuple(item.accept(part) for item, part in zip(kind.items, value))
        if kind.items
        else tuple(_accept_any(kind, v) for v in value)
    )


def _accept_dict(kind, value):
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(value)
    return {key: kind.items[0].accept(item) if kind.items else _accept_any(kind, item) for key, item in value.items()}


def _accept_any(kind, value):
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(value)
    if isinstance(value, (list, tuple)):
        return [_accept_any(kind, item) for item in value]
    if isinstance(value, dict):
        return _accept_dict(Kind("dict"), value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(value)


def _accept_union(kind, value):
    for item in kind.items:
        if _accepts(item, value):
            return item.accept(value)
    hints = [checks.did_you_mean(value, item.options) for item in kind.items if item.options]
    raise ValueError(next(filter(None, hints), ""))


def _accepts(kind, value):
    try:
        kind.accept(value)
    except (ValueError, TypeError):
        return False
    return True


_ACCEPT = {
    "integer": _accept_integer,
    "number": _accept_number,
    "real": _accept_number,
    "text": _accept_type(str),
    "boolean": _accept_type(bool),
    "none": _accept_type(type(None)),
    "path": _accept_path,
    "any": _accept_any,
    "choice": _accept_choice,
    "enum": _accept_choice,
    "list": _accept_list,
    "tuple": _accept_tuple,
    "dict": _accept_dict,
    "union": _accept_union,
}


def _parse(kind, text):
    stripped = text.strip()
    if kind.name == "integer":
        if not re.fullmatch(r"[+-]?(0|[1-9]\d*)", stripped):
            raise ValueError(text)
        return int(stripped)
    if kind.name in ("number", "real"):
        number = float(stripped)
        return kind.accept(int(stripped) if kind.name == "real" and re.fullmatch(r"[+-]?\d+", stripped) else number)
    if kind.name in ("text", "path"):
        return kind.accept(text)
    if kind.name == "boolean":
        if stripped.lower() not in ("true", "false"):
            raise ValueError(text)
        return stripped.lower() == "true"
    if kind.name == "none":
        if stripped.lower() not in ("none", "null"):
            raise ValueError(text)
        return None
    if kind.name in ("choice", "enum"):
        for option in kind.options:
            if str(option) == stripped:
                return option
        raise ValueError(checks.did_you_mean(stripped, kind.options))
    if kind.name == "union":
        for item in sorted(
            kind.items,
            key=lambda item: (
                ("none", "choice", "enum", "boolean", "integer", "number").index(item.name)
                if item.name in ("none", "choice", "enum", "boolean", "integer", "number")
                else 9
            ),
        ):
            try:
                return _parse(item, text)
            except ValueError:
                continue
        return kind.accept(text)
    if kind.name == "list" and not stripped.startswith(("[", "(")):
        inner = kind.items[0] if kind.items else Kind("any")
        return [_parse(inner, part) for part in stripped.split(",") if part.strip()]
    if kind.name == "any":
        try:
            return kind.accept(_literal(stripped))
        except ValueError:
            return text
    return kind.accept(_literal(stripped))


def _literal(text):
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        raise ValueError(text) from None
