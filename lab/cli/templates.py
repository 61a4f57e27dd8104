"""The files of a new study, small and complete: they run, their test passes, and every line is there to be replaced.

While one of them holds :data:`PLACEHOLDER`, ``lab list`` does not count the study as working.
"""

from __future__ import annotations

import json
from pathlib import Path

from lab import checks, claims
from lab.report.store.layout import project_root, write_atomically
from lab.report.studies import PLACEHOLDER

_MODULE = '''"""@title@: one sentence that says what the method does.  @placeholder@

    l(x, y) = mean((x - y)^2)

Source: Authors, 'Title', Venue Year, equation 1.
"""

from __future__ import annotations

import torch

from lab import checks


def @method@(prediction, target) -> torch.Tensor:
    """The objective of the method.

    Args:
        prediction: any shape, floating point.
        target: the same shape.

    Returns:
        A scalar tensor.

    Raises:
        ValueError: different shapes, no values, NaN or infinite values.

    Source: Authors, 'Title', Venue Year, equation 1.
    """
    prediction = checks.tensor("prediction", prediction, floating=True)
    target = checks.tensor("target", target)
    checks.same_shape("prediction", prediction, "target", target)
    return ((prediction - target) ** 2).mean()
'''
_TEST = '''"""@title@: identities, gradients and bad input."""

import pytest
import torch

from lab.@room@.@method@ import @method@


def test_equal_arguments_cost_nothing(generator):
    x = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    assert @method@(x, x) == 0


def test_gradient_is_the_derivative(generator):
    x, y = torch.randn(2, 7, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(@method@, (x.requires_grad_(), y))


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="must have the same shape"):
        @method@(torch.zeros(2), torch.zeros(3))
'''
_STUDY = '''"""What @title@ is measured on.  @placeholder@"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field

from lab import study
from lab.@room@.@method@ import @method@


class Setting(study.Setting):
    """Normal predictions and targets that differ by a shift."""

    items: int = Field(200, ge=2, le=100_000, title="Items")
    shift: float = Field(0.0, ge=-2, le=2, title="Shift")

    PROFILES: ClassVar = {"smoke": {"items": 50}, "full": {"items": 20_000}}


@dataclass(frozen=True, eq=False)
class Result:
    """The objective for each seed, and over shifts from -2 to 2."""

    objective: torch.Tensor
    shifts: torch.Tensor
    curve: torch.Tensor


@study.remembered()
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """The objective at the setting's shift; control: one more."""
    found, shifts = [], torch.linspace(-2, 2, 41, dtype=torch.float64)
    for seed in seeds:
        x = torch.randn(setting.items, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        found.append(@method@(x, x + setting.shift + bool(control)))
    curve = torch.stack([@method@(x, x + shift) for shift in shifts])
    return Result(torch.stack(found), shifts, curve)
'''
_CLAIM = '''"""Measurements of the statements about @title@.  @placeholder@"""

from __future__ import annotations

from lab.claims import Effects, measures
from lab.@room@.studies import @method@ as study


@measures("@method@.first-statement")
def first_statement(trial):
    """The largest value at equal arguments. Control: the arguments differ by one."""
    result = study.run(study.Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(result.objective)
'''
_ROWS = """# @placeholder@
[[claim]]
id = "@method@.first-statement"
text = "Equal arguments cost nothing."
kind = "identity"
setting = "paper"
rule = "at most"
margin = 0.0
unit = "largest value at equal arguments"
replicates = 3
drawn = "arguments"
control = "the arguments differ by one"
"""
_CLAIMS = '''"""The measuring functions of the room, one module a method."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
'''
_CATALOG = """
[[method]]
id = "@method@"
title = "@title@"
sentence = "One sentence for the card of the study."
source = "Authors, 'Title', Venue Year"
module = "lab.@room@.@method@"
notebook = "notebooks/@room@/@method@.ipynb"
page = "@method@"
entry = ["lab.@room@.@method@:@method@"]
"""
_FIGURE = '''"""Figures of @title@.  @placeholder@"""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure


def @method@(result, *, theme: str = "light") -> go.Figure:
    """The objective over the shift; ``result`` is a ``Result`` of :mod:`lab.@room@.studies.@method@`."""
    shifts, curve = result.shifts.tolist(), result.curve.tolist()
    line = go.Scatter(x=shifts, y=curve, mode="lines", line_color=colours(theme).series[0], showlegend=False)
    title = f"The objective is {max(curve):.3g} at most and {min(curve):.3g} at least"
    return figure(line, theme=theme, title=title, x="shift", y="objective")
'''
_PAGE = '''"""The page of @title@.  @placeholder@"""

from __future__ import annotations

import panel as pn

from lab.@room@.studies.@method@ import Setting, run
from widgets import pages
from widgets.figures.@room@.@method@ import @method@ as picture

TITLE, ROUTE, METHOD = "@title@", "@id@", "@method@"
QUESTION = "What does the objective reward?"


def build(state: dict) -> pn.viewable.Viewable:
    """The objective over the shift for the number of items that the slider says."""
    widgets = pages.controls(Setting, "items", "shift")
    pages.sync(widgets, state)
    plot, table = pages.plot(label="objective over shift"), pages.numbers()
    notice = pages.react(widgets, draw, plot, table)
    return pages.layout(TITLE, QUESTION, widgets, [plot, table], notice=notice, method=METHOD)


def draw(items, shift, theme):
    """Figure and numbers at these values."""
    result = run(Setting(items=items, shift=shift), seeds=(0,))
    return picture(result, theme=theme), {"objective": float(result.objective.mean())}
'''
_CELLS = (
    ("markdown", "# @title@\n\nWhat does the objective reward? @placeholder@"),
    (
        "parameters",
        'from typing import Literal\n\nprofile: Literal["smoke", "default", "full"] = "default"\n'
        "shift: float = 0.0  # -2..2\nseeds: int = 3  # 1..50",
    ),
    ("markdown", "## The mathematics\n\n$$\\ell(x, y) = \\frac{1}{n} \\sum_{i=1}^{n} (x_i - y_i)^2$$"),
    (
        "code",
        "import lab\nfrom lab.@room@.studies.@method@ import Setting, run\nfrom widgets.figures.@room@.@method@ import "
        "@method@ as draw\n\nresult = run(Setting.of(profile, shift=shift), seeds=range(seeds))\n"
        'lab.report.record("objective", float(result.objective.mean()))\ndraw(result)',
    ),
    ("markdown", "## Claims"),
    ("code", 'lab.report.claim("@method@.first-statement", seeds=seeds, budget=profile)'),
    ("markdown", "## Explore"),
    ("code", 'from widgets import pages\n\npages.show("@method@", {"shift": shift})'),
)


