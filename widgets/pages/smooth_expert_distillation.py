"""Smooth expert trajectories, interactively: make the expert walk evenly and see what its ten images teach."""

import panel as pn
import torch

from lab.compression.studies import smooth_expert_distillation as study
from widgets import pages
from widgets.figures import compression as figures

TITLE, ROUTE, METHOD = "Smooth expert trajectories", "smooth-expert-distillation", "smooth_expert_distillation"
QUESTION = "Is an expert that walks evenly easier to follow, and do its ten images teach more?"
EXPLANATION = (
    "The ten images are made so that a few steps of training on them carry a student along the expert's path. At strength 0 the "
    "expert is plain; above, its loss is clipped in the first epochs and the gradients in its inputs are penalized. The paths are "
    "the weights after each epoch, in the two principal components of the plain expert's path."
)


def build(state: dict) -> pn.viewable.Viewable:
    found = study.curve()
    options = [float(strength) for strength in found["strengths"]]
    widgets = {"strength": pn.widgets.DiscreteSlider(label="Strength of the penalty", options=options, value=0.2)}
    pages.sync(widgets, state)
    images, paths, table = (
        pages.plot(label="synthetic images", height=200),
        pages.plot(label="experts' paths"),
        pages.numbers(),
    )
    notice = pages.react(widgets, draw, images, paths, table)
    options = {"notice": notice, "method": METHOD, "explanation": EXPLANATION}
    return pages.layout(TITLE, QUESTION, widgets, [images, paths, table], **options)


def draw(strength, theme):
    found = study.curve()
    place = [round(float(one), 6) for one in found["strengths"]].index(round(float(strength), 6))
    paths = {"plain": torch.from_numpy(found["paths"][0]).float()}
    if place:
        paths[f"penalty {strength:g}"] = torch.from_numpy(found["paths"][place]).float()
    numbers = {
        "accuracy of networks on the set": float(found["accuracy"][place].mean()),
        "accuracy of the experts": float(found["expert"][place].mean()),
        "distance moved in the first epoch": float(found["movement"][place][0]),
        "share of the squared way left": float(found["matching"][place]),
    }
    return figures.swept_images(found, place, theme=theme), figures.expert_paths(paths, theme=theme), numbers
