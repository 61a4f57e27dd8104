r"""Comp-sum losses: cross-entropy and its relatives on one curve, their consistency bounds, and their smooth adversarial form.

For scores z of n classes and label y put u = sum_{j != y} exp(z_j - z_y), so that 1 + u = 1/p_y with the softmax p. Then

.. math:: \ell_\tau(z, y) = \Phi_\tau(u), \qquad
          \Phi_\tau(u) = \frac{(1 + u)^{1 - \tau} - 1}{1 - \tau} \;(\tau \ne 1), \qquad \Phi_1(u) = \log(1 + u).

tau = 0 is the sum-exponential loss, 1 cross-entropy, 1 < tau < 2 generalized cross-entropy with q = tau - 1, and 2 the mean
absolute error up to a factor of two. Losses of different tau are not on one scale: compare models by their accuracy.

Source: A. Mao, M. Mohri, Y. Zhong, 'Cross-Entropy Loss Functions: Theoretical Analysis and Applications', ICML 2023,
equation (3) for the family, Theorem 3.1 for the bounds, Section 5 for the adversarial form.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import nn

from lab import checks
from lab.kernels import comp_sum, rowloss
from lab.kernels.precision import wide
from lab.kernels.rowloss.public import refuse_overflow
from lab.losses.reduction import REDUCTIONS, class_labels, counted_rows, row_losses


def comp_sum_loss(
    logits: Float[torch.Tensor, "n classes *space"],
    target: Int[torch.Tensor, " n *space"],
    tau: float = 1.0,
    *,
    weight: torch.Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> torch.Tensor:
    """The comp-sum loss of index ``tau``: see the module's formula; arguments as ``torch.nn.functional.cross_entropy``.

    For ``tau`` < 1 rows whose loss would overflow are drawn back to exp(80) (exp(700) in double precision): values and
    gradients stay finite, the direction of the gradient is kept.

    Raises:
        ValueError: ``tau`` below 0, labels out of range, shapes that differ.
        TypeError: float16 scores at ``tau`` < 1, whose values overflow that range at once.
    """
    tau = checks.number("tau", tau, low=0.0)
    if tau >= 1.0:
        return row_losses(logits, target, comp_sum(tau), weight=weight, ignore_index=ignore_index, reduction=reduction)
    refuse_overflow(logits, comp_sum(tau))
    rows = counted_rows(logits, target, weight=weight, ignore_index=ignore_index, reduction=reduction, finite=False)
    if rows.target.numel() == 0:
        return rows.nothing()
    return rows.reduced(rowloss(_drawn_back(rows.logits, rows.target, tau), rows.target, comp_sum(tau)))


def _drawn_back(logits, target, tau):
    """Scores of which rows with (1 - tau) log(1 + u) beyond the range of the exponential are shrunk to its end."""
    largest = 700.0 if logits.dtype == torch.float64 else 80.0
    with torch.no_grad():
        margin = (logits.amax(1) - logits.gather(1, target.unsqueeze(1)).squeeze(1)).to(torch.float64)
        exponent = (1 - tau) * (margin + math.log(logits.shape[1]))  # bounds it from above
        beyond = torch.isfinite(exponent) & (exponent > largest)
        if not bool(beyond.any()):
            return logits
        # of the margin alone: log n stays
        share = (largest / (1 - tau) - math.log(logits.shape[1])) / margin
        share = torch.where(beyond, share, torch.ones_like(share)).to(logits.dtype).unsqueeze(1)
    return logits * share


class CompSumLoss(nn.Module):
    """:func:`comp_sum_loss` as a module.

    Args:
        tau: index of the loss, at least 0; 1 is cross-entropy. Below 1 the loss grows like exp((1 - tau) * margin) on wrong
            rows: clip gradients. It stays finite however large the margin, see :func:`comp_sum_loss`.
        weight: one factor per class.
        ignore_index: label of rows that do not count.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
    """

    weight: torch.Tensor | None

    def __init__(
        self, tau: float = 1.0, *, weight: torch.Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
    ):
        super().__init__()
        self.tau = checks.number("tau", tau, low=0.0)
        self.reduction = checks.choice("reduction", reduction, REDUCTIONS)
        self.ignore_index = checks.integer("ignore_index", ignore_index)
        self.register_buffer("weight", None if weight is None else checks.tensor("weight", weight, ndim=1))

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return comp_sum_loss(
            logits, target, self.tau, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )

    def extra_repr(self) -> str:
        return f"tau={self.tau}, reduction={self.reduction!r}"


def t_tau(beta: float | torch.Tensor, tau: float, classes: int) -> torch.Tensor:
    r"""The transform T_tau of the consistency bound: surrogate excess risk that a zero-one excess risk ``beta`` needs at least.

    With a = 1/(2 - tau) and A(b) = ((1 + b)^a/2 + (1 - b)^a/2)^(1/a):

    .. math:: T_\tau(b) = \begin{cases} \frac{2^{1-\tau}}{1-\tau}\,(1 - A(b)) & 0 \le \tau < 1\\
              \frac{1+b}{2}\log(1+b) + \frac{1-b}{2}\log(1-b) & \tau = 1\\
              \frac{A(b) - 1}{(\tau-1)\,n^{\tau-1}} & 1 < \tau < 2\\ \frac{b}{(\tau-1)\,n^{\tau-1}} & \tau \ge 2\end{cases}

    Args:
        beta: zero-one excess risks in [0, 1].
        tau: index of the loss.
        classes: number of classes n >= 2; matters only for tau > 1.

    Returns:
        float64 tensor of the shape of ``beta``.

    Source: Mao, Mohri, Zhong, ICML 2023, Theorem 3.1.
    """
    tau = checks.number("tau", tau, low=0.0)
    classes = checks.integer("classes", classes, low=2)
    b = checks.tensor("beta", beta, empty=True).to(torch.float64)
    if b.numel() and (float(b.min()) < 0 or float(b.max()) > 1):
        raise ValueError(f"beta must lie in [0, 1], got values from {float(b.min()):.6g} to {float(b.max()):.6g}")
    if tau == 1.0:
        return 0.5 * (torch.special.xlog1py(1 + b, b) + torch.special.xlog1py(1 - b, -b))
    if tau >= 2.0:
        return b / ((tau - 1) * classes ** (tau - 1))
    a = 1 / (2 - tau)
    # log A by expm1 and log1p: A - 1 is of order b^2 and would lose its digits for small b
    power_mean = 0.5 * (torch.expm1(a * torch.log1p(b)) + torch.expm1(torch.special.xlog1py(torch.full_like(b, a), -b)))
    excess = torch.expm1(torch.log1p(power_mean) / a)
    scale = 2 ** (1 - tau) / (1 - tau) if tau < 1 else -1 / ((tau - 1) * classes ** (tau - 1))
    return -scale * excess


def gamma_tau(value: float | torch.Tensor, tau: float, classes: int) -> torch.Tensor:
    r"""The bound Gamma_tau, inverse of :func:`t_tau`: largest zero-one excess risk at a surrogate excess risk ``value``.

    For every hypothesis h of a symmetric, complete set H and minimizability gaps M,

    .. math:: R_{01}(h) - R_{01}^*(H) + M_{01}(H) \le \Gamma_\tau\bigl(R_\tau(h) - R_\tau^*(H) + M_\tau(H)\bigr).

    Args:
        value: surrogate excess risks, at least 0 (infinity is allowed and gives 1).
        tau, classes: as in :func:`t_tau`.

    Returns:
        float64 tensor in [0, 1], accurate to about 1e-14; 1 beyond T_tau(1), where the bound says nothing.
    """
    t = checks.tensor("value", value, empty=True, finite=False).to(torch.float64)
    if bool(torch.isnan(t).any()) or (t.numel() and float(t.min()) < 0):
        raise ValueError("value must be at least 0 and not NaN")
    low, high = torch.zeros_like(t), torch.ones_like(t)
    for _ in range(60):  # T_tau increases on [0, 1]: bisection to the last bit
        middle = (low + high) / 2
        above = t_tau(middle, tau, classes) > t
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return torch.where(t >= t_tau(torch.ones_like(t), tau, classes), torch.ones_like(t), high)


def conditional_risk(probabilities: Float[torch.Tensor, "... classes"], tau: float) -> torch.Tensor:
    r"""The smallest expected loss over all scores for class probabilities p: the pointwise Bayes risk of the surrogate.

    .. math:: C^*_\tau(p) = \frac{\bigl(\sum_i p_i^{a}\bigr)^{1/a} - 1}{1 - \tau}, \quad a = \frac{1}{2 - \tau}, \qquad
              C^*_1(p) = -\sum_i p_i \log p_i, \qquad C^*_{\tau \ge 2}(p) = \frac{1 - \max_i p_i}{\tau - 1}.

    Derived by minimizing over the softmax: the optimum has p_i s_i^{tau - 2} constant; for tau >= 2 it is a vertex.
    """
    tau = checks.number("tau", tau, low=0.0)
    p = checks.tensor("probabilities", probabilities).to(torch.float64)
    if float(p.min()) < 0 or float((p.sum(-1) - 1).abs().max()) > 1e-6:
        raise ValueError("probabilities must not be negative and must sum to one over the last axis")
    if tau == 1.0:
        return -torch.special.xlogy(p, p).sum(-1)
    if tau >= 2.0:
        return (1 - p.amax(-1)) / (tau - 1)
    a = 1 / (2 - tau)
    return (p.pow(a).sum(-1).pow(1 / a) - 1) / (1 - tau)


class SmoothAdversarialCompSum(nn.Module):
    r"""The smooth adversarial comp-sum objective of a classifier, for training.

    .. math:: \Phi_\tau\Bigl(\sum_{j \ne y} e^{(z_j - z_y)/\rho}\Bigr)
              + \nu \sup_{\|x' - x\| \le \varepsilon} \bigl\|D(x', y) - D(x, y)\bigr\|_2,
              \qquad D(x, y) = (z_y - z_j)_{j \ne y}.

    With nu >= sqrt(n - 1)/rho it bounds the adversarial rho-margin loss from above. The supremum is sought by projected
    gradient ascent on the distance itself from a random start; its gradient is zero at x' = x.

    Called with the model, since the perturbation needs it: ``objective(model, inputs, target, seed=...)``.

    Args:
        tau: index of the loss.
        rho: margin scale, greater than 0.
        nu: weight of the smooth term; ``None`` takes sqrt(n - 1)/rho.
        epsilon: radius of the perturbation in the units of the inputs.
        norm: ``"linf"`` or ``"l2"``.
        steps: ascent steps.
        step_size: length of a step; ``None`` takes 2.5 * epsilon / steps.
        bounds: range of valid inputs, or ``None``.

    Source: Mao, Mohri, Zhong, ICML 2023, Section 5.
    """

    def __init__(
        self,
        tau: float = 1.0,
        *,
        rho: float = 1.0,
        nu: float | None = 1.0,
        epsilon: float = 0.1,
        norm: str = "linf",
        steps: int = 7,
        step_size: float | None = None,
        bounds: tuple[float, float] | None = (0.0, 1.0),
    ):
        super().__init__()
        self.tau = checks.number("tau", tau, low=0.0)
        self.rho = checks.number("rho", rho, low=0.0, open_low=True)
        self.nu = None if nu is None else checks.number("nu", nu, low=0.0)
        self.epsilon = checks.number("epsilon", epsilon, low=0.0)
        self.norm = checks.choice("norm", norm, ("linf", "l2"))
        self.steps = checks.integer("steps", steps, low=1)
        self.step_size = (
            2.5 * self.epsilon / self.steps if step_size is None else checks.number("step_size", step_size, low=0.0)
        )
        if bounds is not None:
            low, high = (checks.number("bounds", bound) for bound in bounds)
            if low >= high:
                raise ValueError(f"bounds must be (low, high) with low < high, got {tuple(bounds)}")
        self.bounds = bounds

    def forward(
        self,
        model: Callable[[torch.Tensor], torch.Tensor],
        inputs: torch.Tensor,
        target: torch.Tensor,
        *,
        seed: int | torch.Generator = 0,
    ) -> torch.Tensor:
        """The objective on a batch: inputs (N, ...) within ``bounds``, labels (N,).

        Raises:
            ValueError, TypeError: inputs that are not finite or leave the bounds, labels out of range.
        """
        inputs = checks.tensor("inputs", inputs, floating=True)
        if (
            self.bounds is not None
            and not self.bounds[0] <= float(inputs.min()) <= float(inputs.max()) <= self.bounds[1]
        ):
            raise ValueError(
                f"inputs must lie in bounds {tuple(self.bounds)}, got values from {float(inputs.min()):.6g} to "
                f"{float(inputs.max()):.6g}; scale them or pass bounds=None"
            )
        logits = wide(model(inputs))
        target = class_labels(target, *logits.shape)
        worst = self.perturb(model, inputs, target, logits.detach(), seed=seed)
        nu = math.sqrt(logits.shape[1] - 1) / self.rho if self.nu is None else self.nu
        plain = comp_sum_loss(logits / self.rho, target, self.tau)
        return plain + nu * margin_distance(model(worst), logits, target).mean()

    def perturb(self, model, inputs, target, logits, *, seed: int | torch.Generator = 0) -> torch.Tensor:
        """Inputs within ``epsilon`` whose margins differ most from those of ``logits``; no gradient flows through them."""
        noise = torch.rand(inputs.shape, generator=checks.generator(seed), dtype=inputs.dtype).to(inputs.device)
        worst = self._project(inputs, inputs + self.epsilon * (2 * noise - 1))
        for _ in range(self.steps):
            worst = worst.detach().requires_grad_()
            distance = margin_distance(model(worst), logits, target).sum()
            (gradient,) = torch.autograd.grad(distance, worst)
            worst = self._project(inputs, worst + self.step_size * self._direction(gradient))
        return worst.detach()

    def _direction(self, gradient):
        if self.norm == "linf":
            return gradient.sign()
        return gradient / gradient.flatten(1).norm(dim=1).clamp_min(1e-12).reshape(-1, *[1] * (gradient.ndim - 1))

    def _project(self, centre, point):
        offset = point.detach() - centre
        if self.norm == "linf":
            offset = offset.clamp(-self.epsilon, self.epsilon)
        else:
            length = offset.flatten(1).norm(dim=1).clamp_min(1e-12).reshape(-1, *[1] * (offset.ndim - 1))
            offset = offset * (self.epsilon / length).clamp_max(1.0)
        point = centre + offset
        return point if self.bounds is None else point.clamp(*self.bounds)

    def extra_repr(self) -> str:
        return f"tau={self.tau}, rho={self.rho}, nu={self.nu}, epsilon={self.epsilon}, norm={self.norm!r}, steps={self.steps}"


def margin_distance(
    first: Float[torch.Tensor, "n classes"], second: Float[torch.Tensor, "n classes"], target: Int[torch.Tensor, " n"]
) -> Float[torch.Tensor, " n"]:
    """||D_first - D_second||_2 of the margin vectors D = (z_y - z_j), one value a row; finite gradient at distance zero."""
    change = wide(first) - wide(second)
    change = change.gather(1, target.unsqueeze(1)) - change  # entry y is zero: the sum runs over j != y
    return (change.square().sum(1) + 1e-12).sqrt()
