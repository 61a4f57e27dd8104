"""The report as an offline site: studies, claims, all runs and a page a run, with one shared plotly.js.

Pages are plain files that work from ``file://``: data are inlined, nothing is fetched, formulas are MathML.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from lab.report.runs import sweeps
from lab.report.site import frame, overview
from lab.report.site.claim_page import claim_page
from lab.report.site.run_page import run_page
from lab.report.site.sweep_page import sweep_page
from lab.report.store import standing
from lab.report.store.layout import Run, Store, StoreError, data_folder, project_root
from lab.report.studies import is_front


def render(*, runs: Sequence[Run] | None = None, store: Store | None = None, folder: str | Path | None = None) -> Path:
    """Write the site and return the path of its index.

    Args:
        runs: the runs that stand for their notebooks on the front page; the newest of each by default. They and all runs
            that measured a claim get pages; runs that have a page from before keep it.
        store: the store whose runs are listed.
        folder: where the site goes, ``data/reports`` by default.
    """
    store = store or Store()
    target = Path(folder) if folder else _site(store)
    everything = store.all()
    chosen = {run.notebook: run for run in reversed(everything)}
    chosen |= {run.notebook: run for run in runs or ()}
    front = sorted(chosen.values(), key=_order)
    frame.copy_assets(target)
    rows = standing.rows(store=store)
    wanted = {run.id: run for run in front}
    wanted |= {row.run_id: run for row in rows if row.run_id and (run := store.get(row.run_id))}
    for run in wanted.values():
        _write_run(run, target)
    pages = {
        run.id: f"runs/{run.id}.html"
        for run in everything
        if run.id in wanted or (target / "runs" / f"{run.id}.html").exists()
    }
    frame.write(target / "claims.html", overview.claims_page(rows, pages))
    for row in rows:
        frame.write(target / "claims" / f"{row.claim.id}.html", claim_page(row, pages))
    frame.write(target / "runs.html", overview.runs_page(everything, pages))
    listed = [sweep for sweep in sweeps.remembered(store) if (target / "sweeps" / f"{sweep['id']}.html").exists()]
    links = [(f"sweeps/{sweep['id']}.html", sweep["id"], len(sweep["runs"])) for sweep in listed]
    return frame.write(target / "index.html", overview.index_page(front, rows, links))


def render_sweep(name: str, *, store: Store | None = None, folder: str | Path | None = None) -> Path:
    """Write the page of a sweep and the pages of its runs; returns the path of the sweep's page.

    Raises:
        StoreError: no sweep has this name.
    """
    store = store or Store()
    target = Path(folder) if folder else _site(store)
    (sweep,) = sweeps.remembered(store, name)
    path = target / "sweeps" / f"{sweep['id']}.html"
    runs = [run for run in map(store.get, sweep["runs"]) if run is not None]
    newest = max([_code(), *((run.folder / "run.json").stat().st_mtime for run in runs)])
    if path.exists() and path.stat().st_mtime > newest and len(runs) == len(sweep["runs"]):
        return path
    frame.copy_assets(target)
    for run in runs:
        _write_run(run, target)
    return frame.write(path, sweep_page(sweep, store))


def render_run(run: Run, *, folder: str | Path | None = None) -> Path:
    """Write the page of one run and return its path."""
    target = Path(folder) if folder else data_folder() / "reports"
    frame.copy_assets(target)
    return _write_run(run, target, always=True)


def _order(run):
    """Front notebooks first, benchmarks last, within each the order of the rooms."""
    path = project_root() / run.notebook
    return not (path.is_file() and is_front(path)), "benchmarks" in path.parts, run.notebook


def page_of(name: str, *, store: Store | None = None) -> Path:
    """The page of the run, or else the sweep, called ``name``, written first where that is needed.

    Raises:
        StoreError: neither a run nor a sweep has this name.
    """
    store = store or Store()
    try:
        run = store.find(name)
    except StoreError:
        if not any(sweep["id"].startswith(name) for sweep in sweeps.remembered(store)):
            raise
        return render_sweep(name, store=store)
    return render_run(run, folder=_site(store))


def _site(store):
    return store.data / "reports"


def _write_run(run, target, always=False):
    """A page is written again only if its run or the code of the site is newer."""
    path = target / "runs" / f"{run.id}.html"
    if not always and path.exists() and path.stat().st_mtime > max(_code(), (run.folder / "run.json").stat().st_mtime):
        return path
    return frame.write(path, run_page(run))


@lru_cache(maxsize=1)
def _code():
    """When the code of the site was last written: older pages are written again."""
    return max(source.stat().st_mtime for source in Path(__file__).parent.rglob("*.py"))
