r"""DiffTactile: soft tactile pads that press, push and hold objects, differentiable from forces back to motions and parameters.

A pad is a body of finite elements of the stable neo-Hookean law

.. math:: P = \mu\bigl(1 - \tfrac{1}{I_C + 1}\bigr)F + \lambda (J - a)\,\mathrm{cof} F,\qquad a = 1 + \frac{\mu d}{\lambda (d + 1)},

whose base is moved by the robot. It touches objects through a penalty at signed distance d < 0, n out of the object, u the relative
velocity: f_n = -(k_n + k_d max(-n.u, 0)) d and f_t = -u_t/|u_t| min(k_t |u_t|, mu_f f_n). Rigid objects live inside
:func:`lab.kernels.element_step`; elastic and elasto-plastic ones (:class:`Soft`) are particles of
:func:`lab.kernels.mpm_step`, and a :class:`Cable` is a chain with compliant constraints (XPBD); both meet the pad as small balls
that its surface nodes touch. Where the published method looks for the closest surface triangle of the pad and its code evaluates
contact half a grid cell off the transfers, here pairs of nodes and particles meet at their own positions.

:meth:`Scene.roll` gives markers, contact forces and motions of objects; :func:`fit_contact` finds contact and pad
parameters from a force trace, :func:`fit_motion` the motion of the fingers for any loss, :func:`fit_optics` what a camera pixel
tells of the surface.

Source: Z. Si, G. Zhang, Q. Ben, B. Romero, Z. Xian, C. Liu, C. Gan, 'DIFFTACTILE: A Physics-based Differentiable Tactile Simulator
for Contact-rich Robotic Manipulation', ICLR 2024, section 3; for cables M. Macklin, M. Muller, N. Chentanez, 'XPBD:
Position-Based Simulation of Compliant Constrained Dynamics', Motion in Games 2016, equation (18), one iteration per substep.

>>> pad = Pad.block((0.06, 0.02), (6, 2), place=(0.0, 0.0))
>>> disc = Rigid((0.03,), place=(0.03, -0.03))
>>> pressed = Scene(pad, [disc], Contact()).roll(torch.tensor([0.0, -0.1]).expand(10, 1, 2))
>>> bool(pressed.force[-1, 0, 0, 1] > 0.1)  # N: the disc pushes the pad up
True
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lab import checks
from lab.kernels import Bodies, ElementMesh, MpmState, element_step, mpm_step
from lab.kernels.element_step.public import block
from lab.kernels.element_step.reference import penalty
from lab.physics import continuum

FACES = {"down": (-1, 1.0), "up": (-1, -1.0), "left": (0, 1.0), "right": (0, -1.0)}


def stable_lame(young: float, poisson: float, d: int = 2) -> tuple[float, float]:
    """mu and lambda of the stable neo-Hookean law whose linear limit has Young's modulus (Pa) and Poisson's ratio.

    2-D (plane strain) mu = 3/2 mu_l, lambda = lambda_l + 2/3 mu_l; 3-D mu = 4/3 mu_l, lambda = lambda_l + 5/6 mu_l.
    """
    mu, lam = continuum.lame(young, poisson)
    return (1.5 * mu, lam + 2 / 3 * mu) if d == 2 else (4 / 3 * mu, lam + 5 / 6 * mu)


@dataclass(frozen=True)
class Contact:
    """k_n in N/m, k_d in N s/m^2, k_t in N s/m, mu_f: of every surface node."""

    normal: float = 40.0
    damping: float = 200.0
    tangential: float = 1.0
    friction: float = 0.5

    def row(self) -> torch.Tensor:
        """The four numbers (4,) in float64."""
        values = (self.normal, self.damping, self.tangential, self.friction)
        return torch.tensor([checks.number("contact", each, low=0.0) for each in values], dtype=torch.float64)


@dataclass(frozen=True)
class Pad:
    """One or more fingers with a driven base: ``mesh``, ``lame`` (mu, lambda in Pa), ``viscosity`` (Pa s), which ``finger`` each
    driven node belongs to, and the ``marks``: nodes of the sensing surfaces, as the camera sees them."""

    mesh: ElementMesh
    lame: tuple[float, float]
    viscosity: float
    finger: torch.Tensor
    marks: torch.Tensor

    @classmethod
    def block(
        cls, size: Sequence[float] = (0.06, 0.02), cells: Sequence[int] = (12, 4), *, place: Sequence[float] | None = None,
        face: str = "down", young: float = 8e3, poisson: float = 0.43, density: float = 1000.0, viscosity: float = 5.0,
    ) -> Pad:  # fmt: skip
        """A box of ``cells`` squares or cubes, thickness last; its sensing surface has its corner at ``place`` and looks
        ``"down"``, ``"up"``, ``"left"`` or ``"right"`` (the first and last axis), the opposite side is driven."""
        d = len(size)
        checks.choice("face", face, tuple(FACES))
        if d not in (2, 3) or len(cells) != d:
            raise ValueError(f"size and cells must both have 2 or 3 entries, got {len(size)} and {len(cells)}")
        cells = [checks.integer("cells", n, low=1) for n in cells]
        points, elements = block(cells, d)
        size = torch.tensor([checks.number("size", s, low=0.0, open_low=True) for s in size], dtype=torch.float64)
        local = points * size / torch.tensor(cells)
        axis, sign = FACES[face]
        world = torch.cat([local[:, :-1], sign * local[:, -1:]], 1)
        if axis == 0:
            world = world[:, [d - 1, *range(d - 1)]]
        world = world + torch.as_tensor([0.0] * d if place is None else place, dtype=torch.float64)
        base = (points[:, -1] == cells[-1]).nonzero().flatten()
        mesh = ElementMesh.of(world, elements, density=density, driven=base.tolist())
        marks = (points[:, -1] == 0).nonzero().flatten()
        lame = stable_lame(young, poisson, d)
        return cls(mesh, lame, viscosity, torch.zeros(len(base), dtype=torch.long), marks)

    def beside(self, other: Pad) -> Pad:
        """Both as one: ``other`` brings the next fingers. Material is that of the first."""
        a, b, n = self.mesh, other.mesh, len(self.mesh.points)
        driven = [*(a.driven >= 0).nonzero().flatten().tolist(), *((b.driven >= 0).nonzero().flatten() + n).tolist()]
        mesh = ElementMesh.of(torch.cat([a.points, b.points]), torch.cat([a.elements, b.elements + n]),
                              density=a.density, driven=driven)  # fmt: skip
        fingers = torch.cat([self.finger, other.finger + self.fingers])
        return replace(self, mesh=mesh, finger=fingers, marks=torch.cat([self.marks, other.marks + n]))

    @property
    def fingers(self) -> int:
        return int(self.finger.max()) + 1


@dataclass(frozen=True)
class Rigid:
    """A rigid object: ``shape`` as of :meth:`lab.kernels.Bodies.of` (a ball, a rounded box, or a sampled distance), ``place``
    (x, y, angle) or (x, y, z), ``mass`` in kg (``None``: held), ``inertia``, ``drag`` of its support, ``load`` (3,) or (frames, 3)
    in N and N m, ``velocity`` as ``place`` per s."""

    shape: tuple
    place: Sequence[float]
    mass: float | None = None
    inertia: float | None = None
    drag: Sequence[float] | float = 0.0
    load: Sequence[float] | torch.Tensor = (0.0, 0.0, 0.0)
    velocity: Sequence[float] = (0.0, 0.0, 0.0)

    @classmethod
    def of(cls, distance, place: Sequence[float], *, low=None, high=None, samples: int = 48, **options) -> Rigid:
        """From a callable points (n, d) -> signed distances (with the corners ``low``, ``high`` of its box), or from the path of
        an OBJ, STL or PLY file of a closed surface in metres."""
        if isinstance(distance, (str, Path)):
            from lab.datasets.meshes import read_mesh

            mesh = read_mesh(distance, closed=True)
            room = 0.1 * (mesh.vertices.amax(0) - mesh.vertices.amin(0)).max()
            low, high = (mesh.vertices.amin(0) - room).tolist(), (mesh.vertices.amax(0) + room).tolist()
            distance = mesh_distance(mesh.vertices, mesh.faces)
        if not callable(distance) or low is None or high is None:
            raise TypeError("distance must be the path of a mesh, or a callable together with low and high")
        return cls((distance, low, high, samples), place, **options)


@dataclass(frozen=True)
class Soft:
    """Particles ``points`` (n, d) of an elastic law and, where it yields, a plastic one, in a box ``scene`` whose
    corner is the origin; contact sees balls of ``radius`` m."""

    points: torch.Tensor
    elastic: continuum.Law
    plastic: continuum.Law | None
    scene: continuum.Scene
    radius: float

    @classmethod
    def block(
        cls, low: Sequence[float], high: Sequence[float], *, pitch: float = 2.5e-3, young: float = 1e4, poisson: float = 0.3,
        yield_stress: float | None = None, density: float = 1000.0, cells: int | Sequence[int] = (32, 16), dt: float = 2e-4,
    ) -> Soft:  # fmt: skip
        """A box of particles at distance ``pitch`` on a grid of spacing 2 ``pitch``; ``yield_stress`` in Pa makes it plastic."""
        axes = [torch.arange(a + pitch / 2, b, pitch, dtype=torch.float64) for a, b in zip(low, high)]
        points = torch.cartesian_prod(*axes)
        law = continuum.Hencky.of(young, poisson)
        plastic = None if yield_stress is None else continuum.VonMises(law.mu, yield_stress)
        d = len(axes)
        scene = continuum.Scene(cells, 2 * pitch, dt, density, pitch**d, (0.0,) * d, "stick", 2)  # type: ignore[arg-type]
        scene.refuse_step(law)
        return cls(points, law, plastic, scene, pitch)


@dataclass(frozen=True)
class Cable:
    """A chain of ``points`` (n, d) at rest, balls of ``radius`` m and ``mass`` kg, on a table that takes away velocity at the rate
    ``drag`` (1/s); compliances of stretch and bend in m/N; ``held`` points stay."""

    points: torch.Tensor
    radius: float = 5e-3
    mass: float = 2e-3
    drag: float = 20.0
    stretch: float = 1e-6
    bend: float = 1e-2
    held: tuple[int, ...] = ()

    def step(self, y, w, force, dt: float):
        """Positions and velocities (scenes, n, d) after dt: prediction, then one pass over compliant constraints by colour."""
        count = y.shape[1]
        free = torch.ones(count, 1, dtype=y.dtype)
        free[list(self.held)] = 0
        w = free * (w + dt * force / self.mass) / (1 + dt * self.drag)
        x = y + dt * w
        for apart, compliance in ((1, self.stretch), (2, self.bend)):
            rest = (self.points[apart:] - self.points[:-apart]).norm(dim=1).to(y)
            if apart == 2:  # straight at rest
                rest = (self.points[1:] - self.points[:-1]).norm(dim=1).to(y)
                rest = rest[1:] + rest[:-1]
            for colour in range(2):
                first = torch.arange(count - apart)
                first = first[first // apart % 2 == colour]
                if not len(first):
                    continue
                edge = x[:, first + apart] - x[:, first]
                length = edge.norm(dim=-1, keepdim=True).clamp_min(1e-12)
                a, b = free[first] / self.mass, free[first + apart] / self.mass
                pull = (length - rest[first, None]) / (a + b + compliance / dt**2) / length * edge
                x = x.index_add(1, torch.cat([first, first + apart]), torch.cat([a * pull, -b * pull], 1))
        return x, (x - y) / dt


@dataclass(frozen=True)
class Roll:
    """What a rollout gives, frames first: nodes ``x`` (frames + 1, scenes, nodes, d), poses and motions of rigid objects
    (frames + 1, scenes, objects, 3), contact ``force`` of each rigid object on the pad (frames, scenes, objects, d) in N, averaged
    over a frame; ``particles`` and ``soft_force`` (frames, scenes, d), one entry a soft object or cable."""

    x: torch.Tensor
    pose: torch.Tensor
    motion: torch.Tensor
    force: torch.Tensor
    particles: tuple[torch.Tensor, ...]
    soft_force: tuple[torch.Tensor, ...]
    pad: Pad = field(repr=False)

    def markers(self) -> torch.Tensor:
        """Displacements of the marks relative to their finger's base, (frames + 1, scenes, marks, d) in m."""
        mesh, moved = self.pad.mesh, self.x - self.x[:1]
        base = (mesh.driven >= 0).nonzero().flatten()
        shift = torch.stack([moved[:, :, base[self.pad.finger == k]].mean(2) for k in range(self.pad.fingers)], 2)
        distance = (mesh.points[self.pad.marks, None] - mesh.points[base]).norm(dim=2)
        return moved[:, :, self.pad.marks] - shift[:, :, self.pad.finger[distance.argmin(1)]]


