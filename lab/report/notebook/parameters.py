"""The typed parameters of a notebook, read from the syntax tree and checked before a kernel starts.

The first code cell tagged ``parameters`` declares them::

    profile: Literal["smoke", "default", "full"] = "default"
    seeds: int = 5                     # 1..50
    width: float = 0.5                 # 0..1 [mm] width of the smoothing kernel
    sizes: list[int] = [8, 16]         # 2..512
    image: Path | None = None

Nothing of the cell is executed: annotations are a whitelist of ``int``, ``float``, ``str``, ``bool``, ``None``, ``Path``,
``Literal[...]``, ``list[...]``, ``tuple[...]``, ``dict[str, ...]``, ``Optional[...]``, unions and ``Enum`` classes that the
cell itself defines. A trailing comment holds the range ``low..high`` (either end may be missing), the unit in brackets and
a sentence. Without annotation the kind of the default is wanted, as plain papermill notebooks have it.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import checks
from lab.report.notebook.parameter_types import Kind, kind_of_annotation, kind_of_default

_MOST_BITS = 4096  # of a number that a default computes, so that opening a notebook costs nothing


class ParameterError(ValueError):
    """A parameter that a notebook does not take, or a value that it refuses."""


class Raw(str):
    """Text that is the value itself, not the words of a command line for one."""


@dataclass(frozen=True)
class Parameter:
    """One declared parameter: its kind, default, range, unit and the place where it stands."""

    name: str
    kind: Kind
    default: Any
    low: float | None = None
    high: float | None = None
    unit: str = ""
    help: str = ""
    cell: int = 0
    line: int = 0
    computed: bool = False  # an unannotated default that is an expression: known only in the kernel

    def describe(self) -> str:
        """The declaration in words, for example ``integer from 1 to 50``."""
        words = self.kind.describe()
        if self.low is not None and self.high is not None:
            words += f" from {self.low:g} to {self.high:g}"
        elif self.low is not None:
            words += f" of at least {self.low:g}"
        elif self.high is not None:
            words += f" of at most {self.high:g}"
        return words + (f" [{self.unit}]" if self.unit else "")

    def accept(self, value: Any, *, text: bool = False) -> Any:
        """``value`` in canonical form; ``text=True`` reads it from a command line first.

        Raises:
            ParameterError: naming the parameter, what came, what is wanted and where it is declared.
        """
        try:
            reads = text and isinstance(value, str) and not isinstance(value, Raw)
            accepted = (
                self.kind.parse(value) if reads else self.kind.accept(str(value) if isinstance(value, Raw) else value)
            )
            self._within(accepted)
        except (ValueError, TypeError) as error:
            came = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
            raise ParameterError(
                f"parameter {self.name!r} must be {self.describe()}, got {came}"
                f"{error.args[0] if error.args and str(error.args[0]).startswith(';') else ''}"
                f" (declared in cell {self.cell}, line {self.line})"
            ) from None
        return accepted

    def _within(self, value):
        if isinstance(value, (list, tuple)):
            for item in value:
                self._within(item)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            if (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
                raise ValueError(value)


@dataclass(frozen=True)
class Schema:
    """The declared parameters of one notebook, in order; ``cell`` is the number of the parameters cell or ``None``."""

    notebook: str
    parameters: dict[str, Parameter] = field(default_factory=dict)
    cell: int | None = None

    def resolve(self, given: Mapping[str, Any], *, text: bool = False) -> dict[str, Any]:
        """All parameters with their values: the defaults, overridden by ``given``.

        Raises:
            ParameterError: an unknown name (with the nearest one and the list) or a refused value.
        """
        for name in given:
            if name not in self.parameters:
                if not self.parameters:
                    raise ParameterError(
                        f"{self.notebook} has no parameters, got {name!r}; tag its first code cell 'parameters'"
                    )
                hint = checks.did_you_mean(name, self.parameters)
                raise ParameterError(
                    f"{self.notebook} has no parameter {name!r}{hint}; it takes {', '.join(self.parameters)}"
                )
        return {
            name: parameter.accept(given[name], text=text) if name in given else parameter.default
            for name, parameter in self.parameters.items()
            if name in given or not parameter.computed
        }

    def source(self, values: Mapping[str, Any]) -> str:
        """Python source that sets ``values``: what stands in the injected cell."""
        lines = ["# Parameters"]
        lines += [f"{name} = {self.parameters[name].kind.source(value)}" for name, value in values.items()]
        return "\n".join(lines) + "\n"


def read_parameters(notebook: str | Path | Mapping) -> Schema:
    """The schema of a notebook (a path or its JSON as a mapping).

    Raises:
        ValueError: not a notebook, two parameters cells, an annotation outside the whitelist, a default outside its range.
    """
    content, name = _content(notebook)
    tagged = [
        (number, "".join(cell.get("source", "")))
        for number, cell in enumerate(content.get("cells", []), 1)
        if cell.get("cell_type") == "code" and "parameters" in cell.get("metadata", {}).get("tags", [])
    ]
    if not tagged:
        return Schema(name)
    if len(tagged) > 1:
        raise ValueError(
            f"{name} has {len(tagged)} cells tagged 'parameters' (cells {', '.join(str(n) for n, _ in tagged)}); one is wanted"
        )
    number, source = tagged[0]
    source = re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.M)
    try:
        tree = ast.parse(source)
        comments = _comments(source)
    except SyntaxError as error:
        raise ValueError(
            f"the parameters cell of {name} is not valid Python: {error.msg} (cell {number}, line {error.lineno})"
        ) from None
    except (ValueError, RecursionError, MemoryError, tokenize.TokenError):
        raise ValueError(f"the parameters cell of {name} is not valid Python (cell {number})") from None
    enums = {node.name: _enum_members(node) for node in tree.body if isinstance(node, ast.ClassDef) and _is_enum(node)}
    found: dict[str, Parameter] = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            target, annotation, value = node.target.id, node.annotation, node.value
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            target, annotation, value = node.targets[0].id, None, node.value
        else:
            continue
        place = f"{name}, cell {number}, line {node.lineno}"
        if value is None:
            raise ValueError(f"parameter {target!r} has no default ({place})")
        found[target] = _parameter(
            target, annotation, value, comments.get(node.end_lineno, ""), enums, place, number, node.lineno
        )
    return Schema(name, found, number)


def resolve(
    notebook: str | Path | Mapping, given: Mapping[str, Any] | None = None, *, text: bool = False
) -> dict[str, Any]:
    """All parameters of ``notebook`` with their values, ``given`` checked (see :meth:`Schema.resolve`)."""
    return read_parameters(notebook).resolve(given or {}, text=text)


def _content(notebook):
    if isinstance(notebook, Mapping):
        return notebook, "the notebook"
    return load_notebook(notebook), Path(notebook).name


def load_notebook(path: str | Path) -> dict[str, Any]:
    """The JSON of a notebook of format 4, each cell's source and metadata in one form.

    Raises:
        ValueError: no such file, or not a notebook.
    """
    import json

    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # some editors write a byte order mark
    except FileNotFoundError:
        raise ValueError(f"there is no notebook {path}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ValueError(
            f"{path.name} is not a notebook: it does not hold JSON; a .py or .md file can be converted with jupytext"
        ) from None
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        raise ValueError(f"{path.name} is not a notebook of format 4: it has no list of cells")
    if not all(map(_is_cell, content["cells"])) or not isinstance(content.get("metadata", {}), dict):
        raise ValueError(
            f"{path.name} is not a notebook of format 4: a cell is not code, markdown or raw, has no source of text or no "
            "mapping of metadata"
        )
    for cell in content["cells"]:
        cell["source"] = "".join(cell.get("source", ""))
        cell.setdefault("metadata", {})
    content.setdefault("metadata", {})
    return content


def _is_cell(cell):
    if not isinstance(cell, dict) or not isinstance(cell.get("metadata", {}), dict):
        return False
    if cell.get("cell_type") not in ("code", "markdown", "raw"):
        return False
    source, tags = cell.get("source", ""), cell.get("metadata", {}).get("tags", [])
    lines = source if isinstance(source, list) else [source]
    return isinstance(tags, list) and all(isinstance(line, str) for line in lines)


def _parameter(name, annotation, value, comment, enums, place, cell, line):
    default, literal = _literal(value, enums)
    if annotation is not None:
        try:
            kind = kind_of_annotation(annotation, enums)
        except ValueError as error:
            raise ValueError(f"parameter {name!r}: {error} ({place})") from None
    elif literal:
        kind = kind_of_default(default)
    else:
        kind = Kind("any")
    low, high, unit, text = _comment(comment, kind)
    parameter = Parameter(name, kind, default, low, high, unit, text, cell, line, computed=not literal)
    if not literal and annotation is None:
        return parameter
    if not literal:
        raise ValueError(
            f"the default of parameter {name!r} must be a literal value, got {ast.unparse(value)!r} ({place}); compute in a "
            "later cell"
        )
    try:
        accepted = parameter.accept(default)
    except ParameterError:
        raise ValueError(
            f"the default of parameter {name!r} is {default!r}, but {parameter.describe()} is declared ({place})"
        ) from None
    return Parameter(name, kind, accepted, low, high, unit, text, cell, line)


def _literal(node, enums):
    """The value of a literal, of ``Path("...")``, of ``Class.MEMBER`` and of arithmetic on numbers such as ``2**10``."""
    try:
        return ast.literal_eval(node), True
    except ValueError:
        pass
    if (
        isinstance(node, ast.Call)
        and len(node.args) == 1
        and not node.keywords
        and ast.unparse(node.func).split(".")[-1] == "Path"
    ):
        inner, literal = _literal(node.args[0], enums)
        return inner, literal and isinstance(inner, str)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in enums:
        members = enums[node.value.id]
        return members.get(node.attr), node.attr in members
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner, literal = _literal(node.operand, enums)
        return (-inner, True) if literal and _is_number(inner) else (None, False)
    if isinstance(node, ast.BinOp):
        (left, first), (right, second) = _literal(node.left, enums), _literal(node.right, enums)
        if first and second and _is_number(left) and _is_number(right) and abs(right) <= 1024:
            operations = {ast.Add: lambda: left + right, ast.Sub: lambda: left - right, ast.Mult: lambda: left * right}
            operations |= {
                ast.Pow: lambda: left**right,
                ast.Div: lambda: left / right,
                ast.FloorDiv: lambda: left // right,
            }
            if type(node.op) in operations:
                if _bits(left) * (abs(right) if isinstance(node.op, ast.Pow) else 1) > _MOST_BITS:
                    return None, False
                try:
                    return operations[type(node.op)](), True
                except (ZeroDivisionError, OverflowError):
                    return None, False
    return None, False


def _bits(value):
    return value.bit_length() if isinstance(value, int) else 64


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_enum(node):
    return any(ast.unparse(base).split(".")[-1] in ("Enum", "StrEnum", "IntEnum") for base in node.bases)


def _enum_members(node):
    members = {}
    for item in node.body:
        if isinstance(item, ast.Assign) and len(item.targets) == 1 and isinstance(item.targets[0], ast.Name):
            try:
                members[item.targets[0].id] = ast.literal_eval(item.value)
            except ValueError:
                members[item.targets[0].id] = item.targets[0].id.lower()
    return members


def _comments(source):
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            found[token.start[0]] = token.string.lstrip("# ").strip()
    return found


_NUMBER = r"[+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"^\s*(?P<low>{_NUMBER})?\s*\.\.\s*(?P<high>{_NUMBER})?(?=\s|$|\[|,)")


def _comment(comment, kind):
    low = high = None
    if kind.is_numeric:
        # '1..50' must not read '1.' as a float
        match = _RANGE.match(re.sub(r"(\d)\.\.", r"\1 ..", comment, count=1))
        if match and (match["low"] or match["high"]):
            low, high = (float(end) if end else None for end in (match["low"], match["high"]))
            comment = comment[comment.index("..") + 2 :].lstrip()
            comment = comment[len(match["high"]) :].lstrip(" ,") if match["high"] else comment
    unit = re.match(r"\[([^\]]+)\]\s*", comment)
    if unit:
        comment = comment[unit.end() :]
    return low, high, unit[1] if unit else "", comment.strip()
