"""A process that has only imported, and forks a kernel for each run: what takes seconds in a fresh kernel is there already.

``python -m lab.report.notebook.forkserver SOCKET`` imports the libraries that notebooks use, draws one figure, and then
forks on request.
Each kernel is a process of its own with its own session, environment, working folder and random state; nothing of one run is
seen by another. The zygote never computes: it must have one thread when it forks, no CUDA, and unchanged sources, or it
refuses and the caller starts a cold kernel. It ends when its starter does, and its kernels with it. Linux only.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOCKET = "LAB_ZYGOTE"
PROVISIONER = "lab-warm"
PRELOAD = (
    "ipykernel.kernelapp",
    "ipykernel.zmqshell",
    "ipykernel.ipkernel",
    "ipykernel.debugger",
    "debugpy.server.api",
    "ipykernel.kernelbase",
    "IPython.core.completer",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.logger",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "faulthandler",
    "sqlite3",
    "tornado.platform.asyncio",
    "numpy",
    "scipy.sparse",
    "torch",
    "pandas",
    "pandas.io.formats.html",
    "pandas.io.formats.string",
    "plotly.graph_objs._bar",
    "plotly.graph_objs._heatmap",
    "plotly.graph_objs._scatter3d",
    "plotly.graph_objects",
    "plotly.io",
    "plotly.subplots",
    "nbformat",
    "numba",
    "lab.report.store.records",
    "lab.report.notebook.trace",
    "lab.claims",
)
# read by libraries when they are imported: a kernel that wants another value needs a fresh process
_AT_IMPORT = ("PYTHON", "OMP_", "OPENBLAS_", "MKL_", "KMP_", "NUMEXPR_", "NUMBA_", "TORCH_", "PYTORCH_", "CUDA_", "LD_")
_HARMLESS_THREADS = ("jemalloc_bg_thd",)


class Zygote:
    """Starts and ends a zygote; a context manager. ``available`` says whether it answers, ``reason`` why not."""

    def __init__(self, environment: dict[str, str] | None = None):
        self.environment = dict(os.environ if environment is None else environment)
        self.available, self.reason = False, ""
        self._process: subprocess.Popen | None = None
        self._folder: tempfile.TemporaryDirectory | None = None
        self.path = ""

    def start(self, *, timeout: float = 240.0) -> Zygote:
        """Start the process and wait until it has imported; after a failure kernels are started cold."""
        self.reason = obstacle(self.environment)
        if self.reason:
            return self
        self._folder = tempfile.TemporaryDirectory(prefix="lab-zygote-")
        self.path = str(Path(self._folder.name) / "socket")
        command = [sys.executable, "-m", "lab.report.notebook.forkserver", self.path]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self.environment,
            start_new_session=True,
        )
        line = _line_within(self._process.stdout, timeout)
        self.available = line == b"ready\n"
        if not self.available:
            self.reason = line.decode(errors="replace").strip() or "the zygote did not start"
            self.end()
        return self

    def wait(self) -> None:
        """Wait until the process ends, which it does by itself only when something ended it."""
        if self._process is not None:
            self._process.wait()

    def end(self) -> None:
        """End the zygote and every kernel that it forked."""
        self.available = False
        if self._process is not None:
            for stream in (self._process.stdin, self._process.stdout):
                stream.close()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.end()


def obstacle(environment: dict[str, str]) -> str:
    """Why kernels start cold on this machine or in this environment, in words; empty where forking is safe."""
    from lab.report.store import provenance

    if not sys.platform.startswith("linux"):
        return f"warm kernels need Linux, this is {sys.platform}"
    if provenance.device().startswith("cuda"):
        return "on a machine with CUDA every kernel starts cold"
    if any(
        environment.get(name, "1") != "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    ):
        return "a run with several threads starts cold"
    return ""


def jupyter_environment(zygote: Zygote) -> dict[str, str]:
    """The environment in which any Jupyter front end (papermill, nbclient, JupyterLab) gets its kernels from ``zygote``."""
    found = {**zygote.environment, "JUPYTER_DEFAULT_PROVISIONER_NAME": PROVISIONER}
    return {**found, SOCKET: zygote.path} if zygote.available else found


def kernel_environment(environment: dict[str, str], threads: int) -> dict[str, str]:
    """``environment`` with the settings that a kernel of a run has: bounded threads, fixed hashing, plotly's own output."""
    count = str(threads)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    added = {name: count for name in names}
    added["NUMBA_NUM_THREADS"] = environment.get("NUMBA_NUM_THREADS", count)
    added |= {"PLOTLY_RENDERER": "plotly_mimetype", "PYTHONHASHSEED": "0", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    return {**environment, **added}


def _line_within(stream, timeout):
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return stream.readline() if selector.select(timeout) else b""


class _Server:
    """The zygote's loop: one thread, sockets and the ends of children."""

    def __init__(self, path):
        self.children: dict[int, socket.socket] = {}
        self.environment = {name: value for name, value in os.environ.items() if name.startswith(_AT_IMPORT)}
        self.sources = _sources()
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        os.chmod(path, 0o600)
        self.listener.listen(64)
        self.wake, self.waker = socket.socketpair()
        for end in (self.wake, self.waker):
            end.setblocking(False)
        signal.set_wakeup_fd(self.waker.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for handle in (self.listener, self.wake, sys.stdin):
            self.selector.register(handle, selectors.EVENT_READ)

    def serve(self):
        """Answer until the starter closes its end; then end all children."""
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is sys.stdin:
                    if not os.read(0, 4096):
                        self._end_all()
                        return
                elif key.fileobj is self.listener:
                    connection, _ = self.listener.accept()
                    self._request(connection)
                elif key.fileobj is self.wake:
                    with contextlib.suppress(BlockingIOError):
                        self.wake.recv(4096)
                    self._reap()
                else:
                    self._disconnected(key.fileobj)

    def _request(self, connection):
        try:
            message, descriptors = _receive(connection)
        except (OSError, ValueError):
            connection.close()
            return
        refusal = self._refusal(message)
        if refusal:
            _send(connection, {"refused": refusal})
            connection.close()
        else:
            pid = os.fork()
            if pid == 0:
                self._become_kernel(connection, message, descriptors)
            _send(connection, {"pid": pid})
            self.children[pid] = connection
            self.selector.register(connection, selectors.EVENT_READ)
        for descriptor in descriptors:
            os.close(descriptor)

    def _refusal(self, message):
        wanted = {name: value for name, value in message["env"].items() if name.startswith(_AT_IMPORT)}
        different = sorted(
            name for name in {*wanted, *self.environment} if wanted.get(name) != self.environment.get(name)
        )
        if different:
            return f"the environment differs in {', '.join(different)}"
        if _sources() != self.sources:
            return "a source that the zygote has imported has changed"
        return _doubt()

    def _become_kernel(self, connection, message, descriptors):
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.default_int_handler)
        self.selector.close()
        for handle in (connection, self.listener, self.wake, self.waker, *self.children.values()):
            handle.close()
        os.setsid()
        _die_with_parent()
        for descriptor, target in zip(descriptors, (1, 2)):
            os.dup2(descriptor, target)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, mode, closefd=False) for number, mode in ((0, "r"), (1, "w"), (2, "w"))
        )
        sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
        os.environ.clear()
        os.environ.update(message["env"], JPY_PARENT_PID=str(os.getppid()))
        os.chdir(message["cwd"])
        parent = (
            f"--IPKernelApp.parent_handle={os.getppid()}"  # read from the environment at import, which was long ago
        )
        sys.argv = ["ipykernel_launcher", *message["arguments"], parent]
        code = 1
        try:
            _reseed()
            kernelapp = importlib.import_module("ipykernel.kernelapp")
            kernelapp.launch_new_instance()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            connection = self.children.pop(pid, None)
            if connection is not None:
                self.selector.unregister(connection)
                with contextlib.suppress(OSError):
                    _send(connection, {"exit": os.waitstatus_to_exitcode(status)})
                connection.close()

    def _disconnected(self, connection):
        """The driver of a kernel has gone: the kernel goes too."""
        for pid, known in list(self.children.items()):
            if known is connection:
                self.selector.unregister(connection)
                del self.children[pid]
                _kill_group(pid)
        connection.close()

    def _end_all(self):
        for pid in self.children:
            _kill_group(pid)


