"""The public functions of the material point method: checks, choice of the form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from lab import checks
from lab.kernels import dispatch

SMALL = 0
DTYPES = (torch.float32, torch.float64)
WALLS = ("slip", "stick")
ELASTIC = ("corotated", "neo-hookean", "hencky", "fluid")
PLASTIC = ("none", "von-mises", "drucker-prager", "fluid")


class MpmState(NamedTuple):
    """Positions x and velocities v (scenes, particles, d), affine velocity C (1/s) and deformation gradient F (scenes, particles,
    d, d)."""

    x: torch.Tensor
    v: torch.Tensor
    C: torch.Tensor
    F: torch.Tensor


@dataclass(frozen=True)
class ClosedLaw:
    """A closed-form material for :func:`mpm_roll`.

    Attributes:
        elastic: ``"corotated"``, tau = 2 mu (F - R) F^T + lambda J (J - 1) I; ``"neo-hookean"``, mu (b - I) + lambda ln J I;
            ``"hencky"``, mu ln b + lambda ln J I; ``"fluid"``, lambda J (J - 1) I.
        mu, lam: Lame's constants in Pa, of the d-dimensional law.
        plastic: ``"none"``; ``"von-mises"``, which returns the deviator of the Hencky strain to ``yield_stress``/(2 mu);
            ``"drucker-prager"``, no tension and friction; ``"fluid"``, F -> J^(1/d) I.
        yield_stress: Pa, of von Mises.
        friction: the angle in degrees, of Drucker and Prager: alpha = sqrt(2/3) 2 sin(phi)/(3 - sin(phi)).
    """

    elastic: str
    mu: float
    lam: float
    plastic: str = "none"
    yield_stress: float = 0.0
    friction: float = 0.0

    def __post_init__(self):
        checks.choice("elastic", self.elastic, ELASTIC)
        checks.choice("plastic", self.plastic, PLASTIC)
        checks.number("mu", self.mu, low=0.0, open_low=self.elastic != "fluid")
        checks.number("lam", self.lam, low=0.0, open_low=self.elastic == "fluid")
        checks.number("yield_stress", self.yield_stress, low=0.0)
        checks.number("friction", self.friction, low=0.0, high=89.0)

    def sound(self, density: float) -> float:
        """Speed of pressure waves sqrt((lambda + 2 mu)/rho) at rest, in m/s."""
        return math.sqrt((self.lam + 2 * self.mu) / density)

    def row(self) -> list[float]:
        """Codes and constants as the compiled loop reads them."""
        sine = math.sin(math.radians(self.friction))
        alpha = math.sqrt(2 / 3) * 2 * sine / (3 - sine)
        codes = ELASTIC.index(self.elastic), PLASTIC.index(self.plastic)
        return [*map(float, codes), self.mu, self.lam, self.yield_stress, alpha]


def mpm_step(
    x: torch.Tensor,
    v: torch.Tensor,
    C: torch.Tensor,
    F: torch.Tensor,
    tau: torch.Tensor,
    *,
    cells: int | Sequence[int],
    spacing: float,
    dt: float,
    mass: float | torch.Tensor,
    volume: float | torch.Tensor,
    gravity: float | Sequence[float] | torch.Tensor = 0.0,
    wall: str = "slip",
    layers: int = 2,
    force: torch.Tensor | None = None,
) -> MpmState:
    r"""One explicit step of the moving least squares material point method, differentiable.

    Quadratic B-splines w; with grid node i at i dx and dpos = x_i - x_p

    .. math:: (mv)_i = \sum_p w_{ip}\bigl(m v_p + (m C_p - \tfrac{4\Delta t V}{\Delta x^2}\tau_p)\,dpos + \Delta t f_p\bigr),
              \quad u_i = (mv)_i/m_i + \Delta t\,g,

    .. math:: v' = \sum_i w_{ip} u_i,\quad C' = \tfrac{4}{\Delta x^2}\sum_i w_{ip} u_i\,dpos^T,\quad
              x' = x + \Delta t\,v',\quad F' = (I + \Delta t\,C')F.

    Args:
        x, v: positions (m) and velocities (m/s), (scenes, particles, d) with d = 2 or 3; scenes do not touch each other.
        C, F, tau: affine velocity (1/s), deformation gradient, Kirchhoff stress (Pa), (scenes, particles, d, d).
        cells: grid nodes an axis, one number or d.
        spacing: dx in m. dt: in s; stable below about dx/sqrt((lambda + 2 mu)/rho).
        mass, volume: kg and m^d at rest, one number or (particles,); they carry no gradient.
        gravity: the vector (d,) in m/s^2, or 0 for none.
        wall: of the ``layers`` outermost nodes: ``"slip"`` takes away the velocity into the wall, ``"stick"`` all of it.
        force: contact or other forces on particles in N, shape of ``x``.

    Returns:
        x, v, C and the trial F. The first derivative is the hand-written adjoint (grids are computed again); for second
        derivatives use ``backend("reference")``.

    Raises:
        ValueError, TypeError: wrong shapes or dtypes, non-finite values, positions outside the grid (with scene and particle).

    Source: Y. Hu, Y. Fang, Z. Ge, Z. Qu, Y. Zhu, A. Pradhana, C. Jiang, 'A Moving Least Squares Material Point Method with
    Displacement Discontinuity and Two-Way Rigid Body Coupling', ACM Transactions on Graphics 37(4), 2018, sections 4 and 5.

    >>> x = torch.full((1, 1, 2), 0.5); eye = torch.eye(2).expand(1, 1, 2, 2)
    >>> after = mpm_step(x, 0 * x, 0 * eye, eye, 0 * eye, cells=16, spacing=1 / 16, dt=1e-3, mass=1.0, volume=1e-3,
    ...                  gravity=(0.0, -9.8))
    >>> [round(float(c), 6) for c in after.v[0, 0]]
    [0.0, -0.0098]
    """
    state = _state(x, v, C, F)
    tau = _like("tau", tau, state.C)
    force = torch.zeros_like(state.x) if force is None else _like("force", force, state.x)
    options = _options(state, cells, spacing, dt, mass, volume, gravity, wall, layers)
    tensors = (*state, tau, force)
    choice = dispatch.choose("mpm", *tensors, work=state.x.numel(), small=SMALL, dtypes=DTYPES)
    masses, volumes, pull, nodes, spacing, dt, wall, layers = options
    if choice.path == "reference":
        from lab.kernels.mpm import reference

        if dispatch.eager():
            _inside(state.x, nodes, spacing)
            for name, each in zip(("v", "C", "F", "tau", "force"), tensors[1:]):
                checks.refuse_nonfinite(name, each)
        return MpmState(*reference.step(*tensors, masses, volumes, pull, nodes, spacing, dt, wall, layers))
    from lab.kernels.mpm import op

    return MpmState(*op.step(*tensors, masses, volumes, pull, list(nodes), spacing, dt, WALLS.index(wall), layers))


def mpm_roll(
    x: torch.Tensor,
    v: torch.Tensor,
    C: torch.Tensor,
    F: torch.Tensor,
    law: ClosedLaw | Sequence[ClosedLaw],
    steps: int,
    every: int = 1,
    *,
    cells: int | Sequence[int],
    spacing: float,
    dt: float,
    mass: float | torch.Tensor,
    volume: float | torch.Tensor,
    gravity: float | Sequence[float] | torch.Tensor = 0.0,
    wall: str = "slip",
    layers: int = 2,
    material: torch.Tensor | None = None,
) -> MpmState:
    """Many steps with closed-form laws and without gradients, on the CPU: the states at steps 0, ``every``, 2 ``every``, ...

    Args:
        law: one material, or several with ``material`` (particles,) telling which one each particle has.
        steps, every: how many steps, and which are kept; ``steps`` must be a multiple of ``every``.
        others: as :func:`mpm_step`.

    Returns:
        x, v, C, F with a leading axis of frames, ``steps // every + 1`` long.

    Raises:
        ValueError: as :func:`mpm_step`; a step above dx/sqrt((lambda + 2 mu)/rho), which is named; a particle that leaves the
            grid, with its step and scene.
    """
    state = _state(*(each.detach() if isinstance(each, torch.Tensor) else each for each in (x, v, C, F)))
    if state.x.device.type != "cpu":
        raise ValueError(f"x must be on the CPU for mpm_roll, got {state.x.device}; mpm_step runs on any device")
    laws = [law] if isinstance(law, ClosedLaw) else list(law)
    if not laws or any(not isinstance(each, ClosedLaw) for each in laws):
        raise TypeError("law must be a ClosedLaw or a sequence of them")
    steps, every = checks.integer("steps", steps, low=1), checks.integer("every", every, low=1)
    if steps % every:
        raise ValueError(f"steps must be a multiple of every, got {steps} and {every}")
    options = _options(state, cells, spacing, dt, mass, volume, gravity, wall, layers)
    masses, volumes, pull, nodes, spacing, dt, wall, layers = options
    particles = state.x.shape[1]
    if material is None:
        if len(laws) > 1:
            raise ValueError(f"material is missing: which of the {len(laws)} laws each particle has")
        material = torch.zeros(particles, dtype=torch.long)
    material = checks.tensor("material", material, shape=(particles,)).long()
    if not 0 <= int(material.min()) <= int(material.max()) < len(laws):
        raise ValueError(f"material must lie in [0, {len(laws)}), got {int(material.min())} to {int(material.max())}")
    refuse_step(dt, spacing, max(each.sound(float((masses / volumes).min())) for each in laws))
    import numpy as np

    from lab.kernels.mpm import roll

    table = np.array([each.row() for each in laws])
    arrays = [each.contiguous().numpy() for each in state]
    rest = [each.numpy() for each in (masses, volumes, pull)]
    wide = [table, material.numpy(), steps, every, *rest, nodes, spacing, dt, WALLS.index(wall), layers]
    found = roll.run(*arrays, *wide)
    return MpmState(*map(torch.from_numpy, found))


def refuse_step(dt: float, spacing: float, sound: float) -> None:
    """``ValueError`` where ``dt`` exceeds spacing/sound, the time in which a pressure wave crosses a cell."""
    if dt > spacing / sound:
        raise ValueError(
            f"dt must be at most {spacing / sound:.4g} s, where a pressure wave ({sound:.4g} m/s) crosses a cell of "
            f"{spacing:.4g} m, got {dt:.4g}"
        )


def _state(x, v, C, F) -> MpmState:
    # the compiled loops look at every value of x, v, C, tau and force themselves, and name scene and particle
    x = checks.tensor("x", x, ndim=3, floating=True, finite=False)
    scenes, particles, d = x.shape
    if d not in (2, 3):
        raise ValueError(f"x must hold points in 2 or 3 dimensions on its last axis, got shape {tuple(x.shape)}")
    v = checks.tensor("v", v, shape=(scenes, particles, d), floating=True, finite=False)
    C = checks.tensor("C", C, shape=(scenes, particles, d, d), floating=True, finite=False)
    F = checks.tensor("F", F, shape=(scenes, particles, d, d), floating=True, finite=dispatch.eager())
    for name, each in (("x", x), ("v", v), ("C", C), ("F", F)):
        if each.dtype not in DTYPES or each.dtype != x.dtype:
            raise TypeError(
                f"{name} must be float32 or float64 and like x, got {each.dtype} where x is {x.dtype}: positions need more "
                "than half precision"
            )
    return MpmState(x, v, C, F)


def _like(name, value, other):
    value = checks.tensor(name, value, shape=tuple(other.shape), floating=True, finite=False)
    if value.dtype != other.dtype:
        raise TypeError(f"{name} must be {other.dtype} like x, got {value.dtype}")
    return value


def _options(state, cells, spacing, dt, mass, volume, gravity, wall, layers):
    d, particles = state.x.shape[2], state.x.shape[1]
    sizes = (cells,) * d if not isinstance(cells, Sequence) else tuple(cells)
    if len(sizes) != d:
        raise ValueError(f"cells must be one number or {d}, got {len(sizes)}")
    sizes = tuple(checks.integer("cells", size, low=4) for size in sizes)
    spacing = checks.number("spacing", spacing, low=0.0, open_low=True)
    dt = checks.number("dt", dt, low=0.0, open_low=True)
    checks.choice("wall", wall, WALLS)
    layers = checks.integer("layers", layers, low=0, high=min(sizes) // 2)
    mass, volume = (_each(name, value, particles, state.x) for name, value in (("mass", mass), ("volume", volume)))
    if isinstance(gravity, (int, float)) and gravity == 0:
        gravity = (0.0,) * d
    gravity = checks.tensor("gravity", gravity, shape=(d,)).to(state.x)
    return mass, volume, gravity.detach(), sizes, spacing, dt, wall, layers


def _each(name, value, particles, like):
    if not isinstance(value, torch.Tensor) or value.ndim == 0:
        return like.new_full((particles,), checks.number(name, float(value), low=0.0, open_low=True))
    value = checks.tensor(name, value, shape=(particles,)).detach().to(like)
    if bool((value <= 0).any()):
        raise ValueError(f"{name} must be greater than 0, got a smallest value of {float(value.min()):.6g}")
    return value


def _inside(x, cells, spacing):
    high = x.new_tensor(cells) - 1.5
    good = ((x / spacing >= 0.5) & (x / spacing < high)).all(-1)
    if not bool(good.all()):
        scene, particle = (int(i) for i in torch.nonzero(~good)[0])
        from lab.kernels.mpm.loops import refused

        raise ValueError(refused(x[scene, particle].detach(), scene, particle, cells, spacing))
