r"""Unknown domain inconsistency minimization: the loss landscape of crafted domains is held to that of the source.

SAM descends :math:`\max_{\|\varepsilon\| \le \rho} L_D(\theta + \varepsilon)` on the source D. UDIM adds what an
unknown domain would change of it,

.. math:: \min_\theta \max_{\|\varepsilon\| \le \rho} L_D(\theta + \varepsilon) + \sup_{D'} \Bigl[\max_{\|\varepsilon\| \le \rho}
          L_{D'}(\theta + \varepsilon) - \max_{\|\varepsilon\| \le \rho} L_D(\theta + \varepsilon)\Bigr],

which equals the worst SAM loss over the domains D' and so bounds their average. The domains are crafted by moving each image, by
:math:`\eta` in Euclidean norm, to where loss plus sharpness rises,

.. math:: A(x) = L(x; \theta) + \rho \|\nabla_\theta L(x; \theta)\|, \qquad x' = x + \eta \frac{\nabla_x A}{\|\nabla_x A\|},

and the bracket is replaced by statistics of single items' gradients :math:`G_i` of the classifier's last layer: with m their mean
on D, v = mean (G - m)^2 on D and v' the same on D' about the same m,

.. math:: I = \tfrac14 \overline{(v - v')^2} + \sum_{W, b} \frac{1}{\dim} \overline{\|G'_i\|^2}, \qquad
          \text{step} = \nabla L_D(\theta + \varepsilon) + \lambda \nabla I .

Source: S. Shin, H. Bae, B. Na, Y.-Y. Kim, I.-C. Moon, "Unknown Domain Inconsistency Minimization for Domain Generalization", ICLR
2024, Section 3. The released code divides the input gradient by its norm over the batch axis, so that the move depends on the
batch; here each image is moved by its own norm.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, vmap

from lab import checks, training
from lab.generalization.stacked import Parameters, descend, filled, stack
from lab.training.sharpness import norm_of, sam_gradient

ARMS = ("erm", "sam", "asam", "gsam", "udim", "augmented")


class Classifier(nn.Module):
    """An encoder and a linear head; ``features`` is the head's input.

    Example:
        >>> Classifier(training.mlp(4, 8), nn.Linear(8, 3))(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """

    def __init__(self, encoder: nn.Module, head: nn.Linear):
        super().__init__()
        if not isinstance(head, nn.Linear):
            raise TypeError(f"head must be a torch.nn.Linear, whose gradients are known, got {type(head).__name__}")
        self.encoder, self.head = encoder, head

    def forward(self, x: torch.Tensor, features: bool = False):
        z = self.encoder(x)
        return (z, self.head(z)) if features else self.head(z)


def craft(
    loss: Callable[[Parameters, torch.Tensor], torch.Tensor],
    parameters: Parameters,
    x: torch.Tensor,
    rho: float,
    eta: float,
) -> torch.Tensor:
    """The images moved by ``eta`` each, in Euclidean norm, along the gradient of loss plus ``rho`` times its gradient's norm.

    Args:
        loss: mean loss of a batch as a function of parameters and inputs.
        x: (items, ...); an image whose gradient is zero stays.
    """

    def landscape(x):
        g, value = torch.func.grad_and_value(loss)(parameters, x)
        return value + rho * (sum(one.square().sum() for one in g.values()) + 1e-12).sqrt()

    up = grad(landscape)(x)
    size = up.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1))
    return (x + eta * up / torch.where(size > 0, size, 1.0)).detach()


def inconsistency(
    features: torch.Tensor, logits: torch.Tensor, crafted: torch.Tensor, crafted_logits: torch.Tensor, label: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """``(variance part, norm part)`` of I, from features (n, f) and logits (n, classes) of source and crafted items.

    Gradients of the head are ``(p_i - y_i) h_i'`` and ``p_i - y_i``; means of their squares need no gradient of a single item:
    ``mean_i (G_i)_kf^2 = mean_i d_ik^2 h_if^2``.
    """
    target = (label[:, None] == torch.arange(logits.shape[1])).to(logits.dtype)
    d, e = torch.softmax(logits, 1) - target, torch.softmax(crafted_logits, 1) - target
    n, terms, norms = len(label), [], []
    for h, k in ((features, crafted), (torch.ones_like(features[:, :1]), torch.ones_like(crafted[:, :1]))):
        mean, other = d.T @ h / n, e.T @ k / n
        v = d.square().T @ h.square() / n - mean.square()
        w = e.square().T @ k.square() / n - 2 * mean * other + mean.square()
        terms.append((v - w).square().flatten())
        norms.append((e.square().sum(1) * k.square().sum(1)).mean() / (d.shape[1] * h.shape[1]))
    return torch.cat(terms).mean() / 4, norms[0] + norms[1]


def step_gradient(
    model: Classifier, arm: str, *, rho: float = 0.05, eta: float = 1.0, weight: float = 1.0, warm: bool = False
) -> Callable[[Parameters, torch.Tensor, torch.Tensor], Parameters]:
    """``(parameters, x, label) -> gradients`` of one model's step.

    Args:
        arm: "erm"; "sam", "asam", "gsam" (:mod:`lab.training.sharpness`); "udim"; "augmented": SAM plus the cross-entropy of the
            crafted images, the control that isolates the penalty.
        rho: radius in parameters, eta in inputs; ``weight``: lambda of the penalty.
        warm: SAM alone, as in the first fifth of the training.
    """
    checks.choice("arm", arm, ARMS)
    rho, eta = checks.number("rho", rho, low=0.0), checks.number("eta", eta, low=0.0)
    weight = checks.number("weight", weight, low=0.0)

    def mean_loss(p, x, y):
        return F.cross_entropy(functional_call(model, p, (x,)), y)

    def step(p, x, y):
        loss = lambda q: mean_loss(q, x, y)  # noqa: E731
        if arm == "erm":
            return grad(loss)(p)
        kind = arm if arm in ("asam", "gsam") else "sam"
        radius = 10 * rho if arm == "asam" else rho  # ASAM's ellipsoid is scaled by the weights, a tenth of one
        found, _ = sam_gradient(loss, p, radius, kind=kind)
        if warm or arm not in ("udim", "augmented"):
            return found
        moved = craft(lambda q, x: mean_loss(q, x, y), p, x, rho, eta)

        def penalty(q):
            z, logits = functional_call(model, q, (x,), {"features": True})
            h, crafted = functional_call(model, q, (moved,), {"features": True})
            return sum(inconsistency(z, logits, h, crafted, y))

        extra = grad(penalty)(p) if arm == "udim" else grad(lambda q: mean_loss(q, moved, y))(p)
        return {name: one + weight * extra[name] for name, one in found.items()}

    return step


def train_stacked(
    model: Classifier, parameters: Parameters, x: torch.Tensor, label: torch.Tensor, arm: str, *, seeds, epochs: int = 30,
    learning_rate=1e-3, batch_size: int = 64, rho: float = 0.05, eta: float = 1.0, weight: float = 1.0, warmup: float = 0.2,
    progress=None,
) -> Parameters:  # fmt: skip
    """All models at once by the steps of :func:`step_gradient`; the first ``warmup`` of them are SAM's."""
    steps = epochs * -(-x.shape[-2 if x.ndim == 2 else 1] // batch_size)
    each = [vmap(step_gradient(model, arm, rho=rho, eta=eta, weight=weight, warm=warm)) for warm in (True, False)]

    def step(parameters, x, y, number):
        return each[number >= warmup * steps](parameters, x, y)

    return descend(
        parameters, step, x, label, seeds=seeds, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
        progress=progress,
    )  # fmt: skip


def train_udim(
    model: Classifier, x: torch.Tensor, label: torch.Tensor, *, arm: str = "udim", epochs: int = 30, seed: int = 0, **options
) -> Classifier:  # fmt: skip
    """A trained copy of one's own encoder with a linear head; ``options`` as :func:`train_stacked`.

    Raises:
        TypeError: a model that is no :class:`Classifier`.
        ValueError: labels that are not one class an item.
    """
    if not isinstance(model, Classifier):
        raise TypeError(f"model must be a Classifier(encoder, head), got {type(model).__name__}")
    x = checks.tensor("x", x, floating=True)
    label = checks.tensor("label", label, shape=(len(x),)).long()
    done = train_stacked(model, stack([model]), x, label, arm, seeds=[seed], epochs=epochs, **options)
    return filled(model, {name: value[0] for name, value in done.items()})


def objective_parts(sam_losses: torch.Tensor, source: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """``(SAM loss of the source, sup of the others less it)``: their sum is the worst SAM loss and at least the average."""
    own = sam_losses[source]
    return own, (sam_losses - own).max()


def sam_loss(loss: Callable[[Parameters], torch.Tensor], parameters: Parameters, rho: float) -> torch.Tensor:
    """The loss at the sharpest point of the ball, to first order."""
    g = grad(loss)(parameters)
    size = norm_of(g)
    scale = rho / torch.where(size > 0, size, 1.0)
    return loss({name: value + scale * g[name] for name, value in parameters.items()})


def small_classifier(inputs: int, classes: int, seed: int = 0, widths=(64, 64)) -> Classifier:
    """An encoder of ReLU layers and a linear head."""
    generator = torch.Generator().manual_seed(checks.integer("seed", seed, low=0))
    encoder = nn.Sequential(training.mlp(inputs, widths[-1], widths=widths[:-1], seed=generator), nn.ReLU())
    return Classifier(encoder, training.initialize(nn.Linear(widths[-1], classes), generator))
