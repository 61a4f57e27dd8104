"""Figures of the explanations room: heat maps, weights with intervals, the no-free-lunch matrix, choices, rates."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab import checks
from widgets.figures.theme import colours, figure, template

FAMILY = {
    "LIME": 0, "KernelSHAP": 0, "Occlusion": 0, "Integrated Gradients": 2, "Gradients x Input": 2, "C-LIME": 1,
    "SmoothGrad": 1, "Vanilla Gradients": 1,
}  # fmt: skip


def heatmap(found, *, theme: str = "light") -> go.Figure:
    """Distances between published methods (rows) and instances of the framework (columns); own instances are framed."""
    distance = found.distance.numpy()
    near = int(found.own_nearest().sum())
    c = colours(theme)
    trace = go.Heatmap(
        z=np.log10(np.maximum(distance, 1e-4)),
        x=found.names,
        y=found.names,
        colorscale="Viridis",
        customdata=distance,
        hovertemplate="%{y} to %{x}: %{customdata:.3g}<extra></extra>",
        text=[[f"{v:.2g}" for v in row] for row in distance],
        texttemplate="%{text}",
        textfont={"size": 11},
        zmin=-4,
        zmax=1,
        colorbar={
            "title": "distance",
            "tickvals": [-4, -3, -2, -1, 0, 1],
            "ticktext": ["≤1e-4", ".001", ".01", ".1", "1", "10"],
        },
    )
    result = figure(
        trace,
        theme=theme,
        x="instance of the framework",
        y="method as published",
        height=520,
        title=f"{near} of {len(found.names)} methods are nearest to their own instance<br><sub>relative L2 distance, "
        f"{found.title}</sub>",
    )
    for i in range(len(found.names)):
        result.add_shape(
            type="rect", x0=i - 0.5, x1=i + 0.5, y0=i - 0.5, y1=i + 0.5, line={"color": c.fails, "width": 2}
        )
    result.update_yaxes(autorange="reversed")
    result.update_xaxes(tickangle=-35)
    return result


def weights(
    explanations, *, instance: int = 0, top: int = 8, output: int = 0, values=None, names=None, theme: str = "light"
) -> go.Figure:
    """Several explanations of one instance side by side: the ``top`` features by mean share, with intervals.

    ``explanations`` maps methods to explanations of the same instances; ``values`` are the instance's own, for the
    labels; ``names`` the features' where the explanations have none.
    """
    c = colours(theme)
    methods = list(explanations)
    first = explanations[methods[0]]
    checks.integer("instance", instance, low=0, high=len(first.weights) - 1)
    names = first.names if names is None else names
    table = {name: _of(one, instance, output) for name, one in explanations.items()}
    share = np.mean([np.abs(w) / max(np.abs(w).sum(), 1e-300) for w, _ in table.values()], axis=0)
    order = np.argsort(-share, kind="stable")[:top][::-1]
    labels = [_label(names[j], values, j) for j in order]
    columns = min(4, len(methods))
    rows = -(-len(methods) // columns)
    result = make_subplots(
        rows, columns, subplot_titles=methods, shared_yaxes=True, horizontal_spacing=0.035, vertical_spacing=0.17
    )
    for place, (name, (weight, half)) in enumerate(table.items()):
        result.add_trace(
            go.Bar(
                x=weight[order],
                y=labels,
                orientation="h",
                showlegend=False,
                name=name,
                marker_color=[c.series[3] if w >= 0 else c.fails for w in weight[order]],
                error_x={"array": half[order], "color": c.text, "thickness": 1.2, "width": 3},
                hovertemplate="%{y}: %{x:.4g}<extra>" + name + "</extra>",
            ),
            row=place // columns + 1,
            col=place % columns + 1,
        )
    count = len({int(np.argmax(np.abs(weight))) for weight, _ in table.values()})
    plural = "one feature leads in all" if count == 1 else f"{count} different features lead"
    result.update_layout(
        template=template(theme),
        height=200 + 210 * rows,
        margin={"l": 150, "t": 110},
        title={
            "text": f"{len(methods)} explanations of one prediction: {plural}"
            "<br><sub>weight and interval; positive blue, negative orange</sub>",
            "y": 0.97,
            "yanchor": "top",
        },
    )
    result.update_xaxes(nticks=4, tickangle=0, exponentformat="e")
    result.update_annotations(font_size=13)
    return result


def no_free_lunch(comparison, *, theme: str = "light") -> go.Figure:
    """The matrix of risks: every method on every neighbourhood; the best of each column is framed."""
    c = colours(theme)
    value = comparison.value.numpy()
    best = comparison.value.argmin(0).tolist()
    winner = comparison.uniform_winner
    regret = float(comparison.behind.amax(1).min())
    head = (
        f"No method is best on all {value.shape[1]} neighbourhoods: the most even-handed loses {regret:.2g} of the "
        f"variance"
        if winner is None
        else f"{winner} is not told apart from the best on any of {value.shape[1]} neighbourhoods"
    )
    trace = go.Heatmap(
        z=np.clip(value, 0, 1.5),
        x=comparison.neighbourhoods,
        y=comparison.methods,
        customdata=value,
        zmin=0,
        zmax=1.5,
        colorscale="Viridis",
        reversescale=True,
        text=[[f"{v:.2f}" if v < 10 else f"{v:.0f}" for v in row] for row in value],
        texttemplate="%{text}",
        textfont={"size": 11},
        hovertemplate="%{y} judged on %{x}: %{customdata:.3g}<extra></extra>",
        colorbar={"title": "1 − R²"},
    )
    result = figure(
        trace,
        theme=theme,
        title=f"{head}<br><sub>risk 1 − R² on fresh draws; 0 is perfect, 1 is no better than a "
        "constant; framed: best of its column</sub>",
        x="judged on",
        y="",
        height=170 + 30 * len(comparison.methods),
    )
    for column, row in enumerate(best):
        result.add_shape(
            type="rect",
            x0=column - 0.5,
            x1=column + 0.5,
            y0=row - 0.5,
            y1=row + 0.5,
            line={"color": c.fails, "width": 2.5},
        )
    result.update_yaxes(autorange="reversed")
    return result


def choice(found, *, theme: str = "light") -> go.Figure:
    """The risks of all candidates for one question, best first, with intervals and the threshold."""
    c = colours(theme)
    names = list(found.risks)[::-1]
    value = np.array([found.risks[name].value for name in names])
    half = np.array([1.959964 * found.risks[name].standard_error for name in names])
    shown = np.clip(value, 0, 2)
    mark = [c.not_run if name != found.best else (c.fails if found.refused else c.holds) for name in names]
    trace = go.Bar(
        x=shown,
        y=names,
        orientation="h",
        marker_color=mark,
        customdata=value,
        name="risk",
        error_x={"array": np.minimum(half, 2), "color": c.text, "thickness": 1.2},
        hovertemplate="%{y}: %{customdata:.3g}<extra></extra>",
    )
    head = found.sentence.split(" (", 1)[0] if not found.refused else "No linear explanation is faithful here"
    detail = _wrapped(found.sentence, 90)
    result = figure(
        trace,
        theme=theme,
        title=f"{head}<br><sub>{detail}</sub>",
        x="risk 1 − R² (clipped at 2)",
        height=420,
        showlegend=False,
    )
    result.add_vline(
        x=found.threshold,
        line={"color": c.text, "dash": "dot"},
        annotation_text="refused beyond",
        annotation_font_size=11,
        annotation_position="top right",
        annotation_y=-0.03,
    )
    return result


def relations(edges, *, theme: str = "light") -> go.Figure:
    """Every relation between two methods as a line in log-log, its measured rate beside the theory's."""
    c = colours(theme)
    result = figure(theme=theme, x="parameter of the relation", y="relative distance", height=640)
    close = 0
    for number, edge in enumerate(edges):
        fast = edge.parameter == "draws"
        gap = edge.slope - edge.expected
        close += gap <= 0.25 if fast else abs(gap) <= 0.25
        result.add_trace(
            go.Scatter(
                x=edge.values,
                y=edge.errors,
                mode="lines+markers",
                name=f"{edge.first} → {edge.second}: rate {edge.slope:.2f} ({edge.expected:g}) in {edge.parameter}",
                line={"color": (*c.series, c.reference)[number % 8], "dash": "dash" if fast else "solid"},
            )
        )
    result.update_xaxes(type="log")
    result.update_yaxes(type="log", exponentformat="power")
    result.update_layout(
        title_text=f"{close} of {len(edges)} relations between the methods have the rate of the theory"
        "<br><sub>dashed: in the number of draws, where faster is allowed; in brackets the theory's exponent</sub>",
        legend={"orientation": "v", "x": 0, "y": -0.2, "yanchor": "top"},
        margin={"b": 60},
    )
    return result


