"""Topology as an objective: barcodes of images, graphs and point clouds, matchings, losses and optimization.

Betti matching of segmentations::

    match(prediction, label, *, filtration="superlevel", border=None, max_dimension=None) -> Matching
    match_batch(predictions, labels, *, threads=None, ...) -> list of Matching
    barcode(x, *, dimension=None) -> Barcode
    BettiMatchingLoss(sigmoid=False, softmax=False, ...)    drop-in beside a Dice loss; .submit(input, target) ->
    Pending BettiMatchingMetric(...)                                counts per dimension over batches of any shapes
    matching_error(prediction, label), companions(prediction, label)

Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module

_PLACES = {
    "match": "matching",
    "match_batch": "matching",
    "Matching": "matching",
    "Pairs": "matching",
    "barcode": "barcodes",
    "Barcode": "barcodes",
    "Bars": "barcodes",
    "Bar": "barcodes",
    "CONVENTIONS": "images",
    "BettiMatchingLoss": "loss",
    "Pending": "loss",
}

__all__ = list(_PLACES)


def __getattr__(name):
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'lab.topology' has no attribute {name!r}; it offers {', '.join(sorted(_PLACES))}")


def __dir__():
    return sorted(_PLACES)
