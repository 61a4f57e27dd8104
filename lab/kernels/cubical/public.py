"""The public functions of cubical: checks, choice of the form, tables in one layout from every form."""

from __future__ import annotations

import numpy as np
import torch

from lab import checks
from lab.kernels import dispatch
from lab.kernels.cubical import elder


def cubical_barcodes(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Bars of positive length of a batch of sublevel images or volumes, in dimension 0 and in the top dimension.

    Args:
        images: (items, height, width) or (items, x, y, z), any real dtype; low values enter first.

    Returns:
        ``cells`` (rows, 2) int64, birth and death by the codes of :class:`lab.kernels.cubical.elder.Grid`; ``voxels`` (rows,
        2), flat indices of the voxels that carry the two values; ``counts`` (items, 2), rows of each item in dimension
        0 and in the top one. Rows stand by item and dimension, in no order within. On the device of ``images``.

    Raises:
        ValueError, TypeError: NaN, infinite, empty, complex, another number of axes.
    """
    images = checks.tensor("images", images, ndim=(3, 4))
    path = _form(images)
    if path == "cpu":
        return _by_cpu(images)
    return elder.barcodes(images, _pairing(path))


def cubical_matching(
    predictions: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The Betti matching of a batch of pairs of sublevel images or volumes, in dimension 0 and in the top dimension.

    Args:
        predictions, labels: as ``images`` of :func:`cubical_barcodes`, of one shape and on one device.

    Returns:
        ``cells`` and ``voxels`` (rows, 4): prediction birth and death, label birth and death, -1 where a side is absent;
        ``counts`` (items, 2, 3): rows by item, dimension and kind (matched, only in the prediction, only in the label), in
        this order.

    Raises:
        ValueError, TypeError: as :func:`cubical_barcodes`; shapes or devices that differ.
    """
    predictions = checks.tensor("predictions", predictions, ndim=(3, 4))
    labels = checks.tensor("labels", labels)
    checks.same_shape("predictions", predictions, "labels", labels)
    if predictions.device != labels.device:
        raise ValueError(f"predictions and labels must be on one device, got {predictions.device} and {labels.device}")
    path = _form(predictions)
    if path == "cpu":
        return _by_cpu(predictions, labels)
    return elder.matching(predictions, labels, _pairing(path))


def canonical(cells: torch.Tensor, voxels: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """A table that does not depend on the order of rows: (rows, 1 + 2 * columns) int64, slot of ``counts`` first, sorted."""
    slot = torch.repeat_interleave(torch.arange(counts.numel(), device=counts.device), counts.flatten())
    table = torch.cat([slot[:, None], cells, voxels], 1).cpu().numpy()
    return torch.from_numpy(table[np.lexsort(table.T[::-1])].reshape(table.shape))


def _form(images) -> str:
    # Forms compare whole numbers made from the values, so that every dtype has every form.
    return dispatch.choose("cubical", torch.empty(0, dtype=torch.int32, device=images.device)).path


def _pairing(path):
    if path == "reference":
        return elder.pairing
    from lab.kernels.cubical import triton

    return triton.pairing


def _by_cpu(*stacks):
    arrays = [np.ascontiguousarray(stack.detach().to(torch.float64).numpy() + 0.0) for stack in stacks]
    if arrays[0].ndim == 3:
        from lab.kernels.cubical import cpu

        found = (cpu.match_images if len(arrays) == 2 else cpu.barcode_images)(*arrays)
        return tuple(torch.from_numpy(each) for each in found)
    from lab.kernels.cubical.volumes import pipeline

    cells, voxels, counts = (pipeline.match_volumes if len(arrays) == 2 else pipeline.barcode_volumes)(*arrays)
    dimension = np.broadcast_to(np.arange(3).reshape(1, 3, *[1] * (counts.ndim - 2)), counts.shape)
    kept = np.repeat(dimension.reshape(-1), counts.reshape(-1)) != 1
    return torch.from_numpy(cells[kept]), torch.from_numpy(voxels[kept]), torch.from_numpy(counts[:, ::2].copy())
