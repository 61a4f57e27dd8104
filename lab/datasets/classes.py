"""Folders of images with classes: class folders, domain folders, a fixed split, and the files of CIFAR and MNIST.

::

    pets/cat/1.png, pets/dog/2.jpg                        -> Points, one class a folder
    photos/sketch/cat/1.png, photos/paint/cat/2.png       -> Domains, one a folder
    cifar/train/cat/1.png, cifar/test/cat/2.png           -> Domains called test and train: a fixed split
    cifar-10-batches-bin/data_batch_1.bin, ...            -> the same from CIFAR's binary version (10 or 100 classes)
    mnist/train-images-idx3-ubyte.gz, ...                 -> the same from MNIST's files (IDX)

Classes and domains are numbered in the order of their names. Nothing in a file is executed: CIFAR's Python version holds pickles
and is refused.

Source of the binary formats: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009 (records of label bytes
and 3 x 32 x 32 pixels); Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", 1998 (IDX).
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from lab import checks
from lab.datasets.decoding import ending, limit
from lab.datasets.files import READABLE, read_placed
from lab.datasets.sets import Domains, Points

_PIXELS = 3 * 32 * 32
_IDX = {"train": "train", "t10k": "test", "test": "test"}


def layout(path: Path) -> str:
    """What a folder holds: "cifar", "pickles" (CIFAR's Python version), "idx", "domains", "classes", or "" for anything else."""
    names = {file.name for file in path.iterdir() if file.is_file()}
    if any(name in names for name in ("data_batch_1.bin", "test_batch.bin")) or {"train.bin", "test.bin"} & names:
        return "cifar"
    if {"data_batch_1", "test_batch"} & names or {"train", "test", "meta"} <= names:
        return "pickles"
    if any("idx3-ubyte" in name for name in names):
        return "idx"
    below = _subfolders(path)
    if any(_images(inside) for folder in below for inside in _subfolders(folder)):
        return "domains"
    return "classes" if any(_images(folder) for folder in below) else ""


def read_classes(path: Path, size: int | None = None, max_bytes: int = 2**30) -> Points | Domains:
    """A folder of one of the layouts above.

    Args:
        size: side to which images are brought, by area averaging or bilinear enlargement; needed where they differ.
        max_bytes: refuse to decode more than this.

    Raises:
        ValueError: fewer than two classes, images beside class folders, differing sizes without ``size``, damaged files, pickles.
    """
    size = None if size is None else checks.integer("size", size, low=1, high=4096)
    found = layout(path)
    if found == "pickles":
        raise ValueError(
            f"{path.name} holds CIFAR's Python version, whose files are pickles and are never opened; take the binary version "
            "(data_batch_1.bin, ...) or class folders of images"
        )
    if found in ("cifar", "idx"):
        return _resized((_cifar if found == "cifar" else _idx)(path, max_bytes), size)
    if found == "domains":
        return read_domains(path, size, max_bytes)
    folders, notes = _subfolders(path), []
    if len(folders) < 2:
        raise ValueError(f"{path} must hold one folder a class, at least two (class/image.png), got {len(folders)}")
    loose = sum(ending(file) in READABLE for file in _files(path))
    if loose:
        raise ValueError(f"{path.name} holds {loose} images beside its class folders; which class are they of?")
    images, labels = [], []
    for label, folder in enumerate(folders):
        own, max_bytes = _read(folder, max_bytes, path.name, notes)
        if not own:
            raise ValueError(f"{path.name}: no image of class {folder.name!r}")
        images += own
        labels += [label] * len(own)
    names = tuple(folder.name for folder in folders)
    return Points(_stacked(images, size, notes), torch.tensor(labels), path.name, names, tuple(notes))


def read_domains(path: Path, size: int | None = None, max_bytes: int = 2**30) -> Domains:
    """A folder ``<domain>/<class>/<image>``; see :func:`read_classes`."""
    folders = _subfolders(path)
    classes = sorted({one.name for folder in folders for one in _subfolders(folder)})
    if len(folders) < 2 or len(classes) < 2:
        raise ValueError(
            f"{path} must hold at least two domain folders, each with one folder a class (domain/class/image.png), got "
            f"{len(folders)} domains and {len(classes)} classes"
        )
    loose = sorted(file.name for file in _files(path))
    notes = [f"{len(loose)} files beside the domain folders not read ({', '.join(loose[:3])})"] if loose else []
    images, counts, labels = [], [], []
    for folder in folders:
        start = len(images)
        for label, name in enumerate(classes):
            own, max_bytes = _read(folder / name, max_bytes, path.name, notes)
            notes += [] if own else [f"{folder.name}: no image of class {name!r}"]
            images += own
            labels += [label] * len(own)
        if len(images) == start:
            raise ValueError(f"{folder.name} holds no image of any class")
        counts.append(len(images) - start)
    x, y = _stacked(images, size, notes), torch.tensor(labels)
    parts = zip(folders, x.split(counts), y.split(counts))
    made = tuple(Points(one, label, folder.name, tuple(classes)) for folder, one, label in parts)
    found = Domains(made, path.name, tuple(classes), tuple(notes))
    return _with_note(found, "train and test are a fixed split, not two domains") if found.split else found


def _read(folder, left, where, notes):
    """The images of a folder as tensors (channels, height, width), and how many bytes are left."""
    if not folder.is_dir():
        return [], left
    inside, images = _files(folder), []
    files = [file for file in inside if ending(file) in READABLE]
    if len(files) < len(inside):
        notes.append(
            f"{folder.parent.name}/{folder.name}: {len(inside) - len(files)} files that are no images not read"
        )
    for file in files:
        if left <= 0:
            raise ValueError(f"the files of {where} would take more than max_bytes = {max(left, 0):,} more")
        found = read_placed(file, max_bytes=left)
        image = found.values[None] if found.colour is None else found.colour
        if image.ndim != 3:
            raise ValueError(f"{file.name} must be one image of two axes, got {tuple(image.shape)}")
        left -= image.numel() * 4
        images.append(image.float())
    return images, left


def _stacked(images, size, notes):
    channels = max(image.shape[0] for image in images)
    if min(image.shape[0] for image in images) < channels:
        notes.append("grey images stand in three equal channels, since others are in colour")
    sizes = {tuple(image.shape[1:]) for image in images}
    if len(sizes) > 1 and size is None:
        raise ValueError(
            f"images have {len(sizes)} sizes, from {min(sizes)} to {max(sizes)}; say size= to bring them to one"
        )
    if size is not None and sizes != {(size, size)}:
        notes.append(f"images brought to {size} x {size} pixels (smaller by area averaging)")
    return torch.stack([_sized(image, size, channels) for image in images])


def _sized(image, size, channels):
    image = image.expand(channels, -1, -1) if image.shape[0] < channels else image
    if size is None or tuple(image.shape[1:]) == (size, size):
        return image
    options = {"mode": "area"} if size <= min(image.shape[1:]) else {"mode": "bilinear", "align_corners": False}
    return F.interpolate(image[None], size=(size, size), **options)[0]


def _resized(found, size):
    from dataclasses import replace

    if size is None:
        return found
    parts = tuple(replace(part, x=torch.stack([_sized(one, size, len(one)) for one in part.x])) for part in found)
    return _with_note(replace(found, parts=parts), f"images brought to {size} x {size} pixels")


def _cifar(path, max_bytes):
    """CIFAR's binary version: one label byte a record (ten classes) or two, coarse and fine (a hundred)."""
    fine = not any(file.name.endswith("_batch.bin") or file.name.startswith("data_batch") for file in _files(path))
    name = path / ("fine_label_names.txt" if fine else "batches.meta.txt")
    count = 100 if fine else 10
    classes = tuple(name.read_text(encoding="utf-8").split()) if name.is_file() else tuple(map(str, range(count)))
    if len(classes) != count:
        raise ValueError(f"{name.name} must name {count} classes, got {len(classes)}")
    parts = []
    for part, pattern in (("test", "test*.bin"), ("train", "train.bin" if fine else "data_batch_*.bin")):
        files = sorted(path.glob(pattern))
        if not files:
            raise ValueError(f"{path.name} holds no {pattern}, the {part} part")
        rows = []
        for file in files:
            width, size = _PIXELS + 1 + fine, file.stat().st_size
            if size == 0 or size % width:
                raise ValueError(f"{file.name} must hold records of {width} bytes, got {size:,} bytes: it is cut off")
            limit(file, 4 * _PIXELS * (size // width), max_bytes)
            max_bytes -= 4 * _PIXELS * (size // width)
            rows.append(np.fromfile(file, np.uint8).reshape(-1, width))
        data = np.concatenate(rows)
        label = torch.from_numpy(data[:, int(fine)].astype(np.int64))
        if int(label.max()) >= count:
            raise ValueError(f"{part}: label {int(label.max())} is beyond the {count} classes; is {path.name} CIFAR?")
        x = torch.from_numpy(data[:, 1 + fine :].astype(np.float32)).div_(255).view(-1, 3, 32, 32)
        parts.append(Points(x, label, part, classes))
    notes = ("CIFAR's binary version: 8-bit values divided by 255, its split is kept",)
    return Domains(tuple(parts), path.name, classes, notes)


def _idx(path, max_bytes):
    """MNIST's files: images (items, rows, columns) and labels as unsigned bytes, train and test."""
    parts = {}
    for file in _files(path):
        start, _, kind = file.name.partition("-")
        if start not in _IDX or not kind.startswith(("images", "labels")):
            continue
        values = _idx_array(file, max_bytes // 4)
        max_bytes -= values.size * 4
        parts.setdefault(_IDX[start], {})[kind[:6]] = values
    found = []
    for name in ("test", "train"):
        arrays = parts.get(name, {})
        if set(arrays) != {"images", "labels"}:
            raise ValueError(f"{path.name} needs images and labels of both parts, train and t10k (idx3 and idx1 files)")
        images, labels = arrays["images"], arrays["labels"]
        if images.ndim != 3 or labels.shape != (len(images),):
            raise ValueError(f"{path.name}: {name} has images {images.shape} but labels {labels.shape}")
        x = torch.from_numpy(images.astype(np.float32)).div_(255)[:, None]
        found.append(Points(x, torch.from_numpy(labels.astype(np.int64)), name))
    classes = tuple(map(str, range(int(max(part.label.max() for part in found)) + 1)))
    notes = ("IDX files: 8-bit values divided by 255, their split is kept",)
    return Domains(tuple(found), path.name, classes, notes)


def _idx_array(file, max_bytes):
    try:
        with (gzip.open if file.name.endswith(".gz") else open)(file, "rb") as stream:
            zero, kind, axes = struct.unpack(">HBB", stream.read(4))
            if zero or kind != 8 or axes not in (1, 3):
                raise ValueError(f"{file.name} is no IDX file of unsigned bytes with 1 or 3 axes")
            shape = struct.unpack(f">{axes}I", stream.read(4 * axes))
            size = int(np.prod(np.array(shape, dtype=object)))
            limit(file, size, max_bytes, f" {shape}")
            data = stream.read(size + 1)
    except (struct.error, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{file.name} is damaged or cut off: {error}") from error
    if len(data) != size or size == 0:
        raise ValueError(f"{file.name} states {size:,} values and holds {'more' if len(data) > size else len(data)}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _with_note(found, note):
    from dataclasses import replace

    return replace(found, notes=(*found.notes, note))


def _subfolders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and folder.name[0] not in "._")


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))


def _images(folder: Path) -> bool:
    return any(ending(file) in READABLE for file in _files(folder))
