"""Least squares for many instances: a matrix without an inverse costs its own row its digits and no other row."""

import pytest
import torch

from lab import explain as E
from lab.explain import solve

EPSILON = torch.finfo(torch.float64).eps


def gram(size, rank=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(4 * size, size, generator=generator, dtype=torch.float64)
    if rank is not None:
        rows = rows[:, :rank] @ torch.randn(rank, size, generator=generator, dtype=torch.float64)
    return rows.T @ rows


@pytest.mark.parametrize("size", [1, 2, 9, 40])
def test_good_matrices_are_inverted_as_if_no_singular_one_stood_beside_them(size):
    good = [gram(size, seed=seed) for seed in range(3)]
    nearly = gram(size)
    nearly[-1] = nearly[:, -1] = 0
    nearly[-1, -1] = 1e-14 * nearly.diagonal().max() if size > 1 else 0
    infinite, undefined = gram(size), gram(size)
    infinite[0, 0], undefined[-1, -1] = torch.inf, torch.nan
    bad = [torch.zeros(size, size, dtype=torch.float64), gram(size, rank=max(size // 2, 1)) if size > 1 else 0 * good[0],
           -torch.eye(size, dtype=torch.float64), nearly, infinite, undefined]  # fmt: skip
    batch = torch.stack([good[0], *bad[:3], good[1], *bad[3:], good[2]])
    place = [0, 4, 8]
    inverse, condition = solve._inverse(batch)
    assert bool(condition.isinf().sum() == len(bad))
    for k, matrix in zip(place, good):
        # |A X - I| <= c q eps cond(A) for an inverse by Cholesky (Higham 2002, section 14.3)
        assert float((matrix @ inverse[k] - torch.eye(size)).abs().max()) < 10 * size * EPSILON * float(condition[k])
        torch.testing.assert_close(
            inverse[k], torch.linalg.inv(matrix), rtol=1e3 * EPSILON * float(condition[k]), atol=0
        )
    for k in (1, 2, 3, 5):
        expected = torch.linalg.pinv(batch[k], rtol=1e-11 * size, hermitian=True)
        scale = float(expected.abs().max())
        torch.testing.assert_close(inverse[k], expected, rtol=0, atol=1e3 * size * EPSILON * scale)
        back = batch[k] @ inverse[k] @ batch[k]  # the first equation of Penrose, up to the part that was cut off
        assert float((back - batch[k]).abs().max()) <= 1e-10 * size * float(batch[k].abs().max())
    assert bool(inverse[6:8].isnan().all())


def test_no_matrix_at_all_has_no_inverse():
    inverse, condition = solve._inverse(torch.zeros(0, 3, 3, dtype=torch.float64))
    assert inverse.shape == (0, 3, 3) and condition.shape == (0,)


def test_one_degenerate_instance_is_named_and_leaves_the_others_as_they_were():
    """LIME's kernel gives all weight of an instance far from the baseline to the one mask that keeps everything."""
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    far = x.clone()
    far[2] = 1e4
    w = torch.arange(1.0, 6.0, dtype=torch.float64)
    alone = E.lime(lambda z: torch.tanh(z @ w / 5), x[[0, 1, 3]], n_samples=200)
    beside = E.lime(lambda z: torch.tanh(z @ w / 5), far, n_samples=200)
    assert any("singular for 1 of 4 instances" in text for text in beside.diagnostics.warnings)
    torch.testing.assert_close(beside.weights[[0, 1, 3]], alone.weights, rtol=1e-9, atol=1e-12)
    assert bool(beside.weights.isfinite().all())
