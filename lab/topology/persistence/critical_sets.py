r"""Critical sets: all cells that must move when one end of a bar moves to a target.

With the boundary matrix D in filtration order, R = D V reduced and U the inverse of V, and a pair (sigma, tau):

- the death of tau can rise to t only if every later cell whose column used that of tau, a non-zero entry of row tau of U,
  with value up to t rises as well;
- it can sink to t only if every cell of column tau of V with value down to t sinks as well;
- births are deaths of the reversed filtration: the same with the coboundary matrix, columns in reverse order.

The columns of U are the additions that the reduction makes, so one pass with a log gives both.

Source: Arnur Nigmetov, Dmitriy Morozov, 'Topological optimization with big steps', Discrete and Computational Geometry
2024, sections 3 and 4.
"""

from __future__ import annotations

import numpy as np
import torch

from lab.topology.persistence import filtrations as fl

POINTS = 200
COLUMNS = 200_000


def critical_cells(filtration, diagram, ask: torch.Tensor, degree: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cells (k,) that must move and their targets (k,) so that the bars of ``diagram`` reach ``ask`` (bars, 2).

    Where two bars ask different things of one cell, the larger move wins.

    Raises:
        ValueError: the complex is too large, or the filtration has no reduction here.
    """
    lower_ids, upper_ids, faces = _layers(filtration, degree, float(torch.cat([diagram.points.detach(), ask]).max()))
    lower_value, upper_value = _values(filtration, lower_ids), _values(filtration, upper_ids)
    lower_order = np.argsort(lower_value, kind="stable")
    upper_order = np.argsort(upper_value, kind="stable")
    reduction = _reduce(lower_order, upper_order, faces)
    dual = _reduce_dual(lower_order, upper_order, faces)
    pair_of = {(lower_ids[s], upper_ids[t]): (s, t) for s, t in reduction.pairs if upper_value[t] > lower_value[s]}
    moves: dict[int, tuple[float, float]] = {}

    def move(cells, ids, values, target):
        for cell in cells:
            distance = abs(target - values[cell])
            if distance > moves.get(int(ids[cell]), (0.0, -1.0))[1]:
                moves[int(ids[cell])] = (target, distance)

    points = diagram.points.detach().double().cpu().numpy()
    wanted = ask.detach().double().cpu().numpy()
    for row, (birth, death) in enumerate(diagram.index.cpu().numpy()):
        found = pair_of.get((birth, death))
        if found is None:
            continue
        sigma, tau = found
        if wanted[row, 0] != points[row, 0]:
            move(
                dual.critical(sigma, lower_value, wanted[row, 0], rising=False), lower_ids, lower_value, wanted[row, 0]
            )
        if wanted[row, 1] != points[row, 1]:
            move(
                reduction.critical(tau, upper_value, wanted[row, 1], rising=True),
                upper_ids,
                upper_value,
                wanted[row, 1],
            )
    cells = torch.tensor(list(moves), dtype=torch.int64, device=filtration.source.device)
    return cells, torch.tensor([target for target, _ in moves.values()], dtype=torch.float64)


class _Reduction:
    """Pairs and the log of additions: ``log[c]`` lists the columns added to column c, the columns of U."""

    def __init__(self):
        self.pairs: list[tuple[int, int]] = []
        self.log: dict[int, list[int]] = {}

    def critical(self, cell, values, target, *, rising):
        """Cells that must follow ``cell`` to ``target``; ``rising`` says which way of values is later in this order."""
        later = target > values[cell] if rising else target < values[cell]
        if later:
            found = [c for c, used in self.log.items() if cell in used] + [cell]
        else:
            found = self._column(cell)
        low, high = min(target, values[cell]), max(target, values[cell])
        return [c for c in found if low <= values[c] <= high]

    def _column(self, cell):
        """Column of V: the cell plus, modulo two, the columns of what was added to it."""
        known: dict[int, set[int]] = {}
        stack = [cell]
        while stack:
            here = stack[-1]
            missing = [c for c in self.log.get(here, ()) if c not in known]
            if missing:
                stack.extend(missing)
                continue
            column = {here}
            for c in self.log.get(here, ()):
                column ^= known[c]
            known[here] = column
            stack.pop()
        return known[cell]


def _reduce(lower_order, upper_order, faces):
    position = np.empty(len(lower_order), np.int64)
    position[lower_order] = np.arange(len(lower_order))
    result, owner = _Reduction(), {}
    for tau in upper_order:
        column = 0
        for face in faces[tau]:
            column ^= 1 << int(position[face])
        _eliminate(int(tau), column, owner, result)
    result.pairs = [(int(lower_order[top - 1]), tau) for top, (tau, _) in owner.items()]
    return result


def _reduce_dual(lower_order, upper_order, faces):
    position = np.empty(len(upper_order), np.int64)
    position[upper_order[::-1]] = np.arange(len(upper_order))
    cofaces: dict[int, int] = {}
    for tau in range(len(upper_order)):
        for face in faces[tau]:
            cofaces[int(face)] = cofaces.get(int(face), 0) ^ (1 << int(position[tau]))
    result, owner = _Reduction(), {}
    for sigma in lower_order[::-1]:
        _eliminate(int(sigma), cofaces.get(int(sigma), 0), owner, result)
    return result


def _eliminate(name, column, owner, result):
    log = []
    while column:
        top = column.bit_length()
        if top not in owner:
            owner[top] = (name, column)
            break
        other, reduced = owner[top]
        column ^= reduced
        log.append(other)
    if log:
        result.log[name] = log


def _values(filtration, ids):
    return filtration.gather(0, torch.from_numpy(ids).to(filtration.source.device)).detach().double().cpu().numpy()


def _layers(filtration, degree, highest):
    """Ids of the ``degree``-cells and of the next dimension, and the faces of the latter as positions in the former."""
    if filtration.parameters != 1:
        raise ValueError(f"critical sets need one parameter, got {filtration.parameters}")
    if isinstance(filtration, fl.Graph):
        if degree > 0:
            raise ValueError("loops of a graph never end, they have no critical set; use degree 0")
        values = filtration.values[:, 0].detach().double().cpu().numpy()
        late = np.take_along_axis(filtration.edges, values[filtration.edges].argmax(1)[:, None], 1)[:, 0]
        return np.arange(filtration.size), late, filtration.edges
    if isinstance(filtration, fl.Image):
        return _image_layers(filtration, degree)
    if isinstance(filtration, fl.FlagDelaunay) or not isinstance(filtration, fl.Rips):
        raise ValueError(f"critical sets take Rips, Graph or Image, got {type(filtration).__name__}")
    n = filtration.size
    if n > POINTS or degree > 1:
        raise ValueError(f"critical sets of Rips take at most {POINTS} points and degree 0 or 1, got {n} and {degree}")
    first, second = np.triu_indices(n, 1)
    edges = first * n + second
    if degree == 0:
        return np.arange(n) * (n + 1), edges, np.stack([first, second], 1)
    matrix = filtration.matrix()
    a, b, c = _triples(matrix <= highest)
    if len(a) > COLUMNS:
        raise ValueError(
            f"{len(a)} triangles lie below the targets, more than {COLUMNS}: use fewer points or smaller steps"
        )
    sides = np.stack([a * n + b, a * n + c, b * n + c], 1)
    place = np.full(n * n, -1)
    place[edges] = np.arange(len(edges))
    longest = np.take_along_axis(sides, matrix.reshape(-1)[sides].argmax(1)[:, None], 1)[:, 0]
    return edges, longest, place[sides]


def _triples(near):
    """Index triples a < b < c that are pairwise near."""
    found = []
    for a in range(len(near)):
        later = np.flatnonzero(near[a, a + 1 :]) + a + 1
        b, c = np.nonzero(np.triu(near[np.ix_(later, later)], 1))
        found.append(np.stack([np.full(len(b), a), later[b], later[c]]))
    return np.concatenate(found, 1)


def _image_layers(image, degree):
    if len(image.shape) != 2 or image.construction != "V":
        raise ValueError("critical sets take 2-D images of construction 'V'")
    height, width = image.shape
    values = image.values.detach().double().cpu().numpy().reshape(-1)
    pixel = np.arange(image.size).reshape(image.shape)
    across = np.stack([pixel[:, :-1], pixel[:, 1:]], -1).reshape(-1, 2)
    down = np.stack([pixel[:-1], pixel[1:]], -1).reshape(-1, 2)
    edges = np.concatenate([across, down])
    late = np.take_along_axis(edges, values[edges].argmax(1)[:, None], 1)[:, 0]
    if degree == 0:
        return pixel.ravel(), late, edges
    if degree > 1:
        raise ValueError(f"degree must be 0 or 1 for a 2-D image, got {degree}")
    corners = np.stack([pixel[:-1, :-1], pixel[:-1, 1:], pixel[1:, :-1], pixel[1:, 1:]], -1).reshape(-1, 4)
    last = np.take_along_axis(corners, values[corners].argmax(1)[:, None], 1)[:, 0] if len(corners) else corners[:, 0]
    number_across = np.arange(len(across)).reshape(height, width - 1)
    number_down = len(across) + np.arange(len(down)).reshape(height - 1, width)
    sides = [number_across[:-1], number_across[1:], number_down[:, :-1], number_down[:, 1:]]
    return late, last, np.stack([side.reshape(-1) for side in sides], 1)
