"""Comparisons of Betti matching with its peers; run behind the door (:mod:`tests.bench.peers`)."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
from scipy import ndimage

from lab.kernels.cubical import cpu
from tests.bench import betti_pairs, frame, peers
from tests.bench.betti_pairs import differing_rows


def small_pair(draw):
    """One pair of images of any kind, single rows among them."""
    shape = tuple(int(n) for n in draw.integers(1, 15, 2))
    if draw.random() < 0.3:
        shape = tuple(int(n) for n in draw.integers(15, 60, 2))
    return betti_pairs.small_pair(draw, shape, 3)


def parity(count: int, seed: int) -> dict:
    """Cases and cases that differ in any voxel of any matched or unmatched bar from the C++ code."""
    peer = peers.topolosses()
    different, bars = [], 0
    for k in range(count):
        a, b = small_pair(np.random.default_rng([seed, k]))
        ours = cpu.match_images(a[None], b[None])
        theirs = peer.compute_matching(a, b)
        bars += len(ours[0])
        if differing_rows(ours, theirs, a.shape):
            different.append(k)
    return {"cases": count, "different": different, "bars": bars}


def segmentation(size: int, seed: int = 0):
    """A prediction and a label in sublevel form: smooth field, its sigmoid with finer structure, float32 as networks give."""
    draw = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(draw.standard_normal((size, size)), 6)
    detail = ndimage.gaussian_filter(draw.standard_normal((size, size)), 2)
    logits = 3 * field / field.std() + detail / detail.std()
    return -(1 / (1 + np.exp(-logits))).astype(np.float32).astype(float), -(field > 0.3 * field.std()).astype(float)


def image_pair(file: str):
    """Prediction and label of an ``.npz`` file, in sublevel form."""
    with np.load(file) as stored:
        return -stored["prediction"].astype(float), -stored["label"].astype(float)


def pair(kind: str, size: int):
    if kind == "noise":
        draw = np.random.default_rng(0)
        return draw.random((size, size)), draw.random((size, size))
    return segmentation(size)


def matching_ratio(kind: str, size: int, target: float, floor: float, rounds: int = 7):
    peer = peers.topolosses()
    a, b = image_pair(kind) if size == 0 else pair(kind, size)
    one, two = np.ascontiguousarray(a)[None], np.ascontiguousarray(b)[None]
    shape = " x ".join(map(str, a.shape))
    name = {"seg": "prediction and label", "noise": "noise and noise"}.get(kind, Path(kind).stem)
    return frame.ratio(
        f"matching, {name}, {shape}",
        lambda: cpu.match_images(one, two),
        lambda: peer.compute_matching(a, b),
        compare=lambda ours, theirs: float(differing_rows(ours, theirs, a.shape)),
        tolerance=0.0,
        peer="topolosses",
        target=target,
        floor=floor,
        rounds=rounds,
    )


def barcode_ratio(kind: str, size: int, target: float, floor: float, rounds: int = 7):
    """A barcode of one image against cripser, which is asked for the same: V-construction, both dimensions."""
    import cripser

    a, _ = pair(kind, size)
    one = np.ascontiguousarray(a)[None]

    def compare(ours, theirs):
        _, voxels, counts = ours
        flat, wrong, start = a.ravel(), 0, 0
        for d in range(2):
            part = voxels[start : start + counts[0, d]]
            start += counts[0, d]
            mine = sorted(zip(flat[part[:, 0]], flat[part[:, 1]]))
            bars = theirs[(theirs[:, 0] == d) & (theirs[:, 1] != theirs[:, 2]) & (theirs[:, 2] < 1e100)]
            wrong += mine != sorted(zip(bars[:, 1], bars[:, 2]))
        return float(wrong)

    name = {"seg": "prediction", "noise": "noise"}[kind]
    return frame.ratio(
        f"barcode, {name}, {size} x {size}",
        lambda: cpu.barcode_images(one),
        lambda: cripser.computePH(a, maxdim=1),
        compare=compare,
        tolerance=0.0,
        peer="cripser",
        target=target,
        floor=floor,
        rounds=rounds,
    )


def loss_ratio(items: int, size: int, target: float, floor: float, rounds: int = 5):
    """Loss and backward of a batch against the peer's loss module."""
    import torch

    from lab.topology import BettiMatchingLoss

    torch.set_num_threads(1)
    peer = peer_loss_module().BettiMatchingLoss(
        use_base_loss=False, alpha=1.0, include_background=True, num_processes=1
    )
    cases = [segmentation(size, seed) for seed in range(items)]
    x = torch.tensor(np.stack([-a for a, _ in cases])[:, None], dtype=torch.float32)
    y = torch.tensor(np.stack([-b for _, b in cases])[:, None], dtype=torch.float32)
    mine = BettiMatchingLoss(threads=1)

    def run(loss):
        values = x.clone().requires_grad_()
        total = loss(values, y)
        total.backward()
        return float(total), values.grad

    def compare(ours, theirs):
        # the peer works on 1 - x in float32, which moves values by 6e-8 and merges some ties
        return abs(ours[0] - theirs[0]) / abs(theirs[0]) + float((ours[1] - theirs[1]).norm() / theirs[1].norm())

    return frame.ratio(
        f"loss and backward, {items} images of {size} x {size}",
        lambda: run(mine),
        lambda: run(peer),
        compare=compare,
        tolerance=0.05,
        peer="topolosses",
        target=target,
        floor=floor,
        rounds=rounds,
    )


