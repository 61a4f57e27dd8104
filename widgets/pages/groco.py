"""Group ordering constraints, interactively: move two similarities, watch the soft permutation."""

import panel as pn
import torch

from lab.losses.groco import group_ordering_loss, ordered
from lab.losses.sorting import NETWORKS, SIGMOIDS, layers
from widgets import pages
from widgets.figures import losses as figures

TITLE, ROUTE, METHOD = "Group ordering constraints", "groco", "groco"
QUESTION = "After a differentiable sort, are all positive pairs above all negative pairs?"
NEGATIVES, POSITIVES = (-0.6, -0.4, -0.2, 0.0, 0.15), (0.55, 0.7)


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "positive": pn.widgets.FloatSlider(
            label="Similarity of the weakest positive", start=-1, end=1, step=0.05, value=0.1
        ),
        "negative": pn.widgets.FloatSlider(
            label="Similarity of the hardest negative", start=-1, end=1, step=0.05, value=0.35
        ),
        "steepness": pn.widgets.FloatSlider(
            label="Steepness of the sorting network", start=0.5, end=50, step=0.5, value=5.0
        ),
        "network": pn.widgets.Select(label="Sorting network", options=list(NETWORKS), value="odd-even"),
        "sigmoid": pn.widgets.Select(label="Sigmoid", options=list(SIGMOIDS), value="cauchy"),
    }
    pages.sync(widgets, state)
    matrix, pulls, table = (
        pages.plot(label="soft permutation"),
        pages.plot(label="gradient on each pair"),
        pages.numbers(),
    )
    notice = pages.react(widgets, draw, matrix, pulls, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(matrix, pulls), table], notice=notice, method=METHOD)


def draw(positive, negative, steepness, network, sigmoid, theme):
    similarity, positives = pairs(positive, negative)
    row = similarity[None]
    perfect = torch.linspace(-1, 1, len(similarity), dtype=torch.float64)[None]

    def loss(values):
        return float(group_ordering_loss(values, positives, steepness, network=network, sigmoid=sigmoid))

    numbers = {
        "loss": loss(row),
        "loss of evenly spaced, correctly ordered pairs": loss(perfect),
        "pairs in the right order": float(ordered(row, positives)),
        "layers of the network": len(layers(len(similarity), network)),
    }
    options = {"network": network, "sigmoid": sigmoid, "theme": theme}
    return (
        figures.soft_permutation(similarity, positives, steepness, **options),
        figures.pair_pulls(similarity, positives, steepness, **options),
        numbers,
    )


def pairs(positive: float = 0.1, negative: float = 0.35) -> tuple[torch.Tensor, int]:
    """Six negatives and three positives of one anchor, each group ascending, with one of each given."""
    groups = sorted([*NEGATIVES, negative]), sorted([positive, *POSITIVES])
    return torch.tensor([*groups[0], *groups[1]], dtype=torch.float64), len(groups[1])
