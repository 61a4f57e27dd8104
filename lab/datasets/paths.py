"""What lies at a path: a table, sounds, classes, cases or one image, each read by the module that knows it."""

from __future__ import annotations

from lab.datasets.sets import retold


def from_path(path, max_bytes, scale, activation, told, size):
    """The data of an existing path; the arguments are those of :func:`lab.datasets.load`."""
    from lab.datasets import classes, files
    from lab.datasets.folders import cases_of, read_folder
    from lab.datasets.text import Dialect
    from lab.datasets.values import check_options

    check_options(scale, activation)
    if path.is_file() and files.ending(path) in (*files.TEXTS, ".parquet"):
        if scale is not None or activation is not None:
            raise ValueError(f"scale and activation are for images, got the table {path.name}")
        goal, kind = told.pop("target", None), told.pop("target_type", None)
        return files.read_table(path, max_bytes, Dialect(**told), goal, kind)
    retold(None, told)
    if sounds := _sounds(path, max_bytes):
        return sounds
    if path.is_dir() and not cases_of(path) and classes.layout(path):
        if scale is not None or activation is not None:
            raise ValueError(
                f"scale and activation are for single images and predictions, got the classes of {path.name}"
            )
        return classes.read_classes(path, size, max_bytes)
    if size is not None:
        raise ValueError(f"size is for folders of class folders, got {path.name}")
    return (read_folder if path.is_dir() else files.read)(path, max_bytes, scale=scale, activation=activation)


def _sounds(path, max_bytes):
    """The sound of a WAV file, those of a folder that holds nothing else (by name), or ``None``."""
    from lab.datasets.sounds import read_wav

    if path.is_file():
        return read_wav(path, max_bytes=max_bytes) if path.suffix.lower() == ".wav" else None
    files = sorted(one for one in path.iterdir() if not one.name.startswith("."))
    if not files or not all(one.is_file() and one.suffix.lower() == ".wav" for one in files):
        return None
    total = sum(one.stat().st_size for one in files)
    if total > max_bytes:
        raise ValueError(f"{path.name} holds {total} bytes of sound, more than the limit of {max_bytes}")
    return tuple(read_wav(one, max_bytes=max_bytes) for one in files)
