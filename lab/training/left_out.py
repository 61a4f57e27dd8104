"""Leave one domain out: train on the others, choose settings on the others alone, report on the one left out.

The protocol of I. Gulrajani, D. Lopez-Paz, "In Search of Lost Domain Generalization", ICLR 2021, Section 3.2, with "training-domain
validation set" selection: no item of the target is seen before the last line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from lab import checks

if TYPE_CHECKING:
    import pandas as pd

    from lab.datasets.domains import Domains
    from lab.datasets.sets import Points

    Trainer = Callable[[tuple[Points, ...], Any, tuple[int, ...]], Callable[[torch.Tensor], torch.Tensor]]


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Accuracies (seeds,) by target: ``target`` of the chosen candidate there, ``held`` on the sources' validation items.

    ``chosen`` is the candidate by target, ``validation`` (candidates, seeds) by target what it was chosen by.
    """

    candidates: tuple
    chosen: dict[str, Any]
    validation: dict[str, torch.Tensor]
    held: dict[str, torch.Tensor]
    target: dict[str, torch.Tensor]

    def to_frame(self) -> pd.DataFrame:
        """One row per target and seed: target, seed number, candidate, held-out source accuracy, target accuracy."""
        import pandas as pd

        rows = [
            (name, seed, self.chosen[name], float(self.held[name][seed]), float(self.target[name][seed]))
            for name in self.target
            for seed in range(len(self.target[name]))
        ]
        return pd.DataFrame(rows, columns=["target", "seed", "candidate", "held_out_sources", "accuracy"])


def split_sources(
    sources: Sequence[Points], held: float = 0.2, *, seed: int | torch.Generator = 0
) -> tuple[tuple[Points, ...], tuple[Points, ...]]:
    """Training and validation part of every source; a fraction ``held`` of each is for validation."""
    generator = checks.generator(seed)
    pairs = [source.split(held, seed=generator) for source in sources]
    return tuple(first for first, _ in pairs), tuple(second for _, second in pairs)


def leave_one_out(
    data: Domains,
    train: Trainer,
    *,
    candidates: Sequence[Any] = (None,),
    targets: Sequence[str] | None = None,
    held: float = 0.2,
    seeds: int | Sequence[int] = 1,
    progress: Callable[[int, int], None] | None = None,
) -> LeftOut:
    """Accuracy on every domain left out in turn.

    Args:
        data: the domains.
        train: ``(sources, candidate, seeds) -> predict``; ``sources`` are the training parts, ``predict(x)`` gives scores or
            probabilities (seeds, items, classes).
        candidates: settings of which one is chosen for each target by mean accuracy over the sources' validation items and the
            seeds; the first of equals.
        targets: the domains to leave out; all by default.
        held: share of each source kept for validation.
        seeds: a number of seeds, or the seeds; the first also draws the validation items.

    Raises:
        ValueError: no candidates, an unknown target, scores of another shape.
    """
    seeds = tuple(range(checks.integer("seeds", seeds, low=1))) if isinstance(seeds, int) else tuple(seeds)
    candidates = tuple(candidates)
    names = data.names if targets is None else tuple(checks.choice("targets", name, data.names) for name in targets)
    if not candidates or not seeds or not names:
        raise ValueError("candidates, seeds and targets must not be empty")
    result = LeftOut(candidates, {}, {}, {}, {})
    for done, name in enumerate(names):
        sources, target = data.leave_out(name)
        fitting, validation = split_sources(sources, held, seed=seeds[0])
        best, scores = None, []
        for candidate in candidates:
            predict = train(fitting, candidate, seeds)
            scores.append(torch.stack([accuracies(predict, part, len(seeds)) for part in validation]).mean(0))
            if best is None or scores[-1].mean() > scores[best[0]].mean():
                best = (len(scores) - 1, predict)
        assert best is not None
        result.chosen[name], result.validation[name] = candidates[best[0]], torch.stack(scores)
        result.held[name], result.target[name] = scores[best[0]], accuracies(best[1], target, len(seeds))
        if progress is not None:
            progress(done + 1, len(names))
    return replace(result)


def accuracies(predict: Callable[[torch.Tensor], torch.Tensor], points: Points, models: int) -> torch.Tensor:
    """(models,) share of items whose largest score is their label's."""
    if points.label is None:
        raise ValueError(f"points must have labels, got {points.name or 'points'} without")
    scores = predict(points.x)
    if scores.ndim != 3 or scores.shape[:2] != (models, len(points)):
        raise ValueError(f"predict must give ({models}, {len(points)}, classes), got {tuple(scores.shape)}")
    return scores.argmax(2).eq(points.label).double().mean(1)
