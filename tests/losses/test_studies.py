"""The studies behind the statements: attacks only take accuracy away, all pairs are trained side by side as one by one."""

import torch

from lab.losses.claims import adversarial, ensloss


def test_attacks_only_take_accuracy_away_and_every_arm_is_tuned_alike(generator):
    y = torch.arange(80) % 3
    x = torch.rand(3, 6, generator=generator)[y] + 0.1 * torch.rand(80, 6, generator=generator)
    clean, robust, chosen = adversarial.study(x, y, (0,), epochs=2, steps=3, restarts=1, rates=(1e-2,), widest=1)
    assert set(clean) == set(robust) == set(adversarial.ARMS)
    assert all(robust[name][0] <= clean[name][0] for name in clean)
    assert all(weight == adversarial.ARMS[name][1][-1] and rate == 1e-2 for name, ((weight, rate),) in chosen.items())
    tried = {len(weights) for name, (_, weights) in adversarial.ARMS.items() if name != "cross-entropy"}
    assert len(tried) == 1


def test_pairs_trained_together_equal_pairs_trained_alone():
    rates = dict.fromkeys((*ensloss.FIXED, "ensloss"), 3e-3)
    pairs = (ensloss.PAIRS[3], ensloss.PAIRS[20])
    # one pair at a time keeps as many rows as the smaller of both
    together = ensloss.pair_accuracies("mlp 64-64-64-2", pairs, (4, 5), rates, 2)
    assert {values.shape for values in together.values()} == {(2, 2)}
    smaller = min(range(2), key=lambda k: _rows(pairs[k]))
    alone = ensloss.pair_accuracies("mlp 64-64-64-2", (pairs[smaller],), (4, 5), rates, 2)
    for name in ensloss.FIXED:  # the draws of EnsLoss depend on how many batches stand side by side
        torch.testing.assert_close(together[name][smaller], alone[name][0], atol=0.01, rtol=0)


def _rows(pair):
    from lab import datasets

    label = datasets.load("digits").label
    return int(((label == pair[0]) | (label == pair[1])).sum())


def test_a_win_needs_an_interval_above_zero():
    fixed = torch.tensor([[0.90, 0.91, 0.90], [0.90, 0.95, 0.85], [0.90, 0.91, 0.90]])
    ours = fixed + torch.tensor([[0.05, 0.05, 0.051], [0.01, -0.01, 0.0], [-0.05, -0.05, -0.051]])
    assert ensloss.against(fixed, ours) == (1, 1, 1)
