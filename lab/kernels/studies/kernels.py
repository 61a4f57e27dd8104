"""What the pages and notebooks of the kernels show: forms of one operation side by side, the roofline, replay."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lab import checks
from lab.kernels import bench, dispatch, spec, timing
from lab.kernels.pairwise import pairwise
from lab.kernels.random_hypotheses import RandomNetwork, random_hypotheses
from lab.kernels.rowloss import generalized_cross_entropy, rowloss

TABLES = Path(__file__).parents[3] / "data" / "benchmarks"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


@dataclass(frozen=True)
class Form:
    """One form of an operation on this machine. ``milliseconds`` and ``error`` are NaN where it was not measured, with
    the ``reason`` in words; ``error`` is against float64, output and gradients, ``allowed`` the largest permitted."""

    form: str
    milliseconds: float
    error: float
    allowed: float
    reason: str


@dataclass(frozen=True)
class Comparison:
    """The forms of one operation at one shape and dtype, and the form that ``auto`` takes."""

    op: str
    shape: dict
    dtype: str
    chosen: str
    reason: str
    forms: tuple[Form, ...]
    roof_ms: float

    @property
    def measured(self) -> tuple[Form, ...]:
        """The forms that ran on this machine."""
        return tuple(form for form in self.forms if not math.isnan(form.milliseconds))


def compare_forms(op: str, *, size: float = 1.0, dtype: str = "float32", seed: int = 0) -> Comparison:
    """Check and time every form of ``op`` that this machine can run.

    Args:
        op: an operation of :func:`lab.kernels.table`.
        size: factor on the first extent of the operation's small shape (rows, points or networks), 1 to 64.
        dtype: ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"float64"``.
        seed: of the inputs.

    Raises:
        ValueError: an unknown operation or dtype, a size outside its range.
    """
    description = spec.get(op)
    checks.choice("dtype", dtype, DTYPES)
    size = checks.number("size", size, low=1.0, high=64.0)
    kind = DTYPES[dtype]
    shape = dict(description.shapes["small"])
    first = next(iter(shape))
    shape[first] = int(shape[first] * size)
    if op == "infonce":
        shape["m"] = max(shape["m"], shape["n"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    inputs = description.inputs(shape, dtype=kind, seed=seed, device=device)
    exact = spec.with_gradients(description, inputs, word="reference", dtype=torch.float64)
    tensors = [value for value in inputs.values() if isinstance(value, torch.Tensor) and value.is_floating_point()]
    chosen = spec.explain(op, *tensors)
    forms = []
    for word in description.forms:
        allowed = description.bound(kind)
        missing = _missing(word, device, kind)
        if missing:
            forms.append(Form(word, math.nan, math.nan, allowed, missing))
            continue
        found = spec.with_gradients(description, inputs, word=word)
        error = max(spec.relative_error(found[key], exact[key]) for key in exact)

        def call(word=word):
            with dispatch.backend(word), torch.no_grad():
                return description.run(inputs)

        with timing.one_core():
            seconds = bench.clock(call, device, least=0.1, rounds=3)
        forms.append(Form(word, 1e3 * seconds, error, allowed, "measured here"))
    tops = _ceilings(device)
    roof = max(
        description.bytes(shape, kind.itemsize) / tops.bytes,
        description.flops(shape) / tops.flops,
        description.special(shape) / tops.special,
    )
    return Comparison(op, shape, dtype, chosen.path, chosen.reason, tuple(forms), 1e3 * roof)


_KNOWN: dict[str, bench.Ceilings] = {}


def _ceilings(device: str) -> bench.Ceilings:
    if device not in _KNOWN:
        with timing.one_core():
            _KNOWN[device] = bench.ceilings(device)
    return _KNOWN[device]


def _missing(word: str, device: str, dtype: torch.dtype) -> str:
    if word == "triton" and device != "cuda":
        return "not measured: no CUDA device on this machine"
    if word == "triton" and not dispatch.HAS_TRITON:
        return "not measured: the package triton is not installed"
    if word == "cpu" and device == "cuda":
        return "not measured: the inputs are on the GPU"
    if word != "reference" and dtype not in dispatch.FAST_DTYPES:
        return "the fast forms take float32, bfloat16 and float16"
    return ""


def table_of(name: str) -> list[dict[str, str]]:
    """Rows of a committed table (``"kernels"``, ``"kernels_cpu"``, ``"gate"``); empty where the project's data is absent."""
    checks.choice("name", name, ("kernels", "kernels_cpu", "kernels_gpu", "gate"))
    path = TABLES / f"{name}.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Roofline:
    """Measured ceilings of one core (or one GPU) and the rows of :mod:`lab.kernels.bench` under them."""

    ceilings: bench.Ceilings
    rows: tuple[bench.Row, ...]
    intensity: tuple[float, ...]
    rate: tuple[float, ...]


