"""Checks of public arguments: each raises an error that names the argument, what came and what is wanted.

All public functions of the lab refuse bad input before any work starts. ``TypeError`` is for the wrong kind of thing,
``ValueError`` for the right kind with a wrong value. torch is imported on first use: the command line reads the ledger
through this module and must start without it.
"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def tensor(
    name: str,
    value,
    *,
    ndim: int | Sequence[int] | None = None,
    shape: Sequence[int | None] | None = None,
    empty: bool = False,
    finite: bool = True,
    floating: bool = False,
) -> torch.Tensor:
    """``value`` as a real, dense, contiguous tensor on its own device, or a refusal.

    Numpy arrays of any layout and byte order, frames of numbers and nested sequences are accepted; the tensor shares their
    memory where it can and nothing is modified. Unsigned integers of more than 8 bits become the next wider signed ones, and
    float8 becomes float32, exactly. Integers beyond 2^53 are refused, since everything is computed in floating point and
    neighbours would become one; masked values are refused. ``ndim`` lists the allowed ranks, ``shape`` the wanted sizes
    (``None`` matches any), ``floating=True`` promotes arrays of integers to float64 and
    refuses booleans and integer tensors, which have no gradient.
    """
    import torch

    result = _cast(name, value if isinstance(value, torch.Tensor) else _from_numpy(name, value))
    if (
        floating
        and not isinstance(value, torch.Tensor)
        and not result.is_floating_point()
        and result.dtype != torch.bool
    ):
        result = result.double()
    if floating and not result.is_floating_point():
        raise TypeError(f"{name} must hold floating-point values, got {result.dtype}; call .float() first")
    if ndim is not None:
        allowed = (ndim,) if isinstance(ndim, int) else tuple(ndim)
        if result.ndim not in allowed:
            wanted = " or ".join(str(rank) for rank in allowed)
            raise ValueError(f"{name} must have {wanted} axes, got {result.ndim} (shape {tuple(result.shape)})")
    if shape is not None:
        matches = result.ndim == len(shape) and all(w is None or w == g for w, g in zip(shape, result.shape))
        if not matches:
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise ValueError(f"{name} must have shape ({wanted}), got {tuple(result.shape)}")
    if not empty and result.numel() == 0:
        raise ValueError(f"{name} is empty (shape {tuple(result.shape)}); at least one value is needed")
    if finite and result.is_floating_point():
        refuse_nonfinite(name, result)
    return result


def array(value: torch.Tensor):
    """The values of a tensor as a numpy array of their own kind; bfloat16, which numpy has not, as float32."""
    import torch

    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def _from_numpy(name: str, value) -> torch.Tensor:
    """``value`` as a tensor of its own kind and width, C-ordered and in native byte order."""
    import numpy as np
    import torch

    if np.ma.isMaskedArray(value) and np.ma.is_masked(value):
        raise ValueError(
            f"{name} has {int(np.ma.count_masked(value))} masked values; fill them, .filled(value), or leave them out"
        )
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise TypeError(f"{name} must be an array or tensor of numbers, got {type(value).__name__}") from error
    if array.dtype.kind not in "fiubc":
        words = f"dtype {array.dtype}"
        if hasattr(value, "select_dtypes"):
            others = list(value.select_dtypes(exclude=["number", "bool"]).columns)
            words += (
                f" of a frame, whose columns {', '.join(map(repr, others[:5]))} hold no numbers"
                if others
                else " of a frame"
            )
        raise TypeError(f"{name} must be an array or tensor of numbers, got {words}")
    if array.dtype.kind == "c":
        raise TypeError(f"{name} must be real, got {array.dtype}; pass its magnitude or its real part")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    array = array if array.ndim == 0 else np.ascontiguousarray(array)
    # an axis of one entry may keep a negative stride and count as contiguous all the same
    usable = array.flags.writeable and min(array.strides, default=0) >= 0
    return torch.from_numpy(array if usable else array.copy())


def _cast(name: str, result: torch.Tensor) -> torch.Tensor:
    """The one cast of the lab: no value changes, and what would change one is refused."""
    import torch

    if result.is_complex():
        raise TypeError(f"{name} must be real, got {result.dtype}; pass its magnitude or its real part")
    if result.layout != torch.strided:
        raise TypeError(f"{name} must be dense, got layout {result.layout}; call .to_dense() first")
    if result.is_quantized:
        raise TypeError(f"{name} must hold plain numbers, got {result.dtype}; call .dequantize() first")
    result = result.resolve_neg().contiguous()
    if result.dtype in (torch.uint16, torch.uint32):
        result = result.to(torch.int32 if result.dtype == torch.uint16 else torch.int64)
    elif result.dtype == torch.uint64:
        result = result.view(torch.int64)  # beyond 2^63 the sign bit is set
        if result.numel() and int(result.min()) < 0:
            raise ValueError(
                f"{name} holds integers beyond 2^53, which floating point cannot tell apart; rescale or number them"
            )
    elif result.is_floating_point() and result.element_size() == 1:
        result = result.to(torch.float32)
    if (
        result.dtype == torch.int64 and result.numel() and not torch.compiler.is_compiling()
    ):  # a traced tensor has no values
        low, high = (int(each) for each in torch.aminmax(result))
        if max(-low, high) > 2**53:
            raise ValueError(
                f"{name} holds integers beyond 2^53 ({low} to {high}), which floating point cannot tell apart; rescale or "
                "number them"
            )
    return result


def refuse_nonfinite(name: str, value: torch.Tensor) -> None:
    """Raise ``ValueError`` with the count and first place of NaN or infinite values in ``value``."""
    import torch

    if value.numel() == 0 or bool(torch.isfinite(value.detach().sum())):
        return
    bad = ~torch.isfinite(value.detach())
    count = int(bad.sum())
    if count == 0:
        return
    first = tuple(int(i) for i in torch.nonzero(bad)[0])
    kind = "NaN" if bool(torch.isnan(value.detach()).any()) else "infinite"
    raise ValueError(f"{name} must be finite, got {count} {kind} value{'s' * (count > 1)}, the first at index {first}")


def same_shape(first_name: str, first, second_name: str, second) -> None:
    """Refuse two arrays whose shapes differ, naming both sizes."""
    if tuple(first.shape) != tuple(second.shape):
        raise ValueError(
            f"{first_name} and {second_name} must have the same shape, got {tuple(first.shape)} and {tuple(second.shape)}"
        )


def integer(name: str, value, *, low: int | None = None, high: int | None = None) -> int:
    """``value`` as an int within ``[low, high]``; booleans and non-integral numbers are refused."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r} ({type(value).__name__})")
    return int(_within(name, int(value), low, high))


