"""Two volumes of a pair lie on one grid, are turned onto it, or are refused with both values."""

import itertools

import nibabel
import numpy as np
import pytest
import tifffile
import torch

from lab import datasets, topology
from lab.datasets import orientation
from lab.datasets.grids import Placed, reoriented


def blobs():
    draw = np.random.default_rng(3)
    return (draw.random((7, 8, 9)) > 0.8).astype(np.uint8)


def affine(lengths=(0.5, 1.0, 2.5), origin=(-20.0, 10.0, 5.0)):
    found = np.diag([*lengths, 1.0])
    found[:3, 3] = origin
    return found


def turned(volume, codes):
    """A NIfTI image of the same places whose axes run as ``codes`` say, by nibabel."""
    image = nibabel.Nifti1Image(volume, affine())
    start = nibabel.io_orientation(image.affine)
    return image.as_reoriented(nibabel.orientations.ornt_transform(start, nibabel.orientations.axcodes2ornt(codes)))


@pytest.mark.parametrize("codes", ["LAS", "LPS", "SAR", "PIR", "ASL", "IPL"])
@pytest.mark.parametrize("route", ["pair", "folder"])
def test_volumes_of_other_directions_show_the_same_places(tmp_path, codes, route):
    nibabel.save(nibabel.Nifti1Image(blobs().astype(np.float32), affine()), tmp_path / "a_prediction.nii.gz")
    nibabel.save(turned(blobs(), codes), tmp_path / "a_label.nii.gz")
    if route == "pair":
        data = datasets.pair(tmp_path / "a_prediction.nii.gz", tmp_path / "a_label.nii.gz")
        np.testing.assert_array_equal(data.prediction, blobs())
        np.testing.assert_allclose(data.affine, affine())
        assert f"label: axes turned from {codes} to RAS, those of the prediction" in data.notes
    else:
        data = datasets.load(tmp_path)
        assert "".join(orientation.codes(data.affine)) == codes
        assert f"prediction: axes turned from RAS to {codes}, those of the label" in data.notes
    assert torch.equal(data.prediction.bool(), data.label.bool())
    assert topology.matching_error(data.prediction, data.label).error == (0, 0, 0)
    assert topology.matching_error(data.prediction, data.label).betti_label[0] > 5


def test_every_orientation_is_turned_as_nibabel_turns_it():
    volume = blobs()
    for order in itertools.permutations(("LR", "PA", "IS")):
        for signs in itertools.product((0, 1), repeat=3):
            codes = "".join(pair[sign] for pair, sign in zip(order, signs))
            other = turned(volume, codes)
            spacing = tuple(float(length) for length in other.header.get_zooms())
            one = Placed(torch.from_numpy(np.ascontiguousarray(other.dataobj)), spacing, other.affine)
            back = reoriented(one, affine())
            np.testing.assert_array_equal(back.values, volume)
            np.testing.assert_allclose(back.affine, affine())
            assert back.spacing == (0.5, 1.0, 2.5)


@pytest.mark.parametrize(
    "other, words",
    [
        (affine((2.0, 2.0, 2.0)), r"same spacing, got \(0.5, 1, 2.5\) and \(2, 2, 2\) mm"),
        (affine(origin=(30.0, 10.0, 5.0)), r"same origin, got \(-20, 10, 5\) and \(30, 10, 5\) mm .* 50 mm apart"),
        (affine() @ np.array([[1, -0.3, 0, 0], [0.3, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "rotated|spacing"),
    ],
)
@pytest.mark.parametrize("route", ["pair", "folder"])
def test_other_grids_are_refused_with_both(tmp_path, other, words, route):
    nibabel.save(nibabel.Nifti1Image(blobs().astype(np.float32), affine()), tmp_path / "a_image.nii")
    nibabel.save(nibabel.Nifti1Image(blobs(), other), tmp_path / "a_label.nii")
    arguments = (tmp_path,) if route == "folder" else (tmp_path / "a_image.nii", tmp_path / "a_label.nii")
    with pytest.raises(ValueError, match=words):
        getattr(datasets, "load" if route == "folder" else "pair")(*arguments)


def test_grids_that_differ_by_rounding_are_one(tmp_path):
    near = affine() * (1 + 1e-6)
    near[3, 3] = 1
    nibabel.save(nibabel.Nifti1Image(blobs(), affine()), tmp_path / "p.nii")
    nibabel.save(nibabel.Nifti1Image(blobs(), near), tmp_path / "l.nii")
    assert datasets.pair(tmp_path / "p.nii", tmp_path / "l.nii").label.shape == (7, 8, 9)


def test_file_without_orientation_is_taken_voxel_by_voxel_and_said(tmp_path):
    nibabel.save(nibabel.Nifti1Image(blobs(), affine()), tmp_path / "p.nii")
    nibabel.save(nibabel.Nifti1Image(blobs(), None), tmp_path / "l.nii")
    data = datasets.pair(tmp_path / "p.nii", tmp_path / "l.nii")
    assert torch.equal(data.label, torch.from_numpy(blobs()))
    assert any("states no orientation" in note for note in data.notes)
    assert "label: no orientation stated; taken voxel by voxel on the grid of the prediction" in data.notes


def test_physical_sizes_of_microscopy_files_are_read_and_compared(tmp_path):
    stack = blobs()
    ome = {"axes": "ZYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    for name, change in (("p", {}), ("l", {}), ("other", {"PhysicalSizeZ": 1.0})):
        units = {f"PhysicalSize{axis}Unit": "µm" for axis in "XYZ"}
        tifffile.imwrite(
            tmp_path / f"{name}.ome.tif", stack, metadata={**ome, **units, **change}, photometric="minisblack"
        )
    assert datasets.load(tmp_path / "p.ome.tif").spacing == (2.0, 0.5, 0.25)
    assert datasets.pair(tmp_path / "p.ome.tif", tmp_path / "l.ome.tif").spacing == (2.0, 0.5, 0.25)
    with pytest.raises(ValueError, match=r"same spacing, got \(2, 0.5, 0.25\) and \(1, 0.5, 0.25\)"):
        datasets.pair(tmp_path / "p.ome.tif", tmp_path / "other.ome.tif")
    tifffile.imwrite(
        tmp_path / "j.tif", stack, imagej=True, resolution=(4.0, 2.0), metadata={"axes": "ZYX", "spacing": 2.5}
    )
    with pytest.raises(ValueError, match="same spacing"):
        datasets.pair(tmp_path / "p.ome.tif", tmp_path / "j.tif")
