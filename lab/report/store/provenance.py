"""Where a run came from: commit, lock, versions, machine. Read from files; no heavy package is imported."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from lab.report.store.layout import project_root
from lab.source import file_hash, text_hash


@lru_cache(maxsize=1)
def git_state() -> dict[str, Any]:
    """The commit, whether tracked files differ from it, and a hash of the difference; empty outside a repository."""

    def git(*arguments):
        return subprocess.run(
            ["git", *arguments], cwd=project_root(), capture_output=True, text=True, check=True, timeout=20
        ).stdout

    try:
        commit = git("rev-parse", "HEAD").strip()
        difference = git("diff", "HEAD", "--no-ext-diff", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit, "dirty": bool(difference), "difference": text_hash(difference)[:16] if difference else ""}


def lock_hash() -> str:
    """A hash of ``requirements.lock``, empty where there is none."""
    path = project_root() / "requirements.lock"
    return file_hash(path)[:16] if path.exists() else ""


@lru_cache(maxsize=1)
def device() -> str:
    """The device class that results may depend on: the GPU's name where there is one, else the processor's kind."""
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in path.read_text(encoding="utf-8", errors="ignore").splitlines():
            if line.startswith("Model:"):
                return "cuda " + line.split(":", 1)[1].strip()
    return f"cpu {platform.machine()}"


@lru_cache(maxsize=512)
def version_of(distribution: str) -> str:
    """The installed version of a distribution, or ``"missing"``."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"


@lru_cache(maxsize=1)
def _distributions() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


def versions(top_level: list[str]) -> dict[str, str]:
    """Versions of the distributions that provide these top-level modules."""
    known = _distributions()
    names = {name for module in top_level for name in known.get(module, ())}
    return {name: version_of(name) for name in sorted(names, key=str.lower) if name != "objective-lab"}


def threads() -> int:
    """Threads that a run may use: ``$OMP_NUM_THREADS``, or 1, so that results do not depend on the machine."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdigit() and int(text) > 0 else 1


def machine() -> dict[str, Any]:
    """The machine in plain words, without its name or paths."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "device": device(),
        "platform": sys.platform,
    }
