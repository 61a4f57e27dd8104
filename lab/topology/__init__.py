"""Topology as an objective: barcodes of images, graphs and point clouds, matchings, losses and optimization.

Betti matching of segmentations::

    match(prediction, label, *, filtration="superlevel", border=None, max_dimension=None) -> Matching
    match_batch(predictions, labels, *, threads=None, ...) -> list of Matching
    barcode(x, *, dimension=None) -> Barcode
    BettiMatchingLoss(sigmoid=False, softmax=False, ...)    drop-in beside a Dice loss; .submit(input, target) -> Pending
    BettiMatchingMetric(...)                                counts per dimension over batches of any shapes
    matching_error(prediction, label), companions(prediction, label)
    drawing(matching, bar, spacing=...)                     of volumes: a loop as Curve, a component or cavity as Surface

Persistence as an objective: filtration -> descriptor -> loss -> optimizer (x, f: torch tensors)::

    Rips(x)  FunctionRips(x, f)  DensityRips(x, bandwidth)  CodensityRips(x, bandwidth)  FlagDelaunay(x, f=None)
    Graph(edges, vertex_values)  Image(values, parameters=1, construction="V")  Slice(filtration, base, direction)
    bars(filtration, degree) -> Diagram             one parameter: .points (k, 2), .lengths, .essential, .index
    hilbert(filtration, degree), euler(filtration) -> SignedMeasure     any number: .points (k, p), .weights, .index
    rank(filtration, degree, grid=16) -> RankInvariant     multiparameter_landscape(filtration, degree, grid)
    total_persistence(diagram), integral(measure, function), sliced_wasserstein(mu, nu), optimal_transport(mu, nu),
    wasserstein(d1, d2), bottleneck(d1, d2), convolution(measure, grid, bandwidth), persistence_image, landscape, silhouette
    minimize(loss, x, *, steps, optimizer, learning_rate, transform=Diffeomorphic(0.2), ...) -> Optimized
    Vanilla, StratifiedSampling, BigStep, Continuation, Diffeomorphic; Objective(filtration, loss, degree); StepRule
    signed_measure(descriptor, filtration), check_semilinear(descriptor, make, parameters)     a descriptor of one's own

Lists of filtrations give lists of results on a bounded pool of threads.

Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module

_PLACES = {
    "match": "matching",
    "match_batch": "matching",
    "Matching": "matching",
    "Pairs": "matching",
    "estimate": "large",
    "Estimate": "large",
    "barcode": "barcodes",
    "Barcode": "barcodes",
    "Bars": "barcodes",
    "Bar": "barcodes",
    "CONVENTIONS": "images",
    "BettiMatchingLoss": "loss",
    "Pending": "loss",
    "matching_error": "metric",
    "MatchingError": "metric",
    "BettiMatchingMetric": "metric",
    "cycle": "cycles",
    "drawing": "volume_cycles",
    "drawings": "volume_cycles",
    "curve": "volume_cycles",
    "surface": "volume_cycles",
    "Curve": "volume_cycles",
    "Surface": "volume_cycles",
    "companions": "comparison",
    "Companions": "comparison",
    "placement": "comparison",
    "WassersteinMatchingLoss": "pairing",
    "wasserstein_pairs": "pairing",
    # persistence as an objective
    "Rips": "filtrations",
    "FunctionRips": "filtrations",
    "DensityRips": "filtrations",
    "CodensityRips": "filtrations",
    "FlagDelaunay": "filtrations",
    "Graph": "filtrations",
    "Image": "filtrations",
    "density": "densities",
    "codensity": "densities",
    "distance_to_measure": "densities",
    "Slice": "slices",
    "bars": "diagrams",
    "Diagram": "diagrams",
    "hilbert": "signed_measures",
    "euler": "signed_measures",
    "SignedMeasure": "signed_measures",
    "rank": "ranks",
    "RankInvariant": "ranks",
    "multiparameter_landscape": "ranks",
    "Objective": "objectives",
    "total_persistence": "objectives",
    "integral": "objectives",
    "lengths_between": "objectives",
    "sliced_wasserstein": "distances",
    "sliced_wasserstein_matrix": "distances",
    "optimal_transport": "distances",
    "wasserstein": "distances",
    "bottleneck": "distances",
    "convolution": "vectorize",
    "persistence_image": "vectorize",
    "landscape": "vectorize",
    "silhouette": "vectorize",
    "minimize": "optimize",
    "Minimizer": "optimize",
    "Optimized": "optimize",
    "StepRule": "optimize",
    "Vanilla": "transforms",
    "StratifiedSampling": "transforms",
    "BigStep": "transforms",
    "Continuation": "transforms",
    "Diffeomorphic": "transforms",
    "criticality": "transforms",
    "Cells": "semilinear",
    "cells": "semilinear",
    "signed_measure": "semilinear",
    "check_semilinear": "semilinear",
}

__all__ = list(_PLACES)


def __getattr__(name):
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'lab.topology' has no attribute {name!r}; it offers {', '.join(sorted(_PLACES))}")


def __dir__():
    return sorted(_PLACES)
