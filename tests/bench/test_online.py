"""Fifty seeds and three horizons at once against the loop over them: make bench."""

import pytest
import torch

from lab.online import OptimisticMirrorDescent, learn, linear_process, play, regret, spectrum
from tests.bench import frame

SEEDS, HORIZONS = range(50), (32, 128, 512)


@pytest.mark.bench
def test_seeds_and_horizons_at_once_against_the_loop():
    learner = OptimisticMirrorDescent()
    paid = lambda where, at: regret.static(where, play(learner, where).losses, at)  # noqa: E731
    together = spectrum("switching", HORIZONS[-1], loss="squared", seeds=SEEDS)
    alone = [spectrum("switching", HORIZONS[-1], loss="squared", seeds=(seed,)) for seed in SEEDS]

    def loop():
        rows = [[regret.static(e, play(learner, e, k).losses, [k])[0, 0] for k in HORIZONS] for e in alone]
        return torch.tensor(rows, dtype=torch.float64)

    options = {"peer": "torch", "target": 20.0, "floor": 20.0, "rounds": 2, "least": 0.01}
    first = frame.ratio(
        "50 seeds, 3 horizons, optimistic mirror descent",
        lambda: paid(together, list(HORIZONS)),
        loop,
        compare=lambda ours, theirs: float((ours - theirs).abs().max()),
        tolerance=1e-9,
        **options,
    )
    short = [k // 8 for k in HORIZONS]
    world = linear_process(short, seeds=SEEDS)
    worlds = [[linear_process([k], seeds=(seed,)) for seed in SEEDS] for k in reversed(short)]

    def policies():
        return torch.stack(
            [torch.stack([learn(one, "log-barrier", eta=20.0).regret[0] for one in row]) for row in worlds]
        )

    second = frame.ratio(
        "50 seeds, 3 horizons, log-barrier on a process",
        lambda: learn(world, "log-barrier", eta=20.0).regret.unflatten(0, (3, 50)),
        policies,
        compare=lambda ours, theirs: float((ours.mean(1) / theirs.mean(1) - 1).abs().max()),  # the draws differ
        tolerance=0.25,
        **options,
    )
    frame.write("online", [first, second])
    print("\n" + frame.show([first, second]))  # equality was asserted before the timing; speed is shown, not tested
