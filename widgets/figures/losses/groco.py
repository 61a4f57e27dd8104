"""Soft permutations of differentiable sorting networks, and where the group ordering loss acts."""

from __future__ import annotations

import plotly.graph_objects as go
import torch

from lab.losses.groco import group_ordering_loss, ordered
from lab.losses.sorting import soft_sort
from widgets.figures.theme import colours, figure


def soft_permutation(
    similarity: torch.Tensor, positives: int, steepness: float, *, network: str = "odd-even", sigmoid: str = "cauchy",
    theme: str = "light",
) -> go.Figure:  # fmt: skip
    """P[i, r] of one row of pairs, the last ``positives`` positive; the line parts ranks of negatives from those of positives."""
    c = colours(theme)
    _, matrix = soft_sort(similarity, steepness, network=network, sigmoid=sigmoid)
    n = len(similarity)
    names = pair_names(n, positives)
    labels = [f"{name} ({value:.2f})" for name, value in zip(names, similarity.tolist())]
    heat = go.Heatmap(
        z=matrix.tolist(), x=list(range(1, n + 1)), y=labels, zmin=0, zmax=1, colorbar={"title": "weight"}
    )
    mass = matrix[n - positives :, n - positives :].sum() / positives
    title = f"Positive pairs hold {float(mass):.0%} of the top {positives} ranks at steepness {steepness:g}"
    fig = figure(heat, theme=theme, title=title, x="rank, from least to most similar", y="pair (similarity)")
    fig.add_vline(x=n - positives + 0.5, line={"color": c.prediction, "width": 3})
    return fig.update_yaxes(autorange="reversed", title_standoff=4).update_xaxes(dtick=1)


def pair_pulls(
    similarity: torch.Tensor, positives: int, steepness: float, *, network: str = "odd-even", sigmoid: str = "cauchy",
    theme: str = "light",
) -> go.Figure:  # fmt: skip
    """Where a descent step moves each pair: minus the gradient of the loss in its similarity."""
    c = colours(theme)
    s = similarity.detach().clone()[None].requires_grad_()
    loss = group_ordering_loss(s, positives, steepness, network=network, sigmoid=sigmoid).sum()
    (slope,) = torch.autograd.grad(loss, s)
    pull = (-slope[0]).tolist()
    n = len(pull)
    names = pair_names(n, positives)
    colour = [c.label if k < n - positives else c.holds for k in range(n)]
    strongest = max(range(n), key=lambda k: abs(pull[k]))
    share = float(ordered(s.detach(), positives))
    bars = go.Bar(x=pull, y=names, orientation="h", marker={"color": colour}, showlegend=False)
    title = (
        f"Loss {float(loss.detach()):.3f}, {share:.0%} of pairs in order: the largest gradient is on {names[strongest]}"
    )
    fig = figure(bars, theme=theme, title=title, x="gradient on the similarity", y="pair")
    return fig.update_yaxes(autorange="reversed")


def pair_names(n: int, positives: int) -> list[str]:
    """Negatives from easy to hard, then positives from weak to strong."""
    return [f"negative {k + 1}" for k in range(n - positives)] + [f"positive {k + 1}" for k in range(positives)]
