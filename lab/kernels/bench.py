"""The benchmark of the kernels on this machine's device: check first, then time.

    python -m lab.kernels.bench                 # the GPU if there is one, else one CPU core
    python -m lab.kernels.bench --quick         # small shapes, a minute
    python -m lab.kernels.bench --csv FILE

It needs torch, numpy, numba (and triton on a GPU) alone. Each operation is compared with the float64 reference first;
one that fails is not timed. Bandwidth and matrix-product ceilings are measured in the same run, and the roof of an
operation is the largest of bytes/bandwidth, flops/rate and special functions/rate. A cell that was not measured says
so.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import importlib
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

from lab.kernels import dispatch, spec, timing

NOT_MEASURED = "not measured"
Peer = Callable[[str, Mapping], tuple[str, Callable[[], torch.Tensor]] | None]
"""From an operation and its inputs the name of another library and its forward call, or ``None``."""


@dataclass(frozen=True)
class Ceilings:
    """What the device does at best, measured: bytes/s of a copy, flop/s of a float32 product, exponentials/s."""

    bytes: float
    flops: float
    special: float


@dataclass(frozen=True)
class Row:
    """One operation, shape and dtype. Times in ms; ``of_roof`` is roof time over time; ratios are others' time over ours.

    Cells hold numbers, or the words "not measured".
    """

    op: str
    shape: str
    dtype: str
    device: str
    path: str
    error: float | str
    forward_ms: float | str
    full_ms: float | str
    of_roof: float | str
    over_reference: float | str
    over_compiled: float | str
    peer: str
    over_peer: float | str
    peak_mib: float | str
    repeatable: str
    versions: str
    date: str


def ceilings(device: str) -> Ceilings:
    """Measure the ceilings of ``device`` ("cpu": one core)."""
    size = 1 << (28 if device == "cuda" else 24)
    a = torch.rand(size, device=device)
    b = torch.empty_like(a)
    copied = 8.0 * size / clock(lambda: b.copy_(a), device)
    n = 8192 if device == "cuda" else 1024
    m = torch.rand(n, n, device=device)
    multiplied = 2.0 * n**3 / clock(lambda: m @ m, device)
    # Small enough for the cache, so that the exponential and not the memory is timed.
    c = torch.rand(1 << (22 if device == "cuda" else 13), device=device)
    d = torch.empty_like(c)
    return Ceilings(copied, multiplied, c.numel() / clock(lambda: torch.exp(c, out=d), device))


def clock(function: Callable[[], object], device: str, *, least: float = 0.2, rounds: int = 5) -> float:
    """Seconds of one call: median over rounds; events on a GPU, process CPU time on the CPU."""
    function()
    if device == "cuda":
        torch.cuda.synchronize()
        times = []
        flush = torch.empty(1 << 26, device=device)
        for _ in range(max(rounds, 10)):
            flush.zero_()  # 256 MiB: nothing of the last call is left in the second-level cache
            start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            function()
            stop.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(stop) * 1e-3)
        return statistics.median(times)
    began = time.process_time()
    function()
    repeats = max(1, int(least / rounds / max(time.process_time() - began, 1e-7)))
    times = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(repeats):
            function()
        times.append((time.process_time() - began) / repeats)
    return max(statistics.median(times), 1e-9)


def measure(
    name: str,
    shape_name: str,
    dtype: torch.dtype,
    device: str,
    tops: Ceilings,
    *,
    compiled: bool = True,
    reference: bool = True,
    peer: Peer | None = None,
) -> Row:
    """Check and time one operation.

    Raises:
        ValueError: its form on this device differs from the float64 reference; nothing was timed.
    """
    description = spec.get(name)
    shape = description.shapes[shape_name]
    word = "triton" if device == "cuda" else ("cpu" if "cpu" in description.forms else "reference")
    error = verify(name, word, dtype, device)
    inputs = description.inputs(shape, dtype=dtype, device=device)
    leaves = {
        key: value.requires_grad_() if key in description.differentiable else value for key, value in inputs.items()
    }

    def forward():
        with dispatch.backend(word), torch.no_grad():
            return description.run(inputs)

    def full(word=word):
        with dispatch.backend(word):
            out = description.run(leaves)
            wanted = [leaves[key] for key in description.differentiable]
            return torch.autograd.grad(out.sum(), wanted)

    def eager():
        with dispatch.backend("reference"):
            return full("reference") if description.differentiable else description.run(inputs)

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = clock(forward, device)
    both = clock(full, device) if description.differentiable else NOT_MEASURED
    peak = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else NOT_MEASURED
    roof = max(
        description.bytes(shape, dtype.itemsize) / tops.bytes,
        description.flops(shape) / tops.flops,
        description.special(shape) / tops.special,
    )
    own = both if isinstance(both, float) else seconds
    slow = attempt(lambda: clock(eager, device, least=0.1, rounds=3)) if reference else NOT_MEASURED
    jit = NOT_MEASURED
    if compiled:
        dispatch.COMPILED_WORD = "reference"
        try:
            jit = attempt(
                lambda: clock(torch.compile(eager, dynamic=False, mode="max-autotune-no-cudagraphs"), device, rounds=3)
            )
        finally:
            dispatch.COMPILED_WORD = "auto"
    other, ahead = _peer(peer, name, inputs, forward, seconds, device)
    same = all(torch.equal(forward(), forward()) for _ in range(3))
    return Row(
        name,
        " ".join(f"{key}={size}" for key, size in shape.items()),
        str(dtype).removeprefix("torch."),
        torch.cuda.get_device_name() if device == "cuda" else "one CPU core: " + timing.machine(),
        word,
        error,
        1e3 * seconds,
        1e3 * both if isinstance(both, float) else both,
        roof / seconds,
        slow / own if isinstance(slow, float) else slow,
        jit / own if isinstance(jit, float) else jit,
        other,
        ahead,
        peak,
        "same bits" if same else "differs",
        versions(),
        datetime.date.today().isoformat(),
    )


def _peer(peer, name, inputs, forward, seconds, device) -> tuple[str, float | str]:
    """The other library and its forward time over ours, where ``peer`` knows one and it agrees."""
    plain = {key: value.detach() if isinstance(value, torch.Tensor) else value for key, value in inputs.items()}
    found = peer(name, plain) if peer is not None else None
    if found is None:
        return "", NOT_MEASURED
    library, call = found
    if spec.relative_error(call().to(torch.float64), forward().to(torch.float64)) > 20 * spec.get(name).bound(
        torch.float32
    ):
        return library, "differs"
    theirs = attempt(lambda: clock(call, device, rounds=3))
    return library, theirs / seconds if isinstance(theirs, float) else theirs


def verify(name: str, word: str, dtype: torch.dtype, device: str) -> float:
    """Largest relative error of output and gradients against float64 on the small shape; ``ValueError`` above the bound."""
    description = spec.get(name)
    inputs = description.inputs(description.shapes["small"], dtype=dtype, device=device)
    exact = spec.with_gradients(description, inputs, word="reference", dtype=torch.float64)
    found = spec.with_gradients(description, inputs, word=word)
    worst = max(spec.relative_error(found[key], exact[key]) for key in exact)
    if not worst <= description.bound(dtype):
        raise ValueError(
            f"{name} ({word}, {dtype}) is off by {worst:.2g}, allowed {description.bound(dtype):.2g}; nothing was timed"
        )
    return worst


def attempt(function: Callable[[], float]) -> float | str:
    """The number, or "not measured" where the other side does not fit into memory."""
    try:
        return function()
    except (torch.OutOfMemoryError, MemoryError):
        return NOT_MEASURED


def versions() -> str:
    """Versions of what computes."""
    import numpy

    found = [f"torch {torch.__version__}", f"numpy {numpy.__version__}"]
    for package in ("numba", "triton"):
        if dispatch.HAS_NUMBA if package == "numba" else dispatch.HAS_TRITON:
            from importlib import metadata

            found.append(f"{package} {metadata.version(package)}")
    return ", ".join(found)


def run(
    *,
    quick: bool = False,
    device: str | None = None,
    ops: Sequence[str] | None = None,
    compiled: bool = True,
    peer: Peer | None = None,
    progress: Callable[[Row | str], None] | None = None,
) -> list[Row]:
    """Measure all operations; those that fail their check are reported and left out."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    rows: list[Row] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if device == "cpu" else threads)
    try:
        tops = ceilings(device)
        say = progress or (lambda said: None)
        say(f"ceilings: {tops.bytes / 1e9:.1f} GB/s, {tops.flops / 1e9:.1f} Gflop/s, {tops.special / 1e9:.2f} G exp/s")
        for name in ops or spec.names():
            shape = "small" if quick else ("gpu" if device == "cuda" else "cpu")
            for dtype in (torch.float32, torch.bfloat16) if device == "cuda" else (torch.float32,):
                try:
                    rows.append(measure(name, shape, dtype, device, tops, compiled=compiled, peer=peer))
                    say(rows[-1])
                except ValueError as error:
                    say(f"FAILED {error}")
    finally:
        torch.set_num_threads(threads)
    return rows


