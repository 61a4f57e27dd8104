"""Where compiled CPU kernels are kept, and compiling all of them ahead of use.

numba keeps a compiled kernel beside its source where that folder is writable, else in the user's cache folder. In a
container both may be read-only; then a folder of the temporary directory is used, so that importing never fails.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent


def prepare() -> str:
    """Choose numba's cache folder; returns it. Respects ``NUMBA_CACHE_DIR``."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return given
    if os.access(HERE, os.W_OK):
        return str(HERE)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for folder in (home / "objective-lab" / "numba", Path(tempfile.gettempdir()) / f"objective-lab-numba-{_user()}"):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            os.environ["NUMBA_CACHE_DIR"] = str(folder)
            if "numba" in sys.modules:
                sys.modules["numba"].config.CACHE_DIR = str(folder)
            return str(folder)
    return str(HERE)


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")


def folders() -> list[str]:
    """Names of the operation folders: packages of :mod:`lab.kernels` that hold a ``cpu`` module."""
    return sorted(
        found.name
        for found in pkgutil.iter_modules([str(HERE)])
        if found.ispkg and ((HERE / found.name / "cpu.py").exists() or (HERE / found.name / "cpu").is_dir())
    )


def warm(progress: Callable[[str], None] | None = None) -> dict[str, float]:
    """Compile every CPU kernel of the lab and keep it in the cache; a second call takes the time of loading.

    An operation folder takes part by defining ``warm()`` in its ``cpu`` module: a function without arguments that calls
    each compiled kernel once on a tiny input of each type it is used with.

    Args:
        progress: called with a line of text per operation folder.

    Returns:
        Seconds spent per operation folder.
    """
    seconds = {}
    for name in folders():
        began = time.perf_counter()
        function = getattr(importlib.import_module(f"lab.kernels.{name}.cpu"), "warm", None)
        if function is None:
            continue
        function()
        seconds[name] = time.perf_counter() - began
        if progress is not None:
            progress(f"{name}: {seconds[name]:.2f} s")
    return seconds
