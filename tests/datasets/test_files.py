"""Users' files: what each kind becomes, and what is refused in words before anything is decoded or executed."""

import gzip
import io
import os
import pickle
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from lab import datasets
from lab.datasets import ImageSet, Points, Table, load, pair, read_array

RAMP = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)


def save(path, array):
    Image.fromarray(array).save(path)
    return path


def test_grey_image_is_scaled_by_its_type(tmp_path):
    eight = load(save(tmp_path / "a.png", RAMP))
    assert torch.equal(eight.image, torch.from_numpy(RAMP).float() / 255)
    sixteen = load(save(tmp_path / "b.png", (RAMP.astype(np.uint16) * 257)))
    assert torch.allclose(sixteen.image, eight.image)
    assert eight.image.dtype == torch.float32
    assert eight.label is None


def test_colour_image_becomes_luminance_and_keeps_its_channels(tmp_path):
    colour = np.stack([RAMP, RAMP[::-1], 255 - RAMP], axis=-1)
    found = load(save(tmp_path / "c.png", colour))
    wanted = colour.astype(float) @ [0.2125, 0.7154, 0.0721] / 255
    assert torch.allclose(found.image.double(), torch.from_numpy(wanted), atol=1e-6)
    assert torch.equal(found.colour, torch.from_numpy(colour).permute(2, 0, 1) / 255)


def test_palette_image_is_colour_as_image_and_index_as_label(tmp_path):
    image = Image.fromarray((RAMP % 3).astype(np.uint8), mode="P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    image.save(tmp_path / "p.png")
    assert torch.equal(read_array(tmp_path / "p.png", role="label"), torch.from_numpy(RAMP % 3))
    assert load(tmp_path / "p.png").colour.shape == (3, 12, 16)


def test_tiff_pages_are_the_first_axis_and_keep_sixteen_bits(tmp_path):
    import tifffile

    pages = (np.arange(3 * 8 * 9).reshape(3, 8, 9) * 300).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "v.tif", pages, imagej=True, resolution=(4.0, 2.0), metadata={"axes": "ZYX", "spacing": 1.5}
    )
    found = load(tmp_path / "v.tif")
    assert torch.allclose(found.image, torch.from_numpy(pages.astype(np.float32)) / 65535)
    assert found.spacing == (1.5, 0.5, 0.25)
    tifffile.imwrite(tmp_path / "c.tif", np.zeros((8, 9, 3), np.uint8), photometric="rgb")
    assert load(tmp_path / "c.tif").colour.shape == (3, 8, 9)


def test_tiff_stack_of_three_or_four_columns_is_no_colour_unless_the_file_says_so(tmp_path):
    import tifffile

    for columns in (3, 4):
        pages = np.arange(5 * 6 * columns, dtype=np.uint16).reshape(5, 6, columns)
        tifffile.imwrite(tmp_path / "v.tif", pages, photometric="minisblack")
        assert load(tmp_path / "v.tif").image.shape == pages.shape
        tifffile.imwrite(tmp_path / "s.tif", pages, photometric="minisblack", planarconfig="contig")
        assert load(tmp_path / "s.tif").image.shape == pages.shape
        tifffile.imwrite(tmp_path / "c.tif", pages.astype(np.uint8), photometric="rgb")
        assert load(tmp_path / "c.tif").colour.shape == (3, 5, 6)


def test_values_whose_range_overflows_keep_their_order(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[-1e308, 0.0, 1e308, 5e307]]).repeat(2, 0))
    assert torch.allclose(load(tmp_path / "x.npy").image[0], torch.tensor([0.0, 0.5, 1.0, 0.75]))


