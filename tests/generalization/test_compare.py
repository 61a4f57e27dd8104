"""The comparison of the room: equal cost, choice on the sources alone, own domains, folders and tables."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from lab.datasets import Points, own_domains
from lab.datasets.domains import domains, rotated
from lab.generalization.studies import compare as study
from lab.generalization.studies.common import user_domains, user_points

QUICK = {"items": 120, "budget": 7}


@pytest.fixture(scope="module")
def result():
    return study.run(study.Setting.of("smoke", **QUICK), seeds=(0,))


def test_every_arm_is_judged_on_every_target(result, tmp_path):
    assert tuple(result.unseen) == tuple(study.EVALUATIONS)
    for values in (result.unseen, result.tail, result.robust, result.seen):
        assert all(one.shape == (1, 3) and bool(((one >= 0) & (one <= 1)).all()) for one in values.values())
    assert all(bool((result.robust[arm] <= result.unseen[arm]).all()) for arm in result.unseen)
    assert all(bool((result.tail[arm] <= result.unseen[arm] + 0.5).all()) for arm in result.unseen)
    assert result.bytes["gaqat"] < result.bytes["erm"] / 6
    frame = result.to_frame()
    assert list(frame["arm"]) == list(study.EVALUATIONS)
    result.save(tmp_path / "result")
    again = study.Result.load(tmp_path / "result")
    assert torch.equal(again.unseen["udim"], result.unseen["udim"]) and again.bytes == result.bytes


def test_a_step_evaluates_the_network_as_often_as_is_said(monkeypatch):
    seen = {"forward": 0}
    plain = nn.Flatten.forward

    def counted(self, x):
        seen["forward"] += 1
        return plain(self, x)

    monkeypatch.setattr(nn.Flatten, "forward", counted)
    data = domains(
        Points(torch.rand(60, 1, 6, 6), torch.arange(60) % 2, "own", ("a", "b")),
        [rotated(0), rotated(90), rotated(180)],
    )
    work = study._Data(study.tasks(data, 0), (1, 6, 6), 1)
    options = {"seeds": [0] * 3, "learning_rate": [1e-3] * 3, "batch_size": 1000}  # an epoch is a step
    for arm, each in study.EVALUATIONS.items():
        seen["forward"] = 0
        study._trained(arm, study.Setting.of("smoke"), work, (1, 6, 6), 2, 10, options)
        found = seen["forward"] - (2 * 3 if arm == "gaqat" else 0)  # where step sizes are started
        assert found == pytest.approx(10 * each), arm


def test_rates_are_chosen_on_the_sources_alone():
    generator = torch.Generator().manual_seed(0)
    parts = [
        Points(
            torch.rand(60, 5, generator=generator), torch.randint(2, (60,), generator=generator), name, ("no", "yes")
        )
        for name in "abc"
    ]
    from dataclasses import replace

    from lab.datasets import Domains

    turned = replace(parts[2], label=1 - parts[2].label)
    found = [
        study.run(
            study.Setting.of("smoke", **QUICK), seeds=(0,), data=Domains((*parts[:2], last), "own", ("no", "yes"))
        )
        for last in (parts[2], turned)
    ]
    for arm in ("erm", "drm", "udim", "gaqat", "doubly robust"):  # c is the target of the last column
        assert found[0].rates[arm][2] == found[1].rates[arm][2]
        torch.testing.assert_close(
            found[0].unseen[arm][:, 2] + found[1].unseen[arm][:, 2], torch.ones(1, dtype=torch.float64)
        )


def test_a_table_of_domains_takes_every_arm_but_the_mask(tmp_path):
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "domain": np.repeat(["a", "b", "c"], [40, 44, 41]),
            "u": draw.normal(size=125) * 100,
            "v": draw.normal(size=125),
        }
    )
    frame["ill"] = np.where(frame.u > 0, "yes", "no")
    frame.to_csv(tmp_path / "patients.csv", index=False)
    from lab import datasets

    found = study.run(
        study.Setting.of("smoke", budget=140), seeds=(0,), data=datasets.load(tmp_path / "patients.csv", target="ill")
    )
    assert found.targets == ("a", "b", "c") and "noise mask" not in found.unseen
    assert float(found.unseen["erm"].mean()) > 0.85
    assert any("40 of each" in note for note in found.notes) and any(
        "no arm 'noise mask'" in note for note in found.notes
    )


def test_own_data_that_fit_nothing_are_refused_in_words():
    frame = pd.DataFrame({"u": [1.0, 2.0] * 10, "ill": ["yes", "no"] * 10})
    from lab.datasets import Table

    with pytest.raises(ValueError, match="a column called domain.*got the columns u, ill"):
        user_domains(Table(frame, "ill"))
    with pytest.raises(ValueError, match="no domains and is no set of images"):
        user_domains(Points(torch.rand(20, 3), torch.arange(20) % 2, "rows", ("a", "b")))
    with pytest.raises(ValueError, match="must hold classes, got numbers"):
        user_points(Points(torch.rand(20, 3), torch.rand(20), "rows"))
    with pytest.raises(ValueError, match="must lie in .0, 1., got values from 0 to 255"):
        user_points(
            Points(
                torch.tensor([0.0, 255.0]).repeat(5)[:, None, None, None].expand(-1, 1, 3, 3), torch.arange(10) % 2, "x"
            )
        )
    with pytest.raises(ValueError, match="images .* are wanted, got features of shape .3,"):
        user_points(Points(torch.rand(20, 3), torch.arange(20) % 2, "rows"), images=True)
    with pytest.raises(ValueError, match="got str"):
        user_points("a path")
    numbers = own_domains(
        frame.assign(site=["x", "y"] * 10, y=np.linspace(0, 1, 20)).drop(columns="ill"), column="site", target="y"
    )
    with pytest.raises(ValueError, match="must hold classes"):
        user_domains(numbers)


def test_scaling_is_that_of_all_domains_together():
    frame = pd.DataFrame({"domain": ["a", "b"] * 10, "u": np.arange(20.0), "ill": ["yes", "yes", "no", "no"] * 5})
    from lab.datasets import Table

    found = user_domains(Table(frame, "ill"))
    torch.testing.assert_close(torch.cat([part.x for part in found]).amax(), torch.tensor(1.0))
    assert float(found["a"].x.max()) == pytest.approx(18 / 19)
