"""Calling ``f``: in chunks, on its own device, with every surprise refused in words before the budget is spent."""

from __future__ import annotations

import copy
import time
import weakref
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from lab import checks
from lab.explain.players import Players

PLENTY = 4096  # rows a call where an instance is small: beyond it, calls gain nothing and leave the cache
SMALL = 2048  # elements of an instance up to which that holds
TRIED = (16, 64, 256)  # rows a call that are timed on the first chunks where an instance is large

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
        self.max_bytes = checks.integer("max_bytes", max_bytes, low=1) if max_bytes is not None else 2**28
        self.rows = 0
        self.target = None
        _refuse_training_mode(f)
        self._probe(target)

    def _probe(self, target) -> None:
        """Call ``f`` on the instances themselves: shape, finiteness, repeatability, independence of the batch."""
        rows = slice(0, min(8, self.players.instances))
        x = self.players.x[rows]
        first = self._call(x, "the instances themselves")
        if torch.isnan(first).any() or torch.isinf(first).any():
            raise ValueError(f"f must return finite values, got {_kinds(first)} on the instances themselves")
        again = self._call(x, "the instances themselves")
        if not torch.equal(first, again) and not torch.allclose(first, again, rtol=1e-6, atol=1e-8):
            worst = float((first - again).abs().max())
            raise ValueError(
                f"f must be a function: two calls on the same rows differ by {worst:.3g}; switch off its randomness "
                "(model.eval(), a fixed random state)"
            )
        if len(x) > 1:
            alone = self._call(x[:1], "the first instance alone")
            scale = float(first.abs().max()) + 1e-12
            if not torch.allclose(first[:1], alone, rtol=1e-3, atol=1e-3 * scale):
                raise ValueError(
                    f"f's answer for a row depends on the other rows of the batch (first instance: {first[0].tolist()} "
                    f"in a "
                    f"batch, {alone[0].tolist()} alone); f must treat rows separately (model.eval()?)"
                )
        self.outputs = first.shape[1]
        outputs = [self._call(self.players.x[r], f"instances {r.start} to {r.stop - 1}") for r in self._instance_rows()]
        outputs = torch.cat(outputs)
        self.target = _target(target, outputs, self.players.instances)
        self.at_x = self._linked(self._select(outputs, slice(0, None)))
        self.single = self.outputs == 1 or self.target is not None

    def _instance_rows(self):
        step = self._safe_rows()
        return [slice(i, min(i + step, self.players.instances)) for i in range(0, self.players.instances, step)]

    def at_baseline(self, donor_rows: torch.Tensor | None) -> torch.Tensor:
        """``f`` with every player replaced, ``(N, C)``; the mean over the donor rows where there are some."""
        p = self.players
        if donor_rows is None:
            moving = torch.zeros(1, p.count, dtype=torch.float64)
            group = torch.full((1,), -1)
            if len(p.baseline) == 1 and (p.index is None or bool((p.index < p.count).all())) and self.target is None:
                values = self._linked(self._call(p.baseline, "the baseline"))
                return values.expand(p.instances, -1)
            return self.values(moving, None, group)[:, 0]
        every = torch.zeros(donor_rows.shape[-1], p.count, dtype=torch.float64)
        return self.values(every, donor_rows, None).mean(1)

    def values(
        self, design: torch.Tensor, donor: torch.Tensor | None, group=None, operator: str = "mix"
    ) -> torch.Tensor:
        """Outputs ``(N, m, C)`` at the perturbations ``design`` (``(m, K)`` or ``(N, m, K)``)."""
        p, draws = self.players, design.shape[-2]
        design = self._as_input(design)
        channels = 1 if self.target is not None else self.outputs
        out = torch.empty(p.instances, draws, channels, dtype=torch.float64)
        for rows, part in self._chunks(draws):
            xi = design[part] if design.ndim == 2 else design[rows, part]
            chosen = donor if donor is None else (donor[part] if donor.ndim == 1 else donor[rows, part])
            batch = p.perturb(operator, xi, rows, chosen)
            got = self._timed_call(batch.reshape(-1, batch.shape[-1]), rows, part)
            out[rows, part] = self._select(got, rows, batch.shape[1]).view(*batch.shape[:2], channels)
        return self._linked(out)

    def gradients(self, design: torch.Tensor, reduce: torch.Tensor, operator: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs ``(N, m, C)`` and ``sum_i reduce[i, g] * grad_xi f(xi_i)`` as ``(N, G, K, C)``.

        ``reduce`` is ``(m, G)`` or ``(N, m, G)``: weights of the draws in each group.
        """
        p, draws = self.players, design.shape[-2]
        if not p.x.is_floating_point():
            raise TypeError("gradients need floating-point x; tokens and integers have none: use a mask neighbourhood")
        design = self._as_input(design)
        channels = 1 if self.target is not None else self.outputs
        out = torch.empty(p.instances, draws, channels, dtype=torch.float64)
        total = torch.zeros(p.instances, reduce.shape[-1], p.count, channels, dtype=torch.float64)
        for rows, part in self._chunks(draws):
            xi = design[part] if design.ndim == 2 else design[rows, part]
            batch = p.perturb(operator, xi, rows, None)
            flat = batch.reshape(-1, batch.shape[-1]).to(self.device).requires_grad_(True)
            weight = (reduce[part] if reduce.ndim == 2 else reduce[rows, part]).to(flat.dtype)
            with torch.enable_grad():
                got = self._timed_call(flat, rows, part, gradient=True)
                values = self._select(got, rows, batch.shape[1], keep_graph=True)
                linked = self._linked(values, check=False)
            out[rows, part] = values.detach().double().cpu().view(*batch.shape[:2], channels)
            for c in range(channels):
                if not linked.requires_grad:
                    raise TypeError(
                        "f's outputs carry no gradient (f is not differentiable by torch, or detaches); gradient-based "
                        "explanations need one: use clime(), lime(), kernelshap() or occlusion()"
                    )
                (gradient,) = torch.autograd.grad(
                    linked[:, c].sum(), flat, retain_graph=c + 1 < channels, allow_unused=True
                )
                if gradient is None:
                    gradient = torch.zeros_like(flat)
                gradient = gradient.view(batch.shape[0], batch.shape[1], -1).to(weight.device)
                reduced = (weight.mT @ gradient).double().cpu()
                if operator == "mix":
                    reduced = reduced * p.difference[rows, None].cpu()
                total[rows, :, :, c] += (
                    p.to_players(reduced)
                    if p.index is None or p.index.ndim == 1
                    else (_rows_of(p, rows).to_players(reduced))
                )
        if not torch.isfinite(total).all():
            raise ValueError("f has gradients that are not finite at some perturbations")
        return self._linked(out), total

    @property
    def differentiable(self) -> bool:
        """Whether torch can differentiate ``f`` at the instances."""
        if self.arrays or not self.players.x.is_floating_point():
            return False
        x = self.players.x[:1].to(self.device).clone().requires_grad_(True)
        with torch.enable_grad():
            try:
                got = self.f(x.reshape(1, *self.players.shape))
            except (RuntimeError, TypeError, ValueError):  # .numpy() on a tensor that requires grad
                return False
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

    def _as_input(self, design: torch.Tensor) -> torch.Tensor:
        x = self.players.x
        dtype = x.dtype if x.is_floating_point() else torch.float32
        return design.to(x.device, dtype)

    def _chunks(self, draws: int):
        """Blocks (instances, draws) of at most the chosen number of rows; whole instances where they fit."""
        done, chunk = (0, 0), self._safe_rows()
        instances = self.players.instances
        while done[0] < instances:
            chunk = self._chunk_rows()
            i, j = done
            if j == 0 and draws <= chunk:
                stop = min(i + chunk // draws, instances)
                yield slice(i, stop), slice(0, draws)
                done = (stop, 0)
            else:
                end = min(j + chunk, draws)
                yield slice(i, i + 1), slice(j, end)
                done = (i, end) if end < draws else (i + 1, 0)

    def _safe_rows(self) -> int:
        per_row = self.players.x[0].numel() * self.players.x.element_size() * 4
        return max(1, min(PLENTY, self.max_bytes // per_row))

    def _chunk_rows(self) -> int:
        """The rows of the next call: fixed for small instances, the fastest of three tried sizes for large ones."""
        if self.players.x.shape[1] <= SMALL:
            return self._safe_rows()
        times = self._times()
        for size in TRIED:
            if size not in times:
                return min(size, self._safe_rows())
        return min(min(times, key=times.get), self._safe_rows())

    def _times(self) -> dict[int, float]:
        key = self.players.shape
        try:
            return _FASTEST.setdefault(self.f, {}).setdefault(key, {})
        except TypeError:  # a callable without weak references
            return self.__dict__.setdefault("_own_times", {})

    @property
    def chunk(self) -> int:
        return self._chunk_rows()

    def _timed_call(self, flat: torch.Tensor, rows: slice, part: slice, gradient: bool = False) -> torch.Tensor:
        place = f"instances {rows.start} to {rows.stop - 1}, draws {part.start} to {part.stop - 1}"
        began = time.perf_counter()
        got = self._call(flat, place, gradient)
        if flat.shape[1] > SMALL and len(flat) in TRIED:
            spent = (time.perf_counter() - began) / len(flat)
            times = self._times()
            if len(flat) not in times:
                times[len(flat)] = spent
        if not torch.isfinite(got.detach().sum()) and not torch.isfinite(got.detach()).all():
            raise ValueError(f"f must return finite values, got {_kinds(got)} at {place}")
        return got

    def _call(self, flat: torch.Tensor, place: str, gradient: bool = False) -> torch.Tensor:
        batch = flat.reshape(len(flat), *self.players.shape).to(self.device)
        try:
            if self.arrays:
                got = self.f(batch.cpu().numpy())
            elif gradient:
                got = self.f(batch)
            else:
                with torch.no_grad():
                    got = self.f(batch)
        except Exception as error:
            error.add_note(f"raised by f on {place} (a batch of shape {tuple(batch.shape)})")
            raise
        self.rows += len(flat)
        return _as_outputs(got, len(flat), place)

    def _select(self, got: torch.Tensor, rows: slice, repeat: int = 1, keep_graph: bool = False) -> torch.Tensor:
        """The chosen output of every row: ``(n, C)`` or ``(n, 1)``."""
        if got.shape[1] != self.outputs:
            raise ValueError(f"f returned {self.outputs} outputs first and {got.shape[1]} now")
        if self.target is not None:
            index = self.target[rows].repeat_interleave(repeat).to(got.device)
            got = got.gather(1, index[:, None])
        return got if keep_graph else got.double().cpu()

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
                f"{float(values.max()):.3g}] "
                "(probabilities that round to 0 or 1: compute them in float64)"
            )
        return torch.logit(values)


def device_of(f, default: torch.device) -> torch.device:
    """The device of an ``nn.Module``'s parameters, or ``default``."""
    if isinstance(f, torch.nn.Module):
        for tensor in [*f.parameters(), *f.buffers()]:
            return tensor.device
    return default


def dtype_of(f) -> torch.dtype | None:
    """The floating dtype of an ``nn.Module``'s parameters, or ``None``."""
    if isinstance(f, torch.nn.Module):
        for tensor in f.parameters():
            if tensor.is_floating_point():
                return tensor.dtype
    return None


def _rows_of(players: Players, rows: slice) -> Players:
    return replace(players, index=players.index[rows])


def _refuse_training_mode(f) -> None:
    if not isinstance(f, torch.nn.Module) or not f.training:
        return
    moody = (torch.nn.modules.batchnorm._NormBase, torch.nn.modules.dropout._DropoutNd)
    for name, module in f.named_modules():
        if isinstance(module, moody) and module.training:
            raise ValueError(
                f"f is in training mode and holds {type(module).__name__} ({name or 'itself'}); call f.eval()"
            )


def _as_outputs(got, rows: int, place: str) -> torch.Tensor:
    """What ``f`` returned as a tensor ``(rows, C)``, or a refusal that says what it was."""
    if not isinstance(got, torch.Tensor):
        if isinstance(got, (tuple, list, dict)) or hasattr(got, "logits"):
            raise TypeError(
                f"f must return one array, got {type(got).__name__}; wrap it, for example lambda x: model(x)[0] or "
                f".logits"
            )
        array = np.asarray(got)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"f must return numbers, got dtype {array.dtype} (labels? pass predict_proba, not predict)")
        got = torch.from_numpy(np.array(array, dtype=np.float64))
    if got.is_complex():
        raise TypeError("f must return real values, got complex ones")
    if got.ndim == 0 or len(got) != rows or got.ndim > 2:
        raise ValueError(
            f"f must return one value or one row of outputs for each row: ({rows},) or ({rows}, C), "
            f"got shape {tuple(got.shape)} on {place}"
        )
    if got.ndim == 2 and got.shape[1] == 0:
        raise ValueError("f returned no outputs (a second axis of length 0)")
    return got.view(rows, -1) if got.is_contiguous() else got.reshape(rows, -1)


def _kinds(values: torch.Tensor) -> str:
    nan, inf = int(torch.isnan(values).sum()), int(torch.isinf(values).sum())
    return " and ".join(f"{n} {word}" for n, word in ((nan, "NaN"), (inf, "infinite")) if n)


def _target(target, outputs: torch.Tensor, instances: int) -> torch.Tensor | None:
    """The output to explain for every instance, or ``None`` for all of them."""
    classes = outputs.shape[1]
    if target is None:
        return None
    if isinstance(target, str):
        checks.choice("target", target, ("predicted",))
        return outputs.argmax(1)
    if isinstance(target, int) and not isinstance(target, bool):
        checks.integer("target", target, low=-classes, high=classes - 1)
        return torch.full((instances,), target % classes)
    index = checks.tensor("target", target, shape=(instances,)).cpu()
    if index.is_floating_point():
        raise TypeError(f"target must hold integers, got {index.dtype}")
    if int(index.min()) < 0 or int(index.max()) >= classes:
        raise ValueError(f"target must be within 0..{classes - 1}, got {int(index.min())}..{int(index.max())}")
    return index.long()
