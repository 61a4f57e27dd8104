"""Private synthetic tables: errors by arm and by query, noise beside error, an attacker's evidence."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from widgets.figures.theme import colours, figure

ORDER = ("genetic", "genetic, adaptive", "relaxed", "independent", "random table")


def errors(result, *, theme: str = "light") -> go.Figure:
    """Mean error of each arm, one dot a seed, beside the error of the noised answers."""
    c = colours(theme)
    arms = [arm for arm in ORDER[::-1] if arm in result.error]
    tones = {"genetic": c.matched, "genetic, adaptive": c.series[1], "relaxed": c.prediction}
    dots = go.Scatter(
        x=[float(v) for arm in arms for v in result.error[arm]], y=[arm for arm in arms for _ in result.error[arm]],
        mode="markers", name="seed", marker={"size": 9, "color": [tones.get(a, c.muted) for a in arms for _ in result.error[a]]},
        showlegend=False,
    )  # fmt: skip
    ratio = float(result.error["relaxed"].mean() / result.error["genetic"].mean())
    title = f"First-order search keeps {ratio:.1f} times the error of the genetic search"
    fig = figure(dots, theme=theme, title=title, x="mean error of an answer (share of rows)", height=300)
    noise = float(result.noise.mean())
    if noise > 0:
        fig.add_vline(x=noise, line={"dash": "dot", "color": c.reference}, annotation_text="noise")
    return fig.update_xaxes(type="log").update_layout(margin={"l": 130})


def by_query(result, arms=("relaxed", "genetic"), *, theme: str = "light") -> go.Figure:
    """Error of every answer over its true value, first seed."""
    c = colours(theme)
    tones = {"genetic": c.matched, "relaxed": c.prediction}
    floor = 1e-5
    traces = [
        go.Scatter(
            x=result.truth.tolist(), y=np.maximum(result.by_query[arm], floor).tolist(), mode="markers", name=arm,
            marker={"size": 6, "opacity": 0.7, "color": tones.get(arm, c.muted)},
        )
        for arm in arms
    ]  # fmt: skip
    fig = figure(
        *traces,
        theme=theme,
        title="Where the error sits",
        x="true answer (share of rows)",
        y="error of the table's answer",
    )
    return fig.update_yaxes(type="log")


def ladder(results: dict, *, theme: str = "light") -> go.Figure:
    """Errors over epsilon: the tables of the genetic search, the noise, and a random table."""
    c = colours(theme)
    epsilons = sorted(results)
    lines = {
        "synthetic table": ([results[e].error["genetic"].mean() for e in epsilons], c.matched, "solid"),
        "relaxed search": ([results[e].error["relaxed"].mean() for e in epsilons], c.prediction, "solid"),
        "noised answers": ([results[e].noise.mean() for e in epsilons], c.series[0], "dash"),
        "random table": ([results[e].error["random table"].mean() for e in epsilons], c.muted, "dot"),
    }
    traces = [
        go.Scatter(
            x=epsilons, y=[float(v) for v in y], name=name, mode="lines+markers", line={"color": tone, "dash": dash}
        )
        for name, (y, tone, dash) in lines.items()
    ]
    least = float(results[epsilons[0]].error["genetic"].mean() / results[epsilons[0]].noise.mean())
    title = f"At ε = {epsilons[0]:g} the table's error is {least:.2f} times that of the noise"
    fig = figure(*traces, theme=theme, title=title, x="privacy budget ε", y="mean error of an answer")
    return fig.update_xaxes(type="log").update_yaxes(type="log")


def attacks(found: dict, *, theme: str = "light") -> go.Figure:
    """Epsilon that an attacker proves beside the stated one; ``found`` maps a label to lists of attacks."""
    c = colours(theme)
    tones = (c.matched, c.prediction)
    bars = [
        go.Bar(
            x=[one.mechanism for one in attacks_], y=[max(one.epsilon, 0.0) for one in attacks_], name=label,
            marker={"color": tones[k % 2]},
        )
        for k, (label, attacks_) in enumerate(found.items())
    ]  # fmt: skip
    stated = next(iter(found.values()))[0].stated
    proved = {label: max(one.epsilon for one in attacks_) for label, attacks_ in found.items()}
    title = "; ".join(f"{label}: {value:.2f} proved" for label, value in proved.items()) + f", {stated:g} stated"
    fig = figure(*bars, theme=theme, title=title, y="proved lower bound of ε", barmode="group")
    return fig.add_hline(y=stated, line={"dash": "dot", "color": c.reference}, annotation_text="stated ε")


def answers(truth, synthetic, noised, names, *, theme: str = "light") -> go.Figure:
    """True answers against those of a synthetic table, beside the noised ones, by kind of query."""
    c = colours(theme)
    points = go.Scatter(
        x=truth.tolist(), y=synthetic.tolist(), mode="markers", name="synthetic table", text=list(names),
        marker={"size": 6, "color": c.matched, "opacity": 0.75}, hovertemplate="%{text}<br>true %{x:.3f}, synthetic %{y:.3f}",
    )  # fmt: skip
    cloud = go.Scatter(
        x=truth.tolist(), y=noised.tolist(), mode="markers", name="noised answer",
        marker={"size": 4, "color": c.series[0], "opacity": 0.5},
    )  # fmt: skip
    line = go.Scatter(x=[0, 1], y=[0, 1], mode="lines", name="equal", line={"color": c.reference, "dash": "dot"})
    mean, noise = float(np.abs(synthetic - truth).mean()), float(np.abs(noised - truth).mean())
    title = f"Answers are off by {mean:.3f} on average; the noise alone is {noise:.3f}"
    return figure(cloud, points, line, theme=theme, title=title, x="true answer", y="released answer")


def columns(true: dict, made: dict, *, theme: str = "light") -> go.Figure:
    """Shares by level or interval of every column: the private table beside the synthetic one."""
    from plotly.subplots import make_subplots

    from widgets.figures.theme import template

    c = colours(theme)
    names = list(true)
    across = min(3, len(names))
    down = -(-len(names) // across)
    fig = make_subplots(down, across, subplot_titles=names, vertical_spacing=0.32 / down, horizontal_spacing=0.06)
    for k, name in enumerate(names):
        place = {"row": k // across + 1, "col": k % across + 1}
        labels = list(true[name][0])
        for label, values, tone in (("private", true[name][1], c.muted), ("synthetic", made[name][1], c.matched)):
            bar = go.Bar(
                x=labels, y=list(values), name=label, marker={"color": tone}, showlegend=k == 0, legendgroup=label
            )
            fig.add_trace(bar, **place)
    fig.update_xaxes(type="category", showticklabels=False)
    fig.update_annotations(font_size=12)
    return fig.update_layout(template=template(theme), height=110 + 130 * down, margin={"t": 36}, bargap=0.1)
