"""The order in which a model sees its items, and the batches of all models at once."""

from __future__ import annotations

import torch


def batch_order(items: int, seed: int, epoch: int) -> torch.Tensor:
    """The permutation of ``items`` in ``epoch`` for a model of ``seed``: a pure function of the three numbers."""
    mixed = (seed * 0x9E3779B97F4A7C15 + (epoch + 1) * 0xBF58476D1CE4E5B9) % 2**63
    return torch.randperm(items, generator=torch.Generator().manual_seed(mixed))


class Batches:
    """Batches (models, batch, ...) of inputs, targets and weights, gathered from shared or per-model tensors.

    ``order`` is (models, items) or None for a full batch in the items' own order.
    """

    def __init__(self, tensors, shared, models, items):
        self.tensors, self.shared, self.models, self.items = tensors, shared, models, items
        self.flat = [
            value if value is None or shared else value.flatten(0, 1) for value, shared in zip(tensors, shared)
        ]
        self.offset = torch.arange(models)[:, None] * items

    def full(self, rows=slice(None)):
        return [
            None
            if value is None
            else (value[None, rows].expand(self.models, *value[rows].shape) if shared else value[:, rows])
            for value, shared in zip(self.tensors, self.shared)
        ]

    def take(self, index: torch.Tensor):
        """The items ``index`` (models, batch) of each model."""
        common, own = index.reshape(-1), None
        found = []
        for value, shared in zip(self.flat, self.shared):
            if value is None:
                found.append(None)
                continue
            if not shared and own is None:
                own = (index + self.offset.to(index.device)).reshape(-1)
            chosen = value.index_select(0, common if shared else own)
            found.append(chosen.view(*index.shape, *value.shape[1:]))
        return found
