"""Twenty files in each layout that users bring with classes or domains, and a table with a domain column."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image


def picture(path: Path, draw, klass: int, size: int, colour: bool) -> None:
    """Noise with a bright bar whose place says the class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = draw.integers(0, 90, (size, size, 3) if colour else (size, size))
    values[2 * klass : 2 * klass + 2] += 150
    Image.fromarray(values.astype(np.uint8)).save(path)


def class_folders(root: Path, *, classes=("cat", "dog"), each=10, size=8, colour=False, seed=0) -> Path:
    """``class/image.png``."""
    draw = np.random.default_rng(seed)
    for klass, name in enumerate(classes):
        for k in range(each):
            picture(root / name / f"{k:02}.png", draw, klass, size, colour)
    return root


def domain_folders(root: Path, *, domains=("paint", "photo", "sketch", "toy", "wood"), each=2, **options) -> Path:
    """``domain/class/image.png``: twenty files."""
    for k, name in enumerate(domains):
        class_folders(root / name, each=each, seed=k, **options)
    return root


def fixed_split(root: Path, **options) -> Path:
    """``train/class/image.png`` and ``test/class/image.png``, in colour as CIFAR is."""
    class_folders(root / "train", each=8, colour=True, **options)
    class_folders(root / "test", each=2, colour=True, seed=1, **options)
    return root


def table(path: Path, rows=60) -> Path:
    """A CSV with a column called domain and a target of words."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"domain": np.resize(["north", "south", "east"], rows), "u": draw.normal(size=rows) * 50})
    frame["v"] = draw.normal(size=rows)
    frame["target"] = np.where(frame.u + frame.v > 0, "ill", "well")
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False)
    return path


LAYOUTS = {
    "class folders": lambda root: class_folders(root / "classes", classes=("a", "b", "c", "d"), each=5),
    "domain folders": lambda root: domain_folders(root / "domains"),
    "fixed split": lambda root: fixed_split(root / "split"),
    "table": lambda root: table(root / "patients.csv"),
}
