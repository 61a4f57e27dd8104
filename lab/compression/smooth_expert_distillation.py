r"""Data set distillation along smooth expert trajectories (AST).

Experts are networks trained on real data, kept after every epoch: theta*_0 .. theta*_E. A synthetic set is good if N steps on it
carry a student from theta*_t near theta*_{t+M},

.. math:: L = \frac{\|\theta_N - \theta^*_{t+M}\|^2}{\|\theta_0 - \theta^*_{t+M}\|^2}
          + \sum_{i=1}^{M-1} \frac{\|\theta_{iN/M} - \theta^*_{t+i}\|^2}{\|\theta_0 - \theta^*_{t+i}\|^2},

the second part being the intermediate matching. Smooth experts move evenly: in epoch e their loss is

.. math:: d_e\,\mathrm{CE} + \lambda\,\mathbb E\bigl(\|\nabla_x \textstyle\sum_c f_c(x)\| - 1\bigr)^2, \qquad
          d_e = \min(1, .5 + .05 e),

a clipped loss and a penalty on gradients in the inputs. On the student's side the inner loss is balanced by
log_5(t - h + 8) for starts t >= h = t_max/2 and by 1/log_5(h - t + 8) before, starting weights are perturbed by w d/||d|| with
d normal, and the set starts at the real items nearest to the centres of clusters of an expert's logits.

Source: J. Shen, W. Yang, K.-Y. Lam, 'AST: effective dataset distillation through alignment with smooth and high-quality expert
trajectories', 2023, sections 3.2 to 3.5; plain trajectory matching: G. Cazenavette, T. Wang, A. Torralba, A. Efros, J.-Y. Zhu,
'Dataset distillation by matching training trajectories', CVPR 2022. In the published code the 'clipping loss' is the factor d_e and
the norm of the penalty is taken over channels, one value a pixel; here it is one value an item.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from lab import checks
from lab.compression.dcc import standard
from lab.compression.matching import Networks
from lab.compression.synthetic import SyntheticSet, by_class, random_items
from lab.training import batch_order, flatten, mlp, unflatten, unroll

PENALTY, DECAY, MOMENTUM = 0.2, 1e-3, 0.9
TRICKS = ("balanced", "intermediate", "perturbed", "representative")


@dataclass(frozen=True, eq=False)
class Experts:
    """Networks trained on real data: ``path`` (experts, epochs + 1, size), their weights flat after every epoch."""

    nets: Networks
    path: torch.Tensor

    def weights(self, epoch: int = -1) -> dict[str, torch.Tensor]:
        """All experts' weights after an epoch, by name."""
        return unflatten(self.path[:, epoch], dict(self.nets.template.named_parameters()))

    def movement(self) -> torch.Tensor:
        """How far each epoch carried each expert, (experts, epochs)."""
        return (self.path[:, 1:] - self.path[:, :-1]).norm(dim=2)

    def accuracy(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Share of right answers of each finished expert, (experts,)."""
        with torch.no_grad():
            logits = self.nets.logits(self.weights(), x.expand(len(self.path), *x.shape))
        return (logits.argmax(2) == y).double().mean(1)


def train_experts(
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    clip: bool = True,
    penalty: float = PENALTY,
    seeds: Sequence[int] = (0, 1, 2, 3),
    network: Callable[[int], nn.Module] | None = None,
    epochs: int = 16,
    batch: int = 64,
    learning_rate: float = 0.05,
) -> Experts:
    """Train experts on standardized items by descent with momentum 0.9 and weight decay 0.001, all at once.

    Args:
        clip: scale the loss by .5, .55, ... up to 1 in the first epochs.
        penalty: lambda of the gradient penalty; 0 switches it off. With ``clip=False`` the expert is plain.
        network: callable seed -> fully connected module.
    """
    checks.number("penalty", penalty, low=0.0)
    epochs, batch = checks.integer("epochs", epochs, low=1), checks.integer("batch", batch, low=1)
    rate = checks.number("learning_rate", learning_rate, low=0.0, open_low=True)
    nets = Networks(network or student_for(x, int(y.max()) + 1))
    theta = {name: value.requires_grad_() for name, value in nets.fresh([seed + 10_000 for seed in seeds]).items()}
    velocity = {name: torch.zeros_like(value) for name, value in theta.items()}
    kept = [flatten(theta, 1).detach()]
    for epoch in range(epochs):
        factor = min(1.0, 0.5 + 0.05 * epoch) if clip else 1.0
        order = torch.stack([batch_order(len(x), seed, epoch) for seed in seeds])
        for rows in order.split(batch, 1):
            logits = nets.logits(theta, x[rows])
            loss = factor * F.cross_entropy(logits.flatten(0, 1), y[rows].flatten(), reduction="sum") / rows.shape[1]
            if penalty:
                norms = nets.slopes_of_sum(theta, x[rows]).norm(dim=2)
                loss = loss + penalty * (norms - 1).square().mean(1).sum()
            found = torch.autograd.grad(loss, list(theta.values()))
            with torch.no_grad():
                for (name, value), g in zip(theta.items(), found):
                    velocity[name].mul_(MOMENTUM).add_(g + DECAY * value)
                    value.sub_(rate * velocity[name])
        kept.append(flatten(theta, 1).detach())
    return Experts(nets, torch.stack(kept, 1))


@dataclass(frozen=True, eq=False)
class Arm:
    """What one row of sets is made with: the experts that it follows, and which of :data:`TRICKS` are on."""

    experts: Experts
    tricks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Matched:
    """Sets made side by side: ``x`` (arms, seeds, items, ...), classes ``y`` (items,), rates ``learning_rate`` (arms, seeds),
    ``losses`` (iterations, arms, seeds) of the main part alone.
    """

    x: torch.Tensor
    y: torch.Tensor
    learning_rate: torch.Tensor
    losses: torch.Tensor


def match_trajectories(
    x: torch.Tensor,
    y: torch.Tensor,
    arms: Sequence[Arm],
    per_class: int = 1,
    *,
    seeds: Sequence[int] = (0,),
    iterations: int = 300,
    steps: int = 10,
    ahead: int = 2,
    latest: int = 8,
    image_rate: float | Sequence[float] = 5.0,
    student_rate: float = 0.1,
    recompute: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> Matched:
    """Sets of all arms and seeds at once, by descent on the matching loss through ``steps`` unrolled steps of a student.

    Args:
        arms: all with experts of one architecture and equally many epochs.
        seeds: of starts, experts and epochs drawn; the same for every arm.
        steps: N, steps of the student with momentum 0.9.
        ahead: M, epochs that they should cover.
        latest: t_max, starts are drawn from 0 .. t_max - 1.
        image_rate: of the images, momentum 0.5, gradients cut to norm 1 a set; one for all or one an arm.
        student_rate: start of the student's learned rate.
        recompute: keep few steps of the student in memory and compute the others twice.
    """
    count, first = len(seeds), arms[0].experts
    epochs = first.path.shape[1] - 1
    iterations, steps = checks.integer("iterations", iterations, low=1), checks.integer("steps", steps, low=1)
    ahead = checks.integer("ahead", ahead, low=1, high=min(steps, epochs))
    latest = checks.integer("latest", latest, low=1, high=epochs - ahead + 1)
    for arm in arms:
        for trick in arm.tricks:
            checks.choice("tricks", trick, TRICKS)
        if arm.experts.path.shape != first.path.shape:
            raise ValueError("arms must have equally many experts of one architecture and equally many epochs")
    nets, like = first.nets, dict(first.nets.template.named_parameters())
    classes, rows = len(by_class(y)), len(arms) * count
    images = torch.cat([x[_start(arm, x, y, per_class, seeds)] for arm in arms]).clone().requires_grad_()
    labels = torch.arange(classes).repeat_interleave(per_class).expand(rows, -1)
    log_rate = torch.full((rows,), math.log(student_rate)).requires_grad_()
    on = {
        trick: torch.tensor([float(trick in arm.tricks) for arm in arms]).repeat_interleave(count) for trick in TRICKS
    }
    optimizer = torch.optim.SGD([{"params": [images], "lr": 1.0}, {"params": [log_rate], "lr": 0.02}], momentum=0.5)
    rates = torch.as_tensor(image_rate, dtype=images.dtype).expand(len(arms)).repeat_interleave(count)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    bank = torch.stack([arm.experts.path for arm in arms])
    place, losses = torch.arange(len(arms)).repeat_interleave(count), []
    draw = lambda high: torch.cat([torch.randint(high, (1,), generator=g) for g in generators]).repeat(len(arms))  # noqa: E731
    for iteration in range(iterations):
        expert, t = draw(len(first.path)), draw(latest)
        segment = torch.stack([bank[place, expert, t + i] for i in range(ahead + 1)])  # (M + 1, rows, size)
        noise = torch.stack([torch.randn(segment.shape[2], generator=g) for g in generators]).repeat(len(arms), 1)
        start = unflatten(segment[0], like)
        start = {
            name: value + on["perturbed"].view(-1, 1, 1) * value * _unit(d) if value.ndim == 3 else value
            for (name, value), d in zip(start.items(), unflatten(noise, like).values())
        }
        rate = log_rate.exp() * torch.where(on["balanced"] > 0, balance(t, latest), 1.0)

        def slope(theta, step, images, rate):
            g = nets.gradients(theta, images[:, None], labels[:, None])
            return {name: rate.view(-1, *[1] * (value.ndim - 2)) * value[:, 0] for name, value in g.items()}

        path = unroll(
            slope, start, images, rate, steps=steps, learning_rate=1.0, momentum=MOMENTUM, recompute=recompute
        )
        begun = flatten(start, 1)
        main = _relative(flatten(path[-1], 1), segment[-1], begun)
        total = main
        for i in range(1, ahead):
            total = total + on["intermediate"] * _relative(flatten(path[i * steps // ahead], 1), segment[i], begun)
        optimizer.zero_grad()
        total.sum().backward()
        with torch.no_grad():
            length = images.grad.flatten(1).norm(dim=1).clamp_min(1.0)
            images.grad.mul_((rates / length).view(-1, *[1] * (images.ndim - 1)))
            log_rate.grad.clamp_(-1, 1)
        optimizer.step()
        losses.append(main.detach())
        if progress is not None:
            progress(iteration + 1, iterations)
    shape = (len(arms), count)
    return Matched(
        images.detach().unflatten(0, shape), labels[0], log_rate.detach().exp().unflatten(0, shape),
        torch.stack(losses).unflatten(1, shape),
    )  # fmt: skip


def matching_loss(end: torch.Tensor, target: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """||end - target||^2 / ||start - target||^2 over the last axis: 1 at the start, 0 at the target.

    Raises:
        ValueError: a start that is the target itself.
    """
    if bool(((start - target) == 0).all(-1).any()):
        raise ValueError("start must differ from target: the expert did not move between them")
    return _relative(end, target, start)


@torch.no_grad()
def chained_error(
    matched: Matched, arms: Sequence[Arm], *, steps: int = 10, ahead: int = 2, chain: int = 3
) -> torch.Tensor:
    """The matching loss of a student that goes through ``chain`` segments on end from the experts' start, (arms, seeds).

    The student never returns to the expert, so that the errors of its segments add up; mean over experts.
    """
    count = matched.x.shape[1]
    values = []
    for k, arm in enumerate(arms):
        nets, like = arm.experts.nets, dict(arm.experts.nets.template.named_parameters())
        last = min(chain * ahead, arm.experts.path.shape[1] - 1)
        experts, own = len(arm.experts.path), []
        for seed in range(count):
            images, rate = (
                matched.x[k, seed].expand(experts, 1, *matched.x.shape[2:]),
                float(matched.learning_rate[k, seed]),
            )
            labels = matched.y.expand(experts, 1, -1)
            for_step = lambda theta, step, images=images, labels=labels, nets=nets: {  # noqa: E731
                name: value[:, 0] for name, value in nets.gradients(theta, images, labels).items()
            }
            start = unflatten(arm.experts.path[:, 0], like)
            for _ in range(chain):  # each segment starts its momentum anew, as the student does
                start = unroll(for_step, start, steps=steps, learning_rate=rate, momentum=MOMENTUM)[-1]
            own.append(_relative(flatten(start, 1), arm.experts.path[:, last], arm.experts.path[:, 0]).mean())
        values.append(torch.stack(own))
    return torch.stack(values).double()


def balance(t: torch.Tensor, latest: int) -> torch.Tensor:
    """The balanced inner loop's factor of starts t: above 1 late, below 1 early.

    >>> bool((balance(torch.arange(8), 8).diff() > 0).all())
    True
    """
    h = latest // 2
    log5 = lambda n: torch.log(n.float()) / math.log(5)  # noqa: E731
    return torch.where(t >= h, log5((t - h + 8).clamp_min(2)), 1 / log5((h - t + 8).clamp_min(2)))


def representatives(features: torch.Tensor, y: torch.Tensor, per_class: int, seed: int) -> torch.Tensor:
    """Places of the items nearest to the centres of ``per_class`` clusters of each class's features (items, d), class by class."""
    from sklearn.cluster import KMeans

    chosen = []
    for place in by_class(y):
        own = features[place].double().numpy()
        if per_class > len(own):
            raise ValueError(f"per_class must be at most {len(own)}, the items of the smallest class, got {per_class}")
        centres = torch.from_numpy(KMeans(per_class, n_init=3, random_state=seed).fit(own).cluster_centers_)
        distance, free = torch.cdist(centres, torch.from_numpy(own)), []
        for row in distance:
            row[free] = math.inf  # an item stands for one centre only
            free.append(int(row.argmin()))
        chosen.append(place[free])
    return torch.cat(chosen)


def condense_by_trajectories(
    images, labels, per_class: int = 10, *, smooth: bool = True, tricks: Sequence[str] = (), seed: int = 0,
    experts: int = 4, epochs: int = 16, **options,
) -> SyntheticSet:  # fmt: skip
    """A synthetic set from own images along expert trajectories; it keeps the learning rate that belongs to it.

    Args:
        images, labels, per_class: as :func:`lab.compression.condense`.
        smooth: experts with clipped loss and gradient penalty, else plain ones.
        tricks: any of :data:`TRICKS`.
        experts, epochs: how many experts, and how long they learn.
        options: of :func:`match_trajectories`.
    """
    x = checks.tensor("images", images).float()
    y = checks.tensor("labels", labels, shape=(len(x),))
    if y.is_floating_point():
        raise TypeError(f"labels must be integer classes, got {y.dtype}")
    if x.ndim < 2:
        raise ValueError(f"images must have an axis of items and at least one more, got shape {tuple(x.shape)}")
    by_class(y.long())
    mean, scale = standard(x)
    flat = ((x - mean) / scale).flatten(1)
    options = {"latest": max(1, epochs // 2), **options}
    penalty = PENALTY if smooth else 0.0
    trained = train_experts(
        flat, y.long(), seeds=range(seed, seed + experts), epochs=epochs, clip=smooth, penalty=penalty
    )
    found = match_trajectories(flat, y.long(), [Arm(trained, tuple(tricks))], per_class, seeds=(seed,), **options)
    made = found.x[0, 0].unflatten(1, x.shape[1:])
    return SyntheticSet(
        made, found.y, mean, scale, float(found.learning_rate[0, 0]), "ast" if smooth else "trajectories"
    )


def student_for(x: torch.Tensor, classes: int) -> Callable[[int], nn.Module]:
    """The room's student and expert, seed -> module: two layers of 64 units."""
    return lambda seed: mlp(x.shape[1], classes, widths=(64, 64), seed=seed)


def _start(arm, x, y, per_class, seeds):
    if "representative" not in arm.tricks:
        return random_items(y, per_class, seeds)
    with torch.no_grad():
        logits = arm.experts.nets.logits(arm.experts.weights(), x.expand(len(arm.experts.path), *x.shape))
    return torch.stack([representatives(logits[seed % len(logits)], y, per_class, seed) for seed in seeds])


def _unit(d):
    return d / d.flatten(1).norm(dim=1).view(-1, 1, 1)


def _relative(end, target, start):
    return (end - target).square().sum(-1) / (start - target).square().sum(-1)
