"""Functions that read numbers, not tensors that stand for them: what transforms and compilers of torch get from them.

A matching is a table of integers that depends on the values of its images. ``torch.compile`` leaves its graph for the call
and goes on after it; ``fullgraph=True``, ``torch.vmap`` and the transforms of ``torch.func`` are refused in words.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import torch


def eager(function: Callable) -> Callable:
    """Let ``function`` run outside of compiled graphs, and refuse tensors of transforms among its arguments."""
    words = f"lab.topology.{function.__qualname__} reads values, which no graph holds: compile without fullgraph=True"

    @torch._disable_dynamo
    def outside(*arguments, **options):
        refuse_transforms(function.__qualname__, *arguments, *options.values())
        return function(*arguments, **options)

    @wraps(function)
    def called(*arguments, **options):
        if torch.compiler.is_compiling():
            torch._dynamo.graph_break(msg=words)
        return outside(*arguments, **options)

    return called


def refuse_transforms(name: str, *values) -> None:
    """``TypeError`` for tensors inside ``torch.vmap``, ``torch.func.grad`` and their like, also in lists."""
    for value in values:
        if isinstance(value, (list, tuple)):
            refuse_transforms(name, *value)
        elif isinstance(value, torch.Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(value):
            raise TypeError(
                f"{name} reads values, which tensors inside torch.func transforms and torch.vmap do not have; "
                "use torch.autograd.grad or backward() for gradients, and a batch axis instead of vmap"
            )
