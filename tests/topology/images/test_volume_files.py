"""Pairs of volumes from files: orientation, spacing, ids, and what is refused."""

import asyncio
import struct
import zlib

import nibabel
import numpy as np
import pytest
import tifffile
import torch

from lab import datasets, topology
from lab.datasets import orientation
from widgets.server import uploads


def volumes(shape=(6, 7, 8)):
    label = np.zeros(shape, np.uint8)
    label[1:4, 1:6, 1:6] = 2
    label[1:4, 3, 3] = 0
    label[4:, 6:, 7:] = 5
    prediction = np.where(label == 2, 0.9, 0.1).astype(np.float32)
    return prediction, label


def nifti(path, values, affine):
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def affine(signs=(1, 1, 1), lengths=(0.5, 1.0, 2.5)):
    found = np.diag([s * length for s, length in zip(signs, lengths)] + [1.0])
    found[:3, 3] = (-20.0, 10.0, 5.0)
    return found


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_nifti_pair_keeps_spacing_and_affine_and_matches_like_the_arrays(tmp_path, ending):
    prediction, label = volumes()
    one = nifti(tmp_path / f"p.{ending}", prediction, affine((-1, -1, 1)))
    two = nifti(tmp_path / f"l.{ending}", label, affine((-1, -1, 1)))
    data = datasets.pair(one, two)
    assert data.spacing == (0.5, 1.0, 2.5)
    assert np.allclose(data.affine, affine((-1, -1, 1)))
    assert set(data.label.unique().tolist()) == {0, 2, 5}
    found, wanted = topology.match(data.prediction, data.label > 0), topology.match(prediction, label > 0)
    assert found.to_frame().equals(wanted.to_frame())
    assert [len(found.matched[d]) for d in range(3)] == [0, 1, 0]


def test_tiff_and_npy_pair_match_like_the_arrays(tmp_path):
    prediction, label = volumes()
    tifffile.imwrite(tmp_path / "p.tif", (prediction * 255).round().astype(np.uint8), photometric="minisblack")
    np.save(tmp_path / "l.npy", label)
    data = datasets.pair(tmp_path / "p.tif", tmp_path / "l.npy")
    assert data.prediction.shape == (6, 7, 8)
    counts = topology.match(data.prediction, data.label == 2).counts()
    assert counts.loc["loops", "matched"] == 1
    assert data.affine is None


def test_npz_states_spacing_and_affine(tmp_path):
    prediction, label = volumes()
    np.savez(tmp_path / "p.npz", prediction=prediction, spacing=[3.0, 1.0, 1.0], affine=affine())
    np.savez(tmp_path / "l.npz", label=label)
    data = datasets.pair(tmp_path / "p.npz", tmp_path / "l.npz")
    assert data.spacing == (3.0, 1.0, 1.0)
    assert orientation.codes(data.affine) == ("R", "A", "S")


def test_files_that_show_other_places_are_refused_with_both_origins(tmp_path):
    prediction, label = volumes()
    one = nifti(tmp_path / "p.nii.gz", prediction, affine())
    two = nifti(tmp_path / "l.nii.gz", label, affine((-1, 1, 1)))
    with pytest.raises(ValueError, match=r"same origin, got \(-20, 10, 5\) and \(-22.5, 10, 5\) mm"):
        datasets.pair(one, two)
    with pytest.raises(ValueError, match="6 x 7 x 8 and 6 x 7 x 7"):
        datasets.pair(one, nifti(tmp_path / "s.nii.gz", label[..., :7], affine()))
    with pytest.raises(ValueError, match="4 axes"):
        datasets.pair(one, nifti(tmp_path / "t.nii.gz", np.stack([label, label], -1), affine()))
    with pytest.raises(ValueError, match="scale"):
        datasets.pair(nifti(tmp_path / "x.nii.gz", 300 * prediction, affine()), two)


