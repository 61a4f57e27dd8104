"""A folder of images with labels and predictions, matched by name."""

from __future__ import annotations

from pathlib import Path

from lab import checks
from lab.datasets.decoding import Decoded, decode, decode_npz, ending
from lab.datasets.files import READABLE, from_npz, image_set
from lab.datasets.roles import ROLES
from lab.datasets.sets import ImageSet

_FOLDERS = {
    "image": ("image", "images"),
    "label": ("label", "labels", "mask", "masks"),
    "prediction": ("prediction", "predictions"),
}


def read_folder(path: Path, max_bytes: int, *, scale: float | None = None, activation: str | None = None) -> ImageSet:
    """All cases of a folder, sorted by name.

    Either subfolders ``image/``, ``label/``, ``prediction/`` (also plural, and ``masks/``) with files of the same name, or files
    ``<case>_image.png``, ``<case>_label.png``, ``<case>_prediction.png``, or NPZ files that hold these arrays. A case may lack the
    image (its prediction is shown instead) or the prediction; what one case has, all must have.

    Raises:
        ValueError: nothing readable in the folder, a case without its partner, sizes that differ, more than ``max_bytes`` in all.
    """
    cases = cases_of(path)
    if not cases:
        raise ValueError(
            f"{path} holds no cases; wanted are subfolders image, label, prediction, or files <name>_image.png, "
            "<name>_label.png, <name>_prediction.png, NPZ files with these arrays, or one folder of images for each class"
        )
    roles = set().union(*cases.values())
    for name, files in cases.items():
        missing = sorted(roles - set(files))
        if missing:
            present = next(iter(files.values())).name
            raise ValueError(
                f"{path.name}: {name!r} ({present}) has no {' and no '.join(missing)}"
                f"{checks.did_you_mean(name, set(cases) - {name})}"
            )
    if roles == {"label"}:
        raise ValueError(f"{path.name} holds labels only; images or predictions are wanted beside them")
    left, items = max_bytes, []
    for name in sorted(cases):
        if left <= 0:
            raise ValueError(f"the files of {path.name} would together take more than max_bytes = {max_bytes:,}")
        item, used = _case(name, cases[name], left, scale, activation)
        items.append(item)
        left -= used
    return ImageSet.of(items, path.name)


def cases_of(path) -> dict[str, dict[str, Path]]:
    """The files of each case by role, empty where the folder holds none."""
    found: dict[str, dict[str, Path]] = {}
    for role, folders in _FOLDERS.items():
        for folder in folders:
            for file in _files(path / folder):
                _add(found, _stem(file), role, file)
    if found:
        return found
    for file in _files(path):
        stem = _stem(file)
        role = next((role for role, words in _FOLDERS.items() if stem.lower().rpartition("_")[2] in words), None)
        if role is not None:
            _add(found, stem.rpartition("_")[0], role, file)
        elif ending(file) == ".npz":
            _add(found, stem, "npz", file)
    return found


def _add(found, name, role, file) -> None:
    files = found.setdefault(name, {})
    if role in files:
        raise ValueError(
            f"{file.parent.name}: {name!r} has two files for its {role}: {files[role].name} and {file.name}"
        )
    files[role] = file


def _files(folder) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and not file.name.startswith(".") and ending(file) in READABLE
    )


def _stem(file) -> str:
    return file.name[: -len(ending(file))]


def _case(name, files, left, scale, activation):
    if "npz" in files:
        arrays = decode_npz(files["npz"], left)
        return from_npz(files["npz"], arrays, scale, activation), sum(array.nbytes for array in arrays.values())
    found, used = {}, 0
    for role in ("image", "label", "prediction"):
        if role not in files:
            continue
        file = files[role]
        if ending(file) == ".npz":
            arrays = decode_npz(file, left - used)
            if len(arrays) != 1:
                raise ValueError(f"{file.name} must hold one array, got {', '.join(arrays)}")
            decoded = Decoded(next(iter(arrays.values())))
        else:
            decoded = decode(file, left - used)
        found[role] = ROLES[role](file.name, decoded, *((scale, activation) if role == "prediction" else ()))
        used += found[role].values.numel() * 8
    return image_set(found, name, name), used
