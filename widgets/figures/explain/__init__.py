"""Figures of the explanations room."""

from widgets.figures.explain.judged import adversaries, choice, no_free_lunch, perturbation
from widgets.figures.explain.measured import accuracy, contests, relations, speed, times
from widgets.figures.explain.shown import heatmap, segments, weights

__all__ = [
    "accuracy",
    "adversaries",
    "choice",
    "contests",
    "heatmap",
    "no_free_lunch",
    "perturbation",
    "relations",
    "segments",
    "speed",
    "times",
    "weights",
]