def test_channels_of_classes_come_in_front(tmp_path):
    from PIL import Image

    from lab.datasets.files import read_array

    soft = np.random.default_rng(0).random((4, 6, 7)).astype(np.float32)
    np.save(tmp_path / "soft.npy", soft)
    assert np.array_equal(read_array(tmp_path / "soft.npy", role="predictions"), soft)
    colours = (255 * soft[:3]).astype(np.uint8).transpose(1, 2, 0)
    Image.fromarray(colours).save(tmp_path / "colours.png")
    found = read_array(tmp_path / "colours.png", role="predictions")
    assert np.array_equal((255 * found.numpy()).round(), colours.transpose(2, 0, 1))
    assert read_array(tmp_path / "colours.png", role="labels").shape == (3, 6, 7)
    Image.fromarray(colours[..., 0]).save(tmp_path / "grey.png")
    assert read_array(tmp_path / "grey.png", role="predictions").shape == (6, 7)
    np.savez(tmp_path / "both.npz", prediction=soft, label=soft > 0.5)
    assert read_array(tmp_path / "both.npz", role="labels").shape == (4, 6, 7)
    with pytest.raises(ValueError, match="colour image"):
        read_array(tmp_path / "colours.png", role="prediction")


def test_nifti_keeps_spacing_and_orientation(tmp_path):
    import nibabel

    values = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    affine = np.array([[0, -2.0, 0, 1], [3, 0, 0, 2], [0, 0, 4, 3], [0, 0, 0, 1]])
    for name in ("v.nii", "v.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / name)
        found = load(tmp_path / name)
        assert torch.equal(found.image, torch.from_numpy(values))
        assert found.spacing == (3.0, 2.0, 4.0)
        assert torch.equal(found.affine, torch.from_numpy(affine))


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.int32, np.float32, np.float64, ">f4", ">u2"])
def test_npy_image_label_and_order(tmp_path, dtype):
    values = np.asfortranarray((RAMP % 2).astype(dtype))
    np.save(tmp_path / "a.npy", values)
    assert torch.equal(read_array(tmp_path / "a.npy", role="label").bool(), torch.from_numpy(RAMP % 2 == 1))
    assert load(tmp_path / "a.npy").image.shape == (12, 16)


def test_npz_and_saved_image_set_come_back(tmp_path):
    stored = load("smooth_field")
    stored.save(tmp_path / "s.npz")
    for found in (load(tmp_path / "s.npz"), ImageSet.load(tmp_path / "s.npz")):
        assert torch.equal(found.image, stored.image)
        assert torch.equal(found.label, stored.label)
        assert torch.equal(found.prediction, stored.prediction)
        assert set(found.predictions) == set(stored.predictions)
    np.savez(tmp_path / "x.npz", x=np.eye(4), y=np.arange(4))
    points = load(tmp_path / "x.npz")
    assert isinstance(points, Points)
    assert points.label.tolist() == [0, 1, 2, 3]


def test_tables_come_with_their_target(tmp_path):
    frame = load("iris").frame
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        found = load(tmp_path / name)
        assert isinstance(found, Table)
        assert found.target == "target"
        x, y, columns = found.numeric()
        assert x.shape == (150, 4)
        assert torch.bincount(y).tolist() == [50, 50, 50]
        assert found.classes == ("setosa", "versicolor", "virginica")


def test_folder_of_pairs_in_both_layouts(tmp_path):
    for case, shape in (("one", (10, 12)), ("two", (14, 9))):
        mask = np.zeros(shape, np.uint8)
        mask[2:6, 2:6] = 7
        for role, array in (("image", mask * 30), ("label", mask), ("prediction", (mask > 0) * np.uint8(200))):
            save(tmp_path / f"{case}_{role}.png", array)
            (tmp_path / "sub" / role).mkdir(parents=True, exist_ok=True)
            save(tmp_path / "sub" / role / f"{case}.png", array)
    for folder in (tmp_path, tmp_path / "sub"):
        found = load(folder)
        assert len(found) == 2
        assert [item.name for item in found] == ["one", "two"]
        assert [tuple(item.image.shape) for item in found] == [(10, 12), (14, 9)]
        assert found[0].label.max() == 7
        assert float(found[1].prediction.max()) == pytest.approx(200 / 255)