@dataclass(frozen=True)
class Scene:
    """Pad, objects and contact (one :class:`Contact`, or a tensor (4,) or (scenes, 4) that may carry a gradient).

    ``dt`` in s per substep, ``substeps`` per frame; ``lame`` replaces the pad's, (2,) or (scenes, 2).
    """

    pad: Pad
    objects: Sequence[Rigid | Soft | Cable]
    contact: Contact | torch.Tensor = Contact()
    dt: float = 2e-4
    substeps: int = 10
    lame: torch.Tensor | None = None

    def roll(self, actions: torch.Tensor, progress: Callable[[float], None] | None = None) -> Roll:
        """Move the fingers' bases at ``actions`` (frames, fingers, d) or (frames, scenes, fingers, d) in m/s; differentiable.

        Raises:
            ValueError, TypeError: shapes, a step above the stability limit, and a run that diverges, with its frame.
        """
        d, rigid = self.pad.mesh.points.shape[1], [each for each in self.objects if isinstance(each, Rigid)]
        soft = [each for each in self.objects if not isinstance(each, Rigid)]
        actions = checks.tensor("actions", actions, ndim=(3, 4), floating=True)
        actions = actions[:, None] if actions.ndim == 3 else actions
        if actions.shape[2:] != (self.pad.fingers, d):
            raise ValueError(f"actions must end in (fingers, d) = {(self.pad.fingers, d)}, got {tuple(actions.shape)}")
        actions, scenes = actions.double(), actions.shape[1]
        row = self.contact.row() if isinstance(self.contact, Contact) else self.contact.double()
        row = row.expand(scenes, 4)
        lame = torch.tensor(self.pad.lame, dtype=torch.float64) if self.lame is None else self.lame.double()
        options: dict[str, Any] = {"mesh": self.pad.mesh, "lame": lame.expand(scenes, 2), "dt": self.dt, "contact": row,
                   "viscosity": self.pad.viscosity, "bodies": bodies(rigid, d)}  # fmt: skip

        def wide(rows, *shape):
            return torch.as_tensor(rows, dtype=torch.float64).reshape(*shape).expand(scenes, *shape)

        x = self.pad.mesh.points.expand(scenes, -1, -1)
        v = torch.zeros_like(x)
        pose, motion = (
            wide([_three(getattr(r, name)) for r in rigid], len(rigid), 3) for name in ("place", "velocity")
        )
        loads = [torch.as_tensor(r.load, dtype=torch.float64).expand(len(actions), 3) for r in rigid]
        states = [_begin(each, scenes) for each in soft]
        seen = [(x, pose, motion, *(state[0] for state in states))]
        forces, pulls = [], []
        for k, action in enumerate(actions):
            drive = action[:, self.pad.finger]
            load = torch.stack([each[k] for each in loads]).expand(scenes, -1, -1) if rigid else None
            more: dict[str, Any] = {"load": load, "pose": pose, "motion": motion}
            try:
                if not soft:
                    x, v, pose, motion, force = element_step(x, v, drive, **options, **more, substeps=self.substeps)
                else:
                    force, pull = 0.0, [0.0] * len(soft)  # type: ignore[assignment]
                    for _ in range(self.substeps):
                        push = torch.zeros_like(x)
                        for j, each in enumerate(soft):
                            on_pad, on_object = meet(x, v, states[j][0], states[j][1], each.radius, row, self.pad)
                            states[j] = _advance(each, states[j], on_object, self.dt)
                            push = push + on_pad
                            pull[j] = pull[j] + on_pad.sum(1) / self.substeps
                        more |= {"pose": pose, "motion": motion}
                        x, v, pose, motion, part = element_step(x, v, drive, **options, **more, force=push)
                        force = force + part / self.substeps
                    pulls.append(pull)
            except ValueError as error:
                raise ValueError(f"frame {k}: {error}") from None
            forces.append(force)
            seen.append((x, pose, motion, *(state[0] for state in states)))
            if progress is not None:
                progress((k + 1) / len(actions))
        x, pose, motion, *particles = (torch.stack(each) for each in zip(*seen))
        soft_force = tuple(torch.stack(each) for each in zip(*pulls))
        return Roll(x, pose, motion, torch.stack(forces), tuple(particles), soft_force, self.pad)


