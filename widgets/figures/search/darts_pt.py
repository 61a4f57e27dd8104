"""What architecture weights say, and what the supernet loses without an operation."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from widgets.figures.theme import colours, lines, template


def strength_bars(space, probabilities, strengths, *, unit: str = "loss", theme: str = "light") -> go.Figure:
    """Softmax weights (places, operations) beside the strengths of the same operations."""
    c = colours(theme)
    fig = make_subplots(1, 2, shared_yaxes=True, subplot_titles=("softmax of α", f"increase in {unit} without it"))
    names = [f"{i}→{j} {name}" for i, j in space.edges for name in space.names]
    for column, values in ((1, probabilities), (2, strengths)):
        chosen = values == values.max(1, keepdim=True).values
        colour = [c.matched if one else c.extrapolated for one in chosen.flatten().tolist()]
        fig.add_trace(
            go.Bar(x=values.flatten().tolist(), y=names, orientation="h", marker={"color": colour}), 1, column
        )
    same = int((probabilities.argmax(1) == strengths.argmax(1)).sum())
    title = f"Weights and strengths choose the same operation on {same} of {len(space.edges)} edges"
    fig.update_layout(template=template(theme), title_text=lines(title), showlegend=False, margin={"t": 90, "l": 110})
    return fig.update_layout(height=240 + 22 * len(names)).update_yaxes(autorange="reversed")