def adversaries(found, *, theme: str = "light") -> go.Figure:
    """For every method: its error on its own neighbourhood, and on the adversarial one, against ``d(f, G)``.

    ``found`` maps names to adversaries of one instance.
    """
    c = colours(theme)
    names = list(found)
    near, far = [found[n].near for n in names], [found[n].reached for n in names]
    reached = sum(found[n].holds for n in names)
    result = figure(
        go.Bar(x=names, y=near, name="on its own neighbourhood", marker_color=c.holds),
        go.Bar(x=names, y=far, name="on the adversarial one", marker_color=c.fails),
        go.Scatter(
            x=names,
            y=[found[n].distance.lower for n in names],
            mode="markers",
            name="d(f, G)",
            marker={"symbol": "line-ew", "size": 34, "line": {"width": 3, "color": c.reference}},
        ),
        theme=theme,
        y="mean |f − g|",
        height=430,
        barmode="group",
        title=f"{reached} of {len(names)} explanations are broken by some neighbourhood<br><sub>error where they "
        "were fitted and where an adversary takes them; black: the distance that no linear g can beat</sub>",
    )
    result.update_yaxes(type="log")
    return result


def perturbation(found, *, theme: str = "light") -> go.Figure:
    """The perturbation test: change of the output when the least important features are removed, and when they are
    jittered."""
    c = colours(theme)
    names = list(found["removed"])
    best = {label: min(values, key=values.get) for label, values in found.items()}
    result = figure(
        theme=theme,
        x="change when removed (spreads of f)",
        y="change when jittered (spreads of f)",
        height=460,
        title=f"Removed: {best['removed']} stays stillest. Jittered: {best['jittered']} does<br><sub>mean "
        "change of the output when the three least important features move; towards the corner is better</sub>",
    )
    symbols = ("circle", "square", "diamond", "cross")
    for kind in (0, 2, 1):
        for number, name in enumerate(n for n in names if FAMILY[n] == kind):
            marker = {"size": 14, "opacity": 0.8, "symbol": symbols[number], "color": c.series[(3, 0, 2)[kind]]}
            place = {"x": [found["removed"][name]], "y": [found["jittered"][name]]}
            result.add_trace(go.Scatter(**place, mode="markers", name=name, marker=marker))
    result.update_xaxes(rangemode="tozero")
    return result


