"""Nonlinear diffusion, a step of flow and a beam against closed forms, scipy's solvers and energies; domains."""

import numpy as np
import pytest
import torch
from scipy.optimize import root

from lab.physics import boundary_problems as p
from lab.physics.finite_elements import Space, unit_square


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "area"), [("L-shape", 3.0), ("annulus", np.pi * (1 - 0.35**2)), ("notched", 4 - 0.75)]
)
def test_domains_have_their_area_and_refine(name, area):
    coarse, fine = (Space(p.domain(name, k), "P1") for k in (2, 4))
    assert float(fine.mass.sum()) == pytest.approx(area, rel=0.02)
    assert fine.size > 8 * coarse.size and len(fine.boundary) < fine.size / 2


def test_waves_are_the_same_functions_on_every_mesh_and_for_every_count():
    coarse, fine = (Space(p.domain("L-shape", k), "P1") for k in (1, 2))
    few, many = (p.waves(space.points, n, torch.Generator().manual_seed(3)) for space, n in ((coarse, 3), (fine, 50)))
    assert torch.allclose(many[:3, : coarse.size], few)
    assert float(p.waves(fine.points, 2000, torch.Generator().manual_seed(0)).std()) == pytest.approx(
        40 / 2**0.5, rel=0.05
    )


def test_nonlinear_diffusion_is_the_root_that_scipy_finds():
    space = Space(p.domain("L-shape", 2), "P1")
    f = p.waves(space.points, 2, torch.Generator().manual_seed(0))
    u = p.diffusion(space, f)
    inside = np.setdiff1d(np.arange(space.size), space.boundary.numpy())

    def residual(v, f):
        whole = np.zeros(space.size)
        whole[inside] = v
        return (space.stiffness @ whole + space.mass @ whole**3 - space.mass @ f)[inside]

    for each, force in zip(u, f):
        assert np.allclose(
            root(residual, np.zeros(len(inside)), args=(force.numpy(),), tol=1e-12).x, each[inside], atol=1e-7
        )
    assert float(u[:, space.boundary].abs().max()) == 0
    assert torch.allclose(p.diffusion(space, f, cubic=0.0), space.solve(torch.from_numpy((space.mass @ f.numpy().T).T)))


def test_one_vortex_between_walls_stands_and_decays_at_its_rate():
    space = Space(unit_square(5), "P1")
    psi = torch.sin(torch.pi * space.points).prod(1)[None]
    after = p.flow(space, psi, time=0.5, steps=40, viscosity=0.02)
    assert torch.allclose(after, psi * float(np.exp(-2 * np.pi**2 * 0.02 * 0.5)), atol=0.01)


def test_a_beam_at_rest_minimizes_its_energy_and_small_loads_follow_the_linear_theory():
    space = Space(p.beam_mesh(1), "P1")
    force = torch.stack([p.waves(space.points / 4, 3, torch.Generator().manual_seed(k), 0.02) for k in (0, 1)], -1)
    u = p.beam(space, force)
    cells = torch.from_numpy(space.mesh.t.T.astype("int64"))
    sides = (space.points[cells][:, 1:] - space.points[cells][:, :1]).mT
    load = torch.from_numpy(space.mass.toarray()) @ force

    def energy(u):
        F = (u[:, cells][:, :, 1:] - u[:, cells][:, :, :1]).mT @ torch.linalg.inv(sides) + torch.eye(2)
        log_j = torch.linalg.det(F).log()
        density = (F.square().sum((2, 3)) - 2 - 2 * log_j) / 2 + log_j**2 / 2
        return (density * torch.linalg.det(sides).abs() / 2).sum(1) - (load * u).sum((1, 2))

    v = u.clone().requires_grad_()
    (slope,) = torch.autograd.grad(energy(v).sum(), v)
    free = space.points[:, 0] > 0
    assert float(slope[:, free].abs().max()) < 1e-9 and float(u[:, ~free].abs().max()) == 0
    small, line = p.beam(space, 1e-4 * force), p.beam(space, 1e-4 * force, finite=False, stages=1)
    assert (
        float((small - line).norm() / line.norm())
        < 1e-3
        < float((u - p.beam(space, force, finite=False)).norm() / u.norm())
    )
    with pytest.raises(ArithmeticError, match="too large"):
        p.beam(space, 300 * force, stages=1)
