"""Calling ``f``: in chunks, on its own device, with every surprise refused in words before the budget is spent.

Small instances go ``FEW`` rows a call, so that the inputs and the activations of a small model stay in the cache; where a
call costs more than its rows (frames, pipelines, forests; the probe times it) ``MANY`` rows share that cost. For large
instances three sizes are timed on the first chunks and the fastest is kept for this ``f``.
"""

from __future__ import annotations

import copy
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import torch

from lab import checks
from lab.explain.outputs import State, as_outputs, device_of, kinds, refuse_training_mode, said, target_of
from lab.explain.players import Players

FEW, MANY = 2048, 8192  # rows a call of small instances: for an f that is quick to call, and for one that is not
SLOW = 5e-4  # seconds that a call of a slow f takes before its first row
SMALL = 2048  # elements of an instance up to which that holds
TRIED = (16, 64, 256)  # rows a call that are timed on the first chunks where an instance is large
LOOKS = 2  # times that each of them is timed: the quickest counts
LOOK = 16  # calls between two looks for NaN

_FASTEST: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


class BlackBox:
    """``f`` on perturbed instances, as float64 outputs ``(N, m, C)`` under the chosen target and link.

    ``f`` gets what the caller's ``x`` is: tensors, or numpy arrays for an array ``x``; an ``nn.Module`` always tensors
    on its own device. It returns one value a row ``(n,)`` or a row of outputs ``(n, C)``.
    """

    def __init__(
        self,
        f: Callable,
        players: Players,
        *,
        target=None,
        link: str = "identity",
        arrays: bool = False,
        max_bytes: int | None = None,
    ):
        if not callable(f):
            raise TypeError(f"f must be callable, got {type(f).__name__}")
        self.f, self.players, self.link = f, players, link
        self.arrays = arrays and not isinstance(f, torch.nn.Module)
        self.device = device_of(f, players.x.device)
        self.moves = self.device != players.x.device
        self.max_bytes = checks.integer("max_bytes", max_bytes, low=1) if max_bytes is not None else 2**28
        self.most_bytes = max(self.max_bytes, 2**26) if max_bytes is not None else 2**30  # of the outputs and their fit
        per_row = players.x.shape[1] * players.x.element_size() * 4
        self.most = max(1, min(MANY, self.max_bytes // per_row))
        self.small = players.x.shape[1] <= SMALL
        self.usual = min(FEW, self.most)
        self.rows = 0
        self.target = None
        keep_memory()
        refuse_training_mode(f)
        self.state = State(f)
        self._probe(target)

    def _probe(self, target) -> None:
        """Call ``f`` on the instances themselves: shape, finiteness, repeatability, independence of the batch."""
        x = self.players.x[: min(8, self.players.instances)]
        calls = [time.perf_counter()]
        first = self._ask(x, "the instances themselves")
        if not torch.isfinite(first).all():
            raise ValueError(f"f must return finite values, got {kinds(first)} on the instances themselves")
        calls.append(time.perf_counter())
        again = self._ask(x, "the instances themselves")
        calls.append(time.perf_counter())
        if not torch.equal(first, again) and not torch.allclose(first, again, rtol=1e-6, atol=1e-8):
            worst = float((first - again).abs().max())
            raise ValueError(
                f"f must be a function: two calls on the same rows differ by {worst:.3g}; switch off its randomness "
                "(model.eval(), a fixed random state)"
            )
        if len(x) > 1:
            alone = self._ask(x[:1], "the first instance alone")
            calls.append(time.perf_counter())
            _refuse_batch(first, alone)
        elif not torch.equal(x, self.players.baseline[:1]):
            both = torch.cat([x, self.players.baseline[:1]])
            _refuse_batch(self._ask(both, "the instance beside the baseline")[:1], first)
        if self.small and _before_the_first_row(calls, len(x)) > SLOW:
            self.usual = self.most
        self.outputs = first.shape[1]
        asked = [self._ask(self.players.x[r], r) for r in self._instance_rows()]
        outputs = torch.cat(asked) if len(asked) > 1 else asked[0]
        if not torch.isfinite(outputs).all():
            raise ValueError(f"f must return finite values, got {kinds(outputs)} on the instances themselves")
        self.target = target_of(target, outputs, self.players.instances)
        self.at_x = self._linked(self._select(outputs, slice(0, None)))
        self.single = self.outputs == 1 or self.target is not None

    def _instance_rows(self) -> list[slice]:
        step = self.usual
        return [slice(i, min(i + step, self.players.instances)) for i in range(0, self.players.instances, step)]

    def at_baseline(self, donor_rows: torch.Tensor | None) -> torch.Tensor:
        """``f`` with every player replaced, ``(N, C)``; the mean over the donor rows where there are some."""
        p = self.players
        if donor_rows is None:
            moving = torch.zeros(1, p.count, dtype=torch.float64)
            if len(p.baseline) == 1 and (p.index is None or bool((p.index < p.count).all())) and self.target is None:
                values = self._linked(self._ask(p.baseline, "the baseline").double().cpu())
                return values.expand(p.instances, -1)
            return self.values(moving, None)[:, 0]
        every = torch.zeros(donor_rows.shape[-1], p.count, dtype=torch.float64)
        return self.values(every, donor_rows).mean(1)

    def values(self, design: torch.Tensor, donor: torch.Tensor | None, *, operator: str = "mix") -> torch.Tensor:
        """Outputs ``(N, m, C)`` at the perturbations ``design`` (``(m, K)`` or ``(N, m, K)``)."""
        draws = design.shape[-2]
        channels = 1 if self.target is not None else self.outputs
        out = torch.empty(self.players.instances, draws, channels, dtype=torch.float64)
        flat, done = out.view(-1, channels), 0  # the blocks follow one another in memory
        answers, places = [], []
        with torch.no_grad():
            for rows, part, batch in self._batches(design, donor, operator):
                began = time.perf_counter()
                got = self._call(batch.view(-1, batch.shape[-1]), (rows, part))
                self._learn(len(got), time.perf_counter() - began, False)
                answers.append(self._chosen(got, rows, batch.shape[1]))
                places.append((rows, part))
                if len(answers) == LOOK:
                    done = _stored(answers, flat, done)
                    _refuse_nonfinite(out, places)
                    answers, places = [], []
        if answers:
            _stored(answers, flat, done)
            _refuse_nonfinite(out, places)
        self.state.restore()
        return self._linked(out)

    @torch.inference_mode(False)
    def gradients(self, design: torch.Tensor, reduce: torch.Tensor, operator: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs ``(N, m, C)`` and ``sum_i reduce[i, g] * grad_xi f(xi_i)`` as ``(N, G, K, C)``.

        ``reduce`` is ``(m, G)`` or ``(N, m, G)``: weights of the draws in each group.
        """
        p, draws = self.players, design.shape[-2]
        if not p.x.is_floating_point():
            raise TypeError("gradients need floating-point x; tokens and integers have none: use a mask neighbourhood")
        channels = 1 if self.target is not None else self.outputs
        out = torch.empty(p.instances, draws, channels, dtype=torch.float64)
        total = torch.zeros(p.instances, reduce.shape[-1], p.count, channels, dtype=torch.float64)
        narrow = reduce.to(p.x.dtype)
        scale = p.difference.cpu() if operator == "mix" else None
        for rows, part, batch in self._batches(design, None, operator, True):
            began = time.perf_counter()
            flat = batch.view(-1, batch.shape[-1]).to(self.device)
            flat = (flat.clone() if flat.is_inference() else flat).requires_grad_(True)
            weight = narrow[part] if narrow.ndim == 2 else narrow[rows, part]
            with torch.enable_grad():
                got = self._call(flat, (rows, part))
                chosen = self._chosen(got, rows, batch.shape[1])
                linked = self._linked(chosen, check=False)
            out[rows, part] = chosen.detach().view(*batch.shape[:2], channels)
            for c in range(channels):
                if not linked.requires_grad:
                    raise TypeError(
                        "f's outputs carry no gradient (f is not differentiable by torch, or detaches); gradient-based "
                        "explanations need one: use clime(), lime(), kernelshap() or occlusion()"
                    )
                with torch.enable_grad():
                    total_c = linked[:, c].sum() if channels > 1 else linked.sum()
                (gradient,) = torch.autograd.grad(total_c, flat, retain_graph=c + 1 < channels, allow_unused=True)
                if gradient is None:
                    gradient = torch.zeros_like(flat)
                gradient = gradient.view(batch.shape).to(weight.device)
                reduced = (weight.mT @ gradient).double().cpu()
                if scale is not None:
                    reduced = reduced * scale[rows, None]
                total[rows, :, :, c] += p.to_players(reduced, rows)
            self._learn(len(flat), time.perf_counter() - began, True)
        self.state.restore()
        if not torch.isfinite(total).all() or not torch.isfinite(out).all():
            _refuse_nonfinite(out, [(slice(0, None), slice(0, None))])
            raise ValueError("f has gradients that are not finite at some perturbations")
        return self._linked(out), total

    @property
    def differentiable(self) -> bool:
        """Whether torch can differentiate ``f`` at the instances."""
        if self.arrays or not self.players.x.is_floating_point():
            return False
        with torch.inference_mode(False), torch.enable_grad():
            x = self.players.x[:1].to(self.device).clone().requires_grad_(True)
            try:
                got = self.f(x.reshape(1, *self.players.shape))
            except (RuntimeError, TypeError, ValueError):  # .numpy() on a tensor that requires grad
                return False
            finally:
                self.state.restore()
        return isinstance(got, torch.Tensor) and got.requires_grad

    def restricted(self, instances: torch.Tensor) -> BlackBox:
        """The same box for the given instances (repeats allowed), with its own count of rows."""
        other = copy.copy(self)
        p = self.players
        other.players = replace(
            p,
            x=p.x[instances],
            baseline=p.baseline[instances] if len(p.baseline) > 1 else p.baseline,
            index=p.index if p.index is None or p.index.ndim == 1 else p.index[instances],
        )
        other.at_x = self.at_x[instances]
        other.target = None if self.target is None else self.target[instances]
        other.rows = 0
        return other

    def _batches(
        self, design, donor, operator: str, gradient: bool = False
    ) -> Iterator[tuple[slice, slice, torch.Tensor]]:
        """``(instances, draws, inputs (n, m, E))`` of every call; the draws are spread to elements once where shared."""
        p = self.players
        dtype = p.x.dtype if p.x.is_floating_point() else torch.float32
        design = design.to(p.x.device, dtype)
        shared = design.ndim == 2 and (p.index is None or p.index.ndim == 1)
        binary = operator == "mix" and bool(((design == 0) | (design == 1)).all())
        fixed = 0.0 if operator == "add" else 1.0
        known, moves = None, design
        for rows, part in self._chunks(design.shape[-2], gradient):
            if not shared or part != known:
                moves = p.to_elements(design[part] if design.ndim == 2 else design[rows, part], rows, fixed)
                moves, known = (moves > 0.5 if binary and not (shared and p.blank) else moves), part
            chosen = donor if donor is None else (donor[part] if donor.ndim == 1 else donor[rows, part])
            yield rows, part, p.perturb(operator, moves, rows, chosen)

    def _chunks(self, draws: int, gradient: bool) -> Iterator[tuple[slice, slice]]:
        """Blocks (instances, draws) of at most the chosen number of rows; whole instances where they fit."""
        i, j, instances = 0, 0, self.players.instances
        while i < instances:
            chunk = self.usual if self.small else self._size(gradient)
            if j == 0 and draws <= chunk:
                stop = min(i + chunk // draws, instances)
                yield slice(i, stop), slice(0, draws)
                i = stop
            else:
                end = min(j + chunk, draws)
                yield slice(i, i + 1), slice(j, end)
                i, j = (i, end) if end < draws else (i + 1, 0)

    @property
    def chunk(self) -> int:
        """The rows of the next call: fixed for small instances, the fastest of three tried sizes for large ones."""
        return self.usual if self.small else self._size(False)

    def _size(self, gradient: bool) -> int:
        times = self._times(gradient)
        for size in TRIED:
            if len(times.get(size, ())) < LOOKS:
                return min(size, self.most)
        return min(min(times, key=lambda size: min(times[size])), self.most)

    def _times(self, gradient: bool) -> dict[int, list[float]]:
        key = (self.players.shape, gradient)
        try:
            return _FASTEST.setdefault(self.f, {}).setdefault(key, {})
        except TypeError:  # a callable without weak references
            return self.__dict__.setdefault(f"_own_times_{gradient}", {})

    def _learn(self, rows: int, seconds: float, gradient: bool) -> None:
        """Remember how long a row took in a call of about one of the tried sizes (whole instances may fill it less)."""
        if self.small:
            return
        times = self._times(gradient)
        for size in TRIED:
            if size // 2 < rows <= size and len(times.get(size, ())) < LOOKS:
                times.setdefault(size, []).append(seconds / rows)

    @torch.no_grad()
    def _ask(self, flat: torch.Tensor, place) -> torch.Tensor:
        try:
            return self._call(flat.clone(), place)  # an f that works in place gets no memory of the caller's
        finally:
            self.state.restore()

    def _call(self, flat: torch.Tensor, place) -> torch.Tensor:
        """``f`` on rows ``(n, E)`` under the caller's choice of gradients; what it raises says where."""
        count = flat.shape[0]
        batch = flat if len(self.players.shape) == 1 else flat.view(count, *self.players.shape)
        if self.moves:
            batch = batch.to(self.device)
        try:
            got = self.f(batch.detach().cpu().numpy() if self.arrays else batch)
        except Exception as error:
            error.add_note(f"raised by f on {said(place)} (a batch of shape {tuple(batch.shape)})")
            raise
        self.rows += count
        return as_outputs(got, count, place)

    def _chosen(self, got: torch.Tensor, rows: slice, repeat: int = 1) -> torch.Tensor:
        """The chosen output of every row, with its graph: ``(n, C)`` or ``(n, 1)``."""
        if got.shape[1] != self.outputs:
            raise ValueError(f"f returned {self.outputs} outputs first and {got.shape[1]} now")
        if self.target is None:
            return got
        index = self.target[rows].repeat_interleave(repeat).to(got.device)
        return got.gather(1, index[:, None])

    def _select(self, got: torch.Tensor, rows: slice, repeat: int = 1) -> torch.Tensor:
        return self._chosen(got, rows, repeat).double().cpu()

    def _linked(self, values: torch.Tensor, check: bool = True) -> torch.Tensor:
        if self.link == "identity":
            return values
        if self.link == "log":
            if check and bool((values <= 0).any()):
                raise ValueError(f"link='log' needs f > 0, got values down to {float(values.min()):.3g}")
            return torch.log(values)
        if check and bool(((values <= 0) | (values >= 1)).any()):
            raise ValueError(
                f"link='logit' needs f strictly between 0 and 1, got [{float(values.min()):.3g}, "
                f"{float(values.max()):.3g}] (probabilities that round to 0 or 1: compute them in float64)"
            )
        return torch.logit(values)


@cache
def keep_memory(size: int = 24 * 2**20) -> None:
    """Let the allocator keep what one call frees for the next one, once a process.

    glibc gives blocks above a threshold back to the system, and the next call pays a page fault for every 4 KB of its inputs
    and activations: as much time as the passes of a small network. The threshold follows the largest block freed (up to
    32 MB), so one that is never touched is freed.
    """
    torch.empty(size, dtype=torch.uint8)


def _refuse_batch(batch: torch.Tensor, alone: torch.Tensor) -> None:
    """Refuse an ``f`` whose answer for the first row of a batch is another one than for this row alone."""
    if not torch.allclose(batch[:1], alone, rtol=1e-3, atol=1e-3 * (float(batch.abs().max()) + 1e-12)):
        raise ValueError(
            f"f's answer for a row depends on the other rows of the batch (first instance: {batch[0].tolist()} in a batch, "
            f"{alone[0].tolist()} alone); f must treat rows separately (model.eval()?)"
        )


def _before_the_first_row(calls: list[float], rows: int) -> float:
    """Seconds that a call of ``f`` takes before its first row: the quickest call, less the share of its rows."""
    spent = [stop - start for start, stop in zip(calls, calls[1:])]
    if rows == 1:
        return min(spent)
    whole, alone = min(spent[:2]), spent[2]
    return min(whole, alone) - max(whole - alone, 0.0) / (rows - 1)


def _stored(answers: list[torch.Tensor], flat: torch.Tensor, done: int) -> int:
    """Put what the last calls returned into the next rows of ``flat``; the number of rows that are filled."""
    got = torch.cat(answers) if len(answers) > 1 else answers[0]
    flat[done : done + len(got)] = got
    return done + len(got)


def _refuse_nonfinite(out: torch.Tensor, places: list) -> None:
    """Name the first of the blocks of ``out`` that holds NaN or an infinite value."""
    if not places:
        return
    first, last = places[0][0].start, places[-1][0].stop
    block = out[first:last] if len(places) > 1 else out[places[0]]
    if torch.isfinite(block.sum()):
        return
    for place in places:
        if not torch.isfinite(out[place]).all():
            raise ValueError(f"f must return finite values, got {kinds(out[place])} at {said(place)}")
