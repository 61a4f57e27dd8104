"""Measurements of the statements about unknown domain inconsistency minimization."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.func import functional_call

from lab.claims import Effects, measures
from lab.generalization.studies import udim as study
from lab.generalization.studies.udim import Setting
from lab.generalization.udim import craft, inconsistency, objective_parts, sam_loss, small_classifier
from lab.training.heads import head_gradients


def _case(seed, items=24):
    """A network in double precision, images and labels."""
    g = torch.Generator().manual_seed(seed)
    network = small_classifier(20, 4, seed, widths=(16, 12)).double()
    x, y = torch.rand(items, 20, generator=g, dtype=torch.float64), torch.randint(4, (items,), generator=g)
    p = {name: value.detach() for name, value in network.named_parameters()}
    return network, p, x, y


@measures("udim.upper-bound")
def upper_bound(trial):
    """Sum of SAM loss and inconsistency against worst and average SAM loss. Control: the sum without inconsistency."""
    values = []
    for seed in trial.seeds:
        network, p, x, y = _case(seed)
        loss = lambda q, x, network=network, y=y: F.cross_entropy(functional_call(network, q, (x,)), y)  # noqa: E731
        crafted = [x, *(craft(loss, p, x, 0.05, eta) for eta in (0.1, 0.3, 1.0, 2.0, 4.0))]
        losses = torch.stack([sam_loss(lambda q, one=one, loss=loss: loss(q, one), p, 0.05) for one in crafted])
        own, more = objective_parts(losses)
        total = own + (0.0 if trial.control else more)
        values += [float((total - losses.max()).abs()), float(losses.mean() - total)]
    return Effects(values)


@measures("udim.penalty")
def penalty(trial):
    """The closed form against gradients item by item, and its value without a move. Control: another centre."""
    values = []
    for seed in trial.seeds:
        network, _, x, y = _case(seed)
        network.requires_grad_(False)
        (z, logits), (h, moved) = (network(one, features=True) for one in (x, x + 0.3))
        first, second = (
            torch.cat([found["weight"].flatten(1), found["bias"]], 1)
            for found in (head_gradients(network.head, one, y) for one in (z, h))
        )
        mean = first.mean(0)
        centre = second.mean(0) if trial.control else mean
        apart = ((first - mean).square().mean(0) - (second - centre).square().mean(0)).square().mean() / 4
        size = second.square()
        norms = size[:, :48].sum(1).mean() / 48 + size[:, 48:].sum(1).mean() / 4
        variance, norm = inconsistency(z, logits, h, moved, y)
        still = inconsistency(z, logits, z, logits, y)[0]
        scale = float(apart.detach())  # relative: the numbers are small
        values += [float((variance - apart).abs()) / scale, float((norm - norms).abs()), float(still.abs())]
    return Effects(values)


def _run(trial, **changes):
    return study.run(Setting.of(trial.budget, **changes), seeds=trial.seeds, data=trial.data)


def _shown(result):
    return {
        arm: dict(zip(result.targets, [round(v, 4) for v in values.mean(0).tolist()]))
        for arm, values in result.accuracy.items()
    }


@measures("udim.crafted-domains-are-hard", stacked=True)
def hard(trial):
    """Rise of the loss on crafted less on randomly moved images. Control: moved down."""
    rise = _run(trial).rise
    up, random, down = rise.unbind(1)
    return Effects(
        (down if trial.control else up) - random, {"crafted": float(up.mean()), "random": float(random.mean())}
    )


@measures("udim.aligns-the-landscape", stacked=True)
def aligns(trial):
    """Log ratio of inconsistencies. Control: SAM against itself."""
    found = _run(trial).inconsistency
    own = found["sam" if trial.control else "udim"]
    return Effects((own / found["sam"]).log(), {arm: float(values.mean()) for arm, values in found.items()})


@measures("udim.sam-beats-plain", stacked=True)
def sam_beats_plain(trial):
    """SAM less plain training on shifted images. Control: plain training against itself."""
    result = _run(trial)
    return Effects(result.shifted("erm" if trial.control else "sam") - result.shifted("erm"), _shown(result))


@measures("udim.beats-sam-variants", stacked=True)
def beats(trial):
    """UDIM less the variant of best mean. Control: SAM in its place."""
    result = _run(trial)
    best = max(("sam", "asam", "gsam"), key=lambda arm: float(result.shifted(arm).mean()))
    own = result.shifted("sam" if trial.control else "udim")
    return Effects(own - result.shifted(best), {"best variant": best, **_shown(result)})


@measures("udim.rotated", "udim.coloured", "udim.corrupted", stacked=True)
def beats_on(trial):
    """The same on one kind of shift alone. Control: SAM in its place."""
    longer = trial.of({"items": 240, "epochs": 20}, {}, {})  # two epochs teach nothing but the colour
    result = _run(trial, shift=trial.claim.id.removeprefix("udim."), **longer)
    best = max(("sam", "asam", "gsam"), key=lambda arm: float(result.shifted(arm).mean()))
    own = result.shifted("sam" if trial.control else "udim")
    return Effects(own - result.shifted(best), {"best variant": best, **_shown(result)})


@measures("udim.source-is-kept", stacked=True)
def source_is_kept(trial):
    """Accuracy on fresh source images less SAM's. Control: cross-entropy of the crafted images."""
    found = _run(trial).accuracy
    own = found["augmented" if trial.control else "udim"]
    return Effects(own[:, 0] - found["sam"][:, 0])


@measures("udim.beyond-augmentation", stacked=True)
def beyond(trial):
    """UDIM less SAM with crafted images. Control: SAM less the same."""
    result = _run(trial)
    return Effects(result.shifted("sam" if trial.control else "udim") - result.shifted("augmented"), _shown(result))


@measures("udim.more-with-less-information", stacked=True)
def less_information(trial):
    """Difference of the gains over SAM. Control: exchanged."""
    one, three = (_run(trial, sources=name) for name in ("one", "three"))
    gains = [result.shifted("udim") - result.shifted("sam") for result in (one, three)]
    sign = -1 if trial.control else 1
    return Effects(sign * (gains[0] - gains[1]), {"one": float(gains[0].mean()), "three": float(gains[1].mean())})
