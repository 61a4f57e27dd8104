"""Eight explanations of one prediction of your own model on your own table, with intervals, risks and a choice."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
import panel as pn

from lab import explain
from lab.explain import studies, user_models
from lab.explain.choice import choose_task
from lab.explain.engine import prepare
from lab.explain.neighbourhoods import Masks, Shapley
from lab.explain.risk import possible_methods, recipes
from widgets import pages
from widgets.figures import explain as figures
from widgets.server import uploads

TITLE, ROUTE, METHOD = "Explanations", "explanations", "explanations"
QUESTION = "Eight explanations of one prediction disagree. Which of them answers your question?"
TABLES = ["breast_cancer", "diabetes", "wine", "iris"]
UNITS = ("standardised columns", "columns as in the table")
PANELS = 560  # pixels in which the titles of four panels stand side by side
WORDS = {words: key for key, words in explain.QUESTIONS.items()}
_TRAINED: dict[tuple, tuple] = {}

_SPELLED = {
    "relu network": "ReLU network", "deep relu network": "deep ReLU network", "layers with relu": "ReLU layers",
    "as it is": "unchanged", "standardised columns": "standardized columns", "columns as in the table": "original columns",
}  # fmt: skip


def _spelled(choices) -> dict[str, str]:
    """Labels of choices; the values stay those of the address."""
    return {_SPELLED.get(choice, choice): choice for choice in choices}


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "question": pn.widgets.Select(label="Your question", options=list(explain.QUESTIONS.values()),
                                      value=explain.QUESTIONS["noise"]),
        "sigma": pn.widgets.FloatSlider(label="Noise σ (in standard deviations)", start=0.05, end=2, step=0.05, value=0.1),
        "width": pn.widgets.FloatSlider(label="LIME kernel width (in √features)", start=0.2, end=3, step=0.1, value=1.0),
        "blank": pn.widgets.FloatSlider(label="Baseline (0 = mean row, 1 = minimum row)", start=0, end=1, step=0.1, value=0.0),
        "instance": pn.widgets.IntSlider(label="Row to explain", start=0, end=19, value=0),
        "table": pn.widgets.Select(label="Table", options=TABLES, value="breast_cancer"),
        "family": pn.widgets.Select(label="Model to train", options=_spelled(studies.FAMILIES), value="relu network"),
        "target": pn.widgets.TextInput(label="Target column of your table (default: last)", value=""),
        "architecture": pn.widgets.Select(label="Architecture of your network", options=_spelled(user_models.ARCHITECTURES),
                                          value="layers with relu"),
        "head": pn.widgets.Select(label="Output of your network", options=_spelled(user_models.HEADS), value="as it is"),
        "units": pn.widgets.Select(label="Inputs of your network", options=_spelled(UNITS), value=UNITS[0]),
    }  # fmt: skip
    pages.sync(widgets, state)
    mine = uploads.Upload("Your table (CSV or Parquet)", kinds=("table",))
    model = uploads.Upload("Weights of your network (safetensors or state dict)", kinds=("weights",))
    controls = {**widgets, "upload": mine, "weights": model}
    answer = pages.plot(label="which explanation to trust", height=430)
    bars = pages.plot(
        label="eight explanations", height=620, stylesheets=[f":host {{ min-width: {PANELS}px !important; }}"]
    )
    numbers = pages.numbers()
    notice = pages.react(controls, draw, answer, bars, numbers)
    sideways = {"overflow-x": "auto", "min-width": "0", "max-width": "100%"}  # a phone pans over the panels
    wide = pn.Column(bars, sizing_mode="stretch_width", margin=0, styles=sideways)
    return pages.layout(TITLE, QUESTION, controls, [answer, wide, numbers], notice=notice, method=METHOD)


def draw(question, sigma, width, blank, instance, table, family, target, architecture="layers with relu",
         head="as it is", units=UNITS[0], upload=None, weights=None, theme="light"):  # fmt: skip
    if upload is not None and weights is None and _needs_pipeline(upload.data, target):
        task, values, columns = _trained(
            upload, ("pipeline", family, target), lambda: _own_pipeline(upload, family, target)
        )
    else:
        subject = (
            _subject(table, family)
            if upload is None
            else _trained(upload, ("network", family, target), lambda: _own(upload, family, target))
        )
        if weights is not None:
            subject = with_weights(subject, weights.data, architecture, head, units)
        task = prepare(subject.f, subject.x, baseline=(blank * subject.background.amin(0)).to(subject.x.dtype))
        values, columns = subject.x.tolist(), subject.columns
    row = min(instance, task.players.instances - 1)
    found = explanations(task, sigma, width)
    asked, note = _asked(task, question)
    chosen = choose_task(task, asked, sigma=sigma, n_samples=600)
    rows = [
        {"method": name, "error on its own neighbourhood": float(one.local_risk[row]), "model calls": one.diagnostics.calls,
         "top feature": _column(one.names[int(one.weights[row].abs().argmax())], columns),
         "largest weight": float(one.weights[row].abs().max()), "error on your question": _risk(chosen, name, sigma)}
        for name, one in found.items()
    ]  # fmt: skip
    return (
        figures.choice(chosen, note=note, theme=theme),
        figures.weights(found, instance=row, values=values[row], names=columns, theme=theme),
        pd.DataFrame(rows),
    )


def explanations(task, sigma: float, width: float) -> dict:
    """The eight methods on prepared instances, those without gradients for models that have none."""
    count = task.players.count
    whole = recipes(sigma, width * count**0.5)
    chosen = {name: whole[name] for name in explain.METHODS}
    chosen = possible_methods(task, chosen, {"coalitions": Masks(Shapley())} if not task.players.single() else {})
    return {name: task.explain(law, explain.Linear(), loss, n_samples=50 if name == "Integrated Gradients" else 600)
            for name, (law, loss) in chosen.items()}  # fmt: skip


def with_weights(subject: studies.Subject, tensors: Mapping, architecture: str = "layers with relu",
                 head: str = "as it is", units: str = UNITS[0]) -> studies.Subject:  # fmt: skip
    """The subject with a network of your own on the same columns."""
    own = {"shift": subject.mean, "scale": subject.spread} if units == UNITS[1] else {}
    f = user_models.layered(tensors, subject.x.shape[1], architecture=architecture, head=head, **own)
    named = replace(subject, family="your network", f=f, score=float("nan"), differentiable=True)
    return studies.one_output(named)


def _needs_pipeline(frame, target: str) -> bool:
    """Whether a table holds levels or missing values beside its target."""
    columns = frame.drop(columns=[_target(frame, target)], errors="ignore")
    return (
        bool(columns.isna().any().any())
        or len(columns.select_dtypes(include=["number", "bool"]).columns) < columns.shape[1]
    )


def _own_pipeline(upload, family: str, target: str):
    """Prepared rows of a table with levels or missing values under a scikit-learn pipeline trained here."""
    f, rows, known, _ = user_models.pipeline(upload.data, _target(upload.data, target), family)
    rows = rows[:20]
    several = np.ndim(f(rows[:1])) == 2
    task = prepare(f, rows, baseline=explain.typical(known), target="predicted" if several else None)
    return task, rows.to_numpy().tolist(), tuple(map(str, rows.columns))


def _target(frame, target: str) -> str:
    """The column that the visitor names, or the default of every table in the lab."""
    from lab.datasets.columns import default_target

    return target or str(default_target(frame)[0])


def _asked(task, question: str) -> tuple[str, str]:
    """The question to put to these inputs, and what to say where it is not the visitor's: levels do not jitter."""
    wanted = WORDS[question]
    if not getattr(task.box.f, "categorical", None) or wanted not in ("noise", "path"):
        return wanted, ""
    return (
        "coalitions",
        f"Categorical columns cannot be perturbed by small noise; using this question instead: {explain.QUESTIONS['coalitions']}",
    )


