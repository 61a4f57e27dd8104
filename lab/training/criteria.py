"""Loss functions of one model's batch, evaluated on the batches of all models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch.func import vmap

from lab import checks

NAMES = ("cross_entropy", "binary_cross_entropy", "squared_error")


class Criterion:
    """``criterion(logits (models, batch, ...), targets, weights or None) -> (models,)``, each model's mean loss.

    With ``weights`` (models, batch) the loss of a model is ``mean_i w_i l_i``.
    """

    def __init__(self, loss, models: int, weighted: bool = False):
        losses = list(loss) if isinstance(loss, Sequence) and not isinstance(loss, str) else [loss] * models
        if len(losses) != models:
            raise ValueError(f"loss must be one for all models or one for each of the {models}, got {len(losses)}")
        groups: list[tuple[Callable | str, list[int]]] = []
        for index, one in enumerate(losses):
            if isinstance(one, str):
                checks.choice("loss", one, NAMES)
            elif not callable(one):
                raise TypeError(f"loss must be a name or callable (logits, targets), got {type(one).__name__}")
            elif weighted and getattr(one, "reduction", None) != "none":
                raise ValueError(
                    "sample_weights need a loss of single items: a name, or a callable with reduction == 'none'"
                )
            same = next(
                (rows for other, rows in groups if other is one or (isinstance(one, str) and other == one)), None
            )
            if same is None:
                groups.append((one, [index]))
            else:
                same.append(index)
        self.losses = losses
        self.groups = [(one, torch.tensor(rows)) for one, rows in groups]
        self.back = torch.argsort(torch.cat([rows for _, rows in self.groups]))

    def __call__(self, logits, targets, weights=None):
        if len(self.groups) == 1:
            return _group(self.groups[0][0], logits, targets, weights)
        parts = []
        for loss, rows in self.groups:
            rows = rows.to(logits.device)
            chosen = [None if value is None else value.index_select(0, rows) for value in (logits, targets, weights)]
            parts.append(_group(loss, *chosen))
        return torch.cat(parts).index_select(0, self.back.to(logits.device))


def _group(loss, logits, targets, weights):
    if isinstance(loss, str):
        items = named(loss, logits, targets)
    elif getattr(loss, "reduction", None) == "none":
        items = loss(logits.flatten(0, 1), targets.flatten(0, 1)).view(*logits.shape[:2], -1).mean(dim=2)
    else:
        values = _scalars(loss, logits, targets)
        if values.ndim != 1:
            raise ValueError(
                f"loss must return one number for a model's batch, got shape {tuple(values.shape[1:])}; "
                "give it an attribute reduction = 'none' if it returns one value per item"
            )
        return values
    return (items if weights is None else items * weights).mean(dim=1)


def _scalars(loss, logits, targets):
    """The loss of each model's batch: mapped, or one by one where the loss looks at values or draws random numbers."""
    try:
        return vmap(loss)(logits, targets)
    except RuntimeError as error:
        if "vmap" not in str(error):
            raise
    return torch.stack([loss(z, y) for z, y in zip(logits, targets)])


def named(loss: str, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Loss of single items (models, batch); trailing axes (pixels, outputs) are averaged."""
    if loss == "cross_entropy":
        if logits.ndim == 3:
            return F.cross_entropy(logits.transpose(1, 2).contiguous(), targets, reduction="none")
        items = F.cross_entropy(logits.flatten(0, 1), targets.flatten(0, 1), reduction="none")
    else:
        if logits.ndim == targets.ndim + 1 and logits.shape[2] == 1:
            targets = targets.unsqueeze(2)
        if logits.shape != targets.shape:
            raise ValueError(
                f"targets must have the outputs' shape for {loss}, got {tuple(targets.shape[2:])} and "
                f"{tuple(logits.shape[2:])} per item"
            )
        targets = targets.to(logits.dtype)
        function = F.binary_cross_entropy_with_logits if loss == "binary_cross_entropy" else F.mse_loss
        items = function(logits, targets, reduction="none")
    return items.reshape(*logits.shape[:2], -1).mean(dim=2)