def test_directions_equal_those_of_nibabel():
    draw = np.random.default_rng(0)
    for _ in range(50):
        turn, _ = np.linalg.qr(draw.standard_normal((3, 3)))
        matrix = np.eye(4)
        matrix[:3, :3] = turn @ np.diag(draw.uniform(0.5, 3, 3))
        found = orientation.codes(matrix)
        assert sorted({"L": "R", "P": "A", "I": "S"}.get(code, code) for code in found) == ["A", "R", "S"]
        if np.abs(turn).max(0).min() > 0.85:  # far enough from a tie
            assert found == nibabel.aff2axcodes(matrix)
    for order in ((0, 1, 2), (2, 0, 1), (1, 0, 2)):
        for signs in ((1, 1, 1), (-1, 1, -1), (-1, -1, -1)):
            matrix = np.eye(4)
            matrix[:3, :3] = np.eye(3)[:, order] @ np.diag(signs)
            assert orientation.codes(matrix) == nibabel.aff2axcodes(matrix)
    with pytest.raises(ValueError, match="invertible"):
        orientation.codes(np.diag([1.0, 0.0, 1.0, 1.0]))


def test_planes_put_the_right_side_to_the_right_and_the_top_on_top():
    lps = orientation.planes(np.diag([-1.0, -1.0, 1.0, 1.0]))
    assert [plane.name for plane in lps] == ["axial", "coronal", "sagittal"]
    assert [plane.axis for plane in lps] == [2, 1, 0]
    assert (lps[0].across_reversed, lps[0].up_reversed) == (True, True)
    assert (lps[1].across_reversed, lps[1].up_reversed) == (True, False)
    assert orientation.axis_labels(np.diag([-1.0, -1.0, 1.0, 1.0])) == (
        "right to left",
        "front to back",
        "below to above",
    )


def read(path, role="label", limits=uploads.LIMITS):
    return asyncio.run(uploads.read(path, path.name, ["volume"], role=role, limits=limits))


def test_upload_of_a_nifti_file_keeps_its_affine(tmp_path):
    found = read(nifti(tmp_path / "l.nii.gz", volumes()[1], affine((-1, 1, 1))))
    assert found.spacing == (0.5, 1.0, 2.5)
    assert np.allclose(found.affine, affine((-1, 1, 1)))
    assert read_array(tmp_path).affine == ()


def read_array(folder):
    np.save(folder / "l.npy", volumes()[1])
    return read(folder / "l.npy")


def deflated_tiff(pixels, stored):
    """A one-strip TIFF of ``pixels`` x ``pixels`` bytes whose strip is the zlib stream ``stored``."""
    entries = [
        (256, 4, 1, pixels),
        (257, 4, 1, pixels),
        (258, 3, 1, 8),
        (259, 3, 1, 8),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 4, 1, pixels),
        (279, 4, 1, len(stored)),
    ]
    directory = (
        struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + b"\0\0\0\0"
    )
    return b"II*\0" + struct.pack("<I", 8 + len(stored)) + stored + directory


def test_tiff_whose_strip_inflates_beyond_its_pixels_is_refused(tmp_path):
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(400)) + packer.flush()
    (tmp_path / "bomb.tif").write_bytes(deflated_tiff(64, bomb))
    limits = uploads.Limits(decoded_bytes=2**22, memory_bytes=2**28)
    with pytest.raises(uploads.Refused, match="inflates beyond its pixels"):
        read(tmp_path / "bomb.tif", limits=limits)
    with pytest.raises(ValueError, match="bomb.tif holds a strip"):
        datasets.read_array(tmp_path / "bomb.tif", role="label", max_bytes=2**22)
    for compression in ("zlib", "lzma"):
        tifffile.imwrite(tmp_path / "own.tif", volumes()[1], compression=compression, photometric="minisblack")
        assert np.array_equal(datasets.read_array(tmp_path / "own.tif", role="label").numpy(), volumes()[1])
    (tmp_path / "fine.tif").write_bytes(deflated_tiff(64, zlib.compress(bytes(range(64)) * 64)))
    assert datasets.read_array(tmp_path / "fine.tif", role="label").shape == (64, 64)


def test_own_arrays_are_a_pair_too():
    prediction, label = volumes()
    data = datasets.pair(prediction, torch.from_numpy(label))
    assert data.spacing == (1.0, 1.0, 1.0)
    assert torch.equal(data.label, torch.from_numpy(label))
