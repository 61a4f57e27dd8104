"""Figures of the room of losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import torch

from lab.losses.comp_sum import comp_sum_loss, gamma_tau
from lab.losses.comparison import Comparison
from lab.losses.ensloss import sample_calibrated_derivatives
from lab.losses.ldr import adaptive_temperature, ldr_kl_loss, margin_scores
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
    title = f"{classes} classes: an excess of 0.01 bounds the error by {at[best]:.3f} (tau = {best:g}) to {max(at.values()):.3f}"
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


def temperature_spectrum(temperatures: Sequence[float], margin: float, classes: int, *, theme: str = "light") -> go.Figure:
    """The LDR-KL loss against the score of the true class above equal others: from the multi-class SVM to the mean margin."""
    c = colours(theme)
    lead = torch.linspace(-4, 4, 161, dtype=torch.float64)
    logits = torch.zeros(len(lead), classes, dtype=torch.float64)
    logits[:, 0] = lead
    target = torch.zeros(len(lead), dtype=torch.long)
    traces, slopes = [], {}
    for k, temperature in enumerate(temperatures):
        loss = ldr_kl_loss(logits, target, temperature, margin=margin, reduction="none")
        slopes[temperature] = float((loss[1] - loss[0]) / (lead[1] - lead[0]))
        line = {"color": c.reference, "width": 3} if temperature == 1 else {"color": c.series[k % len(c.series)], "width": 2}
        traces.append(go.Scatter(x=lead.tolist(), y=loss.tolist(), name=f"lambda = {temperature:g}", mode="lines", line=line))
    svm = margin_scores(logits, target, margin).amax(1)
    traces.append(
        go.Scatter(x=lead.tolist(), y=svm.tolist(), name="multi-class SVM", mode="lines", line={"color": c.muted, "dash": "dash"})
    )
    low, high = min(temperatures), max(temperatures)
    title = f"On a lost row the pull is {abs(slopes[low]):.2f} at lambda = {low:g} and {abs(slopes[high]):.2f} at lambda = {high:g}"
    return figure(*traces, theme=theme, title=title, x="score of the true class above the others", y="loss")


def adaptive_temperatures(scores: torch.Tensor, initial: float, alpha: float, *, theme: str = "light") -> go.Figure:
    """The temperature that the adaptive loss gives a row, against how concentrated its softmax is."""
    c = colours(theme)
    temperature = adaptive_temperature(scores, initial, alpha)
    largest = torch.softmax(scores / temperature[:, None], 1).amax(1)
    dots = go.Scatter(
        x=largest.tolist(), y=temperature.tolist(), mode="markers", name="row", marker={"color": c.series[1], "opacity": 0.7}
    )
    floor = initial * (1 - 1 / alpha)
    title = f"Rows in doubt keep a temperature near {initial:g}, confident ones fall towards {floor:.3g}"
    fig = figure(dots, theme=theme, title=title, x="largest probability of the row", y="temperature of the row")
    return fig.add_hline(y=floor, line={"color": c.reference, "dash": "dot"}, annotation_text="lower limit")


def sampled_derivatives(draws: int, batch: int, box_cox: float, seed: int, *, theme: str = "light") -> go.Figure:
    """Loss derivatives that EnsLoss draws for one batch, several draws, with those of fixed losses."""
    c = colours(theme)
    generator = torch.Generator().manual_seed(seed)
    margins = torch.linspace(-3, 3, batch, dtype=torch.float64)
    traces = []
    for k in range(draws):
        g = sample_calibrated_derivatives(margins, generator, box_cox=box_cox)
        traces.append(
            go.Scatter(
                x=margins.tolist(), y=g.tolist(), mode="lines", name="one draw" if k == 0 else None, showlegend=k == 0,
                line={"color": c.series[1], "width": 1.5, "shape": "hv"}, opacity=0.8,
            )  # fmt: skip
        )
    fixed = {
        "logistic": -torch.sigmoid(-margins),
        "hinge": -(margins < 1).double(),
        "exponential": -torch.exp(-margins).clamp_max(3),
    }
    for k, (name, g) in enumerate(fixed.items()):
        line = {"color": (c.reference, c.series[0], c.series[2])[k], "width": 2.5, "dash": ("solid", "dash", "dot")[k]}
        traces.append(go.Scatter(x=margins.tolist(), y=g.tolist(), mode="lines", name=name, line=line))
    title = f"{draws} draws for a batch of {batch}: every one non-decreasing up to margin 1 and negative, so convex and calibrated"
    fig = figure(*traces, theme=theme, title=title, x="margin y f(x)", y="derivative of the loss")
    return fig.update_yaxes(range=[-1.6, 0.1])


def pair_wins(counts: Mapping[str, Sequence[int]], *, theme: str = "light") -> go.Figure:
    """Pairs won, drawn and lost against each loss."""
    c = colours(theme)
    names = list(counts)
    parts = (("better", c.holds), ("no difference", c.extrapolated), ("worse", c.fails))
    traces = [
        go.Bar(y=names, x=[counts[name][k] for name in names], name=part, orientation="h", marker={"color": colour})
        for k, (part, colour) in enumerate(parts)
    ]
    won, lost = sum(v[0] for v in counts.values()), sum(v[2] for v in counts.values())
    title = f"{won} comparisons won and {lost} lost of {sum(map(sum, counts.values()))}"
    return figure(*traces, theme=theme, title=title, x="pairs and architectures", barmode="stack", height=280)
