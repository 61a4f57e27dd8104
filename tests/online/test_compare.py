"""All learners on one data set: the digits, own streams and own tables of losses, and what is refused."""

import pytest
import torch

from lab import datasets
from lab.online.studies import compare as study
from lab.source import project_root

SAMPLES = project_root() / "data" / "samples"


def test_digits_and_experts_are_learned():
    for kind, arms in (("stream", 7), ("losses", 9)):
        result = study.run(study.Setting.of("smoke", kind=kind), seeds=(0, 1))
        frame = result.to_frame()
        assert len(frame) == arms and frame["regret"].is_monotonic_increasing and (frame["CPU seconds"] > 0).all()
        for arm, values in result.regret.items():
            gap = result.loss[arm] - result.best
            assert torch.allclose(values[:, -1], gap * int(result.at[-1]), atol=1e-6)


def test_own_files_take_the_place_of_the_data(tmp_path):
    stream = datasets.load(SAMPLES / "stream.csv", target="demand")
    result = study.run(study.Setting.of("smoke"), seeds=(0, 1), data=stream)
    assert result.regret["optimistic"].shape[0] == 1 and int(result.at[-1]) == 200
    losses = datasets.load(SAMPLES / "losses.csv")
    result = study.run(study.Setting.of("smoke", kind="losses"), seeds=(0, 1), data=losses)
    assert result.regret["optimistic Hedge"].shape[0] == 2 and any("bandits see" in note for note in result.notes)
    result.save(tmp_path / "result.pt")
    assert study.Result.load(tmp_path / "result.pt").notes == result.notes


@pytest.mark.parametrize(
    "kind, text, words",
    [
        ("stream", "a,b\n1,x\n2,y\n3,z\n4,x\n", "classes"),
        ("losses", "a,b\n" + "1,1\n" * 30, "differ somewhere"),
        ("losses", "a\n" + "1\n2\n" * 30, "two actions"),
    ],
)
def test_files_that_are_no_such_data_are_refused(tmp_path, kind, text, words):
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        study.run(study.Setting.of("smoke", kind=kind), seeds=(0,), data=datasets.load(path))
