"""Experiments on segmentations: what overlap does not see, what counting does not see, what conventions decide."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from lab import checks, source
from lab.datasets import ImageSet, equal_dice_predictions, load, smooth_field
from lab.topology.images.comparison import table
from lab.topology.images.matching import match
from lab.topology.images.metric import matching_error

if TYPE_CHECKING:
    import pandas as pd

REAL = ("microaneurysms", "coins", "horse", "cell", "retina")


def labels_of(data: ImageSet | None, seeds, budget: str) -> list[tuple[str, Tensor]]:
    """A named binary label for each seed: of ``data`` in turn, else real images first (two, all in full, none at smoke) and then
    smooth fields."""
    if data is not None:
        items = [(item.name or f"image {k}", item.label > 0) for k, item in enumerate(data)]
        return [items[seed % len(items)] for seed in seeds]
    real = REAL[: {"smoke": 0, "default": 2, "full": len(REAL)}[budget]]
    return [(real[seed], load(real[seed]).label > 0) if seed < len(real) else field(seed) for seed in seeds]


def field(seed: int) -> tuple[str, Tensor]:
    """The name and the label of a smooth field."""
    return f"field {seed}", smooth_field((128, 128), seed=seed).mask


def equal_dice_table(label, *, dice: float = 0.9, seed: int = 0, predictions=None) -> pd.DataFrame:
    """Measures of predictions of equal Dice, one row a kind of error; of given ``predictions``, or of generated
    ones."""
    label = checks.tensor("label", label, ndim=2) > 0
    return table(predictions or equal_dice_predictions(label, dice=dice, seed=seed), label)


@dataclass(frozen=True, eq=False)
class EqualCounts:
    """Two predictions with the label's own Betti numbers and one Dice: ``moved`` has features in wrong places."""

    label: Tensor
    kept: Tensor
    moved: Tensor
    moves: int


def equal_counts(label, *, moves: int = 3, seed: int = 0) -> EqualCounts | None:
    """Erase the smallest components of a label and put as many of the same size elsewhere: the numbers stay.

    The companion ``kept`` has as many wrong pixels, all of them on outlines. ``None`` where the label has too few
    components, or no room.
    """
    mask = (checks.tensor("label", label, ndim=2) > 0).cpu().numpy()
    moves = checks.integer("moves", moves, low=1)
    parts, count = ndimage.label(mask)
    sizes = ndimage.sum_labels(mask, parts, np.arange(1, count + 1))
    draws = np.random.default_rng(seed)
    current, done = mask.copy(), 0
    for index in np.argsort(sizes):
        if done == moves or count - done < 2:
            break
        place = ndimage.find_objects(parts)[index]
        piece = parts[place] == index + 1
        if ndimage.label(~np.pad(piece, 1))[1] > 1:
            continue
        depth = ndimage.distance_transform_cdt(~(current | mask), "chessboard")
        reach = max(piece.shape) // 2 + 3
        depth[:reach], depth[-reach:], depth[:, :reach], depth[:, -reach:] = 0, 0, 0, 0
        rooms = np.argwhere(depth > reach)
        if len(rooms) == 0:
            continue
        x, y = rooms[draws.integers(len(rooms))] - np.array(piece.shape) // 2
        current[place][piece] = False
        current[x : x + piece.shape[0], y : y + piece.shape[1]] |= piece
        done += 1
    wrong = int((mask & ~current).sum())
    if done == 0 or wrong == 0:
        return None
    found = equal_dice_predictions(mask, dice=1 - wrong / mask.sum(), variants=("boundary",), seed=seed)
    if "boundary" not in found:
        return None
    soft = torch.from_numpy(np.where(current, 0.9, 0.1).astype(np.float32))
    return EqualCounts(torch.from_numpy(mask), found["boundary"], soft, done)


