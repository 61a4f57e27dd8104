"""Executing a notebook with papermill's client: it times out, measures, and tells apart how a kernel ended."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import math
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import psutil
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NotebookExecutionManager
from traitlets.config import Config

from lab.report.events import Control, Event
from lab.report.notebook.forkserver import kernel_environment
from lab.report.notebook.parameters import read_parameters
from lab.report.provisioner import LabKernelManager, WarmKernelManager, register, step_back
from lab.report.store.cache import kernel_of
from lab.report.store.layout import project_root

PLOTLY = "application/vnd.plotly.v1+json"
MOST_TEXT = 2**20  # characters that a cell prints into its notebook
MOST_ASIDE = 2**26  # and into a file beside it
_QUIET = logging.getLogger("lab.report.kernel")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False


@dataclass
class Outcome:
    """How an execution ended: its status, error, what the kernel used, its peak memory and how it was started."""

    status: str = "ok"
    error: dict[str, Any] | None = None
    used: dict[str, Any] = field(default_factory=dict)
    peak_memory: int = 0
    kernel: str = "cold"


def run_notebook(plan, folder: Path, limits, emit: Callable[[Event], None], control: Control) -> Outcome:
    """Execute ``plan`` and write ``notebook.ipynb``, ``figures/``, ``records.jsonl`` and ``log.txt`` into ``folder``.

    What goes wrong before the kernel answers, and what the notebook does to ``folder``, is an outcome too.
    """
    outcome = Outcome()
    register()
    client = None
    try:
        notebook = injected(plan)
    except Exception as error:  # a stranger's cells can be anything
        outcome.status = "failed"
        outcome.error = _plain_error("NotebookError", f"the notebook cannot be read as one: {error}")
        return _written(outcome, plan.content, folder)
    with (
        warnings.catch_warnings(),
        open(folder / "log.txt", "wb") as log,
        tempfile.TemporaryDirectory(prefix="lab-", dir=_short_folder()) as connection,
    ):
        warnings.simplefilter("ignore")
        manager = NotebookExecutionManager(notebook, progress_bar=False, autosave_cell_every=0)
        manager.notebook_start()
        try:
            client = _Client(
                manager,
                plan.run_id,
                emit,
                control,
                limits,
                folder,
                timeout=math.ceil(limits.cell_timeout),
                # a flood of output arrives later than the reply: it is waited for as long as for the cell
                iopub_timeout=math.ceil(limits.cell_timeout),
                startup_timeout=120,
                kernel_name=_kernel_name(plan.content),
                kernel_manager_class=WarmKernelManager if plan.warm else LabKernelManager,
                shutdown_kernel="immediate",
                config=_transport(connection),
                log=_QUIET,
            )
            client.execute(cwd=_cwd(plan), env=_environment(plan, folder), stdout=log, stderr=log)
        except CellTimeoutError:
            control.stop("cell timeout")
        except DeadKernelError:
            pass
        except (NoSuchKernel, OSError, RuntimeError, ValueError) as error:
            answered = client is not None and client.running is not None
            if answered and isinstance(error, OSError):
                raise  # the store's disk, not the kernel
            said = str(error) if answered else _no_kernel(plan, error)
            outcome.status, outcome.error = "kernel died", _plain_error(type(error).__name__, said)
        finally:
            if client is not None:
                client.watchdog.end()
            _end_family(folder)
            manager.notebook_complete()
    if client is not None:
        outcome.used, outcome.peak_memory, outcome.kernel = client.used, client.watchdog.peak, client.kind
        _classify(outcome, client, limits, control)
    notebook.metadata.papermill["input_path"] = plan.notebook
    notebook.metadata.papermill["output_path"] = "notebook.ipynb"
    return _written(outcome, notebook, folder)


def _written(outcome, notebook, folder):
    if not (folder / "log.txt").exists() and outcome.error is None:
        outcome.status = "failed"
        outcome.error = _plain_error(
            "FolderRemoved", "the notebook removed the folder of its own run: its records are lost"
        )
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    if outcome.error is not None:
        outcome.error["log"] = _tail(folder / "log.txt")
    (folder / "notebook.ipynb").write_text(json.dumps(notebook, indent=1, ensure_ascii=False), encoding="utf-8")
    if isinstance(notebook, nbformat.NotebookNode):
        _write_figures(notebook, folder / "figures")
    return outcome


def _kernel_name(content):
    name = kernel_of(content)
    if not name:
        raise ValueError("the notebook names no kernel")
    return name


def _no_kernel(plan, error):
    """Why no kernel answered, with what is installed."""
    from jupyter_client.kernelspec import KernelSpecManager

    name = kernel_of(plan.content)
    installed = ", ".join(sorted(KernelSpecManager().find_kernel_specs())) or "none"
    what = f"the kernel {name!r} is not installed" if isinstance(error, NoSuchKernel) else str(error) or "no answer"
    return f"{what}; installed kernels: {installed}; --kernel NAME uses another"


def _end_family(folder):
    """Kill what the notebook started and left behind in a session of its own."""
    if not sys.platform.startswith("linux"):
        return
    marked = f"LAB_RUN_FOLDER={folder.resolve()}".encode()
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and marked in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                process.kill()
        except (OSError, psutil.Error):
            continue


def injected(plan) -> nbformat.NotebookNode:
    """The notebook of ``plan`` with outputs cleared and, after the parameters cell, a cell that sets what was given."""
    notebook = nbformat.from_dict(copy.deepcopy(plan.content))
    notebook = nbformat.v4.upgrade(notebook) if (notebook.nbformat, notebook.nbformat_minor) < (4, 5) else notebook
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    for number, cell in enumerate(notebook.cells):
        cell.setdefault("id", f"cell-{number}")
        cell.metadata["papermill"] = {}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata["papermill"] = {
        "parameters": plan.given,
        "default_parameters": {},
        "environment_variables": {},
        "version": "lab",
    }
    if plan.given:
        schema = read_parameters(plan.content)
        source = schema.source({name: plan.parameters[name] for name in plan.given})
        cell = nbformat.v4.new_code_cell(
            source, id="injected-parameters", metadata={"tags": ["injected-parameters"], "papermill": {}}
        )
        notebook.cells.insert(schema.cell, cell)
    return notebook


class _Client(PapermillNotebookClient):
    """papermill's client with events by cell, a watchdog on the kernel, and a look at what the kernel used."""

    def __init__(self, manager, run_id, emit, control, limits, folder, **options):
        super().__init__(manager, **options)
        self.folder, self.printed = folder, 0
        self.run_id, self.emit, self.control = run_id, emit, control
        self.code = [
            index for index, cell in enumerate(self.nb.cells) if cell.cell_type == "code" and cell.source.strip()
        ]
        self.running: int | None = None
        self.failed: tuple[int, CellExecutionError] | None = None
        self.used: dict[str, Any] = {}
        self.kind = "cold"
        self.began = time.perf_counter()
        self.watchdog = Watchdog(control, limits)

    def papermill_execute_cells(self):
        """Execute every cell up to the first that fails, between two silent looks at the kernel."""
        provisioner = self.km.provisioner
        self.kind = getattr(provisioner, "kind", "cold")
        self.watchdog.begin(provisioner.pid)
        step_back(provisioner.pid)
        python = (self.km.kernel_spec.language or "python").lower() == "python"
        if python:
            self._silently("import lab.report.notebook.trace; lab.report.notebook.trace.start()")
        for index, cell in enumerate(self.nb.cells):
            if index in self.code:
                self.running, self.printed = index, 0
                self._event("cell", next((line for line in cell.source.splitlines() if line.strip()), ""))
            try:
                self.nb_man.cell_start(cell, index)
                self.execute_cell(cell, index)
            except CellExecutionError as error:
                if error.ename == "SystemExit" and error.evalue.strip() in ("", "0", "None"):
                    self._ended_well(self.nb.cells[index])
                    break
                self.nb_man.cell_exception(self.nb.cells[index], cell_index=index, exception=error)
                self.failed = (index, error)
                break
            finally:
                self.nb_man.cell_complete(self.nb.cells[index], cell_index=index)
        self.running = None
        if python:
            text = self._silently("import lab.report.notebook.trace; print(lab.report.notebook.trace.finish())")
            if text:
                self.used = json.loads(text)

    def output(self, outs, msg, display_id, cell_index):
        """Collect an output; printed text is also passed on as an event, of each cell up to a limit."""
        if msg["msg_type"] != "stream" or cell_index < 0 or self.running is None:
            return super().output(outs, msg, display_id, cell_index)
        text = msg["content"]["text"]
        room = MOST_TEXT - self.printed
        self.printed += len(text)
        if room <= 0:
            return self._aside(text)
        if len(text) > room:
            name = self._aside_path().name
            kept = (
                f"{text[:room]}\n[cut after {MOST_TEXT // 2**20} MiB; the rest stands in {name} of the run's folder]\n"
            )
            self._aside(text[room:])
            msg = {**msg, "content": {**msg["content"], "text": kept}}
        found = super().output(outs, msg, display_id, cell_index)
        self._event("output", msg["content"]["text"])
        return found

    def _aside_path(self):
        return self.folder / f"output-{self.running + 1:03d}.txt"

    def _aside(self, text):
        """Printed text beyond the limit of a cell: into a file beside the notebook, up to a limit of its own."""
        # a folder that the notebook removed is said at its end
        if self.printed <= MOST_ASIDE and self.folder.is_dir():
            with open(self._aside_path(), "a", encoding="utf-8", errors="replace") as file:
                file.write(text)

    @staticmethod
    def _ended_well(cell):
        """``sys.exit(0)``: the notebook ends here, and it is no error."""
        cell.outputs = [output for output in cell.outputs if output.output_type != "error"]
        cell.outputs.append(
            nbformat.v4.new_output("stream", name="stderr", text="The notebook ends here: sys.exit(0)\n")
        )

    def _event(self, kind, text):
        number = self.code.index(self.running) + 1
        self.emit(Event(kind, self.run_id, number, len(self.code), text, time.perf_counter() - self.began))

    def _silently(self, source):
        cell = nbformat.v4.new_code_cell(source)
        cell.metadata["papermill"] = {}
        shown, self.nb.cells = self.nb.cells, [cell]
        try:
            self.execute_cell(cell, 0, store_history=False)
        except CellExecutionError:
            return ""
        finally:
            self.nb.cells = shown
        return "".join(
            output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout"
        ).strip()

    async def _async_poll_kernel_alive(self):
        # the library looks once a second; a cancelled run should end sooner
        while True:
            await asyncio.sleep(0.1)
            try:
                await self._async_check_alive()
            except DeadKernelError:
                self.task_poll_for_reply.cancel()
                return


