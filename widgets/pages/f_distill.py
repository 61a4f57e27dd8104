"""One-step distillation, interactively: which divergence covers the teacher's modes, and what the range of noise does to it."""

from functools import lru_cache

import numpy as np
import panel as pn

from lab.generative.studies import f_distill as study
from widgets import pages
from widgets.figures import generative as figures
from widgets.server import uploads

TITLE, ROUTE, METHOD = "One-step distillation", "f-distill", "f_distill"
QUESTION = "Which divergence makes a one-step student cover what its teacher makes?"
LARGEST = 200  # Gaussians in the kernel density of a visitor's samples
EXPLANATION = (
    "The student x = a + b z is a Gaussian, so that its noised density, its score and the ratio to the teacher are exact. Every "
    "step follows the difference of scores, weighted by h of the ratio: the reverse KL has h = 1 and seeks a mode; weights that "
    "grow with the ratio make the student cover what it leaves out. The noise range runs from a fiftieth of the largest level up "
    "to it. A column of your own becomes the teacher as a kernel density; noise and starts are then scaled by its deviation, and "
    f"more than {LARGEST} values are replaced by {LARGEST} of their quantiles. Nothing of it is kept."
)
METRICS = {
    "reached": pages.Metric(
        "share of the teacher's mass where the student has a tenth of its density or more", "", "higher"
    ),
    "shift": pages.Metric("mean of the student", "units of the data"),
    "deviation": pages.Metric("deviation of the student", "units of the data"),
}


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "high": pn.widgets.Select(label="Largest noise level", options=[0.5, 1.0, 2.0, 5.0, 10.0], value=0.5),
        "divergence": pn.widgets.Select(label="Divergence", options=list(study.KINDS), value="Jensen-Shannon"),
        "frame": pn.widgets.IntSlider(label="Training, in twentieths", start=0, end=20, value=20),
        "distance": pn.widgets.FloatSlider(
            label="Distance of the modes from 0", start=1.0, end=4.0, step=0.5, value=3.0
        ),
    }
    pages.sync(widgets, state)
    mine = uploads.Upload("Your samples (CSV or Parquet)", kinds=("table",))
    density, paths = pages.plot(label="student over teacher", height=440), pages.plot(label="training", height=480)
    numbers = pages.numbers(metrics=METRICS)
    notice = pages.react({**widgets, "upload": mine}, draw, density, paths, numbers)
    options = {"notice": notice, "method": METHOD, "explanation": EXPLANATION}
    return pages.layout(TITLE, QUESTION, [*widgets.values(), mine], [pages.row(density, paths), numbers], **options)


def draw(high, divergence, frame, distance, upload=None, theme="light"):
    result = _students(high, distance) if upload is None else _run(high, distance, column_of(upload.data))
    student = result.student(divergence, 0, 0, frame)
    numbers = {
        f"{divergence}: reached": result.covered(divergence, 0, 0, frame),
        "reverse KL: reached": result.covered("reverse KL", 0, 0, frame),
        f"{divergence}: shift": float(student.shift[0]),
        f"{divergence}: deviation": abs(float(student.factor[0, 0])),
    }
    return (
        figures.student_density(result, divergence, frame=frame, theme=theme),
        figures.student_paths(result, theme=theme),
        numbers,
    )


@lru_cache(maxsize=32)
def _students(high, distance):
    return _run(high, distance)


def _run(high, distance, data=None):
    setting = study.Setting(ranges=(high,), steps=250, batch=64, rate=0.05, distance=distance)
    return study.run(setting, seeds=(0,), data=data)


def column_of(frame):
    """The first column of numbers of a visitor's table, at most :data:`LARGEST` quantiles of it, (items, 1)."""
    found = frame.select_dtypes("number")
    if not found.shape[1]:
        raise ValueError("the table needs a column of numbers, it has none")
    values = found.iloc[:, 0].dropna().to_numpy(dtype=float, copy=True)
    if len(values) < 20 or not np.isfinite(values).all() or np.ptp(values) == 0:
        raise ValueError(
            f"the first column of numbers must hold at least 20 finite, different values, it holds {len(values)}"
        )
    if len(values) > LARGEST:
        values = np.quantile(values, (np.arange(LARGEST) + 0.5) / LARGEST)
    return values[:, None]
