"""What the studies of the room share: the digits they run on, the user's own set in their place, results with a file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import torch

from lab import datasets
from lab.compression.dcc import standard


@dataclass(frozen=True, eq=False)
class Task:
    """Standardized items to learn from and to be tested on: ``x`` (items, ...), classes ``y``; ``shape`` is that of an image,
    (height, width) or in colour (channels, height, width), or (features,) of a table."""

    x: torch.Tensor
    y: torch.Tensor
    test: tuple[torch.Tensor, torch.Tensor]
    mean: float
    scale: float
    shape: tuple[int, ...]
    classes: tuple[str, ...]

    @property
    def images(self) -> tuple[int, int, int]:
        """(channels, height, width).

        Raises:
            ValueError: a table.
        """
        if len(self.shape) == 1:
            raise ValueError(
                f"a convolution or a recurrence over rows needs images, got {self.shape[0]} features a row"
            )
        return (1, *self.shape) if len(self.shape) == 2 else self.shape  # type: ignore[return-value]

    def of(self, classes) -> Task:
        """The items of some classes, numbered 0, 1, ... in the order given."""
        chosen, new = list(classes), torch.full((int(self.y.max()) + 1,), -1)
        new[chosen] = torch.arange(len(chosen))
        rows, tested = torch.isin(self.y, torch.tensor(chosen)), torch.isin(self.test[1], torch.tensor(chosen))
        return Task(
            self.x[rows], new[self.y[rows]], (self.test[0][tested], new[self.test[1][tested]]), self.mean, self.scale,
            self.shape, tuple(self.classes[k] for k in chosen),
        )  # fmt: skip


def task(size: int = 14, data=None, *, flat: bool = True) -> Task:
    """MNIST at ``size`` pixels, 4,000 to learn from and 1,000 to test, or the user's classification set.

    A fifth of the user's items is kept for testing, unless they come as train and test; other domains are joined.

    Raises:
        ValueError: own data without classes, of one class, or a class without an item to learn from.
    """
    if data is None:
        train, test = (datasets.load("mnist", size=size, part=part) for part in ("train", "test"))
        parts, classes = ((train.x, train.label), (test.x, test.label)), train.classes
    elif isinstance(data, datasets.Domains) and data.split:
        parts, classes = tuple((data[name].x.float(), data[name].label) for name in ("train", "test")), data.classes
    else:
        x, y, classes = _own(data)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        held, rest = order[: len(x) // 5], order[len(x) // 5 :]
        parts = ((x[rest], y[rest]), (x[held], y[held]))
    if data is not None:
        _check_classes(parts[0][1], parts[1][1], classes)
    mean, scale = standard(parts[0][0])
    (x, y), (test_x, test_y) = parts
    shape = tuple(x.shape[2:]) if x.ndim == 4 and x.shape[1] == 1 else tuple(x.shape[1:])
    ready = [(one.flatten(1) if flat else one).sub(mean).div(scale).float() for one in (x, test_x)]
    return Task(ready[0], y.long(), (ready[1], test_y.long()), mean, scale, shape, tuple(map(str, classes)))


def _check_classes(label, tested, classes):
    if label.is_floating_point():
        raise ValueError("the labels hold numbers, but classes are needed")
    counts = label.bincount(minlength=len(classes))
    if len(classes) < 2 or int(counts.min()) == 0:
        empty = [str(classes[k]) for k in torch.nonzero(counts == 0).flatten().tolist()]
        raise ValueError(
            f"at least two classes with items to learn from are needed, got {len(classes)} classes"
            + (f", of which {', '.join(empty)} has none" if empty else "")
        )
    if not len(tested):
        raise ValueError("too few items: a fifth of them is kept for testing, and none is left")


def _own(data):
    if isinstance(data, datasets.Domains):
        data = data.joined()
    if isinstance(data, datasets.Points) and data.label is not None:
        return data.x.float(), data.label, data.classes or tuple(range(int(data.label.max()) + 1))
    if isinstance(data, datasets.Table) and data.target is not None:
        x, y, *_ = data.numeric()
        if y.is_floating_point():
            raise ValueError(f"the target {data.target!r} holds numbers, but classes are needed")
        return ((x - x.mean(0)) / x.std(0).clamp_min(1e-6)).float(), y, data.classes or tuple(range(int(y.max()) + 1))
    raise ValueError(
        "data must be a table with a target column of classes or a classification set, such as a folder of class folders, got "
        f"{type(data).__name__}"
    )


class Kept:
    """Results that stand in a file: tensors, numbers, words and dictionaries of them."""

    def save(self, path: str | Path) -> None:
        """Write the result."""
        torch.save({field.name: getattr(self, field.name) for field in fields(self)}, Path(path))  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What :meth:`save` wrote; no code is run from the file."""
        return cls(**torch.load(Path(path), weights_only=True))


def table(accuracy: dict[str, torch.Tensor]):
    """One row an arm: mean accuracy over seeds and its spread."""
    import pandas as pd

    spread = lambda values: float(values.std()) if len(values) > 1 else float("nan")  # noqa: E731
    rows = [{"arm": arm, "accuracy": float(v.mean()), "spread": spread(v)} for arm, v in accuracy.items()]
    return pd.DataFrame(rows)


def shown(accuracy: dict[str, torch.Tensor]) -> dict:
    """The table for the details of a measurement."""
    return {"accuracy": {arm: round(float(values.mean()), 4) for arm, values in accuracy.items()}}
