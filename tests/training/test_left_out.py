"""Leaving one domain out: what is trained on, what chooses, what is reported."""

import pytest
import torch

from lab.datasets import Points
from lab.datasets.domains import Domains
from lab.training.left_out import leave_one_out, split_sources


def made(items=50):
    parts = []
    for k, name in enumerate(("a", "b", "c")):
        x = torch.arange(items, dtype=torch.float32).view(-1, 1) + 1000 * k
        parts.append(Points(x, torch.arange(items) % 2, name))
    return Domains(tuple(parts))


def test_target_is_never_trained_on_and_validation_items_are_held_out():
    seen = []

    def train(sources, candidate, seeds):
        trained = torch.cat([part.x for part in sources])
        seen.append(trained)

        def predict(x):
            if len(x) == 10:  # a validation part
                assert not torch.isin(x, trained).any()
            return torch.zeros(len(seeds), len(x), 2)

        return predict

    result = leave_one_out(made(), train, seeds=2)
    assert list(result.target) == ["a", "b", "c"]
    for number, trained in enumerate(seen):
        assert len(trained) == 80
        assert not ((trained >= 1000 * number) & (trained < 1000 * number + 1000)).any()
    assert result.target["a"].tolist() == [0.5, 0.5]


def test_candidate_is_chosen_by_sources_even_where_it_fails_on_the_target():
    def train(sources, candidate, seeds):
        known = {int(part.x[0] // 1000) for part in sources}

        def predict(x):
            inside = int(x[0] // 1000) in known
            right = (x[:, 0] % 2).long() if inside == (candidate == "learns sources") else 1 - (x[:, 0] % 2).long()
            return torch.nn.functional.one_hot(right, 2).float().expand(len(seeds), -1, -1)

        return predict

    result = leave_one_out(made(), train, candidates=("learns target", "learns sources"), targets=["b"])
    assert result.chosen == {"b": "learns sources"}
    assert result.held["b"].item() == 1.0
    assert result.target["b"].item() == 0.0
    assert result.to_frame()["accuracy"].tolist() == [0.0]


def test_split_keeps_every_source_item_once():
    sources = made().parts
    fitting, held = split_sources(sources, 0.2, seed=3)
    for source, first, second in zip(sources, fitting, held):
        assert torch.equal(torch.cat([first.x, second.x]).sort(0).values, source.x)
        assert len(second) == 10


def test_bad_arguments_are_refused():
    predict = lambda sources, candidate, seeds: lambda x: torch.zeros(len(x), 2)  # noqa: E731
    with pytest.raises(ValueError, match="predict must give"):
        leave_one_out(made(), predict)
    with pytest.raises(ValueError, match="must not be empty"):
        leave_one_out(made(), predict, candidates=())
    with pytest.raises(ValueError, match="targets"):
        leave_one_out(made(), predict, targets=["d"])
