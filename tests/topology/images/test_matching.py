"""`match` and `barcode` on users' arrays: values, options, refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import topology
from lab.kernels.cubical import reference

SHAPES = [(7,), (1, 9), (8, 1), (6, 7)]


def arrays(shape, seed=0):
    draw = np.random.default_rng(seed)
    return draw.random(shape), draw.random(shape) > 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_values_of_matched_and_unmatched_bars_equal_the_definition(shape):
    a, b = arrays(shape)
    found = topology.match(a, b)
    wanted = reference.match(-a, -b.astype(float))
    for d in range(len(shape)):
        matched, extra, missing = wanted[d]
        level = lambda f, bar: tuple(-reference.value(f, cell) for cell in bar)  # noqa: E731
        values = lambda bars: list(zip(bars.birth.tolist(), bars.death.tolist()))  # noqa: E731
        mine = [one + two for one, two in zip(values(found.matched[d].prediction), values(found.matched[d].label))]
        assert sorted(mine) == sorted(level(-a, one) + level(-b.astype(float), two) for one, two in matched)
        assert sorted(values(found.unmatched_prediction[d])) == sorted(level(-a, bar) for bar in extra)
        assert sorted(values(found.unmatched_label[d])) == sorted(level(-b.astype(float), bar) for bar in missing)


@pytest.mark.parametrize("shape", SHAPES)
def test_matching_of_image_with_itself_matches_every_bar(shape):
    a, _ = arrays(shape, 3)
    found = topology.match(a, a)
    bars = topology.barcode(a)
    for d in range(len(shape)):
        assert len(found.matched[d]) == len(bars[d])
        assert len(found.unmatched_prediction[d]) == len(found.unmatched_label[d]) == 0
    assert float(found.loss()) == 0


def test_bars_carry_the_values_of_their_voxels():
    a, b = arrays((12, 15), 1)
    found = topology.match(a, b)
    for d in range(2):
        for side, image in (("prediction", a), ("label", b.astype(float))):
            for bars in (getattr(found.matched[d], side), getattr(found, f"unmatched_{side}")[d]):
                assert np.array_equal(bars.birth.numpy(), image.ravel()[bars.birth_voxel.numpy()])
                assert np.array_equal(bars.death.numpy(), image.ravel()[bars.death_voxel.numpy()])
                assert bool((bars.birth > bars.death).all())


def test_sublevel_of_the_negated_image_is_superlevel():
    a, b = arrays((11, 9), 2)
    one, two = topology.match(a, b.astype(float)), topology.match(-a, -b.astype(float), filtration="sublevel")
    assert one.counts().equals(two.counts())
    assert float(one.loss()) == float(two.loss())


def test_gaps_of_one_unit_in_the_last_place_survive_the_superlevel():
    a = np.full((3, 3), 0.75)
    a[0, 0], a[2, 2] = np.nextafter(0.75, 1), np.nextafter(np.nextafter(0.75, 1), 1)
    (bar,) = topology.barcode(a)[0]
    assert bar.birth == a[0, 0]
    assert bar.death == 0.75


def test_dtype_layout_and_library_do_not_matter():
    draw = np.random.default_rng(4)
    a = draw.integers(0, 250, (9, 10))
    b = draw.integers(0, 2, (9, 10))
    wanted = topology.match(a.astype(float), b.astype(float)).to_frame()
    forms = [
        (a.astype(np.uint8), b.astype(bool)),
        (np.asfortranarray(a), b),
        (a[::-1][::-1], b.astype(">f8")),
        (torch.tensor(a, dtype=torch.float32), torch.tensor(b)),
        (torch.tensor(a.T.copy(), dtype=torch.float64).T, torch.tensor(b)),
    ]
    for one, two in forms:
        found = topology.match(one, two).to_frame()
        assert np.allclose(found["birth"], wanted["birth"])
        assert (found["death_voxel"] == wanted["death_voxel"]).all()


def test_essential_component_is_apart_and_matched():
    a, b = arrays((6, 6), 5)
    found = topology.match(a, b)
    assert float(found.essential.prediction.birth[0]) == a.max()
    assert float(found.essential.label.birth[0]) == 1.0
    assert float(found.loss(essential=True) - found.loss()) == pytest.approx(2 * (1 - a.max()) ** 2)


def test_frame_of_foreground_closes_an_arc_at_the_border():
    label = np.zeros((7, 7))
    label[0:4, 1] = label[0:4, 5] = label[3, 1:6] = 1
    assert len(topology.barcode(label)[1]) == 0
    assert len(topology.barcode(label, border="foreground")[1]) == 2  # inside the arc, and around it
    found = topology.match(label, label, convention="betti-matching-2d")
    assert found.border == "foreground"
    assert len(found.matched[1]) == 2


def test_betti_numbers_equal_connected_components():
    from skimage.measure import euler_number, label

    draw = np.random.default_rng(6)
    image = draw.random((30, 31))
    components, loops = topology.barcode(image).betti_numbers(0.6)
    mask = image >= 0.6
    assert components == label(mask, connectivity=1).max()
    assert components - loops == euler_number(mask, connectivity=1)


def test_batches_of_any_shapes_equal_single_matches():
    pairs = [arrays(shape, k) for k, shape in enumerate([(5, 6), (9,), (30, 40), (30, 40)])]
    found = topology.match_batch([a for a, _ in pairs], [b for _, b in pairs], threads=2)
    for one, (a, b) in zip(found, pairs):
        assert one.to_frame().equals(topology.match(a, b).to_frame())
    stacked = topology.match_batch(
        np.stack([pairs[2][0], pairs[3][0]]), np.stack([pairs[2][1], pairs[3][1]]), threads=1
    )
    assert stacked[1].to_frame().equals(found[3].to_frame())


def test_cycle_of_a_component_and_of_a_loop():
    image = np.zeros((9, 12))
    image[1:6, 1:6] = 1
    image[3, 3] = 0
    image[7, 8:11] = 0.9
    found = topology.match(image, image)
    (loop,) = list(found.matched[1].prediction)
    around = found.cycle(loop)
    assert {tuple(v) for v in np.argwhere(around.mask().numpy())} == {
        (x, y) for x in range(2, 5) for y in range(2, 5) if (x, y) != (3, 3)
    }
    assert around.inside.tolist() == [3 * 12 + 3]
    (part,) = list(found.matched[0].prediction)
    assert np.argwhere(found.cycle(part).mask().numpy()).tolist() == [[7, 8], [7, 9], [7, 10]]


def test_save_and_load_give_the_same_matching(tmp_path):
    a, b = arrays((8, 9), 7)
    found = topology.match(a, b, border="foreground")
    found.save(tmp_path / "pair.npz")
    again = type(found).load(tmp_path / "pair")
    assert again.to_frame().equals(found.to_frame())
    assert [path.name for path in tmp_path.iterdir()] == ["pair.npz"]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9))
def test_births_and_deaths_do_not_depend_on_the_orientation(seed, height, width):
    a = np.random.default_rng(seed).integers(0, 6, (height, width))

    def spans(x, d):
        bars = topology.barcode(x)[d]
        return sorted(zip(bars.birth.tolist(), bars.death.tolist()))

    for d in range(2):
        assert spans(a, d) == spans(a[::-1], d) == spans(a.T, d)


@pytest.mark.parametrize(
    ("a", "b", "options", "error", "words"),
    [
        (np.array([[0.1, np.nan]]), np.zeros((1, 2)), {}, ValueError, "prediction must be finite.*NaN"),
        (np.zeros((1, 2)), np.array([[0.1, np.inf]]), {}, ValueError, "label must be finite.*infinite"),
        (np.zeros((3, 4)), np.zeros((4, 3)), {}, ValueError, r"\(3, 4\) and \(4, 3\)"),
        (np.zeros((0, 4)), np.zeros((0, 4)), {}, ValueError, "prediction is empty"),
        (np.zeros((2, 2, 2, 2)), np.zeros((2, 2, 2, 2)), {}, ValueError, "1 or 2 or 3 axes, got 4"),
        (np.zeros((2, 2), complex), np.zeros((2, 2)), {}, TypeError, "must be real"),
        ("an image", np.zeros((2, 2)), {}, TypeError, "prediction must be an array"),
        (np.zeros((2, 2)), np.zeros((2, 2)), {"filtration": "superlevels"}, ValueError, "did you mean 'superlevel'"),
        (np.zeros((2, 2)), np.zeros((2, 2)), {"border": "frame"}, ValueError, "border must be one of"),
        (np.zeros((2, 2)), np.zeros((2, 2)), {"max_dimension": 2}, ValueError, "max_dimension must be at most 1"),
        (np.zeros((2, 2)), np.zeros((2, 2)), {"convention": "betti"}, ValueError, "convention must be one of"),
    ],
)
def test_bad_input_is_refused_in_words(a, b, options, error, words):
    with pytest.raises(error, match=words):
        topology.match(a, b, **options)
