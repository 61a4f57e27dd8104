"""Figures of Betti matching: where matched and unmatched features lie, how long they live, what the loss pulls at."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.topology.barcodes import NAMES, Bar
from lab.topology.matching import Matching
from widgets.figures.theme import colours, figure, lines, template

KINDS = ("matched", "only in the prediction", "only in the label")


def overlay(matching: Matching, *, image=None, threshold: float = 0.5, min_length: float = 0.2, highlight: Bar | None = None,
            theme: str = "light") -> go.Figure:
    """The image with the outlines of label and thresholded prediction, and every feature from birth to death voxel.

    ``min_length`` leaves out shorter bars, ``highlight`` lights up one feature's voxels.
    """
    c = colours(theme)
    background = matching.prediction if image is None else image
    prediction, label = _plane(matching.prediction), _plane(matching.label)
    traces = [_picture(background)]
    traces += _outline(label > threshold if label.max() <= 1 else label > 0, c.label, "outline of the label", 2)
    traces += _outline(prediction >= threshold, c.prediction, f"outline of the prediction at {threshold:g}", 1.4)
    if highlight is not None:
        traces.append(_voxels(matching, highlight, c))
    shown = _listed(matching, min_length)
    for kind, colour, bars in zip(KINDS, (c.matched, c.prediction, c.label), shown):
        traces += _places(bars, matching.shape[-1], colour, kind)
    title = (
        f"{len(shown[0])} features matched, {len(shown[1])} only in the prediction, {len(shown[2])} only in the label "
        f"(bars of at least {min_length:g})"
    )
    fig = figure(*traces, theme=theme, title=title, x="column (pixels)", y="row (pixels)", height=560)
    height, width = prediction.shape
    fig.update_yaxes(range=[height - 0.5, -0.5], scaleanchor="x", constrain="domain", showgrid=False, zeroline=False)
    fig.update_xaxes(range=[-0.5, width - 0.5], constrain="domain", showgrid=False, zeroline=False)
    hidden = int(matching.counts().to_numpy().sum()) - sum(len(bars) for bars in shown)
    if hidden:
        fig.add_annotation(
            text=f"{hidden} features shorter than {min_length:g} are not drawn", x=1, y=1.0, xref="paper", yref="paper",
            showarrow=False, xanchor="right", yanchor="bottom", font={"size": 11, "color": c.muted},
        )
    return fig


def barcodes(matching: Matching, *, min_length: float = 0.2, most: int = 60, highlight: Bar | None = None,
             theme: str = "light") -> go.Figure:
    """Bars of prediction and label side by side, matched ones in one colour; the longest ``most`` of each side."""
    c = colours(theme)
    fig = make_subplots(cols=2, shared_yaxes=False, horizontal_spacing=0.08)
    named, total, lone = set(), 0, 0
    for column, side in enumerate(("prediction", "label"), start=1):
        rows = []
        for d in matching.dimensions:
            own = KINDS[1] if side == "prediction" else KINDS[2]
            rows += [(bar, KINDS[0], d) for bar in getattr(matching.matched[d], side)]
            rows += [(bar, own, d) for bar in getattr(matching, f"unmatched_{side}")[d]]
        rows = [row for row in rows if row[0].length >= min_length]
        total += len(rows)
        lone += sum(kind != KINDS[0] for _, kind, _ in rows)
        rows = sorted(rows, key=lambda row: (-row[2], row[0].length))[-most:]
        for kind, colour in zip(KINDS, (c.matched, c.prediction, c.label)):
            for d in matching.dimensions:
                chosen = [(k, bar) for k, (bar, word, dimension) in enumerate(rows) if word == kind and dimension == d]
                if not chosen:
                    continue
                name = f"{kind}, {NAMES[d]}"
                x, y, text, custom = [], [], [], []
                for k, bar in chosen:
                    place = divmod(bar.birth_voxel, matching.shape[-1])
                    words = f"{NAMES[d][:-1]} of the {side}, {kind}<br>"
                    words += f"{bar.birth:.3f} to {bar.death:.3f}, born at {place}"
                    x += [bar.birth, bar.death, None]
                    y += [k, k, None]
                    text += [words, words, None]
                    custom += [[side, d, bar.birth_voxel, bar.death_voxel]] * 2 + [None]
                wide = highlight is not None and any(bar == highlight for _, bar in chosen)
                fig.add_trace(
                    go.Scatter(
                        x=x, y=y, mode="lines", name=name, legendgroup=name, showlegend=name not in named, text=text,
                        customdata=custom, hoverinfo="text",
                        line={"color": colour, "width": 4 if wide else 2.5, "dash": "solid" if d == 0 else "dot"},
                    ),
                    row=1, col=column,
                )
                named.add(name)
    reverse = matching.filtration == "superlevel"
    title = f"{lone} of {total} bars of at least {min_length:g} have no partner"
    _dressed(fig, theme, title, height=460)
    fig.update_xaxes(autorange="reversed" if reverse else True)
    for column, side in enumerate(("prediction", "label"), start=1):
        fig.update_xaxes(title_text=f"value at birth and death ({side})", row=1, col=column)
    fig.update_yaxes(showticklabels=False, title_text="")
    fig.update_yaxes(title_text="features", row=1, col=1)
    return fig


def gradient(prediction, gradient, *, image=None, largest: int = 200, theme: str = "light") -> go.Figure:
    """What a step against the gradient does: triangles up where it raises a pixel, down where it lowers one."""
    c = colours(theme)
    prediction, pull = _plane(prediction), -_plane(gradient)
    order = np.argsort(-np.abs(pull).ravel())[:largest]
    order = order[np.abs(pull).ravel()[order] > 0]
    traces = [_picture(prediction if image is None else image)]
    size = np.abs(pull).ravel()[order] / (np.abs(pull).max() or 1.0)
    for sign, symbol, colour, name in ((1, "triangle-up", c.matched, "raised"), (-1, "triangle-down", c.prediction, "lowered")):
        keep = np.sign(pull.ravel()[order]) == sign
        x, y = order[keep] % prediction.shape[1], order[keep] // prediction.shape[1]
        words = [f"{name} from {prediction[j, i]:.3f}, pull {pull[j, i]:.3g}" for i, j in zip(x, y)]
        traces.append(
            go.Scatter(
                x=x, y=y, mode="markers", name=f"{name} ({int((np.sign(pull) == sign).sum())} pixels)", text=words,
                hoverinfo="text", marker={"symbol": symbol, "color": colour, "size": 7 + 9 * size[keep],
                                          "line": {"width": 1, "color": c.background}},
            )
        )
    touched = int((pull != 0).sum())
    title = f"The gradient sits on {touched} of {prediction.size} pixels: births and deaths of features"
    fig = figure(*traces, theme=theme, title=title, x="column (pixels)", y="row (pixels)", height=560)
    fig.update_yaxes(range=[prediction.shape[0] - 0.5, -0.5], scaleanchor="x", constrain="domain", showgrid=False)
    fig.update_xaxes(range=[-0.5, prediction.shape[1] - 0.5], constrain="domain", showgrid=False)
    return fig


def equal_dice(frame, *, theme: str = "light") -> go.Figure:
    """Dice and clDice beside the Betti errors, one group a prediction (rows of ``comparison.table``)."""
    c = colours(theme)
    names = list(frame.index)
    fig = make_subplots(cols=2, column_widths=[0.42, 0.58], horizontal_spacing=0.1)
    for column, colour, name in (("dice", c.extrapolated, "Dice"), ("cldice", c.series[1], "clDice")):
        fig.add_trace(go.Bar(x=names, y=frame[column], name=name, marker_color=colour), row=1, col=1)
    for column, colour, name in (
        ("betti_number_error", c.label, "Betti number error"),
        ("matching_error", c.prediction, "Betti matching error"),
    ):
        fig.add_trace(go.Bar(x=names, y=frame[column], name=name, marker_color=colour), row=1, col=2)
    low, high = frame.matching_error.min(), frame.matching_error.max()
    title = f"At Dice {frame.dice.mean():.2f} throughout, the matching error runs from {low} to {high} features"
    _dressed(fig, theme, title, height=420, bargap=0.3)
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
                    x=jitter, y=part[measure], mode="markers", name=arm, showlegend=False,
                    marker={"color": colour, "size": 8, "opacity": 0.75}, text=[f"{arm}, seed {s}" for s in part.seed],
                ),
                row=1, col=column,
            )
            mean = part[measure].mean()
            fig.add_trace(
                go.Scatter(x=[k - 0.28, k + 0.28], y=[mean, mean], mode="lines", showlegend=False, hoverinfo="skip",
                           line={"color": colour, "width": 3}),
                row=1, col=column,
            )
    means = frame.groupby("arm")[["matching_error", "dice"]].mean()
    title = "Means over seeds"
    if {"betti", baseline} <= set(arms):
        change = means.matching_error["betti"] - means.matching_error[baseline]
        points = 100 * (means.dice["betti"] - means.dice[baseline])
        title = (
            f"Betti matching: {means.matching_error[baseline]:.2f} to {means.matching_error['betti']:.2f} wrong features an "
            f"image ({change:+.2f}), Dice {points:+.2f} points"
        )
    _dressed(fig, theme, title, height=430)
    fig.update_xaxes(
        tickvals=list(range(len(arms))), ticktext=arms, range=[-0.5, len(arms) - 0.5], title_text="second term of the loss"
    )
    fig.update_yaxes(title_text="Betti matching error (features an image)", rangemode="tozero", row=1, col=1)
    fig.update_yaxes(title_text="Dice", row=1, col=2)
    return fig


def equal_counts(pair, errors, *, theme: str = "light") -> go.Figure:
    """Two predictions of equal Dice and equal Betti numbers; ``errors`` are their :class:`MatchingError`."""
    c = colours(theme)
    kept, moved = errors
    fig = make_subplots(cols=2, horizontal_spacing=0.05)
    for column, mask in enumerate((pair.kept >= 0.5, pair.moved >= 0.5), start=1):
        fig.add_trace(_picture(mask.float()), row=1, col=column)
        for trace in _outline(pair.label.numpy(), c.label, "outline of the label", 2):
            trace.showlegend = column == 1
            fig.add_trace(trace, row=1, col=column)
    title = f"{pair.moves} components in the wrong place: counted {sum(moved.betti_number_error)}, matched {moved.total}"
    _dressed(fig, theme, title, height=440)
    height, width = pair.label.shape
    for column, anchor in ((1, "x"), (2, "x2")):
        fig.update_yaxes(range=[height - 0.5, -0.5], scaleanchor=anchor, constrain="domain", showgrid=False, row=1, col=column)
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
        go.Bar(x=names, y=[p.wasserstein_share for _, p in rows], name="Wasserstein matching", marker_color=c.prediction,
               text=[f"{p.wasserstein_apart} of {p.wasserstein}" for _, p in rows]),
        go.Bar(x=names, y=[p.induced_share for _, p in rows], name="Betti matching", marker_color=c.matched,
               text=[f"{p.induced_apart} of {p.induced}" for _, p in rows]),
    ]
    wrong = sum(p.wasserstein_apart for _, p in rows), sum(p.induced_apart for _, p in rows)
    total = sum(p.wasserstein for _, p in rows), sum(p.induced for _, p in rows)
    title = f"Wasserstein pairs {wrong[0]} of {total[0]} features apart, Betti matching {wrong[1]} of {total[1]}"
    return figure(*traces, theme=theme, title=title, x="image", y="share of pairs without a common pixel", height=420)


def rankings(frame, *, theme: str = "light") -> go.Figure:
    """Matching error of each prediction under three readings of the label (``segmentation_studies.pitfalls``)."""
    from lab.topology.segmentation_studies import inversions

    c = colours(theme)
    words = {"four": "foreground through 4 neighbours", "eight": "through 8", "artefacts": "label with artefacts, 4"}
    traces = [
        go.Scatter(
            x=[words[column] for column in frame.columns], y=frame.loc[name], mode="lines+markers", name=name,
            line={"color": c.series[k % len(c.series)], "dash": "dot" if "artefacts" in name else "solid"},
        )
        for k, name in enumerate(frame.index)
    ]
    first = inversions(list(frame.four), list(frame.eight))
    second = inversions(list(frame.four), list(frame.artefacts))
    title = f"{first[0]} of {first[1]} rankings invert with the neighbourhood, {second[0]} of {second[1]} with label artefacts"
    return figure(*traces, theme=theme, title=title, x="reading of the label", y="Betti matching error (features)", height=520)


def growth(frame, *, theme: str = "light") -> go.Figure:
    """CPU time of a matching against the number of pixels, both logarithmic, with its exponent."""
    c = colours(theme)
    slope = np.polyfit(np.log(frame.pixels), np.log(frame.seconds), 1)[0]
    trace = go.Scatter(x=frame.pixels, y=1e3 * frame.seconds, mode="lines+markers", line={"color": c.matched, "width": 3},
                       name="one matching", text=[f"{v:.0f} ns a pixel" for v in frame.nanoseconds_per_pixel])
    title = f"Time grows like pixels to the power {slope:.2f}: {frame.nanoseconds_per_pixel.iloc[-1]:.0f} ns a pixel"
    fig = figure(trace, theme=theme, title=title, x="pixels", y="CPU time (ms)", height=400)
    return fig.update_xaxes(type="log").update_yaxes(type="log")


def ratios(frame, *, theme: str = "light") -> go.Figure:
    """Peer's CPU time over ours, one bar a case of the committed table, with quartiles, target and floor."""
    c = colours(theme)
    bars = go.Bar(
        y=frame.case, x=frame.ratio, orientation="h", marker_color=c.matched, name="measured",
        text=[f"{r:.1f}" for r in frame.ratio],
        error_x={
            "type": "data", "symmetric": False, "array": frame.high - frame.ratio, "arrayminus": frame.ratio - frame.low,
        },
    )
    marks = [
        go.Scatter(y=frame.case, x=frame[column], mode="markers", name=column,
                   marker={"symbol": symbol, "size": 12, "color": colour})
        for column, symbol, colour in (("target", "line-ns-open", c.reference), ("floor", "line-ns-open", c.prediction))
    ]
    mean = float(np.exp(np.log(frame.ratio).mean()))
    title = f"{mean:.1f} times faster than the peers (geometric mean of {len(frame)} cases)"
    fig = figure(bars, *marks, theme=theme, title=title, x="peer's CPU time / ours", y="", height=140 + 34 * len(frame))
    return fig.update_yaxes(autorange="reversed")


