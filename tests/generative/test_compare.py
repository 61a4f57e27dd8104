"""Samplers side by side: equal budgets, own points, refusals."""

import pytest
import torch

from lab import datasets
from lab.generative.studies.compare import METHODS, Comparison, compare
from lab.source import project_root


def test_no_sampler_takes_more_than_the_evaluations_allowed(tmp_path):
    found = compare(score="exact", evaluations=60, items=200, seeds=2)
    assert set(found.evaluations) == set(METHODS) and max(found.evaluations.values()) <= 60
    assert found.evaluations["predictor"] == found.evaluations["ancestral"] == 60
    assert float(found.distance["flow"].mean()) < float(found.distance["corrector"].mean())
    found.save(tmp_path / "found.pt")
    assert Comparison.load(tmp_path / "found.pt").to_frame().equals(found.to_frame())


def test_own_points_from_a_file_with_a_learned_score():
    own = datasets.load(project_root() / "data" / "samples" / "points.csv")
    found = compare(("predictor", "flow"), own, items=30, training=5, width=16, seeds=1, evaluations=500)
    assert found.samples["flow"].shape == (30, 2) and bool(torch.isfinite(found.distance["flow"]).all())


def test_a_distilled_student_takes_one_evaluation():
    options = {"items": 30, "training": 12, "width": 16, "seeds": 2}
    for score in ("learned", "exact"):
        found = compare(("distilled",), score=score, **options)
        assert found.evaluations == {"distilled": 1} and found.samples["distilled"].shape == (30, 2)
        assert bool(torch.isfinite(found.distance["distilled"]).all())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"methods": ("ode",)}, "methods must be one of"),
        ({"methods": ("distilled",), "sde": "VE"}, "methods must not hold 'distilled'"),
        ({"evaluations": 10}, "evaluations must be at least 44"),
        ({"score": "exact", "points": "moons"}, "needs points='ring'"),
        ({"data": torch.zeros(5, 2)}, "at least 20 points"),
    ],
)
def test_refusals_name_the_argument(options, words):
    with pytest.raises(ValueError, match=words):
        compare(**options)