class Watchdog:
    """Looks at the kernel ten times a second: peak memory, and the end of its time or memory."""

    def __init__(self, control: Control, limits):
        self.control, self.limits = control, limits
        self.peak = 0
        self._end = threading.Event()
        self._killed_before = _system_kills()

    def begin(self, pid: int) -> None:
        """Watch the process ``pid`` and everything it starts."""
        try:
            process = psutil.Process(pid)
        except psutil.NoSuchProcess:
            return
        self.control.attach(lambda: kill(process))
        threading.Thread(target=self._watch, args=(process,), daemon=True, name="lab-watchdog").start()

    def end(self) -> None:
        """Stop watching."""
        self._end.set()

    def killed_by_system(self) -> bool:
        """Whether the system has killed a process for memory since this run began."""
        return _system_kills() > self._killed_before

    def _watch(self, process):
        deadline = time.monotonic() + self.limits.timeout
        while not self._end.wait(0.1):
            try:
                memory = process.memory_info().rss
                memory += sum(child.memory_info().rss for child in process.children(recursive=True))
            except psutil.Error:
                if not process.is_running():
                    return
                continue
            self.peak = max(self.peak, memory)
            if memory > self.limits.memory:
                self.control.stop("out of memory")
            elif time.monotonic() > deadline:
                self.control.stop("timeout")


