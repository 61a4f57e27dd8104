"""Operator networks: exact boundaries and divergences for every element, blocks against dense ones, own data, refusals."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skfem
import torch

from lab.physics import boundary_problems as problems
from lab.physics.finite_elements import ELEMENTS, Space, unit_square
from lab.physics.mesh_hierarchy import FREE, barycentric, curl_matrix
from lab.physics.spon import Spon, read_functions, spon, train

DATA = Path(__file__).parents[2] / "data" / "samples"
MESHES = {
    "triangle": (unit_square(3), unit_square(1)),
    "quadrilateral": (unit_square(3, "quadrilateral"), unit_square(1, "quadrilateral")),
    "tetrahedron": (skfem.MeshTet().refined(2), skfem.MeshTet()),
}
PAIRS = [(element, cell) for element, cells in ELEMENTS.items() for cell in cells]


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("element", "cell"), PAIRS)
@pytest.mark.parametrize("way", ["plain", "algebraic", "meshes"])
def test_every_element_keeps_its_boundary_values_in_and_out(element, cell, way):
    mesh, coarse = MESHES[cell]
    levels = {"plain": 1, "algebraic": 3, "meshes": [coarse]}[way]
    nodal = Space(mesh, "Q1" if cell == "quadrilateral" else "P1")
    space = Space(mesh, element)
    there = spon(nodal, space, 0.0, levels, channels=6).requires_grad_(False)
    out = there(noise(2, nodal.size))
    assert out.dtype == torch.float64 and float(out[:, space.boundary].abs().max()) == 0 < float(out.abs().max())
    back = spon(space, nodal, lambda x: 1 + x[:, 0], levels, channels=6, seeds=(0, 1)).requires_grad_(False)
    out = back(noise(2, 2, space.size).float())
    assert out.shape == (2, 2, nodal.size)
    assert torch.equal(out[..., nodal.boundary], (1 + nodal.points[nodal.boundary, 0]).float().expand(2, 2, -1))


@pytest.mark.parametrize("cell", ["triangle", "tetrahedron"])
def test_curls_of_potentials_have_no_divergence_and_no_flow_through_walls(cell):
    space = Space(MESHES[cell][0], "RT0")
    net = spon(space, space, FREE, 2, channels=6).requires_grad_(False)
    out = net(noise(3, space.size))
    cells = torch.from_numpy(space.mesh.t.T.astype("int64"))
    centres = torch.from_numpy(space.mesh.p.T.copy())[cells].mean(1)
    (div,) = space.evaluate(centres, torch.arange(len(cells)), "divergence")
    volume = 1 / len(cells)
    assert float(np.abs(div @ out.T.numpy()).max()) * volume < 1e-13 * float(out.abs().max())
    assert float(out[:, space.boundary].abs().max()) < 1e-13 * float(out.abs().max())


def test_a_stream_function_becomes_itscurl_matrix():
    space, flux = Space(unit_square(3), "P1"), Space(unit_square(3), "RT0")
    c = curl_matrix(space, flux) @ space.interpolate(lambda x: 3 * x[:, 1] - 2 * x[:, 0]).numpy()
    wanted = flux.project(lambda x: torch.tensor([3.0, 2.0]).double().expand(x.shape))
    assert torch.allclose(torch.from_numpy(c), wanted, atol=1e-10)


def test_the_operator_does_not_see_which_way_facets_point():
    mesh = unit_square(2)
    space = Space(mesh, "RT0")
    net = spon(space, space, None, 2, channels=6).requires_grad_(False)
    field = space.project(lambda x: torch.stack([x[..., 1], -x[..., 0]], -1))[None]
    out = net(field)
    signs = torch.where(noise(space.size) > 0, 1.0, -1.0).double()
    g = net.geometry
    for E in g.encode:
        E._exact = E._exact.multiply(signs.numpy()).tocsr()
        E.A = E.A.half()  # of another dtype: drawn from the exact matrix at the next use
    g._weights = g._weights * signs[:, None]
    assert torch.allclose(net(signs * field), signs * out, atol=1e-5)


def test_a_forward_pass_is_that_of_dense_matrices_and_models_side_by_side_are_those_alone():
    space, coarse = Space(unit_square(2), "P1"), unit_square(1)
    net = spon(space, space, 2.0, [coarse], channels=5, blocks=(1, 1, 1), seeds=(3, 4)).double().requires_grad_(False)
    x = noise(2, 3, space.size)
    out = net(x)
    fine, low = net.geometry.levels

    def linear(h, layer, k):
        return h @ layer[0][k] + layer[1][k]

    def marks(level, h):
        return level.features.double().expand(len(h), -1, -1)

    def block(h, level, layers, k):
        A = level.mix._exact.toarray()[: h.shape[1], : h.shape[1]]
        y = torch.cat([h, torch.from_numpy(A) @ h, marks(level, h)], -1)
        return h + linear(torch.nn.functional.gelu(linear(y, layers[0], k)), layers[1], k)

    for k in range(2):
        h = linear(torch.cat([x[k][..., None], marks(fine, x[k])], -1), net.first, k)
        h = block(h, fine, net.stages[0][0], k)
        P = torch.from_numpy(low.up._exact.toarray()[: space.size, : low.features.shape[0]])
        g = (P / P.sum(0)).T @ h
        h = h + P @ (block(g, low, net.stages[1][0], k) - g)
        y = linear(block(h, fine, net.stages[2][0], k), net.last, k)[..., 0]
        y[:, space.boundary] = 2.0
        assert torch.allclose(out[k], y, atol=1e-10)
    alone = spon(space, space, 2.0, [coarse], channels=5, blocks=(1, 1, 1), seeds=(4,)).double()
    assert torch.allclose(alone(x[1]), out[1], atol=1e-12)


def test_gradients_of_inputs_and_weights_are_those_of_differences_and_the_loss_is_a_relative_norm():
    space = Space(unit_square(1), "P1")
    net = spon(space, space, 0.0, [skfem.MeshTri()], channels=3, blocks=(1, 1, 1)).double()
    x, y = noise(2, space.size).requires_grad_(), noise(2, space.size, seed=1)
    y[:, space.boundary] = 0
    assert torch.autograd.gradcheck(lambda x: net.loss(x, y, "H1"), (x,), fast_mode=True)
    weight = net.stages[1][0][0][0]
    assert torch.autograd.gradcheck(lambda w: net.loss(x, y).sum(), (weight,), fast_mode=True)
    for norm in ("L2", "H1"):
        wanted = (space.norm(net(x) - y, norm) / space.norm(y, norm)).square()
        assert torch.allclose(net.loss(x, y, norm), wanted, atol=1e-10)


def test_interpolation_from_any_mesh_is_exact_for_linear_functions_and_stays_within_the_values_outside():
    mesh = problems.domain("L-shape", 2)
    points = problems.domain("L-shape", 3).p.T.copy()
    P = barycentric(mesh, torch.from_numpy(points))
    assert np.allclose(P @ (1 + mesh.p[0] - 2 * mesh.p[1]), 1 + points[:, 0] - 2 * points[:, 1])
    outside = barycentric(mesh, torch.tensor([[5.0, 5.0], [-3.0, 0.1]]))
    assert np.allclose(outside.sum(1), 1) and outside.data.min() > 0


def test_a_short_training_learns_diffusion_and_goes_on_to_a_finer_mesh():
    spaces = [Space(problems.domain("L-shape", k), "P1") for k in (1, 2)]
    pairs = []
    for space in spaces:
        f = problems.waves(space.points, 60, torch.Generator().manual_seed(0))
        pairs.append((f, problems.diffusion(space, f)))
    coarse = [problems.domain("L-shape", 0)]
    net = spon(spaces[0], spaces[0], 0.0, coarse, channels=12, blocks=(1, 2, 1))
    losses = train([net, net.on(spaces[1], spaces[1], coarse)], pairs, steps=80, rate=1e-2)
    assert all(float(each[-5:].mean()) < 0.5 for each in losses)
    with torch.no_grad():
        assert float(net.on(spaces[1], spaces[1], coarse).loss(*pairs[1]).mean()) < 0.5


def test_own_mesh_and_tables_are_read_trained_saved_and_predicted_in_a_new_process(tmp_path):
    space = Space(DATA / "plate.npz", "P1")
    forces, shapes = (read_functions(DATA / f"plate_{name}.csv") for name in ("forces", "displacements"))
    net = spon(space, space, boundary=0.0, levels=3, channels=8)
    net.fit(forces, shapes, steps=3)
    net.save(tmp_path / "net.pt")
    wanted = net(forces[:2]).detach()
    assert torch.equal(Spon.load(tmp_path / "net.pt")(forces[:2]), wanted)
    code = (
        "import sys, torch; from lab import physics; net = physics.Spon.load(sys.argv[1]);"
        "torch.save(net(physics.read_functions(sys.argv[2])[:2]), sys.argv[3])"
    )
    files = [str(tmp_path / "net.pt"), str(DATA / "plate_forces.csv"), str(tmp_path / "out.pt")]
    subprocess.run([sys.executable, "-c", code, *files], check=True, timeout=120)
    assert torch.equal(torch.load(tmp_path / "out.pt", weights_only=True), wanted)


def test_parts_of_the_boundary_components_and_curls_are_saved_too(tmp_path):
    mesh = unit_square(2)
    nodal, flux = Space(mesh, "P1"), Space(mesh, "RT0")
    left = spon(nodal, nodal, 0.0, [unit_square(1)], where=lambda p: p[:, 0] == 0, components=(1, 2), channels=4)
    free = spon(flux, flux, FREE, 2, channels=4)
    for net, n in ((left, nodal.size), (free, flux.size)):
        x = noise(2, n)
        net.save(tmp_path / "a.pt")
        assert torch.equal(Spon.load(tmp_path / "a.pt")(x), net(x).detach())
    out = left(noise(2, nodal.size)).detach()
    clamped = nodal.points[:, 0] == 0
    assert out.shape == (2, nodal.size, 2) and float(out[:, clamped].abs().max()) == 0
    assert float(out[:, nodal.boundary].abs().amin(2).max()) > 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "numbers alone"),
        ("1,2\n3\n", "numbers alone"),
        ("1,nan\n", "finite"),
        ("", "empty|numbers alone"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_hostile_tables_are_refused_in_words(tmp_path, text, words):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_functions(tmp_path / "t.csv")


def test_hostile_files_meshes_and_arguments_are_refused_in_words(tmp_path):
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="numbers alone"):
        read_functions(tmp_path / "o.npy")
    with pytest.raises(ValueError, match="ending"):
        read_functions(tmp_path / "t.exe")
    with pytest.raises(ValueError, match="limit"):
        read_functions(DATA / "plate_forces.csv", max_bytes=10)
    np.savez(tmp_path / "m.npz", points=np.zeros((3, 2)), cells=np.array([[0, 1, 9]]))
    with pytest.raises(ValueError, match="index the 3 points"):
        Space(tmp_path / "m.npz")
    space, other, flux = Space(unit_square(2), "P1"), Space(unit_square(1), "P1"), Space(unit_square(2), "RT0")
    net = spon(space, space, 0.0, 1, channels=3)
    x = noise(2, space.size)
    for call, words in (
        (lambda: spon(space, other), "one mesh"),
        (lambda: spon(space, space, FREE), "RT0"),
        (lambda: spon(space, flux, 1.0), "boundary must be 0"),
        (lambda: spon(space, space, 0.0, [unit_square(3)]), "coarser"),
        (lambda: spon(space, space, torch.zeros(3)), "shape"),
        (lambda: spon(space, space, 0.0, blocks=(1, 2)), "blocks"),
        (lambda: net(noise(2, 7)), "shape"),
        (lambda: net.fit(x, x), "boundary values"),
        (lambda: net.fit(x / 0, x), "finite|NaN"),
        (lambda: net.fit(x, x[:1] * 0), "as many"),
        (lambda: net.on(space, space, [other.mesh]), "1 levels"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