def contests(results, *, theme: str = "light") -> go.Figure:
    """Each method beyond the eight against the one it extends: how many times smaller its error is."""
    c = colours(theme)
    ratio = np.array([one.old / max(one.new, 1e-300) for one in results])
    order = np.argsort(ratio)
    names = [f"{results[i].method}<br><sub>{results[i].where}</sub>" for i in order]
    won = int((ratio > 1).sum())
    trace = go.Bar(
        x=np.clip(ratio[order], 1e-3, 1e4),
        y=names,
        orientation="h",
        customdata=ratio[order],
        name="ratio",
        marker_color=[c.holds if r > 1 else c.fails for r in ratio[order]],
        hovertemplate="%{y}: %{customdata:.3g} times<extra></extra>",
    )
    result = figure(
        trace,
        theme=theme,
        x="error of the extended method / error of the new one (clipped at 10 000)",
        height=160 + 44 * len(names),
        title=f"{won} of {len(results)} contests are won by the new method<br><sub>bars right of "
        "1 win; the place of each contest stands under its name</sub>",
    )
    result.update_xaxes(type="log")
    result.add_vline(x=1, line={"color": c.text, "width": 1})
    return result


def accuracy(table, *, theme: str = "light") -> go.Figure:
    """Error against exact Shapley values and coverage of the intervals, by draws: columns method, draws, error,
    coverage."""
    c = colours(theme)
    result = make_subplots(
        1, 2, subplot_titles=("relative error", "coverage of the 95 % intervals"), horizontal_spacing=0.1
    )
    for number, (name, part) in enumerate(table.groupby("method", sort=False)):
        line = {"color": c.series[(3, 5, 0)[number % 3]]}
        result.add_trace(
            go.Scatter(x=part["draws"], y=part["error"], name=name, line=line, mode="lines+markers"), row=1, col=1
        )
        result.add_trace(
            go.Scatter(
                x=part["draws"], y=part["coverage"], name=name, line=line, mode="lines+markers", showlegend=False
            ),
            row=1,
            col=2,
        )
    result.add_hline(y=0.95, line={"color": c.reference, "dash": "dot"}, row=1, col=2)
    last = table[table["draws"] == table["draws"].max()].set_index("method")["error"]
    result.update_xaxes(type="log", title_text="draws")
    result.update_yaxes(type="log", row=1, col=1)
    result.update_yaxes(range=[0.8, 1.01], row=1, col=2)
    result.update_layout(
        template=template(theme),
        height=420,
        legend={"y": 1.12},
        title_text=f"The odd-order proxy brings the error to {last.iloc[-1] / last.iloc[0]:.2f} of plain KernelSHAP's",
    )
    return result


