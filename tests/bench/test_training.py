"""Training many small networks at once against the plain loop over them, on one core."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap

from lab.datasets import load
from lab.training import batch_order, fit, head_gradients, mlp
from tests.bench import frame


def plain_loop(network, inputs, targets, seeds, epochs, fused):
    """The textbook loop: one model after the other, with torch's Adam; returns the models' parameters, stacked."""
    found = []
    for seed in range(seeds):
        model = network(seed)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
        for epoch in range(epochs):
            for rows in batch_order(len(inputs), seed, epoch).split(32):
                optimizer.zero_grad()
                F.cross_entropy(model(inputs[rows]), targets[rows]).backward()
                optimizer.step()
        found.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    return torch.stack(found)


def stacked(network, inputs, targets, seeds, epochs):
    """The same models trained at once; returns their parameters, stacked."""
    fitted = fit(network, inputs, targets, seeds=seeds, epochs=epochs, batch_size=32, learning_rate=1e-3)
    return torch.cat([weight.detach().flatten(1) for weight in fitted.stack.weights], dim=1)


def compared(case, name, models, epochs, fused, target, floor):
    points = load(name)
    inputs, targets = points.x.flatten(1), points.label
    network = lambda seed: mlp(inputs.shape[1], int(targets.max()) + 1, widths=(64, 64), seed=seed)  # noqa: E731
    row = frame.ratio(
        case,
        lambda: stacked(network, inputs, targets, models, epochs),
        lambda: plain_loop(network, inputs, targets, models, epochs, fused),
        compare=lambda ours, theirs: float((ours - theirs).abs().max()),
        tolerance=1e-5,
        peer="torch",
        target=target,
        floor=floor,
        rounds=5,
        least=0.01,
    )
    frame.write("training", [row])
    print("\n" + frame.show([row]))  # equality was asserted before the timing; speed is shown, not tested


@pytest.mark.bench
@pytest.mark.parametrize("name, epochs", [("moons", 5), ("digits", 1)])
def test_64_networks_of_width_64_at_once_against_the_loop_with_default_adam(name, epochs):
    compared(f"64 mlps 2 x 64, {name}, batch 32, Adam", name, 64, epochs, False, 10.0, 8.0)


@pytest.mark.bench
@pytest.mark.parametrize("name, epochs", [("moons", 5), ("digits", 1)])
def test_64_networks_of_width_64_at_once_against_the_loop_with_fused_adam(name, epochs):
    compared(f"64 mlps 2 x 64, {name}, batch 32, fused Adam", name, 64, epochs, True, 8.0, 5.0)


@pytest.mark.bench
@pytest.mark.parametrize("items, features, classes", [(512, 128, 10), (64, 64, 10)])  # the first is bound by memory
def test_gradients_of_single_items_of_a_head_in_closed_form_against_vmap_of_grad(items, features, classes):
    generator = torch.Generator().manual_seed(0)
    head = mlp(features, classes, widths=(), seed=0)[0]
    h, y = torch.randn(items, features, generator=generator), torch.randint(classes, (items,), generator=generator)
    parameters = {name: value.detach() for name, value in head.named_parameters()}
    loss = lambda p, h, y: F.cross_entropy(functional_call(head, p, (h[None],)), y[None])  # noqa: E731
    theirs = vmap(grad(loss), in_dims=(None, 0, 0))

    @torch.no_grad()
    def ours():
        return head_gradients(head, h, y)

    row = frame.ratio(
        f"gradients of {items} items of a {features}-{classes} head",
        ours,
        lambda: theirs(parameters, h, y),
        compare=lambda a, b: max(float((a[name] - b[name]).abs().max()) for name in a),
        tolerance=1e-5,
        peer="torch",
        target=5.0,
        floor=5.0,
    )
    frame.write("training", [row])
    print("\n" + frame.show([row]))
