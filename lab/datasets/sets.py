"""The four shapes of data: images with labels, tables, points, and points in several domains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lab import checks

if TYPE_CHECKING:
    import pandas as pd

    from lab.datasets.columns import Plan


@dataclass(frozen=True, eq=False)
class ImageSet:
    """One image with reference label and prediction, or several of them.

    Args:
        image: float32 in [0, 1], (height, width) or (depth, height, width); a tuple of these for several images.
        label: bool or integer ids, the image's shape; or None.
        prediction: float32 probabilities in [0, 1], the image's shape; or None.
        spacing: length of a voxel along each axis, in the file's unit (1.0 where unknown).
        predictions: further predictions by variant, all of equal Dice against ``label > 0`` at threshold 0.5.
        colour: the colour channels (channels, height, width) in [0, 1] where the source has them.
        name: where the data came from, for titles and refusals.
        affine: (4, 4) voxel-to-world matrix of a NIfTI file, or None.
        notes: sentences on what reading did: scaled, rounded, turned, left out.

    Raises:
        ValueError: label or prediction of another shape than the image (both sizes are named), a prediction outside
            [0, 1], NaN.
    """

    image: torch.Tensor | tuple[torch.Tensor, ...]
    label: torch.Tensor | tuple | None = None
    prediction: torch.Tensor | tuple | None = None
    spacing: tuple[float, ...] = ()
    predictions: Mapping[str, torch.Tensor] = field(default_factory=dict)
    colour: torch.Tensor | None = None
    name: str = ""
    affine: torch.Tensor | None = None
    items: tuple[ImageSet, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        if self.items:
            return
        image = checks.tensor("image", self.image, ndim=(2, 3)).float()
        object.__setattr__(self, "image", image)
        if self.label is not None:
            label = checks.tensor("label", self.label)
            checks.same_shape("image", image, "label", label)
            if label.is_floating_point():
                raise TypeError(f"label must hold booleans or integer ids, got {label.dtype}")
            object.__setattr__(self, "label", label)
        if self.prediction is not None:
            object.__setattr__(self, "prediction", _probabilities("prediction", self.prediction, image))
        variants = {
            key: _probabilities(f"predictions[{key!r}]", value, image) for key, value in self.predictions.items()
        }
        object.__setattr__(self, "predictions", variants)
        spacing = tuple(float(length) for length in self.spacing) or (1.0,) * image.ndim
        if len(spacing) != image.ndim or not all(np.isfinite(length) and length > 0 for length in spacing):
            raise ValueError(f"spacing must be {image.ndim} positive lengths, got {self.spacing}")
        object.__setattr__(self, "spacing", spacing)

    @classmethod
    def of(cls, items: list[ImageSet] | tuple[ImageSet, ...], name: str = "") -> ImageSet:
        """Several single images as one set; the images may differ in size."""
        items = tuple(single for item in items for single in item)
        if not items:
            raise ValueError("items is empty; at least one image is needed")
        if len(items) == 1:
            return items[0]
        return cls(
            image=tuple(item.image for item in items),
            label=_all_or_none([item.label for item in items]),
            prediction=_all_or_none([item.prediction for item in items]),
            spacing=items[0].spacing,
            name=name,
            items=items,
            notes=_notes_of(items),
        )

    def __repr__(self) -> str:
        sizes = sorted({" x ".join(map(str, item.image.shape)) for item in self})
        size = sizes[0] if len(sizes) == 1 else f"{len(sizes)} sizes from {sizes[0]} to {sizes[-1]}"
        parts = [f"{len(self)} image{'s' * (len(self) > 1)} of {size}"]
        parts += [f"spacing {self.spacing}"] if set(self.spacing) != {1.0} else []
        parts += [role if value is not None else f"no {role}" for role, value in
                  (("label", self.label), ("prediction", self.prediction))]  # fmt: skip
        parts += [f"variants {', '.join(self.predictions)}"] if self.predictions else []
        return described("ImageSet", self.name, ", ".join(parts), self.notes)

    def __len__(self) -> int:
        return len(self.items) or 1

    def __iter__(self) -> Iterator[ImageSet]:
        return iter(self.items or (self,))

    def __getitem__(self, index: int) -> ImageSet:
        return (self.items or (self,))[index]

    @property
    def mask(self) -> torch.Tensor:
        """The label of a single image as booleans: every positive id is foreground."""
        if self.items or self.label is None:
            raise ValueError(f"{self.name or 'this set'} has {'several images' if self.items else 'no label'}")
        return self.label > 0

    def clone(self) -> ImageSet:
        """A copy of a single image that shares no memory with it."""
        copy = lambda value: value.clone() if isinstance(value, torch.Tensor) else value  # noqa: E731
        variants = {key: value.clone() for key, value in self.predictions.items()}
        fields: dict[str, Any] = {
            name: copy(getattr(self, name)) for name in ("image", "label", "prediction", "colour", "affine")
        }
        fields["prediction"] = variants.get("mixed", fields["prediction"])
        return replace(self, **fields, predictions=variants)

    def variant(self, name: str) -> ImageSet:
        """The same set with the prediction of that variant."""
        if self.items:
            return ImageSet.of([item.variant(name) for item in self.items], self.name)
        return replace(self, prediction=self.predictions[checks.choice("variant", name, self.predictions)])

    def save(self, path) -> None:
        """Write a single image to an NPZ file that :meth:`load` reads (no pickles)."""
        if self.items:
            raise ValueError("save one image at a time: for item in data: item.save(...)")
        fields = {
            "image": self.image,
            "label": self.label,
            "prediction": self.prediction,
            "colour": self.colour,
            "affine": self.affine,
            **{f"variant:{key}": value for key, value in self.predictions.items()},
        }
        arrays = {key: value.cpu().numpy() for key, value in fields.items() if value is not None}
        arrays |= {"spacing": np.asarray(self.spacing), "name": np.asarray(self.name)}
        np.savez_compressed(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path) -> ImageSet:
        """Read what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        optional: dict[str, Any] = {
            key: torch.from_numpy(arrays[key]) for key in ("label", "prediction", "colour", "affine") if key in arrays
        }
        variants = {key[8:]: torch.from_numpy(value) for key, value in arrays.items() if key.startswith("variant:")}
        return cls(
            torch.from_numpy(arrays["image"]),
            spacing=tuple(arrays["spacing"].tolist()),
            predictions=variants,
            name=str(arrays["name"]),
            **optional,
        )