def number(name: str, value, *, low: float | None = None, high: float | None = None, open_low: bool = False) -> float:
    """``value`` as a finite float within ``[low, high]`` (``open_low``: ``low`` itself is refused)."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})")
    value = float(value)
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    if open_low and low is not None and value <= low:
        raise ValueError(f"{name} must be greater than {low}, got {value}")
    return float(_within(name, value, low, high))


def _within(name, value, low, high):
    if low is not None and value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")
    if high is not None and value > high:
        raise ValueError(f"{name} must be at most {high}, got {value}")
    return value


def choice(name: str, value, allowed: Iterable):
    """``value`` if it is one of ``allowed``; the refusal lists the allowed values and the nearest one."""
    allowed = list(allowed)
    if any(value is item or (type(value) is type(item) and value == item) for item in allowed):
        return value
    listed = ", ".join(repr(item) for item in allowed)
    raise ValueError(f"{name} must be one of {listed}, got {value!r}{did_you_mean(value, allowed)}")


def did_you_mean(value, allowed: Iterable) -> str:
    """``"; did you mean 'x'?"`` for the nearest of ``allowed``, or an empty string."""
    near = difflib.get_close_matches(str(value), [str(item) for item in allowed], n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def generator(seed, device: torch.device | str = "cpu") -> torch.Generator:
    """A ``torch.Generator`` from ``seed: int | torch.Generator``; a generator passes through. Global state is not touched."""
    import torch

    if isinstance(seed, torch.Generator):
        return seed
    return torch.Generator(device=device).manual_seed(integer("seed", seed, low=0))
