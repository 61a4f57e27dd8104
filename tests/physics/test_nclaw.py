"""Learned laws: exact priors, training, states from marks, own data, refusals."""

import numpy as np
import pytest
import torch

from lab import physics
from lab.physics import continuum as c
from lab.physics import nclaw
from lab.physics.film import film, tracked
from lab.physics.graph_simulator import GraphSimulator
from lab.physics.studies import nclaw as study
from lab.physics.studies.nclaw import Setting

SMOKE = Setting.of("smoke")


def gradients(d, scenes=2, count=10):
    generator = torch.Generator().manual_seed(0)
    return torch.eye(d) + 0.1 * torch.randn(scenes, count, d, d, generator=generator)


@pytest.mark.parametrize("d", [2, 3])
def test_models_of_a_stack_are_the_single_models_and_scenes_are_split_in_order(d):
    F = gradients(d, 4)
    both = nclaw.MetaElasticity(d, 8, seeds=(3, 5))(F)
    for k, seed in enumerate((3, 5)):
        assert torch.allclose(nclaw.MetaElasticity(d, 8, seeds=(seed,))(F[2 * k : 2 * k + 2]), both[2 * k : 2 * k + 2])
    with pytest.raises(ValueError, match="multiple of 2 scenes"):
        nclaw.MetaElasticity(d, 8, seeds=(3, 5))(F[:3])


def test_forms_of_the_stress_agree_to_first_order_and_one_is_symmetric():
    F = torch.eye(2) + 1e-3 * (gradients(2) - torch.eye(2))
    published, ours = (nclaw.MetaElasticity(symmetric=s)(F) for s in (False, True))
    assert torch.allclose(published, ours, atol=1e-3 * float(ours.detach().abs().max()))
    ours = nclaw.MetaElasticity(symmetric=True)(gradients(2))
    assert torch.allclose(ours, ours.mT, atol=1e-3)


@pytest.mark.parametrize("maker", [nclaw.MetaElasticity, nclaw.MetaPlasticity])
def test_derivatives_of_the_laws_equal_differences_at_rest_too(maker):
    law = maker(2, 4).double().requires_grad_(False)
    for F in (gradients(2).double(), torch.eye(2).double().expand(1, 2, 2, 2)):
        assert torch.autograd.gradcheck(law, F.clone().requires_grad_(), atol=1e-3, rtol=1e-4)


def test_a_schedule_goes_through_its_lengths_in_equal_parts():
    schedule = nclaw.TeacherSchedule((5, 10, 20, 40))
    assert [schedule.at(epoch, 8) for epoch in range(8)] == [5, 5, 10, 10, 20, 20, 40, 40]


def test_training_lowers_the_error_and_shuffled_targets_do_not_teach():
    setting = Setting(side=6, cells=16, steps=120, epochs=24, width=16)
    result = study.run(setting, seeds=(0,))
    assert float(result.ratio("bar").mean()) < 0.95
    assert float(study.run(setting, seeds=(0,), control="shuffled").ratio("bar").mean()) > 0.95


def test_the_true_law_has_no_error_and_a_broken_one_counts_as_the_box():
    start = study.thrown(SMOKE, "ring", (1.0, -2.0), 4.0)
    elastic, plastic = study.MATERIALS["plasticine"]
    scene = SMOKE.scene()
    true = c.record(start, elastic, plastic, scene, 90).x
    x, lost = study.roll(start, elastic, plastic, scene, 90)
    assert float(study.distances(x, true, lost)) < 1e-5
    wild, lost = study.roll(start, lambda F: -1e9 * torch.ones_like(F), None, scene, 90)
    assert bool(lost.all()) and float(study.distances(wild, true, lost)) == 1.0
    assert bool(torch.isfinite(wild).all())


@pytest.mark.parametrize("shape", ["square", "ring", "bar", "disc"])
def test_bodies_have_the_same_number_of_different_lattice_points(shape):
    points = study.body(shape, 6, 2, 0.1)
    assert len(torch.unique(points, dim=0)) == 36
    assert float(torch.pdist(points).min()) == pytest.approx(0.1)


def test_states_of_an_affine_motion_are_found_exactly():
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(40, 2, generator=generator, dtype=torch.float64)
    A = torch.tensor([[0.3, 0.5], [-0.4, 0.1]], dtype=torch.float64)
    t = 0.01 * torch.arange(8, dtype=torch.float64)[:, None, None]
    F = torch.eye(2, dtype=torch.float64) + t * A
    x = torch.einsum("tab,nb->tna", F, X) + t * torch.tensor([2.0, 1.0], dtype=torch.float64)
    body = torch.rand(15, 2, generator=generator, dtype=torch.float64)
    for points in (None, body):
        found = nclaw.reconstruct(x, 0.01, points)
        where = X if points is None else points
        assert torch.allclose(found.F[:, 0].double(), F[:, None].expand(-1, len(where), 2, 2), atol=1e-5)
        assert torch.allclose(
            found.v[:, 0].double(), (where @ A.T + torch.tensor([2.0, 1.0])).expand(8, -1, -1), atol=1e-4
        )
        assert torch.allclose(found.C[3, 0].double(), (A @ torch.linalg.inv(F[3])).expand(len(where), 2, 2), atol=1e-3)


