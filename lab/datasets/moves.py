"""Images turned, zoomed and shifted: the one place where pixels are resampled about an image's centre."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def moved(x: torch.Tensor, angle, zoom=1.0, shift=None, size=None) -> torch.Tensor:
    """Images (items, channels, height, width) resampled bilinearly; what lies outside is 0.

    The pixel at ``p`` (coordinates in [-1, 1], x to the right, y down) takes the value at ``zoom R(angle) p + shift``, with R the
    rotation by ``angle`` radians: a positive angle turns the picture counterclockwise.

    Args:
        angle, zoom: a number, or one per image.
        shift: (items, 2) or (2,), in half widths; None for none.
        size: (height, width) of the result; that of ``x`` where None.
    """
    angle = torch.as_tensor(angle, dtype=None if isinstance(angle, torch.Tensor) else x.dtype).expand(len(x))
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    shift = torch.zeros(2, dtype=cos.dtype) if shift is None else torch.as_tensor(shift)
    right, down = shift.expand(len(x), 2).to(cos).unbind(1)
    theta = torch.stack([torch.stack([cos, -sin, right], 1), torch.stack([sin, cos, down], 1)], 1)
    places = F.affine_grid(theta, [*x.shape[:2], *(size or x.shape[2:])], align_corners=False)
    return F.grid_sample(x, places, align_corners=False)
