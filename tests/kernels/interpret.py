"""Run by the interpreter tests in a process of its own: one operation in Triton's interpreter against float64.

TRITON_INTERPRET must be set before triton is imported, and a fault of a kernel ends the process; hence the process.
"""

import math
import sys

import torch

import lab.kernels as kernels
from lab.kernels import spec


def check(name, inputs, bound):
    description = spec.get(name)
    exact = spec.with_gradients(description, inputs, word="reference", dtype=torch.float64)
    found = spec.with_gradients(description, inputs, word="triton")
    for key in exact:
        error = spec.relative_error(found[key], exact[key])
        assert error <= bound, (name, key, error, bound)
        print(f"{name} {key} {error:.1e}")


def each(name, **change):
    """The tiny shape and every variant, in float32."""
    description = spec.get(name)
    for variant in (description.variants or {"": {}}).values():
        inputs = {**description.inputs({**description.shapes["tiny"], **change}, seed=4), **variant}
        if inputs.get("kernel") == "dot" and inputs.get("reduce") == "sum":
            continue
        check(name, inputs, description.bound(torch.float32))


def rowloss():
    each("rowloss")
    each("rowloss", n=3, c=5000)
    each("rowloss", n=2, c=4, pixels=300)
    description = spec.get("rowloss")
    half = description.inputs({"n": 4, "c": 50}, dtype=torch.float16)
    check("rowloss", half, description.bound(torch.float16))
    inputs = description.inputs({"n": 4, "c": 90})
    inputs["logits"] = inputs["logits"][:, ::2]
    inputs["target"] = inputs["target"] % 45
    check("rowloss", inputs, 5e-6)
    with kernels.backend("triton"):
        loss = kernels.rowloss(torch.tensor([[80.0, 0.0, -5.0], [-1e4, 1e4, 0.0]]), torch.tensor([0, 0]))
    assert abs(float(loss[0]) / (math.exp(-80.0) + math.exp(-85.0)) - 1.0) < 1e-4
    assert torch.isfinite(loss).all()


def pairwise():
    each("pairwise")
    each("pairwise", n=70, m=150, d=2, columns=1)
    description = spec.get("pairwise")
    check("pairwise", {**description.inputs({"n": 9, "m": 11, "d": 3}), "kernel": "laplacian"}, 2e-5)
    for kernel, reduce in (("gaussian", "sum"), ("matern52", "logsumexp"), ("dot", "logsumexp"), ("laplacian", "sum")):
        inputs = {**description.inputs({"n": 9, "m": 70, "d": 67}, seed=3), "kernel": kernel, "reduce": reduce}
        check("pairwise", {**inputs, "x": inputs["x"] + 5.0, "y": inputs["y"] + 5.0}, description.bound(torch.float32))
    x = torch.randn(20, 3)
    with kernels.backend("triton"):
        z = x.clone().requires_grad_()
        kernels.pairwise(z, x, kernel="laplacian").sum().backward()
    assert torch.isfinite(z.grad).all()


def infonce():
    each("infonce")
    each("infonce", n=70, m=140, d=33)
    description = spec.get("infonce")
    check(
        "infonce", description.inputs(description.shapes["tiny"], dtype=torch.float16), description.bound(torch.float16)
    )


def random_hypotheses():
    x, bound = torch.randn(37, 5), 5e-6
    for network in (
        kernels.RandomNetwork(5, (8, 8), 2, bias_scale=0.2),
        kernels.RandomNetwork(8, (16,), 1),
        kernels.RandomNetwork(5, (7,), 3, activation="tanh", law="uniform", weight_scale=1, bias_scale=1),
        kernels.RandomNetwork(5, (), 2),
    ):
        points = x if network.features == 5 else torch.randn(37, network.features)
        labels = torch.randint(max(2, network.outputs), (37,))
        target = torch.randn(37, network.outputs)
        for measure, y in (("values", None), ("squared", target), ("error", labels)):
            options = {"count": 5, "seed": 2**40 + 7, "start": 2**33, "measure": measure}
            segments = None if measure == "values" else (30, 7)
            with kernels.backend("triton"):
                found = kernels.random_hypotheses(network, points, y, segments=segments, **options)
            with kernels.backend("reference"):
                exact = kernels.random_hypotheses(
                    network, points.double(), None if y is None else y, segments=segments, **options
                )
            error = spec.relative_error(found, exact)
            assert error <= bound, (network, measure, error)
            print(f"random_hypotheses {measure} {error:.1e}")


def perturb_gram():
    for law in (
        kernels.Perturbations("gaussian", 5),
        kernels.Perturbations("mask", 3, paired=True),
        kernels.Perturbations("uniform", 9, low=-1, high=3, paired=True),
    ):
        with kernels.backend("triton"):
            found = law.draw(150, seed=2**50 + 1, start=2**34)
        with kernels.backend("reference"):
            exact = law.draw(150, seed=2**50 + 1, start=2**34)
        assert torch.allclose(found, exact, atol=3e-6), law
        f, w = torch.randn(3, 150), torch.rand(3, 150)
        for intercept in (True, False):
            with kernels.backend("triton"):
                gram = kernels.perturb_gram(law, f, w, seed=2**50 + 1, start=2**34, intercept=intercept)
            with kernels.backend("reference"):
                wanted = kernels.perturb_gram(
                    law, f.double(), w.double(), seed=2**50 + 1, start=2**34, intercept=intercept
                )
            assert spec.relative_error(gram.matrix, wanted.matrix) < 2e-6
            assert spec.relative_error(gram.moment, wanted.moment) < 2e-6


def cubical():
    from lab.kernels.cubical import triton

    description = spec.get("cubical")
    volume = {"items": 1, "height": 5, "width": 4, "depth": 6}
    for residue in (0, 1 << 30):  # all rounds, then the first one alone with the rest on the CPU
        triton.RESIDUE = residue
        for shape in (description.shapes["tiny"], volume, {"items": 1, "height": 1, "width": 9}):
            inputs = description.inputs(shape, seed=residue % 5)
            check("cubical", inputs, 0.0)
            check("cubical", {name: torch.round(3 * value) for name, value in inputs.items()}, 0.0)
    half = description.inputs(description.shapes["tiny"], dtype=torch.float16)
    check("cubical", {name: value.transpose(1, 2) for name, value in half.items()}, 0.0)
    with kernels.backend("triton"):
        found = kernels.cubical_barcodes(torch.randn(2, 17, 33))
    assert all(len(each) for each in found)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    print("passed")