def _three(values: Sequence[float]) -> list[float]:
    if not 1 < len(values) < 4:
        raise ValueError(f"place and velocity must have 2 or 3 entries, got {len(values)}")
    return [*map(float, values), 0.0][:3]


def bodies(rigid: Sequence[Rigid], d: int) -> Bodies:
    """The rigid objects as the kernel takes them."""
    parts = [Bodies.of([r.shape], d=d, mass=r.mass, inertia=r.inertia, drag=r.drag) for r in rigid]
    if not parts:
        return Bodies.of([], d=d)
    start, layouts = 0, []
    for each in parts:
        shift = torch.tensor([start if int(each.layouts[0, 0]) >= 0 else 0, 0, 0, 0])
        layouts.append(each.layouts + shift)
        start += len(each.field)
    joined = {
        name: torch.cat([getattr(each, name) for each in parts]) for name in ("shapes", "field", "lightness", "drag")
    }
    return Bodies(layouts=torch.cat(layouts), **joined)


def meet(x, v, y, w, radius: float, contact: torch.Tensor, pad: Pad):
    """Contact forces on nodes x (scenes, nodes, d) and on balls y (scenes, n, d) of ``radius``, which are opposite in sum."""
    surface = pad.mesh.surface
    apart = x[:, surface, None] - y[:, None]
    length = apart.square().sum(-1).clamp_min(1e-18).sqrt()
    f = penalty(length - radius, apart / length[..., None], v[:, surface, None] - w[:, None], contact[:, None, None])
    return torch.zeros_like(x).index_add(1, surface, f.sum(2)), -f.sum(1)


