"""The label cache: found by content, bounded, equal to working afresh."""

import pickle

import torch

from lab.topology import BettiMatchingLoss
from lab.topology.images.label_cache import LabelCache


def pair(seed):
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(1, 1, 128, 128, generator=draw)
    return x, (torch.rand(1, 1, 128, 128, generator=draw) > 0.5).float()


def test_same_content_is_found_and_changed_content_is_not():
    loss = BettiMatchingLoss()
    x, y = pair(0)
    first = loss(x, y)
    assert torch.equal(loss(x, y.clone()), first)
    assert (loss.cache.hits, loss.cache.misses) == (1, 1)
    y[0, 0, 64, 64] = 1 - y[0, 0, 64, 64]
    changed = loss(x, y)
    assert (loss.cache.hits, loss.cache.misses) == (1, 2)
    assert torch.equal(changed, BettiMatchingLoss(cache=0)(x, y))
    assert torch.equal(loss(x, y.bool()), changed)


def test_cache_stays_within_its_size():
    loss = BettiMatchingLoss(cache=1)
    for seed in range(6):
        loss(*pair(seed))
    assert loss.cache.misses == 6
    assert 0 < loss.cache._bytes <= 2**20
    assert len(loss.cache._kept) < 6


def test_loss_can_be_pickled_and_starts_with_an_empty_cache():
    loss = BettiMatchingLoss(cache=8)
    loss(*pair(1))
    again = pickle.loads(pickle.dumps(loss))
    assert isinstance(again.cache, LabelCache)
    assert again.cache.size == loss.cache.size
    assert again.cache.misses == 0
