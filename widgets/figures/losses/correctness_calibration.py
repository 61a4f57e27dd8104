"""What calibration objectives ask of one row's temperature, and the errors of calibrators."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import torch

from lab.losses.correctness_calibration import confidences
from widgets.figures.theme import colours, figure

OBJECTIVES = ("cross-entropy", "squared error", "correctness-aware")


def row_objectives(logits: torch.Tensor, target: int, temperature: float, *, theme: str = "light") -> go.Figure:
    """Three objectives of one row of logits (C,) over its temperature, each less its smallest value there; dots are minima."""
    c = colours(theme)
    grid, values = objectives(logits, target)
    traces, best = [], {}
    for k, name in enumerate(OBJECTIVES):
        row = values[name] - values[name].min()
        row = row / row.max().clamp_min(1e-12)
        place = int(values[name].argmin())
        best[name] = float(grid[place])
        colour = (c.series[0], c.series[1], c.holds)[k]
        traces += [
            go.Scatter(x=grid.tolist(), y=row.tolist(), mode="lines", name=name, line={"color": colour, "width": 2.5}),
            go.Scatter(x=[best[name]], y=[0], mode="markers", showlegend=False, marker={"color": colour, "size": 12}),
        ]
    now = {"color": c.muted, "dash": "dot"}
    traces.append(go.Scatter(x=[temperature] * 2, y=[0, 1], mode="lines", name="current temperature", line=now))
    title = f"Optimal temperature: {best['cross-entropy']:.2g} (cross-entropy), {best['correctness-aware']:.2g} (correctness-aware)"
    fig = figure(*traces, theme=theme, title=title, x="temperature", y="objective, rescaled to its range")
    return fig.update_xaxes(type="log", dtick="D2")


def objectives(logits: torch.Tensor, target: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Temperatures from 0.1 to 10 and the value of each objective there for one row of logits (C,)."""
    grid = torch.logspace(-1, 1, 121, dtype=logits.dtype)
    p = torch.softmax(logits[None] / grid[:, None], 1)
    own = torch.zeros_like(logits)
    own[target] = 1.0
    correct = float(int(logits.argmax()) == target)
    return grid, {
        "cross-entropy": -p[:, target].clamp_min(1e-30).log(),
        "squared error": (p - own).square().sum(1),
        "correctness-aware": (confidences(logits.expand(len(grid), -1), grid) - correct).square(),
    }


def scaled_probabilities(logits: torch.Tensor, target: int, temperature: float, *, theme: str = "light") -> go.Figure:
    """Class probabilities of one row at temperature 1 and at ``temperature``; the true class is named."""
    c = colours(theme)
    names = [f"class {k + 1}" + (" (true)" if k == target else "") for k in range(len(logits))]
    before, after = torch.softmax(logits, 0), torch.softmax(logits / temperature, 0)
    right = int(logits.argmax()) == target
    traces = [
        go.Bar(x=names, y=before.tolist(), name="temperature 1", marker={"color": c.reference}),
        go.Bar(
            x=names,
            y=after.tolist(),
            name=f"temperature {temperature:g}",
            marker={"color": c.holds if right else c.fails},
        ),
    ]
    word = "right" if right else "wrong"
    title = (
        f"The prediction is {word}; its confidence changes from {float(before.max()):.2f} to {float(after.max()):.2f}"
    )
    fig = figure(*traces, theme=theme, title=title, y="probability", barmode="group")
    return fig.update_yaxes(range=[0, 1])


def calibrators(
    errors: Mapping[str, Mapping[str, float]],
    measure: str = "expected calibration error",
    *,
    largest: bool = False,
    theme: str = "light",
) -> go.Figure:
    """A measure of every calibrator on every test set, ``{calibrator: {test set: value}}``; the best at the top.

    ``largest``: a larger value is a better one.
    """
    c = colours(theme)
    sign = 1 if largest else -1
    names = sorted(errors, key=lambda name: sign * sum(errors[name].values()))
    tests = list(next(iter(errors.values())))
    looks = ((c.reference, "circle"), (c.series[0], "square"), (c.series[1], "diamond"))
    traces = [
        go.Scatter(x=[errors[name][test] for name in names], y=names, mode="markers", name=test,
                   marker={"color": colour, "size": 11, "symbol": symbol})
        for test, (colour, symbol) in zip(tests, looks)
    ]  # fmt: skip
    best = {test: max(names, key=lambda name, test=test: sign * errors[name][test]) for test in tests}
    title = "Best " + "; ".join(f"on {test}: {name} ({errors[name][test]:.3f})" for test, name in best.items())
    fig = figure(*traces, theme=theme, title=title, x=measure, height=170 + 34 * len(names))
    return fig.update_layout(margin={"l": 220})
