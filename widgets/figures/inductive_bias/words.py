"""How figures say a number of bits."""

from __future__ import annotations

import math


def in_words(value: float) -> str:
    """Bits as a title says them."""
    if not math.isfinite(value):
        return "unreachable"
    return "almost 0" if 0 < value < 0.005 else f"{value:.3g}"
