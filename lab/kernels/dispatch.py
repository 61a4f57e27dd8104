"""Which form of an operation runs: the torch reference, the numba form on the CPU, or the Triton form on a GPU.

The words are ``auto | reference | cpu | triton``. ``auto`` takes the fast form of the tensors' device where one
exists and pays; the environment variable ``LAB_KERNELS`` sets the word for a process, :func:`backend` for a block of
code. Code under
``torch.func`` (``grad``, ``vmap``, ``jacrev``) and forward-mode differentiation always runs the reference, which is
built of torch operations alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import torch

from lab import checks

WORDS = ("auto", "reference", "cpu", "triton")
FAST_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


# Looked up once: code that torch compiles must not ask the file system. Neither package is imported here.
HAS_NUMBA, HAS_TRITON = _installed("numba"), _installed("triton")
FORMS = {
    folder.parent.name: frozenset(file.stem for file in folder.parent.glob("*.py"))
    for folder in Path(__file__).parent.glob("*/spec.py")
}
COMPILED_WORD = "auto"
"""The word in code that torch compiles, where no context is read; the benchmark sets it to time the compiled reference."""
_WORD: ContextVar[str | None] = ContextVar("lab_kernels_backend", default=None)


@dataclass(frozen=True)
class Choice:
    """The form that runs (``path``: ``reference``, ``cpu`` or ``triton``) and the ``reason`` in words."""

    op: str
    path: str
    reason: str

    def __str__(self):
        return f"{self.op}: {self.path} ({self.reason})"


@contextlib.contextmanager
def backend(word: str) -> Iterator[None]:
    """Within this block the operations of :mod:`lab.kernels` take the form ``word``.

    Args:
        word: ``"auto"``, ``"reference"`` (torch), ``"cpu"`` (numba) or ``"triton"`` (CUDA).

    Raises:
        ValueError: another word.
    """
    checks.choice("backend", word, WORDS)
    token = _WORD.set(word)
    try:
        yield
    finally:
        _WORD.reset(token)


def current() -> str:
    """The word in force: of the innermost :func:`backend` block, else of ``LAB_KERNELS``, else ``auto``."""
    word = _WORD.get()
    if word is None:
        word = os.environ.get("LAB_KERNELS", "") or "auto"
        if word not in WORDS:
            raise ValueError(f"LAB_KERNELS must be one of {', '.join(WORDS)}, got {word!r}")
    return word


def choose(
    op: str,
    *tensors: torch.Tensor,
    work: int = 0,
    small: int = 0,
    refused: str = "",
    dtypes: tuple[torch.dtype, ...] = FAST_DTYPES,
) -> Choice:
    """The form of ``op`` for these tensors.

    ``work`` below ``small`` bypasses the fast forms under ``auto``: a call of a custom operation costs about 60 us,
    more than the whole computation on a small input. ``refused`` is a reason why no fast form can serve this call.
    """
    device = tensors[0].device.type
    if torch.compiler.is_compiling():
        word = COMPILED_WORD
    else:
        word = current()
        if _transformed():
            return Choice(op, "reference", "inside a torch.func transform or forward-mode differentiation")
    if word == "reference":
        return Choice(op, "reference", "asked for")
    if word == "cpu" and device != "cpu":
        raise ValueError(f"backend 'cpu' of {op} needs tensors on the CPU, got device {device!r}")
    if word == "triton" and device != "cuda" and not interpreting():
        raise ValueError(f"backend 'triton' of {op} needs tensors on a CUDA device, got device {device!r}")
    if word == "triton" and not HAS_TRITON:
        raise ValueError(f"backend 'triton' of {op} needs the package triton; pip install 'objective-lab[kernels]'")
    if refused:
        return Choice(op, "reference", refused)
    for tensor in tensors:
        if tensor.is_floating_point() and tensor.dtype not in dtypes:
            *most, last = (_name(dtype) for dtype in dtypes)
            fast = f"the fast forms take {', '.join(most)} and {last}"
            return Choice(op, "reference", f"{_name(tensor.dtype)} is computed by torch; {fast}")
    if word == "auto" and work < small:
        return Choice(op, "reference", f"small input: {work} elements of work, the fast form pays from {small}")
    if device == "cuda" or word == "triton":
        if HAS_TRITON and "triton" in FORMS[op]:
            return Choice(op, "triton", "CUDA device" if device == "cuda" else "Triton interpreter")
        if "triton" in FORMS[op]:
            return Choice(op, "reference", "the package triton is not installed; torch runs on the GPU")
        return Choice(op, "reference", "torch's own operations are its form on the GPU")
    if device == "cpu":
        if "cpu" not in FORMS[op]:
            return Choice(op, "reference", "torch's own operations are its fast form on the CPU")
        if HAS_NUMBA:
            return Choice(op, "cpu", "asked for" if word == "cpu" else "numba form on the CPU")
        return Choice(op, "reference", "the package numba is not installed")
    return Choice(op, "reference", f"no fast form for device {device!r}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def interpreting() -> bool:
    """Whether Triton kernels run in Triton's interpreter (``TRITON_INTERPRET=1``), which takes tensors on the CPU."""
    return os.environ.get("TRITON_INTERPRET", "") == "1"


def eager() -> bool:
    """Whether values may be looked at: neither under ``torch.compile`` nor inside a ``torch.func`` transform."""
    return not torch.compiler.is_compiling() and torch._C._functorch.maybe_current_level() is None


def _transformed() -> bool:
    from torch.autograd import forward_ad

    return torch._C._functorch.maybe_current_level() is not None or forward_ad._current_level >= 0
