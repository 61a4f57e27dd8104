"""Figures of required bits: the tail of a loss law, the bit map, curves over sizes, rankings, prices of edits."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from widgets.figures.theme import colours, figure, template


def tail(estimates, *, eps: float | None = None, theme: str = "light") -> go.Figure:
    """Required bits against the threshold: exact curve, drawn losses, fitted tail, and the zone that no draw has seen.

    ``eps`` adds a line that can be dragged.
    """
    c = colours(theme)
    e = estimates
    shown = np.unique(np.geomspace(1, e.draws, 60).astype(int)) - 1
    deepest = float(np.nanmax(e.exact[np.isfinite(e.exact)]))
    top = math.log10(max(deepest, 2 * e.seen) * 1.3)
    fig = figure(theme=theme, x="threshold eps (mean squared error)", y="required bits", title=_tail_title(e, eps))
    left, right = float(e.eps.min()), float(max(e.eps.max(), np.quantile(e.losses, 0.999)))
    # a trace and not a shape: shapes can be dragged
    fig.add_scatter(
        x=[left, right, right, left],
        y=[e.seen, e.seen, 10**top, 10**top],
        fill="toself",
        mode="lines",
        line={"width": 0},
        fillcolor="rgba(153,153,153,0.16)",
        showlegend=False,
        hoverinfo="skip",
        name="beyond the draws",
    )
    fig.add_annotation(
        x=math.log10(left),
        y=math.log10(e.seen),
        xanchor="left",
        yanchor="bottom",
        showarrow=False,
        text=f"  beyond log2 of {e.draws:,} draws: extrapolated",
        font={"size": 11, "color": c.muted},
    )
    fig.add_scatter(
        x=e.eps,
        y=e.gamma,
        mode="lines",
        name="shifted gamma, same moments",
        line={"color": c.series[1], "width": 1.5, "dash": "dot"},
    )
    fig.add_scatter(
        x=e.eps,
        y=e.fitted,
        mode="lines",
        name="fitted non-central chi-square",
        line={"color": c.series[0], "width": 2, "dash": "dash"},
    )
    fig.add_scatter(
        x=e.losses[shown],
        y=e.counted[shown],
        mode="markers",
        name=f"{e.draws:,} drawn losses, counted",
        marker={"color": c.label, "size": 6, "opacity": 0.8},
    )
    fig.add_scatter(x=e.eps, y=e.exact, mode="lines", name="exact", line={"color": c.reference, "width": 2.5})
    if eps is not None:
        fig.add_shape(
            type="line",
            x0=eps,
            x1=eps,
            y0=0,
            y1=1,
            yref="paper",
            editable=True,
            name="eps",
            line={"color": c.holds, "width": 3},
        )
    ticks = [v for v in (0.1, 1, 10, 100, 1000, 10_000) if v < 10**top]
    fig.update_yaxes(type="log", range=[math.log10(0.05), top], tickvals=ticks, ticktext=[f"{v:g}" for v in ticks])
    fig.update_xaxes(
        type="log",
        range=[math.log10(left), math.log10(right)],
        tickvals=_ticks(left, right),
        ticktext=[f"{v:g}" for v in _ticks(left, right)],
    )
    return fig


def missed(estimates, *, theme: str = "light") -> go.Figure:
    """Share of the bits that the fitted tail misses, against depth in units of log2(draws)."""
    c = colours(theme)
    depth, share = estimates.exact / estimates.seen, 100 * estimates.missed_share()
    use = np.isfinite(share) & (depth > 0.05)
    worst = float(share[use][np.argmax(depth[use])])
    title = f"At {depth[use].max():.0f} times the depth of the draws the fit misses {worst:.0f} % of the bits"
    fig = figure(theme=theme, title=title, x="exact bits / log2(draws)", y="missed by the fit (%)")
    fig.add_vrect(x0=1, x1=float(depth[use].max()), fillcolor=c.extrapolated, opacity=0.16, line_width=0, layer="below")
    fig.add_hline(y=0, line={"color": c.reference, "width": 1})
    band = 100 * 1.96 * estimates.fitted_error[use] / estimates.exact[use]
    fig.add_scatter(
        x=np.concatenate([depth[use], depth[use][::-1]]),
        mode="lines",
        fill="toself",
        opacity=0.35,
        y=np.concatenate([share[use] + band, (share[use] - band)[::-1]]),
        line={"width": 0},
        fillcolor=c.series[0],
        name="95 % sampling error",
        hoverinfo="skip",
    )
    fig.add_scatter(x=depth[use], y=share[use], mode="lines", name="missed", line={"color": c.series[0], "width": 2.5})
    fig.update_xaxes(type="log")
    return fig


def bit_map(found, images, *, rows: int = 3, columns: int = 8, theme: str = "light") -> go.Figure:
    """The test examples that demand most and least, as images with their bits; ``images (n, h, w)``.

    The upper rows hold the dearest examples, the last row the cheapest.
    """
    c = colours(theme)
    images = np.asarray(images, dtype=float)
    images = images.reshape(len(images), *(_square(images.shape[1]) if images.ndim == 2 else images.shape[-2:]))
    bits = found.examples.numpy()
    order = np.argsort(-bits)
    count = min(rows * columns, len(bits))
    rows = -(-count // columns)
    last = min(columns, max(0, count - (rows - 1) * columns))
    chosen = np.concatenate([order[: count - last], order[len(order) - last :]])
    h, w = images.shape[1:]
    labels = []
    canvas = np.full((rows * (h + 3), columns * (w + 1)), np.nan)
    share = 100 * bits[order[: max(1, len(bits) // 10)]].sum() / max(bits.sum(), 1e-300)
    fig = figure(theme=theme, title=f"A tenth of the test examples demands {share:.0f} % of the {found.bits:.3g} bits")
    for place, index in enumerate(chosen):
        row, column = divmod(place, columns)
        top, left = row * (h + 3), column * (w + 1)
        canvas[top : top + h, left : left + w] = images[index]
        labels.append((left + (w - 1) / 2, top + h + 0.7, f"{bits[index]:.2g} bits"))
    x, y, words = zip(*labels)
    fig.add_scatter(
        x=x, y=y, text=words, mode="text", textfont={"size": 11, "color": c.text}, hoverinfo="skip", showlegend=False
    )
    fig.add_heatmap(z=canvas, colorscale="gray" if theme == "dark" else "gray_r", showscale=False, hoverinfo="skip")
    fig.update_yaxes(autorange="reversed", scaleanchor="x", visible=False)
    fig.update_xaxes(visible=False)
    return fig


def bits_by_example(found, *, theme: str = "light") -> go.Figure:
    """Bits of each test example, dearest first, for tasks without images."""
    c = colours(theme)
    bits = np.sort(found.examples.numpy())[::-1]
    share = 100 * bits[: max(1, len(bits) // 10)].sum() / max(bits.sum(), 1e-300)
    fig = figure(
        theme=theme,
        title=f"A tenth of the test examples demands {share:.0f} % of the {found.bits:.3g} bits",
        x="test example, dearest first",
        y="bits",
    )
    fig.add_bar(x=np.arange(1, len(bits) + 1), y=bits, marker={"color": c.label}, name="bits")
    return fig


def over_sizes(over_test, over_train, *, theme: str = "light") -> go.Figure:
    """Bits against the number of test points (left) and of training points (right)."""
    c = colours(theme)
    fig = make_subplots(rows=1, cols=2, horizontal_spacing=0.14)
    fig.add_scatter(
        x=over_test["n_test"],
        y=over_test["bits"],
        mode="lines+markers",
        row=1,
        col=1,
        showlegend=False,
        line={"color": c.reference, "width": 2.5},
        name="bits",
    )
    fig.add_scatter(
        x=over_train["n_train"],
        y=over_train["bits"],
        mode="lines+markers",
        row=1,
        col=2,
        showlegend=False,
        line={"color": c.reference, "width": 2.5},
        name="bits",
    )
    first, last = over_train["bits"].iloc[0], over_train["bits"].iloc[-1]
    title = (
        f"{over_train['n_train'].iloc[-1]} labels in place of {over_train['n_train'].iloc[0]} bring "
        f"{_words(first)} down to {_words(last)} bits"
    )
    fig.update_layout(template=template(theme), title_text=title)
    fig.update_xaxes(title_text="test points", row=1, col=1)
    fig.update_xaxes(title_text="training points", row=1, col=2)
    fig.update_yaxes(title_text="required bits", rangemode="tozero")
    return fig


def ranking(frame, *, theme: str = "light") -> go.Figure:
    """Spaces by required bits, the cheapest on top; unreachable ones are named without a bar.

    Laws of optimizers are another quantity than posteriors of priors: they stand in another colour, and the title
    names the best of the posteriors where there is one.
    """
    c = colours(theme)
    trained = frame["law"].eq("law of an optimizer") if "law" in frame else np.zeros(len(frame), dtype=bool)
    ranked = frame[~np.asarray(trained)] if not np.all(trained) else frame
    best = ranked.iloc[0]
    title = (
        f"{best['space']} asks for the fewest bits: {_words(best['bits'])}"
        if math.isfinite(best["bits"])
        else "No space reaches this loss"
    )
    fig = figure(theme=theme, title=title, x="required bits")
    order = list(frame["space"])[::-1]
    for name, mask, colour in (
        ("posterior of a prior", ~np.asarray(trained), c.holds),
        ("law of an optimizer", np.asarray(trained), c.series[0]),
    ):
        part = frame[mask & np.isfinite(frame["bits"])]
        if not len(part):
            continue
        plus = np.clip(np.where(np.isfinite(part["high"]), part["high"], part["bits"]) - part["bits"], 0, None)
        minus = np.clip(part["bits"] - part["low"], 0, None)
        shade = [colour if verdict == "valid" else c.extrapolated for verdict in part["verdict"]]
        fig.add_bar(
            y=part["space"],
            x=part["bits"],
            orientation="h",
            marker={"color": shade},
            name=name,
            text=[_words(value) for value in part["bits"]],
            textposition="auto",
            error_x={"type": "data", "array": plus, "arrayminus": minus, "color": c.muted, "thickness": 1.5},
        )
    fig.update_layout(showlegend=bool(np.any(trained) and not np.all(trained)))
    rest = frame[~np.isfinite(frame["bits"])]
    for name, low, verdict in zip(rest["space"], rest["low"], rest["verdict"]):
        text = verdict if verdict == "unreachable" else f"{verdict} (more than {low:.3g} bits)"
        fig.add_annotation(
            x=0,
            xref="paper",
            y=name,
            text=text,
            xanchor="left",
            showarrow=False,
            xshift=8,
            font={"color": c.fails, "size": 12},
        )
    finite = frame["bits"][np.isfinite(frame["bits"])]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (1.0, 10.0)
    if low > 0.1 and high / low > 30:
        fig.update_xaxes(type="log", range=[math.log10(low) - 0.5, math.log10(high) + 0.3])
    fig.update_yaxes(categoryorder="array", categoryarray=order)
    return fig


def speed(table, *, theme: str = "light") -> go.Figure:
    """CPU time of the other side over ours, by case of the committed benchmark table."""
    c = colours(theme)
    table = table.sort_values("ratio")
    best = table.iloc[-1]
    fig = figure(
        theme=theme,
        title=f"{best['case']}: {best['ratio']:,.0f} times faster than {best['peer']}",
        x="CPU time of the other side / ours",
        showlegend=False,
        height=120 + 44 * len(table),
    )
    fig.add_vline(x=1, line={"color": c.reference, "width": 1.5})
    fig.add_scatter(
        y=[f"{case}<br>against {peer}" for case, peer in zip(table["case"], table["peer"])],
        x=table["ratio"],
        mode="markers",
        marker={"color": [c.holds if r >= f else c.fails for r, f in zip(table["ratio"], table["floor"])], "size": 10},
        error_x={
            "type": "data",
            "array": table["high"] - table["ratio"],
            "color": c.muted,
            "arrayminus": table["ratio"] - table["low"],
        },
    )
    fig.update_xaxes(type="log", exponentformat="power")
    return fig


def over_dimension(frame, *, theme: str = "light") -> go.Figure:
    """Exact bits against the input dimension, and the bound of 2023 on the same logarithmic axis."""
    c = colours(theme)
    first, last = frame.iloc[0], frame.iloc[-1]
    title = (
        f"From {int(first['dimension'])} to {int(last['dimension'])} dimensions the bits grow from "
        f"{first['bits']:.2g} to {last['bits']:.3g}"
    )
    fig = figure(theme=theme, title=title, x="dimension of the inputs", y="required bits")
    bits = np.where(frame["bits"] > 0.01, frame["bits"], np.nan)
    bound = frame["log10_bound"].to_numpy()
    fig.add_scatter(
        x=frame["dimension"],
        y=np.where(bound > 0, 10.0 ** np.clip(bound, -300, 300), np.nan),
        mode="lines+markers",
        name="bound of 2023",
        line={"color": c.extrapolated, "dash": "dash"},
    )
    fig.add_scatter(
        x=frame["dimension"], y=bits, mode="lines+markers", name="exact", line={"color": c.reference, "width": 2.5}
    )
    fig.update_yaxes(type="log", exponentformat="power", dtick=2)
    return fig


def prices(frame, *, theme: str = "light") -> go.Figure:
    """What each edit of a task adds in bits."""
    c = colours(theme)
    edits = frame[(frame["edit"] != "none") & np.isfinite(frame["added_bits"])].iloc[::-1]
    if len(edits):
        dear = edits.iloc[-1]
        title = f"Dearest edit: {dear['edit']}, {dear['added_bits']:+.3g} bits"
    else:
        title = "No edit leaves the task reachable"
    fig = figure(theme=theme, title=title, x="added bits", showlegend=False)
    colour = [c.fails if value > 0 else c.holds for value in edits["added_bits"]]
    fig.add_bar(
        y=edits["edit"],
        x=edits["added_bits"],
        orientation="h",
        marker={"color": colour},
        text=[f"{value:+.3g}" for value in edits["added_bits"]],
        textposition="auto",
    )
    return fig


def boolean_prior(counts, complexity, *, theme: str = "light") -> go.Figure:
    """Bits of each Boolean function under random networks against the complexity of its truth table."""
    c = colours(theme)
    counts, complexity = np.asarray(counts, dtype=float), np.asarray(complexity, dtype=float)
    total = counts.sum()
    seen = counts > 0
    bits = -np.log2(counts[seen] / total)
    uniform = math.log2(len(counts))
    simple = counts[complexity <= np.quantile(complexity, 0.1)].sum() / total
    fig = figure(
        theme=theme,
        x="complexity of the truth table (bits)",
        y="-log2 P(function), bits",
        title=f"Random networks put {100 * simple:.0f} % of their mass on the simplest tenth of all functions",
    )
    fig.add_hline(
        y=uniform,
        line={"color": c.extrapolated, "dash": "dash"},
        annotation_text="uniform law",
        annotation_position="bottom right",
        annotation_font={"color": c.muted, "size": 11},
    )
    rng = np.random.default_rng(0)
    fig.add_scattergl(
        x=complexity[seen] + rng.uniform(-0.4, 0.4, seen.sum()),
        y=bits,
        mode="markers",
        name="function",
        marker={"color": c.label, "size": 3, "opacity": 0.35},
        hoverinfo="skip",
    )
    levels = np.unique(complexity[seen])
    median = [np.median(bits[complexity[seen] == level]) for level in levels]
    fig.add_scatter(x=levels, y=median, mode="lines+markers", name="median", line={"color": c.reference, "width": 2})
    return fig


def splitting_calibration(frame, *, theme: str = "light") -> go.Figure:
    """Splitting against the known answer: ``exact, bits, low, high``."""
    c = colours(theme)
    error = 100 * np.abs(frame["bits"] / frame["exact"] - 1)
    inside = ((frame["low"] <= frame["exact"]) & (frame["exact"] <= frame["high"])).mean()
    fig = figure(
        theme=theme,
        x="exact bits",
        y="splitting / exact",
        title=f"Splitting is {np.median(error):.1f} % off in the median; {100 * inside:.0f} % of its intervals cover",
    )
    fig.add_hline(y=1, line={"color": c.reference, "width": 2})
    ratio = frame["bits"] / frame["exact"]
    fig.add_scatter(
        x=frame["exact"],
        y=ratio,
        mode="markers",
        name="estimate",
        marker={"color": c.label, "size": 7},
        error_y={
            "type": "data",
            "array": frame["high"] / frame["exact"] - ratio,
            "arrayminus": ratio - frame["low"] / frame["exact"],
            "color": c.label,
            "thickness": 1,
        },
    )
    fig.update_xaxes(type="log")
    return fig


def network_widths(frame, *, theme: str = "light") -> go.Figure:
    """Bits of random networks by width (``width, bits, low, high``) and the exact bits of their limit (``exact``)."""
    c = colours(theme)
    exact = float(frame["exact"].iloc[0])
    last = frame.iloc[-1]
    fig = figure(
        theme=theme,
        x="width of the hidden layer",
        y="bits to fit the training labels",
        title=f"At width {int(last['width'])} random networks need {last['bits']:.3g} bits, "
        f"their infinite limit {exact:.3g}",
    )
    fig.add_hline(
        y=exact,
        line={"color": c.reference, "width": 2.5},
        annotation_text="exact, infinite width",
        annotation_position="top left",
    )
    fig.add_scatter(
        x=frame["width"],
        y=frame["bits"],
        mode="lines+markers",
        name="splitting",
        line={"color": c.label},
        error_y={
            "type": "data",
            "array": frame["high"] - frame["bits"],
            "arrayminus": frame["bits"] - frame["low"],
            "color": c.label,
        },
    )
    fig.update_xaxes(type="log", tickvals=list(frame["width"]), ticktext=[str(w) for w in frame["width"]])
    return fig


def lines(
    frame,
    x: str,
    columns: list[str],
    *,
    title: str,
    x_title: str,
    y_title: str,
    log_y: bool = False,
    theme: str = "light",
) -> go.Figure:
    """Several columns of a table against one, as lines."""
    c = colours(theme)
    fig = figure(theme=theme, title=title, x=x_title, y=y_title)
    for index, column in enumerate(columns):
        colour = c.reference if index == 0 else c.series[(index - 1) % len(c.series)]
        fig.add_scatter(
            x=frame[x], y=frame[column], mode="lines+markers", name=column, line={"color": colour, "width": 2}
        )
    if log_y:
        fig.update_yaxes(type="log")
    return fig


def _tail_title(e, eps):
    if eps is None:
        return (
            f"Reaching the posterior mean's loss {e.reached:.3g} takes {np.interp(e.reached, e.eps, e.exact):.0f} bits"
        )
    exact, fitted = (float(np.interp(math.log(eps), np.log(e.eps), values)) for values in (e.exact, e.fitted))
    return f"{exact:.3g} bits to reach {eps:.3g}; the fitted tail says {fitted:.3g}"


def _ticks(low, high):
    """Round numbers 1, 2, 5 times powers of ten inside the range."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [v * 10.0**p for p in powers for v in (1, 2, 5) if low <= v * 10.0**p <= high]


def _square(size):
    side = math.isqrt(size)
    if side * side != size:
        raise ValueError(f"images must be (n, h, w) or flat squares, got {size} values each")
    return side, side


def _words(value):
    if not math.isfinite(value):
        return "unreachable"
    return "almost 0" if 0 < value < 0.005 else f"{value:.3g}"
