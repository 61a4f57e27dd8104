"""The real 2-D images that scikit-image and scikit-learn ship, each with a reference label made by a stated procedure.

A reference label is the answer of the procedure on its card, not an annotation by people; the labels of ``horse`` and
``phantom`` are exact. Grey values are luminance ``0.2125 R + 0.7154 G + 0.0721 B`` in [0, 1].
"""

from __future__ import annotations

import numpy as np
import torch

from lab.datasets.predictions import equal_dice_predictions
from lab.datasets.resampling import halved
from lab.datasets.sets import ImageSet

LUMINANCE = np.array([0.2125, 0.7154, 0.0721])


def load_image(name: str, seed) -> ImageSet:
    """The image ``name`` with reference label and predictions of equal Dice drawn from ``seed``."""
    raw = _read(name)
    colour = None
    if raw.ndim == 3:
        colour = np.clip(raw, 0, 1).astype(np.float32)
        raw = raw @ LUMINANCE
    grey = np.clip(raw, 0, 1)
    procedure = LABELS.get(name)
    label = None if procedure is None else procedure(grey if name != "retina" else colour[..., 1].astype(float), colour)
    return labelled(name, grey.astype(np.float32), label, seed, colour)


def labelled(name, image, label, seed, colour=None, spacing=()) -> ImageSet:
    """An ``ImageSet`` from numpy arrays, with predictions of Dice 0.9 if there is a label."""
    found = {} if label is None else equal_dice_predictions(label, dice=0.9, seed=seed)
    return ImageSet(
        image=torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)),
        label=None if label is None else torch.from_numpy(np.ascontiguousarray(label)),
        prediction=found.get("mixed"),
        predictions=found,
        spacing=spacing,
        colour=None if colour is None else torch.from_numpy(np.ascontiguousarray(np.moveaxis(colour, -1, 0))),
        name=name,
    )


def _read(name):
    """(height, width) or (height, width, 3) float64 in [0, 1]."""
    if name in ("china", "flower"):
        from sklearn.datasets import load_sample_image

        return halved(load_sample_image(f"{name}.jpg") / 255.0)
    from skimage import data

    raw = getattr(data, {"phantom": "shepp_logan_phantom", "hubble": "hubble_deep_field"}.get(name, name))()
    if raw.ndim == 3:
        raw = raw[..., :3]
    image = raw.astype(float) / (255.0 if raw.dtype == np.uint8 else 1.0)
    if name == "horse":
        return 1.0 - image
    return halved(image) if name in ("retina", "hubble") else image


def _clean(mask, smallest, holes=None):
    """Drop components under ``smallest`` pixels and fill holes under ``holes`` (default ``smallest``)."""
    from skimage.morphology import remove_small_holes, remove_small_objects

    mask = remove_small_objects(mask, max_size=smallest - 1)
    return remove_small_holes(mask, max_size=(smallest if holes is None else holes) - 1) if holes != 0 else mask


def _otsu(image):
    from skimage.filters import threshold_otsu

    return threshold_otsu(image)


def _coins(grey, _):
    from scipy import ndimage
    from skimage.filters import sobel
    from skimage.segmentation import watershed

    markers = np.zeros(grey.shape, dtype=np.int32)
    markers[grey < 30 / 255], markers[grey > 150 / 255] = 1, 2
    coins = ndimage.binary_fill_holes(watershed(sobel(grey), markers) == 2)
    return ndimage.label(_clean(coins, 300))[0].astype(np.int32)


def _retina(green, colour):
    from scipy import ndimage
    from skimage.filters import apply_hysteresis_threshold, sato

    field = ndimage.binary_erosion(ndimage.gaussian_filter(colour[..., 0], 2) > 0.15, iterations=18)
    flat = green - ndimage.gaussian_filter(green, 20)
    ridges = sato(flat, sigmas=(1.5, 2.5, 3.5), black_ridges=True) * field
    low, high = np.quantile(ridges[field], (0.88, 0.95))
    return _clean(apply_hysteresis_threshold(ridges, low, high), 120, holes=20)


def _microaneurysms(grey, _):
    from scipy import ndimage
    from skimage.morphology import closing, disk

    dark = closing(ndimage.gaussian_filter(grey, 1.0), disk(7)) - ndimage.gaussian_filter(grey, 1.0)
    return _clean(dark > _otsu(dark), 6, holes=4)


def _cell(grey, _):
    from scipy import ndimage

    edges = ndimage.gaussian_gradient_magnitude(grey, 2.0)
    body = ndimage.binary_closing(np.pad(edges > _otsu(edges), 12), iterations=10)[12:-12, 12:-12]
    return _clean(ndimage.binary_opening(ndimage.binary_fill_holes(body), iterations=4), 2000)


def _dark_local(size, offset, smallest, sigma=0.0):

    def procedure(grey, _):
        from scipy import ndimage
        from skimage.filters import threshold_local

        smooth = ndimage.gaussian_filter(grey, sigma) if sigma else grey
        return _clean(smooth < threshold_local(smooth, size, offset=offset), smallest, holes=0)

    return procedure


def _bright_local(size, offset, smallest, sigma):

    def procedure(grey, _):
        from scipy import ndimage
        from skimage.filters import threshold_local

        smooth = ndimage.gaussian_filter(grey, sigma)
        return _clean(smooth > threshold_local(smooth, size, offset=offset), smallest)

    return procedure


def _camera(grey, _):
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(grey, 1.0)
    return _clean(smooth < _otsu(smooth), 150)


def _brick(grey, _):
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(grey, 2.0)
    flat = smooth - ndimage.gaussian_filter(smooth, 30)
    return _clean(flat > -0.25 * flat.std() - 0.01, 400)


def _stain(_, colour):
    from scipy import ndimage
    from skimage.color import rgb2hed

    brown = ndimage.gaussian_filter(rgb2hed(colour)[..., 2], 1.5)
    return _clean(brown > _otsu(brown), 60)


def _hubble(grey, _):
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(grey, 1.0)
    level = np.median(smooth) + 5 * 1.4826 * np.median(np.abs(smooth - np.median(smooth)))
    return ndimage.label(_clean(smooth > level, 12))[0].astype(np.int32)


LABELS = {
    "retina": _retina,
    "microaneurysms": _microaneurysms,
    "coins": _coins,
    "cell": _cell,
    "horse": lambda grey, _: grey > 0.5,
    "phantom": lambda grey, _: _levels(grey),
    "page": _dark_local(31, 0.06, 6),
    "text": _dark_local(41, 0.08, 12, 1.0),
    "clock": lambda grey, _: _clean(grey > _otsu(grey), 200),
    "camera": _camera,
    "brick": _brick,
    "grass": _bright_local(41, 0.0, 60, 1.5),
    "gravel": _bright_local(61, 0.0, 80, 2.0),
    "immunohistochemistry": _stain,
    "hubble": _hubble,
}


def _levels(grey):
    """Ids of the regions of distinct intensity above the background (exact for a piecewise constant image)."""
    levels = np.unique(np.round(grey[grey > 0.005], 2))
    return np.digitize(grey, (levels[:-1] + levels[1:]) / 2).astype(np.int32) * (grey > 0.005) + (grey > 0.005)
