"""What the values of an image file or array mean: probabilities, ids or grey values, decided by stated rules or refused.

Each function returns the values and the sentences that say what was done to them.

- **Probabilities** lie in [0, 1]. Whole numbers that are only 0 and 1 are a mask and stay; 0 and 255 (or 65535) are a mask too;
  8-bit values that pass 127 are grey values over 255, 16-bit values that pass 32767 over 65535. Other whole numbers may be ids,
  percentages or grey values, and numbers outside [0, 1] logits: they are refused until ``scale=`` or ``activation=`` says.
- **Ids** are whole and never scaled; floats that miss a whole number by rounding (a file that stores a slope) are rounded.
- **Grey values** become [0, 1]: 8-bit over 255, 16-bit over 65535, masks and floats in [0, 1] as they are, all else from its
  own minimum to its maximum.
"""

from __future__ import annotations

import numpy as np

from lab import checks

ACTIVATIONS = (None, "none", "sigmoid", "clip")
FULL = {8: 255, 16: 65535}
_ROUNDING = 1e-6  # of a probability beyond [0, 1]
_ID_ROUNDING = 1e-3


def check_options(scale, activation) -> float | None:
    """``scale`` as a positive number or ``None``; refuses an unknown activation."""
    checks.choice("activation", activation, ACTIVATIONS)
    return None if scale is None else checks.number("scale", scale, low=0.0, open_low=True)


def probabilities(name: str, values: np.ndarray, *, scale: float | None = None, activation: str | None = None):
    """``(float32 in [0, 1], sentences)``.

    Args:
        scale: what the values are divided by; decided by the rules above where ``None``.
        activation: ``"sigmoid"`` for logits, ``"clip"`` to cut at 0 and 1, ``"none"`` for values that are taken as they are.

    Raises:
        ValueError: NaN, values outside [0, 1], whole numbers that may be ids, percentages or grey values.
    """
    from scipy.special import expit

    scale, notes = check_options(scale, activation), []
    whole = values.dtype.kind in "bui"
    low, high = bounds(name, values)
    if scale is None and activation in (None, "clip") and whole and values.dtype.kind != "b":
        levels = np.flatnonzero(np.bincount(values.reshape(-1).astype(np.uint8))) if 0 <= low and high <= 255 else None
        scale, said = divisor(name, 8 * values.dtype.itemsize, low, high, levels, activation)
        notes += said
    elif scale is not None:
        notes.append(f"values divided by {scale:g}")
    found = values.astype(np.float64) / (scale or 1.0)
    if activation == "sigmoid":
        notes.append("the sigmoid was applied")
        found = expit(found)
    low, high = float(found.min()), float(found.max())
    beyond = max(-low, high - 1)
    if beyond > 0:
        if activation != "clip" and beyond > _ROUNDING:
            raise ValueError(outside(name, low, high))
        notes.append(f"values cut at 0 and 1 (they passed it by up to {beyond:.3g})")
        found = found.clip(0, 1)
    single = found.astype(np.float32)
    if values.dtype.kind == "f" and values.dtype.itemsize > 4 and activation != "sigmoid":
        notes += rounding(found, single)
    return single, tuple(notes)


def divisor(name, bits: int, low: float, high: float, levels, activation=None) -> tuple[float, tuple[str, ...]]:
    """By what whole numbers are divided to be probabilities, and why; ``levels`` are the different values if all lie in 0..255.

    Raises:
        ValueError: they may be ids, percentages or grey values.
    """
    if low >= 0 and high <= 1:
        return 1.0, ("values 0 and 1: a mask, taken as it is",)
    if low >= 0:
        seen = set() if levels is None else {int(level) for level in levels}
        if seen in ({0, 255}, {255}):
            return 255.0, ("values 0 and 255: a mask, divided by 255",)
        if bits in FULL and high > FULL[bits] // 2:
            return float(FULL[bits]), (f"{bits}-bit values divided by {FULL[bits]}",)
    if activation == "clip":
        return 1.0, ()
    raise ValueError(outside(name, low, high, whole=True))


