"""What the studies of the room share: MNIST shifted into domains for every seed, results that are kept, tuned rates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import torch

from lab import datasets
from lab.datasets.domains import FLIPS, ROTATIONS, Domains, Shift, coloured, domains, rotated
from lab.datasets.sets import Points
from lab.training.left_out import split_sources

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
HELD = 0.2  # share of each source that is kept for the accuracy on seen domains


class Kept:
    """A result of tensors, dictionaries of tensors and plain values: ``save`` to one safetensors file, ``load`` it back."""

    def save(self, path) -> None:
        """Write the result."""
        from safetensors.torch import save_file

        tensors, plain = {}, {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, torch.Tensor):
                tensors[field.name] = value.contiguous()
            elif isinstance(value, dict) and all(isinstance(one, torch.Tensor) for one in value.values()):
                tensors |= {f"{field.name}/{key}": one.contiguous() for key, one in value.items()}
                plain[f"{field.name}/"] = list(value)
            else:
                plain[field.name] = value
        save_file(tensors, str(Path(path)), metadata={"plain": json.dumps(plain)})

    @classmethod
    def load(cls, path) -> Self:
        """Read what :meth:`save` wrote."""
        from safetensors import safe_open

        with safe_open(str(Path(path)), framework="pt") as stored:
            plain = json.loads(stored.metadata()["plain"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}
        values = {name: value for name, value in tensors.items() if "/" not in name}
        for name, value in plain.items():
            if name.endswith("/"):
                values[name[:-1]] = {key: tensors[f"{name}{key}"] for key in value}
            else:
                values[name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)


@dataclass(frozen=True, eq=False)
class Task:
    """One target of one seed: source items with label and domain, what is held of each source, and the target."""

    x: torch.Tensor
    targets: torch.Tensor
    held: tuple[Points, ...]
    target: Points


@lru_cache(maxsize=4)
def digits(size: int, items: int) -> Points:
    """The first ``items`` of MNIST at ``size`` pixels; the classes take turns, so that a part is balanced."""
    points: Any = datasets.load("mnist", size=size)
    return replace(points, x=points.x[:items], label=points.label[:items])


def shifted(shift: str, size: int, items: int, seed: int) -> Domains:
    """Coloured MNIST (flips .1, .2, .9) or rotated MNIST (0, 15, ..., 75 degrees), no image twice."""
    return domains(digits(size, items), shifts_of(shift), seed=seed)


def shifts_of(shift: str) -> list[Shift]:
    """The shifts of coloured or rotated MNIST."""
    return [coloured(flip) for flip in FLIPS] if shift == "coloured" else [rotated(angle) for angle in ROTATIONS]


def user_domains(data, shift: str | Sequence[Shift] = "rotated", seed: int = 0) -> Domains:
    """The user's domains: domains as they are, a table by its column called domain, images of classes shifted.

    Raises:
        ValueError: a table without such a column, features without domains, labels that are no classes.
    """
    if isinstance(data, datasets.Table):
        names = [name for name in data.frame.columns if str(name).strip().lower() == "domain"]
        if not names:
            raise ValueError(
                f"the table must have a column called domain, or be read by own_domains(path, column=...) (--domain COLUMN), got "
                f"the columns {', '.join(map(str, data.frame.columns))}"
            )
        data = datasets.own_domains(data, column=names[0])
    if isinstance(data, Domains) and not data.split:
        for part in data:
            _classes_only(part, data.name)
        return _in_unit_range(data)
    points = user_points(data)
    if points.x.ndim != 4:
        raise ValueError(
            f"{points.name or 'the set'} has no domains and is no set of images that could be shifted into some"
        )
    return domains(points, shifts_of(shift) if isinstance(shift, str) else shift, seed=seed)


def has_domains(data) -> bool:
    """Whether the user's data name domains: a table (by its column) or domains that are no fixed split."""
    return isinstance(data, datasets.Table) or isinstance(data, Domains) and not data.split


def user_points(data, images: bool = False) -> Points:
    """The user's items with classes in one set, features in [0, 1]; domains are joined, tables scaled by column.

    Args:
        images: refuse anything but images (items, channels, height, width).

    Raises:
        ValueError: no classes, no images where they are asked for, values beyond [0, 1] in images.
    """
    if isinstance(data, Domains):
        data = data.joined()
    if isinstance(data, datasets.Table):
        if data.target is None:
            raise ValueError("the table must have a target column of classes")
        x, y, _ = data.numeric()
        assert y is not None
        note = "each column scaled to [0, 1] by its least and largest value"
        data = Points(_unit(x, x), y, data.name, data.classes, (*data.notes, note))
    if not isinstance(data, Points) or data.label is None:
        raise ValueError(
            "data must be images with classes (a folder of class folders), a table with a target column, or domains, got "
            f"{type(data).__name__}"
        )
    _classes_only(data, data.name)
    if images and data.x.ndim != 4:
        raise ValueError(
            f"images (items, channels, height, width) are wanted, got features of shape {tuple(data.x.shape[1:])}"
        )
    if data.x.ndim == 4 and not 0 <= float(data.x.min()) <= float(data.x.max()) <= 1:
        raise ValueError(
            f"images must lie in [0, 1], got values from {float(data.x.min()):.3g} to {float(data.x.max()):.3g}"
        )
    return data if data.x.ndim == 4 else replace(data, x=_unit(data.x, data.x))


def _classes_only(points, name):
    label = points.label
    if label is None or label.is_floating_point():
        raise ValueError(f"{name or 'the set'}: the target must hold classes, got numbers or none")


def _in_unit_range(data: Domains) -> Domains:
    """Features of tables scaled by the range of all domains together; images as they are."""
    x = torch.cat([part.x for part in data])
    if x.ndim == 4:
        return data
    parts = tuple(replace(part, x=_unit(part.x, x)) for part in data)
    note = "each column scaled to [0, 1] by its least and largest value over all domains"
    return Domains(parts, data.name, data.classes, (*data.notes, note))


def _unit(x, over):
    low, high = over.amin(0), over.amax(0)
    return ((x - low) / (high - low).clamp_min(1e-12)).float()


def tasks(data: Domains, seed: int) -> list[Task]:
    """One task a domain left out; all have equally many source items (the fewest of any; the rest of a source is left out)."""
    least = min(len(part) for part in data)
    data = Domains(tuple(replace(part, x=part.x[:least], label=part.label[:least]) for part in data), data.name)
    found = []
    for name in data.names:
        sources, target = data.leave_out(name)
        fitting, held = split_sources(sources, HELD, seed=seed)
        x = torch.cat([part.x for part in fitting]).flatten(1)
        label = torch.cat([part.label for part in fitting])
        domain = torch.arange(len(fitting)).repeat_interleave(len(fitting[0]))
        found.append(Task(x, torch.stack([label, domain], 1), held, target))
    return found


def accuracy(p: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Share of items whose largest probability or logit is the label's, over the last axis of items."""
    return (p.argmax(-1) == label).double().mean(-1)


def rank_correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Spearman's correlation along the last axis; without ties, else of their order in place."""
    ranks = [one.argsort(-1).argsort(-1).double() for one in (a, b)]
    centred = [one - one.mean(-1, keepdim=True) for one in ranks]
    return (centred[0] * centred[1]).sum(-1) / (centred[0].norm(dim=-1) * centred[1].norm(dim=-1)).clamp_min(1e-12)
