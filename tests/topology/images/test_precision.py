"""Half precision: losses, distances and vectors of float16 and bfloat16 inputs are those of the same values in float64."""

import pytest
import torch

from lab import topology
from lab.topology import BettiMatchingLoss
from lab.topology.images.wasserstein_loss import WassersteinMatchingLoss
from lab.topology.persistence import distances, vectorize
from lab.topology.persistence.diagrams import Diagram, bars
from lab.topology.persistence.filtrations import FunctionRips, Graph, Image, Rips
from lab.topology.persistence.objectives import integral, total_persistence
from lab.topology.persistence.signed_measures import hilbert

HALF = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])


def noise(*shape, dtype, seed=0):
    x = torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    y = (torch.rand(*shape, generator=torch.Generator().manual_seed(seed + 1)) > 0.5).float()
    return x, y


OPTIONS = [
    {},
    {"reduction": "sum"},
    {"push_unmatched": True},
    {"filtration": "both", "essential": True},
    {"border": "foreground"},
]


@HALF
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("shape", [(1, 1, 256, 256), (2, 2, 24, 24, 24)])
def test_loss_of_half_precision_is_that_of_the_same_values_in_double(shape, options, dtype):
    x, y = noise(*shape, dtype=dtype)
    wanted = BettiMatchingLoss(**options)(x.double(), y)
    x.requires_grad_()
    found = BettiMatchingLoss(**options)(x, y)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)
    assert float(BettiMatchingLoss(**options).submit(x, y).result()) == float(found)
    (gradient,) = torch.autograd.grad(found, x)
    assert gradient.dtype == dtype
    assert gradient.count_nonzero() > 0


@HALF
def test_large_image_of_noise_does_not_end_at_the_spacing_of_half_precision(dtype):
    x, y = noise(1, 1, 512, 512, dtype=dtype)
    assert float(BettiMatchingLoss()(x, y)) == pytest.approx(float(BettiMatchingLoss()(x.double(), y)), rel=1e-5)
    assert float(BettiMatchingLoss()(x, y)) > 10_000


@HALF
def test_logits_are_turned_into_probabilities_in_single_precision(dtype):
    x, y = noise(1, 2, 64, 64, dtype=dtype)
    logits = (8 * x - 4).detach()
    for activation in ("sigmoid", "softmax"):
        loss = BettiMatchingLoss(**{activation: True})
        assert float(loss(logits, y)) == pytest.approx(float(loss(logits.double(), y)), rel=1e-4)


@HALF
def test_training_step_under_autocast_has_the_loss_of_its_logits(dtype):
    layer, (x, y) = torch.nn.Conv2d(1, 1, 3, padding=1), noise(2, 1, 64, 64, dtype=torch.float32)
    with torch.autocast("cpu", dtype=dtype):
        logits = layer(x)
        assert logits.dtype == dtype
        loss = BettiMatchingLoss(sigmoid=True)(logits, y)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(BettiMatchingLoss(sigmoid=True)(logits.double(), y)), rel=1e-4)
    loss.backward()
    assert float(layer.weight.grad.abs().sum()) > 0


@HALF
def test_matching_and_barcodes_of_half_precision_add_up_in_single(dtype):
    x, y = noise(200, 200, dtype=dtype)
    wanted = topology.match(x.double(), y).loss()
    assert float(topology.match(x, y).loss()) == pytest.approx(float(wanted), rel=1e-5)
    found, wanted = (float(topology.barcode(each)[0].length.sum()) for each in (x, x.double()))
    assert found == pytest.approx(wanted, rel=1e-5)
    small = x[None, None, :40, :40], y[None, None, :40, :40]
    wanted = WassersteinMatchingLoss(reduction="sum")(small[0].double(), small[1])
    assert float(WassersteinMatchingLoss(reduction="sum")(*small)) == pytest.approx(float(wanted), rel=1e-5)


def _descriptors(x):
    """Numbers made from a cloud: every reduction over bars and atoms."""
    line = torch.linspace(0, 1, 5)
    diagram, other = bars(Rips(x), 0), bars(Rips(1.5 * x[: len(x) // 2]), 0)
    measure = hilbert(FunctionRips(x, x[:, 0]))
    return {
        "total persistence": total_persistence(diagram, order=2.0),
        "integral": integral(measure, lambda points: points.square().sum(1)),
        "wasserstein": distances.wasserstein(diagram, other),
        "bottleneck": distances.bottleneck(diagram, other),
        "sliced": distances.sliced_wasserstein(measure, hilbert(FunctionRips(x.flip(0), x[:, 1])), lines=5),
        "landscape": vectorize.landscape(diagram, line).sum(),
        "silhouette": vectorize.silhouette(diagram, line).sum(),
        "persistence image": vectorize.persistence_image(diagram, [line, line], 0.1).sum(),
        "convolution": vectorize.convolution(measure, [line, line], 0.1).sum(),
        "codensity": topology.codensity(x, 0.3).sum(),
        "distance to a measure": topology.distance_to_measure(x, 5).sum(),
        "graph": bars(Graph([[k, k + 1] for k in range(len(x) - 1)], x[:, 0])).lengths.sum(),
        "image": bars(Image(x[:, :1].reshape(20, 20)), 1).lengths.sum(),
    }


@HALF
@pytest.mark.parametrize("autocast", [False, True])
def test_descriptors_of_half_precision_are_those_of_the_same_values_in_double(dtype, autocast):
    x = torch.rand(400, 2, generator=torch.Generator().manual_seed(0)).to(dtype)
    wanted = _descriptors(x.double())
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        found = _descriptors(x)
    for name, value in found.items():
        assert value.dtype == torch.float32, name
        tolerance = (
            2e-2 if name in ("wasserstein", "bottleneck") else 1e-3
        )  # half the cloud is scaled in half precision
        assert float(value) == pytest.approx(float(wanted[name]), rel=tolerance, abs=1e-4), name


def test_silhouette_of_a_high_power_is_the_tent_of_the_longest_bar():
    line = torch.linspace(0, 500, 7, dtype=torch.float64)
    for scale in (1e-6, 1.0, 1e6):
        points = scale * torch.tensor([[0.0, 400.0], [100.0, 300.0], [3.0, 4.0]], dtype=torch.float64)
        index = torch.zeros(3, 2, dtype=torch.int64)
        diagram = Diagram(points.requires_grad_(), index, torch.zeros(0), torch.zeros(0), 0)
        found = vectorize.silhouette(diagram, scale * line, power=200.0)
        tent = torch.minimum(scale * line, 400 * scale - scale * line).clamp_min(0)
        assert torch.allclose(found, tent, rtol=1e-9)
        (gradient,) = torch.autograd.grad(found.sum(), points)
        assert torch.isfinite(gradient).all()
    points = torch.tensor([[0.0, 1.0], [0.2, 0.9]], dtype=torch.float64, requires_grad=True)
    diagram = Diagram(points, torch.zeros(2, 2, dtype=torch.int64), torch.zeros(0), torch.zeros(0), 0)
    weight = diagram.lengths**3
    tents = torch.stack([torch.minimum(line / 500 - b, d - line / 500).clamp_min(0) for b, d in points])
    plain = (weight[:, None] * tents).sum(0) / weight.sum()
    found = vectorize.silhouette(diagram, line / 500, power=3.0)
    for one, two in zip(torch.autograd.grad(found.sum(), points), torch.autograd.grad(plain.sum(), points)):
        assert torch.allclose(one, two)
