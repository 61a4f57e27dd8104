"""Figures of persistence as an objective: clouds that move, barcodes and signed barcodes, what studies found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import torch

from lab.topology.persistence.diagrams import Diagram
from lab.topology.persistence.signed_measures import SignedMeasure
from lab.topology.studies.clouds import CENTRES, CloudRun, GridError, Race
from lab.topology.studies.graphs import DescriptorScore
from widgets.figures import linking
from widgets.figures.theme import colours, figure

AXES = {1: ("threshold", "threshold"), 2: ("edge length", "second parameter")}


def cloud(
    points,
    *,
    start=None,
    directions=None,
    values=None,
    values_name: str = "value",
    links: Sequence[tuple[int, ...]] = (),
    title: str = "",
    movable: bool = False,
    span: float | None = None,
    theme: str = "light",
) -> go.Figure:
    """Points in the plane, with where they came from, where they are going, and simplices to light up.

    Args:
        points: (n, 2).
        start: earlier positions (n, 2), drawn as pale dots joined to the present ones.
        directions: minus the gradient (n, 2), drawn as segments scaled to be seen.
        values: one number a point, as colour.
        links: simplices as tuples of points.
        movable: draw each point as a shape that the visitor may drag.
        span: half width of the square that is shown; of the points if ``None``.
    """
    c = colours(theme)
    x = _array(points)
    traces = []
    if start is not None:
        before = _array(start)
        traces.append(_segments(before, x, c.muted, "trajectory", 1))
    if directions is not None and len(x):
        push = _array(directions)
        longest = np.linalg.norm(push, axis=1).max()
        reach = 0.25 * (np.ptp(x, axis=0).max() or 1.0)
        if longest > 0:
            traces.append(_segments(x, x + push * reach / longest, c.series[2], "descent direction (scaled)", 2))
    for simplex in links:
        ends = [*simplex, simplex[0]] if len(simplex) > 2 else list(simplex)
        line = {"color": c.prediction, "width": 4}
        marker = {"color": c.prediction, "size": 12}
        mode = "markers" if len(simplex) == 1 else "lines"
        traces.append(
            go.Scatter(
                x=x[ends, 0], y=x[ends, 1], mode=mode, line=line, marker=marker, name="generates the selected feature"
            )
        )
    marker = {"size": 8, "color": c.label, "line": {"width": 1, "color": c.background}}
    if values is not None:
        bar = {"title": {"text": values_name, "side": "right"}, "thickness": 12, "outlinewidth": 0}
        marker |= {"color": _array(values), "colorscale": "Viridis", "colorbar": bar}
    hover = "point %{customdata}: (%{x:.3f}, %{y:.3f})<extra></extra>"
    spots = go.Scatter(
        x=x[:, 0],
        y=x[:, 1],
        mode="markers",
        marker=marker,
        customdata=np.arange(len(x)),
        hovertemplate=hover,
        name="points",
    )
    traces.append(spots)
    seen = set()
    for trace in traces:
        # what a pointer lights up must not move the picture that it points into
        trace.showlegend = trace.name not in {*seen, "generates the selected feature"} and len(traces) > 1
        seen.add(trace.name)
    fig = figure(*traces, theme=theme, title=title or f"{len(x)} points", x="x", y="y")
    everything = np.concatenate([x, _array(start)]) if start is not None else x
    middle = (everything.max(0) + everything.min(0)) / 2
    half = span or 0.58 * max(np.ptp(everything, axis=0).max(), 1e-3)
    fig.update_xaxes(range=[middle[0] - half, middle[0] + half], zeroline=False, constrain="domain")
    fig.update_yaxes(range=[middle[1] - half, middle[1] + half], zeroline=False, scaleanchor="x", constrain="domain")
    if movable:
        size = half / 40
        for px, py in x:
            corners = {"x0": px - size, "x1": px + size, "y0": py - size, "y1": py + size}
            fig.add_shape(type="circle", editable=True, line={"width": 0}, fillcolor="rgba(0,0,0,0.01)", **corners)
    return fig


def _segments(start, end, colour, name, width):
    gaps = np.full(len(start), np.nan)
    x, y = (np.stack([start[:, a], end[:, a], gaps], 1).reshape(-1) for a in (0, 1))
    line = {"color": colour, "width": width}
    return go.Scatter(x=x, y=y, mode="lines", line=line, name=name, hoverinfo="skip")


def diagram(
    *found: Diagram, names: Sequence[str] = (), highlight: int | None = None, theme: str = "light"
) -> go.Figure:
    """Persistence diagrams: birth against death, the longest bar named in the title; ``highlight`` marks a bar."""
    c = colours(theme)
    names = list(names) or [f"degree {item.degree}" for item in found]
    points = [_array(item.points) for item in found]
    both = np.concatenate([p.reshape(-1) for p in points] + [_array(item.essential) for item in found])
    low, high = (both.min(), both.max()) if len(both) else (0.0, 1.0)
    pad = 0.05 * (high - low or 1.0)
    line = {"color": c.muted, "width": 1}
    traces = [
        go.Scatter(
            x=[low - pad, high + pad],
            y=[low - pad, high + pad],
            mode="lines",
            line=line,
            name="diagonal (zero persistence)",
        )
    ]
    traces[0].hoverinfo = "skip"
    for k, (p, name) in enumerate(zip(points, names)):
        marker = {"size": 9, "color": c.series[k], "line": {"width": 1, "color": c.background}}
        hover = "birth %{x:.4g}, death %{y:.4g}<extra>" + name + "</extra>"
        bars = go.Scatter(x=p[:, 0], y=p[:, 1], mode="markers", marker=marker, name=name, hovertemplate=hover)
        bars.customdata = np.arange(len(p))
        traces.append(bars)
    if highlight is not None and highlight < len(points[-1]):
        ring = {"size": 18, "color": "rgba(0,0,0,0)", "line": {"width": 3, "color": c.prediction}}
        spot = points[-1][highlight]
        traces.append(
            go.Scatter(
                x=[spot[0]],
                y=[spot[1]],
                mode="markers",
                marker=ring,
                name="selected",
                hoverinfo="skip",
                showlegend=False,
            )
        )
    last = points[-1]
    longest = float((last[:, 1] - last[:, 0]).max()) if len(last) else 0.0
    title = f"{len(last)} bars in {names[-1]}, the longest {longest:.3g}"
    fig = figure(*traces, theme=theme, title=title, x="birth (threshold)", y="death (threshold)")
    room = [low - 2 * pad, high + 2 * pad]
    return fig.update_xaxes(range=room).update_yaxes(range=room)


def atoms(measure: SignedMeasure, *, highlight: int | None = None, axes=AXES[2], theme: str = "light") -> go.Figure:
    """A signed barcode of two parameters: births (+) and deaths (-) as places in the plane of both."""
    c = colours(theme)
    points, weights = _array(measure.points), measure.weights.cpu().numpy()
    traces = []
    for sign, name, symbol, colour in ((1, "positive", "circle", c.series[1]), (-1, "negative", "x", c.series[0])):
        here = np.flatnonzero(np.sign(weights) == sign)
        size = 7 + 2 * np.minimum(np.abs(weights[here]) - 1, 4)
        hover = f"{axes[0]} %{{x:.4g}}, {axes[1]} %{{y:.4g}}<extra>{name}</extra>"
        marker = {"size": size, "symbol": symbol, "color": colour}
        trace = go.Scatter(
            x=points[here, 0], y=points[here, 1], mode="markers", marker=marker, name=name, hovertemplate=hover
        )
        trace.customdata = here
        traces.append(trace)
    if highlight is not None and highlight < len(points):
        ring = {"size": 18, "color": "rgba(0,0,0,0)", "line": {"width": 3, "color": c.prediction}}
        spot = points[highlight]
        traces.append(
            go.Scatter(
                x=[spot[0]],
                y=[spot[1]],
                mode="markers",
                marker=ring,
                name="selected",
                hoverinfo="skip",
                showlegend=False,
            )
        )
    title = f"{(weights > 0).sum()} positive and {(weights < 0).sum()} negative atoms, total mass {measure.mass}"
    fig = figure(*traces, theme=theme, title=title, x=axes[0], y=axes[1])
    if len(points):
        low, high = points.min(0), points.max(0)
        pad = 0.07 * np.where(high > low, high - low, 1.0)
        fig.update_xaxes(range=[low[0] - pad[0], high[0] + pad[0]]).update_yaxes(
            range=[low[1] - pad[1], high[1] + pad[1]]
        )
    return fig


def links_of(found, filtration, points, most: int = 400) -> tuple[dict, dict]:
    """For :func:`widgets.figures.linking.linked`: of the first ``most`` bars or atoms the simplices in the cloud, and their
    places in the diagram."""
    x, places = _array(points), _array(found.points)
    in_cloud, in_diagram = {}, {}
    for atom, cells in enumerate(found.index[:most].tolist()):
        simplices = [x[list(filtration.vertices(cell))] for cell in cells]
        in_cloud[str(atom)] = [linking.part([*s, s[0]] if len(s) > 2 else s, joined=len(s) > 1) for s in simplices]
        in_diagram[str(atom)] = [linking.part(places[atom : atom + 1])]
    return in_cloud, in_diagram


def surface(
    measure: SignedMeasure, *, axes=AXES[2], name: str = "dimension", lines: int = 60, theme: str = "light"
) -> go.Figure:
    """The function of a two-parameter measure (dimension of homology at every grade) as a map, atoms' places below it."""
    points = _array(measure.points)
    grid = [np.linspace(points[:, a].min(), points[:, a].max(), lines) for a in range(2)]
    grades = torch.cartesian_prod(*[torch.from_numpy(line) for line in grid])
    table = measure.at(grades).reshape(lines, lines).T.numpy()
    shade = np.log2(1 + np.maximum(table, 0))
    ticks = [t for t in (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512) if t <= table.max()]
    bar = {"title": {"text": name, "side": "right"}, "thickness": 12, "outlinewidth": 0}
    bar |= {"tickvals": [math.log2(1 + t) for t in ticks], "ticktext": [str(t) for t in ticks]}
    hover = f"{axes[0]} %{{x:.3g}}, {axes[1]} %{{y:.3g}}: {name} %{{customdata}}<extra></extra>"
    heat = go.Heatmap(
        x=grid[0], y=grid[1], z=shade, customdata=table, colorscale="Viridis", colorbar=bar, hovertemplate=hover
    )
    title = f"{name.capitalize()} is at most {int(table.max())} and {int(table[-1, -1])} at the end"
    return figure(heat, theme=theme, title=title, x=axes[0], y=axes[1])


