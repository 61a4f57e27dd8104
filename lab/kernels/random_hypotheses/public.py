"""The public function of random hypotheses: checks, choice of the form, pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from lab import checks
from lab.kernels import dispatch
from lab.kernels.random_hypotheses import reference
from lab.kernels.random_hypotheses.network import RandomNetwork

SMALL = 200_000
MEASURES = ("values", "squared", "error")
AT_ONCE = 1 << 16  # hypotheses a piece: between pieces Ctrl-C and progress are served


def random_hypotheses(
    network: RandomNetwork,
    x: torch.Tensor,
    target: torch.Tensor | None = None,
    *,
    count: int,
    seed: int = 0,
    start: int = 0,
    measure: str = "error",
    segments: Sequence[int] | None = None,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    r"""What ``count`` random networks do on the points ``x``; no network is ever stored.

    Networks ``start``, ..., ``start + count - 1`` of the law ``network`` are drawn inside the computation from
    (``seed``, index). Any of them comes back with ``network.parameters(seed, index)``, on any device.

    Args:
        network: the law.
        x: (n, features) points.
        target: ``"error"``: (n,) integer classes in [0, outputs); with one output, the sign of any number (positive
            is the positive class). ``"squared"``: (n,) with one output, or (n, outputs). Not used by ``"values"``.
        count: number of networks.
        seed: 0 <= seed < 2^64.
        start: index of the first network; consecutive calls continue the same sequence.
        measure: ``"values"`` outputs; ``"squared"`` mean squared error over points and outputs; ``"error"`` fraction of
            points put in the wrong class.
        segments: sizes of consecutive parts of ``x`` measured apart, such as (n_train, n_test); their sum is n.
        progress: called with the finished fraction.

    Returns:
        ``"values"``: (count, n, outputs). Otherwise (count,), or (count, len(segments)) if segments are given.
        In the dtype of ``x``; gradients in ``x`` and ``target`` (``"values"`` and ``"squared"``).

    Raises:
        ValueError, TypeError: NaN, infinite, empty, complex, mismatched shapes, labels out of range, count < 1.

    Source of guess-and-check: Ping-yeh Chiang, Renkun Ni, David Miller, Arpit Bansal, Jonas Geiping, Micah Goldblum,
    Tom Goldstein, 'Loss Landscapes are All You Need', ICLR 2023, section 3.
    """
    if not isinstance(network, RandomNetwork):
        raise TypeError(f"network must be a RandomNetwork, got {type(network).__name__}")
    checks.choice("measure", measure, MEASURES)
    eager = dispatch.eager()
    x = checks.tensor("x", x, shape=(None, network.features), floating=True, finite=eager)
    count = checks.integer("count", count, low=1)
    seed = checks.integer("seed", seed, low=0, high=2**64 - 1)
    start = checks.integer("start", start, low=0, high=2**63 - 1 - count)
    parts = _segments(segments, len(x))
    target = _target(target, x, network, measure, eager)
    refused = ""
    if x.is_cuda or dispatch.interpreting():
        refused = _gpu_refusal(network)
    if torch.is_grad_enabled() and (x.requires_grad or (target is not None and target.requires_grad)):
        refused = "a gradient in x or target is asked for"
    work = count * len(x) * network.size
    choice = dispatch.choose("random_hypotheses", x, work=work, small=SMALL, refused=refused)
    if choice.path == "reference":

        def run(first, size):
            return reference.random_hypotheses(network, x, target, size, seed, first, measure, parts)
    else:
        from lab.kernels.random_hypotheses import op

        def run(first, size):
            return op.random_hypotheses(network, x, target, size, seed, first, measure, parts, choice.path)

    found = []
    for first in range(0, count, AT_ONCE):
        size = min(AT_ONCE, count - first)
        found.append(run(start + first, size))
        if progress is not None:
            progress((first + size) / count)
    result = found[0] if len(found) == 1 else torch.cat(found)
    return result[:, 0] if segments is None and measure != "values" else result


def _gpu_refusal(network: RandomNetwork) -> str:
    """Why a network has no GPU form: its tiles share one width."""
    if len(set(network.widths)) > 1:
        return "the GPU form needs equal hidden widths"
    widest = max(network.features, network.outputs, *network.widths, 1)
    return "" if widest <= 128 else f"the GPU form holds widths up to 128, got {widest}"


def _segments(segments, points: int) -> tuple[int, ...]:
    if segments is None:
        return (points,)
    parts = tuple(checks.integer("segments", size, low=1) for size in segments)
    if sum(parts) != points:
        raise ValueError(f"segments must add up to the number of points ({points}), got {parts} with sum {sum(parts)}")
    return parts


def _target(target, x, network, measure, eager):
    if measure == "values":
        return None
    if target is None:
        raise ValueError(f"target is needed by measure={measure!r}")
    target = checks.tensor("target", target, ndim=(1, 2), finite=eager)
    if measure == "squared":
        if target.ndim == 1 and network.outputs == 1:
            target = target[:, None]
        if tuple(target.shape) != (len(x), network.outputs):
            raise ValueError(f"target must have shape ({len(x)}, {network.outputs}), got {tuple(target.shape)}")
        return target.to(dtype=x.dtype, device=x.device)
    if tuple(target.shape) != (len(x),):
        raise ValueError(f"target must have shape ({len(x)},), got {tuple(target.shape)}")
    if network.outputs == 1:
        return torch.where(target.detach() > 0, 1, 0).to(x.device)
    if target.is_floating_point():
        raise TypeError(f"target must hold integer classes with {network.outputs} outputs, got {target.dtype}")
    if eager and (int(target.min()) < 0 or int(target.max()) >= network.outputs):
        raise ValueError(
            f"target must lie in [0, {network.outputs}), got values from {int(target.min())} to {int(target.max())}"
        )
    return target.to(device=x.device, dtype=torch.int64)
