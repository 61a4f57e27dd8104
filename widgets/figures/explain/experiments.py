"""What the studies measure: relations and their rates, contests, accuracy, speed."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from widgets.figures.theme import colours, figure, template


def relations(edges, *, theme: str = "light") -> go.Figure:
    """Every relation between two methods as a line in log-log, its measured rate beside the theory's."""
    c = colours(theme)
    result = figure(theme=theme, x="parameter of the relation", y="relative distance", height=740)
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
        title_text=f"{close} of {len(edges)} relations between the methods have the theoretical rate"
        "<br><sub>dashed: in the number of draws, where a faster rate is allowed; theoretical exponent in brackets</sub>",
        legend={"orientation": "v", "x": 0, "y": -0.17, "yref": "paper", "yanchor": "top", "font": {"size": 11}},
        showlegend=True,
        margin={"t": 90, "b": 260},
    )
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
        title=f"{won} of {len(results)} comparisons are won by the new method<br><sub>bars to the right of "
        "1 are wins; each comparison's setting is given below its name</sub>",
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
    result.update_xaxes(type="log", title_text="draws", tickvals=sorted(set(table["draws"])))
    result.update_yaxes(type="log", row=1, col=1)
    result.update_yaxes(range=[0.8, 1.01], row=1, col=2)
    result.update_layout(
        template=template(theme),
        height=460,
        margin={"t": 110},
        legend={"x": 0, "y": -0.25, "yref": "paper", "yanchor": "top"},
        title_text=f"The odd-order proxy reduces the error to {last.iloc[-1] / last.iloc[0]:.2f} times that of plain KernelSHAP",
    )
    result.update_annotations(font_size=13)
    return result


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
        title=f"{sum(met)} of {len(table)} comparisons reach their required speed-up",
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
        title=f"KernelSHAP costs {shap / bare:.1f} times its forward passes on this machine",
    )
