"""Comparisons of Betti matching of volumes with the C++ code; run behind the door (:mod:`tests.bench.peers`)."""

from __future__ import annotations

import csv
import datetime
import time

import numpy as np
from scipy import ndimage

from lab.kernels import timing
from lab.kernels.cubical.volumes import pipeline
from tests.bench import betti_limits, betti_pairs, frame, peers
from tests.bench.betti_cases import grown
from tests.bench.betti_pairs import differing_rows


def small_pair(draw):
    """One pair of volumes of any kind, axes of length 1 among them."""
    shape = draw.integers(1, 13, 3)
    if draw.random() < 0.2:
        shape[draw.integers(3)] = 1
    elif draw.random() < 0.1:
        shape = draw.integers(12, 25, 3)
    return betti_pairs.small_pair(draw, tuple(int(n) for n in shape), 1.5)


def parity(count: int, seed: int) -> dict:
    """Cases and cases that differ in any voxel of any matched or unmatched bar from the C++ code."""
    peer = peers.topolosses()
    different, bars = [], np.zeros(3, int)
    for k in range(count):
        a, b = small_pair(np.random.default_rng([seed, k]))
        ours = pipeline.match_volumes(a[None], b[None])
        bars += ours[2][0].sum(1)
        if differing_rows(ours, peer.compute_matching(a, b), a.shape):
            different.append((k, a.shape))
    return {"cases": count, "different": different, "bars": bars.tolist()}


def pair(kind: str, size: int, seed: int = 0):
    """Two noise volumes, or a prediction and a label in sublevel form: "seg" fine, "coarse" with a sparse coarse label."""
    draw = np.random.default_rng(seed)
    shape = (size, size, size)
    if kind == "noise":
        return draw.random(shape), draw.random(shape)
    width, level = (5, 1.2) if kind == "coarse" else (3, 0.3)
    field = ndimage.gaussian_filter(draw.standard_normal(shape), width)
    field /= field.std()
    logits = 3 * (field - level) + 0.5 * draw.standard_normal(shape)
    return -(1 / (1 + np.exp(-logits))).astype(np.float32).astype(float), -(field > level).astype(float)


NAMES = {"seg": "prediction and label", "coarse": "prediction and coarse label", "noise": "noise and noise"}


def matching_ratio(kind: str, size: int, target: float, floor: float, rounds: int = 3) -> frame.Row:
    """One matching against the C++ code, which is asked for the same."""
    peer = peers.topolosses()
    a, b = pair(kind, size)
    return frame.ratio(
        f"matching, {NAMES[kind]}, {size}^3",
        lambda: pipeline.match_volumes(a[None], b[None]),
        lambda: peer.compute_matching(a, b),
        compare=lambda ours, theirs: float(differing_rows(ours, theirs, a.shape)),
        tolerance=0.0,
        peer="topolosses",
        target=target,
        floor=floor,
        rounds=rounds,
    )


def barcode_ratio(kind: str, size: int, target: float, floor: float, rounds: int = 3) -> frame.Row:
    """A barcode of one volume against cripser: V-construction, dimensions 0 to 2."""
    import cripser

    a = pair(kind, size)[0]

    def compare(ours, theirs):
        _, voxels, counts = ours
        wrong, start = 0, 0
        for d in range(3):
            mine = a.reshape(-1)[voxels[start : start + counts[0, d]]]
            start += counts[0, d]
            other = theirs[(theirs[:, 0] == d) & (theirs[:, 2] < 1e300)][:, 1:3]
            other = other[other[:, 0] != other[:, 1]]
            one, two = np.array(sorted(map(tuple, mine))), np.array(sorted(map(tuple, other)))
            wrong += abs(len(one) - len(two)) if len(one) != len(two) else int((one != two).any(-1).sum())
        return float(wrong)

    name = {"seg": "prediction", "noise": "noise"}[kind]
    return frame.ratio(
        f"barcode, {name}, {size}^3",
        lambda: pipeline.barcode_volumes(a[None]),
        lambda: cripser.computePH(a, maxdim=2),
        compare=compare,
        tolerance=0.0,
        peer="cripser",
        target=target,
        floor=floor,
        rounds=rounds,
    )


def memory(kind: str, size: int, peer: bool) -> dict:
    """Growth of the peak resident memory by one matching, of this process and nothing before, and its CPU seconds."""
    import resource

    match = peers.topolosses().compute_matching if peer else lambda a, b: pipeline.match_volumes(a[None], b[None])
    for small in ("seg", "noise"):
        match(*pair(small, 8))
    a, b = pair(kind, size)
    begin = time.process_time()
    size = grown(lambda: match(a, b))
    seconds = time.process_time() - begin
    return {
        "megabytes": size / 2**20,
        "bytes_per_voxel": size / a.size,
        "seconds": seconds,
        "process_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def memory_row(size: int, ours: dict, theirs: dict | None) -> dict:
    """A line of ``data/benchmarks/betti_volumes_memory.csv``; what the peer was not asked for is empty."""
    words = {
        "side": size,
        "seconds": f"{ours['seconds']:.3g}",
        "megabytes": f"{ours['megabytes']:.0f}",
        "bytes_per_voxel": f"{ours['bytes_per_voxel']:.0f}",
        "peer_seconds": "",
        "peer_megabytes": "",
        "memory_ratio": "",
    }
    if theirs is not None:
        words |= {
            "peer_seconds": f"{theirs['seconds']:.3g}",
            "peer_megabytes": f"{theirs['megabytes']:.0f}",
            "memory_ratio": f"{theirs['megabytes'] / ours['megabytes']:.1f}",
        }
    return words | {"machine": timing.machine(), "date": datetime.date.today().isoformat()}


def keep_memory(row: dict) -> None:
    """Put a line into the committed table, sides ascending."""
    path = frame.FOLDER / "betti_volumes_memory.csv"
    kept = list(csv.DictReader(path.open(encoding="utf-8", newline=""))) if path.exists() else []
    lines = {int(line["side"]): line for line in kept} | {row["side"]: row}
    betti_limits.write("betti_volumes_memory", [lines[side] for side in sorted(lines)])
