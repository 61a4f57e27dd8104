"""Imperfect predictions of a label: equal Dice, different topology.

Every variant has exactly ``e`` false positives and ``e`` false negatives, ``e = round((1 - dice) n)`` for ``n`` foreground
voxels, so that Dice ``= 2 (n - e) / (2 n) = 1 - e / n``, the intersection over union and the accuracy of all variants
coincide. What differs is where the wrong voxels lie:

- ``boundary``: on the outline, one simple point after the other, so that components, holes and cavities stay what they were;
- ``islands`` / ``holes``: balls in the background / inside the foreground;
- ``breaks`` / ``bridges``: balls at the thin places of the foreground / of the background between foreground parts;
- ``mixed``: some of each.

Voxels of the budget that the topological errors leave over are simple points as well. A point is simple where flipping it
changes neither the components nor the holes, here in both conventions of connectivity ((4, 8) and (8, 4), or (6, 26) and
(26, 6)): G. Bertrand, G. Malandain, 'A new characterization of three-dimensional simple points', Pattern Recognition
Letters 1994.
"""

from __future__ import annotations

import numpy as np
import torch

from lab import checks

VARIANTS = ("mixed", "boundary", "islands", "holes", "breaks", "bridges")
_EDITS = {"mixed": ("islands", "holes", "breaks", "bridges"), "boundary": ()}


def equal_dice_predictions(
    label, *, dice: float = 0.9, softness: float = 2.0, variants=VARIANTS, seed: int | torch.Generator = 0
) -> dict[str, torch.Tensor]:
    """Probability maps that agree with ``label`` equally well by Dice and differ in topology.

    Args:
        label: mask (height, width) or (depth, height, width); positive values are foreground.
        dice: Dice of every prediction at threshold 0.5, reached exactly up to the rounding of ``e``.
        softness: distance from the outline, in voxels, over which the probability rises from 0.5 to 0.88.
        variants: which of ``VARIANTS``.
        seed: of the places of the errors.

    Returns:
        float32 probabilities by variant. A variant for which the label leaves no room (no hole fits into a thin line) is
        missing; so is everything for a label in which fewer than ``2 e`` voxels can be wrong.
    """
    mask = (checks.tensor("label", label, ndim=(2, 3)) > 0).cpu().numpy()
    dice = checks.number("dice", dice, low=0.5, high=1.0)
    softness = checks.number("softness", softness, low=0.0, open_low=True)
    variants = [checks.choice("variants", variant, VARIANTS) for variant in variants]
    generator = checks.generator(seed)
    draws = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    foreground = int(mask.sum())
    if foreground == 0 or foreground == mask.size:
        raise ValueError("label must hold foreground and background, got only one of them")
    budget = round((1 - dice) * foreground)
    found = {}
    for variant in variants:
        wrong = _wrong(mask, budget, _EDITS.get(variant, (variant,)), draws)
        if wrong is not None:
            found[variant] = torch.from_numpy(_soften(wrong, softness, draws))
    return found


def _wrong(mask, budget, kinds, draws):
    """The mask with ``budget`` false positives and as many false negatives, or None where they do not fit."""

    from scipy import ndimage

    current = mask.copy()
    for kind in kinds:
        share = int(0.8 * budget) * (1 if len(kinds) == 1 else 2) // max(1, len(kinds))
        if not _edit(current, mask, kind, share, draws) and len(kinds) == 1:
            return None
    texture = _smooth_noise(mask.shape, 6.0, draws)
    removed = budget - int((mask & ~current).sum())
    added = budget - int((~mask & current).sum())
    keep = ndimage.binary_dilation(current != mask, iterations=3)
    done = _flip_simple(current, mask & ~keep, False, removed, texture) and _flip_simple(
        current, ~mask & ~keep, True, added, -texture
    )
    return current if done else None


def _edit(current, mask, kind, share, draws) -> int:
    """Place balls of one kind in ``current`` while their voxels stay within ``share``; returns how many."""

    from scipy import ndimage

    adds = kind in ("islands", "bridges")
    side = ~mask if adds else mask
    depth = ndimage.distance_transform_edt(np.pad(side, 1, constant_values=adds))[(slice(1, -1),) * mask.ndim]
    if kind in ("islands", "holes"):
        radius = float(np.clip(np.sqrt(share / 24 / np.pi) if mask.ndim == 2 else (share / 33) ** (1 / 3), 1.0, 3.0))
        places = np.argwhere(depth > radius + 2.5)
        radii = np.full(len(places), radius)
        limit = 8
    else:
        places, radii = _necks(side, depth, adds)
        limit = 12
    placed, used, centres = 0, 0, np.empty((0, mask.ndim))
    for index in draws.permutation(len(places))[:4000]:
        if placed == limit:
            break
        place, radius = places[index], radii[index]
        if np.any(place < 2) or np.any(place >= np.array(mask.shape) - 2):
            continue
        if len(centres) and np.min(np.abs(centres - place).max(axis=1)) < 2 * radius + 6:
            continue
        window, ball = _ball(mask.shape, place, radius)
        flipped = ball & side[window] & (current[window] != adds)
        size = int(flipped.sum())
        if size == 0 or used + size > share:
            continue
        if kind in ("breaks", "bridges") and not _changes_topology(current, window, flipped, adds):
            continue
        current[window][flipped] = adds
        placed, used, centres = placed + 1, used + size, np.vstack([centres, place])
    return placed


