"""One class of several, of a prediction and of its label, as the pair that is matched.

A prediction has the axes of the image, or one channel a class in front; a label holds ids, or masks in channels. The label
decides what channel 0 is: the background, so that channel ``k`` is class ``k`` as networks count, unless the label's ids
reach the number of channels, or its masks leave places to none of them, as those of independent classes do; then channel
``k - 1`` is class ``k``. Class 0 stands for any class: the whole foreground.
"""

from __future__ import annotations

from torch import Tensor

from lab import checks


def one_class(prediction: Tensor, label: Tensor, class_id: int = 0, *, axes: int = 2) -> tuple[Tensor, Tensor]:
    """``(probabilities, mask)`` of one class, both with ``axes`` axes.

    Args:
        prediction: probabilities (size...) or (channels, size...).
        label: ids (size...), 0 the background, or masks (channels, size...).
        class_id: which class; 0 is any.
        axes: axes of the image: 2, or 3 for volumes.

    Raises:
        ValueError: sizes, channels or numbers of axes differ, ids beyond the channels, no such class in the label.
    """
    class_id = checks.integer("class_id", class_id, low=0)
    first = _first(prediction, label, axes)
    if prediction.ndim > axes:
        prediction = _channel("prediction", prediction, class_id, first)
    if label.ndim > axes:
        return prediction, _channel("label", (label > 0).to(prediction.dtype), class_id, first) > 0
    if class_id == 0:
        return prediction, label > 0
    mask = label == class_id
    if not bool(mask.any()):
        raise ValueError(
            f"the label has no class {class_id}; its ids run from {int(label.min())} to {int(label.max())}"
        )
    return prediction, mask


def classes(prediction: Tensor, label: Tensor, *, axes: int = 2) -> tuple[int, ...]:
    """The classes that the label shows, counted from 1."""
    first = _first(prediction, label, axes)
    if label.ndim == axes:
        return tuple(int(each) for each in label.long().unique() if each > 0)
    return tuple(range(1, len(label) + 1 - first))


def _first(prediction, label, axes) -> int:
    """1 where channel 0 is the background, else 0; refuses what is no pair."""
    for name, x in (("prediction", prediction), ("label", label)):
        if x.ndim not in (axes, axes + 1):
            raise ValueError(
                f"{name} must have {axes} axes, or {axes + 1} with classes first, got shape {tuple(x.shape)}"
            )
    sizes = [tuple(x.shape[-axes:]) for x in (prediction, label)]
    if sizes[0] != sizes[1]:
        words = [" x ".join(map(str, size)) for size in sizes]
        raise ValueError(f"prediction and label must have the same size, got {words[0]} and {words[1]}")
    if label.ndim > axes:
        if prediction.ndim > axes and len(prediction) != len(label):
            raise ValueError(f"prediction and label must have as many channels, got {len(prediction)} and {len(label)}")
        return int(len(label) > 1 and bool(((label > 0).sum(0) == 1).all()))
    if prediction.ndim > axes and int(label.max()) > len(prediction):
        raise ValueError(
            f"label must hold ids 0 to {len(prediction)} for {len(prediction)} channels, got {int(label.max())}"
        )
    return int(prediction.ndim > axes and 1 < len(prediction) and int(label.max()) < len(prediction))


def _channel(name, x, class_id, first):
    if class_id == 0:
        return (1 - x[0]).clamp(0, 1) if first else x.amax(0)
    if class_id > len(x) - first:
        raise ValueError(
            f"the {name} has no class {class_id}; its {len(x)} channels hold classes 1 to {len(x) - first}"
        )
    return x[class_id - 1 + first]
