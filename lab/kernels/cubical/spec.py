"""What cubical is, does and costs."""

import torch

from lab.kernels.cubical.public import canonical, cubical_matching
from lab.kernels.spec import KernelSpec

SMALL = 0


def inputs(shape, dtype=torch.float32, seed=0, device="cpu"):
    """Smooth predictions of disks (balls), and the disks."""
    generator = torch.Generator().manual_seed(seed)
    items, sides = shape["items"], [shape[name] for name in ("height", "width", "depth") if name in shape]
    places = torch.stack(torch.meshgrid(*(torch.arange(side) / max(sides) for side in sides), indexing="ij"), -1)
    centres = torch.rand(items, 6, len(sides), generator=generator) * torch.tensor(
        [side / max(sides) for side in sides]
    )
    radii = 0.05 + 0.15 * torch.rand(items, 6, generator=generator)
    distance = (places[None, None] - centres.reshape(items, 6, *[1] * len(sides), len(sides))).square().sum(-1).sqrt()
    depth = (distance - radii.reshape(items, 6, *[1] * len(sides))).amin(1)
    noise = torch.rand(depth.shape, generator=generator)
    for axis in range(1, depth.ndim):
        noise = (noise + noise.roll(1, axis) + noise.roll(-1, axis)) / 3
    predictions = torch.sigmoid(12 * depth + 3 * (noise - 0.5))
    return {"predictions": predictions.to(device, dtype), "labels": (depth > 0).to(device, dtype)}


def run(arguments):
    return canonical(*cubical_matching(**arguments))


def work(predictions, *others):
    return predictions.numel()


def _voxels(shape):
    return float(shape["items"] * shape["height"] * shape["width"] * shape.get("depth", 1))


def _gate():
    from lab.kernels.cubical import triton

    return triton.gate()


SPEC = KernelSpec(
    name="cubical",
    sentence="Betti matching of a batch of images or volumes in dimension 0 and in the top dimension.",
    inputs=inputs,
    run=run,
    shapes={
        "tiny": {"items": 2, "height": 7, "width": 9},
        "small": {"items": 4, "height": 48, "width": 40},
        "image": {"items": 2, "height": 9, "width": 8, "depth": 7},
        "cpu": {"items": 4, "height": 256, "width": 256},
        "gpu": {"items": 32, "height": 512, "width": 512},
    },
    differentiable=(),
    bytes=lambda shape, itemsize: 2.0 * itemsize * _voxels(shape),
    flops=lambda shape: 2.0 * 2.0 * (3 if "depth" in shape else 2) * _voxels(shape),
    special=lambda shape: 0.0,
    roof="bytes",
    peers=("topolosses",),
    gate=_gate,
    forms=("reference", "cpu", "triton"),
)
__all__ = ["SMALL", "SPEC"]