def union_shares(prediction, label, *, partners_of=None) -> tuple[int, int]:
    """``(pairs, together)``: matched features of two masks, and how many lie in one feature of their union.

    Matched components lie in one component of the union, matched loops go around one hole of it. ``partners_of`` maps the
    induced matching to the one that is counted in its place.
    """
    prediction, label = (
        checks.tensor(name, x, ndim=2) > 0 for name, x in (("prediction", prediction), ("label", label))
    )
    found = match(prediction, label) if partners_of is None else partners_of(match(prediction, label))
    union, holes = (prediction | label).numpy(), ~(prediction | label).numpy()
    parts = ndimage.label(union)[0].ravel()
    holes = ndimage.label(holes, structure=np.ones((3, 3)))[0].ravel()
    pairs = together = 0
    for one, two in found.matched[0]:
        pairs += 1
        together += parts[one.birth_voxel] == parts[two.birth_voxel]
    for one, two in found.matched[1]:
        pairs += 1
        inside = [set(holes[found.cycle(bar).inside.numpy()].tolist()) - {0} for bar in (one, two)]
        together += bool(inside[0] & inside[1])
    return pairs, int(together)


def flip_changes(prediction, label) -> tuple[bool, float]:
    """Whether flipping axis 0 of both images changes the matched values, and the relative change of the loss."""
    plain, flipped = match(prediction, label), match(prediction.flip(0), label.flip(0))
    changed = any(_values(plain, d) != _values(flipped, d) for d in plain.dimensions)
    first, second = float(plain.loss()), float(flipped.loss())
    return changed, abs(first - second) / max(first, 1e-12)


def _values(found, d):
    sides = (found.matched[d].prediction, found.matched[d].label)
    return sorted(zip(*(values.tolist() for bars in sides for values in (bars.birth, bars.death))))


def orientation(*, pairs: int = 10, size: int = 24, seed: int = 0) -> pd.DataFrame:
    """What flipping axis 0 of both images does to their matching, one row a pair.

    Columns: ``kind`` of the pair (``"noise with noise"``, ``"noise with a mask"``, ``"prediction with its label"``),
    ``changed`` (whether the matched values are others) and ``loss_change`` (relative).
    """
    import pandas as pd

    rows = []
    for k in range(checks.integer("pairs", pairs, low=1)):
        draw = np.random.default_rng([seed, k])
        noise, other = torch.from_numpy(draw.random((2, size, size)))
        field = torch.from_numpy(ndimage.gaussian_filter(draw.standard_normal((size, size)), 2))
        mask = (field > 0).double()
        soft = (3 * field / field.std() + 0.3 * torch.from_numpy(draw.standard_normal((size, size)))).sigmoid()
        for kind, one, two in (
            ("noise with noise", noise, other),
            ("noise with a mask", noise, mask),
            ("prediction with its label", soft, mask),
        ):
            changed, change = flip_changes(one, two)
            rows.append({"kind": kind, "changed": changed, "loss_change": change})
    return pd.DataFrame(rows)


def growth(sizes, *, seed: int = 0, rounds: int = 3, noise: bool = False, matcher=match) -> pd.DataFrame:
    """Process CPU time of one matching against the number of pixels: the least of ``rounds`` each.

    A smooth prediction and a mask are matched, or two images of ``noise``, which have the most bars. ``matcher`` is timed.
    """
    import pandas as pd

    rows = []
    for size in sizes:
        draw = np.random.default_rng([seed, size])
        field, detail = (ndimage.gaussian_filter(draw.standard_normal((size, size)), width) for width in (6, 2))
        prediction = torch.from_numpy(3 * field / field.std() + detail / detail.std()).float().sigmoid().double()
        label = torch.from_numpy(field > 0.3 * field.std())
        if noise:
            prediction, label = torch.from_numpy(draw.random((2, size, size)))
        matcher(prediction, label)
        times = []
        for _ in range(rounds):
            began = time.process_time()
            matcher(prediction, label)
            times.append(time.process_time() - began)
        rows.append({"pixels": size * size, "seconds": min(times), "nanoseconds_per_pixel": 1e9 * min(times) / size**2})
    return pd.DataFrame(rows)


