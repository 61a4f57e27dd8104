"""A user's own files: images, volumes, arrays and tables, read by rules that can be told in a sentence.

- Images become float32 in [0, 1], labels stay whole ids, predictions are probabilities; what doubtful values mean is asked
  (:mod:`lab.datasets.values`). Colour becomes luminance (0.2125 R + 0.7154 G + 0.0721 B) and is kept as ``colour``; alpha is
  dropped. Of a PNG with a colour table the indices count as ids; a colour label is refused unless its channels agree.
- Classes ("predictions", "labels"): the same, with one channel a class in front where the file holds several: an array of three
  axes, or the channels of a colour image.
- TIFF: pages are the first axis; three or four samples per pixel are colour where the file says so, else an axis; ImageJ and
  OME files state a spacing. NIfTI: axes, spacing and affine as in the file. Two volumes of a pair are brought onto one grid or
  refused (:mod:`lab.datasets.grids`).
- NPY and NPZ: arrays of shape (items, 2) or (items, 3) are points; 8-bit (height, width, 3 or 4) is colour; other arrays of 2 or
  3 axes are images. NPZ: ``image``, ``label``, ``prediction``, ``spacing``, or ``x`` with ``label`` or ``y``, or one array.
- CSV, TSV (also gzipped) and Parquet: a table (:mod:`lab.datasets.text`, :mod:`lab.datasets.typed`, and
  :mod:`lab.datasets.columns` for what its columns become).

What was done to a file stands in ``notes`` of what is loaded.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lab import checks
from lab.datasets.columns import default_target
from lab.datasets.decoding import ARRAYS, IMAGES, NIFTIS, TIFFS, Decoded, decode, decode_npz, ending, limit
from lab.datasets.grids import Placed, aligned
from lab.datasets.roles import READ, ROLES, as_image, as_prediction, native
from lab.datasets.sets import ImageSet, Points, Table
from lab.datasets.text import Dialect, read_rows
from lab.datasets.typed import typed
from lab.datasets.values import check_options, rounding

TEXTS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz")


def read(
    path: str | os.PathLike, max_bytes: int = 2**30, *, scale: float | None = None, activation: str | None = None
) -> ImageSet | Points:
    """One file of an image, volume or points as the data set that its ending and content say."""
    path = _file(path)
    kind = ending(path)
    if kind == ".npz":
        return from_npz(path, decode_npz(path, max_bytes), scale, activation)
    decoded = decode(path, max_bytes)
    if kind == ".npy" and decoded.values.ndim == 2 and decoded.values.shape[1] in (2, 3):
        return _points(path.stem, native(decoded.values))
    image = as_image(path.name, decoded, scale)
    return image_set({"image": image}, path.stem)


def read_array(
    path: str | os.PathLike,
    *,
    role: str = "image",
    max_bytes: int = 2**30,
    scale: float | None = None,
    activation: str | None = None,
) -> torch.Tensor:
    """One file as a tensor by its role: "image" (float32 in [0, 1]), "label" (ids) or "prediction" (float32 probabilities);
    "labels" and "predictions" may have one channel a class in front."""
    return read_placed(path, role=role, max_bytes=max_bytes, scale=scale, activation=activation).values


def read_placed(
    path: str | os.PathLike,
    *,
    role: str = "image",
    max_bytes: int = 2**30,
    scale: float | None = None,
    activation: str | None = None,
) -> Placed:
    """One file by its role, with its spacing (empty where the file is silent), affine (or ``None``) and what was done to it."""
    path = _file(path)
    checks.choice("role", role, tuple(READ))
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
    return READ[role](path.name, decoded, scale, activation)


def pair(
    prediction, label, *, image=None, max_bytes: int = 2**30, scale: float | None = None, activation: str | None = None
) -> ImageSet:
    """A user's own prediction and label (paths, arrays or tensors) as one ``ImageSet``; without ``image`` the prediction is shown.

    Files whose axes run in other directions are turned to the prediction's; spacing and affine are those of the first file that
    states them.

    Args:
        scale: what the prediction is divided by (255 for 8-bit grey values, 100 for percentages); decided by its values where
            ``None`` and there is no doubt.
        activation: ``"sigmoid"`` for a prediction of logits, ``"clip"`` to cut it at 0 and 1, ``"none"``.

    Raises:
        ValueError: sizes, spacings or origins that differ (both are named), a prediction whose values may be ids, percentages or
            logits, anything that :func:`lab.datasets.load` refuses.
    """
    check_options(scale, activation)
    found = {}
    for role, value in (("prediction", prediction), ("label", label), ("image", image)):
        if value is None:
            continue
        told: dict[str, Any] = {"scale": scale, "activation": activation} if role == "prediction" else {}
        if isinstance(value, (str, os.PathLike)):
            found[role] = read_placed(value, role=role, max_bytes=max_bytes, **told)
        else:
            found[role] = ROLES[role](role, Decoded(_array(role, value)), **told)
    return image_set(found, "pair")


def image_set(found: dict[str, Placed], name: str, where: str = "") -> ImageSet:
    """One case by role, on one grid; without an image its prediction is shown. ``where`` names it in refusals."""
    found, turned = aligned(found, where)
    notes = [f"{role}: {note}" for role, one in found.items() for note in one.notes]
    if "image" not in found:
        notes.append("no image; the prediction is shown in its place")
    placed = [one for one in found.values() if one.affine is not None and one.values.ndim == 3]
    affine = next((torch.from_numpy(np.asarray(one.affine, np.float64)) for one in placed), None)
    spacing = next((one.spacing for one in [*placed, *found.values()] if one.spacing), ())
    values = {role: one.values for role, one in found.items()}
    image = found.get("image", found.get("prediction"))
    return ImageSet(
        image.values, values.get("label"), values.get("prediction"), spacing=spacing, colour=image.colour, name=name,
        affine=affine, notes=(*notes, *turned),
    )  # fmt: skip


def _array(role, value) -> np.ndarray:
    """An array in its own type, which says how many bits its grey values have."""
    tensor = checks.tensor(role, value, ndim=(2, 3)).detach().cpu()
    if not isinstance(value, torch.Tensor):
        return np.asarray(value)
    return tensor.float().numpy() if value.dtype == torch.bfloat16 else value.detach().cpu().numpy()


def _points(name, x, label=None) -> Points:
    single = torch.from_numpy(x).float()
    notes = rounding(x, single.numpy()) if x.dtype.itemsize > 4 and x.size and np.isfinite(x).all() else ()
    return Points(single, label, name, notes=notes)


def from_npz(path: Path, arrays: dict[str, np.ndarray], scale: float | None = None, activation: str | None = None):
    """What the arrays of an NPZ file are: points, or one case."""
    if "x" in arrays:
        label = arrays.get("label", arrays.get("y"))
        target = None if label is None else checks.tensor(f"{path.name}:label", label)
        target = target.long() if target is not None and not target.is_floating_point() else target
        return _points(path.stem, native(arrays["x"]), target)
    if "image" not in arrays and len(arrays) == 1:
        arrays = {"image": next(iter(arrays.values()))}
    if "image" not in arrays and "prediction" not in arrays:
        raise ValueError(
            f"{path.name} holds the arrays {', '.join(arrays)}; wanted are image (with label, prediction, "
            "spacing), x (with label), or one array"
        )
    spacing = tuple(arrays["spacing"].ravel().tolist()) if "spacing" in arrays else ()
    told: dict[str, tuple[Any, ...]] = {"image": (scale,), "label": (), "prediction": (scale, activation)}
    found = {
        role: ROLES[role](
            f"{path.name}:{role}", Decoded(arrays[role], spacing=spacing, affine=arrays.get("affine")), *told[role]
        )
        for role in ROLES
        if role in arrays
    }
    variants = {
        name[8:]: as_prediction(f"{path.name}:{name}", Decoded(array)).values
        for name, array in arrays.items()
        if name.startswith("variant:")
    }
    case = image_set(found, path.stem, path.name)
    colour = torch.from_numpy(native(arrays["colour"])) if "colour" in arrays else case.colour
    return replace(case, predictions=variants, colour=colour)


def read_table(path: Path, max_bytes: int, dialect: Dialect, target: str | None, target_type: str | None) -> Table:
    """A text table or Parquet file; without ``target`` it is found by its name, or the last column."""
    frame, notes = (_parquet if ending(path) == ".parquet" else _text)(path, max_bytes, dialect)
    if frame.shape[1] == 0 or len(frame) == 0:
        raise ValueError(f"{path.name} has no rows")
    if target is None:
        target, said = default_target(frame)
        notes.append(said)
    return Table(frame, target, path.name.partition(".")[0], tuple(notes), target_type)


def _text(path, max_bytes, dialect):
    rows, separator, notes = read_rows(path, dialect, max_bytes)
    frame, said = typed(rows, separator, dialect)
    return frame, [*notes, *said]


def _parquet(path, max_bytes, dialect):
    import pandas as pd
    import pyarrow
    import pyarrow.parquet

    if dialect != Dialect():
        raise ValueError(
            f"separator, decimal, thousands, encoding, na_values and header are for text tables, got {path.name}"
        )
    try:
        facts = pyarrow.parquet.ParquetFile(path).metadata
        stored = sum(facts.row_group(index).total_byte_size for index in range(facts.num_row_groups))
        limit(path, max(stored, 8 * facts.num_rows * facts.num_columns), max_bytes, f" ({facts.num_rows:,} rows)")
        frame = pd.read_parquet(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path.name} is no readable Parquet file: {error}") from error
    notes = []
    if any(frame.index.names):
        notes.append(f"the index {', '.join(map(repr, frame.index.names))} is no column")
    frame.columns = [str(column) for column in frame.columns]
    return frame, notes


def _file(path) -> Path:
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    if not path.is_file():
        raise ValueError(f"{str(path)!r} is no file")
    return path


READABLE = (*IMAGES, *TIFFS, *NIFTIS, *ARRAYS)