def segments(image, labels, found, *, names=None, theme: str = "light") -> go.Figure:
    """Weights of superpixels over an image ``(H, W)``; ``found`` maps names to weights of one value a segment."""
    image, labels = np.asarray(image, dtype=float), np.asarray(labels)
    if image.shape != labels.shape:
        raise ValueError(f"image and labels must have the same shape, got {image.shape} and {labels.shape}")
    maps = {name: np.asarray(w)[np.searchsorted(np.unique(labels), labels)] for name, w in found.items()}
    result = make_subplots(1, len(maps) + 1, subplot_titles=["image", *maps], horizontal_spacing=0.02)
    result.add_trace(go.Heatmap(z=image, colorscale="Greys_r", showscale=False, hoverinfo="skip"), row=1, col=1)
    for place, (name, weight) in enumerate(maps.items()):
        top = float(np.abs(weight).max()) or 1.0
        result.add_trace(
            go.Heatmap(
                z=weight / top,
                zmin=-1,
                zmax=1,
                colorscale="RdBu",
                showscale=place == len(maps) - 1,
                name=name,
                hovertemplate="%{z:.2f}<extra>" + name + "</extra>",
                colorbar={"title": "weight"},
            ),
            row=1,
            col=place + 2,
        )
    tops = {name: int(np.unique(labels)[int(np.argmax(np.abs(np.asarray(w))))]) for name, w in found.items()}
    agree = len(set(tops.values())) == 1
    words = "name the same segment" if agree else f"name {len(set(tops.values()))} different segments"
    result.update_layout(
        template=template(theme),
        height=330,
        title_text=f"{len(maps)} methods {words} first<br><sub>weights in units of "
        "the largest; blue raises the output</sub>",
    )
    result.update_xaxes(showticklabels=False, showgrid=False)
    result.update_yaxes(showticklabels=False, showgrid=False, autorange="reversed")
    for axis in range(1, len(maps) + 2):
        result.update_yaxes(scaleanchor=f"x{axis if axis > 1 else ''}", row=1, col=axis)
    return result


def _of(explanation, instance: int, output: int) -> tuple[np.ndarray, np.ndarray]:
    weight, error = explanation.weights[instance], explanation.standard_error[instance]
    if weight.ndim == 2:
        weight, error = weight[:, output], error[:, output]
    return weight.numpy(), np.nan_to_num(explanation.quantile * error.numpy())


def _label(name: str, values, place: int) -> str:
    short = name if len(name) <= 22 else name[:21] + "…"
    if values is None:
        return short
    value = values[place]
    return f"{short} = {value:.3g}" if isinstance(value, (int, float, np.number)) else f"{short} = {value}"


def _wrapped(text: str, width: int) -> str:
    lines, line = [], ""
    for word in text.split():
        if len(line) + len(word) + 1 > width:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    return "<br>".join([*lines, line])


def speed(table, *, theme: str = "light") -> go.Figure:
    """The committed benchmark: how many times less the lab spends, or errs, than a peer; ticks mark the targets."""
    c = colours(theme)
    table = table.iloc[::-1]
    met = [ratio >= floor for ratio, floor in zip(table["ratio"], table["floor"])]
    labels = [f"{case} ({peer})" if peer not in case else case for case, peer in zip(table["case"], table["peer"])]
    result = figure(
        go.Bar(
            x=table["ratio"],
            y=labels,
            orientation="h",
            name="measured",
            marker_color=[c.holds if good else c.fails for good in met],
            error_x={
                "array": table["high"] - table["ratio"],
                "arrayminus": table["ratio"] - table["low"],
                "color": c.text,
            },
        ),
        go.Scatter(
            x=table["target"],
            y=labels,
            mode="markers",
            name="target",
            marker={"symbol": "line-ns", "size": 16, "line": {"width": 2, "color": c.reference}},
        ),
        theme=theme,
        x="peer / lab (CPU time, or error at equal draws)",
        height=180 + 34 * len(table),
        title=f"{sum(met)} of {len(table)} comparisons reach their floor",
    )
    result.update_xaxes(type="log")
    return result


def times(table, *, theme: str = "light") -> go.Figure:
    """CPU milliseconds of every preset beside the bare forward passes."""
    c = colours(theme)
    bare = float(table["ms"].iloc[0])
    shap = float(table.set_index("method")["ms"].get("KernelSHAP", bare))
    mark = [c.reference, *[c.series[3]] * (len(table) - 1)]
    return figure(
        go.Bar(x=table["ms"], y=table["method"], orientation="h", marker_color=mark),
        theme=theme,
        x="CPU time (ms)",
        height=420,
        title=f"KernelSHAP of the rows costs {shap / bare:.1f} times its forward passes, here and now",
    )
