"""Metrics of classifiers and segmentations, as functions and as classes that accumulate over batches.

Classifier metrics take probabilities (items, classes), or (items,) for the positive class of two, or logits with
``logits=True`` (softmax, or sigmoid for one column); targets are integer classes (items,). Every class has ``update(...)`` with the
function's arguments, ``compute()`` and ``reset()``; its options are given to the constructor.

Calibration error: ``sum_b n_b / n |accuracy_b - confidence_b|`` over bins of the confidence (M. Naeini, G. Cooper,
M. Hauskrecht, 'Obtaining well calibrated probabilities using Bayesian binning', AAAI 2015). ``binning="width"``: bins of equal
width, right-closed, [0, 1/B], (1/B, 2/B], ..., (1 - 1/B, 1]; ``binning="mass"``: bins of equally many items in the order of
confidence. The classwise error averages over classes ``k`` the same sum with confidence ``p_k`` and accuracy ``[y = k]``
(M. Kull et al., 'Beyond temperature scaling', NeurIPS 2019).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lab import checks

BINNINGS = ("width", "mass")


def accuracy(probabilities, targets, *, logits: bool = False) -> float:
    """Share of items whose largest probability is the target's class."""
    return Accuracy(logits=logits).update(probabilities, targets).compute()


def brier(probabilities, targets, *, logits: bool = False) -> float:
    """``mean_i sum_k (p_ik - [y_i = k])^2``, between 0 and 2 (G. Brier 1950)."""
    return Brier(logits=logits).update(probabilities, targets).compute()


def negative_log_likelihood(probabilities, targets, *, logits: bool = False) -> float:
    """``-mean_i log p_{i, y_i}``; exact from logits, infinite where a probability of 0 was observed."""
    return NegativeLogLikelihood(logits=logits).update(probabilities, targets).compute()


def calibration_error(probabilities, targets, *, bins: int = 15, binning: str = "width", logits: bool = False) -> float:
    """Expected calibration error of the largest probability."""
    return CalibrationError(bins=bins, binning=binning, logits=logits).update(probabilities, targets).compute()


def classwise_calibration_error(
    probabilities, targets, *, bins: int = 15, binning: str = "width", logits: bool = False
) -> float:
    """Calibration error of every class's probability, averaged over the classes."""
    return ClasswiseCalibrationError(bins=bins, binning=binning, logits=logits).update(probabilities, targets).compute()


def area_under_curve(scores, targets) -> float:
    """Area under the receiver operating characteristic (scikit-learn); (items, classes) scores: one-vs-rest, mean over classes."""
    return AreaUnderCurve().update(scores, targets).compute()


def dice(prediction, label, *, threshold: float = 0.5) -> float:
    """``2 |P and L| / (|P| + |L|)`` of two masks, ``P = prediction > threshold``; 1 if both are empty."""
    return _overlaps(prediction, label, threshold, False)[0].item()


def intersection_over_union(prediction, label, *, threshold: float = 0.5) -> float:
    """``|P and L| / |P or L|`` of two masks, ``P = prediction > threshold``; 1 if both are empty."""
    return _overlaps(prediction, label, threshold, False)[1].item()


class _Mean:
    """A mean of one value per item."""

    def __init__(self, *, logits: bool = False):
        self.logits = logits
        self.reset()

    def reset(self):
        """Forget all batches."""
        self.total, self.count = 0.0, 0
        return self

    def update(self, probabilities, targets):
        """Add a batch."""
        probabilities, targets = _classified(probabilities, targets, self.logits)
        return self._add(self._items(probabilities, targets))

    def _add(self, items):
        self.total += float(items.double().sum())
        self.count += len(items)
        return self

    def compute(self) -> float:
        """The metric over all batches so far."""
        if self.count == 0:
            raise ValueError("nothing to compute: no batch was given to update")
        return self.total / self.count


