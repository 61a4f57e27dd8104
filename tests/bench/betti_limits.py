"""What a training loop and a large image cost beside Betti matching: threads, overlap, the cache, first calls, memory.

Every function measures one quantity of this machine; :func:`rows` makes them lines of
``data/benchmarks/betti_matching_limits.csv``, :func:`growth` of ``betti_matching_growth.csv``.
"""

from __future__ import annotations

import csv
import datetime
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from lab.kernels import timing
from tests.bench import frame
from tests.bench.betti_cases import segmentation
from tests.bench.peers import ROOT, versions

FIRST_CALL = {"Intel": (0.5, 15.0), "AMD": (0.8, 22.0), "": (1.0, 30.0)}
"""Seconds of CPU by processor, kernels in the cache and nothing compiled; the last is for any other processor."""
FIELDS = ("quantity", "value", "low", "high", "limit", "better", "unit", "versions", "machine", "date")


def rows(rounds: int = 7) -> list[dict]:
    """All quantities, each with its quartiles over rounds and the limit that is aimed at."""
    known = ", ".join(f"{name} {version}" for name, version in versions("torch", "numba", "numpy").items())
    about = {"versions": known, "machine": timing.machine(), "date": datetime.date.today().isoformat()}
    found, (warm, cold) = [], next(limits for name, limits in FIRST_CALL.items() if name in about["machine"])
    for name, measure, limit, better, unit in (
        ("two threads, batch of 32 of 256 x 256", two_threads, 1.7, "more", "times one thread (wall)"),
        ("overlap of submit with 50 ms of other work", overlap, 0.8, "more", "share of the shorter part"),
        ("key of a label, 512 x 512", key_share, 0.05, "less", "share of the match"),
        ("loss and backward in a U-Net step, 512 x 512", step_share, 0.1, "less", "share of the step"),
        ("first call, kernels in the cache", lambda _: starts(cold=False), warm, "less", "s of CPU"),
        ("first call, nothing compiled", lambda _: starts(cold=True), cold, "less", "s of CPU"),
    ):
        values = measure(rounds)
        low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
        line = {"quantity": name, "value": f"{middle:.4g}", "low": f"{low:.4g}", "high": f"{high:.4g}", "limit": limit}
        found.append(line | {"better": better, "unit": unit} | about)
        print(found[-1], flush=True)
    return found