def test_folder_without_a_partner_is_refused_by_name(tmp_path):
    save(tmp_path / "one_image.png", RAMP)
    save(tmp_path / "one_label.png", RAMP)
    save(tmp_path / "two_image.png", RAMP)
    with pytest.raises(ValueError, match="'two' .* has no label"):
        load(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no cases"):
        load(tmp_path / "empty")


def test_pair_of_files_and_of_arrays_refuses_other_sizes_with_both(tmp_path):
    prediction = save(tmp_path / "p.png", RAMP)
    label = save(tmp_path / "l.png", (RAMP > 90).astype(np.uint8))
    found = pair(prediction, label)
    assert torch.equal(found.image, found.prediction)
    assert torch.equal(found.mask, torch.from_numpy(RAMP > 90))
    assert torch.equal(pair(RAMP / 255.0, RAMP > 90).label, found.mask)
    with pytest.raises(ValueError, match="12 x 16 and 12 x 15"):
        pair(prediction, save(tmp_path / "s.png", RAMP[:, :15]))
    with pytest.raises(ValueError, match=r"probabilities in \[0, 1\], got values from -3 to 4"):
        pair(np.array([[-3.0, 4.0], [0.0, 0.0]]), np.eye(2, dtype=bool))
    with pytest.raises(ValueError, match="one whole id per pixel"):
        pair(np.full((3, 3), 0.5), np.full((3, 3), 0.5))


class Boom:
    def __reduce__(self):
        return os.system, ("touch exploded",)


def npy_header(shape, descr="'<f8'"):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def test_pickles_are_refused_and_never_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "o.npy", np.array([Boom()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "o.npz", image=np.array([Boom()], dtype=object))
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Boom()))
    for name, words in (
        ("o.npy", "Python objects"),
        ("o.npz", "Python objects"),
        ("raw.npy", "no readable NPY header"),
    ):
        with pytest.raises(ValueError, match=words):
            load(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "shape, words", [("(100000, 1000000)", "max_bytes"), ("(1000, 1000)", "promises"), ("(-5, 5)", "impossible shape")]
)
def test_npy_header_is_not_believed(tmp_path, shape, words):
    (tmp_path / "lie.npy").write_bytes(npy_header(shape) + b"\0" * 64)
    with pytest.raises(ValueError, match=words):
        load(tmp_path / "lie.npy")
    with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
        archive.writestr("image.npy", npy_header(shape) + b"\0" * 64)
    with pytest.raises(ValueError, match=words):
        load(tmp_path / "lie.npz")


def test_zip_bomb_is_refused_from_its_header(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("image.npy", "w") as stream,
    ):
        stream.write(npy_header((10, 1_000_000)))
        for _ in range(80):
            stream.write(bytes(1_000_000))
    assert (tmp_path / "bomb.npz").stat().st_size < 200_000
    with pytest.raises(ValueError, match="80,000,000 bytes in memory, more than max_bytes = 10,000,000"):
        load(tmp_path / "bomb.npz", max_bytes=10_000_000)


def test_sizes_of_an_archive_count_together(tmp_path):
    np.savez(tmp_path / "a.npz", image=np.zeros((100, 100)), label=np.zeros((100, 100), dtype=np.int64))
    with pytest.raises(ValueError, match="max_bytes"):
        load(tmp_path / "a.npz", max_bytes=100_000)


