"""Comparisons of the CPU kernels with torch, torch.compile and KeOps: run through the door or in this environment."""

from __future__ import annotations

from dataclasses import asdict

import torch

import lab.kernels as kernels
from lab.kernels import spec
from tests.bench import frame


def _difference(a, b):
    return spec.relative_error(a, b)


def _pairwise_inputs():
    inputs = spec.get("pairwise").inputs(spec.get("pairwise").shapes["cpu"])
    return inputs["x"] / inputs["lengthscale"], inputs["y"] / inputs["lengthscale"], inputs["values"]


def pairwise_distances():
    """Gaussian sums against chunked ``torch.cdist`` without products (the accurate way of torch)."""
    x, y, v = _pairwise_inputs()

    def theirs():
        return torch.cat(
            [
                torch.cdist(a, y, compute_mode="donot_use_mm_for_euclid_dist").square().mul(-0.5).exp() @ v
                for a in x.split(500)
            ]
        )

    return frame.ratio(
        "pairwise gaussian 6000 x 6000, d=3 (distances)",
        lambda: kernels.pairwise(x, y, v),
        theirs,
        compare=_difference,
        tolerance=1e-5,
        peer="torch",
        target=3.0,
        floor=2.0,
    )


def pairwise_products():
    """Gaussian sums against torch at its best: distances from a matrix product, in the best of several chunk sizes."""
    x, y, v = _pairwise_inputs()
    half = y.square().sum(1) / 2

    def theirs(rows):
        return torch.cat(
            [torch.addmm(-half - a.square().sum(1, keepdim=True) / 2, a, y.T).exp_() @ v for a in x.split(rows)]
        )

    rows = [
        frame.ratio(
            "pairwise gaussian 6000 x 6000, d=3 (products)",
            lambda: kernels.pairwise(x, y, v),
            lambda rows=rows: theirs(rows),
            compare=_difference,
            tolerance=1e-5,
            peer="torch",
            target=3.0,
            floor=2.0,
        )
        for rows in (25, 50, 100, 400)
    ]
    return min(rows, key=lambda row: row.ratio)


def pairwise_keops():
    """Gaussian sums against KeOps on the CPU."""
    from pykeops.torch import LazyTensor

    x, y, v = _pairwise_inputs()

    def theirs():
        squared = ((LazyTensor(x[:, None, :]) - LazyTensor(y[None, :, :])) ** 2).sum(-1)
        return (-squared / 2).exp() @ v

    return frame.ratio(
        "pairwise gaussian 6000 x 6000, d=3 (KeOps)",
        lambda: kernels.pairwise(x, y, v),
        theirs,
        compare=_difference,
        tolerance=1e-5,
        peer="pykeops",
        target=2.0,
        floor=1.5,
    )