def _necks(side, depth, adds):
    """Where ``side`` is thin: its medial points with small half-width, and the radius of the ball that fills the neck."""

    from scipy import ndimage

    ridge = (depth >= ndimage.maximum_filter(depth, size=3) - 1e-9) & side & (depth <= (5.0 if adds else 4.0))
    places = np.argwhere(ridge)
    return places, depth[tuple(places.T)] + 1.0


def _changes_topology(current, window, flipped, adds) -> bool:
    """Whether the flip joins or cuts something: compares components in a frame around the ball."""

    from scipy import ndimage

    frame = tuple(slice(max(0, s.start - 2), s.stop + 2) for s in window)
    before = current[frame] if adds else current[frame].copy()
    after = before.copy()
    inner = tuple(slice(w.start - f.start, w.stop - f.start) for w, f in zip(window, frame))
    after[inner][flipped] = adds
    full = ndimage.generate_binary_structure(current.ndim, current.ndim)
    change = [ndimage.label(after, s)[1] - ndimage.label(before, s)[1] for s in (None, full)]
    return max(change) < 0 if adds else min(change) > 0


def _ball(shape, place, radius):
    reach = int(np.ceil(radius))
    window = tuple(slice(max(0, p - reach), min(n, p + reach + 1)) for p, n in zip(place, shape))
    grid = np.ogrid[window]
    return window, sum((g - p) ** 2 for g, p in zip(grid, place)) <= radius**2


def _flip_simple(current, allowed, value, count, texture) -> bool:
    """Set ``count`` simple points of ``allowed`` to ``value``, in the order of ``texture``, in place.

    Points of one parity class are no neighbours of each other, so flipping several of them at once is the same as one by one.
    """

    from scipy import ndimage

    if count < 0:
        return False
    parity = sum(np.asarray(g) % 2 * 2**axis for axis, g in enumerate(np.ogrid[tuple(map(slice, current.shape))]))
    interior = np.zeros_like(current)
    interior[(slice(1, -1),) * current.ndim] = True
    neighbours = ndimage.generate_binary_structure(current.ndim, 1)
    order = np.random.default_rng(0)
    while count > 0:
        before = count
        rim = ndimage.binary_dilation(current == value, neighbours) & allowed & interior & (current != value)
        if not rim.any():
            return False
        cut = np.quantile(texture[rim], 0.6)
        for group in order.permutation(2**current.ndim):
            places = np.argwhere(rim & (parity == group) & (texture >= cut))
            places = places[_simple(current, places)]
            places = places[np.argsort(-texture[tuple(places.T)], kind="stable")[:count]]
            current[tuple(places.T)] = value
            count -= len(places)
        if count == before:
            if cut <= texture[rim].min():
                return False
            texture = np.where(rim, texture.max(), texture)
    return True


def _simple(image, places):
    """Which of ``places`` are simple points of ``image`` in both conventions; a neighbourhood is one word of 3^d bits."""
    count = 3**image.ndim
    word = np.zeros(len(places), dtype=np.int64)
    for bit in range(count):
        offset = np.array(np.unravel_index(bit, (3,) * image.ndim)) - 1
        word |= image[tuple((places + offset).T)].astype(np.int64) << bit
    reach = np.abs(np.array(np.unravel_index(np.arange(count), (3,) * image.ndim)) - 1).sum(axis=0)
    around, faces = _bits(reach > 0), _bits(reach == 1)
    near = around if image.ndim == 2 else _bits((reach > 0) & (reach < 3))
    inside, outside = word & around, ~word & around
    return (
        _one_component(inside & near, faces, image.ndim, False)
        & _one_component(outside, around, image.ndim, True)
        & _one_component(outside & near, faces, image.ndim, False)
        & _one_component(inside, around, image.ndim, True)
    )


def _bits(chosen) -> int:
    return sum(1 << int(bit) for bit in np.flatnonzero(chosen))


def _one_component(part, adjacency, ndim, diagonal):
    """Whether the bits of ``part`` that touch the centre lie in exactly one of its components: flood from the lowest."""
    touching = part & adjacency
    flood = touching & -touching
    while True:
        grown = part & _dilate(flood, ndim, diagonal)
        if np.array_equal(grown, flood):
            return (touching != 0) & (touching & ~flood == 0)
        flood = grown


def _dilate(word, ndim, diagonal):
    """``word`` and its neighbours along the axes (``diagonal``: in the whole box around each bit)."""
    grown = word
    place = np.array(np.unravel_index(np.arange(3**ndim), (3,) * ndim))
    for axis in range(ndim):
        step, source = 3 ** (ndim - 1 - axis), grown if diagonal else word
        up, down = _bits(place[axis] < 2), _bits(place[axis] > 0)
        grown = grown | (source & up) << step | (source & down) >> step
    return grown


def _smooth_noise(shape, sigma, draws):
    from scipy import ndimage

    noise = ndimage.gaussian_filter(draws.standard_normal(shape), sigma, mode="wrap")
    return noise / (noise.std() + 1e-12)


def _soften(mask, softness, draws):
    """Probabilities on the right side of 0.5 everywhere, rising with the distance from the outline."""

    from scipy import ndimage

    inside = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))[(slice(1, -1),) * mask.ndim]
    outside = ndimage.distance_transform_edt(np.pad(~mask, 1, mode="edge"))[(slice(1, -1),) * mask.ndim]
    distance = np.where(mask, inside - 0.5, 0.5 - outside)
    confidence = np.exp(0.35 * _smooth_noise(mask.shape, 1.0, draws))
    return (0.5 + 0.5 * np.tanh(distance * confidence / softness)).astype(np.float32)
