"""The explorer plays an optimization of own points."""

import numpy as np
import pytest
import torch

from widgets.jupyter import PersistenceExplorer

X = np.random.default_rng(0).normal(size=(12, 2))


def drawn(explorer):
    points = next(trace for trace in explorer.figures[0].data if trace.name == "points")
    return np.stack([points.x, points.y], 1)


def test_moving_the_step_moves_the_points_of_the_figure():
    explorer = PersistenceExplorer(X)
    assert np.allclose(drawn(explorer), X)
    explorer.controls["step"].value = 5
    assert not np.allclose(drawn(explorer), X)
    assert np.allclose(drawn(explorer), explorer.points.numpy())
    explorer.controls["step"].value = 0
    assert np.allclose(drawn(explorer), X)
    assert len(explorer.static()) == 3


def test_refused_combinations_appear_in_words():
    explorer = PersistenceExplorer(torch.tensor(X))
    explorer.controls["descriptor"].value = explorer.controls["descriptor"].options[1]
    explorer.controls["loss"].value = "enlarge the longest"
    assert "no longest bar" in explorer._message.value
    with pytest.raises(ValueError, match="pairs"):
        PersistenceExplorer(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="NaN"):
        PersistenceExplorer(np.full((3, 2), np.nan))
