"""A list of filtrations in, a list of results out, on a bounded pool of threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import wraps

from lab import checks


def over_list(function):
    """Let the first argument be a list or tuple: results come back in order.

    ``threads`` (keyword, default: the number of cores, at most 8) bounds the workers. The kernels hold no lock while
    they run, so ragged batches of clouds and graphs use the cores; memory is that of ``threads`` items.
    """

    @wraps(function)
    def applied(items, *arguments, threads: int | None = None, **options):
        if not isinstance(items, (list, tuple)):
            if threads is not None:
                raise ValueError("threads is for a list of filtrations, got one filtration")
            return function(items, *arguments, **options)
        if not items:
            return []
        workers = min(os.cpu_count() or 1, 8) if threads is None else checks.integer("threads", threads, low=1)
        if workers == 1 or len(items) == 1:
            return [function(item, *arguments, **options) for item in items]
        with ThreadPoolExecutor(min(workers, len(items))) as pool:
            return list(pool.map(lambda item: function(item, *arguments, **options), items))

    return applied
