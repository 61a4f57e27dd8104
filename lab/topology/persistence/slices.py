r"""One-parameter slices of a multifiltration: the fibered barcode, differentiable in the filtration.

Along the line :math:`\ell(t) = c + t v` with :math:`v > 0` a cell enters at

.. math:: f_\ell(\sigma) = \max_a \frac{f_a(\sigma) - c_a}{v_a},

a one-parameter filtration with its own barcode. All of them together determine the rank invariant.

Source: Michael Lesnick, Matthew Wright, 'Interactive visualization of 2-D persistence modules', 2015, section 1.
"""

from __future__ import annotations

import numpy as np
import torch

from lab import checks
from lab.topology.persistence import diagrams
from lab.topology.persistence import filtrations as fl
from lab.topology.persistence.hilbert_cells import function_rips_components
from lab.topology.persistence.rips_loops import collapsed_complex


class Slice(fl.Filtration):
    """The filtration of a complex along one line: ``bars(Slice(filtration, base, direction))`` is its barcode.

    Args:
        filtration: a filtration with p >= 2 parameters (FunctionRips, FlagDelaunay with f, Graph, Image).
        base: a point of the line (p,).
        direction: its direction (p,), all entries positive; values are in units of this vector.
    """

    parameters = 1

    def __init__(self, filtration, base, direction):
        p = getattr(filtration, "parameters", None)
        if p is None or isinstance(filtration, Slice):
            raise TypeError(
                f"filtration must be one of lab.topology.persistence.filtrations, got {type(filtration).__name__}"
            )
        if p < 2:
            raise ValueError("filtration must have at least two parameters; a one-parameter filtration has one barcode")
        source = filtration.source
        self.filtration = filtration
        self.base = checks.tensor("base", base, shape=(p,)).to(source)
        self.direction = checks.tensor("direction", direction, shape=(p,)).to(source)
        if not bool((self.direction > 0).all()):
            raise ValueError(f"direction must be positive on every axis, got {self.direction.tolist()}")
        self.size = filtration.size
        self.degrees = filtration.degrees

    @property
    def source(self):
        return self.filtration.source

    def gather(self, axis: int, cells: torch.Tensor) -> torch.Tensor:
        """Line parameters (k,) at which ``cells`` (k,) enter, differentiable."""
        checks.integer("axis", axis, low=0, high=0)
        columns = [self.filtration.gather(a, cells) for a in range(self.filtration.parameters)]
        return ((torch.stack(columns, 1) - self.base) / self.direction).amax(1)

    def vertices(self, cell):
        return self.filtration.vertices(cell)

    def barcode_cells(self, degree):
        base, direction = (part.detach().double().cpu().numpy() for part in (self.base, self.direction))
        return slicer(self.filtration, degree)(base, direction)


def slicer(filtration, degree: int):
    """A function (base, direction) -> cells of finite bars (k, 2) and endless births (m,); grades are read once."""
    for kind, prepare in _SLICERS.items():
        if isinstance(filtration, kind):
            grade, cells = prepare(filtration, degree)
            return lambda base, direction: cells(*[((part - base) / direction).max(-1) for part in grade])
    raise TypeError(f"cannot slice {type(filtration).__name__}")


def _rips(filtration, degree):
    if degree > 1:
        return _whole_rips(filtration, degree)
    # what the collapse removes, and edges that never join components, matter in no slice
    if degree == 1:
        edges, triangles = collapsed_complex(filtration)
    else:
        f = diagrams._values(filtration.f)
        index, _, _ = function_rips_components(filtration, np.argsort(f, kind="stable"))
        cells = np.unique(index[filtration.size :, 0])
        edges, triangles = np.stack([cells // filtration.size, cells % filtration.size], 1), np.zeros((0, 3), np.int64)
    return _on_complex(filtration, edges, triangles, None, degree)


def _whole_rips(filtration, degree):
    f = diagrams._values(filtration.f)
    edges = np.stack([filtration.matrix(), np.maximum(f[:, None], f)], -1)
    births = np.stack([np.zeros_like(f), f], -1)
    return (edges, births), lambda matrix, births: diagrams.flag_bars(matrix, births, None, degree)


def _delaunay(filtration, degree):
    simplices = filtration.simplices if degree > 1 else None
    return _on_complex(filtration, filtration.edges, filtration.triangles, simplices, degree)


def _on_complex(filtration, edges, triangles, simplices, degree):
    n = filtration.size
    f = diagrams._values(filtration.f)
    cells = edges[:, 0] * n + edges[:, 1]
    length = diagrams._values(filtration.gather(0, torch.from_numpy(cells).to(filtration.source.device)))
    grade = np.stack([length, np.maximum(f[edges[:, 0]], f[edges[:, 1]])], -1)
    births = np.stack([np.zeros_like(f), f], -1)
    sides = diagrams.triangle_sides(cells, triangles, n)

    def found(births, value):
        return diagrams.complex_bars(births, edges, value, sides, simplices, degree)

    return (births, grade), found


def _graph(graph, degree):
    if degree > 1:
        raise ValueError(f"degree must be 0 or 1 for a graph, got {degree}")
    return (diagrams._values(graph.values),), lambda value: diagrams.lower_star_bars(graph.edges, value, degree)


def _image(image, degree):
    if degree >= len(image.shape):
        raise ValueError(f"degree must be below {len(image.shape)} for this image, got {degree}")
    values = np.moveaxis(diagrams._values(image.values), 0, -1)
    return (values,), lambda value: diagrams.cubical_bars(value, degree, "V")


_SLICERS = {fl.FlagDelaunay: _delaunay, fl.FunctionRips: _rips, fl.Graph: _graph, fl.Image: _image}
