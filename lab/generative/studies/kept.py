"""Results of the room's studies in files: tensors, arrays, numbers, words and containers of them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Self

import numpy as np
import torch

_ARRAY = "array"


class Kept:
    """A dataclass with :meth:`save` and :meth:`load`."""

    def save(self, path: str | Path) -> None:
        """Write the result."""
        torch.save({one.name: _packed(getattr(self, one.name)) for one in fields(self)}, Path(path))  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What :meth:`save` wrote; no code is run from the file."""
        return cls(**{name: _unpacked(value) for name, value in torch.load(Path(path), weights_only=True).items()})


def _packed(value):
    if isinstance(value, np.ndarray):
        return (_ARRAY, torch.from_numpy(np.ascontiguousarray(value)))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: _packed(one) for key, one in value.items()}
    return type(value)(_packed(one) for one in value) if isinstance(value, (list, tuple)) else value


def _unpacked(value):
    if isinstance(value, tuple) and len(value) == 2 and value[0] == _ARRAY:
        return value[1].numpy()
    if isinstance(value, dict):
        return {key: _unpacked(one) for key, one in value.items()}
    return type(value)(_unpacked(one) for one in value) if isinstance(value, (list, tuple)) else value
