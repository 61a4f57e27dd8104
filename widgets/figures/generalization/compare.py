"""All methods of the room side by side: on every left-out domain, and in what each of them is made for."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure

NAMES = {
    "erm": "ERM", "drm": "DRM", "udim": "UDIM", "doubly robust": "doubly robust", "gaqat": "GAQAT, few bits",
    "noise mask": "noise mask", "oracle": "ERM that saw the target (oracle)",
}  # fmt: skip
MEASURES = {
    "seen": "source domains",
    "unseen": "left-out domain",
    "tail": "its worst classes",
    "robust": "under attack",
}


def methods_by_target(result, *, theme: str = "light") -> go.Figure:
    """Mean accuracy of every method on each domain left out."""
    c = colours(theme)
    shades = {"erm": c.reference, "oracle": c.extrapolated}
    traces = [
        go.Scatter(
            x=list(result.targets), y=values.mean(0).tolist(), name=NAMES[arm], mode="markers+lines", marker={"size": 8},
            line={"color": shades.get(arm, c.series[k % 6]), "width": 3 if arm == "erm" else 1.5,
                  "dash": "dot" if arm == "oracle" else "solid"},
        )
        for k, (arm, values) in enumerate(result.unseen.items())
    ]  # fmt: skip
    mean = {arm: float(values.mean()) for arm, values in result.unseen.items() if arm != "oracle"}
    best = max(mean, key=mean.__getitem__)
    gain = 100 * (mean[best] - mean["erm"])
    tail = f", {gain:.1f} points above ERM" if best != "erm" else ""
    title = f"{NAMES[best]} is best on left-out domains with {mean[best]:.1%}{tail}"
    return figure(*traces, theme=theme, title=title, x="domain left out", y="accuracy")


def points_over_erm(result, *, theme: str = "light") -> go.Figure:
    """Points of accuracy that each method is above plain training, in four measures; means over seeds and domains."""
    arms = [arm for arm in result.unseen if arm != "erm"]
    values = [
        [100 * float((getattr(result, name)[arm] - getattr(result, name)["erm"]).mean()) for name in MEASURES]
        for arm in arms
    ]
    size = max(1.0, max(abs(one) for row in values for one in row))
    heat = go.Heatmap(
        x=list(MEASURES.values()), y=[NAMES[arm] for arm in arms], z=values, zmin=-size, zmax=size, colorscale="RdBu",
        text=[[f"{one:+.1f}" for one in row] for row in values], texttemplate="%{text}", colorbar={"title": "points"},
    )  # fmt: skip
    ahead = sum(row[1] > 0 for arm, row in zip(arms, values) if arm != "oracle")
    count = len(arms) - 1
    title = f"{ahead} of {count} methods are above ERM on left-out domains"
    fig = figure(heat, theme=theme, title=title, x="accuracy on", y="", height=200 + 44 * len(arms))
    return fig.update_yaxes(autorange="reversed").update_layout(margin={"l": 150})
