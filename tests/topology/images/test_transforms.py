"""Transforms and compilers of torch: a compiled step has the plain gradient, what cannot be is refused in words."""

import pytest
import torch

from lab.topology import BettiMatchingLoss, BettiMatchingMetric, barcode, match, match_batch, matching_error
from lab.topology.images.wasserstein_loss import WassersteinMatchingLoss
from lab.topology.persistence.filtrations import FunctionRips, Graph, Image, Rips

X = torch.rand(2, 1, 10, 10, generator=torch.Generator().manual_seed(0))
Y = (torch.rand(2, 1, 10, 10, generator=torch.Generator().manual_seed(1)) > 0.5).float()
EDGES = [[0, 1], [1, 2]]

WAYS = {
    "loss": lambda x: BettiMatchingLoss()(x[None, None], Y[:1]),
    "submit": lambda x: BettiMatchingLoss().submit(x[None, None], Y[:1]).result(),
    "match": lambda x: match(x, Y[0, 0]).loss(),
    "match_batch": lambda x: match_batch([x], [Y[0, 0]])[0].loss(),
    "barcode": lambda x: barcode(x)[0].length.sum(),
    "matching_error": lambda x: matching_error(x, Y[0, 0]).total * x.sum(),
    "metric": lambda x: BettiMatchingMetric().update(x[None, None], Y[:1]),
    "wasserstein": lambda x: WassersteinMatchingLoss()(x[None, None], Y[:1]),
    "rips": lambda x: barcode(Rips(x))[0].lengths.sum(),
    "distances": lambda x: barcode(Rips.from_distances(x))[0].lengths.sum(),
    "function rips": lambda x: FunctionRips(X[0, 0], x[0]).f.sum(),
    "graph": lambda x: barcode(Graph(EDGES, x[0, :3]))[0].lengths.sum(),
    "image": lambda x: barcode(Image(x))[0].lengths.sum(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("transform", [torch.func.grad, torch.func.vmap, torch.func.jacrev])
def test_transforms_are_refused_with_the_remedy(way, transform):
    x = X[:, 0] if transform is torch.func.vmap else X[0, 0]
    with pytest.raises(
        TypeError, match="reads values, which tensors inside torch.func transforms and torch.vmap do not have"
    ):
        transform(WAYS[way])(x)


def test_compiled_step_has_the_loss_and_gradient_of_the_plain_one():
    loss = BettiMatchingLoss()
    x = X.clone().requires_grad_()
    plain = 2 * loss(x.square(), Y)
    (wanted,) = torch.autograd.grad(plain, x)
    found = torch.compile(lambda x: 2 * loss(x.square(), Y), backend="eager")(x)
    assert torch.equal(found, plain)
    assert torch.equal(torch.autograd.grad(found, x)[0], wanted)


def test_whole_graph_is_refused_in_words():
    loss = BettiMatchingLoss()
    with pytest.raises(RuntimeError, match="compile without fullgraph=True"):
        torch.compile(lambda x: loss(x, Y), backend="eager", fullgraph=True)(X)
