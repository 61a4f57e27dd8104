"""Second derivatives of custom operations, by the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch


def twice(
    reference: Callable[..., torch.Tensor],
    inputs: Sequence[torch.Tensor | None],
    wanted: Sequence[int],
    gradient: torch.Tensor,
    cotangents: Sequence[torch.Tensor | None],
):
    """Gradients of the vector-Jacobian product of ``reference``.

    The product maps (inputs, gradient) to the gradients in ``inputs[k]``, k in ``wanted``. Returned are the gradients of
    its pairing with ``cotangents``: one for each of ``wanted``, then one for ``gradient``.
    """
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_() if x is not None and k in wanted else x for k, x in enumerate(inputs)]
        upstream = gradient.detach().requires_grad_()
        chosen = [leaf for leaf in (leaves[k] for k in wanted) if leaf is not None]
        first = torch.autograd.grad(reference(*leaves), chosen, upstream, create_graph=True, materialize_grads=True)
        pairs = [(out, c) for out, c in zip(first, cotangents) if c is not None and out.requires_grad]
        if not pairs:
            return (*[torch.zeros_like(x) for x in chosen], torch.zeros_like(upstream))
        outs, paired = zip(*pairs)
        return torch.autograd.grad(outs, [*chosen, upstream], paired, materialize_grads=True)
