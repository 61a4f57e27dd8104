"""The committed table of speed of volumes, and a small live run: time of a matching, and what was estimated before."""

from __future__ import annotations

import time

import numpy as np
from scipy import ndimage

from lab import checks, source
from lab.topology.images.large_images import estimate
from lab.topology.images.matching import match


def table(part: str = ""):
    """A committed table as a frame.

    Args:
        part: ``""`` the comparison: case, peer, milliseconds of both sides, ratio with quartiles, versions, date;
            ``"memory"`` seconds and megabytes of one matching by side, with those of the C++ code where it was asked.

    Raises:
        ValueError: an unknown part. FileNotFoundError: the project's data folder holds no such table.
    """
    name = "betti_volumes_memory.csv" if checks.choice("part", part, ("", "memory")) else "betti_volumes.csv"
    return source.committed_table(name)


def volume_pair(size: int, *, seed: int = 0):
    """A prediction and a label (size, size, size): a smooth random field through a sigmoid with noise, and its level set."""
    size = checks.integer("size", size, low=4, high=1024)
    draw = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(draw.standard_normal((size,) * 3), 3)
    field /= field.std()
    noise = 0.5 * draw.standard_normal(field.shape)
    return (1 / (1 + np.exp(-3 * (field - 0.3) - noise))).astype(np.float32), (field > 0.3).astype(np.uint8)


def live(largest: int = 64, *, seed: int = 0):
    """Seconds of matchings on this machine, volumes of growing size up to ``largest`` voxels a side, with the estimate of
    time and memory that was made before each."""
    import pandas as pd

    largest = checks.integer("largest", largest, low=16, high=512)
    rows = []
    for size in sorted({side for side in (16, 32, 48, 64, 96, 128, 192, 256, 384) if side < largest} | {largest}):
        x, y = volume_pair(size, seed=seed)
        said = estimate(x, y)
        began = time.process_time()
        found = match(x, y, progress=False)
        spent = time.process_time() - began
        rows.append(
            {
                "size": size,
                "voxels": size**3,
                "seconds": spent,
                "estimated": said.seconds,
                "megabytes": said.megabytes,
                "bars": int(found.counts().to_numpy().sum()),
            }
        )
    return pd.DataFrame(rows)
