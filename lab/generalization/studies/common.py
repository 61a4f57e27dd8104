"""What the studies of the room share: MNIST shifted into domains for every seed, results that are kept, tuned rates."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Self

import torch

from lab import datasets
from lab.datasets.domains import FLIPS, ROTATIONS, Domains, coloured, domains, rotated
from lab.datasets.sets import Points
from lab.training.left_out import split_sources

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
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
    points = datasets.load("mnist", size=size)
    return replace(points, x=points.x[:items], label=points.label[:items])


def shifted(shift: str, size: int, items: int, seed: int) -> Domains:
    """Coloured MNIST (flips .1, .2, .9) or rotated MNIST (0, 15, ..., 75 degrees), no image twice."""
    shifts = [coloured(flip) for flip in FLIPS] if shift == "coloured" else [rotated(angle) for angle in ROTATIONS]
    return domains(digits(size, items), shifts, seed=seed)


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
