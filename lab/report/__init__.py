"""How a notebook becomes a report: typed parameters, isolated runs, a cache, an index and an offline site.

In a notebook::

    lab.report.record("dice", 0.93)                          # a metric of this run
    lab.report.claim("betti_matching.topology-improves")         # measures, records and shows a claim

From Python, a dashboard or the command line::

    job = lab.report.submit("notebooks/topology/betti_matching.ipynb", {"profile": "smoke"})
    for event in job.events():
        print(event)
    run = job.result()                                       # data/runs/<run_id>, as a Run

Everything heavier than the standard library is imported inside the functions that need it.
"""

from lab.report.events import Event as Event
from lab.report.notebook.parameters import ParameterError as ParameterError
from lab.report.notebook.parameters import read_parameters as read_parameters
from lab.report.notebook.parameters import resolve as resolve
from lab.report.runs.jobs import Job as Job
from lab.report.runs.jobs import submit as submit
from lab.report.site import render as render
from lab.report.store.layout import Run as Run
from lab.report.store.layout import Store as Store
from lab.report.store.records import claim as claim
from lab.report.store.records import record as record
