"""Measurements of the statements about condensation with contrastive signals."""

from __future__ import annotations

import torch

from lab.claims import Effects, measures
from lab.compression import dcc
from lab.compression.matching import Networks
from lab.compression.studies import dcc as study
from lab.compression.studies.common import shown
from lab.training import mlp


def _linear(x, y, theta=None):
    """Gradients (1, classes, ...) of a linear softmax model at zero on items (classes, items, features)."""
    nets = Networks(lambda seed: mlp(x.shape[-1], x.shape[0], widths=(), bias=False, dtype=torch.float64))
    weights = theta or {"0.weight": torch.zeros(1, x.shape[0], x.shape[-1], dtype=torch.float64)}
    return nets, nets.gradients(weights, x[None], y[None])


@measures("dcc.shared-signal-cancels")
def cancels(trial):
    """A linear softmax model at zero, inputs joined with one block for all classes. Effects: the loss's largest slope in the
    synthetic block over that in the rest, and the relative change of the loss after a small step down. Control: class by class.
    """
    generator = torch.Generator().manual_seed(trial.seeds[0])
    classes, real, block = 5, 20, 6
    shared = 2 * torch.randn(block, generator=generator, dtype=torch.float64)

    def items(count):
        task = torch.randn(classes, count, 8, generator=generator, dtype=torch.float64)
        return torch.cat([task, shared.expand(classes, count, block)], 2)

    target = _linear(items(real), torch.arange(classes)[:, None].expand(-1, real))[1]
    synthetic, own = items(1).requires_grad_(), torch.arange(classes)[:, None]
    method = "dc" if trial.control else "dcc"

    def loss(s):
        return dcc.matching_loss(_linear(s, own)[1], target, method).sum()

    value = loss(synthetic)
    (slope,) = torch.autograd.grad(value, synthetic)
    size = slope.abs().amax((0, 1))
    fall = (loss(synthetic.detach() - 1e-3 * slope) - value) / value
    return Effects([float(size[8:].max() / size[:8].max()), float(fall.detach())], {"shared features": block})


@measures("dcc.class-wise-optimum-can-lose-to-random")
def optimum_can_lose(trial):
    """Two classes (k, u) and (k, -u) with noise, and the set (3 m_1, m_2) of scaled class means: L_DC is zero on it.

    Effects: accuracy of descent on random items less that on this set, and L_DCC less L_DC there. Control: means of one length.
    """
    generator = torch.Generator().manual_seed(trial.seeds[0])
    centre = torch.tensor([[3.0, 0.0, 1.0], [3.0, 0.0, -1.0]], dtype=torch.float64)
    real = centre[:, None] + 0.4 * torch.randn(2, 200, 3, generator=generator, dtype=torch.float64)
    y, own = torch.arange(2)[:, None].expand(-1, 200), torch.arange(2)[:, None]
    lengths = torch.tensor([[1.0 if trial.control else 3.0], [1.0]], dtype=torch.float64)
    best = (lengths * real.mean(1))[:, None]
    target, found = _linear(real, y)[1], _linear(best, own)[1]
    gap = dcc.matching_loss(found, target, "dcc") - dcc.matching_loss(found, target, "dc")

    def accuracy(chosen):
        nets = Networks(lambda seed: mlp(3, 2, widths=(), bias=False, dtype=torch.float64))
        zero = {"0.weight": torch.zeros(len(chosen), 2, 3, dtype=torch.float64)}
        theta = dcc.descend(nets, zero, chosen, own.expand(len(chosen), -1, -1), 20, 0.01)
        logits = nets.logits(theta, real.flatten(0, 1).expand(len(chosen), -1, -1))
        return float((logits.argmax(2) == y.flatten()).double().mean())

    random = torch.stack([real[:, k : k + 1] for k in range(100)])
    values = {"random": accuracy(random), "class-wise optimum": accuracy(best[None])}
    return Effects([values["random"] - values["class-wise optimum"], float(gap)], values)


def _run(trial, **changes):
    return study.run(
        study.Setting.of(trial.budget, **changes),
        seeds=trial.seeds,
        data=trial.data,
        control="shuffled" if trial.control else False,
    )


