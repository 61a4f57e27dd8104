"""Real volumes that installed packages ship: the MNI tissue maps of nilearn (extra ``data``)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from lab.datasets.images import labelled
from lab.datasets.sets import ImageSet


def mni(tissue: str, seed) -> ImageSet:
    """The MNI ICBM152 T1 template at 2 mm, with the grey or white matter map above one half as label.

    The 1 mm maps are averaged over 2 x 2 x 2 voxels; spacing (2, 2, 2) mm, affine of the averaged grid.
    """
    image, grey, white, affine = _maps()
    label = {"grey": grey, "white": white}[tissue] > 0.5
    return replace(labelled(f"mni_{tissue}", image, label, seed, spacing=(2.0, 2.0, 2.0)), affine=affine)


def mni_intensity() -> ImageSet:
    """The same volume with grey matter as label, and what intensities alone say of it as prediction.

    The prediction is the posterior probability of grey matter under normal laws of the T1 intensity of grey matter,
    white matter and the rest of the brain, whose means, variances and shares are those of the tissue maps: places play
    no part. It has the overlap of a good segmentation and the topology of none.
    """
    image, grey, white, affine = _maps()
    brain = image > 0
    shares = [part * brain for part in (grey, white, np.clip(1 - grey - white, 0, 1))]
    weighted = []
    for part in shares:
        mean = (image * part).sum() / part.sum()
        variance = ((image - mean) ** 2 * part).sum() / part.sum()
        weighted.append(part.sum() / np.sqrt(variance) * np.exp(-((image - mean) ** 2) / (2 * variance)))
    prediction = np.where(brain, weighted[0] / sum(weighted), 0.0)
    tensors = [torch.from_numpy(np.ascontiguousarray(x)) for x in (image, grey > 0.5, prediction.astype(np.float32))]
    return ImageSet(
        tensors[0],
        tensors[1],
        tensors[2],
        spacing=(2.0, 2.0, 2.0),
        name="mni_intensity",
        affine=affine,
    )


def _maps():
    """``(T1 in [0, 1], grey matter, white matter, affine)`` at 2 mm."""
    try:
        from nilearn import datasets
    except ImportError as error:
        raise ModuleNotFoundError(
            "the MNI maps come with nilearn, which is not installed; pip install 'objective-lab[data]'"
        ) from error
    template = datasets.load_mni152_template(resolution=1)
    maps = (template, datasets.load_mni152_gm_template(resolution=1), datasets.load_mni152_wm_template(resolution=1))
    image, grey, white = (_halve_volume(np.asarray(volume.dataobj, dtype=np.float32)) for volume in maps)
    affine = torch.tensor(template.affine, dtype=torch.float64)
    affine[:3, 3] += affine[:3, :3].sum(dim=1) / 2
    affine[:3, :3] *= 2
    return image / image.max(), grey / grey.max(), white / white.max(), affine


def _halve_volume(volume):
    depth, height, width = (size // 2 for size in volume.shape)
    return volume[: 2 * depth, : 2 * height, : 2 * width].reshape(depth, 2, height, 2, width, 2).mean(axis=(1, 3, 5))
