"""random_hypotheses in torch operations alone: parameters of a piece of the hypotheses, batched products, reduction."""

from __future__ import annotations

import torch

from lab.kernels.random_hypotheses.network import RandomNetwork

HELD = 1 << 22  # numbers held at once: parameters and activations of a piece


def random_hypotheses(
    network: RandomNetwork,
    x: torch.Tensor,
    target: torch.Tensor | None,
    count: int,
    seed: int,
    start: int,
    measure: str,
    segments: tuple[int, ...],
) -> torch.Tensor:
    """See :func:`lab.kernels.random_hypotheses`; arguments arrive checked."""
    per_item = network.size + len(x) * max(network.features, network.outputs, *network.widths, 1)
    piece = max(1, HELD // per_item)
    index = torch.arange(start, start + count, device=x.device)
    found = [reduce(network.evaluate(x, seed, part), target, measure, segments) for part in index.split(piece)]
    return torch.cat(found)


def reduce(values: torch.Tensor, target: torch.Tensor | None, measure: str, segments: tuple[int, ...]) -> torch.Tensor:
    """Reduce outputs (k, n, outputs) to what ``measure`` asks for."""
    if measure == "values":
        return values
    assert target is not None  # every measure but the values compares with targets
    if measure == "squared":
        error = (values - target).square().mean(-1)
    elif values.shape[-1] == 1:
        error = (values[..., 0] > 0).ne(target > 0).to(values.dtype)
    else:
        error = values.argmax(-1).ne(target).to(values.dtype)
    return torch.stack([part.mean(-1) for part in error.split(list(segments), dim=-1)], dim=-1)
