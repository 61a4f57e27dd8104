r"""Dataset condensation by gradient matching, class by class (DC) or with contrastive signals (DCC).

A synthetic set s with the classes' gradients g_c^S = grad mean_{s_c} l on a network theta follows real batches with g_c^T:

.. math:: L_{DC} = \sum_c D(g_c^S, g_c^T), \qquad
          L_{DCC} = D\Bigl(\tfrac1C \sum_c g_c^S,\ \tfrac1C \sum_c g_c^T\Bigr),

D the distance of :mod:`lab.compression.matching`. What all classes share points the same way in every g_c and dominates each cosine
of L_DC; softmax residuals sum to zero over the classes, so that in the sum of L_DCC shared signals cancel and what separates the
classes is left. The warm-up on two levels takes L_DC in the first inner steps of the first outer loops.

Source: S. Lee, S. Chun, S. Jung, S. Yun, S. Yoon, 'Dataset condensation with contrastive signals', ICML 2022, equations (3) to (5),
algorithm 1; DC: B. Zhao, K. Mopuri, H. Bilen, ICLR 2021. In the published code the warm-up covers inner steps below 10 of outer
loops below 250 of 1,000: here it covers the first quarter of the outer loops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from lab import checks
from lab.compression.matching import Networks, layer_distance
from lab.compression.synthetic import SyntheticSet, by_class, network_for, random_items

METHODS = ("dc", "dcc")
WARM_LOOPS, WARM_STEPS = 0.25, 10
IMAGE_RATE, IMAGE_MOMENTUM, NETWORK_RATE = 0.1, 0.5, 0.01


def matching_loss(
    synthetic: dict[str, torch.Tensor], real: dict[str, torch.Tensor], method: str = "dcc"
) -> torch.Tensor:
    """L_DC or L_DCC of gradients by name (networks, classes, ...): one value a network.

    >>> g = {"w": torch.randn(1, 3, 4, 5)}
    >>> bool(matching_loss(g, g, "dc") < 1e-3)
    True
    """
    if checks.choice("method", method, METHODS) == "dc":
        return layer_distance(synthetic, real).sum(1)
    mean = lambda found: {name: value.mean(1) for name, value in found.items()}  # noqa: E731
    return layer_distance(mean(synthetic), mean(real), leading=1)


@dataclass(frozen=True, eq=False)
class Condensed:
    """Sets condensed side by side: ``x`` (seeds, items, ...), their classes ``y`` (items,), class by class.

    ``frames`` (frames, seeds, items, ...) shows them growing, ``losses`` (steps, seeds) are the matching losses.
    """

    x: torch.Tensor
    y: torch.Tensor
    frames: torch.Tensor
    losses: torch.Tensor


def condense_all(
    x: torch.Tensor,
    y: torch.Tensor,
    per_class: int = 1,
    *,
    method: str = "dcc",
    seeds: Sequence[int] = (0,),
    network: Callable[[int], nn.Module] | None = None,
    outer: int = 60,
    inner: int = 5,
    training: int = 5,
    batch: int = 64,
    warm_up: bool = False,
    image_rate: float | Sequence[float] = IMAGE_RATE,
    frames: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Condensed:
    """Condense standardized items ``x`` (items, ...) of classes ``y`` once for each seed, all seeds at once.

    Args:
        per_class: synthetic items a class; they start as random real ones.
        method: "dc" or "dcc".
        seeds: of the start, the networks and the real batches.
        network: callable seed -> module.
        outer: fresh networks that are matched on, one after the other.
        inner: matching steps on each network; after each, the network takes ``training`` steps on the synthetic set.
        batch: real items a class and step, drawn with return.
        warm_up: class-wise in inner steps below 10 of the first quarter of the outer loops (DCC only).
        image_rate: of the descent on the images, momentum 0.5; one for all or one a seed.
        frames: how many states between start and end to keep.
    """
    checks.choice("method", method, METHODS)
    sizes = {"outer": outer, "inner": inner, "batch": batch}
    outer, inner, batch = (checks.integer(name, value, low=1) for name, value in sizes.items())
    training = checks.integer("training", training, low=0)
    places, rows = by_class(y), random_items(y, per_class, seeds)
    classes, count = len(places), len(rows)
    nets = Networks(network or network_for(x, classes))
    generators = [torch.Generator().manual_seed(1_000_003 * (seed + 1)) for seed in seeds]
    grouped = x[rows].reshape(count, classes, per_class, *x.shape[1:])
    images = grouped.clone().requires_grad_()
    labels = torch.arange(classes).expand(count, classes)
    own, theirs = (labels[..., None].expand(-1, -1, items) for items in (per_class, batch))
    rates = torch.as_tensor(image_rate, dtype=images.dtype)
    optimizer = torch.optim.SGD([images], lr=1.0 if rates.ndim else float(rates), momentum=IMAGE_MOMENTUM)
    sizes_of = torch.tensor([len(place) for place in places])
    table = torch.nn.utils.rnn.pad_sequence(places, batch_first=True)
    kept, losses = [images.detach().clone()], []
    wanted = {round(k * outer / frames) for k in range(1, frames + 1)} if frames else set()
    for loop in range(outer):
        theta = nets.fresh([seed + 7919 * (loop + 1) for seed in seeds])
        for step in range(inner):
            draws = torch.stack([torch.rand(classes, batch, generator=generator) for generator in generators])
            chosen = table[torch.arange(classes)[:, None], (draws * sizes_of[:, None]).long()]
            real = {name: value.detach() for name, value in nets.gradients(theta, x[chosen], theirs).items()}
            warm = warm_up and loop < WARM_LOOPS * outer and step < WARM_STEPS
            loss = matching_loss(nets.gradients(theta, images, own), real, "dc" if warm else method)
            optimizer.zero_grad()
            loss.sum().backward()
            if rates.ndim:
                images.grad.mul_(rates.view(-1, *[1] * (images.ndim - 1)))
            optimizer.step()
            losses.append(loss.detach())
            if step < inner - 1:
                theta = descend(nets, theta, images.detach(), own, training)
        if loop + 1 in wanted:
            kept.append(images.detach().clone())
        if progress is not None:
            progress(loop + 1, outer)
    flat = lambda value: value.detach().flatten(-x.ndim - 1, -x.ndim)  # noqa: E731
    return Condensed(flat(images), own[0].reshape(-1), torch.stack([flat(one) for one in kept]), torch.stack(losses))


@torch.no_grad()
def descend(nets: Networks, theta, images: torch.Tensor, labels: torch.Tensor, steps: int, rate: float = NETWORK_RATE):
    """Weights after plain descent on whole sets (networks, classes, items, ...) with labels (networks, classes, items)."""
    x, y = images.flatten(1, 2)[:, None], labels.flatten(1)[:, None]
    for _ in range(steps):
        gradient = nets.gradients(theta, x, y)
        theta = {name: value - rate * gradient[name][:, 0] for name, value in theta.items()}
    return theta


def condense(
    images,
    labels,
    per_class: int = 10,
    *,
    method: str = "dcc",
    seed: int = 0,
    classes: Sequence[str] = (),
    **options,
) -> SyntheticSet:
    """A synthetic set from own images: ``condense(images, labels, per_class=10)``.

    Args:
        images: (items, ...), any numbers; standardized by their own mean and deviation, which the result keeps.
        labels: integer classes 0, 1, ..., (items,).
        per_class, method: see :func:`condense_all`, whose other arguments ``options`` are.

    Raises:
        ValueError, TypeError: images and labels that do not fit together, before any work.
    """
    x = checks.tensor("images", images).float()
    y = checks.tensor("labels", labels, shape=(len(x),))
    if y.is_floating_point():
        raise TypeError(f"labels must be integer classes, got {y.dtype}")
    if x.ndim < 2:
        raise ValueError(f"images must have an axis of items and at least one more, got shape {tuple(x.shape)}")
    mean, scale = standard(x)
    found = condense_all((x - mean) / scale, y.long(), per_class, method=method, seeds=(seed,), **options)
    return SyntheticSet(found.x[0], found.y, mean, scale, None, method, tuple(classes))


def standard(x: torch.Tensor) -> tuple[float, float]:
    """Mean and standard deviation of all numbers; a constant set has deviation 1."""
    scale = float(x.std())
    return float(x.mean()), scale if scale > 1e-8 else 1.0
