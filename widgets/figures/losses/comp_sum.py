"""The family of comp-sum losses and what it promises."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
import torch

from lab.losses.comp_sum import comp_sum_loss, gamma_tau
from widgets.figures.theme import colours, figure

NAMED_TAUS = {
    0.0: "sum-exponential",
    1.0: "cross-entropy",
    1.7: "generalized cross-entropy",
    2.0: "mean absolute error",
}


def comp_sum_curves(taus: Sequence[float], now: float | None = None, *, theme: str = "light") -> go.Figure:
    """Loss of two classes against the margin z_y - z_j, one curve a tau; the title speaks of tau = ``now``, if given, first."""
    c = colours(theme)
    margin = torch.linspace(-4, 4, 161, dtype=torch.float64)
    logits = torch.stack([margin, torch.zeros_like(margin)], 1)
    traces, at = [], {}
    for k, tau in enumerate(taus):
        loss = comp_sum_loss(logits, torch.zeros(len(margin), dtype=torch.long), tau, reduction="none")
        at[tau] = float(loss[20])
        name = f"τ = {tau:g}" + (f" ({NAMED_TAUS[tau]})" if tau in NAMED_TAUS else "")
        line = {"color": c.reference, "width": 3} if tau == 1 else {"color": c.series[k % len(c.series)], "width": 2}
        traces.append(go.Scatter(x=margin.tolist(), y=loss.tolist(), name=name, mode="lines", line=line))
    low, high = min(taus), max(taus)
    chosen = "" if now is None else f"{at[now]:.3g} at τ = {now:g}, "
    title = (
        f"An example with margin −3 has loss {chosen}{at[low]:.3g} at τ = {low:g} and {at[high]:.3g} at τ = {high:g}"
    )
    fig = figure(*traces, theme=theme, title=title, x="margin z_y - z_j (nats)", y="loss")
    return fig.update_yaxes(range=[-0.2, 8])


def consistency_bounds(
    taus: Sequence[float], classes: int, at_excess: float = 0.01, now: float | None = None, *, theme: str = "light"
) -> go.Figure:
    """Gamma_tau: the largest zero-one excess risk at a surrogate excess risk, one curve a tau; ``at_excess`` is marked.

    The title speaks of tau = ``now``, or of the best and the worst of all.
    """
    c = colours(theme)
    excess = torch.logspace(-4, 0, 121, dtype=torch.float64)
    traces, at = [], {}
    for k, tau in enumerate(taus):
        bound = gamma_tau(excess, tau, classes)
        at[tau] = float(gamma_tau(at_excess, tau, classes))
        line = {"color": c.reference, "width": 3} if tau == 1 else {"color": c.series[k % len(c.series)], "width": 2}
        traces.append(go.Scatter(x=excess.tolist(), y=bound.tolist(), name=f"τ = {tau:g}", mode="lines", line=line))
    best = min(at, key=at.get)
    traces.append(
        go.Scatter(
            x=[at_excess] * len(at), y=list(at.values()), mode="markers", marker={"size": 9, "color": c.reference},
            showlegend=False, hovertemplate="excess %{x:g}: bound %{y:.4f}<extra></extra>",
        )
    )  # fmt: skip
    title = (
        f"{classes} classes: an excess surrogate risk of {at_excess:g} bounds the excess error by {at[best]:.3f} (τ = {best:g}) "
        f"to {max(at.values()):.3f}"
    )
    if now is not None:
        title = f"{classes} classes: at τ = {now:g}, excess risk {at_excess:g} bounds the excess error by {at[now]:.4f}"
    fig = figure(*traces, theme=theme, title=title, x="excess surrogate risk", y="bound on the excess zero-one risk")
    fig.add_vline(x=at_excess, line={"color": c.muted, "dash": "dot", "width": 1})
    return fig.update_xaxes(type="log", exponentformat="power", dtick=1).update_yaxes(range=[-0.03, 1.03])
