"""Figures of the explanations room."""

from widgets.figures.explain.experiments import accuracy, contests, relations, speed, times
from widgets.figures.explain.explanations import heatmap, segments, weights
from widgets.figures.explain.faithfulness import adversaries, choice, no_free_lunch, perturbation

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
