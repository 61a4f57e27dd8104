"""From images to sublevel arrays: what level sets grow through, and what happens at the border.

Everything is computed on sublevel sets in the V-construction: voxels are vertices, a cell enters with its last voxel.
Foreground is connected through faces (4 neighbours in 2-D, 6 in 3-D), background through corners too (8, 26).

- ``filtration="superlevel"`` (high values enter first; the right choice for probabilities) negates the image. It is
  never ``1 - x``, which merges values that differ by less than the spacing of floating-point numbers near 1.
- ``border=None``: the image ends where it ends. A foreground arc that touches the border twice encloses nothing.
- ``border="foreground"``: a frame one voxel wide enters first, with the image's first value. Such an arc then closes a
  loop, and components that touch the border are one. The frame copies the voxel with the first value: where a bar
  begins or ends in the frame, that voxel is named and receives the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lab import checks

FILTRATIONS = ("superlevel", "sublevel")
BORDERS = (None, "foreground")
MOST_CHANNELS = 16  # of signals, where more are rows of an image


@dataclass(frozen=True)
class Convention:
    """A published code's choices.

    Args:
        filtration: ``"superlevel"`` or ``"sublevel"``.
        border: ``None`` or ``"foreground"``.
        essential: whether the bar that never ends counts, matched from image to image.
    """

    filtration: str = "superlevel"
    border: str | None = None
    essential: bool = False


CONVENTIONS = {
    "betti-matching-3d": Convention(),
    "betti-matching-2d": Convention(border="foreground", essential=True),
}
"""Conventions by name: ``"betti-matching-3d"`` (the C++ code) and ``"betti-matching-2d"`` (the older Python code as its
authors trained with it). Barcodes and losses against a binary label agree with that code; between two images without
ties in common its cell order, and so its matching, is another one."""


def chosen(filtration: str, border: str | None, convention: str | None) -> Convention:
    """The convention named ``convention``, or the one that ``filtration`` and ``border`` make.

    Raises:
        ValueError: an unknown word, or a convention beside another filtration or border than the default.
    """
    if convention is None:
        check_options(filtration, border)
        return Convention(filtration, border)
    found = CONVENTIONS[checks.choice("convention", convention, CONVENTIONS)]
    if border is not None or filtration != "superlevel":
        raise ValueError(
            f"convention {convention!r} decides about filtration and border; leave them out, got filtration="
            f"{filtration!r}, border={border!r}"
        )
    return found


def image(name: str, value, *, ndim=(1, 2, 3)) -> torch.Tensor:
    """``value`` as a real tensor with ``ndim`` axes, not empty, finite; the refusal names ``name``."""
    return checks.tensor(name, value, ndim=ndim)


def refuse_axes(name: str, shape: tuple[int, ...]) -> None:
    """Refuse a batch whose axes are most likely not (batch, classes, axes...): a missing or a last axis of classes.

    Signals (batch, classes, length) have few classes; images without an axis of classes and images with the classes last
    have many rows in its place.

    Raises:
        ValueError: with what to write instead.
    """
    if len(shape) == 3 and (shape[1] > MOST_CHANNELS or shape[1] == shape[2] > 4):
        raise ValueError(
            f"{name} must have shape (batch, classes, axes...), got {tuple(shape)}, which reads as {shape[1]} classes of signals "
            f"of length {shape[2]}; for images without an axis of classes write {name}[:, None], for many classes of signals "
            f"{name}[:, :, None]"
        )
    if len(shape) > 3 and shape[1] > MOST_CHANNELS >= 4 >= shape[-1] and min(shape[2:-1]) > 4:
        raise ValueError(
            f"{name} must have shape (batch, classes, axes...), got {tuple(shape)}, which reads as {shape[1]} classes with a last "
            f"axis of {shape[-1]}; with classes last write {name}.movedim(-1, 1)"
        )


def refuse_target(target: torch.Tensor) -> None:
    """Refuse a target outside [0, 1]: births and deaths of the label are compared with probabilities, value by value."""
    if target.dtype == torch.bool:
        return
    low, high = (float(each) for each in torch.aminmax(target))
    if low < 0 or high > 1:
        ids = not target.is_floating_point() or bool((target == target.round()).all())
        two = ids and target.unique().numel() <= 2
        say = "target / 255 or target > 0" if two and high == 255 else "target > 0 of a mask"
        more = ", or to_onehot_y=True of class ids (batch, 1, axes...)" if ids and not two else ""
        raise ValueError(
            f"target must hold a mask or values in [0, 1], got values from {low:.4g} to {high:.4g}; pass {say}{more}"
        )


def sublevel(x: torch.Tensor, filtration: str, border: str | None) -> np.ndarray:
    """A fresh float64 C-ordered array of ``x`` in sublevel form, framed where asked; ``x`` is left as it is."""
    x = x.detach().cpu()
    values = (x.double() if x.dtype in (torch.bfloat16, torch.float16) else x).numpy()
    change = np.subtract if filtration == "superlevel" else np.add  # neither leaves a -0.0 behind
    values = change(0.0, values, dtype=np.float64)
    if border is not None:
        values = np.pad(values, 1, constant_values=values.min())
    return np.ascontiguousarray(values)


def sublevel_tensor(x: torch.Tensor, filtration: str, border: str | None) -> torch.Tensor:
    """The stack ``x (items, height, width)`` in sublevel form on its own device, each item framed where asked."""
    values = x.detach() if x.is_floating_point() else x.detach().double()
    values = 0.0 - values if filtration == "superlevel" else values + 0.0
    if border is not None:
        frame = values.flatten(1).amin(1)[:, None, None].expand(-1, values.shape[1] + 2, values.shape[2] + 2).clone()
        frame[:, 1:-1, 1:-1] = values
        values = frame
    return values


def first_voxel(x: torch.Tensor, filtration: str) -> torch.Tensor:
    """Flat index of the voxel that enters first, the lowest among equals, for every item of ``x (items, axes...)``."""
    flat = x.detach().flatten(1)
    value = flat.amax(1, keepdim=True) if filtration == "superlevel" else flat.amin(1, keepdim=True)
    return (flat == value).to(torch.uint8).argmax(1)


def unframed(index: torch.Tensor, shape: tuple[int, ...], border: str | None, first: torch.Tensor) -> torch.Tensor:
    """Flat indices of a framed image as flat indices of the image; the frame becomes ``first``, and -1 stays -1."""
    if border is None:
        return index
    result = torch.zeros_like(index)
    rest, inside = index, index >= 0
    stride = 1
    for size in reversed(shape):
        place = rest % (size + 2) - 1
        rest = rest // (size + 2)
        inside = inside & (place >= 0) & (place < size)
        result += place * stride
        stride *= size
    return torch.where(index < 0, -1, torch.where(inside, result, first.to(index.device)))


def check_options(filtration, border) -> None:
    """Refuse an unknown filtration or border."""
    checks.choice("filtration", filtration, FILTRATIONS)
    checks.choice("border", border, BORDERS)
