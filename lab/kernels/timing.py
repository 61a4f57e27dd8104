"""Fair timing: two computations of the same thing, run alternately on one core, outputs compared first.

Times are CPU times of the process (all threads), so that another program on the machine disturbs little; the ratio is
the median over rounds and comes with its quartiles. Times of a GPU are measured in :mod:`lab.kernels.bench`.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """How much faster ``ours`` is than ``other``.

    Attributes:
        ours, other: seconds of one call, medians over rounds.
        ratio: median over rounds of other/ours; above 1 ours is faster.
        low, high: quartiles of that ratio over rounds.
        error: what ``compare`` found between the two outputs.
        rounds: number of rounds.
    """

    ours: float
    other: float
    ratio: float
    low: float
    high: float
    error: float
    rounds: int

    def __str__(self):
        return (
            f"{self.ours * 1e3:.3g} ms against {self.other * 1e3:.3g} ms: {self.ratio:.2f} x "
            f"[{self.low:.2f}, {self.high:.2f}], difference {self.error:.1e}"
        )


def alternate(
    ours: Callable[[], object],
    other: Callable[[], object],
    *,
    compare: Callable[[object, object], float],
    tolerance: float,
    rounds: int = 7,
    least: float = 0.05,
) -> Ratio:
    """Time ``ours`` against ``other`` on one core, alternating, after comparing what they return.

    Args:
        ours, other: computations without arguments; each is called once before timing, which also compiles it.
        compare: the difference of the two outputs, 0 where they agree.
        tolerance: largest difference with which timing goes on.
        rounds: number of rounds; the order of the two is swapped every round.
        least: seconds of CPU time that each side runs in a round at least, by repetition.

    Raises:
        ValueError: the outputs differ by more than ``tolerance``.
    """
    with one_core():
        error = float(compare(ours(), other()))
        if not error <= tolerance:
            raise ValueError(f"the two outputs differ by {error:.3g}, more than {tolerance:.3g}; nothing was timed")
        counts = [max(1, round(least / max(_clock(side, 1), 1e-7))) for side in (ours, other)]
        sides = [(ours, counts[0]), (other, counts[1])]
        times: list[list[float]] = [[], []]
        for turn in range(rounds):
            for k in (0, 1) if turn % 2 == 0 else (1, 0):
                times[k].append(_clock(*sides[k]))
    ratios = sorted(b / a for a, b in zip(*times))
    low, middle, high = statistics.quantiles(ratios, n=4) if rounds > 1 else (ratios[0],) * 3
    return Ratio(statistics.median(times[0]), statistics.median(times[1]), middle, low, high, error, rounds)


def _clock(function: Callable[[], object], repeats: int) -> float:
    began = time.process_time()
    for _ in range(repeats):
        function()
    return max(time.process_time() - began, 1e-9) / repeats


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keep this process on one core and torch at one thread within the block."""
    import torch

    threads = torch.get_num_threads()
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    torch.set_num_threads(1)
    if allowed:
        os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        if allowed:
            os.sched_setaffinity(0, allowed)
        torch.set_num_threads(threads)


def machine() -> str:
    """This machine in plain words: processor, cores, memory; no names of hosts or users."""
    import platform

    model, memory = platform.machine(), ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            found = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        model = found[0] if found else model
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
        memory = f", {size:.0f} GiB"
    except (OSError, ValueError):
        pass
    return f"{model}, {os.cpu_count()} cores{memory}, {platform.system()} {platform.machine()}"
