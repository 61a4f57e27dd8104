"""Errors and weights of naive Bayes and logistic regression over the number of samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import torch

from lab.losses.comparison import mean_interval
from widgets.figures.theme import colours, figure

NAMES = ("naive Bayes", "logistic")


def error_over_samples(
    sizes: Sequence[int], errors: Mapping[str, torch.Tensor], bayes: float | None = None, *, theme: str = "light"
) -> go.Figure:
    """Test error of both classifiers, (sizes, seeds) each, with 95 % intervals; the Bayes error where it is known."""
    c = colours(theme)
    traces, means = [], {}
    for name, colour in zip(NAMES, (c.series[0], c.series[1])):
        rows = [mean_interval(row) for row in errors[name]]
        means[name] = [row[0] for row in rows]
        half = [row[2] - row[0] if errors[name].shape[1] > 1 else 0.0 for row in rows]
        traces.append(
            go.Scatter(x=list(sizes), y=means[name], mode="lines+markers", name=name, line={"color": colour, "width": 2.5},
                       error_y={"type": "data", "array": half, "thickness": 1})
        )  # fmt: skip
    ahead = [b < d for b, d in zip(means["naive Bayes"], means["logistic"])]
    if all(ahead):
        title = f"Naive Bayes is ahead at every size up to {sizes[-1]}"
    elif ahead[0]:
        title = f"Naive Bayes is ahead until logistic regression passes it at {sizes[ahead.index(False)]} samples"
    else:
        title = f"Logistic regression is ahead from {sizes[0]} samples onwards"
    fig = figure(*traces, theme=theme, title=title, x="training samples", y="test error")
    if bayes is not None:
        fig.add_hline(y=bayes, line={"color": c.reference, "dash": "dot"}, annotation_text="Bayes error")
    return fig.update_xaxes(type="log", dtick="D2").update_yaxes(rangemode="tozero")


def sample_needs(
    dimensions: Sequence[int], needs: Mapping[tuple[str, int], Sequence[float]], *, theme: str = "light"
) -> go.Figure:
    """Samples needed to come within 0.01 of the Bayes error over the number of features, with fitted powers."""
    c = colours(theme)
    traces, powers = [], {}
    logs = [math.log(n) for n in dimensions]
    centre = sum(logs) / len(logs)
    for name, colour in zip(NAMES, (c.series[0], c.series[1])):
        means = [sum(needs[name, n]) / len(needs[name, n]) for n in dimensions]
        powers[name] = sum((t - centre) * math.log(m) for t, m in zip(logs, means)) / sum(
            (t - centre) ** 2 for t in logs
        )
        dots = [(n, value) for n in dimensions for value in needs[name, n]]
        traces.append(
            go.Scatter(x=[n for n, _ in dots], y=[v for _, v in dots], mode="markers", showlegend=False, opacity=0.6,
                       marker={"color": colour, "size": 7})
        )  # fmt: skip
        traces.append(
            go.Scatter(x=list(dimensions), y=means, mode="lines", name=f"{name}: n^{powers[name]:.2f}",
                       line={"color": colour, "width": 2.5})
        )  # fmt: skip
    bayes, logistic = (powers[name] for name in NAMES)
    title = f"The samples needed grow as n^{bayes:.2f} for naive Bayes and as n^{logistic:.2f} for logistic regression"
    fig = figure(*traces, theme=theme, title=title, x="number of features n", y="samples needed")
    return fig.update_xaxes(type="log").update_yaxes(type="log")


def learned_weights(
    weights: Mapping[str, torch.Tensor], ideal: torch.Tensor, samples: int, *, theme: str = "light"
) -> go.Figure:
    """Weight of every feature, each vector of unit length, beside those of the Bayes rule; the title has their cosines."""
    c = colours(theme)
    ideal = ideal / ideal.norm()
    feature = list(range(1, len(ideal) + 1))
    traces, cosine = [], {}
    for name, colour in zip(NAMES, (c.series[0], c.series[1])):
        unit = weights[name] / weights[name].norm()
        cosine[name] = float(unit @ ideal)
        traces.append(
            go.Scatter(x=feature, y=unit.tolist(), mode="markers", name=name, marker={"color": colour, "size": 8})
        )
    traces.append(
        go.Scatter(x=feature, y=ideal.tolist(), mode="lines", name="Bayes rule",
                   line={"color": c.reference, "width": 2, "shape": "hvh"})
    )  # fmt: skip
    bayes, logistic = (cosine[name] for name in NAMES)
    title = f"{samples} samples: cosine to the Bayes rule {bayes:.2f} (naive Bayes) and {logistic:.2f} (logistic)"
    return figure(*traces, theme=theme, title=title, x="feature", y="weight (unit-norm vectors)")
