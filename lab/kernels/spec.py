"""One description an operation: the single source of its tests, documentation, compile gate and benchmark.

Each operation folder has a module ``spec`` with one :class:`KernelSpec` named ``SPEC``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lab import checks
from lab.kernels import dispatch

TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 5e-6,
    torch.float16: 3e-3,
    torch.bfloat16: 1e-2,
    "tf32": 1e-3,
    "long reduction": 2e-5,
}
"""Largest ||out - exact||/||exact|| of an output and of each gradient, the exact one in float64. ``tf32`` where a dot
runs on tensor cores in that format, ``long reduction`` for float32 sums of more than 10,000 terms. Single elements
may be off by 20 times as much; no form may be worse than twice torch in the same dtype. Whole numbers (indices,
pairs) are exact."""

Shape = Mapping[str, int]


@dataclass(frozen=True)
class KernelSpec:
    """What an operation is, does and costs.

    Attributes:
        name: of the public function.
        sentence: what it does.
        inputs: ``(shape, dtype, seed, device) -> dict`` of keyword arguments.
        run: calls the public function with those arguments and returns a tensor.
        shapes: named shapes: ``tiny`` (interpreter), ``small``, ``cpu`` (timed on one core), ``gpu`` (timed on a GPU).
        differentiable: names of the arguments with gradients.
        bytes: ``(shape, itemsize) -> float``, least traffic with the main memory of a forward call.
        flops: ``shape -> float``, multiplications and additions of a forward call.
        special: ``shape -> float``, exponentials and other special functions of a forward call.
        roof: which of ``bytes``, ``flops`` and ``special`` bounds it.
        peers: names of the libraries that compute the same.
        gate: ``() -> list`` of configurations for the compile gate (:mod:`lab.kernels.aot`).
        tolerance: key of :data:`TOLERANCE` instead of float32's, for float32.
        forms: words of the forms it has.
    """

    name: str
    sentence: str
    inputs: Callable[..., dict]
    run: Callable[..., torch.Tensor]
    shapes: Mapping[str, Shape]
    differentiable: tuple[str, ...]
    bytes: Callable[[Shape, int], float]
    flops: Callable[[Shape], float]
    special: Callable[[Shape], float]
    roof: str
    peers: tuple[str, ...] = ()
    gate: Callable[[], list] | None = None
    tolerance: str | None = None
    forms: tuple[str, ...] = ("reference", "cpu", "triton")
    variants: Mapping[str, Mapping] = field(default_factory=dict)

    def bound(self, dtype: torch.dtype) -> float:
        """Allowed relative error of float results in ``dtype``."""
        if dtype == torch.float32 and self.tolerance:
            return TOLERANCE[self.tolerance]
        return TOLERANCE[dtype]


def names() -> list[str]:
    """Names of the operations with a description."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/spec.py"))


def specs() -> dict[str, KernelSpec]:
    """The description of every operation."""
    return {name: get(name) for name in names()}


def get(name: str) -> KernelSpec:
    """The description of one operation; ``ValueError`` with the nearest name if there is none."""
    checks.choice("op", name, names())
    return importlib.import_module(f"lab.kernels.{name}.spec").SPEC


def with_gradients(
    spec: KernelSpec, inputs: dict, *, word: str = "auto", dtype: torch.dtype | None = None, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Output and gradients of one call: ``{"output": ..., "grad logits": ...}``.

    ``dtype`` converts the floating inputs first. The gradients are those of a fixed combination of the outputs with random
    positive weights (signs would cancel in the gradients of scalars).
    """
    prepared = {}
    for name, value in inputs.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            value = value.detach().to(dtype or value.dtype)
            value = value.requires_grad_() if name in spec.differentiable else value
        prepared[name] = value
    with dispatch.backend(word):
        output = spec.run(prepared)
        found = {"output": output.detach()}
        if output.is_floating_point() and output.requires_grad:
            generator = torch.Generator().manual_seed(seed)
            combination = (0.5 + torch.rand(output.shape, generator=generator, dtype=torch.float64)).to(output)
            wanted = [name for name in spec.differentiable if prepared[name].requires_grad]
            gradients = torch.autograd.grad(output, [prepared[name] for name in wanted], combination)
            found |= {f"grad {name}": gradient for name, gradient in zip(wanted, gradients)}
    return found


def relative_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """||found - exact||/||exact|| in float64, infinity where ``found`` is not finite or of another shape; of whole
    numbers the share that differs."""
    if found.shape != exact.shape:
        return float("inf")
    if not found.is_floating_point():
        return float((found != exact).double().mean()) if found.numel() else 0.0
    found, exact = found.detach().double().cpu(), exact.detach().double().cpu()
    if not bool(torch.isfinite(found).all()):
        return float("inf")
    size = float(exact.norm())
    return float((found - exact).norm()) / size if size else float((found - exact).norm())


def explain(op: str, *tensors: torch.Tensor) -> dispatch.Choice:
    """Which form of ``op`` would run on these tensors (none: a float32 input on the CPU), and why."""
    checks.choice("op", op, names())
    for tensor in tensors:
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"tensors must be torch tensors, got {type(tensor).__name__}")
    if not tensors:
        tensors = (torch.empty(0, dtype=torch.float32),)
        return dispatch.choose(op, *tensors, work=1)
    module = importlib.import_module(f"lab.kernels.{op}.spec")
    return dispatch.choose(op, *tensors, work=module.work(*tensors), small=module.SMALL)


class Table(list):
    """Rows of :func:`table`; as text a line an operation."""

    def __str__(self):
        wide = max((len(row["op"]) for row in self), default=0)
        return "\n".join(
            f"{row['op']:{wide}}  {row['path']:9}  {row['reason']}; bound by {row['bound by']}\n"
            f"{'':{wide}}  {row['sentence']}"
            for row in self
        )


def table() -> Table:
    """One row an operation: what it does, the form that runs on this machine and why, and what bounds it."""
    rows = Table()
    for name, spec in specs().items():
        choice = explain(name)
        rows.append(
            {
                "op": name,
                "sentence": spec.sentence,
                "path": choice.path,
                "reason": choice.reason,
                "forms": ", ".join(spec.forms),
                "bound by": spec.roof,
                "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
            }
        )
    return rows
