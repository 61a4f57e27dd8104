"""``load``: a data set by its name, or the user's own by a path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from lab import checks
from lab.datasets.catalog import describe, names
from lab.datasets.sets import Domains, ImageSet, Points, Table, retold

_GENERATORS = {
    "smooth_field": ("fields", "smooth_field", {"shape": (128, 128), "scale": 6.0}),
    "smooth_field_3d": ("fields", "smooth_field", {"shape": (48, 48, 48), "scale": 4.0}),
    "vessel_tree": ("vessels", "vessel_tree", {"shape": (192, 192)}),
    "vessel_tree_3d": ("vessels", "vessel_tree", {"shape": (64, 64, 64), "radius": 3.0}),
    "textures": ("patches", "textures", {"count": 3000, "size": 32}),
    "noisy_circle": ("clouds", "noisy_circle", {"count": 200}),
    "two_circles": ("clouds", "noisy_circle", {"count": 200, "circles": 2}),
    "noisy_sphere": ("clouds", "noisy_circle", {"count": 300, "dimension": 3}),
    "spirals": ("clouds", "spirals", {"count": 400}),
    "moons": ("clouds", "moons", {"count": 400}),
    "blobs": ("clouds", "blobs", {"count": 400}),
    "clusters": ("clouds", "clusters", {"count": 600}),
    "mnist1d": ("numerals", "mnist1d", {"count": 5000}),
}


def load(
    name_or_path: str | os.PathLike | ImageSet | Table | Points | Domains,
    *,
    seed: int | torch.Generator = 0,
    max_bytes: int = 2**30,
    scale: float | None = None,
    activation: str | None = None,
    target: str | None = None,
    target_type: str | None = None,
    separator: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    encoding: str | None = None,
    na_values: Sequence[str] | None = None,
    header: bool | None = None,
    size: int | None = None,
    part: str | None = None,
) -> ImageSet | Table | Points | Domains:
    """A data set by name, a user's file or folder by path; a loaded set passes through.

    Args:
        name_or_path: one of ``names()``; a file (PNG, JPEG, TIFF, NPY, NPZ, NIfTI, CSV, Parquet, WAV); or a folder that holds
            ``image/``, ``label/`` and ``prediction/`` folders, or files ``<name>_image.*``, ``<name>_label.*``,
            ``<name>_prediction.*``. Or a folder of
            class folders, of domain folders of class folders, of ``train`` and ``test``, or of CIFAR's or MNIST's own files
            (:mod:`lab.datasets.classes`). A path with a separator or an ending is never taken for a name.
        seed: draws the errors of predictions and everything that is generated.
        max_bytes: refuse a file that would take more memory than this after decoding (for a folder: all its files together).
        scale: what the values of an image file (of a folder: its predictions) are divided by; decided by the values where
            ``None`` and there is no doubt.
        activation: of a folder's predictions: ``"sigmoid"`` for logits, ``"clip"`` to cut at 0 and 1, ``"none"``.
        target: of a table: the column to predict; by default the one called target, label, class or y, or else the last.
        target_type: of a table: ``"classes"`` or ``"numbers"``; by default by the target's values.
        separator, decimal, thousands, encoding, na_values, header: how a text table is written, where it is not found from the
            file (:class:`lab.datasets.text.Dialect`).
        size, part: of ``mnist``: side in pixels (28, smaller by area averaging), and ``"all"``, ``"train"`` or ``"test"``
            (:func:`lab.datasets.mnist`); ``size`` also of a folder of class folders.

    Returns:
        ``ImageSet`` (image, volume, folder), ``Table``, ``Points`` (points and classification sets) or ``Domains`` (a folder of
        domain folders, or a fixed split into train and test); ``notes`` say what was scaled, encoded, turned or left out.

    Raises:
        ValueError: an unknown name (with the nearest known one); a file that is damaged, of unknown kind, too large when
            decoded, or holding NaN; sizes that do not agree.
        FileNotFoundError: a path at which nothing is.
    """
    told = {"target": target, "target_type": target_type, "separator": separator, "decimal": decimal, "thousands": thousands,
            "encoding": encoding, "na_values": na_values, "header": header}  # fmt: skip
    told = {name: value for name, value in told.items() if value is not None}
    form: dict[str, Any] = {name: value for name, value in (("size", size), ("part", part)) if value is not None}
    if isinstance(name_or_path, str) and name_or_path == "mnist":
        from lab.datasets.numerals import mnist

        return retold(mnist(**form), told)
    folder = isinstance(name_or_path, (str, os.PathLike)) and Path(name_or_path).expanduser().is_dir()
    if form and not (folder and set(form) == {"size"}):
        raise ValueError(f"{' and '.join(form)} is for the set 'mnist', got {name_or_path!r:.80}")
    if isinstance(name_or_path, (ImageSet, Table, Points, Domains)):
        return retold(name_or_path, told)
    max_bytes = checks.integer("max_bytes", max_bytes, low=1)
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise TypeError(f"name_or_path must be a name, a path or a loaded set, got {type(name_or_path).__name__}")
    text = os.fspath(name_or_path)
    if isinstance(name_or_path, str) and text in names():
        if isinstance(seed, torch.Generator) or describe(text).kind not in ("image", "volume"):
            found = _named(text, seed if isinstance(seed, torch.Generator) else checks.integer("seed", seed, low=0))
            return retold(found, told)
        retold(None, told)
        return _cached(text, checks.integer("seed", seed, low=0)).clone()
    path = Path(text).expanduser()
    if path.exists():
        from lab.datasets.paths import from_path

        return from_path(path, max_bytes, scale, activation, told, size)
    if os.sep in text or path.suffix:
        raise FileNotFoundError(f"name_or_path: there is no file or folder {text!r}")
    raise ValueError(
        f"name_or_path must be a data set or a path, got {text!r}{checks.did_you_mean(text, names())}"
        f"; the data sets are {', '.join(names())}"
    )


def as_table(table, target: str | None = None, *, target_type: str | None = None, **options) -> Table:
    """A table from a frame, a path or name (with :func:`load`'s ``options``), or a table.

    Without a target it is the column called target, label, class or y, or the last, and ``reading`` says which.
    """
    from lab.datasets import columns

    if not isinstance(table, Table) and not hasattr(table, "columns"):
        loaded = load(table, target=target, target_type=target_type, **options)
        if not isinstance(loaded, Table):
            raise ValueError(f"table must be a table, got {type(loaded).__name__} from {table!r:.80}")
        return loaded
    if options:
        raise ValueError(f"{', '.join(options)} is for files, got a {type(table).__name__}")
    found = table if isinstance(table, Table) else Table(table)
    notes: tuple[str, ...] = ()
    if target is None and found.target is None:
        target, said = columns.default_target(found.frame)
        notes = (said,)
    return replace(
        found, target=found.target if target is None else target, reading=(*found.reading, *notes),
        target_type=target_type or found.target_type,
    )  # fmt: skip


@lru_cache(maxsize=16)
def _cached(name, seed):
    return _named(name, seed)


def _named(name, seed):
    kind = describe(name).kind
    if name in _GENERATORS:
        from importlib import import_module

        module, function, sizes = _GENERATORS[name]
        return getattr(import_module(f"lab.datasets.{module}"), function)(**sizes, seed=seed)
    if name in ("nodules", "nodule_ratings"):
        from lab.datasets import outlines

        return getattr(outlines, name)()
    if kind == "table":
        from lab.datasets.surveys import SURVEYS, load_survey
        from lab.datasets.tables import load_table

        if name in SURVEYS:
            return load_survey(name)

        return load_table(name)
    if name in ("digits", "faces"):
        from lab.datasets import patches

        return getattr(patches, name)()
    if name == "mni_intensity":
        from lab.datasets.volumes import mni_intensity

        return mni_intensity()
    if name.startswith("mni_"):
        from lab.datasets.volumes import mni

        return mni(name.removeprefix("mni_"), seed)
    from lab.datasets.images import load_image

    return load_image(name, seed)