def _trained(upload, settings: tuple, make):
    """What ``make`` returned for this upload and these settings; sliders do not train again."""
    place = (id(upload.data), *settings)
    if place not in _TRAINED:
        while len(_TRAINED) >= 8:
            _TRAINED.pop(next(iter(_TRAINED)))
        _TRAINED[place] = (upload.data, make())  # the table is kept, so that its id stays its own
    return _TRAINED[place][1]


@lru_cache(maxsize=16)
def _subject(table: str, family: str) -> studies.Subject:
    return studies.one_output(studies.table(table, family, instances=20))


def _own(upload, family: str, target: str) -> studies.Subject:
    from lab import datasets

    frame = upload.data
    column = _target(frame, target)
    if column not in frame.columns:
        raise ValueError(f"the table has no column {column!r}; its columns are {', '.join(map(str, frame.columns))}")
    table = datasets.Table(frame, column, upload.name)
    return studies.one_output(studies.table(table, family, instances=20, budget="smoke"))


def _risk(chosen, name: str, sigma: float) -> float:
    found = chosen.risks.get(name) or chosen.risks.get(f"{name} {sigma:g}")
    return found.value if found else float("nan")


def _column(name: str, columns) -> str:
    return columns[int(name.removeprefix("x"))] if name.startswith("x") and name[1:].isdigit() else name
