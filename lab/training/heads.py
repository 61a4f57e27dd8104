r"""Gradients of single items with respect to a linear head, in closed form.

For logits z_i = W h_i + b and a loss l_i of item i with delta_i = dl_i/dz_i (for cross-entropy softmax(z_i) less the label),

.. math:: \frac{\partial l_i}{\partial W} = \delta_i h_i^\top, \qquad \frac{\partial l_i}{\partial b} = \delta_i, \qquad
          \Bigl\|\frac{\partial l_i}{\partial (W, b)}\Bigr\|^2 = \|\delta_i\|^2 (\|h_i\|^2 + 1).

Source: I. Goodfellow, 'Efficient per-example gradient computations', 2015.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from lab import checks

Loss = str | Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def head_gradients(
    head: nn.Linear, features: torch.Tensor, targets: torch.Tensor, loss: Loss = "cross_entropy"
) -> dict[str, torch.Tensor]:
    """The gradient of every item's loss: ``weight`` (items, outputs, features) and, if the head has one, ``bias`` (items, outputs).

    Args:
        head: a linear layer.
        features: h, (items, features).
        targets: of the loss, one entry an item.
        loss: "cross_entropy", or a callable ``(logits, targets) -> one value an item``, each of its own logits only.

    Differentiable in the features and the head where these require a gradient.

    >>> g = head_gradients(nn.Linear(3, 2), torch.ones(5, 3), torch.zeros(5).long())
    >>> tuple(g["weight"].shape), tuple(g["bias"].shape)
    ((5, 2, 3), (5, 2))
    """
    delta = _deltas(head, features, targets, loss)
    found = {"weight": delta[:, :, None] * features[:, None, :]}
    return found if head.bias is None else {**found, "bias": delta}


def head_gradient_norms(
    head: nn.Linear, features: torch.Tensor, targets: torch.Tensor, loss: Loss = "cross_entropy"
) -> torch.Tensor:
    """Euclidean norms of :func:`head_gradients`, (items,), without forming them."""
    delta = _deltas(head, features, targets, loss)
    size = features.square().sum(1) + (head.bias is not None)
    return (delta.square().sum(1) * size).sqrt()


def _deltas(head, features, targets, loss):
    if not isinstance(head, nn.Linear):
        raise TypeError(f"head must be a torch.nn.Linear, got {type(head).__name__}")
    features = checks.tensor("features", features, shape=(None, head.in_features), floating=True)
    if len(targets) != len(features):
        raise ValueError(f"targets must have one entry for each of the {len(features)} items, got {len(targets)}")
    if loss == "cross_entropy":
        label = F.one_hot(targets, head.out_features)
        return torch.softmax(F.linear(features, head.weight, head.bias), 1) - label
    if not callable(loss):
        raise ValueError(f"loss must be 'cross_entropy' or a callable (logits, targets), got {loss!r}")
    graph = torch.is_grad_enabled() and (features.requires_grad or head.weight.requires_grad)
    with torch.enable_grad():
        logits = F.linear(features, head.weight, head.bias)
        logits = logits if logits.requires_grad else logits.requires_grad_()
        values = loss(logits, targets)
        if values.shape != (len(features),):
            raise ValueError(f"loss must return one value an item, shape ({len(features)},), got {tuple(values.shape)}")
        return torch.autograd.grad(values.sum(), logits, create_graph=graph)[0]