class Accuracy(_Mean):
    """See :func:`accuracy`."""

    def _items(self, probabilities, targets):
        return probabilities.argmax(dim=1) == targets


class Brier(_Mean):
    """See :func:`brier`."""

    def _items(self, probabilities, targets):
        return (probabilities - F.one_hot(targets, probabilities.shape[1])).square().sum(dim=1)


class NegativeLogLikelihood(_Mean):
    """See :func:`negative_log_likelihood`."""

    def update(self, probabilities, targets):
        """Add a batch."""
        if self.logits:
            scores, targets = _scores("logits", probabilities, targets)
            if scores.shape[1] == 1:
                scores = torch.cat([torch.zeros_like(scores), scores], dim=1)
            return self._add(F.cross_entropy(scores, targets, reduction="none"))
        probabilities, targets = _classified(probabilities, targets, False)
        return self._add(-probabilities.gather(1, targets[:, None])[:, 0].log())


class CalibrationError:
    """See :func:`calibration_error`. Bins of equal width keep sums only; bins of equal mass keep every confidence."""

    def __init__(self, *, bins: int = 15, binning: str = "width", logits: bool = False):
        self.bins, self.binning, self.logits = (
            checks.integer("bins", bins, low=1),
            checks.choice("binning", binning, BINNINGS),
            logits,
        )
        self.reset()

    def reset(self):
        """Forget all batches."""
        self.columns: list[torch.Tensor] | None = None
        self.sums = None
        return self

    def update(self, probabilities, targets):
        """Add a batch."""
        probabilities, targets = _classified(probabilities, targets, self.logits)
        confidence, hit = self._events(probabilities.double(), targets)
        if self.binning == "mass":
            self.columns = [*(self.columns or []), torch.stack([confidence, hit])]
            return self
        place = (confidence * self.bins).ceil().long().clamp(1, self.bins) - 1
        sums = torch.zeros(3, confidence.shape[0], self.bins, dtype=torch.float64, device=confidence.device)
        for row, values in zip(sums, (torch.ones_like(confidence), confidence, hit)):
            row.scatter_add_(1, place, values)
        self.sums = sums if self.sums is None else self.sums + sums
        return self

    def _events(self, probabilities, targets):
        """Confidence and hit, (rows, items); the result is the mean over rows."""
        confidence, chosen = probabilities.max(dim=1)
        return confidence[None], (chosen == targets).double()[None]

    def reliability(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``(count, confidence, accuracy)`` (rows, bins): what a reliability diagram shows; NaN in empty bins."""
        if self.binning == "mass" and self.columns:
            confidence, hit = torch.cat(self.columns, dim=2)
            order = confidence.argsort(dim=1, stable=True)
            parts = [
                torch.stack([torch.ones_like(part[0]), *part]).sum(dim=2)
                for part in zip(*(value.gather(1, order).tensor_split(self.bins, dim=1) for value in (confidence, hit)))
            ]
            sums = torch.stack(parts, dim=2)
        elif self.sums is not None:
            sums = self.sums
        else:
            raise ValueError("nothing to compute: no batch was given to update")
        return sums[0], sums[1] / sums[0], sums[2] / sums[0]

    def compute(self) -> float:
        """The metric over all batches so far."""
        count, confidence, hits = self.reliability()
        gaps = torch.where(count > 0, count * (confidence - hits).abs(), 0.0)
        return float((gaps.sum(dim=1) / count.sum(dim=1)).mean())


class ClasswiseCalibrationError(CalibrationError):
    """See :func:`classwise_calibration_error`."""

    def _events(self, probabilities, targets):
        return probabilities.T, F.one_hot(targets, probabilities.shape[1]).double().T


class AreaUnderCurve:
    """See :func:`area_under_curve`; it keeps every score."""

    def __init__(self):
        self.reset()

    def reset(self):
        """Forget all batches."""
        self.scores, self.targets = [], []
        return self

    def update(self, scores, targets):
        """Add a batch of scores (items,) or (items, classes)."""
        scores, targets = _scores("scores", scores, targets)
        self.scores.append(scores.cpu())
        self.targets.append(targets.cpu())
        return self

    def compute(self) -> float:
        """The metric over all batches so far."""
        from sklearn.metrics import roc_auc_score

        if not self.scores:
            raise ValueError("nothing to compute: no batch was given to update")
        scores, targets = torch.cat(self.scores), torch.cat(self.targets)
        if len(torch.unique(targets)) < 2:
            raise ValueError("targets must hold at least two classes for an area under the curve, got one")
        if scores.shape[1] <= 2:
            return float(roc_auc_score(targets.numpy(), scores[:, -1].numpy()))
        present = [
            roc_auc_score((targets == k).numpy(), scores[:, k].numpy())
            for k in range(scores.shape[1])
            if 0 < int((targets == k).sum())
        ]
        return float(sum(present) / len(present))


class Dice(_Mean):
    """Mean over items of :func:`dice`; ``update`` takes predictions and labels (items, size...)."""

    place = 0

    def __init__(self, *, threshold: float = 0.5):
        self.threshold = checks.number("threshold", threshold)
        self.reset()

    def update(self, prediction, label):
        """Add a batch."""
        return self._add(_overlaps(prediction, label, self.threshold, True)[self.place])


class IntersectionOverUnion(Dice):
    """Mean over items of :func:`intersection_over_union`."""

    place = 1


def _overlaps(prediction, label, threshold, batched):
    prediction, label = checks.tensor("prediction", prediction), checks.tensor("label", label)
    checks.same_shape("prediction", prediction, "label", label)
    prediction = prediction if prediction.dtype == torch.bool else prediction > threshold
    label = (label > 0).to(prediction.device)
    if not batched:
        prediction, label = prediction[None], label[None]
    both = (prediction & label).flatten(1).sum(dim=1).double()
    sizes = prediction.flatten(1).sum(dim=1).double() + label.flatten(1).sum(dim=1).double()
    dice = torch.where(sizes > 0, 2 * both / sizes.clamp(min=1), 1.0)
    return dice, torch.where(sizes > 0, both / (sizes - both).clamp(min=1), 1.0)


def _scores(name, scores, targets):
    scores = checks.tensor(name, scores, ndim=(1, 2)).detach()
    scores = scores if scores.is_floating_point() else scores.float()
    scores = scores[:, None] if scores.ndim == 1 else scores
    targets = checks.tensor("targets", targets, shape=(len(scores),))
    if targets.is_floating_point():
        raise TypeError(f"targets must be integer classes, got {targets.dtype}")
    targets = targets.long().to(scores.device)
    classes = max(2, scores.shape[1])
    if int(targets.min()) < 0 or int(targets.max()) >= classes:
        raise ValueError(
            f"targets must lie in 0..{classes - 1}, got values from {int(targets.min())} to {int(targets.max())}"
        )
    return scores, targets


def _classified(probabilities, targets, logits):
    """Probabilities (items, classes >= 2) and int64 targets (items,)."""
    values, targets = _scores("logits" if logits else "probabilities", probabilities, targets)
    if logits:
        values = values.sigmoid() if values.shape[1] == 1 else values.softmax(dim=1)
    elif float(values.min()) < 0 or float(values.max()) > 1 + 1e-6:
        raise ValueError(
            f"probabilities must lie in [0, 1], got values from {float(values.min()):.4g} to {float(values.max()):.4g}; "
            "pass logits=True for logits"
        )
    if values.shape[1] == 1:
        return torch.cat([1 - values, values], dim=1), targets
    sums = values.sum(dim=1)
    if float((sums - 1).abs().max()) > 1e-3:
        raise ValueError(
            f"probabilities of an item must sum to 1, got sums from {float(sums.min()):.4g} to {float(sums.max()):.4g}"
        )
    return values, targets
