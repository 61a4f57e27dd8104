"""Long work in pieces: pieces of a bounded length let Ctrl-C through, report progress and feed the threads.

The compiled kernels release the interpreter lock, so plain threads run them side by side; each piece writes its own
rows and the result does not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import torch

PIECE = 200_000_000  # elementary operations a piece: about a tenth of a second on one core


def run(
    function: Callable[[int, int], object], total: int, *, cost: float, progress: Callable[[float], None] | None = None
) -> None:
    """Call ``function(start, stop)`` over pieces of ``range(total)``; ``cost`` is the work of one item.

    Threads: as many as torch may use (``torch.get_num_threads()``), never more than pieces. On an exception, Ctrl-C
    included, pieces not yet begun are dropped and those running end before the exception goes on.
    """
    threads = torch.get_num_threads()
    size = max(1, min(total, int(PIECE / max(cost, 1.0))))
    if threads > 1 and total * cost > 4_000_000:
        size = max(1, min(size, -(-total // threads)))
    pieces = [(start, min(start + size, total)) for start in range(0, total, size)]
    if threads == 1 or len(pieces) == 1:
        for start, stop in pieces:
            function(start, stop)
            if progress is not None:
                progress(stop / total)
        return
    with ThreadPoolExecutor(min(threads, len(pieces))) as pool:
        waiting = {pool.submit(function, start, stop): stop - start for start, stop in pieces}
        done = 0
        try:
            while waiting:
                ready, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in ready:
                    done += waiting.pop(future)
                    future.result()
                if progress is not None:
                    progress(done / total)
        except BaseException:
            for future in waiting:
                future.cancel()
            raise
