"""The public function of the element step: checks, choice of the form."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, NamedTuple

import torch

from lab import checks
from lab.kernels import dispatch

SMALL = 0
DTYPES = (torch.float32, torch.float64)
FIELD = 2**24  # values of sampled distances


class ElementState(NamedTuple):
    """Positions x and velocities v (scenes, nodes, d), poses and motions of rigid bodies (scenes, bodies, 3), and the mean
    contact force of each body on the nodes (scenes, bodies, d) in N."""

    x: torch.Tensor
    v: torch.Tensor
    pose: torch.Tensor
    motion: torch.Tensor
    contact_force: torch.Tensor


@dataclass(frozen=True)
class ElementMesh:
    """Triangles or tetrahedra at rest, in float64; build it with :meth:`of`.

    Attributes:
        points: (nodes, d) in m. elements: (elements, d + 1), positively oriented.
        inverse, volume: inverse of the edge vectors (elements, d, d) in 1/m, and m^d. mass: lumped, (nodes,) in kg.
        driven: (nodes,), the row of ``drive`` that a node follows, or -1. surface: nodes that contact is computed for.
        density: kg/m^d. height: the least altitude of an element in m, which bounds the time step.
    """

    points: torch.Tensor
    elements: torch.Tensor
    inverse: torch.Tensor
    volume: torch.Tensor
    mass: torch.Tensor
    driven: torch.Tensor
    surface: torch.Tensor
    density: float
    height: float

    @classmethod
    def of(cls, points, elements, *, density: float = 1000.0, driven: Sequence[int] = (), surface=None) -> ElementMesh:
        """A mesh of corner points and elements; ``driven`` lists nodes that follow rows 0, 1, ... of ``drive``.

        ``surface`` defaults to the nodes of the boundary that are not driven. Elements of negative orientation are turned.

        Raises:
            ValueError: an index without a point, an element without volume, a point without element.
        """
        points = checks.tensor("points", points, ndim=2, floating=True).double().cpu()
        d = points.shape[1]
        if d not in (2, 3):
            raise ValueError(f"points must have 2 or 3 coordinates, got {d}")
        elements = checks.tensor("elements", elements, shape=(None, d + 1)).long().cpu()
        if not 0 <= int(elements.min()) <= int(elements.max()) < len(points):
            raise ValueError(
                f"elements must name nodes in [0, {len(points)}), got {int(elements.min())} to {int(elements.max())}"
            )
        checks.number("density", density, low=0.0, open_low=True)
        edges = (points[elements[:, 1:]] - points[elements[:, :1]]).mT
        signed = torch.linalg.det(edges) / math.factorial(d)
        flat = signed.abs() < 1e-12 * edges.square().sum((1, 2)) ** (d / 2)
        if bool(flat.any()):
            raise ValueError(f"elements must have a volume, element {int(flat.nonzero()[0])} has none")
        elements = torch.where((signed < 0)[:, None], elements[:, [1, 0, *range(2, d + 1)]], elements)
        inverse = torch.linalg.inv((points[elements[:, 1:]] - points[elements[:, :1]]).mT)
        volume = signed.abs()
        share = (density * volume / (d + 1))[:, None].expand(-1, d + 1)
        mass = torch.zeros(len(points), dtype=torch.float64).index_add(0, elements.flatten(), share.flatten())
        if bool((mass == 0).any()):
            raise ValueError(f"points must belong to an element, point {int((mass == 0).nonzero()[0])} belongs to none")
        row = torch.full((len(points),), -1)
        listed = torch.as_tensor(list(driven), dtype=torch.long)
        if len(listed) and not 0 <= int(listed.min()) <= int(listed.max()) < len(points):
            raise ValueError(f"driven must name nodes in [0, {len(points)}), got {listed.tolist()}")
        row[listed] = torch.arange(len(listed))
        if surface is None:
            sides = torch.cat([elements[:, [j for j in range(d + 1) if j != k]] for k in range(d + 1)]).sort(1).values
            unique, count = torch.unique(sides, dim=0, return_counts=True)
            surface = torch.unique(unique[count == 1])
            surface = surface[row[surface] < 0]
        surface = checks.tensor("surface", surface, ndim=1, empty=True).long()
        # altitudes are 1 over the lengths of the gradients of the barycentric coordinates: the rows of the inverse
        slopes = torch.cat([inverse, -inverse.sum(1, keepdim=True)], 1).norm(dim=2)
        return cls(points, elements, inverse, volume, mass, row, surface, density, float(1 / slopes.max()))


def block(cells: Sequence[int], d: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points and simplices of the unit box (cells, 1, ...) in squares or cubes of side 1."""
    axes = [torch.arange(n + 1, dtype=torch.float64) for n in cells]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, d)
    index = torch.arange(len(points)).reshape([n + 1 for n in cells])
    corner = index[tuple(slice(-1) for _ in cells)].flatten()
    strides = torch.tensor(index.stride())
    simplices = []
    for order in permutations(range(d)):
        path = torch.cat(
            [torch.zeros(1, dtype=torch.long), strides[list(order)].cumsum(0)]
        )  # edges along the axes in order
        simplices.append(corner[:, None] + path)
    return points, torch.stack(simplices, 1).flatten(0, 1)