def _dressed(fig, theme, title, **layout) -> go.Figure:
    """The lab's template and a title set in lines, for figures with several panels."""
    heading = lines(title)
    return fig.update_layout(
        template=template(theme), title_text=heading, margin_t=20 + 20 * (heading.count("<br>") + 1), **layout
    )


def _listed(matching, min_length):
    found = ([], [], [])
    for d in matching.dimensions:
        found[0].extend(bar for bar in matching.matched[d].prediction if bar.length >= min_length)
        found[1].extend(bar for bar in matching.unmatched_prediction[d] if bar.length >= min_length)
        found[2].extend(bar for bar in matching.unmatched_label[d] if bar.length >= min_length)
    return found


def _places(bars, width, colour, kind):
    """Birth (filled) and death (open) of each feature, joined; circles are components, squares are loops."""
    traces = []
    for d, symbol in enumerate(("circle", "square")):
        chosen = [bar for bar in bars if bar.dimension == d]
        if not chosen:
            continue
        x, y, symbols, words, custom = [], [], [], [], []
        for bar in chosen:
            text = f"{NAMES[d][:-1]}, {kind}<br>{bar.birth:.3f} to {bar.death:.3f}"
            for voxel, mark, end in ((bar.birth_voxel, symbol, "birth"), (bar.death_voxel, f"{symbol}-open", "death")):
                x.append(voxel % width)
                y.append(voxel // width)
                symbols.append(mark)
                words.append(f"{text}<br>{end} at ({voxel // width}, {voxel % width})")
                custom.append([bar.side, d, bar.birth_voxel, bar.death_voxel])
            x.append(None)
            y.append(None)
            symbols.append(symbol)
            words.append("")
            custom.append(None)
        marker = {"symbol": symbols, "color": colour, "size": 8, "line": {"width": 1.5, "color": colour}}
        traces.append(
            go.Scatter(x=x, y=y, mode="lines+markers", name=f"{kind}, {NAMES[d]} ({len(chosen)})", text=words, hoverinfo="text",
                       customdata=custom, line={"color": colour, "width": 1}, marker=marker)
        )
    return traces


def _voxels(matching, bar, c):
    cycle = matching.cycle(bar)
    width = matching.shape[-1]
    return go.Scatter(
        x=(cycle.voxels % width).tolist(), y=(cycle.voxels // width).tolist(), mode="markers", name="this feature",
        hoverinfo="skip", marker={"symbol": "square", "size": 4, "color": c.series[0], "opacity": 0.8},
    )


def _outline(mask, colour, name, width):
    from skimage.measure import find_contours

    x, y = [], []
    for line in find_contours(np.pad(np.asarray(mask, float), 1), 0.5):
        x += [*(line[:, 1] - 1).round(2).tolist(), None]
        y += [*(line[:, 0] - 1).round(2).tolist(), None]
    if not x:
        return []
    line = {"color": colour, "width": width}
    return [go.Scatter(x=x, y=y, mode="lines", name=name, line=line, hoverinfo="skip")]


def _picture(image) -> go.Image:
    """A grey picture as one embedded PNG, light enough for a report."""
    from PIL import Image

    values = _plane(image)
    low, high = float(values.min()), float(values.max())
    grey = np.uint8(255 * (values - low) / (high - low)) if high > low else np.full(values.shape, 128, np.uint8)
    stream = io.BytesIO()
    Image.fromarray(grey).convert("RGB").save(stream, "PNG")
    source = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    return go.Image(source=source, hoverinfo="skip", opacity=0.75)


def _plane(x) -> np.ndarray:
    array = x.detach().cpu().numpy() if hasattr(x, "detach") else np.asarray(x)
    return array.astype(np.float64).reshape(-1, array.shape[-1])
