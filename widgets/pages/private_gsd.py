"""Private synthetic tables, interactively: move the privacy budget and watch what is left of your table's answers."""

from __future__ import annotations

import io
import json

import numpy as np
import panel as pn

from lab import datasets
from lab.generative import private_gsd as model
from lab.generative.queries import marginals
from lab.generative.studies import private_gsd as study
from widgets import pages
from widgets.figures.generative import private_gsd as figures
from widgets.server import uploads

TITLE, ROUTE, METHOD = "Private synthetic tables", "private-gsd", "private_gsd"
QUESTION = "How much of a survey is left when no single person in it may be recognized?"
EXPLANATION = (
    "Every dot is one counting query. Its answer is measured once with Gaussian noise; the search then breeds a table of a few "
    "hundred invented rows whose answers come close to the noised ones. The figures compare with the private table, which only "
    "its keeper may do. **Protected**: whether any one person's row was this or another (the number of rows is public). "
    "**Not protected**: the list of columns, their levels and stated bounds, the number of rows, and the comparison on this page "
    "itself. The noise is drawn anew from the operating system each time and in floating point: attacks on its last digits are "
    "out of scope. **Your file** is read, used for this view and kept nowhere; on this page levels of words, and of numbers "
    "with up to 24 values, are taken as public, and the bounds of other columns are estimated privately for a tenth of the budget."
)
BUDGETS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
MOST_COLUMNS, MOST_CELLS, FEW = 16, 20_000, 24


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "epsilon": pn.widgets.DiscreteSlider(label="Privacy budget ε", options=list(BUDGETS), value=1.0),
        "table": pn.widgets.Select(label="Survey", options=list(study.DOMAINS), value="anes96"),
        "queries": pn.widgets.Select(label="Queries", options=list(study.KINDS), value="prefixes"),
        "rows": pn.widgets.IntSlider(label="Synthetic rows", start=50, end=1000, step=50, value=300),
        "release": pn.widgets.IntSlider(label="Release (draw of the noise)", start=0, end=20, value=0),
    }
    pages.sync(widgets, state)
    file = uploads.Upload("Your table, one row a person", kinds=("table",))
    made: dict = {}
    scatter, shares, table = pages.plot(label="answers"), pages.plot(label="columns", height=500), pages.numbers()

    def draw(epsilon, table, queries, rows, release, file, theme):
        found, frame = synthesized(epsilon, table, queries, rows, release, file)
        made["now"] = found
        truth, synthetic, names, (true, copy) = compared(found, frame)
        picture = figures.answers(truth, synthetic, found.noised, names, theme=theme)
        return picture, figures.columns(true, copy, theme=theme), numbers_of(found, truth, synthetic, found.noised)

    notice = pages.react({**widgets, "file": file}, draw, scatter, shares, table)
    downloads = [
        pn.widgets.FileDownload(
            callback=lambda: _file(made["now"].frame.to_csv(index=False)), filename="synthetic.csv", label="Synthetic table (CSV)"
        ),
        pn.widgets.FileDownload(
            callback=lambda: _file(json.dumps(made["now"].statement, indent=1)), filename="statement.json",
            label="Ledger of the budget (JSON)",
        ),
    ]  # fmt: skip
    controls = [*widgets.values(), file, *downloads]
    main = [scatter, shares, table]
    return pages.layout(TITLE, QUESTION, controls, main, notice=notice, method=METHOD, explanation=EXPLANATION)


def synthesized(epsilon, table, queries, rows, release, file):
    """The release and the private table's frame. The noise of a survey follows from the number of the release, that of a table
    of the visitor's own is secret."""
    options = {"queries": lambda domain: _workload(queries, domain), "rows": rows, "generations": 1500}
    if file is None:
        frame = datasets.load(table).frame
        return model.synthesize(
            frame, epsilon, 1 / len(frame) ** 2, domain=study.domain_of(table), seed=release, **options
        ), frame
    frame = getattr(file.data, "frame", file.data)
    if frame.shape[1] > MOST_COLUMNS:
        raise ValueError(
            f"the page takes tables of up to {MOST_COLUMNS} columns, this one has {frame.shape[1]}; use lab.generative.synthesize"
        )
    if len(frame) < 50:
        raise ValueError(f"the table has {len(frame)} rows; below 50 nothing but noise would be left")
    numbers = [name for name in frame.columns if frame[name].dtype.kind in "iuf" and frame[name].nunique() > FEW]
    levels = [name for name in frame.columns if name not in numbers]
    many = [name for name in levels if frame[name].nunique() > 64]
    if many:
        raise ValueError(f"column {many[0]!r} has more than 64 different words, such as names; leave it out")
    options |= {"public_levels": levels, "private_bounds_of": numbers}
    return model.synthesize(frame, epsilon, 1 / len(frame) ** 2, **options), frame


def _workload(kind, domain):
    sizes = np.maximum(domain.levels, 8)
    cells = (sizes.sum() ** 2 - (sizes**2).sum()) // 2
    if kind in ("2-way marginals", "all") and cells > MOST_CELLS:
        raise ValueError(f"two-way marginals of this table have {cells} cells; choose prefixes or half-spaces")
    return study.workload(kind, domain, 100)


def compared(found, frame):
    """Answers true, synthetic and noised with their names; shares by column, private and synthetic."""
    queries, domain = found.queries, found.queries.domain
    x, y = domain.encode(frame), domain.encode(found.frame)
    names = [one.name for one in queries.workloads for _ in range(one.stop - one.start)]
    single = marginals(domain, 1)
    shares = []
    for rows in (x, y):
        answers = single.answers(rows)
        shares.append({
            name: (range(one.stop - one.start), answers[one.start : one.stop])
            for name, one in zip(domain.names, single.workloads)
        })  # fmt: skip
    return queries.answers(x), queries.answers(y), names, shares


def numbers_of(found, truth, synthetic, noised) -> dict:
    """The tiles."""
    statement = found.statement
    return {
        "ε, δ": f"{statement['epsilon']:g}, {statement['delta']:.1e}",
        "ρ spent": round(float(sum(rho for _, rho in statement["spent"])), 5),
        "spendings": len(statement["spent"]),
        "queries": len(truth),
        "mean error of the synthetic table": round(float(np.abs(synthetic - truth).mean()), 4),
        "mean error of the noised answers": round(float(np.abs(noised - truth).mean()), 4),
        "noise seed": statement["noise seed"],
        "neighbours": statement["convention"],
    }


def _file(text: str) -> io.BytesIO:
    return io.BytesIO(text.encode())