@dataclass(frozen=True, eq=False)
class Table:
    """A pandas frame and the name of its target column (None: no target); :mod:`lab.datasets.columns` says what columns become.

    Args:
        frame: one row an item.
        target: the column to predict.
        name: where it came from.
        reading: sentences on what reading the file did.
        target_type: ``"classes"`` or ``"numbers"``; decided by the values where ``None``.
    """

    frame: pd.DataFrame
    target: str | None = None
    name: str = ""
    reading: tuple[str, ...] = ()
    target_type: str | None = None

    def __post_init__(self):
        from lab.datasets import columns

        names = list(self.frame.columns)
        if len(set(names)) < len(names):
            raise ValueError(f"the frame must have columns of different names, got {names} with one twice")
        if self.target is not None:
            checks.choice("target", self.target, names)
        if self.target_type is not None:
            checks.choice("target_type", self.target_type, columns.TARGET_TYPES)
        if len(self.frame) == 0:
            raise ValueError(f"{self.name or 'the table'} has no rows")

    def plan(self, max_categories: int = 32) -> Plan:
        """What each column becomes."""
        from lab.datasets import columns

        return columns.planned(self.frame, self.target, self.target_type, max_categories)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What reading did and what :meth:`numeric` does to each column that is not plain numbers."""
        try:
            return (*self.reading, *self.plan().notes)
        except ValueError as error:
            return (*self.reading, f"not usable as numbers yet: {error}")

    def __repr__(self) -> str:
        return described("Table", self.name, f"{len(self.frame)} rows, {self.frame.shape[1]} columns", self.notes)

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of a categorical target, in the order of :meth:`numeric`'s codes; empty for a numeric target."""
        from lab.datasets import columns

        if self.target is None:
            return ()
        column = self.frame[self.target]
        if (self.target_type or columns.target_type(column)[0]) == "numbers":
            return ()
        return tuple(f"{value:g}" if isinstance(value, float) else str(value) for value in columns.levels_of(column))

    def numeric(
        self, *, missing: str = "refuse", max_categories: int = 32
    ) -> tuple[torch.Tensor, torch.Tensor | None, tuple[str, ...]]:
        """``(x, y, columns)``: numbers, days and indicators of words (rows, columns), and the target.

        ``x`` and a numeric target are float32, or float64 where float32 would merge values (timestamps, ids). A target of classes
        becomes int64 codes in sorted order. ``notes`` say what happens to each column.

        Args:
            missing: ``"refuse"`` rows with missing values, ``"drop"`` them (refused if fewer than half of the rows stay) or fill in
                the column's ``"mean"``; rows without a label are dropped in both cases.
            max_categories: more words than this in a column are refused.
        """
        from lab.datasets import columns

        what = self.name or "the table"
        plan = self.plan(checks.integer("max_categories", max_categories, low=2))
        x, names = columns.encoded(self.frame, plan, missing, what)
        label = None if self.target is None else self.frame[self.target]
        rows = columns.kept_rows(x, label, missing, what)
        x = torch.from_numpy(x[rows]).to(torch.float64 if plan.double else torch.float32)
        if label is None:
            return x, None, tuple(names)
        if plan.target_type == "classes":
            return x, torch.from_numpy(columns.class_codes(label)[0][rows]), tuple(names)
        y = columns.numbers(label, "date" if label.dtype.kind == "M" else "number")[rows]
        return x, torch.from_numpy(y).to(torch.float64 if columns.merged(y) else torch.float32), tuple(names)


