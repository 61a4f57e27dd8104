"""Elder pairing and the matching built on it: against boundary matrices, against the compiled kernels, under symmetries."""

import numpy as np
import pytest
import torch

import lab.kernels as kernels
from lab.kernels.cubical import elder, reference, residue
from lab.kernels.cubical.public import canonical

SHAPES = [(1, 1), (1, 6), (6, 1), (2, 2), (5, 6), (1, 1, 1), (2, 2, 2), (3, 4, 3), (1, 4, 3)]


def stacks(shape, kind, seed=0, items=2):
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.random((2, items, *shape))
    if kind == "ties":
        return rng.integers(0, 4, (2, items, *shape)).astype(float)
    if kind == "binary":
        return rng.integers(0, 2, (2, items, *shape)).astype(float)
    base = rng.random((items, *shape))
    return np.stack([base, np.nextafter(base, 2)])


def literal(a, b):
    """Rows of the matching by matrix reduction, in dimension 0 and the top one, as :func:`canonical` lays them out."""
    grid, rows = elder.Grid(a.shape[1:]), []
    for item in range(len(a)):
        by_dimension = reference.match(a[item], b[item])
        for slot, (matched, only_a, only_b) in enumerate((by_dimension[0], by_dimension[grid.axes - 1])):
            for kind, pairs in enumerate((matched, [(bar, None) for bar in only_a], [(None, bar) for bar in only_b])):
                for pair in pairs:
                    cells, voxels = [], []
                    for field, bar in zip((a[item], b[item]), pair):
                        cells += [code(grid, cell) for cell in bar] if bar else [-1, -1]
                        voxels += [flat(grid, reference.voxel(field, cell)) for cell in bar] if bar else [-1, -1]
                    rows.append([(item * 2 + slot) * 3 + kind, *cells, *voxels])
    return torch.tensor(sorted(rows), dtype=torch.int64).reshape(-1, 9)


def flat(grid, voxel):
    return sum(x * step for x, step in zip(voxel, grid.steps()))


def code(grid, cell):
    anchor, axes = flat(grid, cell[0]), cell[1]
    if len(axes) in (0, grid.axes):
        return anchor
    kind = axes[0] if len(axes) == 1 else next(axis for axis in range(3) if axis not in axes)
    return grid.axes * anchor + kind


@pytest.mark.parametrize("kind", ["noise", "ties", "binary", "one ulp"])
@pytest.mark.parametrize("shape", SHAPES)
def test_matching_equals_matrix_reduction_in_cells_and_voxels(shape, kind):
    a, b = stacks(shape, kind)
    if kind == "one ulp":
        assert elder.levels(torch.from_numpy(a))[0].dtype == torch.int32
    with kernels.backend("reference"):
        found = kernels.cubical_matching(torch.from_numpy(a), torch.from_numpy(b))
    assert torch.equal(canonical(*found), literal(a, b))


@pytest.mark.parametrize("shape", [(12, 17), (7, 6, 8)])
@pytest.mark.parametrize("kind", ["noise", "ties"])
def test_compiled_form_equals_the_rounds(shape, kind):
    a, b = (torch.from_numpy(x) for x in stacks(shape, kind, seed=3))
    found = []
    for word in ("reference", "cpu"):
        with kernels.backend(word):
            found.append((canonical(*kernels.cubical_matching(a, b)), canonical(*kernels.cubical_barcodes(a))))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    assert len(found[0][0]) > 4


def test_a_long_staircase_needs_many_rounds_and_stays_exact():
    # Each step is older than the next, and edges fall along the stairs: one component a round ends.
    steps = torch.arange(40.0)
    row = torch.stack([steps, 100.0 - steps], 1).flatten()[None, None]
    wide = torch.cat([row, torch.full_like(row, 200.0), row.flip(2)], 1)
    with kernels.backend("reference"):
        found = canonical(*kernels.cubical_barcodes(wide))
    with kernels.backend("cpu"):
        assert torch.equal(found, canonical(*kernels.cubical_barcodes(wide)))


def test_the_last_residue_on_the_cpu_pairs_as_the_rounds_do():
    level = elder.levels(torch.from_numpy(stacks((9, 11), "ties", seed=5)[0]))[0]
    for dual in (False, True):
        one, other, key = (x.numpy() for x in elder.edges(level, dual))
        nodes = np.unique(np.concatenate([one, other]))
        node, last = residue.finish(one, other, key, nodes, elder.ages(level, dual).numpy()[nodes])
        ends = np.full(level.shape[0] * (9 * 11 + 1), elder.NEVER)
        ends[node] = last
        assert np.array_equal(ends, elder.pairing(level, level, dual).numpy().ravel())


def test_levels_keep_the_order_of_every_dtype():
    values = torch.tensor([-np.inf, -3.5, -0.0, 0.0, 1e-300, 1.0, 1.0 + 2**-52, 1e300])[None, None, 1:-1]
    (found,) = elder.levels(values.double())
    assert (found.flatten().diff() >= 0).all() and found.flatten()[1] == found.flatten()[2]
    assert found.unique().numel() == values.double().unique().numel()
    for dtype in (torch.uint8, torch.int32, torch.bool, torch.float16, torch.bfloat16):
        x = torch.tensor([[[0, 1, 1, 0]]]).to(dtype)
        assert elder.levels(x)[0].flatten().argsort(stable=True).tolist() == [0, 3, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((torch.rand(3, 4), torch.rand(3, 4)), "predictions"),
        ((torch.full((1, 2, 2), torch.nan), torch.zeros(1, 2, 2)), "predictions"),
        ((torch.zeros(1, 2, 2), torch.zeros(1, 2, 3)), "labels"),
        ((torch.zeros(1, 2, 2, dtype=torch.complex64), torch.zeros(1, 2, 2)), "predictions"),
        ((torch.zeros(0, 2, 2), torch.zeros(0, 2, 2)), "predictions"),
    ],
)
def test_bad_input_is_refused_by_name(arguments, said):
    with pytest.raises((ValueError, TypeError), match=said):
        kernels.cubical_matching(*arguments)