def create(room: str, method: str, title: str) -> list[Path]:
    """Write module, test, claims, figure, notebook, page and catalog row of a study; returns the paths, relative to the project.

    Raises:
        ValueError: no such room, or a file of the study exists already.
    """
    root = project_root()
    rooms = sorted(path.parent.name for path in (root / "lab").glob("*/__init__.py"))
    rooms = [name for name in rooms if name not in ("kernels", "training", "datasets", "report", "claims", "cli")]
    checks.choice("room", room, rooms)
    id = method.replace("_", "-")
    if method in {known.id for known in claims.methods()}:
        raise ValueError(f"the catalog has a method {method!r} already")

    def fill(text):
        words = {"method": method, "room": room, "title": title, "id": id, "placeholder": PLACEHOLDER}
        for word, value in words.items():
            text = text.replace(f"@{word}@", value)
        return text

    fresh = {
        f"lab/{room}/{method}.py": fill(_MODULE),
        f"lab/{room}/studies/{method}.py": fill(_STUDY),
        f"lab/{room}/claims/{method}.py": fill(_CLAIM),
        f"lab/{room}/claims/{method}.toml": fill(_ROWS),
        f"tests/{room}/test_{method}.py": fill(_TEST),
        f"notebooks/{room}/{method}.ipynb": json.dumps(_notebook(fill), indent=1, ensure_ascii=False) + "\n",
        f"widgets/figures/{room}/{method}.py": fill(_FIGURE),
        f"widgets/pages/{method}.py": fill(_PAGE),
    }
    for name in fresh:
        if (root / name).exists():
            raise ValueError(f"{name} exists already")
    packages = {
        f"lab/{room}/claims/__init__.py": _CLAIMS,
        f"lab/{room}/studies/__init__.py": '"""The experiments of the room, one module a method."""\n',
        f"widgets/figures/{room}/__init__.py": f'"""Figures of the room {room}, one module a method."""\n',
    }
    fresh |= {name: text for name, text in packages.items() if not (root / name).exists()}
    longer = {
        f"lab/{room}/catalog.toml": fill(_CATALOG),
        f"lab/{room}/__init__.py": f"from lab.{room}.{method} import {method} as {method}\n",
    }
    for name, text in fresh.items():
        write_atomically(root / name, text)
    for name, text in longer.items():
        path = root / name
        before = path.read_text(encoding="utf-8").rstrip("\n") + "\n" if path.exists() else ""
        write_atomically(path, _with_export(before, text) if name.endswith(".py") else (before + text).lstrip("\n"))
    return [Path(name) for name in [*fresh, *longer]]


def _with_export(source, line):
    """A package's ``__init__`` with one more re-export, in order among the others."""
    lines = source.split("\n")
    places = [k for k, one in enumerate(lines) if one.startswith("from lab.")]
    if not places:
        return source + "\n" + line
    later = next((k for k in places if lines[k] > line.rstrip()), places[-1] + 1)
    return "\n".join([*lines[:later], line.rstrip(), *lines[later:]])


def _notebook(fill):
    cells = []
    for number, (kind, source) in enumerate(_CELLS):
        cell = {
            "cell_type": "markdown" if kind == "markdown" else "code",
            "id": f"cell-{number}",
            "metadata": {},
            "source": fill(source),
        }
        if kind != "markdown":
            cell |= {"outputs": [], "execution_count": None}
        if kind == "parameters":
            cell["metadata"] = {"tags": ["parameters"]}
        cells.append(cell)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