def losses(
    curves: Mapping[str, Sequence[float]], *, now: int | None = None, y: str = "loss", theme: str = "light"
) -> go.Figure:
    """Loss over steps, one curve a run; ``now`` marks a step."""
    c = colours(theme)
    traces = [
        go.Scatter(
            x=list(range(len(v))), y=list(v), mode="lines" if len(v) > 1 else "markers", name=k,
            line={"width": 2, "color": c.series[i % 7]}, marker={"size": 9, "color": c.series[i % 7]},
        )
        for i, (k, v) in enumerate(curves.items())
    ]  # fmt: skip
    name, values = next(iter(curves.items()))
    title = f"{name.capitalize()} changes from {values[0]:.3g} to {values[-1]:.3g} in {len(values) - 1} steps"
    if len(values) == 1:
        title = f"{name.capitalize()} is {values[0]:.3g} before the first step"
    fig = figure(*traces, theme=theme, title=title, x="step", y=y, showlegend=len(traces) > 1)
    if len(values) == 1:
        fig.update_xaxes(range=[-0.5, 10])
    if now is not None:
        fig.add_vline(x=now, line={"color": c.muted, "width": 1, "dash": "dot"})
    return fig


def spreads(runs: Sequence[CloudRun], *, theme: str = "light") -> go.Figure:
    """Radius of gyration over steps, thin curves for seeds, thick for their mean; one colour for each number of parameters."""
    c = colours(theme)
    names = {1: "persistence only", 2: "edge length and codensity"}
    traces, drift = [], {}
    for parameters, colour in ((1, c.series[0]), (2, c.series[1])):
        curves = np.array([np.array(run.spread) / run.spread[0] for run in runs if run.parameters == parameters])
        if not len(curves):
            continue
        drift[parameters] = np.mean([run.drift for run in runs if run.parameters == parameters])
        for curve in curves:
            traces.append(
                go.Scatter(y=curve, mode="lines", line={"width": 1, "color": colour}, opacity=0.35, showlegend=False)
            )
            traces[-1].hoverinfo = "skip"
        traces.append(
            go.Scatter(y=curves.mean(0), mode="lines", name=names[parameters], line={"width": 3, "color": colour})
        )
    title = "Growth per 100 steps at the end: " + ", ".join(f"{drift[p]:.1%} with {names[p]}" for p in drift)
    return figure(*traces, theme=theme, title=title, x="step", y="radius of gyration (start = 1)")


