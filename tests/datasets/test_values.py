"""What values mean: a mask stays a mask by every route, and what is doubtful is refused with what to say."""

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from lab import datasets, topology
from lab.datasets import values


def ring(size=12):
    mask = np.zeros((size, size), np.uint8)
    mask[2:9, 2:9] = 1
    mask[4:7, 4:7] = 0
    return mask


def written(folder, name, array):
    path = folder / name
    folder.mkdir(exist_ok=True)
    if name.endswith((".nii", ".nii.gz")):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    elif name.endswith(".tif"):
        tifffile.imwrite(path, array)
    elif name.endswith(".npy"):
        np.save(path, array)
    elif name.endswith("palette.png"):
        image = Image.fromarray(array, mode="P")
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        image.save(path)
    elif name.endswith("bilevel.png"):
        Image.fromarray(array.astype(bool)).save(path)
    else:
        Image.fromarray(array).save(path)
    return path


KINDS = [
    ("m.png", np.uint8), ("16.png", np.uint16), ("palette.png", np.uint8), ("bilevel.png", np.uint8), ("m.tif", np.uint8),
    ("m.tif", np.uint16), ("m.tif", np.float32), ("m.npy", np.uint8), ("m.npy", np.uint16), ("m.npy", np.int64), ("m.npy", bool),
    ("m.npy", np.float64), ("m.npy", ">i4"), ("m.nii", np.uint8), ("m.nii.gz", np.uint16), ("m.nii.gz", np.int16),
    ("m.nii", np.float32),
]  # fmt: skip


@pytest.mark.parametrize("name, dtype", KINDS)
def test_mask_of_zero_and_one_matches_itself_by_every_file(tmp_path, name, dtype):
    path = written(tmp_path / "one", name, ring().astype(dtype))
    data = datasets.pair(path, path)
    assert torch.equal(data.prediction, torch.from_numpy(ring()).float())
    assert datasets.dice(data.prediction >= 0.5, data.mask) == 1.0
    found = topology.matching_error(data.prediction, data.label)
    assert (found.error, found.betti_label) == ((0, 0), (1, 1))
    case = tmp_path / "folder"
    written(case, f"a_prediction.{name.partition('.')[2]}", ring().astype(dtype))
    written(case, f"a_label.{name.partition('.')[2]}", ring().astype(dtype))
    if "palette" not in name and "bilevel" not in name:
        assert torch.equal(datasets.load(case).prediction, data.prediction)


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.uint16, np.uint32, np.int8, np.int64, bool, np.float16, np.float32, np.float64]
)
def test_mask_arrays_match_themselves(dtype):
    mask = ring().astype(dtype)
    data = datasets.pair(mask, mask)
    assert topology.matching_error(data.prediction, data.label).error == (0, 0)
    assert topology.matching_error(mask, mask).error == (0, 0)
    np.testing.assert_array_equal(data.prediction, ring())


def test_npz_of_masks_stays_a_mask(tmp_path):
    np.savez(tmp_path / "m.npz", prediction=ring(), label=ring())
    data = datasets.load(tmp_path / "m.npz")
    assert torch.equal(data.prediction, data.label.float())
    assert any("mask" in note for note in data.notes)


def test_grey_values_of_a_prediction_agree_between_arrays_and_files(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (30, 31)).astype(np.uint8)
    label = grey > 140
    data = datasets.pair(written(tmp_path, "p.png", grey), label)
    for prediction in (data.prediction, grey, torch.from_numpy(grey), grey.astype(np.float32) / 255):
        assert topology.matching_error(prediction, label) == topology.matching_error(grey >= 128, label)
    metric = topology.BettiMatchingMetric()
    metric.update(grey[None, None], label[None, None])
    assert metric.compute().loc["all", "matching_error"] == topology.matching_error(grey, label).total > 0
    assert data.notes[0] == "prediction: 8-bit values divided by 255"


@pytest.mark.parametrize("top, dtype", [(255, np.uint8), (255, np.int64), (65535, np.uint16)])
def test_full_scale_masks_are_divided(top, dtype):
    found, notes = values.probabilities("p", ring().astype(dtype) * np.array(top, dtype))
    np.testing.assert_array_equal(found, ring())
    assert str(top) in notes[0]


