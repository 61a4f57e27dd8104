"""Heads by domain: what each says of a target, and what following them brings."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure

NAMES = {
    "erm": "ERM",
    "soft": "entropy-weighted heads",
    "hard": "lowest-entropy head",
    "uniform": "equally weighted heads",
    "all": "shared head",
    "soft by sample": "per-sample entropy-weighted heads",
    "best head": "best head (oracle)",
}


def accuracies_by_target(result, part: str = "unseen", *, theme: str = "light") -> go.Figure:
    """Mean accuracy by target of the rules; ``part``: "unseen" (the left-out domain) or "seen" (held items of the sources)."""
    c, found = colours(theme), getattr(result, part)
    shown = {name: found[name].mean(0) for name in NAMES}
    traces = [
        go.Scatter(
            x=list(result.targets), y=values.tolist(), name=NAMES[name], mode="markers+lines",
            line={"dash": "dot" if name == "best head" else "solid", "width": 3 if name in ("erm", "soft") else 1},
            marker={"color": c.reference if name == "erm" else c.matched if name == "soft" else c.series[k % 7], "size": 9},
            line_color=c.reference if name == "erm" else c.matched if name == "soft" else c.series[k % 7],
        )
        for k, (name, values) in enumerate(shown.items())
    ]  # fmt: skip
    gain = float((found["soft"] - found["erm"]).mean())
    where = "left-out domains" if part == "unseen" else "source domains"
    verb, than = ("gain", "over") if gain >= 0 else ("lose", "to")
    title = f"Averaged over {where}, entropy-weighted heads {verb} {abs(100 * gain):.1f} points {than} ERM"
    return figure(*traces, theme=theme, title=title, x="domain left out", y="accuracy")


def head_votes(result, target: str, *, theme: str = "light") -> go.Figure:
    """Mean entropy of each domain head on a target against its accuracy there, one dot a head and seed."""
    c, k = colours(theme), result.targets.index(target)
    sources = [name for name in result.targets if name != target]
    entropy, accuracy = result.entropy[:, k], result.heads[:, k]
    traces = [
        go.Scatter(
            x=entropy[:, i].tolist(), y=accuracy[:, i].tolist(), name=f"head of {name}", mode="markers",
            marker={"color": c.series[i % 7], "size": 11},
        )
        for i, name in enumerate(sources)
    ]  # fmt: skip
    right = float((entropy.argmin(1) == accuracy.argmax(1)).double().mean())
    title = f"On {target} the most confident head is the best one in {100 * right:.0f} % of the runs"
    return figure(*traces, theme=theme, title=title, x="mean entropy on the target (nats)", y="accuracy on the target")


def gap_correlations(result, *, theme: str = "light") -> go.Figure:
    """Rank correlation of each gap estimate with the heads' true errors, one dot a target and seed."""
    c = colours(theme)
    means = {name: float(values.mean()) for name, values in result.correlation.items()}
    dots = [
        go.Scatter(
            x=[name] * values.numel(), y=values.flatten().tolist(), mode="markers", showlegend=False,
            marker={"color": c.series[1], "size": 7, "opacity": 0.5},
        )
        for name, values in result.correlation.items()
    ]  # fmt: skip
    line = go.Scatter(
        x=list(means), y=list(means.values()), mode="markers", name="mean",
        marker={"color": c.reference, "size": 16, "symbol": "line-ew-open", "line": {"width": 3}},
    )  # fmt: skip
    best, worst = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    title = f"'{best}' ranks the heads best ({means[best]:.2f}), '{worst}' worst ({means[worst]:.2f})"
    return figure(*dots, line, theme=theme, title=title, x="gap estimate", y="rank correlation with target error")