@dataclass(frozen=True)
class Bodies:
    """Rigid bodies by their signed distances; build them with :meth:`of`.

    Attributes:
        shapes (bodies, 8): half widths (3), radius of rounding, and origin (3) and spacing of samples. layouts (bodies, 4): the
            first sample in ``field`` or -1, and how many samples an axis. lightness, drag (bodies, 3): 1/kg or 1/(kg m^2), 0
            for what moves as told; N s/m or N m s.
    """

    shapes: torch.Tensor
    layouts: torch.Tensor
    field: torch.Tensor
    lightness: torch.Tensor
    drag: torch.Tensor

    @classmethod
    def of(cls, shapes: Sequence, *, d: int, mass=None, inertia=None, drag=0.0) -> Bodies:
        """Bodies of d dimensions, one a shape.

        Args:
            shapes: numbers ``(radius,)`` or ``(half width, ..., radius)`` of a ball or a box whose edges are rounded (it extends
                by half width + radius), or ``(distance, low, high, samples)``: a callable points (n, d) -> signed distances (n,)
                in m, negative inside, the corners of the box to sample it in, and how many samples along its longest side. Samples
                are interpolated by quadratic B-splines, which rounds the surface by curvature times spacing^2/8.
            mass, inertia: kg and kg m^2, one number or one a body; ``None`` moves as told by ``motion``. In three dimensions bodies
                are moved and not turned.
            drag: N s/m: the force of a support on a body per unit velocity, one number or (bodies, 3).
        """
        checks.choice("d", d, (2, 3))
        rows, layouts, fields, start = [], [], [], 0
        for shape in shapes:
            if callable(shape[0]):
                values, low, spacing, sizes = _sampled(*shape, d=d)
                layouts.append([start, *sizes])
                rows.append([0.0, 0.0, 0.0, 0.0, *low, *[0.0] * (3 - d), spacing])
                fields.append(values.flatten())
                start += values.numel()
            else:
                *half, radius = [checks.number("shapes", float(each), low=0.0) for each in shape]
                if len(half) not in (0, d):
                    raise ValueError(f"shapes must be (radius,) or {d} half widths and a radius, got {tuple(shape)}")
                rows.append([*(half or [0.0] * d), *[0.0] * (3 - d), radius, 0.0, 0.0, 0.0, 1.0])
                layouts.append([-1, 0, 0, 0])
        count, double = len(rows), torch.float64

        def each(name, value):
            if value is None:
                return torch.zeros(count, dtype=double)
            value = torch.as_tensor(value, dtype=double).expand(count)
            if bool((value <= 0).any()):
                raise ValueError(f"{name} must be greater than 0, got {value.min():g}; None holds a body")
            return 1 / value

        light, turn = each("mass", mass), each("inertia", inertia)
        lightness = torch.stack([light, light, turn if d == 2 else light], 1)
        drag = torch.as_tensor(drag, dtype=double)
        if bool((drag < 0).any()):
            raise ValueError(f"drag must be at least 0, got {float(drag.min())}")
        field = torch.cat(fields) if fields else torch.zeros(1, dtype=double)
        if len(field) > FIELD:
            raise ValueError(f"shapes must have at most {FIELD} samples in all, got {len(field)}")
        return cls(torch.tensor(rows, dtype=double).reshape(count, 8), torch.tensor(layouts).reshape(count, 4).long(),
                   field, lightness, drag.expand(count, 3).contiguous())  # fmt: skip


