"""Compiled matching of images against boundary-matrix reduction, gudhi and itself without contraction."""

import ast
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lab.kernels.cubical import cpu, reference


def pairs_of_images(seed):
    """Small pairs of every kind that has ever been hard: ties, plateaus, constants, single rows, 1-ulp gaps."""
    draw = np.random.default_rng(seed)
    shape = tuple(draw.integers(1, 8, 2))
    real, other = draw.random(shape), draw.random(shape)
    binary = (draw.random(shape) > 0.5).astype(float)
    yield real, other
    yield real, binary
    yield binary, (draw.random(shape) > 0.5).astype(float)
    yield draw.integers(0, 3, shape).astype(float), draw.integers(0, 4, shape).astype(float)
    yield np.round(real, 1), binary
    yield np.full(shape, 0.5), binary
    yield real, real + draw.integers(-1, 2, shape) * np.spacing(real)
    yield real + 2, real
    yield -real, -np.where(binary > 0, 1.0, real)
    yield np.zeros(shape) * -1.0, binary


def code(f, cell):
    anchor, axes = cell
    flat = int(np.ravel_multi_index(anchor, f.shape))
    return 2 * flat + axes[0] if len(axes) == 1 else flat


def flat_voxel(f, cell):
    return int(np.ravel_multi_index(reference.voxel(f, cell), f.shape))


def rows_of(result, item=0):
    """(cells, voxels) by dimension and kind."""
    cells, voxels, counts = result
    ends = counts.reshape(-1).cumsum().reshape(counts.shape)
    starts = ends - counts
    return [
        [
            (cells[starts[item, d, k] : ends[item, d, k]], voxels[starts[item, d, k] : ends[item, d, k]])
            for k in range(3)
        ]
        for d in range(2)
    ]


def as_set(rows):
    listed = [tuple(row) for row in np.asarray(rows).tolist()]
    assert len(set(listed)) == len(listed)
    return set(listed)


@pytest.mark.parametrize("seed", range(30))
def test_matching_equals_boundary_matrix_reduction_in_cells_and_voxels(seed):
    for a, b in pairs_of_images(seed):
        found = rows_of(cpu.match_images(a[None] + 0.0, b[None] + 0.0))
        wanted = reference.match(a, b)
        for d in range(2):
            sides = [
                [(s, t, u, v) for (s, t), (u, v) in wanted[d][0]],
                [(s, t, None, None) for s, t in wanted[d][1]],
                [(None, None, u, v) for u, v in wanted[d][2]],
            ]
            for kind in range(3):
                images = (a, a, b, b)
                cells = {tuple(-1 if c is None else code(f, c) for f, c in zip(images, row)) for row in sides[kind]}
                places = {
                    tuple(-1 if c is None else flat_voxel(f, c) for f, c in zip(images, row)) for row in sides[kind]
                }
                assert as_set(found[d][kind][0]) == cells
                assert {tuple(row) for row in found[d][kind][1].tolist()} == places


def larger_pairs(seed):
    draw = np.random.default_rng(seed)
    shape = tuple(draw.integers(20, 70, 2))
    field = ndimage.gaussian_filter(draw.standard_normal(shape), 3)
    soft = 1 / (1 + np.exp(-field / field.std() - 0.2 * draw.standard_normal(shape)))
    yield -soft, -(field > 0).astype(float)
    yield -np.round(soft * 255) / 255, -(field > 0.01).astype(float)
    yield draw.random(shape), draw.random(shape)
    yield draw.integers(0, 5, shape) / 4, draw.integers(0, 5, shape) / 4
    yield soft + 3, soft
    yield -(field > 0).astype(float), -soft


@pytest.mark.parametrize("seed", range(12))
def test_contraction_changes_nothing(seed):
    for a, b in larger_pairs(seed):
        done, rows, counts = cpu.match_one(a, b, True)
        _, plain, wanted = cpu.match_one(a, b, False)
        if done:
            assert np.array_equal(counts, wanted)
            assert as_set(rows) == as_set(plain)


