"""Forked and spawned processes: a parent that has matched on its threads leaves children that can do the same."""

import multiprocessing
import threading

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from lab import topology
from lab.topology import BettiMatchingLoss, BettiMatchingMetric
from lab.topology.persistence.diagrams import bars
from lab.topology.persistence.filtrations import Rips

pytestmark = pytest.mark.timeout(900)


def pair(seed, size=160):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(2, 1, size, size, generator=draw), (torch.rand(2, 1, size, size, generator=draw) > 0.5).float()


LOSS = BettiMatchingLoss(threads=2, cache=64)


def everything(seed):
    """Every way in that uses threads: numbers to compare between processes."""
    x, y = pair(seed)
    metric = BettiMatchingMetric(threads=2)
    metric.update(x, y)
    clouds = [Rips(torch.rand(30, 2, generator=torch.Generator().manual_seed(seed + k))) for k in range(3)]
    return [
        float(LOSS(x, y)), float(LOSS.submit(x, y).result()),
        *(float(each.loss()) for each in topology.match_batch(x[:, 0], y[:, 0], threads=2)),
        float(metric.compute()["matching_error"].sum()),
        *(float(each.lengths.sum()) for each in bars(clouds, threads=2)),
    ]  # fmt: skip


class Scores(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, seed):
        return torch.tensor(everything(seed), dtype=torch.float64)


def test_loader_with_two_workers_gives_what_the_parent_computes():
    wanted = torch.tensor(
        [everything(seed) for seed in range(6)], dtype=torch.float64
    )  # the parent's threads have started
    loader = DataLoader(Scores(), batch_size=2, num_workers=2, multiprocessing_context="fork", timeout=600)
    assert torch.equal(torch.cat(list(loader)), wanted)
    assert everything(0) == wanted[0].tolist()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_pool_of_processes_gives_what_the_parent_computes(method):
    wanted = [everything(seed) for seed in range(2)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map_async(everything, range(2)).get(timeout=600) == wanted


def _answer(queue, work):
    try:
        queue.put(work())
    except RuntimeError as error:
        queue.put(str(error))


def forked(work):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_answer, args=(queue, work))
    child.start()
    try:
        return queue.get(timeout=300)
    finally:
        child.terminate()
        child.join()


def test_lock_that_another_thread_held_at_the_fork_does_not_stop_the_child():
    wanted = everything(0)
    with LOSS.cache._lock:
        holder = threading.Thread(target=lambda: None)
        holder.start()
        assert forked(lambda: everything(0)) == wanted
        holder.join()


def test_submitted_loss_of_the_parent_is_refused_in_words_in_the_child():
    x, y = pair(0)
    pending = LOSS.submit(x, y)
    assert "submit it anew" in forked(lambda: float(pending.result()))
    assert float(pending.result()) == float(LOSS(x, y))
