"""Predictions of equal Dice: what they share, and what each variant changes."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.measure import euler_number

from lab.datasets import dice, equal_dice_predictions, load, smooth_field
from lab.datasets.predictions import _simple

FULL = {2: np.ones((3, 3)), 3: np.ones((3, 3, 3))}


def topology(mask):
    """Components and Euler number in both conventions of connectivity, components of the background."""
    mask = np.asarray(mask)
    return (
        ndimage.label(mask)[1],
        ndimage.label(mask, FULL[mask.ndim])[1],
        euler_number(mask, 1),
        euler_number(mask, mask.ndim),
        ndimage.label(~mask)[1],
        ndimage.label(~mask, FULL[mask.ndim])[1],
    )


def holes(mask):
    return ndimage.label(np.pad(~np.asarray(mask), 1, constant_values=True), FULL[2])[1] - 1


@pytest.mark.parametrize("name", ["coins", "horse", "brick", "smooth_field", "vessel_tree", "smooth_field_3d"])
def test_every_variant_has_the_same_number_of_each_error(name):
    item = load(name)
    mask, counts = item.mask, set()
    for prediction in item.predictions.values():
        found = prediction > 0.5
        counts.add((int((found & ~mask).sum()), int((mask & ~found).sum())))
        assert dice(found, mask) == pytest.approx(0.9, abs=1 / int(mask.sum()))
    budget = round(0.1 * int(mask.sum()))
    assert counts == {(budget, budget)}
    assert len(item.predictions) >= 4


@pytest.mark.parametrize(
    "item", [load("coins"), load("horse"), load("smooth_field"), load("smooth_field_3d")], ids=lambda item: item.name
)
def test_boundary_errors_leave_the_topology_alone(item):
    assert topology(item.predictions["boundary"] > 0.5) == topology(item.mask)
    assert not torch.equal(item.predictions["boundary"] > 0.5, item.mask)


def test_each_variant_changes_what_it_says():
    item = load("horse")
    mask = item.mask.numpy()
    found = {name: (value > 0.5).numpy() for name, value in item.predictions.items()}
    components = lambda m: ndimage.label(m)[1]  # noqa: E731
    assert components(found["islands"]) > components(mask)
    assert holes(found["islands"]) == holes(mask)
    assert holes(found["holes"]) > holes(mask)
    assert components(found["holes"]) == components(mask)
    assert components(found["breaks"]) > components(mask)
    assert holes(found["bridges"]) > holes(mask)
    assert components(found["mixed"]) > components(mask)
    assert holes(found["mixed"]) > holes(mask)


def test_bridges_join_components():
    label = torch.zeros(60, 60, dtype=torch.bool)
    label[5:55, 8:28], label[5:55, 31:51] = True, True
    found = equal_dice_predictions(label, variants=["bridges"])["bridges"] > 0.5
    assert ndimage.label(found.numpy())[1] == 1


def test_same_seed_same_bits_and_other_seed_other_errors():
    label = smooth_field((48, 48), seed=3).label
    first, second, other = (equal_dice_predictions(label, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["mixed"], other["mixed"])
    state = torch.random.get_rng_state()
    equal_dice_predictions(label, seed=5)
    assert torch.equal(state, torch.random.get_rng_state())


def test_dice_is_reached_where_asked():
    label = smooth_field((64, 64), seed=3).label
    for wanted in (0.8, 0.95, 1.0):
        for prediction in equal_dice_predictions(label, dice=wanted).values():
            assert dice(prediction > 0.5, label) == pytest.approx(wanted, abs=1 / int(label.sum()))


@pytest.mark.parametrize("ndim", [2, 3])
def test_simple_points_are_those_whose_flip_keeps_the_topology_of_the_neighbourhood(ndim):
    draws = np.random.default_rng(ndim)
    for _ in range(150):
        block = np.pad(draws.random((3,) * ndim) < draws.uniform(0.2, 0.8), 1)
        centre = np.full((1, ndim), 2)
        kept = []
        for value in (False, True):
            block[(2,) * ndim] = value
            kept.append(topology(block))
        if _simple(block, centre)[0]:
            assert kept[0] == kept[1]


@pytest.mark.parametrize(
    "label, words",
    [
        (np.zeros((5, 5), bool), "foreground and background"),
        (np.ones((5, 5), bool), "foreground and background"),
        (np.zeros(5, bool), "axes"),
        (np.full((4, 4), np.nan), "finite"),
        (np.zeros((0, 4)), "empty"),
    ],
)
def test_labels_without_meaning_are_refused(label, words):
    with pytest.raises(ValueError, match=words):
        equal_dice_predictions(label)