def test_a_pair_that_needs_too_much_walking_is_repeated_without_contraction():
    draw = np.random.default_rng(0)
    y = np.arange(96)  # basins of b join one after the other, and a is smallest where b is attached last
    b = np.where(y % 2, 1 + y / 100, 0.001 * y) + 1e-4 * draw.random((8, 96))
    a = 10 - b + 0.5 * draw.random((8, 96))
    for one, two in ((a, b), (b, a)):
        done, _, _ = cpu.match_one(one, two, True)
        assert not done
        cells, _, counts = cpu.match_images(one[None], two[None])
        _, plain, wanted = cpu.match_one(one, two, False)
        assert np.array_equal(counts[0], wanted)
        assert as_set(cells) == as_set(plain)


@pytest.mark.parametrize("seed", range(8))
def test_barcodes_equal_gudhi(seed):
    import gudhi

    for a, _ in larger_pairs(seed):
        cells, voxels, counts = cpu.barcode_images(a[None] + 0.0)
        flat = a.ravel()
        complex_ = gudhi.CubicalComplex(vertices=a)
        complex_.compute_persistence(min_persistence=0.0)
        start = 0
        for d in range(2):
            part = voxels[start : start + counts[0, d]]
            start += counts[0, d]
            wanted = complex_.persistence_intervals_in_dimension(d)
            wanted = wanted[np.isfinite(wanted).all(1)].reshape(-1, 2)
            mine = np.stack([flat[part[:, 0]], flat[part[:, 1]]], 1)
            assert sorted(map(tuple, mine)) == sorted(map(tuple, wanted))


def test_matched_and_unmatched_bars_together_are_the_barcodes():
    for a, b in larger_pairs(3):
        found = rows_of(cpu.match_images(a[None] + 0.0, b[None] + 0.0))
        for side, f in enumerate((a, b)):
            cells, _, counts = cpu.barcode_images(f[None] + 0.0)
            start = 0
            for d in range(2):
                own = as_set(cells[start : start + counts[0, d]])
                start += counts[0, d]
                columns = slice(2 * side, 2 * side + 2)
                union = np.concatenate([found[d][0][0][:, columns], found[d][1 + side][0][:, columns]])
                assert as_set(union) == own


def test_items_of_a_stack_do_not_touch_each_other():
    draw = np.random.default_rng(5)
    a, b = draw.random((4, 9, 11)), (draw.random((4, 9, 11)) > 0.5).astype(float)
    cells, voxels, counts = cpu.match_images(a, b)
    start = 0
    for item in range(4):
        one = cpu.match_images(a[item : item + 1], b[item : item + 1])
        stop = start + len(one[0])
        assert np.array_equal(cells[start:stop], one[0])
        assert np.array_equal(voxels[start:stop], one[1])
        assert np.array_equal(counts[item], one[2][0])
        start = stop
    assert start == len(cells)


def test_inputs_are_left_as_they_are():
    draw = np.random.default_rng(6)
    a, b = draw.random((1, 12, 12)), draw.random((1, 12, 12))
    before = a.copy(), b.copy()
    cpu.match_images(a, b)
    cpu.barcode_images(a)
    assert np.array_equal(a, before[0])
    assert np.array_equal(b, before[1])


def _decorators(function):
    named = [node.func if isinstance(node, ast.Call) else node for node in function.decorator_list]
    return {getattr(node, "id", "") for node in named}


def test_functions_without_an_entry_from_python_are_called_by_compiled_ones_only():
    trees = {path: ast.parse(path.read_text()) for path in (Path(__file__).parents[3] / "lab").rglob("*.py")}
    hidden = {
        (path.stem, node.name)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and "inner" in _decorators(node)
    }
    assert len(hidden) > 20
    for path, tree in trees.items():
        known = {name for module, name in hidden if module == path.stem}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                known |= {each.name for each in node.names if (node.module.rpartition(".")[2], each.name) in hidden}
        functions = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and _decorators(node) & {"njit", "inner"}
        ]
        inside = {id(node) for function in functions for node in ast.walk(function)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id in known:
                assert id(node) in inside, f"{path.name}:{node.lineno} names {node.id}, which Python must not call"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in hidden, f"{path.name}:{node.lineno}"
