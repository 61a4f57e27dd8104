"""How faithful explanations are: the no-free-lunch matrix, a choice, adversaries, perturbation tests."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from widgets.figures.theme import colours, figure

FAMILY = {
    "LIME": 0, "KernelSHAP": 0, "Occlusion": 0, "Integrated Gradients": 2, "Gradients x Input": 2, "C-LIME": 1,
    "SmoothGrad": 1, "Vanilla Gradients": 1,
}  # fmt: skip


def no_free_lunch(comparison, *, theme: str = "light") -> go.Figure:
    """The matrix of risks: every method on every neighbourhood; the best of each column is framed."""
    c = colours(theme)
    value = comparison.value.numpy()
    best = comparison.value.argmin(0).tolist()
    winner = comparison.uniform_winner
    regret = float(comparison.behind.amax(1).min())
    head = (
        f"No method is best on all {value.shape[1]} neighbourhoods: the most consistent one loses {regret:.2g} of the "
        f"variance"
        if winner is None
        else f"{winner} is not significantly different from the best on any of {value.shape[1]} neighbourhoods"
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
        hovertemplate="%{y} evaluated on %{x}: %{customdata:.3g}<extra></extra>",
        colorbar={"title": "1 − R²"},
    )
    result = figure(
        trace,
        theme=theme,
        title=f"{head}<br><sub>risk 1 − R² on fresh draws; 0 is perfect, 1 no better than a "
        "constant; framed: best in its column</sub>",
        x="evaluated on",
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


def choice(found, *, note: str = "", theme: str = "light") -> go.Figure:
    """The risks of all candidates for one question, best first, with intervals and the threshold; ``note`` stands below."""
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
    closing = ")." if found.refused or found.runner_up is None else "),"  # of the parenthesis after the head
    told = found.sentence.removeprefix(head).removeprefix(" (").replace(closing, closing[1], 1)
    detail = f"{told[:1].upper()}{told[1:]} {note}".strip()
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
        annotation_text="rejection threshold",
        annotation_font_size=11,
        annotation_position="bottom right",
    )
    result.update_xaxes(range=[0, min(2.1, max(1.05 * float((shown + half).max()), 1.2 * found.threshold))])
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
        go.Bar(x=names, y=far, name="on the adversarial neighbourhood", marker_color=c.fails),
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
        title=f"{reached} of {len(names)} explanations fail on some neighbourhood<br><sub>error where they "
        "were fitted and on the adversarial neighbourhood; black: the lower bound for any linear g</sub>",
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
        x="output change when removed (standard deviations of f)",
        y="output change when perturbed (standard deviations of f)",
        height=460,
        title=f"Most stable under removal: {best['removed']}; under perturbation: {best['jittered']}<br><sub>mean "
        "change in output when the three least important features change; closer to the corner is better</sub>",
    )
    symbols = ("circle", "square", "diamond", "cross")
    for kind in (0, 2, 1):
        for number, name in enumerate(n for n in names if FAMILY[n] == kind):
            marker = {"size": 14, "opacity": 0.8, "symbol": symbols[number], "color": c.series[(3, 0, 2)[kind]]}
            place = {"x": [found["removed"][name]], "y": [found["jittered"][name]]}
            result.add_trace(go.Scatter(**place, mode="markers", name=name, marker=marker))
    result.update_xaxes(rangemode="tozero")
    return result
