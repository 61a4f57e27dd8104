"""Figures of the room of losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import torch

from lab.losses.comp_sum import comp_sum_loss, gamma_tau
from lab.losses.comparison import Comparison
from widgets.figures.theme import colours, figure

NAMED_TAUS = {0.0: "sum-exponential", 1.0: "cross-entropy", 1.7: "generalized cross-entropy", 2.0: "mean absolute error"}


def comp_sum_curves(taus: Sequence[float], *, theme: str = "light") -> go.Figure:
    """Loss of two classes against the margin z_y - z_j, one curve a tau; cross-entropy drawn as the reference."""
    c = colours(theme)
    margin = torch.linspace(-4, 4, 161, dtype=torch.float64)
    logits = torch.stack([margin, torch.zeros_like(margin)], 1)
    traces, at = [], {}
    for k, tau in enumerate(taus):
        loss = comp_sum_loss(logits, torch.zeros(len(margin), dtype=torch.long), tau, reduction="none")
        at[tau] = float(loss[20])
        name = f"tau = {tau:g}" + (f" ({NAMED_TAUS[tau]})" if tau in NAMED_TAUS else "")
        line = {"color": c.reference, "width": 3} if tau == 1 else {"color": c.series[k % len(c.series)], "width": 2}
        traces.append(go.Scatter(x=margin.tolist(), y=loss.tolist(), name=name, mode="lines", line=line))
    low, high = min(taus), max(taus)
    title = f"A row that is wrong by 3 costs {at[low]:.3g} at tau = {low:g} and {at[high]:.3g} at tau = {high:g}"
    fig = figure(*traces, theme=theme, title=title, x="margin z_y - z_j (nats)", y="loss")
    return fig.update_yaxes(range=[0, 8])


def consistency_bounds(taus: Sequence[float], classes: int, *, theme: str = "light") -> go.Figure:
    """Gamma_tau: the largest zero-one excess risk at a surrogate excess risk, one curve a tau."""
    c = colours(theme)
    excess = torch.logspace(-4, 0, 121, dtype=torch.float64)
    traces, at = [], {}
    for k, tau in enumerate(taus):
        bound = gamma_tau(excess, tau, classes)
        at[tau] = float(gamma_tau(0.01, tau, classes))
        line = {"color": c.reference, "width": 3} if tau == 1 else {"color": c.series[k % len(c.series)], "width": 2}
        traces.append(go.Scatter(x=excess.tolist(), y=bound.tolist(), name=f"tau = {tau:g}", mode="lines", line=line))
    best = min(at, key=at.get)
    title = f"{classes} classes: an excess of 0.01 bounds the error by {at[best]:.3f} at tau = {best:g}, {max(at.values()):.3f} at worst"
    fig = figure(*traces, theme=theme, title=title, x="excess surrogate risk", y="bound on the excess zero-one risk")
    return fig.update_xaxes(type="log").update_yaxes(range=[0, 1.02])


def accuracies(result: Comparison, *, theme: str = "light") -> go.Figure:
    """Test accuracy of each loss over seeds with its 95 % interval; dots are seeds."""
    c = colours(theme)
    frame = result.to_frame().iloc[::-1]
    bar = go.Scatter(
        x=frame["accuracy"],
        y=frame["loss"],
        mode="markers",
        name="mean and 95 % interval",
        marker={"color": c.reference, "size": 10, "symbol": "line-ns-open", "line": {"width": 3}},
        error_x={
            "type": "data",
            "array": np.nan_to_num(frame["high"] - frame["accuracy"], posinf=0.0),
            "arrayminus": np.nan_to_num(frame["accuracy"] - frame["low"], posinf=0.0),
            "color": c.reference,
        },
    )
    dots = go.Scatter(
        x=[float(v) for name in frame["loss"] for v in result.accuracy[name]],
        y=[name for name in frame["loss"] for _ in result.accuracy[name]],
        mode="markers",
        name="seed",
        marker={"color": c.series[1], "size": 7, "opacity": 0.8},
    )
    best, second = frame.iloc[-1], frame.iloc[-2] if len(frame) > 1 else None
    title = f"{best['loss']} reaches {best['accuracy']:.3f}"
    if second is not None:
        mean, low, high = result.difference(best["loss"], second["loss"])
        clear = "clearly ahead of" if low > 0 else "not separable from"
        title += f", {clear} {second['loss']} ({second['accuracy']:.3f})"
    fig = figure(dots, bar, theme=theme, title=title, x="accuracy on clean test labels", height=140 + 42 * len(frame))
    return fig.update_layout(margin={"l": 190})


def accuracy_over_noise(results: Mapping[float, Comparison], *, theme: str = "light") -> go.Figure:
    """Mean accuracy of each loss against the level of label noise, with 95 % intervals."""
    c = colours(theme)
    levels = sorted(results)
    names = list(results[levels[0]].accuracy)
    traces = []
    for k, name in enumerate(names):
        rows = [results[level].to_frame().set_index("loss").loc[name] for level in levels]
        traces.append(
            go.Scatter(
                x=levels,
                y=[row["accuracy"] for row in rows],
                error_y={"type": "data", "array": [min(row["high"] - row["accuracy"], 1.0) for row in rows], "thickness": 1},
                name=name,
                mode="lines+markers",
                line={"color": c.reference if name == "cross-entropy" else c.series[k % len(c.series)], "width": 2},
            )
        )
    winner = results[levels[-1]].to_frame().iloc[0]
    title = f"At {levels[-1]:.0%} label noise {winner['loss']} leads with {winner['accuracy']:.3f}"
    fig = figure(*traces, theme=theme, title=title, x="share of redrawn training labels", y="accuracy on clean test labels")
    return fig.update_xaxes(tickformat=".0%")
