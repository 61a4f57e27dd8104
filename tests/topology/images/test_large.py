"""Large volumes: an estimate before, progress during, an end when asked; the label cache for volumes."""

import numpy as np
import pytest
import torch

from lab import topology
from lab.topology import BettiMatchingLoss


def volumes(size, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.random((size, size, size)).astype(np.float32)
    return x, (draw.random(x.shape) > 0.5).astype(np.float32)


def test_estimate_grows_with_the_volume_and_with_its_features():
    x, y = volumes(40)
    small, large = topology.estimate(x, y), topology.estimate(np.tile(x, (2, 2, 2)), np.tile(y, (2, 2, 2)))
    assert large.shape == (80, 80, 80)
    assert large.megabytes == pytest.approx(8 * small.megabytes, rel=0.2)
    assert small.seconds > 0
    calm = topology.estimate(np.full_like(x, 0.5), np.zeros_like(y))
    assert calm.megabytes < small.megabytes
    assert "80 x 80 x 80 voxels: about" in str(large)


def test_estimate_refuses_what_is_not_a_pair_of_volumes():
    x, y = volumes(5)
    with pytest.raises(ValueError, match="label"):
        topology.estimate(x, y[:4])
    with pytest.raises(ValueError, match="prediction"):
        topology.estimate(x[0], y[0])


def test_progress_rises_to_one_and_changes_nothing():
    x, y = volumes(12)
    seen = []
    found = topology.match(x, y, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) > 3
    assert found.to_frame().equals(topology.match(x, y).to_frame())


def test_bar_is_shown_when_asked_for(capsys):
    x, y = volumes(10)
    topology.match(x, y, progress=True)
    assert "10 x 10 x 10 voxels: about" in capsys.readouterr().err
    topology.match(x, y, progress=False)
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match="progress"):
        topology.match(x, y, progress="yes")


def test_interrupt_ends_a_matching_between_its_pieces():
    x, y = volumes(12)

    def stop(fraction):
        if fraction > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        topology.match(x, y, progress=stop)
    assert float(topology.match(x, x).loss()) == 0


def test_label_of_a_volume_is_found_again_by_its_content():
    loss = BettiMatchingLoss(threads=1)
    x, y = (torch.from_numpy(each)[None, None] for each in volumes(26))
    x.requires_grad_()
    first = loss(x, y)
    (gradient,) = torch.autograd.grad(first, x)
    again = loss(x, y.clone())
    assert (loss.cache.hits, loss.cache.misses) == (1, 1)
    assert torch.equal(again, first)
    assert torch.equal(torch.autograd.grad(again, x)[0], gradient)
    plain = BettiMatchingLoss(threads=1, cache=0)(x, y)
    assert torch.equal(plain, first)
    y[0, 0, 13, 13, 13] = 1 - y[0, 0, 13, 13, 13]
    assert torch.equal(loss(x, y), BettiMatchingLoss(threads=1, cache=0)(x, y))
    assert loss.cache.misses == 2
    assert 0 < loss.cache._bytes < 40 * x.numel()


def test_gradient_sits_on_the_voxels_of_the_bars():
    x, y = (torch.from_numpy(each)[None, None] for each in volumes(9))
    x.requires_grad_()
    loss = BettiMatchingLoss(threads=1)(x, y)
    (gradient,) = torch.autograd.grad(loss, x)
    found = topology.match(x[0, 0].detach(), y[0, 0])
    voxels = {
        int(v)
        for bars in (*(pairs.prediction for pairs in found.matched), *found.unmatched_prediction)
        for v in (*bars.birth_voxel, *bars.death_voxel)
    }
    touched = set(torch.nonzero(gradient.flatten()).flatten().tolist())
    assert touched <= voxels
    assert len(touched) > 50


def test_spacing_does_not_enter():
    """A volume holds no spacing: axes exchanged with their spacing give the same bars."""
    x, y = volumes(8)
    x[...] = np.random.default_rng(3).permutation(x.size).reshape(x.shape)
    one, two = topology.match(x, y), topology.match(x.transpose(2, 1, 0), y.transpose(2, 1, 0))
    for d in range(3):
        sides = ((m.matched[d].prediction, m.unmatched_prediction[d]) for m in (one, two))
        first, second = (
            sorted((float(bar.birth), float(bar.death)) for bars in side for bar in bars) for side in sides
        )
        assert first == second