def test_smoothing_keeps_constant_velocity():
    t = torch.arange(9, dtype=torch.float64)[:, None, None]
    line = t * torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    assert torch.allclose(study.smoothed(line), line, atol=1e-12)


def test_marks_are_followed_through_a_film():
    points = study.body("square", 8, 2, 0.03) + 0.4
    x = points + 0.008 * torch.arange(6, dtype=torch.float64)[:, None, None] * torch.tensor([1.0, -0.5])
    found = tracked(film(x, 1.0), points, 1.0)
    assert float((found - x).norm(dim=2).mean()) < 0.004


@pytest.fixture(scope="module")
def motion():
    scene = SMOKE.scene()
    seen = c.record(study.throws(SMOKE, (0,)), *study.MATERIALS["jelly"], scene, 100, 10)
    return seen.x[:, 0].numpy(), scene


def test_a_law_of_own_tracks_is_saved_loaded_and_used(motion, tmp_path):
    positions, scene = motion
    np.savez(tmp_path / "tracks.npz", positions=positions)
    law = physics.fit_law(tmp_path / "tracks.npz", dt=10 * scene.dt, scene=scene, epochs=6, width=8)
    assert law.losses.shape == (6, 1) and float(law.losses[1]) < float(law.losses[0])
    law.save(tmp_path / "law.pt")
    again = physics.FittedLaw.load(tmp_path / "law.pt")
    F = gradients(2)
    assert torch.equal(law(F), again(F))
    assert again.scene == scene
    start = physics.start(torch.from_numpy(positions[:1]), (1.0, -1.0))
    assert torch.isfinite(physics.rollout(start, again, None, again.scene, 20).x).all()


def test_bad_tracks_are_refused_in_words(motion, tmp_path):
    positions, scene = motion
    dt = 10 * scene.dt

    def fit(value, dt=dt, scene=scene):
        return physics.fit_law(value, dt, scene, epochs=1, width=4)

    hole = positions.copy()
    hole[3, 5] = np.nan
    for value in (positions[:3], positions[..., :1], hole, positions * 3, positions[:, :2], "text"):
        with pytest.raises((ValueError, TypeError, OSError), match="positions|text"):
            fit(value)
    line = positions.copy()
    line[..., 1] = 0.5
    with pytest.raises(ValueError, match="line"):
        fit(line)
    with pytest.raises(ValueError, match="multiple of the scene's step"):
        fit(positions, dt=1.5 * scene.dt)
    with pytest.raises(ValueError, match="gravity"):
        fit(positions, scene=c.Scene(gravity=(0.0, 0.0, -9.8)))


def test_hostile_files_are_refused(motion, tmp_path):
    _, scene = motion
    wrong = tmp_path / "wrong.npz"
    np.savez(wrong, tracks=np.zeros((8, 9, 2)))
    with pytest.raises(ValueError, match="'positions'"):
        physics.fit_law(wrong, 10 * scene.dt, scene)
    objects = tmp_path / "objects.npz"
    np.savez(objects, positions=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="pickle|[Oo]bject"):
        physics.fit_law(objects, 10 * scene.dt, scene)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError):
        physics.fit_law(tmp_path / "text.npz", 10 * scene.dt, scene)


def test_training_can_be_cancelled_and_reports_its_progress(motion):
    positions, scene = motion
    seen = []

    def stop(share):
        seen.append(share)
        if share > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        physics.fit_law(positions, 10 * scene.dt, scene, epochs=6, width=4, progress=stop)
    assert seen == [1 / 6, 2 / 6]


def test_the_end_to_end_simulator_learns_free_fall():
    t = 0.01 * torch.arange(30.0)[:, None, None, None]
    x0 = 0.3 + 0.3 * torch.rand(1, 16, 2, generator=torch.Generator().manual_seed(0))
    x = x0 + t * torch.tensor([0.3, 0.5]) - 4.9 * t**2 * torch.tensor([0.0, 1.0])
    model = GraphSimulator(2, 0.01, 0.2, 0.0, 1.0, width=8)
    model.fit(x, epochs=15)
    with torch.no_grad():
        rolled = model.roll(x[1], (x[1] - x[0]) / 0.01, 20)
    assert float((rolled - x[1:22]).norm(dim=3).max()) < 0.05


def test_settings_and_results_say_what_they_are(tmp_path):
    result = study.run(SMOKE, seeds=(0, 1))
    frame = result.to_frame()
    assert list(frame["scene"]) == ["ring", "bar", "velocity", "slope", "time"]
    result.save(tmp_path / "errors.csv")
    assert len(study.Result.load(tmp_path / "errors.csv")) == 5
    assert result.ratio("ring", "bar").shape == (2,)
    assert Setting.of("full").dimension == 3
    with pytest.raises(ValueError, match="side"):
        Setting(side=1)


@pytest.mark.slow
def test_three_dimensions_learn_too():
    setting = Setting(dimension=3, side=4, cells=16, steps=100, epochs=12, width=8)
    result = study.run(setting, seeds=(0,))
    assert all(bool(torch.isfinite(values).all()) and float(values.max()) < 1 for values in result.errors.values())
    assert float(result.ratio("bar").mean()) < float(
        study.run(setting, seeds=(0,), control="untrained").ratio("bar").mean()
    )
