"""What ``lab doctor`` looks at: versions against the lock, cores, memory, GPU, Chromium, extras, the store."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata

from lab.report.notebook.forkserver import kernel_environment, obstacle
from lab.report.site.export import chromium
from lab.report.store import provenance
from lab.report.store.layout import Store, StoreError, project_root
from lab.wording import counted

EXTRAS = {
    "kernels": ("triton", "Triton kernels for NVIDIA GPUs (Linux)"),
    "data": ("nilearn", "brain volumes that nilearn carries"),
    "dev": ("hypothesis", "tests and benchmarks"),
}


@dataclass(frozen=True)
class Check:
    """One line of the examination: ``ok``, ``missing`` (something optional) or ``broken``."""

    state: str
    name: str
    text: str


def checks() -> list[Check]:
    """Every check, in the order of the report."""
    return [_python(), _packages(), _machine(), _gpu(), _kernels(), _chromium(), *_extras(), _store()]


def _python():
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] <= (3, 14):
        return Check("ok", "Python", f"{version} on {platform.system()} {platform.machine()}")
    return Check("broken", "Python", f"{version}, but 3.11 to 3.14 is required: make clean env with python3.11 on PATH")


def _packages():
    path = project_root() / "requirements.lock"
    if not path.exists():
        return Check("missing", "packages", "requirements.lock is not here; installed versions cannot be compared")
    wrong = []
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", path.read_text(encoding="utf-8"), flags=re.M)
    for name, version in pins:
        found = provenance.version_of(name)
        if found.split("+")[0] != version.split("+")[0]:
            wrong.append(f"{name} {found} instead of {version}")
    main = ", ".join(
        f"{name} {provenance.version_of(name)}" for name in ("torch", "numba", "plotly", "panel", "papermill")
    )
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        return Check("broken", "packages", f"{'; '.join(wrong[:4])}{more}; make env installs the locked versions")
    return Check("ok", "packages", f"{len(pins)} as locked: {main}")


def _machine():
    found = provenance.machine()
    free = shutil.disk_usage(project_root()).free / 2**30
    return Check(
        "ok", "machine", f"{found['cores']} cores, {found['memory_gib']:g} GiB memory, {free:.0f} GiB free on disk"
    )


def _gpu():
    device = provenance.device()
    if device.startswith("cuda"):
        if "+cpu" in _torch_build():
            return Check(
                "missing", "GPU", f"{device[5:]}, but torch is the CPU build: install torch with CUDA to use it"
            )
        return Check("ok", "GPU", device[5:])
    return Check("ok", "GPU", "none; everything runs on the CPU kernels")


def _kernels():
    reason = obstacle(kernel_environment({}, provenance.threads()))
    text = (
        f"every run starts a fresh one: {reason}"
        if reason
        else "sweeps fork them from a process that has only imported"
    )
    return Check("ok", "kernels", text)


def _torch_build():
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return ""


def _chromium():
    path = chromium()
    if path:
        return Check("ok", "Chromium", f"{os.path.basename(path)}: browser tests, PDF and PNG of reports")
    return Check(
        "missing",
        "Chromium",
        "browser tests, PDF and PNG of reports need it: apt-get install chromium (Debian, Ubuntu)",
    )


def _extras():
    for extra, (package, use) in EXTRAS.items():
        version = provenance.version_of(package)
        if version == "missing":
            yield Check("missing", f"extra '{extra}'", f"{use}: {sys.executable} -m pip install -e '.[{extra}]'")
        else:
            yield Check("ok", f"extra '{extra}'", f"{package} {version}: {use}")


def _store():
    store = Store()
    try:
        store.prepare()
    except StoreError as error:
        return Check("broken", "store", str(error))
    return Check("ok", "store", f"{counted(len(store.ids()), 'run')} in {store.runs}")
