"""Triangle meshes of strangers: three formats, notes on what changed, hostile files refused in words."""

import struct

import numpy as np
import pytest
import torch
import trimesh

from lab.datasets import read_mesh
from lab.datasets.meshes import checked

CUBE = trimesh.creation.box((1.0, 2.0, 3.0))


@pytest.mark.parametrize("ending", ["obj", "stl", "ply"])
def test_each_format_gives_the_same_body(tmp_path, ending):
    path = tmp_path / f"box.{ending}"
    CUBE.export(path)
    mesh = read_mesh(path, closed=True)
    assert mesh.vertices.shape == (8, 3) and mesh.faces.shape == (12, 3) and mesh.vertices.dtype == torch.float64
    again = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
    assert again.volume == pytest.approx(6.0) and again.is_watertight
    assert bool(mesh.notes) == (ending == "stl")


@pytest.mark.parametrize("kind", ["ascii", "binary"])
def test_both_kinds_of_ply_and_stl(tmp_path, kind):
    for ending in ("ply", "stl"):
        path = tmp_path / f"{kind}.{ending}"
        name = "stl_ascii" if (ending, kind) == ("stl", "ascii") else ending
        path.write_bytes(b"")
        options = {"encoding": "ascii"} if (ending, kind) == ("ply", "ascii") else {}
        data = CUBE.export(file_type=name, **options)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        assert len(read_mesh(path).faces) == 12


def test_polygons_become_triangles_and_negative_indices_count_from_the_end(tmp_path):
    path = tmp_path / "square.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4\n")
    assert len(read_mesh(path).faces) == 2
    with pytest.raises(ValueError, match="holes: 4 of its 5 edges"):
        read_mesh(path, closed=True)


def test_what_reading_drops_is_noted():
    v = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5], [0, 0, 0]], float)
    mesh = checked(v, np.array([[0, 1, 2], [4, 1, 1]]))
    assert len(mesh.vertices) == 3 and len(mesh.faces) == 1
    assert any("without area" in note for note in mesh.notes) and any("unused" in note for note in mesh.notes)


def _stl(count, triangles):
    return b"\1" * 80 + struct.pack("<I", count) + b"\0" * (50 * triangles)


PLY = (
    "ply\nformat ascii 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\n"
    "element face {}\nproperty list uchar int vertex_indices\nend_header\n"
)

HOSTILE = {
    "states four billion triangles.stl": (_stl(2**32 - 1, 1), "misstates its size"),
    "truncated.stl": (_stl(10, 9), "truncated"),
    "empty.stl": (b"", "truncated"),
    "all flat.stl": (_stl(4, 4), "no triangle with area"),
    "states many.ply": (PLY.format(10**12, 10**12).encode(), "truncated"),
    "no header.ply": (b"plyplyply", "no PLY header"),
    "no faces.ply": (b"ply\nformat ascii 1.0\nelement vertex 3\nend_header\n", "must have vertices and faces"),
    "wrong index.ply": ((PLY.format(3, 1) + "0 0 0\n1 0 0\n0 1 0\n3 0 1 99\n").encode(), "index|damaged"),
    "not a number.ply": ((PLY.format(3, 1) + "nan 0 0\n1 0 0\n0 1 0\n3 0 1 2\n").encode(), "finite|NaN"),
    "infinite.obj": (b"v inf 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "finite|inf"),
    "wrong index.obj": (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "index|damaged"),
    "words.obj": (b"v a b c\nf x y z\n", "damaged"),
    "bytes.obj": (b"v 0 0 0\0\0\n", "not text"),
    "no faces.obj": (b"v 0 0 0\n", "no faces"),
    "pickle.npz": (b"PK", "ending"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_words(tmp_path, name):
    content, words = HOSTILE[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_mesh(path)


def test_limits_hold_before_anything_is_decoded(tmp_path):
    path = tmp_path / "box.stl"
    CUBE.export(path)
    with pytest.raises(ValueError, match="more than the limit of 100"):
        read_mesh(path, max_bytes=100)
    with pytest.raises(ValueError, match="12 triangles"):
        read_mesh(path, max_faces=11)


def test_materials_that_a_file_names_are_not_opened(tmp_path, monkeypatch):
    (tmp_path / "secret.mtl").write_text("newmtl a\nmap_Kd secret.png\n")
    path = tmp_path / "box.obj"
    path.write_text("mtllib secret.mtl\nusemtl a\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n")
    opened = []
    monkeypatch.setattr("builtins.open", lambda *a, **k: opened.append(a) or (_ for _ in ()).throw(OSError))
    assert len(read_mesh(path).faces) == 1 and not [a for a in opened if "secret" in str(a)]
