"""Triangle meshes from strangers' files: OBJ, STL and PLY, checked before and after they are decoded.

>>> import tempfile, os
>>> path = os.path.join(tempfile.mkdtemp(), "tetrahedron.obj")
>>> _ = open(path, "w").write("v 0 0 0\\nv 1 0 0\\nv 0 1 0\\nv 0 0 1\\nf 1 3 2\\nf 1 2 4\\nf 1 4 3\\nf 2 3 4\\n")
>>> read_mesh(path).faces.shape
torch.Size([4, 3])
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

import torch

from lab import checks

ENDINGS = (".obj", ".stl", ".ply")
_HEADER = 2**16


@dataclass(frozen=True)
class TriangleMesh:
    """Vertices (n, 3) in float64, faces (m, 3) as indices; ``notes`` say what reading changed."""

    vertices: torch.Tensor
    faces: torch.Tensor
    notes: tuple[str, ...] = ()


def read_mesh(
    path: str | Path, *, closed: bool = False, max_bytes: int = 2**28, max_faces: int = 2_000_000
) -> TriangleMesh:
    """The triangles of an OBJ, STL or PLY file; materials, textures and other files that it names are not opened.

    Equal vertices are merged (an STL file names each corner of each triangle), polygons are cut into triangles, triangles
    without area and vertices without a triangle are dropped; ``notes`` count all of it.

    Args:
        closed: refuse a mesh with holes, that is with an edge that does not belong to exactly two triangles.
        max_bytes, max_faces: larger files are refused before they are decoded.

    Raises:
        ValueError: another ending, a file that misstates its size, is truncated or damaged, non-finite coordinates, indices
            of vertices that do not exist, no triangle with area, or holes where ``closed``. FileNotFoundError: no such file.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(f"the mesh must be a file ending in {', '.join(ENDINGS)}, got {path.name!r}")
    size = path.stat().st_size
    if size > max_bytes:
        raise ValueError(f"{path.name} has {size} bytes, more than the limit of {max_bytes}")
    {".obj": _check_obj, ".stl": _check_stl, ".ply": _check_ply}[ending](path, size, max_faces)
    try:
        vertices, faces = _decoded(path, ending)
    except Exception as error:  # the decoder raises whatever its parser stumbles over
        raise ValueError(f"{path.name} is damaged or is not {ending[1:].upper()}: {type(error).__name__}") from None
    return checked(vertices, faces, path.name, closed=closed, max_faces=max_faces)


def checked(vertices, faces, name: str = "mesh", *, closed: bool = False, max_faces: int = 2_000_000) -> TriangleMesh:
    """Vertices (n, 3) and faces (m, 3) as a :class:`TriangleMesh`, refused or mended as :func:`read_mesh` says."""
    vertices = checks.tensor(f"vertices of {name}", vertices, ndim=2, floating=True).double()
    faces = torch.as_tensor(faces)
    if vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.is_floating_point:
        raise ValueError(
            f"{name} must have vertices (n, 3) and whole-numbered faces (m, 3), got {tuple(vertices.shape)} and "
            f"{tuple(faces.shape)}"
        )
    checks.refuse_nonfinite(f"vertices of {name}", vertices)
    faces = faces.long()
    if len(faces) > max_faces:
        raise ValueError(f"{name} has {len(faces)} triangles, more than the limit of {max_faces}")
    if len(faces) == 0:
        raise ValueError(f"{name} has no triangles")
    if int(faces.min()) < 0 or int(faces.max()) >= len(vertices):
        raise ValueError(
            f"faces of {name} must index its {len(vertices)} vertices, got {int(faces.min())} to {int(faces.max())}"
        )
    notes = []
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    flat = torch.linalg.cross(b - a, c - a).norm(dim=1) == 0
    if bool(flat.any()):
        notes.append(f"{int(flat.sum())} triangles without area were dropped")
        faces = faces[~flat]
    if len(faces) == 0:
        raise ValueError(f"{name} has no triangle with area")
    used, faces = torch.unique(vertices[faces.reshape(-1)], dim=0, return_inverse=True)
    if len(used) != len(vertices):
        notes.append(f"{len(vertices)} vertices became {len(used)}: equal ones were merged, unused ones dropped")
    faces = faces.reshape(-1, 3)
    count = torch.unique(
        torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(1).values, dim=0, return_counts=True
    )[1]
    open_edges = int((count != 2).sum())
    if closed and open_edges:
        raise ValueError(f"{name} has holes: {open_edges} of its {len(count)} edges do not belong to two triangles")
    if open_edges:
        notes.append(f"{open_edges} of {len(count)} edges do not belong to two triangles: the mesh has holes")
    return TriangleMesh(used, faces, tuple(notes))


