"""Required bits, interactively: drag the threshold, watch the bits, their verdict and who demands them."""

from __future__ import annotations

import math
import re
from functools import lru_cache

import numpy as np
import panel as pn

import lab
from lab.inductive_bias import (
    NNGP,
    NTK,
    RBF,
    KernelSpace,
    Linear,
    Matern,
    Patch,
    Polynomial,
    ShuffleFeatures,
    Task,
    bit_map,
    bits_over_n_test,
    bits_over_n_train,
    cosine_task,
    estimates,
    laws_over_n_test,
    laws_over_n_train,
    required_bits,
)
from widgets import pages
from widgets.figures import inductive_bias as figures

TITLE, ROUTE, METHOD = "Inductive bias in bits", "inductive-bias", "inductive_bias"
QUESTION = "How many bits of prior knowledge does it take to generalize this well?"
EXPLANATION = """
Of all functions in the space that fit the training set, a fraction has test loss at most ε; the required bits are
−log₂ of that fraction. **Drag the green line**, or move the slider. Sampling resolves events down to one in the number of draws,
that is log₂(draws) bits; in the grey zone a fitted tail is an extrapolation. The black curve is exact.
"""
TASKS = ("digits", "digits, shuffled pixels", "cosines, 4 dimensions", "cosines, 10 dimensions")
SPACES = {
    "RBF": RBF(),
    "RBF, narrow": RBF(1.0),
    "Matern 1/2": Matern(nu=0.5),
    "cubic polynomial": Polynomial(3),
    "linear": Linear(),
    "patches 5 x 5": Patch(5),
    "ReLU network, 1 layer": NNGP(1),
    "ReLU network, 3 layers": NNGP(3),
    "ReLU network, 3 layers, tangent kernel": NTK(3),
}


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "position": pn.widgets.FloatSlider(
            label="Threshold ε, from the deepest to the mean loss (%)", start=0, end=100, step=0.5, value=40
        ),
        "task": pn.widgets.Select(label="Task", options=list(TASKS), value="digits"),
        "space": pn.widgets.Select(label="Space", options=list(SPACES), value="RBF"),
        "train": pn.widgets.IntSlider(label="Training points", start=20, end=400, step=10, value=200),
        "test": pn.widgets.IntSlider(label="Test points", start=20, end=400, step=10, value=200),
        "draws": pn.widgets.Select(label="Sampled hypotheses", options=[1000, 10_000, 100_000], value=10_000),
    }
    pages.sync(widgets, state)
    curve, people = pages.plot(label="required bits vs. threshold", height=460), pages.plot(label="bit map")
    sizes, numbers = pages.plot(label="bits vs. sample size", height=340), pages.numbers(label="numbers")
    verdict = pages.numbers(label="verdict")

    curve.config = {**curve.config, "edits": {"shapePosition": True}}

    def dragged(event):
        moved = next((v for key, v in (event.new or {}).items() if re.fullmatch(r"shapes\[\d+\]\.x0", key)), None)
        if moved is not None:
            chosen = _prepared(*(widgets[name].value for name in ("task", "space", "train", "test", "draws")))
            if chosen.estimates is not None:
                widgets["position"].value = float(np.clip(round(2 * chosen.position(float(moved))) / 2, 0, 100))

    curve.param.watch(dragged, "relayout_data")
    notice = pages.react(widgets, draw, curve, verdict, people, sizes, numbers)
    return pages.layout(
        TITLE,
        QUESTION,
        widgets,
        [curve, verdict, people, sizes, numbers],
        notice=notice,
        method=METHOD,
        explanation=EXPLANATION,
    )


def draw(position, task, space, train, test, draws, theme):
    prepared = _prepared(task, space, train, test, draws)
    if prepared.estimates is None:
        found = required_bits(prepared.law, 0.0)
        raise ValueError(found.sentence())
    eps = prepared.threshold(position)
    found = required_bits(prepared.law, eps)
    fitted = float(np.interp(math.log(eps), np.log(prepared.estimates.eps), prepared.estimates.fitted))
    numbers = {
        "threshold ε": eps,
        "required bits": found.bits,
        "bits per test point": found.bits / test,
        "as unlikely as": f"guessing {found.bits:,.0f} coin flips",
        "fitted tail": fitted,
        "the fitted tail is": _depth_words(fitted, draws),
        "smallest reachable loss": prepared.law.minimum,
        "posterior mean's loss": prepared.law.posterior_mean_loss,
        "amplitude (marginal likelihood)": prepared.law.meta["amplitude"],
    }
    table = [
        {"quantity": name, "value": value if isinstance(value, str) else f"{value:.4g}"}
        for name, value in numbers.items()
    ]
    people = bit_map(prepared.law, eps)
    if prepared.task.test_inputs[0].numel() == 64:
        map_ = figures.bit_map(people, prepared.task.test_inputs.reshape(-1, 8, 8), theme=theme)
    else:
        map_ = figures.bits_by_example(people, theme=theme)
    return (
        figures.tail(prepared.estimates, eps=eps, theme=theme),
        found._repr_html_(),
        map_,
        figures.over_sizes(*prepared.sizes(eps), theme=theme),
        table,
    )


class _Prepared:
    """One law and its estimates: what stays while the threshold moves."""

    def __init__(self, task, space, draws):
        self.task, self.space = task, space
        self.law = space.loss_law(task)
        usable = self.law.fits_training and len(self.law.eigenvalues) > 0
        self.estimates = estimates(self.law, draws=draws) if usable else None
        test = sorted({max(2, int(share * task.n_test)) for share in (0.125, 0.25, 0.5, 0.75, 1)})
        train = sorted({max(2, int(share * task.n_train)) for share in (0.25, 0.5, 0.75, 1)})
        self.by_test, self.by_train = laws_over_n_test(space, task, test), laws_over_n_train(space, task, train)

    def threshold(self, position: float) -> float:
        low, high = np.log(self.estimates.eps[[0, -1]])
        return float(np.exp(low + (high - low) * position / 100))

    def position(self, eps: float) -> float:
        low, high = np.log(self.estimates.eps[[0, -1]])
        return 100 * (math.log(max(eps, 1e-300)) - low) / (high - low)

    def sizes(self, eps):
        return (
            bits_over_n_test(self.space, self.task, list(self.by_test), eps, laws=self.by_test),
            bits_over_n_train(self.space, self.task, list(self.by_train), eps, laws=self.by_train),
        )


@lru_cache(maxsize=16)
def _prepared(task, space, train, test, draws) -> _Prepared:
    if task.startswith("cosines"):
        return _Prepared(
            cosine_task(int(task.split()[1]), n_train=train, n_test=test), KernelSpace(SPACES[space]), draws
        )
    found = _digits(train, test)
    found = ShuffleFeatures()(found) if "shuffled" in task else found
    return _Prepared(found, KernelSpace(SPACES[space]), draws)


def _digits(train, test) -> Task:
    points = lab.datasets.load("digits")
    x = np.asarray(points.x).reshape(len(points.x), -1)
    y = np.asarray(points.label)
    order = np.random.default_rng(0).permutation(len(x))[: train + test]
    return Task((x[order[:train]], y[order[:train]]), (x[order[train:]], y[order[train:]]), name="digits")


def _depth_words(bits, draws):
    depth = bits / math.log2(draws)
    return "supported by the draws" if depth <= 1.5 else f"an extrapolation to {depth:.1f} times the depth of the draws"
