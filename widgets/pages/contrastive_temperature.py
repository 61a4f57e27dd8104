"""The temperature of the contrastive loss, interactively: which negatives it pushes, and how many."""

import panel as pn
import torch

from lab.losses.contrastive_temperature import penalty_entropy, relative_penalty
from widgets import pages
from widgets.figures import losses as figures

TITLE, ROUTE, METHOD = "Temperature of the contrastive loss", "contrastive-temperature", "contrastive_temperature"
QUESTION = "Which negatives does the contrastive loss push away, and how hard?"


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "temperature": pn.widgets.FloatSlider(label="Temperature", start=0.02, end=2, step=0.01, value=0.2),
        "negatives": pn.widgets.IntSlider(label="Number of negatives", start=2, end=128, value=31),
        "hardest": pn.widgets.FloatSlider(
            label="Similarity of the hardest negative", start=-1, end=1, step=0.05, value=0.8
        ),
        "seed": pn.widgets.IntInput(label="Seed of the other negatives", start=0, end=10**6, value=0),
    }
    pages.sync(widgets, state)
    shares, counts, table = (
        pages.plot(label="repulsion of each negative"),
        pages.plot(label="effective negatives"),
        pages.numbers(),
    )
    notice = pages.react(widgets, draw, shares, counts, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(shares, counts), table], notice=notice, method=METHOD)


def draw(temperature, negatives, hardest, seed, theme):
    similarity = similarities(negatives, hardest, seed)
    penalty = relative_penalty(similarity, temperature)
    numbers = {
        "share of the repulsive gradient on the hardest negative": float(penalty[-1]),
        "largest share": float(penalty.max()),
        "smallest share": float(penalty.min()),
        "entropy of the gradient shares (nats)": float(penalty_entropy(similarity, temperature)),
    }
    return (
        figures.penalties(similarity, temperature, theme=theme),
        figures.penalty_entropies(similarity, temperature, theme=theme),
        numbers,
    )


def similarities(negatives: int = 31, hardest: float = 0.8, seed: int = 0) -> torch.Tensor:
    """Similarities of negatives to an anchor: all but the last uniform in [-0.6, 0.6], the last one given."""
    generator = torch.Generator().manual_seed(seed)
    others = 1.2 * torch.rand(negatives - 1, generator=generator, dtype=torch.float64) - 0.6
    return torch.cat([others, others.new_tensor([hardest])])
