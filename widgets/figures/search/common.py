"""Figures that every search has: the arms' accuracies, the paths of architecture weights, the supernet as a graph."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure


def arms(result, *, theme: str = "light") -> go.Figure:
    """True accuracy of what each arm chose, one dot a search, and the best network of the space."""
    c = colours(theme)
    mean = {arm: float(values.mean()) for arm, values in result.accuracy.items()}
    names = sorted(mean, key=mean.__getitem__)
    dots = go.Scatter(
        x=[float(value) for arm in names for value in result.accuracy[arm]],
        y=[arm for arm in names for _ in result.accuracy[arm]], mode="markers", name="search",
        marker={"color": c.series[1], "size": 8, "opacity": 0.7},
        text=[name for arm in names for name in result.genotypes(arm)], hovertemplate="%{text}: %{x:.3f}<extra></extra>",
    )  # fmt: skip
    bars = go.Scatter(
        x=[mean[arm] for arm in names], y=names, mode="markers", name="mean",
        marker={"color": c.reference, "size": 12, "symbol": "line-ns-open", "line": {"width": 3}},
    )  # fmt: skip
    title = f"{names[-1].capitalize()} finds {mean[names[-1]]:.3f}"
    if len(names) > 1:
        title += f", {names[0]} {mean[names[0]]:.3f}"
    fig = figure(
        dots,
        bars,
        theme=theme,
        title=title,
        x="accuracy of the chosen networks, retrained",
        height=180 + 44 * len(names),
    )
    if result.best == result.best:
        fig.add_vline(x=result.best, line={"color": c.reference, "dash": "dot"}, annotation_text="best of the space")
    return fig.update_layout(margin={"l": 150})


def alpha_paths(found, *, seed: int = 0, theme: str = "light") -> go.Figure:
    """Mean coefficient of each operation over the edges, while one seed of a search runs."""
    c = colours(theme)
    space = found.supernet.space
    p = found.path[:, seed].softmax(-1).mean(1)
    lines = [
        go.Scatter(
            x=list(found.at), y=p[:, k].tolist(), name=name, mode="lines", line={"color": c.series[k % 7], "width": 2}
        )
        for k, name in enumerate(space.names)
    ]
    last = int(p[-1].argmax())
    title = f"{space.names[last].capitalize()} leads with {float(p[-1, last]):.2f} of the softmax"
    return figure(*lines, theme=theme, title=title, x="search step", y="softmax of architecture weights, mean of edges")


def graph(space, weights, *, title: str = "", theme: str = "light") -> go.Figure:
    """A cell as a graph: one line for each operation of each edge, as thick as its coefficient ``weights`` (places, operations)."""
    c = colours(theme)
    places = {node: (node, 0.55 * (-1) ** node * (0 < node < space.nodes)) for node in range(space.nodes + 1)}
    traces, shown = [], set()
    largest = max(float(weights.max()), 1e-9)
    for edge, (i, j) in enumerate(space.edges):
        (x0, y0), (x1, y1) = places[i], places[j]
        for k, name in enumerate(space.names):
            bend = 0.9 * (k - (len(space.names) - 1) / 2) / len(space.names) - 0.6 * (j - i - 1)
            width = float(weights[edge, k]) / largest
            traces.append(
                go.Scatter(
                    x=[x0 + t * (x1 - x0) for t in _GRID],
                    y=[y0 + t * (y1 - y0) + 4 * t * (1 - t) * bend for t in _GRID],
                    mode="lines",
                    name=name,
                    legendgroup=name,
                    showlegend=name not in shown,
                    opacity=0.15 + 0.85 * width,
                    line={"color": c.series[k % 7], "width": 0.5 + 9 * width},
                    hovertext=f"{name}, {i} to {j}: {float(weights[edge, k]):.3f}",
                    hoverinfo="text",
                )  # fmt: skip
            )
            shown.add(name)
    nodes = go.Scatter(
        x=[x for x, _ in places.values()], y=[y for _, y in places.values()], mode="markers+text", showlegend=False,
        text=[str(node) for node in places], textfont={"color": c.background},
        marker={"color": c.reference, "size": 26}, hoverinfo="skip",
    )  # fmt: skip
    fig = figure(*traces, nodes, theme=theme, title=title or "The cell: line width shows the coefficient")
    return fig.update_xaxes(visible=False).update_yaxes(visible=False)


_GRID = [k / 20 for k in range(21)]