@pytest.mark.parametrize(
    "array, words",
    [
        (ring() * np.uint8(3), "class ids pass one class"),
        (ring().astype(np.int64) * 7, "class ids"),
        (np.arange(101, dtype=np.uint8).repeat(3).reshape(3, 101), "scale=100 for percentages"),
        (np.arange(0, 4096, 7, dtype=np.uint16).reshape(2, 293)[:, :200], "scale"),
        (np.linspace(0, 100, 60).reshape(6, 10), "scale=100 for percentages"),
        (np.linspace(0, 255, 60).reshape(6, 10), "scale=255"),
        (np.linspace(-4, 4, 60).reshape(6, 10), "activation='sigmoid'"),
        (np.linspace(-4, 4, 60).reshape(6, 10).round().astype(np.int8), "activation='sigmoid'"),
        (np.full((4, 4), np.nan), "NaN"),
    ],
)
def test_doubtful_predictions_are_refused_with_what_to_say(array, words):
    with pytest.raises(ValueError, match=words):
        datasets.pair(array, np.zeros(array.shape, bool))
    if not np.isnan(array).any():
        with pytest.raises(ValueError, match=words):
            topology.matching_error(array, np.zeros(array.shape, bool))
        metric = topology.BettiMatchingMetric()
        with pytest.raises(ValueError, match=words):
            metric.update(array[None, None], np.zeros((1, 1, *array.shape), bool))
        with pytest.raises(ValueError, match=words):
            metric.update([array], [np.zeros(array.shape, bool)])


def test_what_is_said_is_done():
    logits = np.linspace(-30, 30, 60).reshape(6, 10)
    label = logits > 3
    wanted = 1 / (1 + np.exp(-logits))
    found = datasets.pair(logits, label, activation="sigmoid")
    np.testing.assert_allclose(found.prediction, wanted, rtol=1e-6)
    assert "prediction: the sigmoid was applied" in found.notes
    percent = datasets.pair(100 * wanted, label, scale=100)
    np.testing.assert_allclose(percent.prediction, wanted, rtol=1e-6)
    twelve = np.arange(0, 4095, 7, dtype=np.uint16).reshape(5, 117)
    np.testing.assert_allclose(datasets.pair(twelve, twelve > 9, scale=4095).prediction, twelve / 4095, rtol=1e-6)
    clipped = datasets.pair(logits / 30, label, activation="clip")
    np.testing.assert_allclose(clipped.prediction, np.clip(logits / 30, 0, 1), rtol=1e-6)
    assert any("passed it by up to 1" in note for note in clipped.notes)
    raw = topology.matching_error(logits, label, threshold=3.0, activation="none")
    assert (raw.error, raw.betti_label) == ((0, 0), (1, 0))
    assert topology.matching_error(logits, label, threshold=wanted[label].min() - 1e-6, activation="sigmoid").total == 0
    with pytest.raises(ValueError, match="activation must be one of"):
        datasets.pair(logits, label, activation="softmax")
    with pytest.raises(ValueError, match="scale must be greater than 0"):
        datasets.pair(logits, label, scale=0)


def test_probability_that_passes_one_by_rounding_is_cut_and_said():
    array = np.array([[0.0, 1.0 + 2e-7], [0.5, -1e-8]])
    found, notes = values.probabilities("p", array)
    assert (float(found.max()), float(found.min())) == (1.0, 0.0)
    assert any("2e-07" in note for note in notes)


def test_ids_are_rounded_within_a_tolerance_and_the_deviation_is_said(tmp_path):
    ids = ring().astype(float) * 3
    off = ids * (1 + 2e-8)
    found, notes = values.ids("label", off)
    np.testing.assert_array_equal(found, ids)
    assert notes == ("ids rounded to whole numbers (largest deviation 6e-08)",)
    path = written(tmp_path, "p.npy", ring())
    raw = nibabel.Nifti1Image((ids * 85).astype(np.uint8), np.eye(4))
    raw.header.set_slope_inter(1 / 85, 0.0)
    nibabel.save(raw, tmp_path / "l.nii")
    stored = nibabel.load(tmp_path / "l.nii")
    assert stored.dataobj.slope != 1
    data = datasets.pair(path, tmp_path / "l.nii")
    np.testing.assert_array_equal(data.label, ids)
    assert any("largest deviation" in note for note in data.notes)
    assert any("its header scales stored values" in note for note in data.notes)
    with pytest.raises(ValueError, match="up to 0.5 from a whole one"):
        values.ids("label", ids + 0.5)
    with pytest.raises(ValueError, match="beyond 2"):
        values.ids("label", np.full((2, 2), 2**63, np.uint64))
    assert int(values.ids("label", np.full((2, 2), 2**53 + 1, np.int64))[0].max()) == 2**53 + 1


def test_label_from_a_lossy_file_is_refused(tmp_path):
    Image.fromarray(ring(40) * np.uint8(255)).save(tmp_path / "l.jpg")
    with pytest.raises(ValueError, match="JPEG file with .* different values"):
        datasets.pair(ring(40), tmp_path / "l.jpg")
    Image.fromarray(ring(40) * np.uint8(255)).save(tmp_path / "p.jpg", quality=95)
    data = datasets.pair(tmp_path / "p.jpg", ring(40))
    assert any("PNG is exact" in note for note in data.notes)
    with pytest.raises(ValueError, match="fractions"):
        topology.matching_error(ring() * 0.9, ring() * 0.3)


