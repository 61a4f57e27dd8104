r"""Correctness-aware calibration: confidence up where the prediction is right, down where it is wrong.

A frozen classifier gives logits z, prediction argmax z and correctness c = 1[argmax z = y]. A small network turns features phi of
the item into its own temperature T(phi) > 0; the calibrated confidence is max softmax(z/T), and the loss

.. math:: \frac{\sum_i w_i (\hat c_i - c_i)^2}{\sum_i w_i}, \qquad w_i = 1 \;\text{ or, balanced, }\; w_i = 1 - a \text{ if right},
          \; a \text{ if wrong},

with a the accuracy of the batch: balanced, right and wrong items weigh alike. Unbalanced it is the Brier score of the top
label. T > 0 leaves every prediction as it is. phi holds the probabilities, under a few transformations of the input, of the k
classes that are likeliest for the untransformed one: one input alone says little about correctness.

The balanced loss has its optimum at the confidence of a population in which half of the predictions are right; where accuracy is
far from one half it is miscalibrated by design.

Source: Y. Liu, L. Wang, Y. Zou, J. Zou, L. Zheng, 'Optimizing Calibration by Gaining Aware of Prediction Correctness', 2024
(arXiv 2404.13016), equations (6) to (9). The published code balances; its text states the unweighted form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import nn

from lab import checks, training
from lab.kernels.precision import wide
from lab.losses.reduction import class_labels

RANGE = 400.0  # of temperatures, to both sides of the spread of the scores


def correctness_aware_loss(
    logits: Float[torch.Tensor, "n classes"], temperature: torch.Tensor | float, target: Int[torch.Tensor, " n"], *,
    balance: bool = True,
) -> torch.Tensor:  # fmt: skip
    """The weighted mean squared difference of calibrated confidence and correctness: see the module's formula.

    Args:
        logits: of the frozen classifier, (N, C).
        temperature: (N,) or one number, above 0.
        target: labels (N,).
        balance: weigh right and wrong predictions alike.

    Raises:
        ValueError, TypeError: shapes that differ, labels out of range, a temperature that is not positive.
    """
    logits, target = _rows(logits, target)
    confidence = confidences(logits, temperature)
    correct = (logits.argmax(1) == target).to(confidence)
    squared = (confidence - correct).square()
    if not balance:
        return squared.mean()
    accuracy = correct.mean()
    weight = torch.where(correct > 0, 1 - accuracy, accuracy)
    total = weight.sum()
    # all right or all wrong: every weight vanishes, and the unweighted form is what is left
    return (weight * squared).sum() / total if float(total) > 0 else squared.mean()


class CorrectnessAwareLoss(nn.Module):
    """:func:`correctness_aware_loss` as a module: ``forward(logits, temperature, target)``."""

    def __init__(self, balance: bool = True):
        super().__init__()
        self.balance = bool(balance)

    def forward(self, logits: torch.Tensor, temperature: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return correctness_aware_loss(logits, temperature, target, balance=self.balance)


class AdaptiveTemperature(nn.Module):
    """phi -> Linear(hidden) -> ReLU -> Linear(1) -> temperature in [low, high]; 1 at the start, whatever phi.

    The clamp is soft near its ends (a logistic in log T), so that gradients never vanish exactly.
    """

    def __init__(
        self, features: int, hidden: int = 5, low: float = 0.1, high: float = 10.0, seed: int | torch.Generator = 0
    ):
        super().__init__()
        checks.integer("features", features, low=1)
        self.low = checks.number("low", low, low=0.0, open_low=True)
        self.high = checks.number("high", high, low=self.low, open_low=True)
        self.first, self.second = nn.Linear(features, hidden), nn.Linear(hidden, 1)
        training.initialize(self, seed)
        with torch.no_grad():
            self.second.weight.mul_(0.1)
            start = min(max(-math.log(self.low) / math.log(self.high / self.low), 1e-3), 1 - 1e-3)  # T = 1
            self.second.bias.fill_(math.log(start / (1 - start)))

    def forward(self, phi: Float[torch.Tensor, "n features"]) -> Float[torch.Tensor, " n"]:
        share = torch.sigmoid(self.second(torch.relu(self.first(phi)))[:, 0])
        return self.low * (self.high / self.low) ** share


def confidences(
    logits: Float[torch.Tensor, "n classes"], temperature: torch.Tensor | float
) -> Float[torch.Tensor, " n"]:
    """max softmax(z/T) of each row."""
    logits = wide(logits)
    if isinstance(temperature, (int, float)):
        checks.number("temperature", temperature, low=0.0, open_low=True)
        return torch.softmax(logits / temperature, 1).amax(1)
    temperature = wide(checks.tensor("temperature", temperature))
    if tuple(temperature.shape) not in ((), (1,), (len(logits),)):
        raise ValueError(
            f"temperature must be one number or have shape ({len(logits)},), got {tuple(temperature.shape)}"
        )
    if bool((temperature <= 0).any()):
        raise ValueError(
            f"temperature must be greater than 0, got a smallest value of {float(temperature.detach().min()):.6g}"
        )
    return torch.softmax(logits / temperature.reshape(-1, 1), 1).amax(1)


def transform_features(
    model: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    transforms: Sequence[Callable[[torch.Tensor], torch.Tensor]],
    top: int = 4,
) -> Float[torch.Tensor, "n features"]:
    """Probabilities under each transform of the ``top`` classes likeliest for the untransformed items, (N, top * transforms).

    Without transforms the features are the top probabilities themselves.
    """
    top = checks.integer("top", top, low=1)
    with torch.no_grad():
        plain = torch.softmax(model(x), 1)
        if plain.shape[1] < top:
            raise ValueError(f"top must be at most the number of classes {plain.shape[1]}, got {top}")
        values, place = plain.topk(top, dim=1)
        columns = [torch.softmax(model(transform(x)), 1).gather(1, place) for transform in transforms]
    return torch.cat(columns, 1) if columns else values


def fit_calibrator(
    logits: Float[torch.Tensor, "n classes"],
    phi: Float[torch.Tensor, "n features"],
    target: Int[torch.Tensor, " n"],
    *,
    loss: str = "correctness",
    steps: int = 500,
    learning_rate: float = 3e-3,
    hidden: int = 5,
    held_out: float = 0.25,
    seed: int | torch.Generator = 0,
) -> AdaptiveTemperature:
    """An adaptive temperature fitted with Adam, stopped where its loss on held-out rows of the set is least.

    Right predictions outnumber wrong ones, so that a small calibration set holds few rows to learn from: without held-out rows
    the network learns them by heart and its confidence tells right from wrong worse than no calibration.

    Args:
        loss: ``"correctness"`` (unweighted), ``"balanced"``, ``"cross-entropy"`` or ``"squared-error"`` (Brier score of all
            classes).
        held_out: share of the rows that choose the number of steps; 0 takes all ``steps`` on all rows.
    """
    checks.choice("loss", loss, ("correctness", "balanced", "cross-entropy", "squared-error"))
    logits, target = _rows(logits, target)
    logits, phi = logits.detach(), checks.tensor("phi", phi, ndim=2, floating=True).detach()
    checks.same_shape("logits rows", logits[:, 0], "phi rows", phi[:, 0])
    held_out = checks.number("held_out", held_out, low=0.0, high=0.9)
    generator = checks.generator(seed)
    calibrator = AdaptiveTemperature(phi.shape[1], hidden, seed=generator)
    aware = CorrectnessAwareLoss(balance=loss == "balanced")
    onehot = nn.functional.one_hot(target, logits.shape[1]).to(logits)
    order = torch.randperm(len(logits), generator=generator)
    held, fitted = order.split([round(held_out * len(order)), len(order) - round(held_out * len(order))])

    def value(rows):
        temperature = calibrator(phi[rows])
        if loss == "cross-entropy":
            return nn.functional.cross_entropy(logits[rows] / temperature[:, None], target[rows])
        if loss == "squared-error":
            return (torch.softmax(logits[rows] / temperature[:, None], 1) - onehot[rows]).square().sum(1).mean()
        return aware(logits[rows], temperature, target[rows])

    optimizer = torch.optim.Adam(calibrator.parameters(), lr=learning_rate)
    least, best = math.inf, None
    for step in range(steps + 1):
        if len(held) and step % 10 == 0:
            with torch.no_grad():
                now = float(value(held))
            if now < least:
                least, best = now, {name: one.clone() for name, one in calibrator.state_dict().items()}
        if step < steps:
            optimizer.zero_grad()
            value(fitted).backward()
            optimizer.step()
    if best is not None:
        calibrator.load_state_dict(best)
    return calibrator.eval()


def temperature_scaling(logits: Float[torch.Tensor, "n classes"], target: Int[torch.Tensor, " n"]) -> float:
    """The one temperature of least cross-entropy on the calibration set: T(c z) = c T(z).

    The search is bracketed in log T, over a factor of ``RANGE`` to both sides of the root mean square of the scores less
    their mean of the row. Where the optimum is not inside (no row is wrong, and the best temperature is 0; or scores that
    say no more than chance, whose best is infinite) the end is returned with a warning.

    Raises:
        ValueError: scores equal in all classes, of which no temperature makes another prediction.

    Source: C. Guo, G. Pleiss, Y. Sun, K. Weinberger, 'On Calibration of Modern Neural Networks', ICML 2017, Section 4.2.
    """
    from scipy.optimize import minimize_scalar

    logits, target = _rows(logits, target)
    logits = logits.detach().double()

    def loss(log_temperature):
        return float(nn.functional.cross_entropy(logits / torch.e**log_temperature, target))

    spread = float((logits - logits.mean(1, keepdim=True)).square().mean().sqrt())
    if spread == 0:
        raise ValueError("logits must differ between classes, got equal ones in every row")
    centre, half = math.log(spread), math.log(RANGE)
    steps = math.ceil(half / 0.25)
    grid = [centre + half * i / steps for i in range(-steps, steps + 1)]
    best = min(grid, key=loss)
    if best in (grid[0], grid[-1]):
        import warnings

        warnings.warn(
            f"the best temperature lies beyond {math.exp(best):.4g}, the end of the range that is searched: "
            + ("no row is predicted wrong" if best == grid[0] else "the logits say no more than chance"),
            stacklevel=2,
        )
        return math.exp(best)
    found = minimize_scalar(loss, bounds=(best - 0.25, best + 0.25), method="bounded", options={"xatol": 1e-6})
    return math.exp(found.x)


def vector_scaling(logits: torch.Tensor, target: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """A scale and an offset for each class of least cross-entropy; returns logits -> calibrated probabilities.

    Source: as :func:`temperature_scaling`.
    """
    logits, target = _rows(logits, target)
    logits = logits.detach().double()
    scale = torch.ones(logits.shape[1], dtype=torch.float64, requires_grad=True)
    offset = torch.zeros(logits.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([scale, offset], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(logits * scale + offset, target) + 1e-4 * offset.square().sum()
        value.backward()
        return value

    optimizer.step(closure)
    a, b = scale.detach(), offset.detach()
    return lambda z: torch.softmax(z.double() * a + b, 1)


def isotonic_scaling(logits: torch.Tensor, target: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """A monotone map of the confidence to the share of right predictions; returns logits -> confidence."""
    from sklearn.isotonic import IsotonicRegression

    logits, target = _rows(logits, target)
    correct = (logits.argmax(1) == target).double().numpy()
    model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(
        confidences(logits, 1.0).numpy(), correct
    )
    return lambda z: torch.from_numpy(model.predict(confidences(z, 1.0).numpy()))


def histogram_scaling(
    logits: torch.Tensor, target: torch.Tensor, bins: int = 15
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The share of right predictions in each of ``bins`` equal-mass bins of confidence; returns logits -> confidence."""
    logits, target = _rows(logits, target)
    bins = checks.integer("bins", bins, low=2)
    confidence = confidences(logits, 1.0)
    correct = (logits.argmax(1) == target).double()
    edges = torch.quantile(confidence, torch.linspace(0, 1, bins + 1, dtype=confidence.dtype))[1:-1].contiguous()
    place = torch.bucketize(confidence, edges)
    count = torch.bincount(place, minlength=bins).double()
    # one pseudo-count at the overall accuracy keeps empty bins defined
    share = (torch.bincount(place, weights=correct, minlength=bins) + correct.mean()) / (count + 1)
    return lambda z: share[torch.bucketize(confidences(z, 1.0), edges)]


def _rows(logits, target):
    """Scores (N, C) and the labels of their rows, checked."""
    logits = wide(checks.tensor("logits", logits, ndim=2, floating=True))
    return logits, class_labels(target, *logits.shape)
