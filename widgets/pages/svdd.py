"""Value-based decoding, interactively: choose a reward and see the cloud move to its tilted law."""

from functools import lru_cache

import panel as pn

from lab.generative.studies import svdd as study
from widgets import pages
from widgets.figures import generative as figures

TITLE, ROUTE, METHOD = "Value-based decoding", "svdd", "svdd"
QUESTION = "Can a reward without a gradient steer a model that is never trained again?"
EXPLANATION = (
    "At every step of the reverse process M candidates are drawn; each is judged by the reward of the sample it is expected "
    "to become, and "
    "one goes on. The background is the law that the method aims at, the frozen density times exp(r / α). With α = 0 always "
    "the best "
    "candidate is kept: the reward rises, and samples leave the law."
)


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "candidates": pn.widgets.IntSlider(label="Candidates a step (M)", start=1, end=40, value=10),
        "alpha": pn.widgets.FloatSlider(label="Temperature α", start=0.0, end=1.0, step=0.05, value=0.2),
        "reward": pn.widgets.Select(label="Reward", options=list(study.REWARDS), value="staircase"),
    }
    pages.sync(widgets, state)
    cloud, scatter = pages.plot(label="cloud", height=460), pages.plot(label="reward and log density", height=460)
    numbers = pages.numbers()
    notice = pages.react(widgets, draw, cloud, scatter, numbers)
    main = [pages.row(cloud, scatter), numbers]
    return pages.layout(TITLE, QUESTION, widgets, main, notice=notice, method=METHOD, explanation=EXPLANATION)


def draw(candidates, alpha, reward, theme="light"):
    found = _steered(reward, candidates, alpha)
    numbers = {}
    for name in found.points:
        numbers[f"{name}: mean reward"] = float(found.reward[name].mean())
        numbers[f"{name}: mean log density"] = float(found.density[name].mean())
    return (
        figures.steered_cloud(found, theme=theme),
        figures.reward_against_density(found, theme=theme),
        numbers | {"denoiser calls a sample": 60 * (1 + candidates) if candidates > 1 else 60},
    )


@lru_cache(maxsize=32)
def _steered(reward, candidates, alpha):
    return study.steered(reward, candidates, alpha)
