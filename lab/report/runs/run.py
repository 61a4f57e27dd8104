"""One run of one notebook: plan it, reuse it or execute it in a kernel of its own, and publish its folder whole."""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab import checks
from lab.report.events import Control, Event
from lab.report.notebook.parameters import ParameterError, Schema, load_notebook, read_parameters
from lab.report.store import cache, provenance
from lab.report.store.layout import SCHEMA, Run, Store, project_root, write_atomically, writing
from lab.report.store.redaction import HIDDEN, hide_secrets, is_secret


@dataclass(frozen=True)
class Limits:
    """What a run may take: seconds in all, seconds a cell, bytes of memory."""

    timeout: float = 3600.0
    cell_timeout: float = 1800.0
    memory: float = 0.0

    @classmethod
    def of(
        cls, *, timeout: float | None = None, cell_timeout: float | None = None, memory: float | None = None
    ) -> Limits:
        """Checked limits; ``None`` is the default (an hour, half an hour a cell, 90 % of the machine's memory)."""
        import psutil

        timeout = cls.timeout if timeout is None else checks.number("timeout", timeout, low=0, open_low=True)
        cell = (
            min(cls.cell_timeout, timeout)
            if cell_timeout is None
            else checks.number("cell_timeout", cell_timeout, low=0, open_low=True)
        )
        most = 0.9 * min(psutil.virtual_memory().total, *_container_memory())
        return cls(timeout, cell, most if memory is None else checks.number("memory", memory, low=2**20))


def _container_memory():
    """The memory limits of the control group that this process is in (version 2, version 1), infinite without one."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            yield float(Path(path).read_text(encoding="ascii"))
        except (OSError, ValueError):
            yield math.inf


@dataclass(frozen=True)
class Plan:
    """A run before it starts: what is executed with which parameters, and the hash of what defines it."""

    run_id: str
    notebook: str
    path: str
    parameters: dict[str, Any]
    given: dict[str, Any]
    definition: dict[str, Any]
    content: dict[str, Any] = field(repr=False, default_factory=dict)
    sweep: str = ""
    warm: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values; ``Plan(**values)`` is the same plan again."""
        return asdict(self)


def plan(
    notebook: str | Path,
    given: Mapping[str, Any] | None = None,
    *,
    text: bool = False,
    sweep: str = "",
    warm: bool = False,
    kernel: str = "",
) -> Plan:
    """Check the parameters and work out the run's id, without starting anything.

    ``kernel`` is used in place of the one that the notebook names.

    Raises:
        ParameterError: unknown name or refused value.
        ValueError: ``notebook`` is not a notebook, or a file that a parameter names does not exist.
    """
    path = Path(notebook)
    if not path.exists() and (project_root() / path).exists():
        path = project_root() / path
    content = load_notebook(path)
    if kernel:
        content = {**content, "metadata": {**content["metadata"], "kernelspec": {"name": kernel}}}
    schema = replace(read_parameters(content), notebook=path.name)
    values = _absolute(schema, schema.resolve(given or {}, text=text))
    files = _files(schema, values)
    kept = {name: value for name, value in values.items() if name in (given or {})}
    threads = provenance.threads()
    wanted = cache.definition(content, values, files, threads)
    path = path.resolve()
    root = project_root()
    shown = str(path.relative_to(root)) if path.is_relative_to(root) else path.name
    return Plan(
        cache.run_id(path.stem, {"notebook": shown, **wanted}),
        shown,
        str(path),
        values,
        kept,
        wanted,
        content,
        sweep,
        warm,
    )


