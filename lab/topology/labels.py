"""Labels return every epoch: their half of the matching is kept, found again by content."""

from __future__ import annotations

import numpy as np

from lab.topology import engine


class LabelCache:
    """Matches stacks of images; ``size`` in megabytes."""

    def __init__(self, size: float):
        self.size = size

    def match_rows(self, predictions: np.ndarray, labels: np.ndarray, *, threads: int) -> engine.Rows:
        return engine.match_rows(predictions, labels, threads=threads)
