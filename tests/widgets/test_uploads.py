"""Files of visitors: good ones are read, hostile ones are refused in words and harm nothing."""

import asyncio
import gzip
import io
import json
import pickle
import struct
import zipfile
import zlib

import numpy as np
import pandas as pd
import pytest
import torch

from widgets.server.uploads import Limits, Refused, _shown_name, read, suffix_of

SMALL = Limits(file_bytes=2**20, decoded_bytes=16 * 2**20, memory_bytes=2**30, seconds=120)


def load(path, kinds, role="image", limits=SMALL):
    return asyncio.run(read(path, path.name, kinds, role=role, limits=limits))


def refusal(path, kinds, **options) -> str:
    with pytest.raises(Refused) as caught:
        load(path, kinds, **options)
    words = str(caught.value)
    assert str(path.parent) not in words, "a refusal names a folder of the server"
    return words


class Evil:
    """Pickles to a call that leaves a trace in the file system."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (str(self.trace), "w")


def test_good_files_of_every_kind_are_read(tmp_path):
    from PIL import Image
    from safetensors.torch import save_file

    picture = np.arange(0, 240, 5, dtype=np.uint8).reshape(6, 8)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    np.save(tmp_path / "labels.npy", np.arange(60, dtype=np.int32).reshape(3, 4, 5))
    pd.DataFrame({"a": [1.5, 2.5], "b": [3, 4]}).to_csv(tmp_path / "table.csv", index=False)
    weights = {"layer.weight": torch.randn(3, 2, generator=torch.Generator().manual_seed(0))}
    save_file(weights, tmp_path / "model.safetensors")
    torch.save(weights, tmp_path / "model.pt")

    image = load(tmp_path / "picture.png", ["image"])
    assert image.kind == "image"
    np.testing.assert_allclose(image.data, picture / 255, atol=1e-7)
    assert image.notes == ("8-bit values divided by 255",)
    volume = load(tmp_path / "labels.npy", ["image", "volume"], role="label")
    assert volume.kind == "volume"
    np.testing.assert_array_equal(volume.data, np.arange(60).reshape(3, 4, 5))
    pd.testing.assert_frame_equal(
        load(tmp_path / "table.csv", ["table"]).data, pd.DataFrame({"a": [1.5, 2.5], "b": [3, 4]})
    )
    assert load(tmp_path / "table.csv", ["table"]).notes[0] == "target: 'b', the last column; say target= for another"
    (tmp_path / "german.csv.gz").write_bytes(gzip.compress(b"a;b\n1,5;3\n2,5;4\n"))
    german = load(tmp_path / "german.csv.gz", ["table"])
    pd.testing.assert_frame_equal(german.data, pd.DataFrame({"a": [1.5, 2.5], "b": [3, 4]}))
    assert "decimal comma (as in '1,5')" in german.notes
    for name in ("model.safetensors", "model.pt"):
        found = load(tmp_path / name, ["weights"]).data
        assert list(found) == ["layer.weight"]
        np.testing.assert_array_equal(found["layer.weight"], weights["layer.weight"].numpy())


def test_spacing_of_a_volume_is_kept(tmp_path):
    import nibabel

    values = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 2, 3, 1])), tmp_path / "v.nii.gz")
    found = load(tmp_path / "v.nii.gz", ["volume"])
    assert found.data.shape == (4, 5, 6)
    assert found.spacing == (1.0, 2.0, 3.0)


def write_zip(path, name: bytes, packed: bytes, size: int):
    """A zip archive of one deflated member that claims ``size`` bytes."""
    fields = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, 0, len(packed), size, len(name), 0)
    local = b"PK\x03\x04" + fields + name + packed
    central = b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    path.write_bytes(local + central + end)


def deflated(head: bytes, zeros_in_16_mb: int) -> bytes:
    """``head`` and then that many times 16 MB of zeros, deflated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b"\0" * 2**24) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + block * zeros_in_16_mb + packer.flush()


def npy_header(shape, kind="|u1") -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": kind, "fortran_order": False, "shape": shape})
    return header.getvalue()


