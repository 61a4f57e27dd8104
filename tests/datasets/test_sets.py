"""The catalog, the sets it names, and the generators."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lab import datasets
from lab.datasets import (
    ImageSet,
    Points,
    Table,
    blobs,
    cards,
    clusters,
    describe,
    load,
    moons,
    names,
    noisy_circle,
    smooth_field,
    spirals,
    textures,
    vessel_tree,
)

ROOT = Path(__file__).parents[2]
INSTALLED = [card for card in cards() if not card.extra]


@pytest.mark.parametrize("card", INSTALLED, ids=lambda card: card.name)
def test_every_set_is_what_its_card_says(card):
    found = load(card.name)
    if card.kind in ("image", "volume"):
        assert isinstance(found, ImageSet)
        assert card.shape.startswith(" x ".join(map(str, found.image.shape)))
        assert 0 <= float(found.image.min()) < float(found.image.max()) <= 1
        assert (found.label is not None) == bool(card.label)
        assert (found.colour is not None) == ("colour" in card.shape)
        if card.label:
            assert 0.01 < float(found.mask.float().mean()) < 0.7
            assert torch.equal(found.prediction, found.predictions["mixed"])
            assert "boundary" in found.predictions
    elif card.kind == "table":
        assert isinstance(found, Table)
        x, y, columns = found.numeric()
        assert card.shape == f"{len(x)} rows, {len(columns)} columns"
        assert len(y) == len(x)
    else:
        assert isinstance(found, Points)
        assert card.shape == " x ".join(map(str, found.x.shape))
        assert found.label.shape == (len(found),)
        assert set(found.label.unique().tolist()) == set(range(len(found.classes)))


@pytest.mark.data
@pytest.mark.parametrize("name", ["mni_grey", "mni_white"])
def test_volumes_of_the_extra(name):
    found = load(name)
    assert describe(name).shape.startswith(" x ".join(map(str, found.image.shape)))
    assert found.spacing == (2.0, 2.0, 2.0)
    assert torch.allclose(found.affine[:3, :3].diagonal().abs(), torch.full((3,), 2.0, dtype=torch.float64))
    assert 0.02 < float(found.mask.float().mean()) < 0.4


def test_labels_of_the_real_images_find_what_is_in_them():
    assert int(load("coins").label.max()) == 24
    assert 0.9 < float(load("horse").image[load("horse").mask].mean())
    retina = load("retina")
    green = retina.colour[1]
    centre = torch.zeros_like(retina.mask)
    centre[150:550, 150:550] = True
    assert float(green[retina.mask & centre].mean()) < float(green[~retina.mask & centre].mean())
    for name in ("page", "text"):
        item = load(name)
        assert float(item.image[item.mask].mean()) < float(item.image[~item.mask].mean()) - 0.1


def test_loading_twice_gives_equal_bits_and_no_shared_memory():
    for name in ("coins", "iris", "digits", "vessel_tree"):
        first, second = load(name), load(name)
        left, right = (
            set_.image if isinstance(set_, ImageSet) else set_.x if isinstance(set_, Points) else set_.numeric()[0]
            for set_ in (first, second)
        )
        assert torch.equal(left, right)
        left.zero_()
        third = load(name)
        assert bool(
            (
                third.image
                if isinstance(third, ImageSet)
                else third.x
                if isinstance(third, Points)
                else third.numeric()[0]
            ).any()
        )


@pytest.mark.parametrize("make", [noisy_circle, spirals, moons, blobs, clusters, textures, smooth_field, vessel_tree])
def test_generators_depend_on_their_seed_alone(make):
    value = lambda seed: (lambda made: made.x if isinstance(made, Points) else made.image)(make(seed=seed))  # noqa: E731
    torch.manual_seed(1)
    first = value(4)
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, value(4))
    assert not torch.equal(first, value(5))
    torch.manual_seed(1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(first, value(torch.Generator().manual_seed(4)))


def test_noise_free_generators_lie_on_their_curves():
    circle = noisy_circle(50, noise=0.0, dimension=3).x
    assert torch.allclose(circle.norm(dim=1), torch.ones(50), atol=1e-6)
    arms = spirals(50, noise=0.0, turns=1.0).x
    radius, angle = arms.norm(dim=1), torch.atan2(arms[:, 1], arms[:, 0])
    wanted = 2 * torch.pi * (radius + (torch.arange(50) % 2) / 2)
    assert torch.allclose(torch.cos(angle - wanted), torch.ones(50), atol=1e-4)


def test_field_covers_the_asked_fraction_and_tree_is_thin():
    for shape in ((64, 80), (24, 30, 20)):
        assert float(smooth_field(shape, fraction=0.25, seed=1).mask.float().mean()) == pytest.approx(0.25, abs=0.01)
    tree = vessel_tree((48, 48, 48), radius=2.5)
    assert tree.image.shape == (48, 48, 48)
    assert 0.002 < float(tree.mask.float().mean()) < 0.2
    assert float(tree.image[tree.mask].mean()) > float(tree.image[~tree.mask].mean()) + 0.2


def test_texture_parts_share_no_pixel_rows_and_noise_is_exact():
    clean, noisy = textures(300, size=8, seed=0), textures(300, size=8, noise=0.2, seed=0)
    assert torch.equal(clean.x, noisy.x)
    assert int((clean.label != noisy.label).sum()) == 60
    assert textures(9, size=8, part="test").x.shape == (9, 1, 8, 8)


def test_split_keeps_every_item_once():
    points = load("digits")
    first, second = points.split(0.3, seed=1)
    assert len(second) == round(0.3 * 1797)
    both = torch.cat([first.x, second.x]).flatten(1).sum(dim=1).sort().values
    assert torch.allclose(both, points.x.flatten(1).sum(dim=1).sort().values)


def test_image_set_refuses_what_does_not_fit():
    image = torch.rand(6, 7)
    with pytest.raises(ValueError, match=r"\(6, 7\) and \(7, 6\)"):
        ImageSet(image, image.T > 0.5)
    with pytest.raises(TypeError, match="booleans or integer ids"):
        ImageSet(image, image)
    with pytest.raises(ValueError, match=r"probabilities in \[0, 1\]"):
        ImageSet(image, image > 0.5, image * 2)
    with pytest.raises(ValueError, match="NaN"):
        ImageSet(torch.full((3, 3), float("nan")))
    with pytest.raises(ValueError, match="positive lengths"):
        ImageSet(image, spacing=(1.0, -1.0))
    with pytest.raises(ValueError, match="did you mean 'holes'"):
        load("horse").variant("hole")


def test_several_images_are_one_set():
    both = ImageSet.of([load("coins"), load("horse")], "two")
    assert len(both) == 2
    assert [item.name for item in both] == ["coins", "horse"]
    assert both.image[1].shape == load("horse").image.shape
    assert torch.equal(both.variant("islands")[0].prediction, load("coins").predictions["islands"])
    assert len(load("coins")) == 1
    assert next(iter(load("coins"))).name == "coins"


def test_table_with_missing_values_is_refused_with_their_number():
    table = load("wine")
    frame = table.frame.copy()
    frame.loc[3, "ash"] = np.nan
    with pytest.raises(ValueError, match="1 rows with missing values"):
        Table(frame, "target", "wine").numeric()


@pytest.mark.parametrize(
    "call",
    [
        lambda: smooth_field((64,)),
        lambda: smooth_field((4, 4)),
        lambda: smooth_field(fraction=float("nan")),
        lambda: moons(0),
        lambda: vessel_tree(radius=-1),
        lambda: textures(10, size=500),
        lambda: names("pictures"),
        lambda: describe("coin"),
        lambda: blobs(noise=1),
    ],
)
def test_bad_arguments_are_refused(call):
    with pytest.raises((ValueError, TypeError)):
        call()


def test_importing_the_catalog_loads_no_data_package():
    code = "import sys, lab.datasets; lab.datasets.cards(); print(' '.join(sys.modules))"
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout.split()
    )
    assert not loaded & {"skimage", "sklearn", "nibabel", "pandas", "PIL", "tifffile", "numba"}


def test_cards_in_the_data_folder_are_the_catalogs():
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "data" / "cards").glob("*.md")}
    assert pages == {card.name: card.markdown() for card in cards()}


def test_own_samples_are_readable():
    found = load(ROOT / "data" / "samples" / "pairs")
    assert len(found) >= 3
    for item in found:
        assert item.label is not None
        assert item.prediction is not None
    assert load(ROOT / "data" / "samples" / "rings.npy").image.ndim == 3
    assert load(ROOT / "data" / "samples" / "volume.nii.gz").spacing == (1.0, 1.0, 2.0)
    assert load(ROOT / "data" / "samples" / "points.csv").target == "label"
    assert datasets.names("volume")
