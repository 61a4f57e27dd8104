"""Figures of one loss law: its tail by every estimate, what the fit misses, and which test examples demand the bits."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go

from widgets.figures.theme import colours, figure


def tail(estimates, *, eps: float | None = None, theme: str = "light") -> go.Figure:
    """Required bits against the threshold: exact curve, drawn losses, fitted tail, and the zone that no draw has seen.

    ``eps`` adds a line that can be dragged.
    """
    c = colours(theme)
    e = estimates
    shown = np.unique(np.geomspace(1, e.draws, 60).astype(int)) - 1
    deepest = float(np.nanmax(e.exact[np.isfinite(e.exact)]))
    top = math.log10(max(deepest, 2 * e.seen) * 1.3)
    fig = figure(theme=theme, x="threshold ε (mean squared error)", y="required bits", title=_tail_title(e, eps))
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
    title = f"At {depth[use].max():.0f} times the depth of the draws, the fit misses {worst:.0f} % of the bits"
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
    fig = figure(
        theme=theme, title=f"A tenth of the test examples accounts for {share:.0f} % of the {found.bits:.3g} bits"
    )
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
        title=f"A tenth of the test examples accounts for {share:.0f} % of the {found.bits:.3g} bits",
        x="test example, costliest first",
        y="bits",
    )
    fig.add_bar(x=np.arange(1, len(bits) + 1), y=bits, marker={"color": c.label}, name="bits")
    return fig


def _tail_title(e, eps):
    if eps is None:
        return (
            f"Reaching the posterior mean's loss {e.reached:.3g} takes {np.interp(e.reached, e.eps, e.exact):.0f} bits"
        )
    exact, fitted = (float(np.interp(math.log(eps), np.log(e.eps), values)) for values in (e.exact, e.fitted))
    return f"{exact:.3g} bits to reach {eps:.3g}; the fitted tail gives {fitted:.3g}"


def _ticks(low, high):
    """Round numbers 1, 2, 5 times powers of ten inside the range."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [v * 10.0**p for p in powers for v in (1, 2, 5) if low <= v * 10.0**p <= high]


def _square(size):
    side = math.isqrt(size)
    if side * side != size:
        raise ValueError(f"images must be (n, h, w) or flat squares, got {size} values each")
    return side, side
