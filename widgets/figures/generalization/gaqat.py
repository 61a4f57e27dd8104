"""Step sizes torn between task and flatness: their disorder by window, conflicts by layer, and accuracy beyond the sources."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure

NAMES = {
    "float": "full precision", "float sam": "full precision, SAM", "quantized": "few bits", "quantized sam": "few bits, SAM",
    "gaqat": "few bits, SAM, frozen by disorder", "random": "few bits, SAM, frozen at random",
}  # fmt: skip


def disorder_map(result, tau: float, *, theme: str = "light") -> go.Figure:
    """Disorder of the task's gradients by quantizer and window, with a mark where the step was frozen in most runs."""
    c, windows = colours(theme), list(range(1, len(result.disorder) + 1))
    heat = go.Heatmap(
        x=windows, y=list(result.names), z=result.disorder.T.tolist(), zmin=0, zmax=1, colorscale="Cividis",
        colorbar={"title": "disorder"},
    )  # fmt: skip
    places = (result.frozen >= 0.5).nonzero().tolist()
    dots = go.Scatter(
        x=[windows[i] for i, _ in places], y=[result.names[k] for _, k in places], mode="markers", name="frozen next",
        marker={"color": c.prediction, "symbol": "x", "size": 9},
    )  # fmt: skip
    title = (
        f"{100 * float(result.frozen.mean()):.0f} % of the step sizes are steadier than tau = {tau:g} and are frozen"
    )
    return figure(heat, dots, theme=theme, title=title, x="window", y="quantizer")


def conflicts(result, *, theme: str = "light") -> go.Figure:
    """Share of training steps in which task and smoothness pull a step size in opposite directions."""
    c = colours(theme)
    mean = result.conflict["quantized sam"].mean(0)
    bars = go.Bar(x=list(result.names), y=mean.tolist(), marker_color=c.series[1], showlegend=False)
    top = int(mean.argmax())
    most, usual = 100 * float(mean[top]), 100 * float(mean.mean())
    title = f"{result.names[top]} is torn in {most:.0f} % of the steps, the mean in {usual:.0f} %"
    return figure(bars, theme=theme, title=title, x="quantizer", y="share of steps in conflict")


def accuracy_by_arm(result, *, theme: str = "light") -> go.Figure:
    """Accuracy on held images of the sources and on unseen domains, by arm; one dot a seed."""
    c, traces = colours(theme), []
    for name, shade, values in (
        ("sources", c.extrapolated, result.seen),
        ("unseen domains", c.label, {arm: v.mean(1) for arm, v in result.unseen.items()}),
    ):
        traces.append(
            go.Scatter(
                x=[NAMES[arm] for arm in NAMES for _ in values[arm]], y=[float(v) for arm in NAMES for v in values[arm]],
                mode="markers", name=name, marker={"color": shade, "size": 8, "opacity": 0.6},
            )
        )  # fmt: skip
    gain = 100 * float((result.unseen["gaqat"] - result.unseen["quantized sam"]).mean())
    loss = 100 * float((result.unseen["float sam"] - result.unseen["quantized sam"]).mean())
    title = f"Few bits cost SAM {loss:.1f} points on unseen domains; freezing returns {gain:+.1f}"
    return figure(*traces, theme=theme, title=title, x="training", y="accuracy")


def swept(sweep, *, theme: str = "light") -> go.Figure:
    """Gain of freezing over the direct combination by window K and threshold tau, in points."""
    gain = 100 * (sweep.unseen - sweep.direct).mean(2)
    size = max(1.0, float(gain.abs().max()))
    spread = 100 * float((sweep.unseen - sweep.direct).std(2).mean())
    heat = go.Heatmap(
        x=[f"tau = {tau:g}" for tau in sweep.taus], y=[f"K = {window}" for window in sweep.windows], z=gain.tolist(), zmin=-size,
        zmax=size, colorscale="RdBu", text=[[f"{one:+.1f}" for one in row] for row in gain.tolist()], texttemplate="%{text}",
        colorbar={"title": "points"},
    )  # fmt: skip
    title = f"Freezing changes accuracy by {float(gain.min()):+.1f} to {float(gain.max()):+.1f} points, a seed by {spread:.1f}"
    return figure(heat, theme=theme, title=title, x="disorder below which a step is frozen", y="steps of a window")
