"""Half precision at the border: what is squared, summed or compared is never kept in fewer bits than float32.

Values of float16 and bfloat16 are exact in float32, so widening loses nothing; a sum that went back to half precision
would be rounded to 3 digits or become infinite. The lab's losses and distances therefore answer in float32, as those of
torch do under autocast; gradients go back in the dtype of the input.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import torch

HALF = (torch.float16, torch.bfloat16)


def wide(x: torch.Tensor) -> torch.Tensor:
    """``x`` in float32 where it is float16 or bfloat16, and ``x`` itself otherwise; differentiable."""
    return x.float() if x.dtype in HALF else x


def without_autocast(function: Callable) -> Callable:
    """Let ``function`` run with autocast off on every device: matrix products inside keep the dtype of what they get."""

    @wraps(function)
    def full(*arguments, **options):
        devices = [device for device in ("cpu", "cuda", "mps", "xpu") if torch.is_autocast_enabled(device)]
        if not devices:
            return function(*arguments, **options)
        with torch.autocast(devices[0], enabled=False):
            return full(*arguments, **options)

    return full
