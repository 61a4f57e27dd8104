"""How a notebook becomes a report: typed parameters, isolated runs, a cache, an index and an offline site.

In a notebook::

    lab.report.record("dice", 0.93)                          # a metric of this run
    lab.report.claim("betti_matching.topology-improves")         # measures, records and shows a claim

From Python, a dashboard or the command line::

    job = lab.report.submit("notebooks/topology/betti_matching.ipynb", {"profile": "smoke"})
    for event in job.events():
        print(event)
    run = job.result()                                       # data/runs/<run_id>, as a Run

Everything heavier than the standard library is imported on first use.
"""

from importlib import import_module

_PUBLIC = {
    "record": "lab.report.records",
    "claim": "lab.report.records",
    "submit": "lab.report.jobs",
    "Job": "lab.report.jobs",
    "Event": "lab.report.jobs",
    "Run": "lab.report.store",
    "Store": "lab.report.store",
    "read_parameters": "lab.report.parameters",
    "resolve": "lab.report.parameters",
    "ParameterError": "lab.report.parameters",
    "render": "lab.report.site",
}

__all__ = list(_PUBLIC)


def __getattr__(name):
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'lab.report' has no attribute {name!r}; it has {', '.join(_PUBLIC)}")


def __dir__():
    return sorted(_PUBLIC)
