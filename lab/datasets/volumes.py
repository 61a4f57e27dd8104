"""Real volumes that installed packages ship: the MNI tissue maps of nilearn (extra ``data``)."""

from __future__ import annotations

import numpy as np
import torch

from lab.datasets.images import labelled
from lab.datasets.sets import ImageSet


def mni(tissue: str, seed) -> ImageSet:
    """The MNI ICBM152 T1 template at 2 mm, with the grey or white matter map above one half as label.

    The 1 mm maps are averaged over 2 x 2 x 2 voxels; spacing (2, 2, 2) mm, affine of the averaged grid.
    """
    try:
        from nilearn import datasets
    except ImportError as error:
        raise ModuleNotFoundError(
            "the MNI maps come with nilearn, which is not installed; pip install 'objective-lab[data]'"
        ) from error
    template = datasets.load_mni152_template(resolution=1)
    maps = {"grey": datasets.load_mni152_gm_template, "white": datasets.load_mni152_wm_template}[tissue](resolution=1)
    image, share = (_halve_volume(np.asarray(volume.dataobj, dtype=np.float32)) for volume in (template, maps))
    found = labelled(f"mni_{tissue}", image / image.max(), share / share.max() > 0.5, seed, spacing=(2.0, 2.0, 2.0))
    affine = torch.tensor(template.affine, dtype=torch.float64)
    doubled = affine.clone()
    doubled[:3, :3] *= 2
    doubled[:3, 3] += affine[:3, :3].sum(dim=1) / 2
    object.__setattr__(found, "affine", doubled)
    return found


def _halve_volume(volume):
    depth, height, width = (size // 2 for size in volume.shape)
    return volume[: 2 * depth, : 2 * height, : 2 * width].reshape(depth, 2, height, 2, width, 2).mean(axis=(1, 3, 5))