def _sampled(distance: Callable, low, high, samples: int, *, d: int):
    low, high = (checks.tensor("shapes", each, shape=(d,)).double() for each in (low, high))
    samples = checks.integer("samples", samples, low=5)
    if not bool((high > low).all()):
        raise ValueError(
            f"shapes must be sampled from low to high on every axis, got {low.tolist()} and {high.tolist()}"
        )
    spacing = float((high - low).max()) / (samples - 1)
    sizes = [max(5, math.ceil(float(h - a) / spacing - 1e-9) + 1) for a, h in zip(low, high)]
    axes = [float(a) + spacing * torch.arange(n, dtype=torch.float64) for a, n in zip(low, sizes)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, d)
    values = checks.tensor("distance", distance(points), shape=(len(points),), floating=True).detach().double()
    if not float(values.min()) < 0 < float(values.max()):
        raise ValueError(
            f"distance must be negative inside and positive outside, got values from {float(values.min()):.4g} to "
            f"{float(values.max()):.4g} in the box"
        )
    return values, low.tolist(), spacing, [*sizes, *[1] * (3 - d)]


def element_step(
    x: torch.Tensor,
    v: torch.Tensor,
    drive: torch.Tensor,
    *,
    mesh: ElementMesh,
    lame: torch.Tensor | Sequence[float],
    dt: float,
    substeps: int = 1,
    viscosity: float = 0.0,
    contact: torch.Tensor | Sequence[float] = (0.0, 0.0, 0.0, 0.0),
    bodies: Bodies | None = None,
    pose: torch.Tensor | None = None,
    motion: torch.Tensor | None = None,
    load: torch.Tensor | None = None,
    force: torch.Tensor | None = None,
) -> ElementState:
    r"""Explicit steps of a soft body of triangles or tetrahedra that touches rigid bodies, differentiable.

    Stable neo-Hookean stress, nodal forces with the inverse rest shape B, contact of surface nodes at signed distance d < 0, n out
    of the body, u the velocity relative to it and u_t its tangential part:

    .. math:: P = \mu\bigl(1 - \tfrac{1}{I_C + 1}\bigr)F + \lambda (J - a)\,\mathrm{cof} F + \eta\dot F,\quad
              a = 1 + \frac{\mu d}{\lambda (d + 1)},\quad f = -V P B^T,

    .. math:: f_n = -(k_n + k_d \max(-n\cdot u, 0))\,d,\qquad f_t = -\frac{u_t}{|u_t|}\min(k_t |u_t|, \mu_f f_n) .

    Then v' = v + dt f/m (driven nodes: v' = drive), x' = x + dt v'; a free body's motion w' = (w + dt F/M)/(1 + dt drag/M), its
    pose + dt w'. In two dimensions pose is (x, y, angle), in three a translation.

    Args:
        x, v: (scenes, nodes, d) in m and m/s; scenes do not touch each other.
        drive: velocities of the driven nodes (scenes, driven nodes, d), constant over the substeps.
        lame: mu and lambda in Pa, 2 numbers or (scenes, 2). viscosity: eta in Pa s, also resists rotation; carries no gradient.
        dt: in s, at most the least altitude over sqrt((lambda + 2 mu)/density).
        substeps: how many steps in this one operation. contact: k_n (N/m), k_d (N s/m^2), k_t (N s/m), mu_f; 4 or (scenes, 4);
            k_t dt above twice the mass of a node makes sticking nodes chatter.
        pose, motion, load: of the bodies, (scenes, bodies, 3); load in N, N and N m (2-D), by default 0.
        force: on nodes in N, shape of ``x``.

    Returns:
        State after the substeps, and the contact force of each body on the nodes, averaged over them. The first derivative is a
        hand-written adjoint that keeps the first state alone; for second derivatives use ``backend("reference")``. k_t has
        no gradient where contact slides and mu_f none where it sticks.

    Raises:
        ValueError, TypeError: shapes, dtypes, non-finite values, a time step above its limit; a run that diverges names its scene,
        substep and node.

    Sources: B. Smith, F. de Goes, T. Kim, 'Stable Neo-Hookean Flesh Simulation', ACM Transactions on Graphics 37(2), 2018, equation
    (14); Z. Si, G. Zhang, Q. Ben, B. Romero, Z. Xian, C. Liu, C. Gan, 'DIFFTACTILE: A Physics-based Differentiable Tactile
    Simulator for Contact-rich Robotic Manipulation', ICLR 2024, section 3.

    >>> mesh = ElementMesh.of([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [[0, 1, 2]], density=6.0)
    >>> x = mesh.points[None]; push = torch.zeros_like(x); push[0, 1, 0] = 2.0
    >>> after = element_step(x, 0 * x, x[:, :0], mesh=mesh, lame=(1.0, 1.0), dt=0.1, force=push)
    >>> round(float(after.v[0, 1, 0]), 6)
    0.2
    """
    x = checks.tensor("x", x, ndim=3, floating=True, finite=dispatch.eager())
    if x.dtype not in DTYPES:
        raise TypeError(f"x must be float32 or float64, got {x.dtype}: positions need more than half precision")
    scenes, nodes, d = x.shape
    if (nodes, d) != tuple(mesh.points.shape):
        raise ValueError(f"x must have the mesh's {tuple(mesh.points.shape)} on its last axes, got {(nodes, d)}")
    count = 0 if bodies is None else len(bodies.shapes)
    if bodies is None:
        bodies = Bodies.of([], d=d)

    def like(name: str, value: Any, *shape: int) -> torch.Tensor:
        if value is None:
            return x.new_zeros(shape)
        if not isinstance(value, torch.Tensor):
            value = torch.as_tensor(value, dtype=x.dtype, device=x.device)
        value = checks.tensor(name, value, floating=True, empty=True, finite=dispatch.eager())
        if value.dtype != x.dtype:
            raise TypeError(f"{name} must be {x.dtype} like x, got {value.dtype}")
        wide = value.expand(scenes, -1) if value.ndim == 1 and len(shape) == 2 else value
        if tuple(wide.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(value.shape)}")
        return wide

    v, force = like("v", v, scenes, nodes, d), like("force", force, scenes, nodes, d)
    drive = like("drive", drive, scenes, int((mesh.driven >= 0).sum()), d)
    pose, motion, load = (
        like(name, value, scenes, count, 3) for name, value in (("pose", pose), ("motion", motion), ("load", load))
    )
    constants, touching = like("lame", lame, scenes, 2), like("contact", contact, scenes, 4)
    dt, viscosity = checks.number("dt", dt, low=0.0, open_low=True), checks.number("viscosity", viscosity, low=0.0)
    substeps = checks.integer("substeps", substeps, low=1)
    if dispatch.eager():
        for name, value in (("lame", constants), ("contact", touching)):
            if bool((value < 0).any()):
                raise ValueError(f"{name} must be at least 0, got a smallest value of {float(value.min()):.6g}")
        sound = float((constants[:, 1] + 2 * constants[:, 0]).detach().max() / mesh.density) ** 0.5
        refuse_step(dt, mesh, sound, viscosity)
    real = [each.to(x) for each in (mesh.inverse, mesh.volume, mesh.mass)]
    whole = [each.to(x.device) for each in (mesh.elements, mesh.driven, mesh.surface, bodies.layouts)]
    shapes, field, lightness, drag = (
        each.to(x) for each in (bodies.shapes, bodies.field, bodies.lightness, bodies.drag)
    )
    tensors = (x, v, pose, motion, drive, load, force, constants, touching, whole[0], *real, whole[1], whole[2], shapes,
               whole[3], field, lightness, drag)  # fmt: skip
    work = len(mesh.elements) * substeps * scenes
    choice = dispatch.choose("element_step", *tensors[:9], work=work, small=SMALL, dtypes=DTYPES)
    if choice.path == "reference":
        from lab.kernels.element_step import reference

        return ElementState(*reference.step(*tensors, dt, viscosity, substeps))  # type: ignore[call-arg]
    from lab.kernels.element_step import op

    return ElementState(*op.step(*tensors, dt, viscosity, substeps))


def refuse_step(dt: float, mesh: ElementMesh, sound: float, viscosity: float) -> None:
    """``ValueError`` where ``dt`` exceeds the time in which a pressure wave crosses the least altitude, or diffusion does."""
    if dt * sound > mesh.height:
        raise ValueError(
            f"dt must be at most {mesh.height / sound:.4g} s, where a pressure wave ({sound:.4g} m/s) crosses the least "
            f"altitude of {mesh.height:.4g} m, got {dt:.4g}"
        )
    if viscosity * dt > 0.25 * mesh.density * mesh.height**2:
        limit = 0.25 * mesh.density * mesh.height**2 / viscosity
        raise ValueError(f"dt must be at most {limit:.4g} s at a viscosity of {viscosity:.4g} Pa s, got {dt:.4g}")
