"""Optimistic mirror descent, interactively: turn up the noise, let the mean switch, and see what each learner pays."""

import panel as pn

from lab.online.environments import SPECTRUM
from lab.online.studies import optimistic_omd_sea as study
from widgets import pages
from widgets.figures import online as figures

TITLE, ROUTE, METHOD = (
    "Optimistic mirror descent between stochastic and adversarial",
    "optimistic-omd-sea",
    "optimistic_omd_sea",
)
QUESTION = "What does a learner pay that trusts its last gradient, from i.i.d. losses to an adversary?"
ROUNDS, SEEDS = 600, range(5)
EXPLANATION = (
    "Every round draws a loss around a mean that may move. Regret is what a learner paid beyond the best single point in "
    "hindsight; below zero, it did better than every single point. The dashed line is the bound that the optimistic learner's own "
    "gradients guarantee: its regret never crosses it, and it shrinks when noise and drift do. Bands span five seeds. With i.i.d. "
    "losses the hint is pure noise and plain gradient descent is cheaper; when the mean rests between switches, the hint is worth "
    "a lot."
)


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        **pages.controls(study.Setting, "noise"),
        "period": pn.widgets.IntSlider(label="Rounds between switches", start=1, end=100, value=20),
        "environment": pn.widgets.Select(label="Environment", options=list(SPECTRUM), value="switching"),
        "loss": pn.widgets.Select(label="Losses", options=list(study.Setting.choices("loss")), value="linear"),
        "measure": pn.widgets.Select(label="Comparator", options=["best fixed point", "best point of each round"]),
    }
    pages.sync(widgets, state)
    curve, weather, table = (
        pages.plot(label="regret", height=440),
        pages.plot(label="noise and drift", height=340),
        pages.numbers(),
    )
    notice = pages.react(widgets, draw, curve, weather, table)
    options = {"notice": notice, "method": METHOD, "explanation": EXPLANATION}
    return pages.layout(TITLE, QUESTION, widgets, [curve, table, weather], **options)


def draw(noise, period, environment, loss, measure, theme):
    setting = study.Setting(loss=loss, noise=float(noise), period=period, rounds=ROUNDS)
    result = study.run(setting, seeds=SEEDS)
    fixed = measure == "best fixed point"
    arms = ["optimistic", "gradient descent", "AdaGrad", "two layers"]
    table = result.regret if fixed else result.dynamic
    numbers = {f"regret, {arm}": float(result.of(table, arm, environment)[:, -1].mean()) for arm in arms}
    if fixed:
        numbers["bound, optimistic"] = float(result.of(result.bound, "optimistic", environment)[:, -1].mean())
    bound = "optimistic" if fixed else ""
    return (
        figures.growth(result, environment, arms, bound=bound, measure="regret" if fixed else "dynamic", theme=theme),
        figures.weather(result, environment, theme=theme),
        numbers,
    )