def test_three_gigabytes_in_three_megabytes_are_refused_by_the_header(tmp_path):
    path = tmp_path / "bomb.npz"
    head = npy_header((3, 1024, 2**20))
    write_zip(path, b"x.npy", deflated(head, 192), len(head) + 192 * 2**24)
    assert path.stat().st_size < 4 * 2**20
    with zipfile.ZipFile(path) as archive:
        assert archive.infolist()[0].file_size > 3 * 2**30
    assert "memory" in refusal(path, ["volume"])


def test_archive_that_lies_about_its_size_is_refused(tmp_path):
    head = npy_header((64, 1024, 1024))
    write_zip(tmp_path / "liar.npz", b"x.npy", deflated(head, 4), 200)
    assert refusal(tmp_path / "liar.npz", ["volume"])
    head = npy_header((10**6, 10**6, 10**6))
    write_zip(tmp_path / "promise.npz", b"x.npy", deflated(head, 1), len(head) + 2**24)
    assert refusal(tmp_path / "promise.npz", ["volume"])


def test_nested_archive_is_refused(tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"\0" * 2**20)
    with zipfile.ZipFile(tmp_path / "nested.npz", "w") as archive:
        archive.writestr("inner.npz", inner.getvalue())
    assert refusal(tmp_path / "nested.npz", ["image"])


@pytest.mark.parametrize("compressed", [False, True])
def test_lying_volume_header_is_refused(tmp_path, compressed):
    import nibabel

    content = bytearray(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)).to_bytes())
    struct.pack_into("<8h", content, 40, 3, 30000, 30000, 30000, 1, 1, 1, 1)
    path = tmp_path / ("liar.nii.gz" if compressed else "liar.nii")
    path.write_bytes(gzip.compress(bytes(content)) if compressed else bytes(content))
    assert refusal(path, ["volume"])


def test_volume_header_with_absurd_offset_or_type_is_refused(tmp_path):
    import nibabel

    good = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)).to_bytes()
    for name, place, form, value in (("offset", 108, "<f", 1e30), ("negative", 40, "<h", -3), ("type", 70, "<h", 9999)):
        content = bytearray(good)
        struct.pack_into(form, content, place, value)
        (tmp_path / f"{name}.nii").write_bytes(bytes(content))
        assert refusal(tmp_path / f"{name}.nii", ["volume"])


@pytest.mark.parametrize("name", ["evil.pt", "evil.npy", "evil.npz", "evil.safetensors", "evil.csv", "evil.png"])
def test_pickles_are_never_executed(tmp_path, name):
    trace, path = tmp_path / "executed", tmp_path / name
    if name == "evil.pt":
        torch.save({"a": Evil(trace)}, path)
    elif name == "evil.npy":
        np.save(path, np.array([Evil(trace)], dtype=object), allow_pickle=True)
    elif name == "evil.npz":
        np.savez(path, x=np.array([Evil(trace)], dtype=object))
    else:
        path.write_bytes(pickle.dumps(Evil(trace)))
    kinds = {"evil.pt": ["weights"], "evil.safetensors": ["weights"], "evil.csv": ["table"]}.get(name, ["image"])
    if name == "evil.csv":
        try:
            load(path, kinds)
        except Refused:
            pass
    else:
        assert refusal(path, kinds)
    assert not trace.exists()


def test_whole_pickled_module_and_old_format_are_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    assert "tensors" in refusal(tmp_path / "module.pt", ["weights"])
    torch.save({"a": torch.zeros(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert "zip" in refusal(tmp_path / "old.pt", ["weights"])


def test_state_dict_whose_view_is_larger_than_its_storage_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1).expand(2**30)}, tmp_path / "view.pt")
    assert "limit" in refusal(tmp_path / "view.pt", ["weights"])


@pytest.mark.parametrize("length", [2**62, 2**40, 7])
def test_safetensors_header_that_lies_is_refused(tmp_path, length):
    path = tmp_path / "liar.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' + b"\0" * 8)
    assert refusal(path, ["weights"])


def test_safetensors_of_absurd_shape_is_refused(tmp_path):
    header = b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}'
    path = tmp_path / "huge.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8)
    assert "limit" in refusal(path, ["weights"])


