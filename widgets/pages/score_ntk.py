"""Score estimation, interactively: stop gradient descent where you like, and see the score that it has learned by then."""

import panel as pn

from lab.generative.studies import score_ntk as study
from widgets import pages
from widgets.figures import generative as figures

TITLE, ROUTE, METHOD = "Score estimation by gradient descent", "score-ntk", "score_ntk"
QUESTION = "When should a network that learns a score stop?"
SEEDS, STEPS, WIDTH = range(3), 1000, 300
EXPLANATION = (
    "A score is learned by predicting clean points from noisy ones. The clean points scatter round their mean, which is what is "
    "wanted: early on the network finds the mean, later it fits the scatter, while the training loss falls all the way. The dashed "
    "curve is kernel regression with the network's tangent kernel, the diamond its computable stopping time. Grey arrows are the "
    "exact score, red ones what the network has learned by the marked step."
)


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "stop": pn.widgets.IntSlider(label="Recorded step at which to stop", start=0, end=30, value=15),
        "items": pn.widgets.Select(label="Training triples", options=[30, 60, 120], value=60),
        "time": pn.widgets.FloatSlider(label="Noise level t", start=0.1, end=2.0, step=0.1, value=0.5),
    }
    pages.sync(widgets, state)
    curves, field, parts, table = (
        pages.plot(label="learning curves", height=440), pages.plot(label="score field", height=480),
        pages.plot(label="parts of the error", height=400), pages.numbers(),
    )  # fmt: skip
    notice = pages.react(widgets, draw, curves, field, parts, table)
    options = {"notice": notice, "method": METHOD, "explanation": EXPLANATION}
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(curves, field), table, parts], **options)


def draw(stop, items, time, theme):
    result = study.run(study.Setting(items=items, steps=STEPS, width=WIDTH), seeds=SEEDS)
    index = min(stop, len(result.at) - 1)
    numbers = {
        "step": int(result.at[index]),
        "training loss": float(result.train[index].mean()),
        "error of the denoiser": float(result.test[index].mean()),
        "least error of all steps": float(result.test.mean(1).min()),
        "step of the stopping rule, mean": float(result.at[result.stop].double().mean()),
    }
    return (
        figures.learning_curves(result, mark=index, theme=theme),
        figures.score_field(result, index, time, theme=theme),
        figures.error_parts(result, theme=theme),
        numbers,
    )
