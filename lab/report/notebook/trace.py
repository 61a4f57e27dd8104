"""Inside the kernel of a run: which modules, packages and data files it uses.

``start()`` runs before the first cell and ``finish()`` after the last one; both only look.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time

_opened: set[str] = set()
_began = {"cpu": 0.0, "wall": 0.0}
_ignored: tuple[str, ...] = ()


def start() -> None:
    """Begin to note the files that are opened for reading."""
    global _ignored
    roots = {
        sys.prefix,
        sys.base_prefix,
        sys.exec_prefix,
        tempfile.gettempdir(),
        "/proc",
        "/sys",
        "/dev",
        "/etc",
        "/usr",
        "/lib",
        "/var",
    }
    home = os.path.expanduser("~")
    roots |= {
        os.path.join(home, name) for name in (".ipython", ".jupyter", ".local", ".cache", ".config", ".matplotlib")
    }
    run = os.environ.get("LAB_RUN_FOLDER", "")
    if run:
        roots.add(os.path.dirname(os.path.dirname(run)))
    _ignored = tuple(sorted(os.path.realpath(root) + os.sep for root in roots if root))
    _opened.clear()
    _began["cpu"], _began["wall"] = time.process_time(), time.perf_counter()
    if not getattr(sys, "_lab_audit", False):
        setattr(sys, "_lab_audit", True)  # noqa: B010
        sys.addaudithook(_hook)


def finish() -> str:
    """What was used, as one line of JSON: modules, top-level packages, data files, CPU seconds and peak memory in bytes."""
    modules = sorted(
        name for name in list(sys.modules) if name.split(".")[0] in ("lab", "widgets") and sys.modules[name] is not None
    )
    top = sorted(
        {name.split(".")[0] for name in list(sys.modules) if not name.startswith("_")} - set(sys.stdlib_module_names)
    )
    return json.dumps(
        {
            "modules": modules,
            "packages": top,
            "data": sorted(filter(_is_data, {os.path.realpath(path) for path in _opened})),
            "cpu": time.process_time() - _began["cpu"] + _children(),
            "memory": _peak(),
        }
    )


def _hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        mode, flags = arguments[1], arguments[2]
        reads = "r" in mode if isinstance(mode, str) else not (flags or 0) & (os.O_WRONLY | os.O_RDWR)
        if reads:
            _opened.add(os.path.abspath(arguments[0]))


def _is_data(path):
    if path.startswith(_ignored) or not os.path.isfile(path):
        return False
    return (
        not path.endswith((".py", ".pyc", ".pyi", ".nbi", ".nbc", ".so", ".toml", ".lock", ".pth"))
        and "__pycache__" not in path
    )


def _children():
    times = os.times()
    return times.children_user + times.children_system


def _peak():
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
