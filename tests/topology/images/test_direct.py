"""Images matched on their own device: the same rows as by the compiled kernels, framed and not, with the same gradients."""

import numpy as np
import pytest
import torch

import lab.kernels as kernels
from lab.topology import BettiMatchingLoss, match

RNG = np.random.default_rng(7)


def bars(matching):
    frame = matching.to_frame().drop(columns="pair")
    return sorted(map(tuple, frame.astype(str).to_numpy().tolist()))


@pytest.mark.parametrize("border", [None, "foreground"])
@pytest.mark.parametrize("filtration", ["superlevel", "sublevel"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
def test_match_agrees_in_every_bar_and_voxel(border, filtration, dtype):
    a, b = (torch.from_numpy(RNG.integers(0, 9, (11, 9))).to(dtype) for _ in range(2))
    plain = match(a, b, filtration=filtration, border=border)
    with kernels.backend("reference"):
        direct = match(a, b, filtration=filtration, border=border)
    assert bars(plain) == bars(direct)
    assert np.array_equal(plain.rows.counts, direct.rows.counts)


@pytest.mark.parametrize("border", [None, "foreground"])
def test_loss_and_gradient_agree(border):
    target = torch.from_numpy(RNG.integers(0, 2, (3, 2, 12, 10)))
    logits = torch.from_numpy(RNG.normal(size=target.shape))
    found = []
    for word in ("auto", "reference"):
        x = logits.clone().requires_grad_()
        with kernels.backend(word):
            value = BettiMatchingLoss(sigmoid=True, border=border, filtration="both")(x, target)
        value.backward()
        found.append((value.detach(), x.grad))
    assert torch.equal(*(value for value, _ in found)) or torch.allclose(*(value for value, _ in found), rtol=1e-14)
    assert torch.allclose(*(gradient for _, gradient in found), rtol=1e-12, atol=1e-15)
    assert found[0][1].abs().sum() > 0