def places(run: CloudRun, *, title: str = "", theme: str = "light") -> go.Figure:
    """Last positions of a localized-loops run with the three places where loops are wanted."""
    c = colours(theme)
    fig = cloud(run.end, title=title, theme=theme)
    for x, y in CENTRES:
        box = {"x0": x - 0.2, "x1": x + 0.2, "y0": y - 0.2, "y1": y + 0.2}
        fig.add_shape(type="circle", line={"color": c.matched, "width": 2, "dash": "dot"}, **box)
    return fig


def grid_error(found: GridError, *, theme: str = "light") -> go.Figure:
    """Cosine to the exact gradient and error of the value over the resolution of the grid."""
    c = colours(theme)
    traces = [
        go.Scatter(x=found.resolution, y=found.cosine, mode="lines+markers", name="cosine to the exact gradient"),
        go.Scatter(x=found.resolution, y=found.value_error, mode="lines+markers", name="relative error of the value"),
    ]
    for trace, colour in zip(traces, (c.series[0], c.series[1])):
        trace.line.color = colour
    at = min(range(len(found.resolution)), key=lambda k: abs(found.resolution[k] - 50))
    title = (
        f"At {found.resolution[at]} grid lines the value is off by {found.value_error[at]:.1%}; "
        f"the gradient has cosine {found.cosine[at]:.2f}"
    )
    fig = figure(*traces, theme=theme, title=title, x="grid lines per axis", y="cosine, relative error")
    return fig.update_xaxes(type="log").update_yaxes(range=[-0.1, 1.05])