def test_colour_table_is_read_as_ids_and_as_probabilities_only_where_it_is_grey(tmp_path):
    ids = (np.arange(12 * 16).reshape(12, 16) % 3).astype(np.uint8)
    path = written(tmp_path, "palette.png", ids)
    assert torch.equal(datasets.read_array(path, role="label"), torch.from_numpy(ids))
    with pytest.raises(ValueError, match="colour table"):
        datasets.read_array(path, role="prediction")
    grey = Image.fromarray(ids, mode="P")
    grey.putpalette([0, 0, 0, 51, 51, 51, 255, 255, 255])
    grey.save(tmp_path / "grey.png")
    np.testing.assert_allclose(
        datasets.read_array(tmp_path / "grey.png", role="prediction"), np.array([0, 0.2, 1])[ids], rtol=1e-6
    )


def test_what_a_picture_loses_is_said(tmp_path):
    rgba = np.zeros((8, 9, 4), np.uint8)
    rgba[..., 1], rgba[..., 3] = 200, 128
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert "image: the transparency channel is dropped" in datasets.load(tmp_path / "a.png").notes
    image = Image.fromarray(np.arange(72, dtype=np.uint8).reshape(8, 9))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "t.jpg", exif=exif)
    turned = datasets.load(tmp_path / "t.jpg")
    assert turned.image.shape == (9, 8)
    assert "image: turned as its EXIF tag says" in turned.notes
    frames = [Image.fromarray(np.full((8, 9), k, np.uint8)) for k in (3, 200)]
    frames[0].save(tmp_path / "f.png", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="2 frames"):
        datasets.load(tmp_path / "f.png")
    np.save(tmp_path / "f.npy", np.linspace(-3, 9, 72).reshape(8, 9))
    assert "image: values from -3 to 9 stretched to [0, 1]" in repr(datasets.load(tmp_path / "f.npy"))


@pytest.mark.parametrize("kind", ["255", "ids"])
def test_loss_refuses_a_target_that_is_no_mask(kind):
    x = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    target = torch.from_numpy(ring())[None, None].expand(2, 1, 12, 12)
    loss = topology.BettiMatchingLoss()
    wanted = loss(x, target)
    assert torch.equal(loss(x, target.bool()), wanted)
    assert torch.equal(loss(x, target.double()), wanted)
    if kind == "255":
        with pytest.raises(ValueError, match="got values from 0 to 255; pass target / 255 or target > 0"):
            loss(x, target * 255)
    else:
        ids = target.long() * torch.arange(12) % 3
        with pytest.raises(ValueError, match="to_onehot_y=True of class ids"):
            loss(x, ids)


def test_target_receives_no_gradient():
    x = torch.rand(1, 1, 10, 10, requires_grad=True)
    teacher = torch.rand(1, 1, 10, 10, requires_grad=True)
    loss = topology.BettiMatchingLoss()
    (loss(x, teacher) + loss.submit(x, teacher).result()).backward()
    assert x.grad.abs().sum() > 0
    assert teacher.grad is None


@pytest.mark.parametrize(
    "shape, words",
    [
        ((4, 32, 32), r"\[:, None\]"),
        ((4, 32, 40), r"\[:, None\]"),
        ((2, 32, 40, 3), "movedim"),
        ((2, 24, 30, 20, 1), "movedim"),
    ],
)
def test_shapes_that_hide_the_axis_of_classes_are_refused(shape, words):
    x = torch.rand(shape)
    with pytest.raises(ValueError, match=words):
        topology.BettiMatchingLoss()(x, x > 0.5)
    with pytest.raises(ValueError, match=words):
        topology.BettiMatchingMetric().update(x, x > 0.5)


def test_signals_and_small_images_keep_their_shapes():
    for shape in ((3, 2, 50), (2, 3, 8, 3), (2, 3, 4, 5, 2), (1, 20, 9, 9), (2, 4, 4)):
        x = torch.rand(shape)
        assert topology.BettiMatchingLoss()(x, (x > 0.5)).isfinite()


def test_companions_agree_for_grey_values_and_probabilities():
    grey = np.random.default_rng(1).integers(0, 256, (20, 21)).astype(np.uint8)
    label = grey > 100
    assert topology.companions(grey, label) == topology.companions((grey / 255).astype(np.float32), label)
    with pytest.raises(ValueError, match="activation='sigmoid'"):
        topology.companions(grey / 8.0 - 9, label)


def test_loss_of_the_cheapest_pairing_takes_the_same_targets():
    x = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    target = torch.from_numpy(ring())[None, None]
    loss = topology.WassersteinMatchingLoss()
    assert torch.equal(loss(x, target), loss(x, target.bool()))
    with pytest.raises(ValueError, match="target / 255"):
        loss(x, target * 255)
    with pytest.raises(ValueError, match=r"\[:, None\]"):
        loss(torch.rand(2, 30, 30), torch.zeros(2, 30, 30))