def _kill_group(pid):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _send(connection, message):
    connection.sendall(json.dumps(message).encode() + b"\n")


def _receive(connection):
    """One message of ``{length}\\n{json}`` with two descriptors for standard output and error."""
    data, descriptors, _, _ = socket.recv_fds(connection, 65536, 2)
    head, _, body = data.partition(b"\n")
    length = int(head)
    while len(body) < length:
        more = connection.recv(65536)
        if not more:
            raise OSError("the request ended early")
        body += more
    return json.loads(body), descriptors


def _doubt():
    names = []
    for task in Path("/proc/self/task").iterdir():
        name = (task / "comm").read_text().strip()
        if task.name != str(os.getpid()) and name not in _HARMLESS_THREADS:
            names.append(name)
    if names:
        return f"the zygote has {len(names)} threads more than one: {', '.join(names)}"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "CUDA was initialised before the fork"
    return ""


def _sources():
    found = {}
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if name.split(".")[0] in ("lab", "widgets") and path:
            with contextlib.suppress(OSError):
                found[path] = os.stat(path).st_mtime_ns
    return found


def _die_with_parent():
    import ctypes

    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _reseed():
    """Random state of its own for each kernel; torch's default generator is as fresh as in a new process."""
    import random

    import numpy as np

    random.seed()
    np.random.seed()  # noqa: NPY002 - the global state is what a fresh process would seed
    if "numba" in sys.modules:
        sys.modules["numba"].core.config.reload_config()


def _preload():
    for name in PRELOAD:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    graph_objects, plotly_io = sys.modules.get("plotly.graph_objects"), sys.modules.get("plotly.io")
    if graph_objects is not None and plotly_io is not None:
        # the first display of a figure imports seconds' worth of modules
        with contextlib.redirect_stdout(io.StringIO()):
            plotly_io.show(graph_objects.Figure(graph_objects.Scatter(y=[0, 1])), renderer="plotly_mimetype")


def main() -> int:
    """Import, say ``ready``, and fork on request until standard input ends."""
    if sys.path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]
    began = time.perf_counter()
    _preload()
    gc.collect()
    gc.freeze()
    doubt = _doubt()
    if doubt:
        print(doubt, flush=True)
        return 1
    server = _Server(sys.argv[1])
    print("ready", flush=True)
    print(f"imported in {time.perf_counter() - began:.1f} s", file=sys.stderr)
    server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
