"""Equal tuning: one rule, fair ties, a record that a changed grid does not pass for."""

import numpy as np
import pytest

from lab import source
from lab.training import comparison
from lab.training.comparison import NotTuned, best, chosen, is_edge, record, trials_of, tune, tuning_hash

ARMS = {"ours": (0.1, 1.0, 10.0), "theirs": (1, 2, 3), "nothing to tune": (None,)}


def scores(arm, settings, seeds):
    assert not set(seeds) & set(range(1000))
    peak = {"ours": [0.1, 0.9, 0.2], "theirs": [0.3, 0.2, 0.1], "nothing to tune": [0.5]}[arm]
    return np.array(peak)[:, None] + np.zeros(len(seeds))


def test_each_arm_gets_its_best_setting_and_the_record_gives_it_back(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "project_root", lambda: tmp_path)
    trials = tune("study", ARMS, scores)
    assert trials.chosen == {"ours": 1.0, "theirs": 1, "nothing to tune": None}
    assert trials.at_edge == {"ours": False, "theirs": True, "nothing to tune": False}
    record("method", trials)
    assert chosen("method", "study", ARMS) == trials.chosen
    assert len(trials_of("method")) == 7 * len(comparison.TUNING_SEEDS) and tuning_hash("method")
    with pytest.raises(NotTuned, match="another grid"):
        chosen("method", "study", {**ARMS, "ours": (0.1, 1.0)})
    with pytest.raises(NotTuned, match="not been tuned"):
        chosen("method", "other", ARMS)
    assert tuning_hash("unknown") == ""


def test_ties_go_to_the_middle_and_failed_trainings_lose():
    assert best([[0.5], [0.5], [0.5]]) == 1
    assert best([[0.5, np.nan], [0.1, 0.1]]) == 1
    assert best([[np.nan], [np.nan], [np.nan]]) == 1


def test_edges_of_pairs():
    grid = [(0.1, 1), (0.1, 2), (0.1, 3)]
    assert is_edge(grid, 0) and not is_edge(grid, 1)


def test_arms_with_unequal_grids_are_refused():
    with pytest.raises(ValueError, match="tuned equally"):
        tune("s", {"a": (1, 2), "b": (1, 2, 3)}, scores)
