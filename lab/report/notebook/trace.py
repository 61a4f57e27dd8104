"""Inside the kernel of a run: which modules, packages, files and folders it uses, and what could not be seen.

``start()`` runs before the first cell and ``finish()`` after the last one; both only look. What Python's audit events tell is
noted: files that are opened or connected to as a database, folders that are listed or searched by a pattern. A library that
opens files by itself, and a process that is started, are named as ``unseen``: what they read is not known.
"""

from __future__ import annotations

import glob
import json
import os
import pkgutil
import re
import sys
import time
from urllib.parse import unquote, urlsplit

import lab

# libraries that open files without Python's knowledge; of those that other libraries load as a matter of course the part that reads
READERS = (
    "duckdb",
    "safetensors",
    "polars",
    "h5py",
    "tables",
    "netCDF4",
    "cv2",
    "SimpleITK",
    "itk",
    "vtk",
    "rasterio",
    "fiona",
    "lmdb",
    "av",
    "decord",
    "soundfile",
    "pyarrow.csv",
    "pyarrow.dataset",
    "pyarrow.feather",
    "pyarrow.json",
    "pyarrow.orc",
    "pyarrow.parquet",
)
# loaded when a process is started without an event
STARTERS = (
    "multiprocessing.popen_fork",
    "multiprocessing.popen_forkserver",
    "multiprocessing.popen_spawn_posix",
    "multiprocessing.popen_spawn_win32",
    "joblib.externals.loky.backend.popen_loky_posix",
    "loky.backend.popen_loky_posix",
)
# programs that libraries start to learn about the machine
ASKING = {"git", "lscpu", "uname", "ldconfig", "gcc", "cc", "ld", "objdump", "sysctl", "nvidia-smi", "arch", "file"}
_MOST_FOLDERS = 10_000
_INSTALLED = re.compile(r"[/\\\\](site|dist)-packages([/\\\\]|$)")  # counts by the versions of its packages

_opened: set[str] = set()
_written: set[str] = set()
_listed: set[str] = set()
_patterns: set[tuple[str, str, bool]] = set()
_unseen: dict[str, None] = {}
_known: set[str] = set()
_began = {"cpu": 0.0, "wall": 0.0}
_ignored: tuple[str, ...] = ()
_packages: list[str] = []  # their modules count by their syntax trees


def start() -> None:
    """Begin to note what is read."""
    global _ignored
    roots = {sys.prefix, sys.base_prefix, sys.exec_prefix, "/proc", "/sys", "/dev"}
    home = os.path.expanduser("~")
    roots |= {
        os.path.join(home, name)
        for name in (".ipython", ".jupyter", ".local", ".cache", ".config", ".matplotlib", ".triton")
    }
    run = os.environ.get("LAB_RUN_FOLDER", "")
    if run:
        roots.add(os.path.dirname(os.path.dirname(run)))
    packages = os.path.dirname(os.path.dirname(lab.__file__))
    _packages[:] = [os.path.join(packages, name) + os.sep for name in ("lab", "widgets")]
    _ignored = tuple(sorted(os.path.realpath(root) + os.sep for root in roots if root))
    for noted in (_opened, _written, _listed, _patterns, _unseen, _known):
        noted.clear()
    _known.update(name for name in (*READERS, *STARTERS) if name in sys.modules)  # of a kernel that was forked warm
    _began["cpu"], _began["wall"] = time.process_time(), time.perf_counter()
    if not getattr(sys, "_lab_audit", False):
        setattr(sys, "_lab_audit", True)  # noqa: B010
        sys.addaudithook(_hook)


