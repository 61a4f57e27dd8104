"""From stacks of sublevel arrays to rows of cells and voxels, over a bounded number of threads.

``counts`` says how many rows belong to each item, dimension and kind, in the order in which the rows stand: a layout
without nesting, from which losses take their gathers and pictures their bars. One, two and three axes share it.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from lab import checks
from lab.kernels import cubical_matching, dispatch
from lab.topology.images import convention

KINDS = ("matched", "prediction", "label")
_MOST = 1 << 29  # three cells a voxel are numbered in 32 bits
_ALONE = 1 << 14  # voxels below which a thread is not worth its start


@dataclass(frozen=True, eq=False)
class Rows:
    """``cells`` and ``voxels`` (rows, 4) or (rows, 2) with birth before death and prediction before label, -1 where a
    side is absent; ``counts`` (items, dimensions, 3) or (items, dimensions)."""

    cells: np.ndarray
    voxels: np.ndarray
    counts: np.ndarray


def match_rows(predictions: np.ndarray, labels: np.ndarray, *, threads: int | None = None) -> Rows:
    """Match each item of two float64 stacks (items, axes...) of one shape, in sublevel form."""
    return _spread(_kernel(predictions.ndim - 1)[0], predictions.ndim - 1, (predictions, labels), threads)


def barcode_rows(values: np.ndarray, *, threads: int | None = None) -> Rows:
    """Barcode of each item of a float64 stack (items, axes...), in sublevel form."""
    return _spread(_kernel(values.ndim - 1)[1], values.ndim - 1, (values,), threads)


def direct(x: torch.Tensor) -> bool:
    """Whether images with two axes are matched on the device of ``x`` in torch's own memory: the Triton form on a GPU, and
    the reference where ``lab.kernels.backend("reference")`` asks for it. Otherwise they are copied to the CPU."""
    choice = dispatch.choose("cubical", torch.empty(0, dtype=torch.int32, device=x.device))
    return choice.path == "triton" or (choice.path == "reference" and dispatch.current() == "reference")


def direct_rows(predictions: torch.Tensor, labels: torch.Tensor, filtration: str, border: str | None) -> Rows:
    """:func:`match_rows` of two stacks of images (items, height, width) as they came, on their device."""
    stacks = [
        convention.sublevel_tensor(stack, filtration, border) for stack in (predictions, labels.to(predictions.device))
    ]
    return Rows(*(each.cpu().numpy() for each in cubical_matching(*stacks)))


def join(parts: list[Rows]) -> Rows:
    """Rows of several stacks as rows of one."""
    if len(parts) == 1:
        return parts[0]
    return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("cells", "voxels", "counts")))


def thread_count(threads: int | None) -> int:
    """``threads``, or as many as this process may use."""
    if threads is not None:
        return checks.integer("threads", threads, low=1)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=8)
def pool(threads: int) -> ThreadPoolExecutor:
    """The process's pool of ``threads`` workers; kernels hold no lock while they run."""
    return ThreadPoolExecutor(threads, thread_name_prefix="lab-topology")


@lru_cache(maxsize=1)
def background() -> ThreadPoolExecutor:
    """Workers that hold a batch from its copy to the CPU to its rows; the kernels run in :func:`pool`."""
    return ThreadPoolExecutor(2, thread_name_prefix="lab-topology-submit")


def _forget_pools() -> None:
    # a fork copies the executors but not their threads: work given to them would wait for ever
    pool.cache_clear()
    background.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pools)


def _kernel(axes):
    if axes == 3:
        from lab.kernels.cubical.volumes import pipeline

        return pipeline.match_volumes, pipeline.barcode_volumes
    from lab.kernels.cubical import cpu

    return cpu.match_images, cpu.barcode_images


def _spread(kernel, axes, stacks, threads) -> Rows:
    items = len(stacks[0])
    if stacks[0][0].size >= _MOST:
        raise ValueError(f"an image must have fewer than {_MOST} voxels, got {stacks[0][0].size}")
    if axes == 1:
        stacks = tuple(stack[:, None, :] for stack in stacks)
    workers = 1 if stacks[0].size < _ALONE else min(thread_count(threads), items)
    if workers == 1:
        rows = Rows(*kernel(*stacks))
    else:
        bounds = np.linspace(0, items, min(items, 4 * workers) + 1).astype(int)
        pieces = [tuple(stack[low:high] for stack in stacks) for low, high in zip(bounds, bounds[1:])]
        rows = join([Rows(*part) for part in pool(workers).map(lambda piece: kernel(*piece), pieces)])
    return Rows(rows.cells, rows.voxels, rows.counts[:, :1]) if axes == 1 else rows
