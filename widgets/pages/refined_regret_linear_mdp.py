"""Refined regret, interactively: change the step size, see the estimates that a learner lives with and what its policy costs."""

import panel as pn

from lab.online.studies import refined_regret_linear_mdp as study
from widgets import pages
from widgets.figures import online as figures

TITLE, ROUTE, METHOD = (
    "Refined regret in adversarial decision processes",
    "refined-regret-linear-mdp",
    "refined_regret_linear_mdp",
)
QUESTION = "How does a learner survive loss estimates that reach far below zero?"
EPISODES, SEEDS = 256, range(4)
ARMS = ["log-barrier", "magnitude-reduced", "exponential"]
EXPLANATION = (
    "Only the losses of what was done are seen; all others are estimated, with a mean that is right and values that may be "
    "hugely negative. Exponential weights break when step size times estimate falls below −1 (dashed line): larger steps push "
    "their histogram over it. The magnitude-reduced estimate has the same mean and stays on the safe side; the log-barrier "
    "goes far beyond and bears it. Below: what each policy pays while losses alternate, and the policy it ends with."
)


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "step": pn.widgets.FloatSlider(label="Step size over the tuned one", start=0.1, end=10, step=0.1, value=1.0),
        "world": pn.widgets.Select(label="Process", options=["bandit", "process", "rare"], value="bandit"),
        "bonus": pn.widgets.FloatSlider(label="Bonus", start=0.0, end=2.0, step=0.1, value=0.0),
        "shown": pn.widgets.Select(label="Policy shown", options=ARMS[:2], value="magnitude-reduced"),
    }
    pages.sync(widgets, state)
    panes = [pages.plot(label="estimates", height=400), pages.plot(label="expected loss", height=400),
             pages.plot(label="policy", height=320), pages.numbers()]  # fmt: skip
    notice = pages.react(widgets, draw, *panes)
    options = {"notice": notice, "method": METHOD, "explanation": EXPLANATION}
    return pages.layout(TITLE, QUESTION, widgets, [*panes[:2], panes[3], panes[2]], **options)


def draw(step, world, bonus, shown, theme):
    setting = study.Setting(world=world, episodes=EPISODES, horizons=1, step=float(step), bonus=float(bonus))
    result = study.run(setting, seeds=SEEDS)
    arms = [arm for arm in ARMS if arm in result.regret]
    numbers = {f"regret, {arm}": float(result.regret[arm][-1].mean()) for arm in arms}
    numbers |= {f"least step size x estimate, {arm}": float(result.least[arm].min()) for arm in arms}
    return (
        figures.estimates(result, arms, theme=theme),
        figures.costs(result, arms, theme=theme),
        figures.policy(result, shown, theme=theme),
        numbers | {"regret, uniform actions": float(result.random.mean())},
    )
