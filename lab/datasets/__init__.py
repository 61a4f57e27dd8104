"""Every data set by name, and the user's own files by path.

::

    load(name_or_path, *, seed=0, max_bytes=2**30, scale=None, target=None, separator=None, ...) -> ImageSet | Table | Points
    pair(prediction, label, *, image=None, scale=None, activation=None) -> ImageSet      a user's own files or arrays
    names(kind=None) -> tuple[str, ...]          kind: "image" | "volume" | "table" | "points" | "classification"
    describe(name) -> Card                       title, kind, source, licence, shape, how label and predictions were made
    cards(kind=None) -> tuple[Card, ...]

``ImageSet(image, label, prediction, spacing, predictions, colour, name, affine)`` is one image or several.
    One image: ``image`` float32 in [0, 1] of shape (height, width) or (depth, height, width); ``label`` bool or integer ids
    of the same shape, or None; ``prediction`` float32 probabilities in [0, 1] of the same shape, or None; ``spacing`` one
    length per axis. ``predictions`` maps a variant to a prediction: all of them have the SAME Dice against the label at
    threshold 0.5 and differ in topology: ``"boundary"`` (no new feature: the same pixels in error, on the outline),
    ``"islands"`` (false components), ``"holes"`` (false holes), ``"breaks"`` (cut components), ``"bridges"`` (joined
    components). ``prediction`` is the variant ``"mixed"``. Several images (a folder of files): the three fields are tuples.
    Either way ``for item in data`` yields single images, ``len(data)`` counts them, ``data[i]`` is one.
    ``data.variant("holes")`` is the same set with that prediction.

``Table(frame, target, name)``: a pandas frame and the name of its target column (or None).
    ``.numeric(missing="refuse" | "drop" | "mean")`` -> (x (rows, columns), y (rows,) or None, column names).

``notes`` of each say what reading did and what columns become; the object shows them, and so do ``lab datasets PATH`` and
the pages.

``Points(x, label, name, classes)``: ``x`` of shape (items, features...), ``label`` (items,) int64, float or None. Image
    classification sets have ``x`` of shape (items, channels, height, width) in [0, 1].

Generators take their sizes as arguments: ``lab.datasets.smooth_field``, ``vessel_tree``, ``noisy_circle``, ``spirals``,
``blobs``, ``moons``, ``clusters``, ``textures``, ``mnist``, ``mnist1d``, ``equal_dice_predictions`` (see their modules);
``load`` calls them with the sizes on their cards. No global random state is read or written: ``seed: int | torch.Generator``.

Several domains: ``from lab.datasets.domains import domains, rotated, noisy, blurred, contrast, inverted, coloured``;
    ``domains(points, [rotated(0), rotated(30)])`` and a user's ``own_domains(path, column="site")`` give ``Domains``: named
    ``Points`` of equal features, ``leave_out(name) -> (sources, target)``. :mod:`lab.training.left_out` evaluates on each in turn.

Nothing of scikit-image, scikit-learn, nibabel or pandas is imported before a set is loaded.
"""

from __future__ import annotations

from importlib import import_module

_PLACES = {
    "load": "loading",
    "pair": "files",
    "read_array": "files",
    "names": "catalog",
    "describe": "catalog",
    "cards": "catalog",
    "Card": "catalog",
    "ImageSet": "sets",
    "Table": "sets",
    "Points": "sets",
    "equal_dice_predictions": "predictions",
    "dice": "predictions",
    "smooth_field": "fields",
    "vessel_tree": "vessels",
    "tube_network": "tubes",
    "noisy_circle": "clouds",
    "spirals": "clouds",
    "moons": "clouds",
    "blobs": "clouds",
    "clusters": "clouds",
    "textures": "patches",
    "mnist": "numerals",
    "mnist1d": "numerals",
    "moved": "moves",
    "own_domains": "domains",
    "Domains": "domains",
}

__all__ = list(_PLACES)


def __getattr__(name):
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'lab.datasets' has no attribute {name!r}; it offers {', '.join(sorted(_PLACES))}")


def __dir__():
    return sorted(_PLACES)