@dataclass(frozen=True, eq=False)
class Points:
    """Items with features: a point cloud or a classification set.

    Args:
        x: (items, features...) float32.
        label: (items,) int64 classes, float32 values, or None.
        name: where the data came from.
        classes: names of the classes.
        notes: sentences on what reading did.
    """

    x: torch.Tensor
    label: torch.Tensor | None = None
    name: str = ""
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        x = checks.tensor("x", self.x, ndim=(2, 3, 4, 5))
        object.__setattr__(self, "x", x if x.is_floating_point() else x.float())
        if self.label is not None:
            object.__setattr__(self, "label", checks.tensor("label", self.label, shape=(len(x),)))

    def __repr__(self) -> str:
        label = "no label" if self.label is None else f"{len(self.label.unique())} different labels"
        return described("Points", self.name, f"{' x '.join(map(str, self.x.shape))}, {label}", self.notes)

    def __len__(self) -> int:
        return len(self.x)

    def split(self, test: float = 0.25, *, seed: int | torch.Generator = 0) -> tuple[Points, Points]:
        """Training and test parts: a random fraction ``test`` of the items goes to the second."""
        test = checks.number("test", test, low=0.0, high=1.0)
        count = round(test * len(self.x))
        if not 0 < count < len(self.x):
            raise ValueError(f"test must leave items on both sides, got {test} of {len(self.x)} items")
        order = torch.randperm(len(self.x), generator=checks.generator(seed))
        label = self.label
        parts = [
            replace(self, x=self.x[rows], label=None if label is None else label[rows])
            for rows in (order[count:], order[:count])
        ]
        return parts[0], parts[1]


@dataclass(frozen=True, eq=False)
class Domains:
    """Labelled sets of equal features and classes, one a domain; ``notes`` say how they were made or read."""

    parts: tuple[Points, ...]
    name: str = ""
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        names = [part.name for part in self.parts]
        if len(self.parts) < 2 or len(set(names)) < len(names):
            raise ValueError(f"at least two domains of different names are needed, got {', '.join(map(str, names))}")
        shapes = {tuple(part.x.shape[1:]) for part in self.parts}
        if len(shapes) > 1 or any(part.label is None for part in self.parts):
            raise ValueError(f"domains must have labels and features of one shape, got shapes {sorted(shapes)}")

    def __repr__(self) -> str:
        sizes = ", ".join(f"{part.name} ({len(part)})" for part in self.parts)
        return described("Domains", self.name, sizes, self.notes)

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Points]:
        return iter(self.parts)

    def __getitem__(self, name: str) -> Points:
        return next(part for part in self.parts if part.name == checks.choice("name", name, self.names))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the domains in order."""
        return tuple(part.name for part in self.parts)

    @property
    def split(self) -> bool:
        """Whether the parts are called train and test: one set with a fixed split, not two domains."""
        return set(self.names) == {"train", "test"}

    def joined(self) -> Points:
        """All items as one set, in the order of the domains."""
        x, label = torch.cat([part.x for part in self.parts]), torch.cat([part.label for part in self.parts])
        return Points(x, label, self.name, self.classes, (*self.notes, f"joined: {', '.join(self.names)}"))

    def leave_out(self, name: str) -> tuple[tuple[Points, ...], Points]:
        """``(sources, target)``: all domains but one, and that one."""
        target = self[name]
        return tuple(part for part in self.parts if part is not target), target


def _probabilities(name: str, value, image: torch.Tensor) -> torch.Tensor:
    value = checks.tensor(name, value).float()
    checks.same_shape("image", image, name, value)
    low, high = float(value.min()), float(value.max())
    if low < 0 or high > 1:
        raise ValueError(f"{name} must hold probabilities in [0, 1], got values from {low:.4g} to {high:.4g}")
    return value


def described(kind: str, name: str, what: str, notes) -> str:
    """What is loaded in one line, and below it one line a note."""
    return "\n".join([f"{kind} {name!r}: {what}", *(f"  - {note}" for note in notes)])


def _notes_of(items) -> tuple[str, ...]:
    """The notes of several cases, each once, with the cases that it is about unless it is about all."""
    about: dict[str, list[str]] = {}
    for item in items:
        for note in item.notes:
            about.setdefault(note, []).append(item.name)
    return tuple(
        note
        if len(names) == len(items)
        else f"{', '.join(names[:3])}{f' and {len(names) - 3} more' * (len(names) > 3)}: {note}"
        for note, names in about.items()
    )


def _all_or_none(values: list) -> tuple | None:
    return tuple(values) if all(value is not None for value in values) else None


def retold(found, told):
    """A loaded set with another target; what is told about tables or their files is refused elsewhere."""
    others = set(told) if not isinstance(found, Table) else set(told) - {"target", "target_type"}
    if others:
        raise ValueError(
            f"{', '.join(sorted(others))} is for files of tables, got {found.name if found else 'other data'}"
        )
    return replace(found, **told) if told else found
