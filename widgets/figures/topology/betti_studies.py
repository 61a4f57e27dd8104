"""Figures of the studies about Betti matching: what losses, measures and conventions decide, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from widgets.figures.theme import colours, figure
from widgets.figures.topology.betti import dressed, outline, picture


def equal_dice(frame, *, theme: str = "light") -> go.Figure:
    """Dice and clDice beside the Betti errors, one group a prediction (rows of ``comparison.table``)."""
    c = colours(theme)
    names = list(frame.index)
    fig = make_subplots(cols=2, column_widths=[0.42, 0.58], horizontal_spacing=0.1)
    for column, colour, name in (("dice", c.series[0], "Dice"), ("cldice", c.series[1], "clDice")):
        fig.add_trace(go.Bar(x=names, y=frame[column], name=name, marker_color=colour), row=1, col=1)
    for column, colour, name in (
        ("betti_number_error", c.series[2], "Betti number error"),
        ("matching_error", c.reference, "Betti matching error"),
    ):
        fig.add_trace(go.Bar(x=names, y=frame[column], name=name, marker_color=colour), row=1, col=2)
    low, high = frame.matching_error.min(), frame.matching_error.max()
    title = f"At Dice {frame.dice.mean():.2f} throughout, the matching error runs from {low} to {high} features"
    dressed(fig, theme, title, height=420, bargap=0.3)
    fig.update_yaxes(title_text="overlap", range=[0, 1], row=1, col=1)
    fig.update_yaxes(title_text="features", row=1, col=2)
    fig.update_xaxes(title_text="kind of error in the prediction")
    return fig


def training(frame, *, baseline: str = "dice", theme: str = "light") -> go.Figure:
    """Matching error and Dice by arm, one point a seed, the mean as a bar across."""
    c = colours(theme)
    arms = list(dict.fromkeys(frame.arm))
    fig = make_subplots(cols=2, horizontal_spacing=0.12)
    for column, measure in ((1, "matching_error"), (2, "dice")):
        for k, arm in enumerate(arms):
            part = frame[frame.arm == arm]
            colour = c.reference if arm == baseline else c.matched if arm == "betti" else c.series[k % len(c.series)]
            jitter = k + np.linspace(-0.12, 0.12, len(part))
            fig.add_trace(
                go.Scatter(
                    x=jitter,
                    y=part[measure],
                    mode="markers",
                    name=arm,
                    showlegend=False,
                    marker={"color": colour, "size": 8, "opacity": 0.75},
                    text=[f"{arm}, seed {s}" for s in part.seed],
                ),
                row=1,
                col=column,
            )
            mean = part[measure].mean()
            fig.add_trace(
                go.Scatter(
                    x=[k - 0.28, k + 0.28],
                    y=[mean, mean],
                    mode="lines",
                    showlegend=False,
                    hoverinfo="skip",
                    line={"color": colour, "width": 3},
                ),
                row=1,
                col=column,
            )
    means = frame.groupby("arm")[["matching_error", "dice"]].mean()
    title = "Means over seeds"
    if {"betti", baseline} <= set(arms):
        change = means.matching_error["betti"] - means.matching_error[baseline]
        points = 100 * (means.dice["betti"] - means.dice[baseline])
        title = (
            f"Betti matching: {means.matching_error[baseline]:.2f} to {means.matching_error['betti']:.2f} wrong features per "
            f"image ({change:+.2f}), Dice {points:+.2f} points"
        )
    dressed(fig, theme, title, height=430)
    fig.update_xaxes(
        tickvals=list(range(len(arms))),
        ticktext=arms,
        range=[-0.5, len(arms) - 0.5],
        title_text="topological term of the loss",
    )
    fig.update_yaxes(title_text="Betti matching error (features per image)", rangemode="tozero", row=1, col=1)
    fig.update_yaxes(title_text="Dice", row=1, col=2)
    return fig


def equal_counts(pair, errors, *, theme: str = "light") -> go.Figure:
    """Two predictions of equal Dice and equal Betti numbers; ``errors`` are their :class:`MatchingError`."""
    c = colours(theme)
    kept, moved = errors
    fig = make_subplots(cols=2, horizontal_spacing=0.05)
    for column, mask in enumerate((pair.kept >= 0.5, pair.moved >= 0.5), start=1):
        fig.add_trace(picture(mask.float()), row=1, col=column)
        for trace in outline(pair.label.numpy(), c.label, "outline of the label", 2):
            trace.showlegend = column == 1
            fig.add_trace(trace, row=1, col=column)
    title = f"{pair.moves} misplaced components: Betti number error {sum(moved.betti_number_error)}, matching error {moved.total}"
    dressed(fig, theme, title, height=440)
    height, width = pair.label.shape
    for column, anchor in ((1, "x"), (2, "x2")):
        fig.update_yaxes(
            range=[height - 0.5, -0.5], scaleanchor=anchor, constrain="domain", showgrid=False, row=1, col=column
        )
        fig.update_xaxes(range=[-0.5, width - 0.5], constrain="domain", showgrid=False, row=1, col=column)
    for column, error in enumerate(errors, start=1):
        words = f"matching error {error.total}, Betti number error {sum(error.betti_number_error)}"
        fig.update_xaxes(title_text=f"column (pixels): {words}", row=1, col=column)
    fig.update_yaxes(title_text="row (pixels)", row=1, col=1)
    return fig


def placements(rows: Iterable[tuple[str, object]], *, theme: str = "light") -> go.Figure:
    """Pairs that lie apart under both matchings, one group an image; rows of (name, Placement)."""
    c = colours(theme)
    rows = list(rows)
    names = [name for name, _ in rows]
    traces = [
        go.Bar(
            x=names,
            y=[p.wasserstein_share for _, p in rows],
            name="Wasserstein matching",
            marker_color=c.prediction,
            text=[f"{p.wasserstein_apart} of {p.wasserstein}" for _, p in rows],
        ),
        go.Bar(
            x=names,
            y=[p.induced_share for _, p in rows],
            name="Betti matching",
            marker_color=c.matched,
            text=[f"{p.induced_apart} of {p.induced}" for _, p in rows],
        ),
    ]
    wrong = sum(p.wasserstein_apart for _, p in rows), sum(p.induced_apart for _, p in rows)
    total = sum(p.wasserstein for _, p in rows), sum(p.induced for _, p in rows)
    title = f"Disjoint pairs: {wrong[0]} of {total[0]} under Wasserstein matching, {wrong[1]} of {total[1]} under Betti matching"
    return figure(*traces, theme=theme, title=title, x="image", y="share of pairs without a common pixel", height=420)


def rankings(frame, *, theme: str = "light") -> go.Figure:
    """Matching error of each prediction under three readings of the label (``segmentation_studies.pitfalls``)."""
    from lab.topology.studies.segmentation import inversions

    c = colours(theme)
    words = {"four": "4-connected foreground", "eight": "8-connected", "artefacts": "label with artefacts, 4-connected"}
    traces = [
        go.Scatter(
            x=[words[column] for column in frame.columns],
            y=frame.loc[name],
            mode="lines+markers",
            name=name,
            line={"color": c.series[k % len(c.series)], "dash": "dot" if "artefacts" in name else "solid"},
        )
        for k, name in enumerate(frame.index)
    ]
    first = inversions(list(frame.four), list(frame.eight))
    second = inversions(list(frame.four), list(frame.artefacts))
    title = f"{first[0]} of {first[1]} rankings invert with the connectivity, {second[0]} of {second[1]} with label artefacts"
    return figure(
        *traces, theme=theme, title=title, x="reading of the label", y="Betti matching error (features)", height=520
    )


def growth(frame, *, theme: str = "light") -> go.Figure:
    """CPU time of a matching against the number of pixels, both logarithmic, with its exponent; and its memory, where
    the frame has ``bytes_per_pixel``."""
    c = colours(theme)
    slope = np.polyfit(np.log(frame.pixels), np.log(frame.seconds), 1)[0]
    trace = go.Scatter(
        x=frame.pixels,
        y=1e3 * frame.seconds,
        mode="lines+markers",
        line={"color": c.matched, "width": 3},
        name="CPU time",
        text=[f"{v:.0f} ns per pixel" for v in frame.nanoseconds_per_pixel],
    )
    title = f"Time grows as pixels^{slope:.2f}: {frame.nanoseconds_per_pixel.iloc[-1]:.0f} ns per pixel"
    if "bytes_per_pixel" not in frame:
        fig = figure(trace, theme=theme, title=title, x="pixels", y="CPU time (ms)", height=400)
        return fig.update_xaxes(type="log").update_yaxes(type="log")
    title += f", {frame.bytes_per_pixel.iloc[-1]:.0f} bytes per pixel"
    fig = make_subplots(cols=2, horizontal_spacing=0.14)
    fig.add_trace(trace, row=1, col=1)
    memory = go.Scatter(
        x=frame.pixels,
        y=frame.bytes_per_pixel,
        mode="lines+markers",
        name="memory",
        line={"color": c.series[1], "width": 3},
    )
    fig.add_trace(memory, row=1, col=2)
    dressed(fig, theme, title, height=400)
    fig.update_xaxes(type="log", title_text="pixels")
    fig.update_yaxes(type="log", title_text="CPU time (ms)", row=1, col=1)
    return fig.update_yaxes(rangemode="tozero", title_text="peak memory (bytes per pixel)", row=1, col=2)


def companions(frame, *, theme: str = "light") -> go.Figure:
    """Every measure of predictions of equal Dice, as a share of its largest value over all of them; rows of the
    committed table with columns ``image`` and ``prediction``."""
    c = colours(theme)
    measures = {
        "betti_number_error": "Betti number error",
        "matching_error": "Betti matching error",
        "betti_matching_loss": "Betti matching loss",
        "wasserstein": "Wasserstein matching",
        "topograph": "Topograph",
    }
    names = [f"{row.image}: {row.prediction}" for row in frame.itertuples()]
    paint = (c.label, c.prediction, c.matched, *c.series)
    traces = [
        go.Scatter(
            x=frame[column] / frame.groupby("image")[column].transform("max").clip(lower=1e-12),
            y=names,
            mode="markers",
            name=name,
            marker={"color": colour, "size": 9, "symbol": symbol},
            text=[f"{name} {value:.4g}" for value in frame[column]],
            hoverinfo="text+y",
        )
        for (column, name), colour, symbol in zip(
            measures.items(), paint, ("diamond", "square", "circle", "cross", "triangle-up")
        )
    ]
    wrong = frame[frame.prediction != "the label itself"]
    unseen = int(((wrong.betti_number_error == 0) & (wrong.matching_error > 0)).sum())
    title = (
        f"Dice {wrong.dice.min():.2f} to {wrong.dice.max():.2f} throughout; the Betti number error misses {unseen} of "
        f"{int((wrong.matching_error > 0).sum())} predictions that matching finds wrong"
    )
    fig = figure(
        *traces,
        theme=theme,
        title=title,
        x="share of the largest value of the image",
        y="",
        height=160 + 24 * len(frame),
    )
    return fig.update_yaxes(autorange="reversed", automargin=True)


def orientation(frame, *, theme: str = "light") -> go.Figure:
    """Share of pairs whose matching changes when an axis is flipped, by kind (``segmentation_studies.orientation``)."""
    c = colours(theme)
    shares, change = (
        frame.groupby("kind", sort=False).changed.mean(),
        frame.groupby("kind", sort=False).loss_change.max(),
    )
    bars = go.Bar(
        x=list(shares.index),
        y=shares,
        marker_color=c.matched,
        name="pairs that change",
        text=[f"{100 * s:.0f} %, loss by up to {100 * d:.2g} %" for s, d in zip(shares, change)],
    )
    title = (
        f"A flip changes the matching of {100 * shares.iloc[0]:.0f} % of noise pairs, {100 * shares.iloc[-1]:.0f} % of "
        "predictions with their label"
    )
    bars.update(textposition="outside", cliponaxis=False)
    fig = figure(bars, theme=theme, title=title, x="the two images", y="share of pairs that change", height=380)
    return fig.update_yaxes(range=[0, 1.15])


def ratios(frame, *, theme: str = "light") -> go.Figure:
    """Peer's CPU time over ours, one bar a case of the committed table, with quartiles, target and floor."""
    c = colours(theme)
    bars = go.Bar(
        y=frame.case,
        x=frame.ratio,
        orientation="h",
        marker_color=c.matched,
        name="measured",
        text=[f"{r:.1f}" for r in frame.ratio],
        textposition="inside",
        insidetextanchor="start",
        error_x={
            "type": "data",
            "symmetric": False,
            "array": frame.high - frame.ratio,
            "arrayminus": frame.ratio - frame.low,
        },
    )
    marks = [
        go.Scatter(
            y=frame.case,
            x=frame[column],
            mode="markers",
            name=column,
            marker={"symbol": symbol, "size": 12, "color": colour},
        )
        for column, symbol, colour in (("target", "line-ns-open", c.reference), ("floor", "line-ns-open", c.prediction))
    ]
    mean = float(np.exp(np.log(frame.ratio).mean()))
    title = f"{mean:.1f} times faster than the peers (geometric mean of {len(frame)} cases)"
    fig = figure(bars, *marks, theme=theme, title=title, x="peer's CPU time / ours", y="", height=140 + 34 * len(frame))
    return fig.update_yaxes(autorange="reversed")
