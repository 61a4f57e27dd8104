"""Finite-element spaces: every element against polynomials and known rates, nested interpolation, users' meshes, refusals."""

import numpy as np
import pytest
import skfem
import torch
import trimesh

from lab.physics import finite_elements as fe

MESHES = {
    "triangle": fe.unit_square(2),
    "quadrilateral": fe.unit_square(2, "quadrilateral"),
    "tetrahedron": skfem.MeshTet().refined(2),
}
PAIRS = [(element, cell) for element, cells in fe.ELEMENTS.items() for cell in cells]


@pytest.mark.parametrize(("element", "cell"), PAIRS)
def test_every_element_holds_constants_and_its_matrices_are_symmetric(element, cell):
    space = fe.Space(MESHES[cell], element)
    d = space.points.shape[1]
    field = torch.arange(1.0, d + 1).double()
    c = space.project(lambda x: field.expand(x.shape) if space.vector_valued else x[..., 0] * 0 + 3)
    wanted = float(field.square().sum()) ** 0.5 if space.vector_valued else 3.0
    assert float(space.norm(c[None])[0]) == pytest.approx(wanted, rel=1e-9)
    assert float(space.norm(c[None], "energy")[0]) < 1e-6
    for A in (space.mass, space.stiffness):
        assert abs(A - A.T).max() < 1e-12 and A.shape == (space.size, space.size)
    assert 0 < len(space.boundary) < space.size


@pytest.mark.parametrize(("element", "power"), [("P1", 1), ("P2", 2), ("Q1", 1)])
def test_nodal_elements_hold_polynomials_of_their_degree(element, power):
    space = fe.Space(MESHES["quadrilateral" if element == "Q1" else "triangle"], element)
    f = lambda x: (1 + x[..., 0] - 2 * x[..., 1]) ** power  # noqa: E731
    c = space.interpolate(f)
    assert torch.allclose(c, space.project(f), atol=1e-9)
    inside = 0.05 + 0.9 * torch.rand(20, 2, generator=torch.Generator().manual_seed(0)).double()
    assert torch.allclose(torch.from_numpy(space.at(inside) @ c.numpy()), f(inside), atol=1e-9)


def test_poisson_converges_with_the_square_in_the_mean_and_with_the_spacing_in_the_gradient():
    exact = lambda x: torch.sin(torch.pi * x[..., 0]) * torch.sin(torch.pi * x[..., 1])  # noqa: E731
    errors = []
    for k in (3, 4):
        space = fe.Space(fe.unit_square(k), "P1")
        u = space.solve(space.load(lambda x: 2 * torch.pi**2 * exact(x))[None])
        fine = fe.Space(fe.unit_square(k + 2), "P1")
        gap = torch.from_numpy(fine.from_coarse(space) @ u[0].numpy())[None] - fine.interpolate(exact)[None]
        errors.append([float(fine.norm(gap, kind)[0]) for kind in ("L2", "energy")])
        assert float(u[:, space.boundary].abs().max()) == 0
    rates = np.log2(np.array(errors[0]) / np.array(errors[1]))
    assert rates == pytest.approx([2, 1], abs=0.1)


@pytest.mark.parametrize("element", fe.NODAL)
def test_nested_interpolation_keeps_functions_and_their_norms(element):
    coarse = fe.Space(MESHES["quadrilateral" if element == "Q1" else "triangle"], element)
    fine = coarse.refined()
    c = torch.randn(1, coarse.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    lifted = torch.from_numpy(fine.from_coarse(coarse) @ c[0].numpy())[None]
    for kind in ("L2", "H1", "energy"):
        assert float(fine.norm(lifted, kind)[0]) == pytest.approx(float(coarse.norm(c, kind)[0]), rel=1e-9)


def test_products_with_many_items_and_channels_are_those_of_each_and_differentiable():
    space = fe.Space(fe.unit_square(1), "P1")
    x = torch.randn(
        3, space.size, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True
    )
    found = fe.apply(space.mass, x)
    dense = torch.from_numpy(space.mass.toarray())
    assert torch.allclose(found, torch.einsum("mn,inc->imc", dense, x), atol=1e-12)
    A = fe.as_tensor(space.stiffness)
    assert torch.autograd.gradcheck(lambda x: fe.apply(A, x), (x,))
    with pytest.raises(ValueError, match="9 coefficients"):
        fe.apply(A, x[:, :4])


@pytest.mark.parametrize("ending", ["npz", "obj", "ply"])
def test_own_meshes_are_read(tmp_path, ending):
    mesh = fe.unit_square(2)
    points, cells = mesh.p.T, mesh.t.T
    path = tmp_path / f"square.{ending}"
    if ending == "npz":
        np.savez(path, points=points, cells=cells)
    else:
        flat = np.concatenate([points, np.zeros((len(points), 1))], 1)
        trimesh.Trimesh(flat, cells, process=False).export(path)
    space = fe.Space(path, "P2")
    assert float(space.mass.sum()) == pytest.approx(1.0, rel=1e-6)
    u = space.solve(space.load(lambda x: x[..., 0] * 0 + 1)[None])
    assert float(u.max()) == pytest.approx(0.0737, abs=2e-3)  # torsion of a square


def test_meshes_that_are_none_are_refused_in_words(tmp_path):
    p, t = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]]), torch.tensor([[0, 1, 2], [1, 3, 2]])
    bent = torch.cat([p, torch.rand(4, 1)], 1)
    for points, cells, words in ((p, t + 2, "index the 4 points"), (p, t[:1], "belong to no cell"),
                                 (p, torch.tensor([[0, 1, 1], [1, 3, 2]]), "no area"), (p / 0, t, "finite|NaN"),
                                 (p, torch.tensor([[0, 3, 1, 2]]), "fold over"), (bent, t, "plane z = 0"),
                                 (p, t.double(), "whole numbers"), (p[:, :1], t, "points must be")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            fe.mesh_of(points, cells)
    with pytest.raises(ValueError, match="quadrilateral"):
        fe.Space(MESHES["triangle"], "Q1")
    with pytest.raises(ValueError, match="did you mean|one of"):
        fe.Space(MESHES["triangle"], "P9")
    with pytest.raises(ValueError, match="use project"):
        fe.Space(MESHES["triangle"], "RT0").interpolate(lambda x: x)
    np.savez(tmp_path / "no.npz", x=np.zeros(2))
    with pytest.raises(ValueError, match="'points' and 'cells'"):
        fe.Space(tmp_path / "no.npz")
    np.savez(tmp_path / "evil.npz", points=np.array([{}], dtype=object), cells=np.zeros((1, 3), int))
    with pytest.raises(ValueError, match="pickle"):
        fe.Space(tmp_path / "evil.npz")
    with pytest.raises(ValueError, match="limit"):
        fe.read_cells(tmp_path / "no.npz", max_bytes=5)