def line(row: Row | str) -> str:
    """One row as text."""
    if isinstance(row, str):
        return row

    def show(value, form):
        return format(value, form) if isinstance(value, float) else value

    return (
        f"{row.op:18} {row.dtype:8} {row.path:9} error {show(row.error, '.1e')}  forward {show(row.forward_ms, '.3g')} "
        f"ms  with gradients {show(row.full_ms, '.3g')} ms  {show(row.of_roof, '.0%')} of the roof  "
        f"reference x {show(row.over_reference, '.2f')}  compiled x {show(row.over_compiled, '.2f')}  "
        f"{row.peer or 'peer'} x {show(row.over_peer, '.2f')}  "
        f"peak {show(row.peak_mib, '.0f')} MiB  {row.repeatable}  ({row.shape})"
    )


def write(rows: Sequence[Row], path: Path) -> None:
    """The table as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in asdict(row).items()})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab.kernels.bench", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="small shapes, without torch.compile")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--op", action="append", choices=spec.names())
    parser.add_argument("--csv", metavar="FILE")
    parser.add_argument(
        "--peers", metavar="MODULE", help="a module with peer(op, inputs): other libraries to time beside"
    )
    options = parser.parse_args(arguments)
    count = len(options.op or spec.names()) * (2 if torch.cuda.is_available() and options.device != "cpu" else 1)
    rows = run(
        quick=options.quick,
        device=options.device,
        ops=options.op,
        compiled=not options.quick,
        peer=importlib.import_module(options.peers).peer if options.peers else None,
        progress=lambda said: print(line(said), flush=True),
    )
    if options.csv:
        write(rows, Path(options.csv))
    print(f"{'PASS' if len(rows) == count else 'FAIL'} {len(rows)}/{count}")
    return 0 if len(rows) == count else 1


if __name__ == "__main__":
    sys.exit(main())