def all_rows(files: list[str], rounds: int = 5) -> list[frame.Row]:
    """The rows of the committed table, real images first."""
    rows = [matching_ratio(file, 0, 10.0, 6.0, rounds) for file in files]
    rows += [matching_ratio("seg", size, 10.0, 6.0, rounds) for size in (256, 512, 1024)]
    rows += [matching_ratio("noise", 512, 6.0, 3.5, rounds), loss_ratio(32, 64, 15.0, 5.0, rounds)]
    return rows + [
        barcode_ratio(kind, n, 3.0, 1.5, rounds) for kind, n in (("seg", 256), ("seg", 1024), ("noise", 512))
    ]


def peer_loss_module(loss: str = "betti_matching"):
    """The peer's module of one loss under a synthetic parent, so that its other losses need not import."""
    root = Path(importlib.util.find_spec("topolosses").submodule_search_locations[0]) / "losses"
    for name, path in (
        ("topolosses_alone", root.parent),
        ("topolosses_alone.losses", root),
        (f"topolosses_alone.losses.{loss}", root / loss),
        (f"topolosses_alone.losses.{loss}.src", root / loss / "src"),
    ):
        package = types.ModuleType(name)
        package.__path__ = [str(path)]
        sys.modules.setdefault(name, package)
    if loss == "betti_matching":
        name = "topolosses_alone.losses.betti_matching.src.betti_matching"
        sys.modules[name] = peers.topolosses()
        sys.modules["topolosses_alone.losses.betti_matching.src"].betti_matching = sys.modules[name]
    return importlib.import_module(f"topolosses_alone.losses.{loss}.src.{loss}_loss")


def _topograph():
    """The peer's Topograph loss alone, the foreground connected through 4 neighbours as everywhere here. It compares
    classes by argmax, so that it needs a channel for the background."""
    import torch

    loss = peer_loss_module("topograph").TopographLoss(use_base_loss=False, alpha=1.0, eight_connectivity=False)
    return lambda x, y: loss(torch.cat([1 - x, x], 1), torch.cat([1 - y, y], 1))


def topograph(predictions, labels) -> list[float]:
    """The Topograph loss (Lux et al., 2024) of each pair of images (height, width)."""
    import torch

    torch.set_num_threads(1)
    loss = _topograph()
    pairs = [
        [torch.tensor(np.asarray(each, np.float32))[None, None] for each in pair] for pair in zip(predictions, labels)
    ]
    return [float(loss(*pair)) for pair in pairs]


def topograph_ratio(items: int = 32, size: int = 64, rounds: int = 5):
    """CPU time of the Topograph loss and its backward over that of Betti matching; two different losses."""
    import torch

    from lab.kernels import timing
    from lab.topology import BettiMatchingLoss

    torch.set_num_threads(1)
    cases = [segmentation(size, seed) for seed in range(items)]
    x, y = (torch.tensor(np.stack([-case[k] for case in cases])[:, None], dtype=torch.float32) for k in (0, 1))
    run = lambda loss: loss(x.clone().requires_grad_(), y).backward()  # noqa: E731
    mine, peer = BettiMatchingLoss(threads=1), _topograph()
    found = timing.alternate(lambda: run(mine), lambda: run(peer), compare=lambda *_: 0.0, tolerance=0.0, rounds=rounds)
    return found.low, found.ratio, found.high


def memory(kind: str, size: int) -> dict:
    """Growth of the peak resident memory by one matching, bytes per pixel, of this process and nothing before."""
    a, b = pair(kind, size)
    cpu.match_images(a[None, :8, :8] + 0.0, b[None, :8, :8] + 0.0)
    one, two = np.ascontiguousarray(a)[None], np.ascontiguousarray(b)[None]
    return {"bytes_per_pixel": grown(lambda: cpu.match_images(one, two)) / a.size}


def memory_of_peer(kind: str, size: int) -> dict:
    """The same for the peer."""
    peer = peers.topolosses()
    a, b = pair(kind, size)
    peer.compute_matching(a[:8, :8].copy(), b[:8, :8].copy())
    return {"bytes_per_pixel": grown(lambda: peer.compute_matching(a, b)) / a.size}


def grown(call) -> int:
    """Bytes by which the resident memory of this process rises at most during ``call``.

    What earlier work freed goes back to the system first and the peak starts anew; otherwise ``call`` would fill pages
    that already count, or stay below an older peak, and read as 0.
    """
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident()
    call()
    return resident(peak=True) - before


def resident(peak: bool = False) -> int:
    """Resident bytes of this process, now or at its peak."""
    name = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))