def write(name: str, lines: list[dict]) -> None:
    """Lines as ``data/benchmarks/<name>.csv``."""
    with (frame.FOLDER / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def batch(items: int, size: int):
    """Predictions and labels (items, 1, size, size), float32."""
    import torch

    cases = [segmentation(size, seed) for seed in range(items)]
    return tuple(torch.tensor(np.stack([-case[k] for case in cases])[:, None], dtype=torch.float32) for k in (0, 1))


def two_threads(rounds: int) -> list[float]:
    """Wall time of the matchings of a batch on one thread over that on two, round by round."""
    from lab.topology.images import batching

    x, y = (-each[:, 0].numpy().astype(float) for each in batch(32, 256))
    run = lambda threads: batching.match_rows(x, y, threads=threads)  # noqa: E731
    run(1), run(2)
    return [_wall(lambda: run(1)) / _wall(lambda: run(2)) for _ in range(rounds)]


def overlap(rounds: int) -> list[float]:
    """``(matching + other - both) / min(matching, other)``, the other work being 50 ms for which this thread waits."""
    import torch

    from lab.topology import BettiMatchingLoss

    torch.set_num_threads(1)
    x, y = batch(8, 256)
    loss = BettiMatchingLoss(threads=1, cache=0)
    x.requires_grad_()

    def both():
        pending = loss.submit(x, y)
        time.sleep(0.05)
        pending.result()

    both()
    found = []
    for _ in range(rounds):
        alone, other = _wall(lambda: loss(x, y)), _wall(lambda: time.sleep(0.05))
        found.append((alone + other - _wall(both)) / min(alone, other))
    return found


def key_share(rounds: int) -> list[float]:
    """CPU time of the key of a label over that of a matching of the same size."""
    from lab.kernels.cubical import cpu
    from lab.topology.images import label_cache

    x, y = batch(1, 512)
    one, two = (-each[0].numpy().astype(float) for each in (x, y))
    label = y[0, 0].contiguous()
    found = timing.alternate(
        lambda: cpu.content_key(label_cache._words(label)),
        lambda: cpu.match_images(one, two),
        compare=lambda *_: 0.0,
        tolerance=0.0,
        rounds=rounds,
    )
    return [1 / found.high, 1 / found.ratio, 1 / found.low]


def step_share(rounds: int) -> list[float]:
    """CPU time of the loss and its backward over that of a step of a U-Net (16, 32, 64 channels) with Dice on one image."""
    import torch

    from lab.topology import BettiMatchingLoss
    from lab.topology.studies.segmentation_training import dice_loss
    from lab.training import unet

    x, y = batch(1, 512)
    network = unet(1, 1, widths=(16, 32, 64), seed=0)
    optimizer = torch.optim.Adam(network.parameters())
    topology = BettiMatchingLoss(threads=1)
    values = x.clone().requires_grad_()

    def term():
        values.grad = None
        topology(values, y).backward()

    def step():
        optimizer.zero_grad()
        dice_loss(network(x), y).backward()
        optimizer.step()

    found = timing.alternate(term, step, compare=lambda *_: 0.0, tolerance=0.0, rounds=rounds)
    return [1 / found.high, 1 / found.ratio, 1 / found.low]


def starts(cold: bool) -> list[float]:
    """CPU seconds of the first loss and backward of a new process, imports apart; ``cold`` with no kernel compiled."""
    code = (
        "import time, torch\n"
        "from lab.topology import BettiMatchingLoss\n"
        "x = torch.rand(4, 1, 64, 64, requires_grad=True); y = (torch.rand(4, 1, 64, 64) > 0.5).float()\n"
        "(x * x).sum().backward()\n"
        "began = time.process_time()\n"
        "BettiMatchingLoss()(x, y).backward()\n"
        "print(time.process_time() - began)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        variables = dict(os.environ, OMP_NUM_THREADS="1") | ({"NUMBA_CACHE_DIR": folder} if cold else {})
        run = lambda: float(_printed(code, variables))  # noqa: E731
        if cold:
            return [run()]
        run()
        return [run() for _ in range(3)]


def growth(sizes=(128, 256, 512, 1024, 2048, 4096)) -> list[dict]:
    """CPU time and memory of one matching by size, each in a process of its own."""
    code = (
        "import sys, time\n"
        "import numpy as np\n"
        "from lab.kernels.cubical import cpu\n"
        "from tests.bench.betti_cases import grown, segmentation\n"
        "size = int(sys.argv[1])\n"
        "a, b = (np.ascontiguousarray(x)[None] for x in segmentation(size))\n"
        "cpu.match_images(a[:, :8, :8].copy(), b[:, :8, :8].copy())\n"
        "extra, times = grown(lambda: cpu.match_images(a, b)), []\n"
        "for _ in range(3 if size < 2048 else 1):\n"
        "    began = time.process_time(); cpu.match_images(a, b); times.append(time.process_time() - began)\n"
        "print(min(times), extra)\n"
    )
    found = []
    for size in sizes:
        seconds, extra = map(float, _printed(code, dict(os.environ, PYTHONPATH=str(ROOT)), str(size)).split())
        found.append(
            {
                "pixels": size * size,
                "seconds": f"{seconds:.5g}",
                "nanoseconds_per_pixel": f"{1e9 * seconds / size**2:.4g}",
                "bytes_per_pixel": f"{extra / size**2:.4g}",
                "machine": timing.machine(),
                "date": datetime.date.today().isoformat(),
            }
        )
        print(found[-1], flush=True)
    return found


def _printed(code, variables, *arguments) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, env=variables, capture_output=True, text=True, check=True
    )
    return done.stdout.strip().splitlines()[-1]


def _wall(function) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began