def execute(
    plan: Plan,
    *,
    store: Store | None = None,
    limits: Limits | None = None,
    force: bool = False,
    emit: Callable[[Event], None] = lambda event: None,
    control: Control | None = None,
) -> Run:
    """Return the stored run of ``plan`` if it still answers, else execute the notebook and publish the run.

    A notebook that fails, hangs, dies or is cancelled gives a run too: with its status, its error and the output it had.

    Raises:
        StoreError: the store cannot be written, or is full; nothing of the run is kept then.
    """
    from lab.report.notebook.execution import run_notebook

    store = store or Store()
    limits = limits or Limits.of()
    control = control or Control()
    if not force and (run := answering(plan, store)):
        return run
    store.prepare()
    with writing(f"the store {store.runs}"), store.lock(plan.run_id):
        # another driver may have finished it while this one waited
        if not force and (run := answering(plan, store)):
            return run
        with store.work(plan.run_id) as folder:
            began, clock = datetime.now(UTC), time.perf_counter()
            emit(
                Event("started", plan.run_id, cells=sum(cell["cell_type"] == "code" for cell in plan.content["cells"]))
            )
            outcome = run_notebook(plan, folder, limits, emit, control)
            info = {
                "schema": SCHEMA,
                "id": plan.run_id,
                "notebook": plan.notebook,
                "path": "" if Path(plan.path).is_relative_to(project_root()) else plan.path,
                **_heading(plan.content),
                "status": outcome.status,
                "error": outcome.error,
                "parameters": unsaid(plan.parameters),
                "given": unsaid(plan.given),
                "sweep": plan.sweep,
                "started": began.isoformat(timespec="milliseconds"),
                "seconds": round(time.perf_counter() - clock, 3),
                "cpu_seconds": round(outcome.used.get("cpu", 0.0), 3),
                "peak_memory": max(outcome.peak_memory, outcome.used.get("memory", 0)),
                "kernel": outcome.kernel,
                "definition": plan.definition,
                "observed": cache.observed(outcome.used, began=began.timestamp()),
                "provenance": {
                    **provenance.machine(),
                    "git": provenance.git_state(),
                    "lock": provenance.lock_hash(),
                    "threads": plan.definition["threads"],
                },
            }
            write_atomically(folder / "run.json", json.dumps(info, indent=1, ensure_ascii=False))
            hide_secrets(folder, [plan.parameters[name] for name in _secret(plan.parameters)])
            return store.publish(folder, plan.run_id)


def plan_of(run: Run) -> Plan:
    """The plan that makes ``run`` again now: its notebook as it stands, or the copy in the run where that is gone.

    Raises:
        ParameterError: the notebook no longer takes the run's parameters, or one is a secret that was not stored.
    """
    hidden = [name for name, value in run.info["given"].items() if value == HIDDEN]
    if hidden:
        raise ParameterError(
            f"the secret {hidden[0]!r} of run {run.id} was not stored; run it anew: "
            f"lab run {run.notebook} -p {hidden[0]} ..."
        )
    for path in (project_root() / run.notebook, Path(run.info.get("path", ""))):
        if path.is_file():
            return plan(path, run.info["given"])
    with tempfile.TemporaryDirectory(prefix="lab-source-") as folder:
        content = run.content()
        content["cells"] = [
            cell for cell in content["cells"] if "injected-parameters" not in cell["metadata"].get("tags", [])
        ]
        path = Path(folder) / Path(run.notebook).name
        path.write_text(json.dumps(content), encoding="utf-8")
        return plan(path, run.info["given"])


def answering(plan: Plan, store: Store, *, trust: bool = False) -> Run | None:
    """The stored run of ``plan`` if nothing that it depends on has changed, else ``None``.

    ``trust``: also a run that may have read files which nobody noted.
    """
    run = store.get(plan.run_id)
    return run if run is not None and not cache.changes(run, plan.definition, trust=trust) else None


def _secret(values):
    """Names of the parameters that hold a secret; the empty text is none."""
    return [name for name, value in values.items() if isinstance(value, str) and value and is_secret(name)]


def unsaid(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with what is secret hidden."""
    hidden = _secret(values)
    return {name: HIDDEN if name in hidden else value for name, value in values.items()}


def _absolute(schema: Schema, values):
    """Path parameters, relative to the current folder or else to the project, as absolute paths."""
    found = {}
    for name, value in values.items():
        if isinstance(value, str) and _is_path(schema.parameters[name].kind):
            path = Path(value).expanduser()
            if not path.is_absolute():
                path = path if path.exists() else project_root() / path
            value = os.path.abspath(path)
        found[name] = value
    return found


def _files(schema, values):
    return {
        name: Path(value)
        for name, value in values.items()
        if isinstance(value, str) and _is_path(schema.parameters[name].kind) and Path(value).exists()
    }


def _is_path(kind):
    return kind.name == "path" or (kind.name == "union" and any(item.name == "path" for item in kind.items))


def _heading(content):
    """Title and question: the first heading and the first paragraph after it."""
    for cell in content["cells"]:
        if cell["cell_type"] != "markdown":
            continue
        lines = "".join(cell["source"]).strip().splitlines()
        for number, line in enumerate(lines):
            if line.startswith("# "):
                rest = "\n".join(lines[number + 1 :]).strip().split("\n\n")[0]
                return {"title": line[2:].strip(), "question": " ".join(rest.split())}
    return {"title": "", "question": ""}
