"""What the studies of the room share: results with a file."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Self

import torch


class Kept:
    """Results that stand in a file: tensors, numbers, words and dictionaries of them."""

    def save(self, path: str | Path) -> None:
        """Write the result."""
        torch.save({field.name: getattr(self, field.name) for field in fields(self)}, Path(path))  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What :meth:`save` wrote; no code is run from the file."""
        return cls(**torch.load(Path(path), weights_only=True))