def roofline(*, quick: bool = True) -> Roofline:
    """Measure ceilings and operations on this machine's device.

    ``intensity`` is flops (special functions counted as one) per byte of least traffic, ``rate`` flops per second.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tops = _ceilings(device)
    shape = "small" if quick else ("gpu" if device == "cuda" else "cpu")
    rows, intensity, rate = [], [], []
    with timing.one_core():
        for name, description in spec.specs().items():
            row = bench.measure(name, shape, torch.float32, device, tops, compiled=False)
            work = description.flops(description.shapes[shape]) + description.special(description.shapes[shape])
            rows.append(row)
            intensity.append(work / description.bytes(description.shapes[shape], 4))
            rate.append(work / (row.forward_ms * 1e-3))
    return Roofline(tops, tuple(rows), tuple(intensity), tuple(rate))


@dataclass(frozen=True)
class EndToEnd:
    """A whole computation with the fast forms and with the reference: seconds each, and their ratio."""

    name: str
    fast: float
    reference: float

    @property
    def ratio(self) -> float:
        """Reference over fast."""
        return self.reference / self.fast


def with_and_without(name: str, function: Callable[[], object]) -> EndToEnd:
    """Process CPU seconds of ``function()`` with the fast forms and with the reference alone, on one core, best of two."""
    found = {}
    with timing.one_core():
        for word in ("auto", "reference", "auto", "reference"):
            with dispatch.backend(word):
                seconds = timing._clock(function, 1)
            found[word] = min(seconds, found.get(word, math.inf))
    return EndToEnd(name, found["auto"], found["reference"])


@dataclass(frozen=True)
class Search:
    """Errors of many random networks on a task, and the best of them replayed alone.

    ``replayed`` is its error computed from ``network.parameters(seed, best)`` by plain torch in float64.
    """

    network: RandomNetwork
    seed: int
    errors: torch.Tensor
    best: int
    replayed: float
    x: torch.Tensor
    target: torch.Tensor
    grid: torch.Tensor


def search(*, count: int = 20_000, width: int = 16, seed: int = 0, points: int = 24) -> Search:
    """Guess and check: how often does a random network separate two arcs, and which one does it best?

    Args:
        count: networks drawn.
        width: of two hidden layers.
        seed: of networks and points.
        points: of the task, half of each class.
    """
    points = checks.integer("points", points, low=4)
    generator = torch.Generator().manual_seed(checks.integer("seed", seed, low=0))
    half = points // 2
    turn = torch.rand(half, generator=generator) * math.pi
    first = torch.stack([torch.cos(turn), torch.sin(turn)], 1)
    second = torch.stack([1.0 - torch.cos(turn), 0.4 - torch.sin(turn)], 1)
    x = torch.cat([first, second]) + 0.08 * torch.randn(2 * half, 2, generator=generator)
    target = torch.cat([torch.ones(half), -torch.ones(half)])
    network = RandomNetwork(2, (width, width), bias_scale=0.5)
    errors = random_hypotheses(network, x, target, count=count, seed=seed)
    best = int(errors.argmin())
    outputs = network.evaluate(x.double(), seed, best)[:, 0]
    replayed = float(((outputs > 0) != (target > 0)).double().mean())
    axis = torch.linspace(-1.6, 2.6, 60)
    mesh = torch.cartesian_prod(axis, axis)
    grid = network.evaluate(mesh, seed, best)[:, 0].reshape(60, 60).T
    return Search(network, seed, errors, best, replayed, x, target, grid)


def label_maps(*, steps: int = 60, seed: int = 0) -> float:
    """Fit per-pixel scores of 12 classes to label maps by gradient descent on the generalized cross-entropy; last loss."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(12, (4, 96, 96), generator=generator)
    scores = torch.randn(4, 12, 96, 96, generator=generator).requires_grad_()
    optimizer = torch.optim.SGD([scores], lr=3e4)
    for _ in range(steps):
        loss = rowloss(scores, target, generalized_cross_entropy(0.7)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def embedding(*, steps: int = 40, seed: int = 0) -> float:
    """Move 300 points until their Gaussian mean embedding is that of 1500 given ones; the last squared distance (MMD)."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randn(1500, 3, generator=generator)
    y[:750] += 3.0
    x = torch.randn(300, 3, generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.1)
    for _ in range(steps):
        loss = pairwise(x, x).mean() / len(x) - 2.0 * pairwise(x, y).mean() / len(y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return float(loss + pairwise(y, y).mean() / len(y))