def finish() -> str:
    """What was used, as one line of JSON: modules, packages, files, folders, patterns, the unseen, CPU seconds, peak memory."""
    loaded = [name for name in list(sys.modules) if sys.modules[name] is not None]
    modules = sorted(name for name in loaded if name.split(".")[0] in ("lab", "widgets"))
    top = sorted({name.split(".")[0] for name in loaded if not name.startswith("_")} - set(sys.stdlib_module_names))
    for name in {*loaded} - _known:
        if name in READERS:
            _unseen[f"{name} was loaded, which opens files by itself"] = None
        elif name in STARTERS:
            _unseen["a process was started"] = None
    return json.dumps(
        {
            "modules": modules,
            "packages": top,
            "data": sorted(filter(_is_data, {os.path.realpath(path) for path in _opened})),
            "folders": sorted(filter(_is_folder, {os.path.realpath(path) for path in _listed}))[:_MOST_FOLDERS],
            "patterns": sorted(filter(_is_search, _patterns)),
            "unseen": sorted(_unseen),
            "cpu": time.process_time() - _began["cpu"] + _children(),
            "memory": _peak(),
        }
    )


def _hook(event, arguments):
    if event == "open":
        _note_open(*arguments[:3])
    elif event == "sqlite3.connect":
        _note_database(arguments[0])
    elif event in ("os.scandir", "os.listdir"):
        # the import system lists folders too, and a pattern that is searched is noted as such
        caller = sys._getframe(1).f_code.co_filename
        if caller not in (glob.__file__, pkgutil.__file__) and "importlib" not in caller:
            _note(_listed, "." if arguments[0] is None else arguments[0])
    elif event == "glob.glob":
        pattern = os.fspath(arguments[0])
        if isinstance(pattern, str):
            _patterns.add((os.getcwd(), pattern, bool(arguments[1])))
    elif event == "subprocess.Popen":
        command = arguments[1]
        program = arguments[0] or (command if isinstance(command, (str, bytes)) else next(iter(command), ""))
        _note_process(os.fsdecode(program))
    elif event in ("os.system", "os.posix_spawn", "os.exec"):
        _note_process(os.fsdecode(arguments[0]))
    elif event in ("os.fork", "os.forkpty", "pty.spawn"):
        _unseen["a process was started"] = None


def _note_open(path, mode, flags):
    if isinstance(mode, str):
        reads, writes = ("r" in mode or "+" in mode), any(letter in mode for letter in "wax+")
    else:
        access = (flags or 0) & (os.O_WRONLY | os.O_RDWR)
        reads, writes = access != os.O_WRONLY, access != 0
    found = _absolute(path)
    if found is None:
        return
    if writes and found not in _opened:
        _written.add(found)  # what the run wrote itself is no input of it
    if reads and found not in _written:
        _opened.add(found)


def _note_database(name):
    text = os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else ""
    if text.startswith("file:"):
        text = unquote(urlsplit(text).path)
    if text and text != ":memory:":
        _note(_opened, text)


def _note_process(command):
    program = os.path.basename(re.split(r"\s", command.strip(), maxsplit=1)[0]) if command.strip() else ""
    if program not in ASKING:
        _unseen[f"the program {program or '?'} was started"] = None


def _note(where, path):
    found = _absolute(path)
    if found is not None:
        where.add(found)


def _absolute(path):
    if isinstance(path, (str, bytes, os.PathLike)):
        return os.path.abspath(os.fsdecode(path))
    return None  # a descriptor: its file was opened before


def _is_data(path):
    if path.startswith(_ignored) or _INSTALLED.search(path) or not os.path.isfile(path):
        return False
    return (
        not path.endswith((".py", ".pyc", ".pyi", ".nbi", ".nbc", ".so", ".toml", ".lock", ".pth"))
        and "__pycache__" not in path
    )


def _is_folder(path):
    inside = (*_ignored, *_packages)
    if (path + os.sep).startswith(inside) or _INSTALLED.search(path) or "__pycache__" in path:
        return False
    return os.path.isdir(path)


def _is_search(search):
    place = os.path.join(*search[:2])
    return not (place.startswith((*_ignored, *_packages)) or _INSTALLED.search(place))


def listing(folder: str) -> list[str]:
    """What a folder holds, hidden entries and caches of Python left out."""
    return sorted(name for name in os.listdir(folder) if not name.startswith((".", "__pycache__")))


def matching(folder: str, pattern: str, recursive: bool) -> list[str]:
    """What a pattern finds from a folder on."""
    return sorted(glob.glob(pattern, root_dir=folder, recursive=recursive))


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