def race(found: Race, *, theme: str = "light") -> go.Figure:
    """Length of the longest loop over steps for each transform, all moving equally far a step."""
    c = colours(theme)
    traces = []
    for k, (name, curve, steps, seconds) in enumerate(zip(found.names, found.curves, found.steps, found.seconds)):
        took = f"{steps} steps" if steps is not None else "not reached"
        label = f"{name}: {took}, {seconds:.2f} s"
        traces.append(go.Scatter(y=curve, mode="lines", name=label, line={"width": 2, "color": c.series[k % 7]}))
    reached = {n: s for n, s in zip(found.names, found.steps) if s is not None}
    best = min(reached, key=reached.get) if reached else "no transform"
    title = (
        f"{best.capitalize()} is the first to reach {found.target:.2f} times the initial persistence"
        if reached
        else "No transform reaches the target"
    )
    fig = figure(*traces, theme=theme, title=title, x="step", y="longest loop (start = 1)", height=460)
    fig.add_hline(y=found.target, line={"color": c.muted, "width": 1, "dash": "dot"})
    return fig.update_layout(legend={"orientation": "v", "x": 1.0, "xanchor": "right", "y": 0.02, "yanchor": "bottom"})


def scores(found: DescriptorScore, *, theme: str = "light") -> go.Figure:
    """Accuracy of each descriptor against the time that its features take; lines span the splits."""
    c = colours(theme)
    mean = [float(np.mean(values)) for values in found.accuracy]
    spread = [float(np.std(values)) for values in found.accuracy]
    traces = [
        go.Scatter(
            x=[seconds], y=[m], mode="markers+text", text=[name], textposition="top center", name=name,
            error_y={"array": [s], "thickness": 1.5}, marker={"size": 11, "color": c.series[k]}, showlegend=False,
        )
        for k, (name, seconds, m, s) in enumerate(zip(found.names, found.seconds, mean, spread))
    ]  # fmt: skip
    best, fastest = found.names[int(np.argmax(mean))], found.names[int(np.argmin(found.seconds))]
    title = f"Most accurate: {best} ({max(mean):.0%}); fastest: {fastest} ({min(found.seconds) * 1e3:.0f} ms)"
    fig = figure(
        *traces,
        theme=theme,
        title=title,
        x="CPU time of all features (s)",
        y="accuracy (mean and standard deviation over splits)",
    )
    return fig.update_xaxes(type="log").update_yaxes(range=[max(0, min(mean) - 0.25), min(1.05, max(mean) + 0.25)])


