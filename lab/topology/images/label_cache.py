"""Labels return every epoch: their half of the matching is kept, and found again by content.

The key is made of every byte of the label, so that a label changed in place is another one. What is kept of a label:
its sublevel array and what :func:`lab.kernels.cubical.images.merging.prepare` found of an image or
:func:`lab.kernels.cubical.volumes.pipeline.prepare` of a volume, about 15 bytes a voxel.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict

import numpy as np
from torch import Tensor

from lab.topology.images import batching, convention

SMALLEST = 1 << 14  # pixels below which finding a label again costs what it saves


_CACHES: weakref.WeakSet[LabelCache] = weakref.WeakSet()


class LabelCache:
    """Matches stacks of images with labels that were seen before; ``size`` in megabytes, least recently used go
    first."""

    def __init__(self, size: float):
        self.size = int(size * 2**20)
        self.hits = self.misses = 0
        self.forget()
        _CACHES.add(self)

    def forget(self) -> None:
        """Keep nothing of what was seen."""
        self._kept: OrderedDict = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __getstate__(self):
        return {"size": self.size}

    def __setstate__(self, state):
        self.__init__(state["size"] / 2**20)

    def worthwhile(self, labels: Tensor) -> bool:
        """Whether ``labels`` (items, axes...) are images or volumes large enough to be looked up."""
        return bool(self.size) and labels.ndim in (3, 4) and labels[0].numel() >= SMALLEST

    def match_rows(
        self, predictions: np.ndarray, labels: Tensor, level: str, border: str | None, *, threads: int
    ) -> batching.Rows:
        """Rows of ``predictions`` (sublevel, framed) against ``labels`` (as they came), equal to those without a
        cache."""
        labels = labels.detach().cpu().contiguous()
        match = _match_volume if labels.ndim == 4 else _match_image

        def one(k):
            return batching.Rows(*match(predictions[k], *self._side(labels[k], level, border)))

        ks = range(len(labels))
        workers = min(threads, len(labels))
        return batching.join(list(map(one, ks) if workers == 1 else batching.pool(workers).map(one, ks)))

    def _side(self, label, level, border):
        from lab.kernels.cubical import cpu

        key = (*cpu.content_key(_words(label)), label.dtype, tuple(label.shape), level, border)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                self.hits += 1
                return self._kept[key]
        values = convention.sublevel(label, level, border)
        side = _prepared(values)
        cost = values.nbytes + sum(part.nbytes for part in side)
        with self._lock:
            self.misses += 1
            if key not in self._kept and cost <= self.size:
                self._kept[key] = (values, side)
                self._bytes += cost
                while self._bytes > self.size:
                    _, (old, parts) = self._kept.popitem(last=False)
                    self._bytes -= old.nbytes + sum(part.nbytes for part in parts)
        return values, side


def _forget_all() -> None:
    # another thread of the parent may have held a lock, or been half-way through an entry, when it forked
    for cache in list(_CACHES):
        cache.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _prepared(values):
    from lab.kernels.cubical.images import merging
    from lab.kernels.cubical.volumes import pipeline

    return pipeline.prepare(values) if values.ndim == 3 else merging.prepare(values, True)


def _match_image(prediction, label, side):
    from lab.kernels.cubical import cpu

    return cpu.match_known(prediction, label, side)


def _match_volume(prediction, label, side):
    from lab.kernels.cubical.volumes import pipeline

    cells, voxels, counts = pipeline.match_volume(prediction, label, side)
    return cells, voxels, counts[None]


def _words(label: Tensor) -> np.ndarray:
    """All bytes of a contiguous label as uint64, the last word filled with zeros."""
    import torch

    data = label.view(torch.uint8).numpy().reshape(-1)
    whole = len(data) // 8 * 8
    if whole == len(data) and data.ctypes.data % 8 == 0:
        return data.view(np.uint64)
    padded = np.zeros(whole + 8, np.uint8)
    padded[: len(data)] = data
    return padded.view(np.uint64)
