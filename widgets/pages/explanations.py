"""Eight explanations of one prediction of your own model on your own table, with intervals, risks and a choice."""

from collections.abc import Mapping
from functools import lru_cache

import pandas as pd
import panel as pn
import torch

from lab import explain
from lab.explain import studies
from lab.explain.choice import choose_task
from lab.explain.engine import prepare
from lab.explain.neighbourhoods import Exponential, Gaussian, LeaveOneOut, Masks, Scaling, Shapley
from widgets import pages, uploads
from widgets.figures import explain as figures

TITLE, ROUTE, METHOD = "Explanations", "explanations", "explain"
QUESTION = "Eight explanations of one prediction disagree. Which of them answers your question?"
TABLES = ["breast_cancer", "diabetes", "wine", "iris"]
WORDS = {words: key for key, words in explain.QUESTIONS.items()}


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "question": pn.widgets.Select(label="Your question", options=list(explain.QUESTIONS.values()),
                                      value=explain.QUESTIONS["noise"]),
        "sigma": pn.widgets.FloatSlider(label="Noise, standard deviations", start=0.05, end=2, step=0.05, value=0.1),
        "width": pn.widgets.FloatSlider(label="LIME kernel width, in sqrt(features)", start=0.2, end=3, step=0.1, value=1.0),
        "blank": pn.widgets.FloatSlider(label="Baseline: 0 the mean row, 1 the lowest row", start=0, end=1, step=0.1, value=0.0),
        "instance": pn.widgets.IntSlider(label="Row to explain", start=0, end=19, value=0),
        "table": pn.widgets.Select(label="Table", options=TABLES, value="breast_cancer"),
        "family": pn.widgets.Select(label="Model trained here", options=list(studies.FAMILIES), value="relu network"),
        "target": pn.widgets.TextInput(label="Target column of your table (empty: the last)", value=""),
    }  # fmt: skip
    pages.sync(widgets, state)
    mine = uploads.Upload("Your table (CSV or Parquet)", kinds=("table",))
    model = uploads.Upload("Weights of your network (safetensors or state dict)", kinds=("weights",))
    controls = {**widgets, "upload": mine, "weights": model}
    answer, bars = pages.plot(label="which to trust", height=430), pages.plot(label="eight explanations", height=620)
    numbers = pages.numbers()
    notice = pages.react(controls, draw, answer, bars, numbers)
    return pages.layout(TITLE, QUESTION, controls, [answer, bars, numbers], notice=notice, method=METHOD)


def draw(question, sigma, width, blank, instance, table, family, target, upload=None, weights=None, theme="light"):
    subject = _subject(table, family) if upload is None else _own(upload, family, target)
    if weights is not None:
        subject = with_weights(subject, weights.data)
    row = min(instance, len(subject.x) - 1)
    lowest = subject.background.amin(0)
    task = prepare(subject.f, subject.x, baseline=(blank * lowest).to(subject.x.dtype))
    found = explanations(task, subject, sigma, width)
    chosen = choose_task(task, WORDS[question], sigma=sigma, n_samples=600)
    rows = [
        {"method": name, "own risk (1 - R²)": float(one.local_risk[row]), "calls of the model": one.diagnostics.calls,
         "first feature": one.names[int(one.weights[row].abs().argmax())], "top weight": float(one.weights[row].abs().max()),
         "risk for your question": _risk(chosen, name, sigma)}
        for name, one in found.items()
    ]  # fmt: skip
    return (
        figures.choice(chosen, theme=theme),
        figures.weights(found, instance=row, values=subject.x[row].tolist(), names=subject.columns, theme=theme),
        pd.DataFrame([{**line, "first feature": _column(line["first feature"], subject.columns)} for line in rows]),
    )


def explanations(task, subject, sigma: float, width: float) -> dict:
    """The eight methods on prepared instances, those without gradients for models that have none."""
    count = task.players.count
    recipes = {
        "LIME": (Masks(Exponential(width * count**0.5)), "squared"),
        "KernelSHAP": (Masks(Shapley()), "squared"),
        "Occlusion": (LeaveOneOut(), "squared"),
        "C-LIME": (Gaussian(sigma), "squared"),
        "SmoothGrad": (Gaussian(sigma), "gradient"),
        "Vanilla Gradients": (Gaussian(0), "gradient"),
        "Integrated Gradients": (Scaling(0, 1), "gradient"),
        "Gradients x Input": (Scaling(1, 1), "gradient"),
    }
    if not subject.differentiable:
        recipes = {name: recipe for name, recipe in recipes.items() if recipe[1] == "squared"}
    return {name: task.explain(law, explain.Linear(), loss, n_samples=50 if name == "Integrated Gradients" else 600)
            for name, (law, loss) in recipes.items()}  # fmt: skip


def with_weights(subject: studies.Subject, tensors: Mapping) -> studies.Subject:
    """The subject with a network of your own: a stack of linear layers ``(out, in)`` with ReLU between, in file order.

    Names do not matter; shapes do: matrices and their biases must chain from the table's columns to one output.
    """
    arrays = [torch.as_tensor(value).double() for value in tensors.values()]
    matrices = [array for array in arrays if array.ndim == 2]
    biases = [array for array in arrays if array.ndim == 1]
    sizes = [subject.x.shape[1], *[len(matrix) for matrix in matrices]]
    fits = matrices and all(matrix.shape[1] == size for matrix, size in zip(matrices, sizes))
    if not fits or [len(bias) for bias in biases] not in ([], sizes[1:]) or len(arrays) != len(matrices) + len(biases):
        listed = ", ".join(str(tuple(array.shape)) for array in arrays)
        raise ValueError(
            f"the weights must be linear layers that chain from {sizes[0]} columns (out, in), each with its bias or none with "
            f"one; the file holds {listed}"
        )

    def f(x):
        for number, matrix in enumerate(matrices):
            x = x.to(matrix) @ matrix.T + (biases[number] if biases else 0)
            x = torch.relu(x) if number + 1 < len(matrices) else x
        return x[:, 0]

    return studies.Subject(
        subject.name, "your network", f, subject.x, subject.background, subject.columns, float("nan")
    )


@lru_cache(maxsize=16)
def _subject(table: str, family: str) -> studies.Subject:
    return studies.one_output(studies.table(table, family, instances=20))


def _own(upload, family: str, target: str) -> studies.Subject:
    from lab import datasets

    frame = upload.data
    column = target or str(frame.columns[-1])
    table = datasets.Table(frame.dropna(), column, upload.name)
    return studies.one_output(studies.table(table, family, instances=20, budget="smoke"))


def _risk(chosen, name: str, sigma: float) -> float:
    found = chosen.risks.get(name) or chosen.risks.get(f"{name} {sigma:g}")
    return found.value if found else float("nan")


def _column(name: str, columns) -> str:
    return columns[int(name.removeprefix("x"))] if name.startswith("x") and name[1:].isdigit() else name