def arms(values: Mapping[str, Sequence[float]], *, y: str, theme: str = "light") -> go.Figure:
    """Two or more arms over seeds: dots for seeds, a bar for the 95 % interval of the mean."""
    from lab.claims.statistics import interval

    c = colours(theme)
    traces, words = [], []
    for k, (name, found) in enumerate(values.items()):
        mean, low, high = interval(found)
        words.append(f"{name} {mean:.3g}")
        colour = c.series[k % 7]
        spots = {"size": 7, "color": colour, "opacity": 0.4}
        traces.append(go.Scatter(x=[name] * len(found), y=list(found), mode="markers", marker=spots, showlegend=False))
        low, high = (low, high) if np.isfinite(high - low) else (mean, mean)  # one seed has no interval
        ends = {"array": [high - mean], "arrayminus": [mean - low], "thickness": 3, "width": 10, "color": colour}
        spot = {"size": 13, "symbol": "diamond", "color": colour}
        traces.append(go.Scatter(x=[name], y=[mean], mode="markers", error_y=ends, marker=spot, showlegend=False))
    return figure(*traces, theme=theme, title=" \u00b7 ".join(words), y=y)


def embedding(latent, label, *, title: str = "", theme: str = "light") -> go.Figure:
    """A plane of latent points, coloured by class."""
    c = colours(theme)
    z, y = _array(latent), _array(label)
    palette = [*c.series, c.reference, c.muted, "#8C6BB1"]
    traces = []
    for k, name in enumerate(np.unique(y)):
        here = y == name
        marker = {"size": 5, "color": palette[k % len(palette)], "opacity": 0.8}
        traces.append(go.Scatter(x=z[here, 0], y=z[here, 1], mode="markers", marker=marker, name=f"{int(name)}"))
    return figure(
        *traces, theme=theme, title=title or f"{len(z)} points", x="latent coordinate 1", y="latent coordinate 2"
    )


def _array(values) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def ratios(rows, *, theme: str = "light") -> go.Figure:
    """Peer's CPU time over ours for each case of the committed table, with target and floor."""
    c = colours(theme)
    rows = rows.sort_values("ratio")
    names = [f"{case} ({peer})" for case, peer in zip(rows["case"], rows["peer"])]
    met = [c.holds if ratio >= floor else c.fails for ratio, floor in zip(rows["ratio"], rows["floor"])]
    text = [f" {ratio:.0f}x" if ratio >= 100 else f" {ratio:.3g}x" for ratio in rows["ratio"]]
    bars = go.Bar(
        x=rows["ratio"],
        y=names,
        orientation="h",
        marker={"color": met},
        text=text,
        textposition="outside",
        name="ratio",
    )
    target = go.Scatter(
        x=rows["target"],
        y=names,
        mode="markers",
        name="target",
        marker={"symbol": "line-ns", "size": 14, "line": {"width": 3, "color": c.reference}},
    )
    good = int((rows["ratio"] >= rows["floor"]).sum())
    title = (
        f"{good} of {len(rows)} comparisons reach their required speed-up; median ratio {rows['ratio'].median():.3g}"
    )
    fig = figure(bars, target, theme=theme, title=title, x="CPU time, peer / lab", height=140 + 34 * len(rows))
    top = float(rows["ratio"].max())
    fig.update_xaxes(type="log", range=[-1, math.log10(top) + 0.6])
    return fig.update_layout(legend={"yref": "paper", "y": 1.02, "yanchor": "bottom"})


def times(found, *, theme: str = "light") -> go.Figure:
    """Milliseconds over the number of points, one curve a kind."""
    c = colours(theme)
    traces = []
    for k, (kind, part) in enumerate(found.groupby("kind", sort=False)):
        line = {"color": c.series[k % 7], "width": 2}
        traces.append(go.Scatter(x=part["n"], y=part["ms"], mode="lines+markers", name=kind, line=line))
    clouds = found[found["kind"] == "function-Rips H0"]
    last = clouds.iloc[-1]
    title = f"{int(last['n'])} points with gradients take {last['ms']:.3g} ms (function-Rips H0)"
    fig = figure(*traces, theme=theme, title=title, x="points (pixels)", y="CPU time (ms)")
    return fig.update_xaxes(type="log").update_yaxes(type="log")