def outside(name: str, low: float, high: float, *, whole: bool = False) -> str:
    """The refusal of values that are no probabilities, with what to say."""
    span = f"{name} must hold probabilities in [0, 1], got {'whole numbers' if whole else 'values'} from {low:.4g} to {high:.4g}"
    if low < 0:
        return f"{span}; apply the sigmoid to logits first, or say activation='sigmoid' (activation='clip' cuts at 0 and 1)"
    likely = (
        "scale=100 for percentages" if high <= 100 else "scale=255 for grey values" if high <= 255 else "scale=65535"
    )
    ids = "; of class ids pass one class, values == id" if whole else "; of logits say activation='sigmoid'"
    return f"{span}; say what divides them, {likely}{ids}"


def ids(name: str, values: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """``(bool, uint8 or int64, sentences)``: ids of regions or classes; 0 is background."""
    notes = ()
    low, high = bounds(name, values)
    if values.dtype.kind == "f":
        nearest = np.round(values.astype(np.float64))
        off = float(np.abs(values - nearest).max())
        if off > _ID_ROUNDING or max(abs(low), abs(high)) > 2**53:
            raise ValueError(
                f"{name} holds fractions or numbers beyond 2^53 (from {low:.6g} to {high:.6g}, up to {off:.3g} from a whole one); "
                "a label holds one whole id per pixel"
            )
        if off > 0:
            notes = (f"ids rounded to whole numbers (largest deviation {off:.3g})",)
        values = nearest.astype(np.int64)
    if low < 0:
        raise ValueError(f"{name} holds negative ids (from {int(low)}); ids start at 0 for the background")
    if high >= 2**63:
        raise ValueError(f"{name} holds ids beyond 2^63 - 1 (up to {int(values.max())})")
    values = values if values.dtype in (np.bool_, np.uint8) else values.astype(np.int64)
    return np.ascontiguousarray(values), notes


def grey(name: str, values: np.ndarray, *, scale: float | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """``(float32 in [0, 1], sentences)``: an image to look at or learn from."""
    scale = check_options(scale, None)
    low, high = bounds(name, values)
    if scale is not None:
        if low < 0 or high > scale:
            raise ValueError(
                f"{name} must hold values from 0 to scale = {scale:g}, got values from {low:.6g} to {high:.6g}"
            )
        return (values / np.float64(scale)).astype(np.float32), (f"values divided by {scale:g}",)
    if values.dtype.kind == "b" or (low >= 0 and high <= 1):
        single = values.astype(np.float32)
        return single, rounding(values, single) if values.dtype.itemsize > 4 and values.dtype.kind == "f" else ()
    bits = 8 * values.dtype.itemsize
    if values.dtype.kind == "u" and bits in FULL:
        return (values / np.float32(FULL[bits])).astype(np.float32), (f"{bits}-bit values divided by {FULL[bits]}",)
    if high <= low:
        return np.zeros(values.shape, np.float32), (f"all values are {low:.6g}; shown as 0",)
    wide = values.astype(np.float64)
    if not np.isfinite(high - low):  # the range has no room in the type
        wide, low, high = wide / 2, low / 2, high / 2
        said = f"values from {2 * low:.6g} to {2 * high:.6g} stretched to [0, 1]"
    else:
        said = f"values from {low:.6g} to {high:.6g} stretched to [0, 1]"
    return ((wide - low) / (high - low)).astype(np.float32), (said,)


def bounds(name: str, values: np.ndarray) -> tuple[float, float]:
    """Smallest and largest value; NaN and infinite ones are refused with their number."""
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        count = int((~np.isfinite(values)).sum())
        raise ValueError(f"{name} holds {count} values that are NaN or infinite")
    return (int(low), int(high)) if values.dtype.kind in "bui" else (float(low), float(high))


def rounding(exact: np.ndarray, single: np.ndarray) -> tuple[str, ...]:
    """The sentence on what single precision changed, if it did."""
    change = float(np.abs(exact - single).max())
    return (f"rounded to single precision (by up to {change:.1g})",) if change > 0 else ()
