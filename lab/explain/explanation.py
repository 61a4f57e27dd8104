"""The result of :func:`lab.explain.explain`: weights with error bars, what they cost, and how far to trust them."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lab import checks


class ExplanationWarning(UserWarning):
    """An explanation that was computed but should not be taken at face value; the text says why."""


@dataclass(frozen=True)
class Diagnostics:
    """What the fit cost and how sound it is; tensors hold one value an instance.

    ``draws`` perturbations an instance, ``calls`` rows given to ``f`` in all, ``exact`` (nothing was sampled),
    ``effective_sample_size`` (Kish), ``condition_number`` of the normal equations, ``completeness_gap``
    ``|sum of weights - (f(x) - f(b))|`` (NaN where the method promises no such sum), ``converged``, ``chunk`` rows a
    call.
    """

    draws: int
    calls: int
    exact: bool
    effective_sample_size: torch.Tensor
    condition_number: torch.Tensor
    completeness_gap: torch.Tensor
    converged: torch.Tensor
    chunk: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """Weights of the local surrogate ``g`` of ``f`` at every instance.

    ``weights`` and ``standard_error`` are ``(N, K)``, or ``(N, K, C)`` where all C outputs are explained; ``intercept``
    is
    ``(N,)`` or ``(N, C)``, ``interactions`` ``(N, K, K)`` or ``(N, K, K, C)`` for ``degree=2``. ``local_risk`` is the
    part of the variance of ``f`` over the neighbourhood that ``g`` misses (``1 - R^2``), out of sample. ``quantile``
    turns the standard error into the interval of the asked confidence.
    """

    weights: torch.Tensor
    intercept: torch.Tensor
    standard_error: torch.Tensor
    local_risk: torch.Tensor
    interactions: torch.Tensor | None
    names: tuple[str, ...]
    neighbourhood: Any
    model: Any
    loss: Any
    confidence: float
    quantile: float
    diagnostics: Diagnostics
    problem: Any = field(default=None, repr=False, compare=False)

    @property
    def interval(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Lower and upper ends at the asked confidence, in the shape of ``weights``."""
        half = self.quantile * self.standard_error
        return self.weights - half, self.weights + half

    def predict(self, xi) -> torch.Tensor:
        """``g(xi)`` in the link's scale for perturbations ``xi`` ``(m, K)`` or ``(N, m, K)``: ``(N, m)`` or ``(N, m,
        C)``."""
        count = self.weights.shape[1]
        xi = checks.tensor("xi", xi, ndim=(2, 3)).double()
        if xi.shape[-1] != count or (xi.ndim == 3 and len(xi) != len(self.weights)):
            raise ValueError(
                f"xi must have shape (m, {count}) or ({len(self.weights)}, m, {count}), got {tuple(xi.shape)}"
            )
        weights = self.weights.view(len(self.weights), count, -1)
        value = (xi @ weights) + self.intercept.view(len(weights), 1, -1)
        if self.interactions is not None:
            product = self.interactions.view(len(weights), count, count, -1)
            both = xi[..., :, None] * xi[..., None, :]
            upper = torch.triu(torch.ones(count, count, dtype=torch.float64))
            value = value + torch.einsum(
                "...mij,nijc->nmc" if xi.ndim == 2 else "nmij,nijc->nmc", both * upper, product
            )
        return value[..., 0] if self.weights.ndim == 2 else value

    def resolve(self, neighbourhood, *, confidence: float | None = None) -> Explanation:
        """The explanation for another kernel or width from the outputs at hand, without calling ``f``.

        The cached draws are weighted by the ratio of the two laws; ``diagnostics.effective_sample_size`` says how many
        of them still count. For laws of the same operator and the squared loss.
        """
        if self.problem is None:
            raise ValueError(
                "this explanation holds no outputs of f (it was loaded from a file, or fitted in blocks within max_bytes); "
                "call explain() again"
            )
        return self.problem.resolve(self, neighbourhood, confidence)

    def to_frame(self):
        """One row an instance, feature and output: weight, standard error, interval."""
        import pandas as pd

        low, high = self.interval
        n, k = self.weights.shape[:2]
        outputs = 1 if self.weights.ndim == 2 else self.weights.shape[2]
        index = np.indices((n, k, outputs)).reshape(3, -1)
        frame = pd.DataFrame({"instance": index[0], "feature": np.asarray(self.names, dtype=object)[index[1]]})
        if self.weights.ndim == 3:
            frame["output"] = index[2]
        for name, values in (
            ("weight", self.weights),
            ("standard_error", self.standard_error),
            ("low", low),
            ("high", high),
        ):
            frame[name] = values.reshape(-1).numpy()
        return frame

    def save(self, path) -> Path:
        """Write the numbers and settings (not ``f``, not its outputs) to one ``.npz`` file."""
        path = Path(path)
        header = {
            "names": list(self.names),
            "neighbourhood": repr(self.neighbourhood),
            "model": repr(self.model),
            "loss": repr(self.loss),
            "confidence": self.confidence,
            "quantile": self.quantile,
            "draws": self.diagnostics.draws,
            "calls": self.diagnostics.calls,
            "exact": self.diagnostics.exact,
            "chunk": self.diagnostics.chunk,
            "warnings": list(self.diagnostics.warnings),
        }
        arrays = {name: getattr(self, name).numpy() for name in _ARRAYS if getattr(self, name) is not None}
        arrays |= {name: getattr(self.diagnostics, name).numpy() for name in _MEASURES}
        partial = path.with_name(path.name + ".part")
        with open(partial, "wb") as file:
            np.savez(file, header=np.array(json.dumps(header)), **arrays)
        partial.replace(path)
        return path


def joined(parts: list[Explanation]) -> Explanation:
    """One explanation of the instances of several, in order; it holds no outputs of ``f``."""
    first, told = parts[0], [part.diagnostics for part in parts]
    arrays: dict[str, Any] = {
        name: None if getattr(first, name) is None else torch.cat([getattr(part, name) for part in parts])
        for name in _ARRAYS
    }
    diagnostics = Diagnostics(
        max(each.draws for each in told),
        sum(each.calls for each in told),
        all(each.exact for each in told),
        chunk=told[0].chunk,
        warnings=tuple(dict.fromkeys(text for each in told for text in each.warnings)),
        **{name: torch.cat([getattr(each, name) for each in told]) for name in _MEASURES},
    )
    return replace(first, **arrays, diagnostics=diagnostics, problem=None)


_ARRAYS = ("weights", "intercept", "standard_error", "local_risk", "interactions")
_MEASURES = ("effective_sample_size", "condition_number", "completeness_gap", "converged")


def load(path) -> Explanation:
    """Read what :meth:`Explanation.save` wrote; settings come back as their text."""
    with np.load(Path(path), allow_pickle=False) as stored:
        if "header" not in stored:
            raise ValueError(f"{path} holds no explanation (no header)")
        header = json.loads(str(stored["header"]))
        arrays = {name: torch.from_numpy(stored[name]) for name in (*_ARRAYS, *_MEASURES) if name in stored}
    own = {key: header.pop(key) for key in ("names", "neighbourhood", "model", "loss", "confidence", "quantile")}
    own["names"] = tuple(own["names"])
    header["warnings"] = tuple(header["warnings"])
    measures: dict[str, Any] = {name: arrays.pop(name) for name in _MEASURES}
    return Explanation(**{"interactions": None, **arrays, **own}, diagnostics=Diagnostics(**header, **measures))


def warn(texts: tuple[str, ...]) -> None:
    """Say each text once, at the caller's line."""
    for text in texts:
        warnings.warn(text, ExplanationWarning, stacklevel=4)
