"""What is left of a supernet's accuracy once it is cut down."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure


def gaps(result, *, theme: str = "light") -> go.Figure:
    """Accuracy of the supernet, of its cut without retraining, and of the retrained network, means over searches."""
    c = colours(theme)
    names = [arm for arm in result.accuracy if f"gap, {arm}" in result.measured]
    whole = [float(result.measured[f"supernet, {arm}"].mean()) for arm in names]
    lost = [float(result.measured[f"gap, {arm}"].mean()) for arm in names]
    bars = [
        go.Bar(x=names, y=whole, name="supernet", marker={"color": c.series[1]}),
        go.Bar(
            x=names, y=[a - b for a, b in zip(whole, lost)], name="cut, not retrained", marker={"color": c.series[0]}
        ),
        go.Bar(
            x=names,
            y=[float(result.accuracy[arm].mean()) for arm in names],
            name="retrained",
            marker={"color": c.extrapolated},
        ),
    ]
    title = ", ".join(f"{arm} loses {gap:.3f}" for arm, gap in list(zip(names, lost))[:2])
    return figure(*bars, theme=theme, title=f"Cut down, {title}", y="accuracy", barmode="group")


def sharpness(result, *, theme: str = "light") -> go.Figure:
    """Relative sharpness in the architecture weights against the gap, one dot a search."""
    c = colours(theme)
    names = [arm for arm in result.accuracy if f"gap, {arm}" in result.measured]
    dots = [
        go.Scatter(
            x=result.measured[f"sharpness in alpha, {arm}"].tolist(),
            y=result.measured[f"gap, {arm}"].tolist(),
            name=arm,
            mode="markers",
            marker={"color": c.series[k % 7], "size": 9},
        )  # fmt: skip
        for k, arm in enumerate(names)
    ]
    flattest = min(names, key=lambda arm: float(result.measured[f"sharpness in alpha, {arm}"].mean()))
    title = f"{flattest} has the flattest loss in α"
    return figure(
        *dots, theme=theme, title=title, x="relative loss increase under perturbation of α", y="lost in discretization"
    )
