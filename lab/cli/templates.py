"""The files of a new study, small and complete: they run, their test passes, and every line is there to be replaced."""

from __future__ import annotations

import json
from pathlib import Path

from lab import checks, claims
from lab.report.store.layout import project_root, write_atomically

_MODULE = '''"""@title@: one sentence that says what the method does.

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


def curve(points: int = 101) -> tuple[torch.Tensor, torch.Tensor]:
    """The objective over the error, from -1 to 1: ``(error, value)``, both of length ``points``."""
    error = torch.linspace(-1, 1, checks.integer("points", points, low=2), dtype=torch.float64)
    return error, torch.stack([@method@(one[None], torch.zeros(1)) for one in error])
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
_CLAIM = '''"""Measurements of the statements about @title@."""

from __future__ import annotations

import torch

from lab.@room@.@method@ import @method@
from lab.claims import Effects, measures


@measures("@method@.first-statement")
def first_statement(trial):
    """The largest value at equal arguments. Control: the arguments differ by one."""
    values = []
    for seed in trial.seeds:
        x = torch.randn(100, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        values.append(float(@method@(x, x + trial.control)))
    return Effects(values)
'''
_ROWS = """[[claim]]
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
_FIGURE = '''

def @method@(result, *, theme="light"):
    """The objective over the error; ``result`` is ``(error, value)``."""
    import plotly.graph_objects as go

    from widgets.figures.theme import colours, figure

    error, value = result
    line = go.Scatter(x=error.tolist(), y=value.tolist(), mode="lines", line_color=colours(theme).series[0], showlegend=False)
    title = f"The objective is {float(value.max()):.3g} at most and {float(value.min()):.3g} at least"
    return figure(line, theme=theme, title=title, x="error", y="objective")
'''
_PAGE = '''"""The page of @title@."""

from __future__ import annotations

import panel as pn

from lab.@room@.@method@ import curve
from widgets import pages
from widgets.figures.@room@ import @method@ as picture

TITLE, ROUTE, METHOD = "@title@", "@id@", "@method@"
QUESTION = "What does the objective reward?"


def build(state: dict):
    """The objective over the error, at the number of points that the slider says."""
    widgets = {"points": pn.widgets.IntSlider(name="Points", start=2, end=1000, value=101)}
    pages.sync(widgets, state)
    plot = pages.plot(label="objective over error")
    notice = pages.react(widgets, draw, plot)
    return pages.layout(TITLE, QUESTION, widgets, [plot], notice=notice, method=METHOD)


def draw(points, theme):
    """The figure at these values."""
    return picture(curve(points), theme=theme)
'''
_CELLS = (
    ("markdown", "# @title@\n\nWhat does the objective reward?"),
    (
        "parameters",
        'from typing import Literal\n\nprofile: Literal["smoke", "default", "full"] = "default"\npoints: int = 101  # '
        "2..1000\nseeds: int = 3     # 1..50",
    ),
    ("markdown", "## The mathematics\n\n$$\\ell(x, y) = \\frac{1}{n} \\sum_{i=1}^{n} (x_i - y_i)^2$$"),
    (
        "code",
        "import lab\nfrom lab.@room@.@method@ import curve\nfrom widgets.figures.@room@ import @method@ as draw\n\nresult = "
        "curve(points)\ndraw(result)",
    ),
    ("markdown", "## What was claimed, what was measured"),
    (
        "code",
        'lab.report.record("largest value", result[1].max())\nlab.report.claim("@method@.first-statement", seeds=seeds, '
        "budget=profile)",
    ),
    ("markdown", "## The page"),
    ("code", 'from widgets import pages\n\npages.show("@method@", {"points": points})'),
)


def create(room: str, method: str, title: str) -> list[Path]:
    """Write module, test, claims, figure, notebook, page and catalog row of a study; returns the paths, relative to the project.

    Raises:
        ValueError: no such room, or a file of the study exists already.
    """
    root = project_root()
    rooms = sorted(path.parent.name for path in (root / "lab").glob("*/__init__.py"))
    rooms = [name for name in rooms if name not in ("kernels", "training", "datasets", "report", "cli")]
    checks.choice("room", room, rooms)
    id = method.replace("_", "-")
    if method in {known.id for known in claims.methods()}:
        raise ValueError(f"the catalog has a method {method!r} already")

    def fill(text):
        for word, value in (("@method@", method), ("@room@", room), ("@title@", title), ("@id@", id)):
            text = text.replace(word, value)
        return text

    fresh = {
        f"lab/{room}/{method}.py": fill(_MODULE),
        f"tests/{room}/test_{method}.py": fill(_TEST),
        f"lab/{room}/claims/{method}.py": fill(_CLAIM),
        f"lab/{room}/claims/{method}.toml": fill(_ROWS),
        f"notebooks/{room}/{method}.ipynb": json.dumps(_notebook(fill), indent=1, ensure_ascii=False) + "\n",
        f"widgets/pages/{method}.py": fill(_PAGE),
    }
    for name in fresh:
        if (root / name).exists():
            raise ValueError(f"{name} exists already")
    package = root / "lab" / room / "claims" / "__init__.py"
    figures = root / "widgets" / "figures" / room / "__init__.py"
    if not figures.exists():
        figures = root / "widgets" / "figures" / f"{room}.py"
    longer = {
        root / "lab" / room / "catalog.toml": ("", fill(_CATALOG)),
        figures: (f'"""Figures of the room {room}."""\n', fill(_FIGURE)),
    }
    for name, text in fresh.items():
        write_atomically(root / name, text)
    if not package.exists():
        fresh[f"lab/{room}/claims/__init__.py"] = _CLAIMS
        write_atomically(package, _CLAIMS)
    for path, (head, text) in longer.items():
        before = path.read_text(encoding="utf-8") if path.exists() else head
        write_atomically(path, before.rstrip("\n") + "\n" + text if before else text.lstrip("\n"))
    return [Path(name) for name in fresh] + [path.relative_to(root) for path in longer]


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
