"""Figures of the kernels: forms side by side, the roofline, the compile gate, random networks."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure

NAMES = {"reference": "torch reference", "cpu": "compiled, one core", "triton": "Triton, GPU"}


def forms(result, *, theme: str = "light") -> go.Figure:
    """Time of every form of one operation; forms that this machine cannot run stay empty and say why."""
    c = colours(theme)
    measured = [form for form in result.forms if not math.isnan(form.milliseconds)]
    best = min(measured, key=lambda form: form.milliseconds)
    reference = next(form for form in measured if form.form == "reference")
    if best.form == "reference":
        title = f"{result.op}: the torch reference is the fastest implementation here"
    else:
        title = (
            f"{result.op}: {NAMES[best.form]} is {_ratio(reference.milliseconds / best.milliseconds)} faster than torch"
        )
    names = [NAMES[form.form] for form in result.forms]
    bar = go.Bar(
        y=names,
        x=[None if math.isnan(form.milliseconds) else form.milliseconds for form in result.forms],
        orientation="h",
        width=0.55,
        marker_color=[c.holds if form.form == result.chosen else c.series[1] for form in result.forms],
        text=["" if math.isnan(form.milliseconds) else f"{form.milliseconds:.3g} ms" for form in result.forms],
        textposition="auto",
        hovertemplate="%{y}: %{x:.4g} ms<extra></extra>",
        showlegend=False,
    )
    drawn = figure(bar, theme=theme, title=title, x="CPU time of a forward call (ms)")
    drawn.update_yaxes(categoryorder="array", categoryarray=names[::-1])
    drawn.add_vline(
        x=result.roof_ms,
        line={"color": c.reference, "dash": "dot", "width": 1.5},
        annotation={"text": "roofline", "font": {"size": 11, "color": c.muted}, "yshift": 4},
    )
    for form in result.forms:
        if math.isnan(form.milliseconds):
            drawn.add_annotation(
                x=0,
                y=NAMES[form.form],
                xref="paper",
                xanchor="left",
                text=form.reason,
                showarrow=False,
                font={"size": 12, "color": c.muted},
                xshift=6,
            )
    return drawn


def errors(result, *, theme: str = "light") -> go.Figure:
    """Error of every form against float64, with the largest allowed error as a line."""
    c = colours(theme)
    measured = [form for form in result.forms if not math.isnan(form.error)]
    allowed = measured[0].allowed
    good = all(form.error <= allowed for form in measured)
    share = max(form.error for form in measured) / allowed
    title = (
        f"All implementations stay within {share:.0%} of the allowed error"
        if good
        else "An implementation exceeds the allowed error"
    )
    floor = 1e-17
    dots = go.Scatter(
        x=[max(form.error, floor) for form in measured],
        y=[NAMES[form.form] for form in measured],
        mode="markers",
        marker={"size": 13, "color": [c.holds if form.error <= allowed else c.fails for form in measured]},
        hovertemplate="%{y}: %{x:.2e}<extra></extra>",
        showlegend=False,
    )
    drawn = figure(dots, theme=theme, title=title, x="largest relative error against float64")
    low = math.log10(min(max(form.error, floor) for form in measured)) - 0.7
    high = math.log10(max(allowed, *(form.error for form in measured))) + 0.7
    drawn.update_xaxes(type="log", exponentformat="power", dtick=1, range=[low, high])
    drawn.update_yaxes(
        categoryorder="array",
        categoryarray=[NAMES[form.form] for form in measured][::-1],
        range=[-0.6, len(measured) - 0.4],
    )
    drawn.add_shape(
        type="line",
        x0=allowed,
        x1=allowed,
        y0=0,
        y1=1,
        yref="paper",
        line={"color": c.reference, "dash": "dot", "width": 1.5},
    )
    # Annotations on a logarithmic axis stand at the logarithm.
    drawn.add_annotation(
        x=math.log10(allowed),
        y=1,
        yref="paper",
        xanchor="right",
        yanchor="top",
        showarrow=False,
        text=f"allowed {allowed:g}",
        font={"size": 11, "color": c.muted},
        xshift=-4,
    )
    return drawn


def roofline(result, *, theme: str = "light") -> go.Figure:
    """Rate over intensity of every operation under the measured ceilings."""
    c = colours(theme)
    tops = result.ceilings
    shares = {row.op: row.of_roof for row in result.rows}
    best = max(shares, key=shares.get)
    low, high = min(result.intensity) / 3, max(result.intensity) * 3
    knee = tops.flops / tops.bytes
    line = sorted({low, min(max(knee, low), high), high})
    roof = go.Scatter(
        x=line,
        y=[min(tops.flops, tops.bytes * x) / 1e9 for x in line],
        mode="lines",
        name="measured roofline",
        line={"color": c.reference, "width": 2},
        hoverinfo="skip",
    )
    dots = go.Scatter(
        x=list(result.intensity),
        y=[rate / 1e9 for rate in result.rate],
        mode="markers+text",
        name="operation",
        text=[row.op for row in result.rows],
        textposition="bottom center",
        textfont={"size": 11, "color": c.text},
        marker={"size": 12, "color": c.holds},
        customdata=[100 * row.of_roof for row in result.rows],
        hovertemplate="%{text}: %{y:.3g} G/s at %{x:.3g} per byte, %{customdata:.0f} % of its roofline<extra></extra>",
    )
    drawn = figure(
        roof,
        dots,
        theme=theme,
        title=f"{best} comes closest to its roofline: {shares[best]:.0%}",
        x="operations per byte of minimum memory traffic",
        y="operations per second (G/s)",
    )
    drawn.update_xaxes(type="log", range=[math.log10(low), math.log10(high)])
    drawn.update_yaxes(type="log")
    return drawn


def end_to_end(results, *, theme: str = "light") -> go.Figure:
    """Whole computations with the fast forms and with the reference."""
    c = colours(theme)
    best = max(results, key=lambda result: result.ratio)
    names = [result.name for result in results]
    bars = [
        go.Bar(
            y=names,
            x=[1e3 * getattr(result, side) for result in results],
            orientation="h",
            name=name,
            marker_color=colour,
            text=[f"{1e3 * getattr(result, side):.3g} ms" for result in results],
        )
        for side, name, colour in (
            ("reference", "torch reference", c.reference),
            ("fast", "fast implementations", c.series[0]),
        )
    ]
    drawn = figure(
        *bars,
        theme=theme,
        title=f"{best.name}: {best.ratio:.1f} times faster as a whole",
        x="CPU time (ms)",
        barmode="group",
    )
    drawn.update_yaxes(autorange="reversed")
    return drawn


def benchmark(rows, *, theme: str = "light") -> go.Figure:
    """Ratios of a committed table of :mod:`tests.bench`: times of the peer over ours, with quartiles, floor and target."""
    c = colours(theme)
    if not rows:
        return figure(theme=theme, title="No table of measurements available")
    rows = sorted(rows, key=lambda row: float(row["ratio"]))
    ratio = [float(row["ratio"]) for row in rows]
    met = sum(r >= float(row["floor"]) for r, row in zip(ratio, rows))
    names = [row["case"] for row in rows]
    dots = go.Scatter(
        x=ratio,
        y=names,
        mode="markers",
        name="measured",
        marker={"size": 12, "color": [c.holds if r >= float(row["floor"]) else c.fails for r, row in zip(ratio, rows)]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [float(row["high"]) - r for r, row in zip(ratio, rows)],
            "arrayminus": [r - float(row["low"]) for r, row in zip(ratio, rows)],
            "color": c.muted,
        },
        customdata=[row["versions"] for row in rows],
        hovertemplate="%{y}: %{x:.2f}<br>%{customdata}<extra></extra>",
    )
    floor = go.Scatter(
        x=[float(row["floor"]) for row in rows],
        y=names,
        mode="markers",
        name="floor",
        marker={"symbol": "line-ns-open", "size": 14, "color": c.reference, "line": {"width": 2}},
        hovertemplate="floor %{x}<extra></extra>",
    )
    drawn = figure(
        floor,
        dots,
        theme=theme,
        title=f"{met} of {len(rows)} comparisons reach their required speed-up",
        x="CPU time, peer / lab",
        height=160 + 46 * len(rows),
    )
    drawn.update_xaxes(type="log")
    return drawn


def gate(rows, *, theme: str = "light") -> go.Figure:
    """Registers of every configuration by architecture and Triton version, from the committed table of the gate."""
    c = colours(theme)
    if not rows:
        return figure(theme=theme, title="No compile-gate table available")
    passed = sum(not row["failures"] for row in rows)
    names = list(dict.fromkeys(row["configuration"] for row in rows))[::-1]
    traces = []
    for k, target in enumerate(sorted({row["target"] for row in rows}, key=lambda name: int(name[3:]))):
        chosen = [row for row in rows if row["target"] == target]
        traces.append(
            go.Scatter(
                x=[int(row["registers"]) for row in chosen],
                y=[row["configuration"] for row in chosen],
                mode="markers",
                name=target,
                marker={"size": 9, "color": c.series[k], "symbol": ["circle", "square", "diamond"][k]},
                customdata=[
                    [row["triton"], row["wide_loads"], row["tensor_cores"], row["failures"] or "passes"]
                    for row in chosen
                ],
                hovertemplate="%{y}, Triton %{customdata[0]}: %{x} registers, %{customdata[1]} wide loads, "
                "%{customdata[2]} tensor-core instructions, %{customdata[3]}<extra>" + target + "</extra>",
            )
        )
    drawn = figure(
        *traces,
        theme=theme,
        title=f"{passed} of {len(rows)} compiled kernels pass the compile gate",
        x="registers per thread",
        height=140 + 30 * len(names),
    )
    drawn.update_yaxes(categoryorder="array", categoryarray=names)
    return drawn


def search(result, *, theme: str = "light") -> go.Figure:
    """The best of many random networks, replayed from its index, as a map of its sign."""
    c = colours(theme)
    count = len(result.errors)
    right = int((result.errors == 0).sum())
    best = float(result.errors.min())
    title = (
        f"{right} of {count:,} random networks separate the arcs; number {result.best:,} is shown here"
        if right
        else f"The best of {count:,} random networks misclassifies {best:.0%} of the points"
    )
    axis = [-1.6 + 4.2 * k / 59 for k in range(60)]
    top = float(result.grid.abs().max())
    field = go.Heatmap(
        x=axis,
        y=axis,
        z=(result.grid / top).sign().tolist(),
        colorscale=[[0, c.label], [1, c.prediction]],
        opacity=0.25,
        showscale=False,
        hoverinfo="skip",
    )
    traces = [field]
    for sign, colour, name in ((1, c.prediction, "first arc"), (-1, c.label, "second arc")):
        chosen = result.x[result.target == sign]
        traces.append(
            go.Scatter(
                x=chosen[:, 0].tolist(),
                y=chosen[:, 1].tolist(),
                mode="markers",
                name=name,
                marker={"size": 9, "color": colour, "line": {"width": 1, "color": c.background}},
            )
        )
    drawn = figure(*traces, theme=theme, title=title, x="first coordinate", y="second coordinate")
    drawn.update_yaxes(scaleanchor="x", constrain="domain", range=[-1.6, 2.6])
    drawn.update_xaxes(constrain="domain", range=[-1.6, 2.6])
    return drawn


def _ratio(value: float) -> str:
    return f"{value:.0f}×" if value >= 9.5 else f"{value:.1f}×"
