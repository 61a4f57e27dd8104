r"""The distillation loss: a student follows the softened probabilities of a teacher, and the labels.

.. math:: L = w\,\tau^2\,\mathrm{KL}\bigl(\sigma(t/\tau)\,\|\,\sigma(z/\tau)\bigr) + (1 - w)\,\mathrm{CE}(z, y)

with the student's logits z, the teacher's t, softmax sigma and temperature tau; tau^2 keeps the gradients of both parts on one
scale. KL and CE are means over items and sums over classes.

Source: G. Hinton, O. Vinyals, J. Dean, 'Distilling the knowledge in a neural network', 2015, section 2. A mean over items *and*
classes, as some published codes take it, makes the teacher's part weaker by the number of classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lab import checks

REDUCTIONS = ("mean", "none")


def distillation_loss(
    logits: torch.Tensor,
    teacher: torch.Tensor,
    targets: torch.Tensor | None = None,
    temperature: float = 2.0,
    weight: float = 0.7,
    *,
    reduction: str = "mean",
) -> torch.Tensor:
    """The loss above.

    Args:
        logits: of the student, (..., classes).
        teacher: logits of the teacher, of the same shape; they get no gradient.
        targets: int64 classes (...), not needed where ``weight`` is 1.
        temperature: tau > 0.
        weight: of the teacher's part, in [0, 1].
        reduction: "mean" over items, or "none", one value an item.

    >>> z = torch.randn(4, 3)
    >>> float(distillation_loss(z, z, weight=1.0)) < 1e-6
    True
    """
    temperature = checks.number("temperature", temperature, low=0.0, open_low=True)
    weight = checks.number("weight", weight, low=0.0, high=1.0)
    checks.choice("reduction", reduction, REDUCTIONS)
    checks.same_shape("logits", logits, "teacher", teacher)
    if targets is None and weight < 1:
        raise ValueError(f"targets are needed where weight is below 1, got weight={weight:g} and no targets")
    if targets is not None and targets.shape != logits.shape[:-1]:
        raise ValueError(f"targets must have shape {tuple(logits.shape[:-1])}, got {tuple(targets.shape)}")
    log_p = torch.log_softmax(teacher.detach() / temperature, -1)
    log_q = torch.log_softmax(logits / temperature, -1)
    items = weight * temperature**2 * (log_p.exp() * (log_p - log_q)).nan_to_num(0.0).sum(-1)
    if weight < 1:
        hard = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), reduction="none")
        items = items + (1 - weight) * hard.reshape(items.shape)
    return items.mean() if reduction == "mean" else items
