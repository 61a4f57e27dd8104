"""The fast operations, interactively: which form runs, how exact it is, how long it takes."""

from functools import lru_cache

import panel as pn

from lab.kernels import spec
from lab.kernels.studies import kernels as study
from widgets import pages
from widgets.figures import kernels as figures

TITLE, ROUTE, METHOD = "Fast operations", "kernels", "kernels"
STILL = False  # times of the machine at hand
QUESTION = "Which implementation of an operation runs here, how accurate is it, and how close to the roofline?"


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "op": pn.widgets.Select(label="Operation", options=spec.names(), value="rowloss"),
        "size": pn.widgets.IntSlider(label="Size (times the small shape)", start=1, end=32, value=4),
        "dtype": pn.widgets.Select(label="Number format", options=list(study.DTYPES), value="float32"),
    }
    pages.sync(widgets, state)
    times, errors = (
        pages.plot(label="time of each implementation", height=340),
        pages.plot(label="error of each implementation", height=340),
    )
    gate, table = pages.plot(label="compile gate", height=330), pages.numbers()
    notice = pages.react(widgets, draw, times, errors, gate, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(times, errors), table, gate], notice=notice, method=METHOD)


def draw(op, size, dtype, theme):
    found = _compared(op, size, dtype)
    rows = [row for row in study.table_of("gate") if row["configuration"].split(" ")[0] == op]
    numbers = {
        "shape": ", ".join(f"{name} {value}" for name, value in found.shape.items()),
        "implementation used": f"{found.chosen} ({found.reason})",
        "roofline (ms)": round(found.roof_ms, 4),
        "GPU": next((form.reason for form in found.forms if form.form == "triton"), "no GPU implementation"),
    }
    return (
        figures.forms(found, theme=theme),
        figures.errors(found, theme=theme),
        figures.gate(rows, theme=theme),
        numbers,
    )


@lru_cache(maxsize=256)
def _compared(op, size, dtype):
    """Measured once in a server: an address shows every visitor the same times."""
    return study.compare_forms(op, size=size, dtype=dtype)
