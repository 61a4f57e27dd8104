"""How long a small notebook takes here, with a fresh kernel each and with kernels forked from one that has only imported."""

from __future__ import annotations

import csv
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from lab import checks
from lab.report.runs.batch import Batch
from lab.report.runs.run import plan
from lab.report.store.layout import Store, StoreError, project_root

_CELLS = (
    "n: int = 0",
    "import numpy as np, pandas as pd, torch\nimport plotly.graph_objects as go",
    "x = np.linspace(0, 9, 200)\ngo.Figure(go.Scatter(x=x, y=np.sin(n * x)))",
    "pd.DataFrame({'x': x[:5], 'y': torch.sin(torch.tensor(n * x[:5]))})",
)


@dataclass(frozen=True)
class Speed:
    """Wall seconds a notebook (``cold``, ``warm``), the one-time ``start`` of the zygote, and whether all outputs are equal."""

    count: int
    cold: float
    warm: float
    start: float
    equal: bool
    kernels: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """How many warm notebooks run in the time of a cold one, the start of the zygote not counted."""
        return self.cold / self.warm


def measure(count: int = 4) -> Speed:
    """Run ``count`` small notebooks one after the other, cold and then warm, in a store of their own.

    Raises:
        StoreError: a notebook failed.
    """
    checks.integer("count", count, low=2, high=50)
    with tempfile.TemporaryDirectory(prefix="lab-speed-") as folder:
        path = _write(Path(folder))
        cold, _, first = _batch(path, Store(Path(folder) / "cold"), count, warm=False)
        warm, start, second = _batch(path, Store(Path(folder) / "warm"), count, warm=True)
        kinds = tuple(sorted({run.info["kernel"] for run in second}))
        equal = [_outputs(run) for run in first] == [_outputs(run) for run in second]
    return Speed(count, cold, warm, start, equal, kinds)


def committed() -> list[dict[str, str]]:
    """The rows of ``data/benchmarks/report.csv``, which ``make bench`` writes; none where the file is not at hand."""
    path = project_root() / "data" / "benchmarks" / "report.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _batch(path, store, count, warm):
    """Median seconds of a run from its own clock, what the batch took beside its runs, and the runs."""
    began = time.perf_counter()
    runs = Batch([plan(path, {"n": n}, warm=warm) for n in range(count)], store=store).run(jobs=1)
    elapsed = time.perf_counter() - began
    failed = next((run for run in runs if not run.ok), None)
    if failed is not None:
        raise StoreError(f"a notebook of the measurement failed: {failed.error['name']}: {failed.error['message']}")
    seconds = sorted(run.info["seconds"] for run in runs)
    return (
        seconds[len(seconds) // 2],
        max(0.0, elapsed - sum(seconds)),
        [_Kept(run.info, run.content()) for run in runs],
    )


@dataclass(frozen=True)
class _Kept:
    info: dict
    notebook: dict


def _outputs(run):
    found = [output["data"] for cell in run.notebook["cells"] for output in cell.get("outputs", []) if "data" in output]
    return json.dumps(found, sort_keys=True)


def _write(folder):
    cells = []
    for number, source in enumerate(_CELLS):
        metadata = {} if number else {"tags": ["parameters"]}
        cell = {"cell_type": "code", "id": str(number), "metadata": metadata, "source": source}
        cells.append({**cell, "outputs": [], "execution_count": None})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = folder / "small.ipynb"
    content = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
