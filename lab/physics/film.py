"""Films of moving particles and marks tracked in them: from pictures to positions."""

from __future__ import annotations

import torch

PIXELS = 96


def film(x: torch.Tensor, box: float, *, pixels: int = PIXELS, seed: int = 0, blob: float = 1.2) -> torch.Tensor:
    """Grey pictures (frames, pixels, pixels) of particles x (frames, particles, 2) in a box (m), axis 0 upwards.

    Each particle is a Gaussian spot of ``blob`` pixels with a brightness of its own, so that the body has a texture.
    """
    bright = 0.3 + 0.7 * torch.rand(x.shape[1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    centres = (torch.arange(pixels, dtype=torch.float64) + 0.5) * box / pixels
    scale = blob * box / pixels
    across = torch.exp(-(((x[..., 0, None] - centres) / scale) ** 2) / 2)
    up = torch.exp(-(((x[..., 1, None] - centres) / scale) ** 2) / 2)
    return torch.einsum("n,tni,tnj->tji", bright, across.double(), up.double())


def tracked(pictures: torch.Tensor, marks: torch.Tensor, box: float) -> torch.Tensor:
    """Positions (frames, marks, 2) of marks given in the first picture, followed by iterative Lucas-Kanade optical flow."""
    import numpy as np
    from scipy.ndimage import map_coordinates
    from skimage.registration import optical_flow_ilk

    pixels = pictures.shape[1]
    frames = pictures.numpy()
    place = (marks.double().numpy() * pixels / box - 0.5)[:, ::-1]  # row, column
    seen = [place]
    for before, after in zip(frames, frames[1:]):
        flow = optical_flow_ilk(before, after, radius=7, num_warp=10)
        move = [map_coordinates(part, place.T, order=1, mode="nearest") for part in flow]
        place = np.clip(place + np.stack(move, 1), 0, pixels - 1)
        seen.append(place)
    found = (np.stack(seen)[..., ::-1] + 0.5) * box / pixels
    return torch.from_numpy(np.ascontiguousarray(found))
