r"""Rank invariant, its signed barcode, and the multiparameter landscape, exact and differentiable.

For grades :math:`r \le s` of a bifiltration the rank invariant is the rank of :math:`H_d(K_r) \to H_d(K_s)`. Over Z/2 it is

.. math:: \mathrm{rk}(r, s) = \dim Z_d(K_r) - \dim\big(B_d(K_s) \cap C_d(K_r)\big),

because a boundary of :math:`K_s` whose support lies in :math:`K_r` is a cycle there. With the rows of one matrix ordered so
that the cells of :math:`K_r` come first, the last dimension counts reduced columns whose pivot lies in :math:`K_r`: one
reduction for every line of the second axis gives the whole table.

The landscape of a bifiltration at x reads the bars of the diagonal line through x,

.. math:: \lambda_k(x) = \sup\{\varepsilon \ge 0 : \mathrm{rk}(x - \varepsilon v, x + \varepsilon v) \ge k\}.

Source: Magnus Botnan, Steffen Oppermann, Steve Oudot, 'Signed barcodes for multi-parameter persistence via rank
decompositions', SoCG 2022; Oliver Vipond, 'Multiparameter persistence landscapes', JMLR 2020, definition 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lab import checks
from lab.topology.persistence import filtrations as fl
from lab.topology.persistence.euler_cells import edge_cells
from lab.topology.persistence.hilbert_cells import function_rips_components
from lab.topology.persistence.rips_loops import collapsed_complex
from lab.topology.persistence.signed_measures import SignedMeasure
from lab.topology.persistence.slices import slicer

POINTS = 200
LINES = 40


@dataclass(frozen=True)
class RankInvariant:
    """Ranks on a grid. ``lines``: for each axis the differentiable positions of the grid lines, ``cells`` the cells that
    own them; ``table[s, t, s', t']`` (int64) the rank from grade (s, t) to grade (s', t'), zero unless (s, t) <= (s', t').
    """

    lines: tuple[torch.Tensor, torch.Tensor]
    cells: tuple[torch.Tensor, torch.Tensor]
    table: torch.Tensor
    degree: int

    def at(self, lower, upper) -> torch.Tensor:
        """Ranks (m,) between grades ``lower`` and ``upper`` (m, 2), exact where these lie on grid lines."""
        lower = checks.tensor("lower", lower, shape=(None, 2), finite=False)
        upper = checks.tensor("upper", upper, shape=(len(lower), 2), finite=False)
        places = [
            torch.searchsorted(line.detach(), side[:, a].to(line).contiguous(), right=True) - 1
            for side in (lower, upper)
            for a, line in enumerate(self.lines)
        ]
        inside = torch.stack(places).amin(0) >= 0
        found = self.table[tuple(place.clamp_min(0) for place in places)]
        return torch.where(inside & (lower <= upper).all(1).to(inside.device), found, 0)

    def signed_barcode(self) -> SignedMeasure:
        """Signed rectangles as a measure on R^4: birth (2) and death (2) of each, weights by Moebius inversion.

        Deaths beyond the grid are put on its last line, so that no coordinate is infinite.
        """
        weight = _moebius(self.table.cpu().numpy())
        place = np.argwhere(weight != 0)
        last = np.array([len(line) for line in self.lines]) - 1
        place[:, 2:] = np.minimum(place[:, 2:] + 1, last)
        index = torch.from_numpy(place)
        columns = [self.lines[a % 2][index[:, a].to(self.lines[0].device)] for a in range(4)]
        owner = [self.cells[a % 2][index[:, a].to(self.lines[0].device)] for a in range(4)]
        weights = torch.from_numpy(weight[weight != 0]).to(self.table.device)
        return SignedMeasure(torch.stack(columns, 1), weights, torch.stack(owner, 1))


def rank(filtration, degree: int = 0, *, grid: int | None = 16) -> RankInvariant:
    """Rank invariant of a bifiltration on a grid, exact at its grades.

    Args:
        filtration: FunctionRips (at most 200 points), FlagDelaunay with f, Graph or Image with two parameters.
        degree: 0 or 1.
        grid: number of lines an axis, at quantiles of the grades of the cells that matter (at most 40); ``None`` takes
            every grade, for small complexes.

    Raises:
        ValueError: more than two parameters, too many points or grid lines.
    """
    checks.choice("degree", degree, (0, 1))
    parameters = getattr(filtration, "parameters", None)
    if parameters != 2:
        raise ValueError(f"filtration must have two parameters, got {parameters}")
    if isinstance(filtration, fl.FunctionRips) and filtration.size > POINTS:
        raise ValueError(f"the rank invariant takes at most {POINTS} points, got {filtration.size}; use hilbert")
    layers = _layers(filtration, degree)
    grades = [np.stack([_gathered(filtration, a, cells[:, a]) for a in range(2)], 1) for _, cells in layers]
    lines, owners = [], []
    for axis in range(2):
        value = np.concatenate([g[:, axis] for g in grades])
        cell = np.concatenate([cells[:, axis] for _, cells in layers])
        distinct, first = np.unique(value, return_index=True)
        pick = np.arange(len(distinct))
        if grid is not None:
            count = min(checks.integer("grid", grid, low=1, high=LINES), len(distinct))
            pick = np.unique(np.round(np.linspace(0, len(distinct) - 1, count)).astype(int))
        elif len(distinct) > LINES:
            raise ValueError(
                f"grid=None would take {len(distinct)} lines on axis {axis}, more than {LINES}; pass grid=..."
            )
        lines.append(distinct[pick])
        owners.append(torch.from_numpy(cell[first[pick]]).to(filtration.source.device))
    place = [np.stack([np.searchsorted(lines[a], g[:, a]) for a in range(2)], 1) for g in grades]
    table = _table(layers, place, (len(lines[0]), len(lines[1])), degree)
    values = filtration.gather(0, owners[0]), filtration.gather(1, owners[1])
    return RankInvariant(values, (owners[0], owners[1]), torch.from_numpy(table).to(filtration.source.device), degree)


def _gathered(filtration, axis, cells):
    return filtration.gather(axis, torch.from_numpy(cells).to(filtration.source.device)).detach().double().cpu().numpy()


def _table(layers, place, lines, degree):
    from lab.kernels.flag import cpu

    faces, boundary = (layers[degree + 1][0], place[degree + 1]) if degree + 1 < len(layers) else (None, None)
    rows = place[degree]
    if faces is None or not len(faces):
        faces, boundary = np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64)
    order = np.lexsort((boundary[:, 0], boundary[:, 1]))
    covered = cpu.rank_table(
        len(rows),
        faces.shape[1],
        np.ascontiguousarray(faces[order]),
        np.ascontiguousarray(boundary[order, 0]),
        np.ascontiguousarray(boundary[order, 1]),
        np.ascontiguousarray(rows[:, 1]),
        np.ascontiguousarray(rows[:, 0]),
        lines,
    )
    cycles = _count(rows, lines)
    if degree == 1:
        components = _table(layers[:2], place[:2], lines, 0)
        diagonal = np.arange(lines[0])[:, None], np.arange(lines[1])
        cycles = cycles - _count(place[0], lines) + components[diagonal[0], diagonal[1], diagonal[0], diagonal[1]]
    s, t = np.arange(lines[0]), np.arange(lines[1])
    below = (s[:, None] <= s)[:, None, :, None] & (t[:, None] <= t)[None, :, None, :]
    return np.where(below, cycles[:, :, None, None] - covered, 0)


def _count(place, lines):
    """Number of cells below each grid point."""
    table = np.zeros((lines[0] + 1, lines[1] + 1), np.int64)
    np.add.at(table, (place[:, 0], place[:, 1]), 1)
    return table[:-1, :-1].cumsum(0).cumsum(1)


def _layers(filtration, degree):
    """Cells by dimension up to degree + 1: boundaries as positions in the layer below, and the ids of both grades."""
    if isinstance(filtration, fl.Graph):
        return _star_layers(filtration, [np.arange(filtration.size)[:, None], filtration.edges])[: degree + 2]
    if isinstance(filtration, fl.Image):
        return _image_layers(filtration)[: degree + 2]
    n = filtration.size
    vertex = np.arange(n) * (n + 1)
    layers = [(None, np.stack([vertex, vertex], 1))]
    f = filtration.f.detach().double().cpu().numpy()
    if isinstance(filtration, fl.FlagDelaunay):
        edges, triangles = filtration.edges, filtration.triangles
    elif degree == 0:
        index, _, _ = function_rips_components(filtration, np.argsort(f, kind="stable"))
        cells = np.unique(index[n:, 0])
        edges, triangles = np.stack([cells // n, cells % n], 1), np.zeros((0, 3), np.int64)
    else:
        edges, triangles = collapsed_complex(filtration)
    late = lambda group: np.take_along_axis(group, f[group].argmax(1)[:, None], 1)[:, 0] * (n + 1)  # noqa: E731
    cells = edge_cells(edges[:, 0], edges[:, 1], n)
    layers.append((edges, np.stack([cells, late(edges)], 1)))
    if degree == 1:
        by_cell = np.argsort(cells)
        sides = np.stack([edge_cells(triangles[:, a], triangles[:, b], n) for a, b in ((0, 1), (0, 2), (1, 2))], 1)
        faces = by_cell[np.searchsorted(cells[by_cell], sides)] if len(sides) else np.zeros((0, 3), np.int64)
        length = _gathered(filtration, 0, cells)
        longest = np.take_along_axis(sides, length[faces].argmax(1)[:, None], 1)[:, 0] if len(sides) else sides[:, 0]
        layers.append((faces, np.stack([longest, late(triangles)], 1)))
    return layers


def _star_layers(graph, groups):
    values = graph.values.detach().double().cpu().numpy()
    found = []
    for group in groups:
        late = values[group].argmax(1)
        found.append((group, np.take_along_axis(group, late, 1)))
    return [(None, found[0][1]), *found[1:]]


def _image_layers(image):
    from itertools import product

    height, width = image.shape
    values = image.values.detach().double().cpu().numpy().reshape(2, -1)
    pixel = np.arange(image.size).reshape(image.shape)
    across = np.stack([pixel[:, :-1], pixel[:, 1:]], -1).reshape(-1, 2)
    down = np.stack([pixel[:-1], pixel[1:]], -1).reshape(-1, 2)
    corners = [pixel[a : height - 1 + a, b : width - 1 + b].reshape(-1) for a, b in product((0, 1), repeat=2)]
    squares = np.stack(corners, 1)
    edges = np.concatenate([across, down])
    grade = lambda group: np.stack([group[np.arange(len(group)), values[a][group].argmax(1)] for a in range(2)], 1)  # noqa: E731
    number_across = np.arange(len(across)).reshape(height, max(width - 1, 0))
    number_down = len(across) + np.arange(len(down)).reshape(max(height - 1, 0), width)
    faces = np.stack(
        [
            number_across[:-1].ravel(),
            number_across[1:].ravel(),
            number_down[:, :-1].ravel(),
            number_down[:, 1:].ravel(),
        ],
        1,
    )
    return [(None, np.stack([pixel.ravel()] * 2, 1)), (edges, grade(edges)), (faces, grade(squares))]


def _moebius(table):
    """m with table(a, b) = sum of m(i, j) over i <= a, j >= b."""
    for axis in (0, 1):
        table = np.diff(table, axis=axis, prepend=0)
    for axis in (2, 3):
        table = -np.diff(table, axis=axis, append=0)
    s, t, u, v = np.ogrid[tuple(slice(0, size) for size in table.shape)]
    return np.where((s <= u) & (t <= v), table, 0)


def multiparameter_landscape(filtration, degree: int, grid, *, count: int = 1, direction=(1.0, 1.0)) -> torch.Tensor:
    """Multiparameter landscape on a grid, exact and differentiable: (count, len(grid[0]), len(grid[1])).

    Grid points on one line share its barcode, so equal spacing along ``direction`` costs least.

    Args:
        filtration: two parameters.
        degree: homology degree.
        grid: two increasing sequences of positions.
        count: how many landscape functions.
        direction: v > 0, the unit of each axis.
    """
    parameters = getattr(filtration, "parameters", None)
    if parameters != 2:
        raise ValueError(f"filtration must have two parameters, got {parameters}")
    count = checks.integer("count", count, low=1)
    source = filtration.source
    if len(grid) != 2:
        raise ValueError(f"grid must have two lines of positions, got {len(grid)}")
    lines = [checks.tensor(f"grid[{a}]", line, ndim=1).to(source) for a, line in enumerate(grid)]
    direction = checks.tensor("direction", direction, shape=(2,)).to(source)
    places = torch.cartesian_prod(*lines)
    if not bool((direction > 0).all()):
        raise ValueError(f"direction must be positive on every axis, got {direction.tolist()}")
    along = places / direction
    offset = along[:, 1] - along[:, 0]
    span = float(along.abs().max()) + 1.0
    _, line_of = torch.unique((offset / (1e-9 * span)).round(), return_inverse=True)
    line_of = line_of.cpu().numpy()
    order = np.argsort(line_of, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(line_of))])
    first = order[start[:-1]]
    bases = places[first]
    cells = slicer(filtration, degree)
    unit = direction.double().cpu().numpy()
    found = [cells(base, unit) for base in bases.double().cpu().numpy()]
    births, deaths, line = _bars_on_lines(filtration, found, bases, direction)
    tents = _tents_on_lines(births, deaths, line, along[:, 0], first, order, start)
    if tents.shape[1] < count:
        tents = torch.nn.functional.pad(tents, (0, 0, 0, count - tents.shape[1]))
    top = tents.topk(count, dim=1).values
    row = np.repeat(np.arange(len(first)), np.diff(start))
    column = np.arange(len(order)) - start[row]
    result = top.new_zeros(len(places), count).index_copy(0, torch.from_numpy(order), top[row, :, column])
    return result.T.reshape(count, len(lines[0]), len(lines[1]))


def _bars_on_lines(filtration, found, bases, direction):
    """Births (k,), deaths (k,) (endless: none, given as -1 in ``ends``) of the bars of all lines, one gather an axis."""
    finite = np.concatenate([pairs for pairs, _ in found])
    endless = np.concatenate([births for _, births in found])
    line = np.concatenate(
        [np.repeat(np.arange(len(found)), [len(pairs) for pairs, _ in found])] * 2
        + [np.repeat(np.arange(len(found)), [len(births) for _, births in found])]
    )
    cells = torch.from_numpy(np.concatenate([finite[:, 0], finite[:, 1], endless])).to(filtration.source.device)
    grades = torch.stack([filtration.gather(a, cells) for a in range(2)], 1)
    value = ((grades - bases[line]) / direction).amax(1)
    births, deaths, rest = value.split([len(finite), len(finite), len(endless)])
    return torch.cat([births, rest]), deaths, np.concatenate([line[: len(finite)], line[2 * len(finite) :]])


def _tents_on_lines(births, deaths, line, along, first, order, start):
    """Tents (lines, bars, positions), zero where a line has fewer bars or positions."""
    lines, finite = len(first), len(deaths)
    by_line = np.argsort(line, kind="stable")
    row = line[by_line]
    column = np.arange(len(line)) - np.searchsorted(row, row)
    bars, places = int(column.max(initial=-1)) + 1, int(np.diff(start).max())
    spot = np.repeat(np.arange(lines), np.diff(start))
    at = along.new_zeros(lines, places)
    at[spot, np.arange(len(order)) - start[spot]] = along[order] - along[first[spot]]
    slot = torch.from_numpy(row * bars + column)
    source = torch.from_numpy(by_line)
    ends = torch.from_numpy(by_line[by_line < finite])
    end_slot = slot[torch.from_numpy(by_line < finite)]
    begin = births.new_zeros(lines * bars).index_copy(0, slot, births[source]).reshape(lines, bars)
    end = births.new_zeros(lines * bars).index_copy(0, end_slot, deaths[ends]).reshape(lines, bars)
    has = torch.zeros(2, lines * bars, dtype=torch.bool)
    has[0, slot], has[1, end_slot] = True, True
    has = has.reshape(2, lines, bars, 1)
    rise = at[:, None] - begin[..., None]
    fall = end[..., None] - at[:, None]
    tents = torch.where(has[1], torch.minimum(rise, fall), rise)
    return torch.where(has[0], tents, 0.0).clamp_min(0)