def benchmark_table(part: str = "") -> pd.DataFrame:
    """A committed table; ``make bench`` writes them.

    Args:
        part: ``""`` the comparison with the peers, one row a case; ``"limits"`` threads, overlap, cache, first calls;
            ``"growth"`` cost and memory against size; ``"companions"`` all measures of predictions of equal Dice.

    Raises:
        ValueError: an unknown part. FileNotFoundError: the project's data folder holds no such table.
    """
    checks.choice("part", part, ("", "limits", "growth", "companions"))
    name = f"betti_matching_{part}.csv" if part else "betti_matching.csv"
    return source.committed_table(name)


def connectivity_errors(prediction, label) -> tuple[int, int]:
    """Betti matching error with the foreground connected through 4 and through 8 neighbours.

    In the second convention components of the foreground are the loops of the background inside a frame, and holes are
    components of the background (Alexander duality).
    """
    prediction, label = (checks.tensor(name, x, ndim=2) for name, x in (("prediction", prediction), ("label", label)))
    mask, wanted = prediction >= 0.5, label > 0
    inverse = matching_error((~mask).double(), ~wanted, border="foreground")
    return matching_error(mask.double(), wanted).total, inverse.total


def without_specks(label, size: int) -> Tensor:
    """The label without components and holes of fewer than ``size`` pixels: what an annotator may or may not remove."""
    from skimage.morphology import remove_small_holes, remove_small_objects

    mask = (checks.tensor("label", label, ndim=2) > 0).cpu().numpy()
    mask = remove_small_objects(mask, max_size=size - 1, connectivity=1)
    return torch.from_numpy(remove_small_holes(mask, max_size=size - 1, connectivity=2))


def inversions(first, second) -> tuple[int, int]:
    """``(inverted, pairs)``: how many pairs two lists of errors rank in opposite order, of those that both rank."""
    inverted = pairs = 0
    for i in range(len(first)):
        for j in range(i):
            product = (first[i] - first[j]) * (second[i] - second[j])
            inverted += product < 0
            pairs += product != 0
    return inverted, pairs


def specked(label, *, count: int = 12, seed: int = 0) -> Tensor:
    """The label with annotation artefacts: single wrong pixels and one-pixel gaps across thin parts."""
    mask = (checks.tensor("label", label, ndim=2) > 0).cpu().numpy().copy()
    draws = np.random.default_rng(seed)
    far = np.argwhere(ndimage.distance_transform_cdt(~mask) > 3)
    for x, y in far[draws.permutation(len(far))[:count]]:
        mask[x, y] = True
    deep = np.argwhere(ndimage.distance_transform_cdt(mask) > 2)
    for x, y in deep[draws.permutation(len(deep))[:count]]:
        mask[x, y] = False
    return torch.from_numpy(mask)


def pitfalls(label, *, seed: int = 0, dice: float = 0.9, specks: int = 12) -> pd.DataFrame:
    """Matching error of predictions of equal Dice under three readings of one label, one row a prediction.

    Columns: ``four`` and ``eight`` neighbours for the foreground, and ``artefacts``: against the label with
    single-pixel annotation artefacts (four neighbours), where the artefacts are in the predictions that copy them.
    """
    import pandas as pd

    label = checks.tensor("label", label, ndim=2) > 0
    noisy = specked(label, count=specks, seed=seed)
    predictions = equal_dice_predictions(label, dice=dice, seed=seed)
    copied = {f"{name}, copies artefacts": torch.where(noisy == label, x, 1 - x) for name, x in predictions.items()}
    rows = {}
    for name, x in {**predictions, **copied}.items():
        four, eight = connectivity_errors(x, label)
        rows[name] = {"four": four, "eight": eight, "artefacts": matching_error(x, noisy).total}
    return pd.DataFrame.from_dict(rows, orient="index")