def test_picture_with_more_pixels_than_allowed_is_refused_before_decoding(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    path = tmp_path / "large.png"
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    assert refusal(path, ["image"])


def test_truncated_and_empty_files_are_refused(tmp_path):
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(tmp_path / "whole.png")
    np.save(tmp_path / "whole.npy", np.random.default_rng(0).random((64, 64)))
    for name in ("whole.png", "whole.npy"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / f"half{name[5:]}").write_bytes(content[: len(content) // 2])
        (tmp_path / f"empty{name[5:]}").write_bytes(b"")
        assert refusal(tmp_path / f"half{name[5:]}", ["image"])
        assert refusal(tmp_path / f"empty{name[5:]}", ["image"])
    (tmp_path / "empty.csv").write_bytes(b"")
    assert refusal(tmp_path / "empty.csv", ["table"])


def test_file_of_another_kind_under_a_wrong_ending_is_refused(tmp_path):
    page, program, text = b"<html><script>alert(1)</script></html>", b"\x7fELF" + b"\0" * 400, b"hello" * 200
    for name, content in (("page.png", page), ("program.npy", program), ("text.nii", text)):
        (tmp_path / name).write_bytes(content)
        assert refusal(tmp_path / name, ["image", "volume"])


def test_table_that_is_too_large_or_too_wide_is_refused(tmp_path):
    path = tmp_path / "large.csv"
    with path.open("w") as file:
        file.write("a,b\n")
        file.writelines(["1.25,x" + "y" * 40 + "\n"] * 2_000_000)
    assert path.stat().st_size > 80 * 2**20
    assert refusal(path, ["table"], limits=Limits(decoded_bytes=32 * 2**20, seconds=120))


def test_reading_that_takes_too_long_ends(tmp_path):
    path = tmp_path / "slow.csv"
    with path.open("w") as file:
        file.write(",".join(f"c{i}" for i in range(20000)) + "\n")
        file.writelines([",".join(["1"] * 20000) + "\n"] * 400)
    assert refusal(path, ["table"], limits=Limits(decoded_bytes=2**31, memory_bytes=2**31, seconds=0.01))


def safetensors(header, data=b"\0" * 8) -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + data


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ([1, 2], "no mapping"),
        ({"a": [1]}, "no shape of whole numbers"),
        ({"a": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 8]}}, "no shape of whole numbers"),
        ({"a": {"dtype": "F32", "shape": [-2, -1], "data_offsets": [0, 8]}}, "no shape of whole numbers"),
        ({"a": {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}}, "unknown type"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 2**40]}}, "offset"),
        ({f"t{i}": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for i in range(20)}, "offset"),
        ({f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(10_001)}, "at most 10,000"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'\xff\xfe{"a"', "no JSON"),
    ],
)
def test_safetensors_header_of_a_wrong_form_is_refused_in_words(tmp_path, header, words):
    (tmp_path / "a.safetensors").write_bytes(safetensors(header))
    assert words in refusal(tmp_path / "a.safetensors", ["weights"])


def png(width, height, *chunks, data=None) -> bytes:
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress((b"\0" + b"\x80" * width) * height) if data is None else data
    parts = [chunk(b"IHDR", head), *(chunk(*part) for part in chunks), chunk(b"IDAT", body), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def npy(header: str, data: bytes = b"") -> bytes:
    head = header.encode().ljust((len(header) + 11 + 63) // 64 * 64 - 11) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


def tiff(*entries, extra=b"\0" * 200) -> bytes:
    listed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + listed + b"\0" * 4 + extra


_BOMB = zlib.compress(b"\0" * 2**26, 9)
_TIFF = [
    (258, 3, 1, 8),
    (259, 3, 1, 1),
    (262, 3, 1, 1),
    (273, 4, 1, 8),
    (277, 3, 1, 1),
    (278, 4, 1, 2**31 - 1),
    (279, 4, 1, 100),
]
HOSTILE_IMAGES = {
    "script.png": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>',
    "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(%pipe%true) (w) file\n",
    "text.png": png(8, 8, (b"zTXt", b"c\0\0" + _BOMB)),
    "profile.png": png(8, 8, (b"iCCP", b"c\0\0" + _BOMB)),
    "many.bmp": b"BM"
    + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, *[0] * 6)
    + b"\0" * 99,
    "wide.tif": tiff((256, 4, 1, 2**31 - 1), (257, 4, 1, 2**31 - 1), *_TIFF),
    "deep.npy": npy("{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * 5000 + ")" * 5000 + "}"),
    "negative.npy": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -4)}", b"\0" * 64),
    "overflow.npy": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", b"\0" * 64),
    "void.npy": npy("{'descr': '|V2000000000', 'fortran_order': False, 'shape': (1, 1)}", b"\0" * 64),
    "empty.npy": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 1000000000000)}"),
}