def hypotheses():
    """Random networks 16-32-32-1 on 256 points against batched products of torch with weights of ``torch.randn``."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(256, 16, generator=generator), torch.randn(256, 1, generator=generator)
    network = kernels.RandomNetwork(16, (32, 32), bias_scale=0.1)
    count = 2048

    def ours():
        return kernels.random_hypotheses(network, x, y, count=count, measure="squared")

    def theirs(chunk):
        found = []
        with torch.no_grad():
            for first in range(0, count, chunk):
                h = x.expand(min(chunk, count - first), -1, -1)
                for k, (fan_in, fan_out) in enumerate(network.layers):
                    weight = torch.randn(len(h), fan_in, fan_out, generator=generator) * network.scales()[k][0]
                    bias = torch.randn(len(h), 1, fan_out, generator=generator) * network.scales()[k][1]
                    h = torch.baddbmm(bias, h, weight)
                    h = h.relu_() if k < len(network.widths) else h
                found.append((h - y).square_().mean((1, 2)))
        return torch.cat(found)

    # Other numbers are drawn on the two sides: the laws are compared, by the mean of the logarithm of the error.
    def difference(a, b):
        return abs(float(a.log().mean() - b.log().mean()))

    rows = [
        frame.ratio(
            f"random networks 16-32-32-1, 256 points, {count}",
            ours,
            lambda c=c: theirs(c),
            compare=difference,
            tolerance=0.15,
            peer="torch",
            target=4.0,
            floor=3.0,
        )
        for c in (8, 16, 32, 128)
    ]
    return min(rows, key=lambda row: row.ratio)


def _rowloss(shape, theirs, case, target, floor, peer="torch"):
    generator = torch.Generator().manual_seed(0)
    z = (3 * torch.randn(shape, generator=generator)).requires_grad_()
    y = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)

    def side(function):
        def run():
            z.grad = None
            function(z, y).backward()
            return z.grad

        return run

    return frame.ratio(
        case,
        side(lambda z, y: kernels.rowloss(z, y).mean()),
        side(theirs),
        compare=_difference,
        tolerance=1e-5,
        peer=peer,
        target=target,
        floor=floor,
    )


def rowloss_compiled():
    """Cross-entropy, forward and backward, 512 rows of 50,000 classes, against torch.compile."""
    compiled = torch.compile(torch.nn.functional.cross_entropy, dynamic=False)
    return _rowloss((512, 50_000), compiled, "rowloss 512 x 50000 (torch.compile)", 1.2, 1.0)


def rowloss_eager():
    """The same against the built-in function."""
    return _rowloss((512, 50_000), torch.nn.functional.cross_entropy, "rowloss 512 x 50000 (built-in)", 1.5, 1.0)


def rowloss_image():
    """Cross-entropy of label maps, channel first."""
    return _rowloss(
        (4, 21, 256, 256), torch.nn.functional.cross_entropy, "rowloss 4 x 21 x 256 x 256 (built-in)", 1.2, 1.0
    )


def doubled_batch():
    """Twice as many small items against once as many: the ratio is time of one batch twice over time of two in one."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 4, generator=generator)
    network = kernels.RandomNetwork(4, (8,))

    def ours():
        return kernels.random_hypotheses(network, x, count=128, measure="values")

    def theirs():
        return torch.cat([kernels.random_hypotheses(network, x, count=64, start=s, measure="values") for s in (0, 64)])

    return frame.ratio(
        "random networks 4-8-1: one batch of 128, two of 64",
        ours,
        theirs,
        compare=_difference,
        tolerance=0.0,
        peer="torch",
        target=1.1,
        floor=1.0,
    )


def _pad(gradient: bool):
    """60 substeps of a pad of 96 triangles pressed on a disc, against the same formulas in torch."""
    from lab.physics import difftactile as dt

    pad = dt.Pad.block((0.06, 0.02), (12, 4))
    bodies = dt.bodies([dt.Rigid((0.03,), (0.03, -0.029))], 2)
    x = pad.mesh.points[None].clone().requires_grad_(gradient)
    drive = torch.zeros(1, len(pad.finger), 2, dtype=x.dtype)
    drive[..., 1] = -0.1
    pose = torch.tensor([[[0.03, -0.029, 0.0]]], dtype=x.dtype)
    contact = torch.tensor([[40.0, 200.0, 1.0, 0.5]], dtype=x.dtype)

    def side(word):
        def run():
            with kernels.backend(word):
                after = kernels.element_step(x, torch.zeros_like(x), drive, mesh=pad.mesh, lame=pad.lame, dt=2e-4,
                                             substeps=60, viscosity=5.0, contact=contact, bodies=bodies, pose=pose)  # fmt: skip
            if not gradient:
                return after.x
            return torch.autograd.grad(after.x.square().sum(), x)[0]

        return run

    return frame.ratio(
        f"element_step, 96 triangles, 60 substeps{', forward and adjoint' if gradient else ''}",
        side("cpu"),
        side("reference"),
        compare=_difference,
        tolerance=1e-10,
        peer="torch",
        target=20.0,
        floor=10.0,
    )


def element_step():
    """The pad forward."""
    return _pad(False)


def element_step_adjoint():
    """The pad forward and back."""
    return _pad(True)


def device_benchmark():
    """The row of pairwise in the benchmark of this machine's device, as a dictionary."""
    from lab.kernels import bench
    from tests.bench.device_peers import peer

    tops = bench.ceilings("cpu")
    return asdict(
        bench.measure("pairwise", "cpu", torch.float32, "cpu", tops, compiled=False, reference=False, peer=peer)
    )