def _begin(each, scenes):
    y = each.points.double().expand(scenes, -1, -1)
    return continuum.start(y) if isinstance(each, Soft) else (y, torch.zeros_like(y))


def _advance(each, state, force, dt):
    if isinstance(each, Cable):
        return each.step(*state, force, dt)
    if each.scene.dt != dt:
        raise ValueError(f"dt of the scene and of its soft object must be equal, got {dt:g} and {each.scene.dt:g}")
    state = mpm_step(*state, each.elastic(state[3]), **each.scene.options, force=force)
    return state if each.plastic is None else MpmState(state.x, state.v, state.C, each.plastic(state.F))


def mesh_distance(vertices: torch.Tensor, faces: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """The signed distance to a closed triangle mesh: the nearest point of any triangle, the sign by the winding number."""
    corners = vertices.double()[faces]

    def one(p):
        a, b, c = (corners[None, :, k] - p[:, None] for k in range(3))
        normal = torch.linalg.cross(b - a, c - a)
        unit = nn.functional.normalize(normal, dim=-1)
        level, nearest, inside = (a * unit).sum(-1), None, torch.ones(a.shape[:2], dtype=torch.bool)
        for s, e in ((a, b), (b, c), (c, a)):
            edge = e - s
            t = (-(s * edge).sum(-1) / edge.square().sum(-1)).clamp(0, 1)
            gap = (s + t[..., None] * edge).norm(dim=-1)
            nearest = gap if nearest is None else torch.minimum(nearest, gap)
            inside &= (torch.linalg.cross(edge, level[..., None] * unit - s) * normal).sum(-1) >= 0
        la, lb, lc = a.norm(dim=-1), b.norm(dim=-1), c.norm(dim=-1)
        below = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
        winding = 2 * torch.atan2((a * torch.linalg.cross(b, c)).sum(-1), below).sum(-1) / (4 * math.pi)
        gap = torch.where(inside, level.abs(), nearest).amin(-1)
        return torch.where(winding.abs() > 0.5, -gap, gap)

    return lambda points: torch.cat([one(part) for part in points.double().split(max(1, 200_000 // len(corners)))])


@dataclass(frozen=True)
class FittedContact:
    """Contact (scenes, 4) and pad constants ``lame`` (scenes, 2) found from forces, and relative squared errors (steps, scenes)."""

    contact: torch.Tensor
    lame: torch.Tensor
    losses: torch.Tensor

    def save(self, path: str | Path) -> None:
        """Write all to one file."""
        torch.save({"contact": self.contact, "lame": self.lame, "losses": self.losses}, path)

    @classmethod
    def load(cls, path: str | Path) -> FittedContact:
        """Read what :meth:`save` wrote; nothing in the file is executed."""
        return cls(**torch.load(path, weights_only=True))


def read_trace(path: str | Path, d: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Finger velocities (frames, 1, d) in m/s and forces on the pad (frames, d) in N from a CSV file with columns vx, vy, fx, fy
    (and vz, fz)."""
    import pandas as pd

    table = pd.read_csv(path)
    names = [f"{kind}{axis}" for kind in "vf" for axis in "xyz"[:d]]
    missing = [name for name in names if name not in table]
    if missing:
        raise ValueError(f"{Path(path).name} must have columns {', '.join(names)}, missing are {', '.join(missing)}")
    if table.empty:
        raise ValueError(f"{Path(path).name} is empty: it needs one row a frame")
    values = checks.tensor(f"the columns of {Path(path).name}", table[names].to_numpy(), floating=True).double()
    return values[:, None, :d], values[:, d:]


def fit_contact(
    scene: Scene, actions, forces=None, *, fit: Sequence[str] = ("contact",), steps: int = 150, rate: float = 0.08,
    progress: Callable[[float], None] | None = None,
) -> FittedContact:  # fmt: skip
    """Contact parameters, and with ``"lame"`` in ``fit`` the pad's, from the total force on the pad, starting at the scene's.

    Adam on their logarithms, every component's error relative to its mean square. Sliding tells mu_f, sticking k_t.

    Args:
        actions: as of :meth:`Scene.roll`, or a CSV file for :func:`read_trace`, which brings the forces too.
        forces: (frames, d) or (frames, scenes, d) in N; every scene is fitted for itself.
    """
    if isinstance(actions, (str, Path)):
        actions, forces = read_trace(actions, scene.pad.mesh.points.shape[1])
    for name in fit:
        checks.choice("fit", name, ("contact", "lame"))
    forces = checks.tensor("forces", forces, ndim=(2, 3), floating=True).double()
    forces = forces[:, None] if forces.ndim == 2 else forces
    actions = actions[:, None].expand(-1, forces.shape[1], -1, -1) if actions.ndim == 3 else actions
    if len(forces) != len(actions):
        raise ValueError(f"forces must have one row a frame of the actions, got {len(forces)} and {len(actions)}")
    size = forces.square().mean(0)
    if bool((size.sum(1) == 0).any()):
        raise ValueError("forces must not be zero in all frames: without contact nothing can be fitted")
    row = scene.contact.row() if isinstance(scene.contact, Contact) else scene.contact
    lame = torch.tensor(scene.pad.lame, dtype=torch.float64) if scene.lame is None else scene.lame
    logs = {
        name: value.detach().double().expand(forces.shape[1], -1).log().clone()
        for name, value in (("contact", row), ("lame", lame))
    }
    optimizer = torch.optim.Adam([logs[name].requires_grad_() for name in fit], lr=rate)
    losses = []
    for k in range(steps):
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * k / steps))
        now = replace(scene, contact=logs["contact"].exp(), lame=logs["lame"].exp())
        found = now.roll(actions)
        total = found.force.sum(2) + sum(found.soft_force)
        each = ((total - forces).square().mean(0) / size.clamp_min(1e-6 * float(size.max()))).mean(1)
        optimizer.zero_grad()
        each.sum().backward()
        optimizer.step()
        losses.append(each.detach())
        if progress is not None:
            progress((k + 1) / steps)
    found_contact, found_lame = (logs[name].detach().exp() for name in ("contact", "lame"))
    return FittedContact(found_contact, found_lame, torch.stack(losses))


def fit_motion(
    scene: Scene, actions: torch.Tensor, loss: Callable[[Roll, torch.Tensor], torch.Tensor], *, steps: int = 40, rate: float = 0.01,
    limit: float = 0.3, progress: Callable[[float], None] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Finger velocities that lower ``loss`` (rollout, actions) -> (scenes,), by Adam: the best actions seen and losses
    (steps + 1, scenes). Speeds stay below ``limit`` m/s; each scene's gradient is scaled to norm 1."""
    now = actions.detach().double().clone().requires_grad_()
    best, least, losses = now.detach().clone(), torch.full((now.shape[1],), torch.inf, dtype=torch.float64), []
    optimizer = torch.optim.Adam([now], lr=rate)
    for k in range(steps + 1):
        each = loss(scene.roll(now), now)
        losses.append(each.detach())
        better = each.detach() < least
        least = torch.where(better, each.detach(), least)
        best = torch.where(better[None, :, None, None], now.detach(), best)
        if k == steps:
            break
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * k / steps))
        (gradient,) = (
            torch.autograd.grad(each.sum(), now, materialize_grads=True)
            if each.requires_grad
            else (torch.zeros_like(now),)
        )
        now.grad = torch.nn.functional.normalize(gradient.transpose(0, 1).flatten(1), dim=1).reshape(
            now.shape[1], now.shape[0], *now.shape[2:]).transpose(0, 1)  # fmt: skip
        optimizer.step()
        now.data.clamp_(-limit, limit)
        if progress is not None:
            progress((k + 1) / steps)
    return best, torch.stack(losses)


class PixelNetwork(nn.Module):
    """What one pixel tells: its colour and place (..., 5) -> the unit surface normal (..., 3), by a small network."""

    def __init__(self, width: int = 32, seed: int | torch.Generator = 0):
        super().__init__()
        generator = checks.generator(seed)
        layers = [nn.Linear(a, b) for a, b in ((5, width), (width, width), (width, 2))]
        self.layers = nn.ModuleList(layers)
        for layer in layers:
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = pixels
        for k, layer in enumerate(self.layers):
            x = torch.tanh(layer(x)) if k < 2 else layer(x)
        return nn.functional.normalize(torch.cat([x, torch.ones_like(x[..., :1])], -1), dim=-1)


def pixels(images: torch.Tensor) -> torch.Tensor:
    """Images (..., h, w, 3) in [0, 1] -> pixels (..., h, w, 5): colour, and place from -1 to 1."""
    h, w = images.shape[-3:-1]
    y, x = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
    place = torch.stack([x, y], -1).to(images).expand(*images.shape[:-1], 2)
    return torch.cat([images, place], -1)


def fit_optics(
    images, normals, *, width: int = 32, steps: int = 400, rate: float = 1e-2, batch: int = 2048, seed: int = 0
) -> PixelNetwork:
    """A network from pixels to normals, of images (n, h, w, 3) and the normals (n, h, w, 3) of the surface that they show."""
    images = checks.tensor("images", images, shape=(None, None, None, 3), floating=True).float()
    normals = checks.tensor("normals", normals, shape=tuple(images.shape), floating=True).float()
    generator = checks.generator(seed)
    net = PixelNetwork(width, generator)
    inputs, targets = pixels(images).reshape(-1, 5), nn.functional.normalize(normals.reshape(-1, 3), dim=1)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for k in range(checks.integer("steps", steps, low=1)):
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * k / steps))
        some = torch.randint(len(inputs), (batch,), generator=generator)
        loss = (net(inputs[some]) - targets[some]).square().sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.requires_grad_(False)
