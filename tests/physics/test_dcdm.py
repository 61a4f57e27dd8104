"""Elliptic operators against dense matrices, solvers against direct ones, learned directions, own systems, refusals."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import cg, spsolve

from lab.physics import dcdm
from lab.physics import elliptic as e
from lab.physics.studies import dcdm as study
from lab.physics.studies.dcdm import Setting

DATA = Path(__file__).parents[2] / "data" / "samples"
SMOKE = Setting.of("smoke")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


GRIDS = {
    "line": e.Grid((7,)),
    "open": e.Grid((5, 6), spacing=0.5),
    "walls": e.Grid((5, 6), sides="wall"),
    "open top": e.Grid((5, 6), sides=[("wall", "open"), ("wall", "wall")]),
    "obstacle": e.Grid((6, 6), obstacle=noise(6, 6) > 0.8),
    "coefficients": e.Grid((5, 6), coefficient=noise(5, 6).abs() + 0.1, shift=0.3, scale=2.0),
    "space": e.Grid((3, 4, 5), coefficient=noise(3, 4, 5).abs() + 0.1),
}


@pytest.mark.parametrize("name", GRIDS)
def test_stencils_equal_their_matrices_which_are_symmetric_and_definite(name):
    A = GRIDS[name]
    dense = torch.from_numpy(A.matrix().toarray())
    x = noise(2, *A.shape, seed=1)
    assert torch.allclose(A(x).flatten(1), x.flatten(1) @ dense.T, atol=1e-12)
    assert torch.equal(dense, dense.T)
    values = torch.linalg.eigvalsh(dense)
    assert float(values[0]) > (-1e-12 if A.singular else 1e-3)
    if A.singular:
        assert torch.allclose(
            A(torch.ones(A.shape, dtype=torch.float64)), torch.zeros(A.shape, dtype=torch.float64), atol=1e-12
        )
    assert torch.allclose(A(x.float()).double(), A(x), atol=1e-4)


def test_sine_modes_are_eigenvectors_with_the_known_values():
    n = 8
    k, i = torch.arange(1, n + 1, dtype=torch.float64), torch.arange(1, n + 1, dtype=torch.float64)
    mode = torch.sin(torch.pi * 2 * i / (n + 1))[:, None] * torch.sin(torch.pi * 3 * i / (n + 1))
    value = sum(4 * torch.sin(torch.pi * k[m - 1] / (2 * (n + 1))) ** 2 for m in (2, 3))
    assert torch.allclose(e.Grid((n, n))(mode), value * mode, atol=1e-12)
    values, vectors = dcdm.ritz_vectors(e.Grid((n, n)), 100)
    assert float((e.Grid((n, n))(vectors) - values[:, None, None] * vectors).abs().max()) < 1e-7
    assert float(values.min()) == pytest.approx(
        8 * float(torch.sin(torch.pi / torch.tensor(2.0 * (n + 1))) ** 2), rel=1e-6
    )


@pytest.mark.parametrize("name", ["open", "obstacle", "coefficients", "space"])
@pytest.mark.parametrize("preconditioner", [None, e.incomplete_cholesky, e.multigrid])
def test_the_usual_solvers_reach_the_direct_solution(name, preconditioner):
    A = GRIDS[name]
    b = A.project(noise(*A.shape, seed=3))
    found = e.conjugate_gradients(A, b, 1e-12, preconditioner=preconditioner)
    assert np.allclose(found.x.flatten(), spsolve(A.matrix().tocsc(), b.flatten().numpy()), atol=1e-9)


def test_incomplete_cholesky_is_exact_on_a_line_and_keeps_the_pattern():
    A = GRIDS["line"]
    r = noise(7).numpy()
    assert np.allclose(e.incomplete_cholesky(A)(r), spsolve(A.matrix().tocsc(), r))
    A = e.Grid((24, 24))
    b = noise(24, 24)
    plain, ours = (
        e.conjugate_gradients(A, b, 1e-8, preconditioner=one).iterations for one in (None, e.incomplete_cholesky)
    )
    assert ours < plain / 2


def test_with_residuals_as_directions_it_is_conjugate_gradients():
    A = e.Grid((10, 10), coefficient=noise(10, 10).abs() + 0.1)
    b = noise(1, 10, 10, seed=2)
    ours = dcdm.solve(A, b, lambda r: r, tolerance=1e-14, iterations=15)
    theirs, _ = cg(A.matrix(), b[0].flatten().numpy(), rtol=1e-14, maxiter=15)
    assert np.allclose(ours.x[0].flatten(), theirs, atol=1e-9)
    every = dcdm.solve(A, b, lambda r: r, tolerance=1e-14, iterations=15, conjugations="all")
    assert torch.allclose(every.x, ours.x, atol=1e-8)


def test_with_the_inverse_as_network_one_iteration_is_enough_and_systems_stop_apart():
    A = e.Grid((6, 6))
    inverse = torch.linalg.inv(torch.from_numpy(A.matrix().toarray()))
    b = noise(3, 6, 6)
    b[2] = 0
    found = dcdm.solve(A, b, lambda r: (r.reshape(-1, 36) @ inverse).reshape(r.shape), tolerance=1e-10)
    assert found.iterations.tolist() == [1, 1, 0] and found.reached.all()
    assert torch.allclose(A(found.x), b, atol=1e-9)


@pytest.mark.parametrize(("d", "shape"), [(1, (13,)), (2, (12, 9)), (3, (4, 8, 6))])
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_network_is_linear_and_its_transpose_is_the_transpose(d, shape, symmetric):
    net = dcdm.DirectionNet(d, 3, 3, symmetric, seeds=(0, 1)).double().requires_grad_(False)
    x, y = noise(1, 2, *shape, seed=1), noise(1, 2, *shape, seed=2)
    assert torch.allclose(net(x + 2 * y), net(x) + 2 * net(y), atol=1e-10)
    gap = ((net(x) * y).flatten(2).sum(2) - (net(y) * x).flatten(2).sum(2)).abs()
    assert bool((gap < 1e-10).all()) == symmetric
    single = dcdm.DirectionNet(d, 3, 3, symmetric, seeds=(1,)).double().requires_grad_(False)
    assert torch.allclose(single(x[:, 1:]), net(x)[:, 1:], atol=1e-12)


def test_the_loss_is_one_minus_a_squared_cosine_and_its_gradient_that_of_differences():
    A = e.Grid((6, 6))
    b = noise(2, 1, 6, 6)
    net = dcdm.DirectionNet(2, 2, 2).double()
    for weight in net.parameters():
        assert torch.autograd.gradcheck(lambda w: dcdm.loss(A, net, b).sum(), (weight,), atol=1e-6, fast_mode=True)
        break
    image = A(net(b))
    cosine = (image * b).flatten(1).sum(1) ** 2 / (image.flatten(1).square().sum(1) * b.flatten(1).square().sum(1))
    assert torch.allclose(dcdm.loss(A, net, b).flatten(), 1 - cosine)


def test_a_short_training_beats_conjugate_gradients_on_a_grid_never_seen():
    box = e.Grid((16, 16))
    f = dcdm.fit_direction(box, vectors=80, steps=60, rate=1e-2, levels=3)
    A, b = e.Grid((32, 32)), study.sources(32, (5,))
    ours = dcdm.solve(A, b, f)
    assert ours.reached.all() and int(ours.iterations) < e.conjugate_gradients(A, b[0]).iterations / 2
    far = dcdm.solve(A, b, f, tolerance=1e-10)
    assert np.allclose(far.x[0].flatten(), spsolve(A.matrix().tocsc(), b[0].flatten().numpy()), atol=1e-7)


def test_smoke_rises_without_divergence_when_pressure_is_solved_exactly():
    def exactly(A, b):
        x = torch.from_numpy(spsolve(A.matrix().tocsc(), b.flatten().numpy()))
        return dcdm.Solution(x, torch.zeros(1), torch.tensor(1), torch.tensor(True))

    found = study.plume(16, 12, exactly, 0)
    assert float(found["divergence"].max()) < 1e-10
    height = (found["smoke"] > 0.1).any(2).double().sum(1)
    assert height[-1] > height[0] and float(found["smoke"].max()) <= 1.0 + 1e-9
    assert float(found["smoke"][:, found["obstacle"]].abs().max()) == 0


def test_own_matrices_are_read_solved_and_directions_saved_and_loaded(tmp_path):
    A = dcdm.system(DATA / "poisson.npz", (24, 24))
    f = dcdm.fit_direction(A, vectors=60, steps=10, levels=3)
    f.save(tmp_path / "f.pt")
    again = dcdm.FittedDirection.load(tmp_path / "f.pt")
    b = noise(1, 24, 24)
    one, two = (dcdm.solve(A, b, each, tolerance=1e-8, iterations=30, conjugations="all") for each in (f, again))
    assert torch.equal(one.x, two.x)
    assert np.allclose(
        e.conjugate_gradients(A, b[0], 1e-10).x.flatten(), spsolve(A.matrix().tocsc(), b.flatten().numpy())
    )
    from scipy.io import mmwrite

    mmwrite(tmp_path / "a.mtx", A.matrix())
    assert abs(dcdm.system(tmp_path / "a.mtx", (24, 24)).matrix() - A.matrix()).max() < 1e-12


def test_systems_that_are_not_definite_or_do_not_fit_are_refused_in_words():
    ok = e.Grid((4, 4)).matrix()
    tilted, negative = ok.tolil(), ok - 5 * sp.eye(16)
    tilted[0, 1] = 3.0
    hole = ok.toarray()
    hole[2, 2] = np.nan
    for A, grid, words in ((tilted.tocsr(), (4, 4), "symmetric"), (negative, (4, 4), "positive definite"),
                           (ok, (3, 4), "rows as grid"), (hole, (4, 4), "NaN|finite"),
                           (e.Grid((4, 4), sides="wall").matrix(), (4, 4), "positive definite")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            dcdm.system(A, grid)
    with pytest.raises(ValueError, match="grid must say"):
        dcdm.system(ok)
    with pytest.raises(ValueError, match="end in the grid"):
        dcdm.solve(e.Grid((4, 4)), noise(1, 5, 5), lambda r: r)
    with pytest.raises(ValueError, match="finite|NaN"):
        dcdm.solve(e.Grid((4, 4)), noise(1, 4, 4) / 0, lambda r: r)
    with pytest.raises(ValueError, match="positive, got"):
        e.Grid((4, 4), coefficient=-torch.ones(4, 4))
    with pytest.raises(ValueError, match="everywhere"):
        e.Grid((4, 4), obstacle=torch.ones(4, 4, dtype=torch.bool))


def _csr(**changes):
    A = e.Grid((3, 3)).matrix()
    return {"data": A.data, "indices": A.indices, "indptr": A.indptr, "shape": np.array(A.shape), **changes}


HOSTILE = {
    "index": (_csr(indices=np.full(33, 99)), "outside its 9 rows"),
    "pointers": (_csr(indptr=np.arange(10)[::-1].copy()), "square CSR|outside"),
    "shape": (_csr(shape=np.array([10**12, 10**12])), "square CSR"),
    "not a number": (_csr(data=np.full(33, np.nan)), "finite|NaN"),
    "missing": ({"x": np.zeros(3)}, "must hold"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_systems_are_refused_in_words(tmp_path, name):
    arrays, words = HOSTILE[name]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=words):
        e.read_system(tmp_path / "a.npz")


def test_hostile_text_and_objects_are_refused(tmp_path):
    bad = tmp_path / "a.mtx"
    for text in ("hello", "%%MatrixMarket matrix coordinate real general\n9 9 99999999999\n1 1 1.0\n",
                 "%%MatrixMarket matrix coordinate real general\n2 2 2\n7 7 1.0\n1 x 1.0\n"):  # fmt: skip
        bad.write_text(text)
        with pytest.raises(ValueError, match="a.mtx"):
            e.read_system(bad)
    np.savez(tmp_path / "b.npz", **_csr(data=np.array([{}] * 33, dtype=object)))
    with pytest.raises(ValueError, match="allow_pickle|pickle"):
        e.read_system(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="ending"):
        e.read_system(tmp_path / "c.exe")
    with pytest.raises(ValueError, match="limit"):
        e.read_system(DATA / "poisson.npz", max_bytes=10)


def test_two_models_side_by_side_train_as_each_alone():
    box = e.Grid((8, 8))
    _, vectors = dcdm.ritz_vectors(box, 20)
    net = dcdm.DirectionNet(2, 2, 2, seeds=(0, 1))
    losses = dcdm.train(net, box, vectors, steps=10, rate=1e-2)
    assert losses.shape == (10, 2) and bool((losses[-1] < losses[0]).all())