def png_of(width, height):
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "width, height, words",
    [(60000, 60000, "max_bytes|too many pixels"), (9600, 9600, "too many pixels"), (40, 40, "damaged or cut off")],
)
def test_lying_png_is_refused(tmp_path, width, height, words):
    (tmp_path / "x.png").write_bytes(png_of(width, height))
    with pytest.raises(ValueError, match=words):
        load(tmp_path / "x.png")


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "npy", "npz", "nii", "nii.gz", "csv", "parquet"])
@pytest.mark.parametrize(
    "content", [b"", b"not what the ending says\n\x00\x01\x02" * 20, os.urandom(0) + bytes(range(256)) * 4]
)
def test_garbage_is_refused_in_words(tmp_path, ending, content):
    path = tmp_path / f"garbage.{ending}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="garbage"):
        load(path)


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "npy", "npz", "nii", "nii.gz", "parquet"])
def test_truncated_file_is_refused_in_words(tmp_path, ending):
    import nibabel
    import pandas as pd
    import tifffile

    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    path = tmp_path / f"cut.{ending}"
    writers = {
        "tif": lambda: tifffile.imwrite(path, noise),
        "npy": lambda: np.save(path, noise),
        "npz": lambda: np.savez_compressed(path, image=noise),
        "nii": lambda: nibabel.save(nibabel.Nifti1Image(noise, np.eye(4)), path),
        "nii.gz": lambda: nibabel.save(nibabel.Nifti1Image(noise, np.eye(4)), path),
        "parquet": lambda: pd.DataFrame(noise, columns=[str(i) for i in range(64)]).to_parquet(path),
    }
    writers.get(ending, lambda: save(path, noise))()
    load(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(ValueError, match="cut"):
        load(path)


def nifti_bytes(dims, kind=16, offset=352.0):
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, *dims)
    struct.pack_into("<hh", head, 70, kind, 32)
    struct.pack_into("<8f", head, 76, *[1.0] * 8)
    struct.pack_into("<f", head, 108, offset)
    head[344:348] = b"n+1\0"
    return bytes(head)


@pytest.mark.parametrize(
    "dims, kind, offset, words",
    [
        ((3, 30000, 30000, 30000, 1, 1, 1, 1), 16, 352.0, "max_bytes"),
        ((3, 100, 100, 100, 1, 1, 1, 1), 16, 352.0, "promises|cut off"),
        ((3, -4, 5, 5, 1, 1, 1, 1), 16, 352.0, "impossible dimensions"),
        ((9, 4, 5, 5, 1, 1, 1, 1), 16, 352.0, "impossible dimensions"),
        ((3, 4, 5, 5, 1, 1, 1, 1), 32, 352.0, "no colours or complex"),
        ((3, 4, 5, 5, 1, 1, 1, 1), 16, 2e9, "bytes of header"),
    ],
)
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_nifti_header_is_not_believed(tmp_path, dims, kind, offset, words, ending):
    content = nifti_bytes(dims, kind, offset)
    path = tmp_path / f"lie.{ending}"
    path.write_bytes(gzip.compress(content) if ending == "nii.gz" else content)
    with pytest.raises(ValueError, match=words):
        load(path)


def test_gzip_bomb_behind_a_small_header_is_not_inflated(tmp_path):
    import tracemalloc

    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=9) as stream:
        stream.write(nifti_bytes((3, 4, 4, 4, 1, 1, 1, 1)))
        for _ in range(60):
            stream.write(bytes(1_000_000))
    (tmp_path / "bomb.nii.gz").write_bytes(buffer.getvalue())
    load(tmp_path / "bomb.nii.gz")
    tracemalloc.start()
    assert load(tmp_path / "bomb.nii.gz").image.shape == (4, 4, 4)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_nan_and_wrong_rank_are_refused(tmp_path):
    np.save(tmp_path / "nan.npy", np.array([[0.0, np.nan], [1.0, 2.0], [0.0, 0.0], [1.0, 1.0]]).T.copy())
    np.save(tmp_path / "four.npy", np.zeros((2, 4, 4, 4)))
    np.save(tmp_path / "complex.npy", np.zeros((4, 4), dtype=complex))
    for name, words in (("nan.npy", "NaN"), ("four.npy", "2 or 3 axes"), ("complex.npy", "complex128")):
        with pytest.raises(ValueError, match=words):
            load(tmp_path / name)


def test_colour_label_is_refused(tmp_path):
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[2:4, 2:4, 0] = 255
    with pytest.raises(ValueError, match="one id per pixel"):
        read_array(save(tmp_path / "l.png", colour), role="label")


def test_unknown_names_and_paths_are_told_apart(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'retina'"):
        load("retnia")
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        load(tmp_path / "nothing.png")
    (tmp_path / "a.xyz").write_text("x")
    with pytest.raises(ValueError, match=r"ending \.xyz; known are"):
        load(tmp_path / "a.xyz")
    with pytest.raises(TypeError, match="name_or_path"):
        load(3)
    assert datasets.load(load("moons")).x.shape == (400, 2)
