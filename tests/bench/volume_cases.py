"""Comparisons of Betti matching of volumes with the C++ code; run behind the door (:mod:`tests.bench.peers`)."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from lab.kernels.cubical import volumes
from tests.bench import frame, peers


def small_pair(draw):
    """One pair of any kind: noise, ties, plateaus, binary, 8-bit, 1-ulp gaps, constants, axes of size 1."""
    shape = draw.integers(1, 13, 3)
    if draw.random() < 0.2:
        shape[draw.integers(3)] = 1
    elif draw.random() < 0.1:
        shape = draw.integers(12, 25, 3)
    shape = tuple(int(n) for n in shape)
    real, binary = draw.random(shape), (draw.random(shape) > draw.random()).astype(float)
    field = ndimage.gaussian_filter(draw.standard_normal(shape), 1.5)
    soft = 1 / (1 + np.exp(-2 * field / (field.std() or 1) - 0.3 * draw.standard_normal(shape)))
    levels = int(draw.integers(2, 7))
    makers = (
        lambda: (real, draw.random(shape)),
        lambda: (draw.integers(0, levels, shape) / 2, draw.integers(0, levels, shape) / 2),
        lambda: (real, binary),
        lambda: (binary, (draw.random(shape) > 0.5).astype(float)),
        lambda: (-soft, -(field > 0).astype(float)),
        lambda: (-np.round(255 * soft) / 255, -(field > 0.02).astype(float)),
        lambda: (np.full(shape, 0.5), binary),
        lambda: (real, real + draw.integers(-1, 2, shape) * np.spacing(real)),
        lambda: (real + 2, real),
        lambda: (np.round(field, 2), np.round(soft, 2)),
        lambda: (np.maximum(soft, 0.5), np.minimum(soft, 0.5)),
    )
    a, b = makers[draw.integers(len(makers))]()
    return (b, a) if draw.random() < 0.3 else (a, b)


def rows_of_peer(result, shape):
    """The peer's result as voxel rows by dimension and kind."""
    step = np.array([shape[1] * shape[2], shape[2], 1])
    flat = lambda c: np.asarray(c).reshape(-1, 3) @ step if len(c) else np.zeros(0, int)  # noqa: E731
    found = []
    for d in range(3):
        both = [
            flat(getattr(result, f"input{k}_matched_{end}_coordinates")[d]) for k in (1, 2) for end in ("birth", "death")
        ]
        lone = [
            np.stack([flat(getattr(result, f"input{k}_unmatched_{end}_coordinates")[d]) for end in ("birth", "death")], 1)
            for k in (1, 2)
        ]
        found.append((np.stack(both, 1), *lone))
    return found


def differing_rows(ours, theirs, shape) -> int:
    """Rows of voxels that one side has and the other has not."""
    _, voxels, counts = ours
    wrong, start = 0, 0
    wanted = rows_of_peer(theirs, shape)
    for d in range(3):
        for kind, columns in enumerate((slice(0, 4), slice(0, 2), slice(2, 4))):
            stop = start + counts[0, d, kind]
            mine = sorted(map(tuple, voxels[start:stop, columns].tolist()))
            other = sorted(map(tuple, wanted[d][kind].tolist()))
            wrong += len(set(mine) ^ set(other)) + abs(len(mine) - len(other))
            start = stop
    return wrong


def parity(count: int, seed: int) -> dict:
    """Cases and cases that differ in any voxel of any matched or unmatched bar from the C++ code."""
    peer = peers.topolosses()
    different, bars = [], np.zeros(3, int)
    for k in range(count):
        a, b = small_pair(np.random.default_rng([seed, k]))
        a, b = a + 0.0, b + 0.0
        ours = volumes.match_volumes(a[None], b[None])
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
        f"matching, {NAMES[kind]}, {size}^3", lambda: volumes.match_volumes(a[None], b[None]),
        lambda: peer.compute_matching(a, b), compare=lambda ours, theirs: float(differing_rows(ours, theirs, a.shape)),
        tolerance=0.0, peer="topolosses", target=target, floor=floor, rounds=rounds,
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
        f"barcode, {name}, {size}^3", lambda: volumes.barcode_volumes(a[None]), lambda: cripser.computePH(a, maxdim=2),
        compare=compare, tolerance=0.0, peer="cripser", target=target, floor=floor, rounds=rounds,
    )


def memory(kind: str, size: int, peer: bool) -> dict:
    """Growth of the peak resident memory by one matching, of this process and nothing before, and its CPU seconds."""
    import resource

    match = peers.topolosses().compute_matching if peer else lambda a, b: volumes.match_volumes(a[None], b[None])
    for small in ("seg", "noise"):
        match(*pair(small, 8))
    a, b = pair(kind, size)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew, without what made the volumes
    before = resident()
    begin = time.process_time()
    match(a, b)
    seconds = time.process_time() - begin
    grown = resident(peak=True) - before
    return {"megabytes": grown / 2**20, "bytes_per_voxel": grown / a.size, "seconds": seconds,
            "process_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def resident(peak: bool = False) -> int:
    """Resident bytes of this process, now or at its peak."""
    name = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))