def kill(process: psutil.Process) -> None:
    """Kill a process and everything it started, at once."""
    try:
        family = [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue


def _system_kills():
    total = 0
    for path in ("/sys/fs/cgroup/memory.events", "/proc/vmstat"):
        try:
            for line in Path(path).read_text(encoding="ascii").splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    total += int(count)
        except (OSError, ValueError):
            continue
    return total


def _classify(outcome, client, limits, control):
    if client.failed is not None:
        index, error = client.failed
        output = next((out for out in client.nb.cells[index].outputs if out.output_type == "error"), None)
        traceback = "\n".join(output.traceback) if output else str(error)
        outcome.status = "out of memory" if error.ename in ("MemoryError", "OutOfMemoryError") else "failed"
        outcome.error = _error(client, index, error.ename, error.evalue, traceback)
        return
    index = client.running
    if control.reason is None and outcome.error is None:
        if index is None:
            return
        if client.watchdog.killed_by_system():
            outcome.status = "out of memory"
            outcome.error = _error(client, index, "OutOfMemory", "the system killed the kernel for memory")
        else:
            outcome.status = "kernel died"
            outcome.error = _error(client, index, "KernelDied", "the kernel process ended while this cell ran")
        return
    messages = {
        "cancelled": ("cancelled", "the run was cancelled"),
        "interrupted": ("cancelled", "the driver was interrupted"),
        "timeout": ("timeout", f"the run took longer than its limit of {limits.timeout:g} s"),
        "cell timeout": ("timeout", f"the cell took longer than its limit of {limits.cell_timeout:g} s"),
        "out of memory": ("out of memory", f"the kernel used more than its limit of {limits.memory / 2**20:.0f} MiB"),
    }
    if control.reason in messages:
        status, message = messages[control.reason]
        outcome.status = status
        outcome.error = _error(client, index, status.title().replace(" ", ""), message)


def _error(client, index, name, message, traceback=""):
    if index is None:
        return _plain_error(name, message)
    cell = client.nb.cells[index]
    return {
        "cell": index + 1,
        "source": cell.source,
        "name": name,
        "message": message,
        "traceback": _without_colours(traceback),
    }


def _plain_error(name, message):
    return {"cell": None, "source": "", "name": name, "message": message, "traceback": ""}


def _without_colours(text):
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _tail(path, size=4000):
    try:
        text = path.read_bytes()[-size:].decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return _without_colours(text)


def _cwd(plan):
    """The project for its notebooks, else the notebook's folder; on a worker that has neither, where the driver is."""
    path, root = Path(plan.path), project_root()
    if path.is_relative_to(root):
        return str(root)
    return str(path.parent if path.parent.is_dir() else Path.cwd())


def _environment(plan, folder):
    found = kernel_environment(dict(os.environ), plan.definition["threads"])
    return {**found, "LAB_RUN_FOLDER": str(folder.resolve()), "LAB_RUN_ID": plan.run_id}


def _short_folder():
    """Where sockets can lie: their paths hold a hundred characters."""
    folder = tempfile.gettempdir()
    return folder if len(folder) < 60 or not os.access("/tmp", os.W_OK) else "/tmp"


def _transport(folder):
    """Kernels over sockets in a private folder: no port to race for. TCP where the system has no such sockets."""
    if sys.platform == "win32" or not hasattr(signal, "SIGKILL"):
        return Config()
    return Config(
        {
            "KernelManager": {
                "transport": "ipc",
                "ip": os.path.join(folder, "k"),
                "connection_file": os.path.join(folder, "kernel.json"),
            }
        }
    )


def _write_figures(notebook, folder):
    for index, cell in enumerate(notebook.cells):
        number = 0
        for output in cell.get("outputs", []):
            figure = output.get("data", {}).get(PLOTLY)
            if figure is not None:
                number += 1
                name = f"{index + 1:03d}-{number}.json"
                (folder / name).write_text(
                    json.dumps(figure, ensure_ascii=False, separators=(",", ":")), encoding="utf-8"
                )
