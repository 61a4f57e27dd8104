"""A decoded array as what it is to be: image, label, prediction, or a stack of one channel a class.

Each role takes a name for refusals, what was decoded, ``scale`` and ``activation`` (see :mod:`lab.datasets.values`), and gives
a :class:`lab.datasets.grids.Placed` with sentences on what was done.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from lab.datasets import values
from lab.datasets.decoding import Decoded
from lab.datasets.grids import Placed

LUMINANCE = np.array([0.2125, 0.7154, 0.0721])


def as_image(name: str, decoded: Decoded, scale: float | None = None, activation: str | None = None) -> Placed:
    """float32 in [0, 1] (size...); colour becomes luminance and is kept, (3, size...)."""
    array = decoded.values if decoded.colours is None else decoded.colours
    channels, notes = decoded.channels or decoded.colours is not None, decoded.notes
    if not channels and array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8:
        notes += (f"the last axis of {array.shape[2]} is taken for colour",)
        array, channels = array[..., :3], True
    _rank(name, array.ndim - channels, array.shape)
    unit, said = values.grey(name, native(array), scale=scale)
    notes += said
    if not channels:
        return _placed(unit, decoded, notes)
    return replace(
        _placed((unit @ LUMINANCE).astype(np.float32), decoded, (*notes, "colour taken as luminance")),
        colour=torch.from_numpy(np.ascontiguousarray(np.moveaxis(unit, -1, 0))),
    )


def as_label(name: str, decoded: Decoded, scale: float | None = None, activation: str | None = None) -> Placed:
    """Ids (size...) as bool, uint8 or int64; ``scale`` and ``activation`` do not touch them."""
    array = _single(name, decoded, "a label holds one id per pixel (save it as grey values or with a colour table)")
    found, said = values.ids(name, array)
    if decoded.lossy and len(levels := np.unique(found)) > 2:
        raise ValueError(
            f"{name} is a JPEG file with {len(levels)} different values: its compression changes ids and makes regions that "
            "nobody drew; save labels as PNG, TIFF or NPY"
        )
    return _placed(found, decoded, decoded.notes + said)


def as_prediction(name: str, decoded: Decoded, scale: float | None = None, activation: str | None = None) -> Placed:
    """float32 probabilities (size...)."""
    array = _single(name, decoded, "a prediction holds one probability per pixel")
    notes = decoded.notes
    if decoded.colours is not None and not (_grey_table(decoded) or set(np.unique(array).tolist()) <= {0, 1}):
        raise ValueError(
            f"{name} has a colour table: its values are indices of colours, not probabilities; save it as grey values, or pass one "
            "class, label == id"
        )
    if decoded.colours is not None and _grey_table(decoded):
        array = decoded.colours[..., 0]
        notes += ("grey values read from its colour table",)
    if decoded.lossy:
        notes += ("JPEG compression changes values and can make small features; PNG is exact",)
    found, said = values.probabilities(name, array, scale=scale, activation=activation)
    return _placed(found, decoded, notes + said)


def as_predictions(name: str, decoded: Decoded, scale: float | None = None, activation: str | None = None) -> Placed:
    """As :func:`as_prediction`; channels that differ come in front, (channels, size...): one probability a class."""
    return as_prediction(name, _channels_first(decoded), scale, activation)


def as_labels(name: str, decoded: Decoded, scale: float | None = None, activation: str | None = None) -> Placed:
    """As :func:`as_label`; channels that differ come in front, (channels, size...): one mask a class."""
    return as_label(name, _channels_first(decoded))


ROLES = {"image": as_image, "label": as_label, "prediction": as_prediction}
READ = {**ROLES, "predictions": as_predictions, "labels": as_labels}


def native(array: np.ndarray) -> np.ndarray:
    """C-ordered, in this machine's byte order, in a type that torch has; no value changes."""
    array = array.astype(array.dtype.newbyteorder("=")) if not array.dtype.isnative else array
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    return np.array(array, order="C", copy=None) if array.flags.writeable else array.copy(order="C")


def _placed(array, decoded, notes) -> Placed:
    return Placed(torch.from_numpy(np.ascontiguousarray(array)), decoded.spacing, decoded.affine, notes=tuple(notes))


def _single(name, decoded, wanted) -> np.ndarray:
    array = native(decoded.values)
    if decoded.channels:
        if not (array == array[..., :1]).all():
            raise ValueError(f"{name} is a colour image; {wanted}")
        array = array[..., 0]
    _rank(name, array.ndim, array.shape)
    return array


def _grey_table(decoded) -> bool:
    """Whether the colour table holds grey values only, more than two of them or black and white."""
    colours = decoded.colours
    return bool((colours == colours[..., :1]).all())


def _channels_first(decoded):
    array = decoded.values
    colour = decoded.channels or (array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8)
    if not colour or (decoded.channels and (array == array[..., :1]).all()):
        return decoded
    notes = (*decoded.notes, "the last axis is taken for classes, one channel each")
    return Decoded(np.ascontiguousarray(np.moveaxis(array[..., :3], -1, 0)), notes=notes)


def _rank(name, rank, shape) -> None:
    if rank not in (2, 3):
        raise ValueError(f"{name} must be an image of 2 or 3 axes, got shape {tuple(shape)}")
    if 0 in shape:
        raise ValueError(f"{name} is empty, its shape is {tuple(shape)}")
