"""More files that lie, overlap, loop or hide: each is read as what it says it is, or refused in words."""

import gzip
import io
import struct
import zipfile
import zlib

import nibabel
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from tests.widgets.test_uploads import load, npy, png, refusal, safetensors, tiff
from widgets.pages import table_html
from widgets.server.uploads import Refused, suffix_of

_ENTRIES = [(258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 200), (277, 3, 1, 1)]


def nifti(**fields) -> bytes:
    """A small volume with header fields set to other values; ``fields`` map a name to ``(offset, format, value)``."""
    content = bytearray(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)).to_bytes())
    for place, form, value in fields.values():
        struct.pack_into(form, content, place, value)
    return bytes(content)


def looped_tiff() -> bytes:
    """A TIFF whose directory names itself as the next one."""
    entries = [
        (256, 4, 1, 4),
        (257, 4, 1, 4),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 200),
        (279, 4, 1, 16),
    ]
    content = bytearray(tiff(*entries, extra=b"\0" * 300))
    struct.pack_into("<I", content, 8 + 2 + 12 * len(entries), 8)
    return bytes(content)


def broken_checksum() -> bytes:
    content = bytearray(png(8, 8))
    content[29] ^= 0xFF
    return bytes(content)


def zipped(*entries, **changes) -> bytes:
    """An archive of ``(name, content)``; ``flag`` sets the general-purpose bits of every entry."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    content = bytearray(buffer.getvalue())
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = content.find(mark)
        while at >= 0 and "flag" in changes:
            struct.pack_into("<H", content, at + place, changes["flag"])
            at = content.find(mark, at + 4)
    return bytes(content)


_JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
_JPEG += b"\xff\xc0\0\x0b\x08\xff\xff\xff\xff\1\1\x11\0\xff\xda\0\x08\1\1\0\0\x3f\0" + b"\0" * 99
_GIF = b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\xff\xff\xff\xff\0\2\2D\1\0;"
_U1 = "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 4)}"
REFUSED = {
    "picture.png": _GIF,
    "vector.png": b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "&b;&b;">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>',
    "checksum.png": broken_checksum(),
    "giant.png": png(2**31 - 1, 2**31 - 1, data=zlib.compress(b"\0" * 9)),
    "zero.png": png(0, 0),
    "short.png": png(64, 64, data=zlib.compress(b"\0" * 10)),
    "giant.jpg": _JPEG,
    "exif.jpg": b"\xff\xd8\xff\xe1\xff\xffExif\0\0MM\0*\0\0\0\x08" + b"\xff" * 500,
    "bomb.tif": tiff(
        (256, 4, 1, 60000),
        (257, 4, 1, 60000),
        *_ENTRIES,
        (278, 4, 1, 60000),
        (279, 4, 1, 99),
        extra=zlib.compress(b"\0" * 2**24),
    ),
    "far.tif": tiff(
        (256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (273, 4, 1, 2**32 - 9), (279, 4, 1, 64)
    ),
    "big.tif": b"II+\0\x08\0\0\0" + struct.pack("<Q", 2**63) + b"\0" * 64,
    "objects.npy": npy("{'descr': '|O', 'fortran_order': False, 'shape': (4, 4)}", b"\x80\4K\1."),
    "fields.npy": npy("{'descr': [('a', '<f4'), ('b', '|O')], 'fortran_order': False, 'shape': (4, 4)}", b"\0" * 64),
    "text.npy": npy("{'descr': '<U4', 'fortran_order': False, 'shape': (4, 4)}", b"\0" * 256),
    "dates.npy": npy("{'descr': '<M8[s]', 'fortran_order': False, 'shape': (4, 4)}", b"\0" * 128),
    "code.npy": npy("__import__('os').system('true')"),
    "axes.npy": npy("{'descr': '|u1', 'fortran_order': False, 'shape': " + str((1,) * 33) + "}", b"\0"),
    "scalar.npy": npy("{'descr': '|u1', 'fortran_order': False, 'shape': ()}", b"\0"),
    "words.npy": npy("{'descr': '|u1', 'fortran_order': False, 'shape': ('4', 4)}", b"\0" * 16),
    "long.npy": b"\x93NUMPY\2\0" + struct.pack("<I", 2**32 - 1) + b"{",
    "future.npy": b"\x93NUMPY\x09\0" + struct.pack("<H", 10) + b"{" * 10,
    "encrypted.npz": zipped(("a.npy", npy(_U1, b"\0" * 16)), flag=1),
    "nested.npz": zipped(("a.npy", zipped(("b.npy", npy(_U1, b"\0" * 16))))),
    "script.npz": zipped(("a.py", b"print(1)")),
    "twice.npz": zipped(("a.npy", npy(_U1, b"\0" * 16)))[:-30],
    "self.npz": b"PK\5\6" + b"\0" * 18,
    "bomb.nii.gz": gzip.compress(nifti(x=(42, "<h", 32767), y=(44, "<h", 32767), z=(46, "<h", 32767)) + b"\0" * 2**24),
    "cut.nii.gz": gzip.compress(nifti())[:-30],
    "axes.nii": nifti(rank=(40, "<h", 7), t=(48, "<h", 32767), u=(50, "<h", 32767)),
    "none.nii": nifti(x=(42, "<h", 0)),
    "bits.nii": nifti(bits=(72, "<h", 64), kind=(70, "<h", 2304)),
    "magic.nii": nifti(magic=(344, "<4s", b"xxxx")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_file_that_lies_or_loops_is_refused_in_words(tmp_path, name):
    (tmp_path / name).write_bytes(REFUSED[name])
    words = refusal(tmp_path / name, ["image", "volume"])
    assert words and str(tmp_path) not in words


def test_loop_of_pages_and_a_scale_without_end_are_read_once_as_stored(tmp_path):
    (tmp_path / "loop.tif").write_bytes(looped_tiff())
    assert load(tmp_path / "loop.tif", ["image"]).shape == (4, 4)
    (tmp_path / "slope.nii").write_bytes(nifti(slope=(112, "<f", float("inf"))))
    assert np.isfinite(load(tmp_path / "slope.nii", ["volume"]).data).all()


def test_array_of_another_order_and_of_foreign_bytes_is_read_as_it_is_meant(tmp_path):
    values = np.linspace(0, 1, 12).reshape(3, 4)
    np.save(tmp_path / "columns.npy", np.asfortranarray(values))
    np.save(tmp_path / "swapped.npy", values.astype(">f8"))
    np.save(tmp_path / "half.npy", values.astype("<f2"))
    for name, tolerance in (("columns.npy", 1e-6), ("swapped.npy", 1e-6), ("half.npy", 1e-3)):
        np.testing.assert_allclose(load(tmp_path / name, ["image"]).data, values, atol=tolerance)
    ids = np.arange(24).reshape(2, 3, 4)
    np.save(tmp_path / "ids.npy", np.asfortranarray(ids.astype(">u2")))
    np.testing.assert_array_equal(load(tmp_path / "ids.npy", ["volume"], role="label").data, ids)


def test_formulas_and_markup_in_a_table_stay_text(tmp_path):
    cells = ['=HYPERLINK("http://elsewhere","x")', "@SUM(A1)", "+cmd|' /C calc'!A0", "<script>alert(1)</script>"]
    pd.DataFrame({"=1+1": cells, "b": range(4)}).to_csv(tmp_path / "a.csv", index=False)
    frame = load(tmp_path / "a.csv", ["table"]).data
    assert list(frame["=1+1"].astype(str)) == cells
    shown = table_html(frame)
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


@pytest.mark.parametrize(
    "content",
    [
        b'a,b\n"' + b"x" * 2**22,
        b"\xff\xfea\0",
        b"a;b\n\x81;\x8d\x90\n" * 3,
        b"\0" * 4096,
        b"a,b\n1\n1,2,3\n1,2\n",
        b"\n" * 10**6,
    ],
    ids=["quote", "half a mark", "bytes", "zeros", "ragged", "lines"],
)
def test_text_that_is_no_table_either_is_refused(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    assert refusal(tmp_path / "a.csv", ["table"])


def test_parquet_that_lies_is_cut_or_unfolds_is_refused(tmp_path):
    table = pa.table({"a": pa.array(np.zeros(1000))})
    pyarrow.parquet.write_table(table, tmp_path / "good.parquet")
    good = (tmp_path / "good.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(good[: len(good) // 2])
    (tmp_path / "length.parquet").write_bytes(good[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1")
    (tmp_path / "garbage.parquet").write_bytes(b"PAR1" + bytes(range(256)) * 8 + struct.pack("<I", 2000) + b"PAR1")
    zeros = pa.table({f"c{i}": pa.array(np.zeros(10**6, np.int64)) for i in range(20)})
    pyarrow.parquet.write_table(zeros, tmp_path / "unfolds.parquet")
    assert (tmp_path / "unfolds.parquet").stat().st_size < 10**6
    from widgets.server.uploads import Limits

    for name in ("cut", "length", "garbage", "unfolds"):
        assert refusal(tmp_path / f"{name}.parquet", ["table"], limits=Limits(decoded_bytes=32 * 2**20))


@pytest.mark.parametrize(
    "header",
    [
        {
            "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        },
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"a": {"dtype": "F32", "shape": [2**33, 2**33], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}},
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,8]}}',
        {"__metadata__": [1, 2], "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
    ],
    ids=["overlap", "hole", "backwards", "overflow", "shorter", "before", "twice", "metadata"],
)
def test_safetensors_whose_places_overlap_or_lie_are_refused(tmp_path, header):
    (tmp_path / "a.safetensors").write_bytes(safetensors(header, b"\0" * 16))
    assert refusal(tmp_path / "a.safetensors", ["weights"])


def test_state_dict_of_other_things_is_refused(tmp_path):
    sparse = torch.sparse_coo_tensor([[0], [0]], [1.0], (10**6, 10**6), check_invariants=True)
    torch.save({"a": sparse}, tmp_path / "sparse.pt")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    torch.save({"a": {"b": torch.zeros(2)}}, tmp_path / "deep.pt")
    torch.save({"a": torch.zeros(2)}, tmp_path / "good.pt")
    good = (tmp_path / "good.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(good[: len(good) - 60])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"cos\nsystem\n(S'touch " + str(tmp_path / "trace").encode() + b"'\ntR.")
        archive.writestr("archive/version", b"3")
        archive.writestr("../../escaped", b"x")
    (tmp_path / "slip.pt").write_bytes(buffer.getvalue())
    for name in ("sparse", "list", "deep", "cut", "slip"):
        assert refusal(tmp_path / f"{name}.pt", ["weights"]), name
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    "name",
    [
        "a.svg",
        "a.png.exe",
        "a.png\0.exe",
        "a.html",
        "a.pkl",
        "a.png/",
        "a.tar.gz",
        "a.npy ",
        "gpj.\u202efdp",
        ".",
        "png",
    ],
)
def test_other_endings_are_refused(name):
    with pytest.raises(Refused):
        suffix_of(name, ["image", "volume", "table", "weights"])


def test_tables_of_very_many_rows_are_refused_before_they_are_read(tmp_path):
    rows = 60_000_000
    table = pa.table({"a": pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), ["x"])})
    pyarrow.parquet.write_table(table, tmp_path / "long.parquet", compression="zstd")
    assert (tmp_path / "long.parquet").stat().st_size < 2**20
    (tmp_path / "long.csv").write_bytes(b"a\n" + b"1\n" * 6_000_000)
    for name, count in (("long.parquet", "60,000,000"), ("long.csv", "6,000,000")):
        assert f"it has {count} rows; at most 2,000,000 are read" in refusal(tmp_path / name, ["table"])


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4, x)}", b"\0" * 16)),
     ("b.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': ('4', 4)}", b"\0" * 16)),
     ("d.parquet", b"PAR1" + b"\0" * 40 + b"PAR1"),
     ("e.tif", b"II*\0" + b"\xff" * 40)],
)  # fmt: skip
def test_refusals_are_sentences_for_visitors(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    kinds = ["table"] if name.endswith(("csv", "parquet")) else ["image"]
    words = refusal(tmp_path / name, kinds)
    assert words
    assert not any(
        part in words.lower() for part in ("codec", "malformed node", "an integer is required", "traceback", "0x")
    )


def test_memory_of_all_visitors_is_bounded(monkeypatch):
    from widgets.server import uploads

    class Owner:
        pass

    held, (first, second) = uploads._Held(), (Owner(), Owner())
    monkeypatch.setattr(uploads, "HELD_BYTES", 1000)
    file = uploads.Uploaded("x.npy", "image", np.zeros(800, np.uint8))
    held.keep(first, file)
    held.keep(first, file)
    with pytest.raises(Refused, match="files of other visitors take"):
        held.keep(second, file)
    held.keep(first, None)
    held.keep(second, file)
    del second
    held.keep(first, file)


def test_a_full_queue_refuses_in_words(monkeypatch):
    from widgets.server import uploads

    monkeypatch.setattr(uploads, "WAITING", 0)
    assert "are waiting to be read" in uploads._Reader().ask({})["refused"]