def _gain(trial, arm, over, **changes):
    result = _run(trial, **changes)
    return Effects(result.gain(arm, over), shown(result.accuracy))


@measures("dcc.matching-beats-random", stacked=True)
def beats_random(trial):
    """Accuracy on sets of class-wise matching less that on random real images. Control: labels shuffled."""
    return _gain(trial, "dc", "random")


@measures("dcc.better-than-dc", stacked=True)
def better(trial):
    """Accuracy on contrastive sets less that on class-wise ones, one image a class. Control: labels shuffled."""
    return _gain(trial, "dcc", "dc")


@measures("dcc.better-at-ten-images", stacked=True)
def better_at_ten(trial):
    """The same at ten images a class. Control: labels shuffled."""
    return _gain(trial, "dcc", "dc", per_class=10)


@measures("dcc.shared-signal-defeats-dc", stacked=True)
def defeats(trial):
    """Accuracy on class-wise sets less that on random ones under a shared signal. Control: contrastive sets in their place."""
    result = study.run(study.Setting.of(trial.budget, shared=1.0, network="mlp"), seeds=trial.seeds, data=trial.data)
    return Effects(result.gain("dcc" if trial.control else "dc", "random"), shown(result.accuracy))


@measures("dcc.gap-grows-with-shared-signal", stacked=True)
def gap_grows(trial):
    """Gain of contrastive over class-wise sets under a shared signal less that without. Control: labels shuffled."""
    plain, under = _run(trial, network="mlp"), _run(trial, shared=1.0, network="mlp")
    gaps = [one.gain("dcc", "dc") for one in (under, plain)]
    return Effects(gaps[0] - gaps[1], {"without": shown(plain.accuracy), "under": shown(under.accuracy)})


@measures("dcc.look-alikes-defeat-dc", stacked=True)
def look_alikes_defeat(trial):
    """Accuracy on class-wise sets of look-alike classes less random ones. Control: contrastive sets in their place."""
    result = study.run(study.Setting.of(trial.budget, group="look-alikes"), seeds=trial.seeds, data=trial.data)
    return Effects(
        result.gain("dcc" if trial.control else "dc", "random"), {**shown(result.accuracy), "of": result.classes}
    )


@measures("dcc.look-alikes-are-condensed", stacked=True)
def look_alikes_condensed(trial):
    """Accuracy on contrastive sets of look-alike classes less random ones. Control: labels shuffled."""
    return _gain(trial, "dcc", "random", group="look-alikes")


@measures("dcc.kernel-velocity-tells-them-apart", stacked=True)
def velocity(trial):
    """|log| of the ratio of mean kernel velocities on contrastive and class-wise sets. Control: one set against itself, trained
    from another start."""
    result = _run(trial, network="mlp")  # the kernel has a closed form there
    speed = {arm: values.mean(0).double() for arm, values in result.velocity.items()}
    other = speed["dc"].roll(1) if trial.control else speed["dcc"]
    ratio = (other / speed["dc"]).log()
    ratio = ratio.abs() if not trial.control else ratio
    return Effects(ratio, {arm: float(values.mean()) for arm, values in speed.items()})


@measures("dcc.warm-up-stabilizes", stacked=True)
def stabilizes(trial):
    """Distance of a seed's accuracy from its arm's median, with the warm-up less without. Control: labels shuffled."""
    result = _run(trial)
    spread = {arm: (values - values.median()).abs() for arm, values in result.accuracy.items()}
    return Effects(spread["dcc, warm-up"] - spread["dcc"], shown(result.accuracy))


@measures("dcc.memory-of-classes-in-turn", stacked=True)
def memory(trial):
    """Accuracy on all classes after five pairs in turn, a condensed memory less a random one. Control: labels shuffled."""
    result = _run(trial, group="in turn")
    details = {arm: [round(float(value), 4) for value in stages.mean(1)] for arm, stages in result.stages.items()}
    return Effects(result.gain("dcc", "random"), {"by stage": details})


@measures("dcc.benchmarks", stacked=True)
def benchmarks(trial):
    """Accuracy on contrastive sets less that on class-wise ones, on the user's set with the convolutional network."""
    return _gain(trial, "dcc", "dc", network="convnet")