def _decoded(path: Path, ending: str):
    import numpy as np
    from trimesh.exchange import obj, ply, stl
    from trimesh.geometry import triangulate_quads

    with path.open("rb") as file:
        if ending == ".stl":
            found = stl.load_stl(file)
        elif ending == ".ply":
            found = ply.load_ply(file, resolver=None, fix_texture=False, skip_materials=True)
        else:
            found = obj.load_obj(file, resolver=None, skip_materials=True, group_material=False, maintain_order=True)
    parts = list(found["geometry"].values()) if "geometry" in found else [found]
    vertices, faces, before = [], [], 0
    for part in parts:
        if part.get("faces") is None:
            continue
        corners = part["faces"]
        if np.ndim(corners) != 2 or np.shape(corners)[1] != 3:
            corners = triangulate_quads(corners)
        vertices.append(torch.from_numpy(np.array(part["vertices"], dtype=np.float64)))
        faces.append(torch.from_numpy(np.array(corners, dtype=np.int64)) + before)
        before += len(vertices[-1])
    return torch.cat(vertices), torch.cat(faces)


def _check_stl(path: Path, size: int, max_faces: int) -> None:
    with path.open("rb") as file:
        head = file.read(84)
        text = head.lstrip().startswith(b"solid") and b"\0" not in head + file.read(_HEADER)
    if text:
        return
    if len(head) < 84:
        raise ValueError(f"{path.name} is truncated: an STL file has at least 84 bytes, got {size}")
    (count,) = struct.unpack("<I", head[80:84])
    if size != 84 + 50 * count:
        raise ValueError(
            f"{path.name} states {count} triangles, which are {84 + 50 * count} bytes, but has {size}: it is truncated "
            "or misstates its size"
        )
    _within(path, count, max_faces)


def _check_ply(path: Path, size: int, max_faces: int) -> None:
    with path.open("rb") as file:
        head, found, _ = file.read(_HEADER).partition(b"end_header")
    if not head.startswith(b"ply") or not found:
        raise ValueError(f"{path.name} has no PLY header, from 'ply' to 'end_header', in its first {_HEADER} bytes")
    counts = {
        name.decode("ascii", "replace"): int(number)
        for name, number in re.findall(rb"^element[ \t]+(\w+)[ \t]+(\d{1,15})\s*$", head, re.M)
    }
    if not {"vertex", "face"} <= counts.keys():
        raise ValueError(f"{path.name} must have vertices and faces, its header names {', '.join(counts) or 'neither'}")
    # an element takes a byte at the least
    if sum(counts.values()) > size:
        raise ValueError(f"{path.name} states {sum(counts.values())} elements but has {size} bytes: it is truncated")
    _within(path, counts["face"], max_faces)


def _check_obj(path: Path, size: int, max_faces: int) -> None:
    with path.open("rb") as file:
        count = 0
        for line in iter(lambda: file.readline(_HEADER), b""):
            if b"\0" in line:
                raise ValueError(f"{path.name} is not OBJ: it holds bytes that are not text")
            # a face of k corners becomes k - 2 triangles
            if line.startswith((b"f ", b"f\t")):
                count += max(1, len(line.split()) - 3)
    if not count:
        raise ValueError(f"{path.name} has no faces")
    _within(path, count, max_faces)


def _within(path, count, limit):
    if count > limit:
        raise ValueError(f"{path.name} states {count} triangles, more than the limit of {limit}")
