"""Label-distributionally robust losses and their temperatures."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
import torch

from lab.losses.ldr import adaptive_temperature, ldr_kl_loss, margin_scores
from widgets.figures.theme import colours, figure


def temperature_spectrum(
    temperatures: Sequence[float], margin: float, classes: int, *, theme: str = "light"
) -> go.Figure:
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
        line = (
            {"color": c.reference, "width": 3}
            if temperature == 1
            else {"color": c.series[k % len(c.series)], "width": 2}
        )
        traces.append(
            go.Scatter(x=lead.tolist(), y=loss.tolist(), name=f"λ = {temperature:g}", mode="lines", line=line)
        )
    svm = margin_scores(logits, target, margin).amax(1)
    traces.append(
        go.Scatter(
            x=lead.tolist(),
            y=svm.tolist(),
            name="multi-class SVM",
            mode="lines",
            line={"color": c.muted, "dash": "dash"},
        )
    )
    low, high = min(temperatures), max(temperatures)
    title = f"Gradient on a misclassification: {abs(slopes[low]):.2f} at λ = {low:g} and {abs(slopes[high]):.2f} at λ = {high:g}"
    return figure(*traces, theme=theme, title=title, x="score of the true class minus the others", y="loss")


def adaptive_temperatures(scores: torch.Tensor, initial: float, alpha: float, *, theme: str = "light") -> go.Figure:
    """The temperature that the adaptive loss gives a row, against how concentrated its softmax is."""
    c = colours(theme)
    temperature = adaptive_temperature(scores, initial, alpha)
    largest = torch.softmax(scores / temperature[:, None], 1).amax(1)
    dots = go.Scatter(
        x=largest.tolist(),
        y=temperature.tolist(),
        mode="markers",
        name="row",
        marker={"color": c.series[1], "opacity": 0.7},
    )
    floor = initial * (1 - 1 / alpha)
    title = f"Uncertain examples keep a temperature near {initial:g}, confident ones fall towards {floor:.3g}"
    fig = figure(dots, theme=theme, title=title, x="largest predicted probability", y="temperature of the example")
    return fig.add_hline(y=floor, line={"color": c.reference, "dash": "dot"}, annotation_text="lower limit")
