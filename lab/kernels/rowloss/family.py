r"""The losses that :func:`lab.kernels.rowloss` computes, as small objects.

With scores z, label y, margin c and temperature t all of them are functions of

.. math:: u = \sum_{j \ne y} \exp\frac{z_j - z_y + c}{t}, \qquad v = \log(1 + u).
"""

from __future__ import annotations

from dataclasses import dataclass

from lab import checks


@dataclass(frozen=True)
class RowLoss:
    r"""One member of the family.

    ``kind = "comp"``: :math:`t^s\,(\Phi_\tau(v) - o)` with :math:`\Phi_\tau(v) = (e^{(1-\tau) v} - 1)/(1-\tau)`,
    :math:`\Phi_1(v) = v`; s = 1 where ``scaled`` else 0; o = log C where ``centred`` else 0.
    ``kind = "margin"``: :math:`-t \log u`, the smooth margin :math:`z_y - t\log\sum_{j\ne y} e^{(z_j + c)/t}`.
    """

    kind: str = "comp"
    tau: float = 1.0
    margin: float = 0.0
    scaled: bool = False
    centred: bool = False

    def __post_init__(self):
        checks.choice("kind", self.kind, ("comp", "margin"))
        checks.number("tau", self.tau, low=0.0)
        checks.number("margin", self.margin, low=0.0)


def comp_sum(tau: float = 1.0, *, margin: float = 0.0) -> RowLoss:
    """Comp-sum loss: tau = 0 sum-exponential, 1 cross-entropy, 1 < tau < 2 generalized cross-entropy, 2 1 - p_y.

    Source: Anqi Mao, Mehryar Mohri, Yutao Zhong, 'Cross-Entropy Loss Functions: Theoretical Analysis and
    Applications', ICML 2023, section 2.
    """
    return RowLoss(tau=tau, margin=margin)


def generalized_cross_entropy(q: float = 0.7) -> RowLoss:
    """(1 - p_y^q)/q, 0 < q <= 1: the comp-sum loss with tau = 1 + q.

    Source: Zhilu Zhang, Mert Sabuncu, 'Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
    Labels', NeurIPS 2018, equation 6.
    """
    return RowLoss(tau=1.0 + checks.number("q", q, low=0.0, high=1.0, open_low=True))


def mean_absolute_error() -> RowLoss:
    """1 - p_y, half of the absolute distance between the softmax and the label's indicator; comp-sum with tau = 2."""
    return RowLoss(tau=2.0)


def label_distributionally_robust(*, margin: float = 0.1) -> RowLoss:
    """LDR-KL: t log((1/C) sum_j exp((z_j + c [j != y] - z_y)/t)); the temperature t (lambda) may differ by sample.

    Source: Dixian Zhu, Yiming Ying, Tianbao Yang, 'Label Distributionally Robust Losses for Multi-class
    Classification: Consistency, Robustness and Adaptivity', ICML 2023.
    """
    return RowLoss(margin=margin, scaled=True, centred=True)


def margin() -> RowLoss:
    """The smooth margin z_y - log sum_{j != y} exp z_j itself; with two classes z_y - z_other.

    Multiplied by a derivative drawn anew for each row (``weight``, negative numbers) it is the surrogate of EnsLoss,
    whose gradient is that derivative times the gradient of the margin.

    Source: Ben Dai, 'EnsLoss: Stochastic Calibrated Loss Ensembles for Preventing Overfitting in Classification', 2024.
    """
    return RowLoss(kind="margin")