@pytest.mark.parametrize("name", HOSTILE_IMAGES)
def test_hostile_picture_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(HOSTILE_IMAGES[name])
    words = refusal(tmp_path / name, ["image"])
    assert "ended early" not in words, words


@pytest.mark.parametrize("value", [np.nan, np.inf, 1j])
def test_picture_without_finite_real_values_is_refused(tmp_path, value):
    np.save(tmp_path / "a.npy", np.full((8, 8), value))
    assert refusal(tmp_path / "a.npy", ["image"])


def test_picture_that_is_an_archive_too_is_read_as_the_picture_alone(tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("x.npy", "not read")
    (tmp_path / "both.png").write_bytes(png(8, 6) + archive.getvalue())
    assert load(tmp_path / "both.png", ["image"]).shape == (6, 8)


def test_archive_of_links_of_repeated_entries_or_of_too_many_is_refused(tmp_path):
    link = zipfile.ZipInfo("../../etc/passwd.npy")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.npz", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with zipfile.ZipFile(tmp_path / "many.npz", "w") as archive:
        for i in range(3000):
            archive.writestr(f"{i}.npy", b"")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4, 4)}", b"\0" * 16))
    whole = content.getvalue()
    start, end = whole.index(b"PK\1\2"), whole.rindex(b"PK\5\6")
    entries = whole[start:end] * 1000
    tail = struct.pack("<HHHHIIH", 0, 0, 1000, 1000, len(entries), start, 0)
    (tmp_path / "repeated.npz").write_bytes(whole[:start] + entries + b"PK\5\6" + tail)
    for name in ("link.npz", "many.npz", "repeated.npz"):
        assert refusal(tmp_path / name, ["image"])


def test_table_with_a_million_columns_is_refused_before_it_is_parsed(tmp_path):
    (tmp_path / "wide.csv").write_bytes(b"a," * 10**6 + b"a\n" + b"1," * 10**6 + b"1\n")
    assert "at most 10,000" in refusal(tmp_path / "wide.csv", ["table"])


def test_table_of_one_long_text_repeated_is_refused(tmp_path):
    text = pd.Series(["x" * 10**5] * 400)
    text.to_frame("a").to_parquet(tmp_path / "plain.parquet")
    text.astype("category").to_frame("a").to_parquet(tmp_path / "category.parquet")
    for name in ("plain.parquet", "category.parquet"):
        assert (tmp_path / name).stat().st_size < 10**6
        assert "limit" in refusal(tmp_path / name, ["table"])


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"a,b\n1,\0\n", id="null"),
        pytest.param("a,b\n1,2\n".encode("utf-16"), id="utf-16"),
        pytest.param(gzip.compress(b"a,b\n1,2\n", mtime=0), id="gzip"),
        pytest.param(b'a,b\n"1,2\n' * 3, id="open quote"),
        pytest.param(b"a,b\n", id="no row"),
    ],
)
def test_text_that_is_no_table_is_refused(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    assert refusal(tmp_path / "a.csv", ["table"])


def test_names_are_shown_and_never_used_as_paths():
    assert _shown_name("..%2F..%2Fetc%2Fpasswd.png") == "passwd.png"
    assert _shown_name("C%3A%5Cx%5Cy.png") == "y.png"
    assert _shown_name("%00%1b%5B2Ja.png") == "[2Ja.png"
    assert len(_shown_name("a" * 5000 + ".png")) <= 120
    assert suffix_of("a/../../scan.NII.GZ", ["volume"]) == ".nii.gz"
    with pytest.raises(Refused, match="allowed: .csv"):
        suffix_of("table.xlsx", ["table"])
    with pytest.raises(Refused, match="no ending"):
        suffix_of("passwd", ["image"])
