"""The public function of row losses: checks, layout, choice of the form."""

from __future__ import annotations

import torch

from lab import checks
from lab.kernels import dispatch
from lab.kernels.precision import wide
from lab.kernels.rowloss import reference
from lab.kernels.rowloss.family import RowLoss, comp_sum

SMALL = 20_000


def rowloss(
    logits: torch.Tensor,
    target: torch.Tensor,
    loss: RowLoss | None = None,
    *,
    temperature: float | torch.Tensor = 1.0,
    weight: float | torch.Tensor = 1.0,
) -> torch.Tensor:
    r"""One loss value for each row of scores, with gradients in ``logits``, ``temperature`` and ``weight``.

    .. math:: u_i = \sum_{j \ne y_i} \exp\frac{z_{ij} - z_{iy_i} + c}{t_i},\qquad
              \ell_i = w_i\, t_i^{s}\,\bigl(\Phi_\tau(\log(1 + u_i)) - o\bigr)

    The loss objects (:func:`lab.kernels.comp_sum`, ...) fix tau, c, s and o. Values keep their relative accuracy at any
    margin: float32 ``torch.nn.functional.cross_entropy`` returns exactly 0 from a margin of about 18 on.

    Args:
        logits: scores z, shape (N, C), (B, C, L), (B, C, H, W) or (B, C, D, H, W); classes on axis 1, C >= 2.
        target: integer labels in [0, C), shape of ``logits`` without axis 1.
        loss: a member of the family; cross-entropy by default.
        temperature: t > 0, one number or one per row (shape of ``target``).
        weight: w, one number or one per row: class or instance weights, KL-DRO weights, EnsLoss derivatives.

    Returns:
        Losses in the shape of ``target`` and the dtype of ``logits`` (half precision is computed in float32).

    Raises:
        ValueError, TypeError: NaN or infinite values, wrong shapes, labels out of range, temperature <= 0, complex
            numbers, float16 with tau < 1 (its gradients overflow).
    """
    loss = comp_sum() if loss is None else loss
    if not isinstance(loss, RowLoss):
        raise TypeError(f"loss must be a RowLoss such as lab.kernels.comp_sum(1.0), got {type(loss).__name__}")
    eager = dispatch.eager()
    logits = checks.tensor("logits", logits, ndim=(2, 3, 4, 5), floating=True, finite=eager)
    shape = (logits.shape[0], *logits.shape[2:])
    target = checks.tensor("target", target, shape=shape)
    if target.is_floating_point() or target.dtype == torch.bool:
        raise TypeError(f"target must hold integer labels, got {target.dtype}")
    classes = logits.shape[1]
    if classes < 2:
        raise ValueError(f"logits must have at least 2 classes on axis 1, got shape {tuple(logits.shape)}")
    refuse_overflow(logits, loss)
    unsigned = target.dtype == torch.uint64
    target = target.to(device=logits.device, dtype=torch.int64)
    if unsigned and eager and int(target.min()) < 0:
        raise ValueError("target must hold labels below 2^63, got larger ones in torch.uint64")
    if eager:
        low, high = torch.aminmax(target)
        if int(low) < 0 or int(high) >= classes:
            raise ValueError(f"target must lie in [0, {classes}), got values from {int(low)} to {int(high)}")
    temperature = per_row("temperature", temperature, shape, logits, positive=True)
    weight = per_row("weight", weight, shape, logits)

    z = logits.flatten(2) if logits.ndim > 2 else logits.unsqueeze(2)
    y = target.reshape(z.shape[0], z.shape[2])
    t, w = (x if isinstance(x, float) or x.ndim == 0 else x.reshape(y.shape) for x in (temperature, weight))
    choice = dispatch.choose("rowloss", z, work=z.numel(), small=SMALL)
    if choice.path == "reference":
        half = z.dtype in (torch.float16, torch.bfloat16)
        log_u = reference.log_others(z.float() if half else z, y, t, loss.margin)
    else:
        from lab.kernels.rowloss import op

        scale = torch.tensor(t, dtype=torch.float32, device=z.device) if isinstance(t, float) else t
        log_u = op.log_others(z, y, scale, loss.margin)
    return reference.value(log_u, t, w, loss, classes).to(logits.dtype).reshape(shape)


def refuse_overflow(logits: torch.Tensor, loss: RowLoss) -> None:
    """``TypeError`` for scores in float16 and a loss that grows exponentially, whose gradients that range does not hold."""
    if getattr(logits, "dtype", None) == torch.float16 and loss.kind == "comp" and loss.tau < 1:
        raise TypeError(f"logits in float16 overflow for tau < 1 (tau = {loss.tau}); use bfloat16 or float32")


def per_row(
    name: str, value, shape: tuple[int, ...], like: torch.Tensor, *, positive: bool = False
) -> torch.Tensor | float:
    """``value`` as a float, or as a tensor () or ``shape`` on the device of ``like``; half precision becomes float32."""
    dtype = torch.float32 if like.dtype in (torch.float16, torch.bfloat16) else like.dtype
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return checks.number(name, value, low=0.0 if positive else None, open_low=positive)
    result = checks.tensor(name, value, finite=dispatch.eager())
    if tuple(result.shape) not in ((), shape):
        raise ValueError(f"{name} must be one number or have shape {shape}, got {tuple(result.shape)}")
    if positive and dispatch.eager() and bool((result <= 0).any()):
        raise ValueError(f"{name} must be greater than 0, got a smallest value of {float(result.min()):.6g}")
    return result.to(device=like.device, dtype=dtype)


def kl_dro_weights(losses: torch.Tensor, radius: float) -> torch.Tensor:
    r"""The worst-case instance weights of KL-regularized distributional robustness, with mean one.

    .. math:: w_i = N\,\frac{\exp(\ell_i/r)}{\sum_j \exp(\ell_j/r)}

    They maximize :math:`\sum_i \tfrac{w_i}{N}\ell_i - r\,\mathrm{KL}(w/N\,\|\,1/N)`; the mean of ``weight * loss`` with
    these weights held fixed has the gradient of :math:`r\log\frac1N\sum_i e^{\ell_i/r}`.

    Args:
        losses: shape (N,) or any other; weights have the same shape and carry no gradient.
        radius: r > 0, in the unit of the losses; r to infinity gives equal weights, r to 0 the worst sample.
    """
    losses = wide(checks.tensor("losses", losses, floating=True, finite=dispatch.eager()))
    radius = checks.number("radius", radius, low=0.0, open_low=True)
    flat = losses.detach().flatten() / radius
    return (torch.softmax(flat, dim=0) * flat.numel()).reshape(losses.shape)
