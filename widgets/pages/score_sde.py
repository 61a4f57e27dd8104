"""Score SDEs, interactively: noise becomes data while the time slider moves."""

from functools import lru_cache

import panel as pn

from lab.generative import quality
from lab.generative.sdes import SDES
from lab.generative.studies import score_sde as study
from widgets import pages
from widgets.figures import generative as figures
from widgets.server import uploads

TITLE, ROUTE, METHOD = "Score-based SDEs", "score-sde", "score_sde"
QUESTION = "How does noise find its way back to the data, and is chance needed for it?"
EXPLANATION = (
    "Both start from the same noise and follow the same exact score, the short lines. The **reverse process** adds noise at "
    "every step and "
    "takes it away again; the **probability flow** adds none. At every time both clouds have the law shown as background. "
    "With a file of "
    "your own (two columns of numbers) the law is a kernel density of your points; nothing of it is kept."
)


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "frame": pn.widgets.IntSlider(label="From noise (0) to data (40)", start=0, end=40, value=30),
        "process": pn.widgets.Select(label="Process", options=list(SDES), value="VP"),
        "width": pn.widgets.FloatSlider(label="Width of the Gaussians", start=0.05, end=0.5, step=0.05, value=0.2),
    }
    pages.sync(widgets, state)
    mine = uploads.Upload("Your points (CSV or Parquet)", kinds=("table",))
    left, right = pages.plot(label="reverse process", height=460), pages.plot(label="probability flow", height=460)
    numbers = pages.numbers()
    notice = pages.react({**widgets, "upload": mine}, draw, left, right, numbers)
    options = {"notice": notice, "method": METHOD, "explanation": EXPLANATION}
    return pages.layout(TITLE, QUESTION, [*widgets.values(), mine], [pages.row(left, right), numbers], **options)


def draw(frame, process, width, upload=None, theme="light"):
    walk = _walk(process, width) if upload is None else study.walk(process, _columns(upload.data), width=width)
    data = walk.truth.sample(len(walk.flow[0]), 5)
    distance = lambda x: float(quality.sliced_wasserstein(x, data))  # noqa: E731
    numbers = {"time t": float(walk.times[frame])}
    for name, path in (("reverse process", walk.reverse), ("probability flow", walk.flow)):
        numbers[f"{name}: score evaluations"] = walk.evaluations[name]
        numbers[f"{name}: distance to the data now"] = distance(path[frame])
        numbers[f"{name}: distance to the data at the end"] = distance(path[-1])
    return (
        figures.particles(walk, frame, kind="reverse", theme=theme),
        figures.particles(walk, frame, kind="flow", theme=theme),
        numbers,
    )


@lru_cache(maxsize=12)
def _walk(process: str, width: float):
    return study.walk(process, width=width)


def _columns(frame):
    """The first two columns of numbers of a visitor's table."""
    found = frame.select_dtypes("number")
    if found.shape[1] < 2:
        raise ValueError(f"the table needs two columns of numbers, it has {found.shape[1]}")
    kept = found.iloc[:2000, :2].dropna()
    return kept.to_numpy(dtype=float)
