"""A user's own files: images, volumes, arrays and tables, read by rules that can be told in a sentence.

- Images become float32 in [0, 1]: 8-bit values over 255, 16-bit over 65535, booleans 0 and 1, floats in [0, 1] as they are, all
  else from its own minimum to maximum. Colour becomes luminance (0.2125 R + 0.7154 G + 0.0721 B) and is kept as ``colour``; alpha
  is dropped.
- Labels are ids and are never scaled: integers and booleans as they are (0 and 255 stay 0 and 255; every positive id is
  foreground), floats only if they are whole numbers; of a PNG with a colour table the indices count; a colour label is refused
  unless its channels agree.
- Predictions are probabilities: 8- and 16-bit values scaled as images, floats in [0, 1]; anything else is refused.
- Classes ("predictions", "labels"): the same, with one channel a class in front where the file holds several: an array of three
  axes, or the channels of a colour image.
- TIFF: pages are the first axis; three or four samples per pixel are colour where the file says so, else an axis. NIfTI: axes,
  spacing and affine as in the file.
- NPY and NPZ: arrays of shape (items, 2) or (items, 3) are points; 8-bit (height, width, 3 or 4) is colour; other arrays of 2 or
  3 axes are images. NPZ: ``image``, ``label``, ``prediction``, ``spacing``, or ``x`` with ``label`` or ``y``, or one array.
- CSV and Parquet: a table; the target is the column called target, label, class or y (the first of these that is there).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from lab import checks
from lab.datasets.decoding import ARRAYS, IMAGES, NIFTIS, TIFFS, Decoded, decode, decode_npz, ending, limit
from lab.datasets.orientation import codes
from lab.datasets.sets import ImageSet, Points, Table

TARGETS = ("target", "label", "class", "y")
LUMINANCE = np.array([0.2125, 0.7154, 0.0721])


def read(path: str | os.PathLike, max_bytes: int = 2**30) -> ImageSet | Table | Points:
    """One file as the data set that its ending and content say."""
    path = _file(path)
    kind = ending(path)
    if kind in (".csv", ".parquet"):
        frame, target = _table(path, kind, max_bytes)
        return Table(frame, target, path.stem)
    if kind == ".npz":
        return _from_npz(path, decode_npz(path, max_bytes))
    decoded = decode(path, max_bytes)
    if kind == ".npy" and decoded.values.ndim == 2 and decoded.values.shape[1] in (2, 3):
        return Points(torch.from_numpy(_native(decoded.values)).float(), name=path.stem)
    return _image_set(path.stem, as_image(path.name, decoded))


def read_array(path: str | os.PathLike, *, role: str = "image", max_bytes: int = 2**30) -> torch.Tensor:
    """One file as a tensor by its role: "image" (float32 in [0, 1]), "label" (ids) or "prediction" (float32 probabilities);
    "labels" and "predictions" may have one channel a class in front."""
    return read_placed(path, role=role, max_bytes=max_bytes)[0]


def read_placed(path: str | os.PathLike, *, role: str = "image", max_bytes: int = 2**30) -> tuple:
    """``(tensor, spacing, affine)`` of one file by its role: spacing is empty and affine ``None`` where the file is silent."""
    path = _file(path)
    checks.choice("role", role, tuple(_READ))
    if ending(path) == ".npz":
        arrays = decode_npz(path, max_bytes)
        role_name = role.removesuffix("s")
        name = next((each for each in (role, role_name) if each in arrays), next(iter(arrays)))
        if name not in (role, role_name) and len(set(arrays) - {"spacing", "affine"}) > 1:
            raise ValueError(f"{path.name} holds the arrays {', '.join(arrays)}, but none is called {role!r}")
        spacing = tuple(arrays["spacing"].ravel().tolist()) if "spacing" in arrays else ()
        decoded = Decoded(arrays[name], spacing=spacing, affine=arrays.get("affine"))
    else:
        decoded = decode(path, max_bytes)
    return _READ[role](path.name, decoded)[0], decoded.spacing, decoded.affine


def pair(prediction, label, *, image=None, max_bytes: int = 2**30) -> ImageSet:
    """A user's own prediction and label (paths, arrays or tensors) as one ``ImageSet``; without ``image`` the prediction is shown.

    Spacing and affine are those of the first file that states them.

    Raises:
        ValueError: sizes that differ (both are named), NIfTI files whose axes run in different directions, values outside
            [0, 1], anything that :func:`lab.datasets.load` refuses.
    """
    found, spacing, affines = {}, (), {}
    for role, value in (("prediction", prediction), ("label", label), ("image", image)):
        if value is None:
            continue
        if isinstance(value, (str, os.PathLike)):
            found[role], lengths, affine = read_placed(value, role=role, max_bytes=max_bytes)
            spacing = spacing or lengths
            if affine is not None and found[role].ndim == 3:
                affines[role] = torch.from_numpy(np.asarray(affine, np.float64))
        else:
            tensor = checks.tensor(role, value, ndim=(2, 3)).detach().cpu()
            found[role] = _ROLES[role](role, Decoded(tensor.numpy()))[0]
    same_size(found)
    same_orientation(affines)
    return ImageSet(
        found.get("image", found["prediction"]), found["label"], found["prediction"], spacing=spacing, name="pair",
        affine=next(iter(affines.values()), None),
    )


def same_size(found: dict[str, torch.Tensor], name: str = "") -> None:
    """Refuse image, label and prediction of different sizes, naming both."""
    roles = list(found)
    for role in roles[1:]:
        if found[role].shape != found[roles[0]].shape:
            raise ValueError(
                f"{name + ': ' if name else ''}{roles[0]} and {role} must have the same size, got "
                f"{' x '.join(map(str, found[roles[0]].shape))} and {' x '.join(map(str, found[role].shape))}"
            )


def same_orientation(affines: dict[str, torch.Tensor]) -> None:
    """Refuse files whose axes run in different directions, naming both: voxel by voxel they show different places."""
    named = {role: "".join(codes(affine)) for role, affine in affines.items()}
    for role in list(named)[1:]:
        first = next(iter(named))
        if named[role] != named[first]:
            raise ValueError(
                f"{first} and {role} must have axes in the same directions, got {named[first]} and {named[role]} in their "
                "headers (R right, A front, S up); save both in one orientation"
            )


def as_image(name: str, decoded: Decoded):
    """``(float32 in [0, 1] (size...), colour (3, size...) or None, decoded)``."""
    values = decoded.values if decoded.colours is None else decoded.colours
    channels = decoded.channels or decoded.colours is not None
    if not channels and values.ndim == 3 and values.shape[2] in (3, 4) and values.dtype == np.uint8:
        values, channels = values[..., :3], True
    _rank(name, values.ndim - channels, values.shape)
    unit = _unit(name, values)
    if not channels:
        return torch.from_numpy(unit), None, decoded
    return (
        torch.from_numpy((unit @ LUMINANCE).astype(np.float32)),
        torch.from_numpy(np.ascontiguousarray(np.moveaxis(unit, -1, 0))),
        decoded,
    )


def as_label(name: str, decoded: Decoded):
    """``(ids (size...), None, decoded)`` as bool, uint8 or int64."""
    values = _native(decoded.values)
    if decoded.channels:
        if not (values == values[..., :1]).all():
            raise ValueError(
                f"{name} is a colour image; a label holds one id per pixel (save it as grey values or with a colour table)"
            )
        values = values[..., 0]
    _rank(name, values.ndim, values.shape)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or (values != np.round(values)).any() or np.abs(values).max(initial=0) > 2**53:
            raise ValueError(f"{name} holds fractions or non-finite values; a label holds one whole id per pixel")
        values = values.astype(np.int64)
    if values.dtype.kind in "iu" and values.size and int(values.min()) < 0:
        raise ValueError(f"{name} holds negative ids (from {int(values.min())}); ids start at 0 for the background")
    values = values if values.dtype in (np.bool_, np.uint8) else values.astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(values)), None, decoded


def as_prediction(name: str, decoded: Decoded):
    """``(float32 probabilities (size...), None, decoded)``."""
    values = _native(decoded.values)
    if decoded.channels:
        if not (values == values[..., :1]).all():
            raise ValueError(f"{name} is a colour image; a prediction holds one probability per pixel")
        values = values[..., 0]
    _rank(name, values.ndim, values.shape)
    if values.dtype not in (np.bool_, np.uint8, np.uint16):
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)) or low < 0 or high > 1:
            raise ValueError(
                f"{name} must hold probabilities in [0, 1], got values from {low:.4g} to {high:.4g}; "
                "apply the sigmoid to logits first"
            )
    return torch.from_numpy(_unit(name, values)), None, decoded


def as_predictions(name: str, decoded: Decoded):
    """As :func:`as_prediction`; channels that differ come in front, (channels, size...): one probability a class."""
    return as_prediction(name, _channels_first(decoded))


def as_labels(name: str, decoded: Decoded):
    """As :func:`as_label`; channels that differ come in front, (channels, size...): one mask a class."""
    return as_label(name, _channels_first(decoded))


def _channels_first(decoded):
    values = decoded.values
    colour = decoded.channels or (values.ndim == 3 and values.shape[2] in (3, 4) and values.dtype == np.uint8)
    if not colour or (decoded.channels and (values == values[..., :1]).all()):
        return decoded
    return Decoded(np.ascontiguousarray(np.moveaxis(values[..., :3], -1, 0)))


_ROLES = {"image": as_image, "label": as_label, "prediction": as_prediction}
_READ = {**_ROLES, "predictions": as_predictions, "labels": as_labels}


def _image_set(name, image):
    values, colour, decoded = image
    affine = None if decoded.affine is None else torch.from_numpy(decoded.affine)
    return ImageSet(values, spacing=decoded.spacing, colour=colour, name=name, affine=affine)


def _from_npz(path, arrays):
    if "x" in arrays:
        label = arrays.get("label", arrays.get("y"))
        label = None if label is None else torch.from_numpy(_native(label))
        label = label.long() if label is not None and not label.is_floating_point() else label
        return Points(torch.from_numpy(_native(arrays["x"])).float(), label, path.stem)
    if "image" not in arrays and len(arrays) == 1:
        arrays = {"image": next(iter(arrays.values()))}
    if "image" not in arrays and "prediction" in arrays:
        arrays = {"image": arrays["prediction"], **arrays}
    if "image" not in arrays:
        raise ValueError(
            f"{path.name} holds the arrays {', '.join(arrays)}; wanted are image (with label, prediction, "
            "spacing), x (with label), or one array"
        )
    found = {role: _ROLES[role](f"{path.name}:{role}", Decoded(arrays[role]))[0] for role in _ROLES if role in arrays}
    same_size(found, path.name)
    variants = {
        name[8:]: as_prediction(f"{path.name}:{name}", Decoded(array))[0]
        for name, array in arrays.items()
        if name.startswith("variant:")
    }
    optional = {name: torch.from_numpy(_native(arrays[name])) for name in ("colour", "affine") if name in arrays}
    spacing = tuple(arrays["spacing"].ravel().tolist()) if "spacing" in arrays else ()
    return ImageSet(
        found["image"],
        found.get("label"),
        found.get("prediction"),
        spacing=spacing,
        predictions=variants,
        name=path.stem,
        **optional,
    )


def _table(path, kind, max_bytes):
    import pandas as pd

    try:
        if kind == ".parquet":
            import pyarrow
            import pyarrow.parquet

            try:
                facts = pyarrow.parquet.ParquetFile(path).metadata
                stored = sum(facts.row_group(index).total_byte_size for index in range(facts.num_row_groups))
                limit(
                    path, max(stored, 8 * facts.num_rows * facts.num_columns), max_bytes, f" ({facts.num_rows:,} rows)"
                )
                frame = pd.read_parquet(path)
            except (pyarrow.ArrowException, OSError) as error:
                raise ValueError(f"{path.name} is no readable Parquet file: {error}") from error
        else:
            limit(path, 4 * path.stat().st_size, max_bytes)
            with path.open("rb") as stream:
                if b"\0" in stream.read(65536):
                    raise ValueError(f"{path.name} is binary, not a CSV text")
            frame = pd.read_csv(path, compression=None)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is no readable table: {error}") from error
    if frame.shape[1] == 0 or len(frame) == 0:
        raise ValueError(f"{path.name} has no rows")
    frame.columns = [str(column) for column in frame.columns]
    return frame, next((name for name in TARGETS if name in frame.columns), None)


def _file(path) -> Path:
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    if not path.is_file():
        raise ValueError(f"{str(path)!r} is no file")
    return path


def _rank(name, rank, shape) -> None:
    if rank not in (2, 3):
        raise ValueError(f"{name} must be an image of 2 or 3 axes, got shape {tuple(shape)}")
    if 0 in shape:
        raise ValueError(f"{name} is empty, its shape is {tuple(shape)}")


def _native(values):
    values = values.astype(values.dtype.newbyteorder("=")) if not values.dtype.isnative else values
    if values.dtype == np.float16 or values.dtype.itemsize > 8:
        values = values.astype(np.float32 if values.dtype == np.float16 else np.float64)
    if values.dtype.kind == "u" and values.dtype.itemsize > 1:
        values = values.astype(np.int64) if values.dtype != np.uint16 else values
    return np.array(values, order="C", copy=None) if values.flags.writeable else values.copy()


def _unit(name, values) -> np.ndarray:
    values = _native(values)
    scale = {np.dtype(np.bool_): 1.0, np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}.get(values.dtype)
    if scale is not None:
        return (values / np.float32(scale)).astype(np.float32)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise ValueError(f"{name} holds {count} values that are NaN or infinite")
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        return values.astype(np.float32)
    if high <= low:
        return np.zeros(values.shape, dtype=np.float32)
    if not np.isfinite(high - low):  # the range of the values has no room in their type
        values, low, high = values / 2, low / 2, high / 2
    return ((values - low) / (high - low)).astype(np.float32)


READABLE = (*IMAGES, *TIFFS, *NIFTIS, *ARRAYS)
