"""Accuracy over bytes, weights with their levels, and accuracy over bits."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure


def accuracy_over_bytes(result, *, theme: str = "light") -> go.Figure:
    """Each arm whose size is known: mean accuracy over its bytes, on a logarithmic axis."""
    c = colours(theme)
    arms = [arm for arm in result.accuracy if arm in result.bytes]
    mean = {arm: float(result.accuracy[arm].mean()) for arm in arms}
    dots = go.Scatter(
        x=[result.bytes[arm] for arm in arms], y=[mean[arm] for arm in arms], mode="markers+text", text=arms,
        textposition="top center", marker={"size": 12, "color": [c.reference if a == "teacher" else c.matched for a in arms]},
    )  # fmt: skip
    small = min((arm for arm in arms if arm != "teacher"), key=result.bytes.__getitem__)
    ratio = result.bytes["teacher"] / result.bytes[small]
    title = (
        f"{small}: {ratio:.0f} times smaller than the teacher, accuracy {mean[small]:.1%} against {mean['teacher']:.1%}"
    )
    fig = figure(dots, theme=theme, title=title, x="bytes of the weights", y="test accuracy")
    return fig.update_xaxes(type="log").update_layout(margin={"r": 60})


def arms(result, *, theme: str = "light") -> go.Figure:
    """Test accuracy by arm, one dot a seed."""
    c = colours(theme)
    names = list(reversed(result.accuracy))
    dots = go.Scatter(
        x=[float(v) for arm in names for v in result.accuracy[arm]], y=[arm for arm in names for _ in result.accuracy[arm]],
        mode="markers", name="seed", marker={"color": c.series[1], "size": 8, "opacity": 0.7},
    )  # fmt: skip
    mean = {arm: float(result.accuracy[arm].mean()) for arm in names}
    bars = go.Scatter(
        x=list(mean.values()), y=names, mode="markers", name="mean",
        marker={"color": c.reference, "size": 14, "symbol": "line-ns-open", "line": {"width": 3}},
    )  # fmt: skip
    title = (
        f"The teacher ({mean['teacher']:.1%}) lifts the student from {mean['student']:.1%} to {mean['distilled']:.1%}"
    )
    fig = figure(dots, bars, theme=theme, title=title, x="test accuracy", height=160 + 32 * len(names))
    return fig.update_layout(margin={"l": 170})


def levels(whole, quantized, *, theme: str = "light") -> go.Figure:
    """The histogram of a layer's weights in full precision and of its quantized weights; lines at few values."""
    c = colours(theme)
    values = quantized.reshape(-1).tolist()
    places = sorted(set(values))
    width = (max(places) - min(places)) / 80 if len(places) > 1 else 0.01
    bins = {"start": min(places) - width / 2, "end": max(places) + width, "size": width}
    traces = [
        go.Histogram(x=data, xbins=bins, name=name, marker={"color": tone}, opacity=0.6)
        for name, data, tone in (
            ("full precision", whole.reshape(-1).tolist(), c.series[1]),
            ("quantized", values, c.prediction),
        )
    ]
    title = f"{len(values):,} weights on {len(places)} values"
    fig = figure(*traces, theme=theme, title=title, x="weight", y="weights", bargap=0.0, barmode="overlay")
    for place in places if len(places) <= 16 else []:
        fig.add_vline(x=place, line={"color": c.prediction, "width": 1})
    return fig


def over_bits(curve, bits: int, *, theme: str = "light") -> go.Figure:
    """The recorded accuracies over the bits of a weight; lines for the teacher, the full-precision student and the chosen bits."""
    c = colours(theme)
    axis = list(range(1, len(curve["accuracy"]) + 1))
    tones = (c.matched, c.extrapolated, c.prediction)
    traces = [
        go.Scatter(
            x=axis, y=curve["accuracy"][:, k].tolist(), name=str(arm), mode="lines+markers", line={"color": tones[k]}
        )
        for k, arm in enumerate(curve["arms"])
    ]
    here = curve["accuracy"][bits - 1]
    title = f"At {bits} bit{'s' * (bits > 1)}: {here[0]:.1%} trained quantized with a teacher, {here[2]:.1%} rounded afterwards"
    fig = figure(*traces, theme=theme, title=title, x="bits a weight", y="test accuracy")
    fig.add_hline(
        y=float(curve["teacher"]),
        line={"color": c.reference, "dash": "dot"},
        annotation_text="teacher",
        annotation_position="top left",
    )
    full = {"annotation_text": "student, 32 bits", "annotation_position": "bottom right"}
    fig.add_hline(y=float(curve["full"]), line={"color": c.muted, "dash": "dot"}, **full)
    return fig.add_vline(x=bits, line={"color": c.reference, "width": 1})
