"""Set distances, interactively: how many samples should hold a lesion that half of the raters mark?"""

import panel as pn
import torch

from lab.losses.pulaski import energy_set_distance, generalized_energy_distance, sinkhorn_set_distance
from lab.losses.studies.pulaski import raters_set
from widgets import pages
from widgets.figures import losses as figures

TITLE, ROUTE, METHOD = "Inter-rater variability by set distances", "pulaski", "pulaski"
QUESTION = "Four raters disagree about a lesion: which set of segmentations is closest to theirs?"
SAMPLES = 10


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "share": pn.widgets.FloatSlider(
            label="Share of samples with the disputed lesion", start=0, end=1, step=0.1, value=0.2
        ),
        "blend": pn.widgets.FloatSlider(
            label="Blend of the samples towards their mean", start=0, end=1, step=0.05, value=0.0
        ),
        "marking": pn.widgets.IntSlider(label="Raters (of 4) who mark it", start=0, end=4, value=2),
        "image": pn.widgets.IntSlider(label="Image", start=0, end=19, value=8),
    }
    pages.sync(widgets, state)
    masks, profile, table = pages.plot(label="masks"), pages.plot(label="distances vs. share"), pages.numbers()
    notice = pages.react(widgets, draw, masks, profile, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(masks, profile), table], notice=notice, method=METHOD)


def draw(share, blend, marking, image, theme):
    picture, raters, parts = scene(image, marking)
    shares = [k / SAMPLES for k in range(SAMPLES + 1)]
    sets = torch.stack([samples(*parts, one, blend) for one in shares])
    energy, sinkhorn, iou = distances(sets, raters)
    now = shares.index(min(shares, key=lambda one: abs(one - share)))
    numbers = {
        "energy distance": float(energy[now]),
        "Sinkhorn divergence": float(sinkhorn[now]),
        "generalized energy distance": float(iou[now]),
    }
    profile = {"energy": energy.tolist(), "generalized energy": iou.tolist()}
    return (
        figures.mask_sets(picture, raters, sets[now], theme=theme),
        figures.distance_profile(shares, profile, share, theme=theme),
        numbers,
    )


def scene(image: int = 8, marking: int = 2):
    """Image (H, W), masks of four raters of whom ``marking`` mark the faint lesion, and the (certain, doubtful) masks."""
    pictures, masks, faint = raters_set(20, 7, size=16, radius=3.0)
    doubtful = faint[image].float()
    certain = masks[image].amax(0) - doubtful
    raters = torch.stack([certain + doubtful * (k < marking) for k in range(4)])
    return pictures[image, 0], raters, (certain, doubtful)


def samples(certain: torch.Tensor, doubtful: torch.Tensor, share: float, blend: float) -> torch.Tensor:
    """Ten masks of which ``share`` hold the doubtful lesion, each moved towards the mean of all by ``blend``."""
    count = round(share * SAMPLES)
    found = torch.stack([certain + doubtful * (k < count) for k in range(SAMPLES)])
    return (1 - blend) * found + blend * found.mean(0)


def distances(sets: torch.Tensor, raters: torch.Tensor):
    """Energy distance, Sinkhorn divergence and generalized energy distance of each set (sets, samples, H, W) to the raters."""
    masks = raters[None].expand(len(sets), -1, -1, -1)
    return (
        energy_set_distance(sets, masks),
        sinkhorn_set_distance(sets, masks, iterations=20),
        generalized_energy_distance(sets, masks),
    )
