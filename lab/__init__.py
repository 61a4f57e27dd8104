"""Objective Lab: differentiable objectives and what they do to a model, with every claim measured.

``import lab`` costs nothing: each room is imported when it is first named, as in ``lab.topology.match(prediction, label)``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers
    from lab import claims as claims
    from lab import compression as compression
    from lab import datasets as datasets
    from lab import explain as explain
    from lab import generalization as generalization
    from lab import generative as generative
    from lab import inductive_bias as inductive_bias
    from lab import kernels as kernels
    from lab import losses as losses
    from lab import online as online
    from lab import physics as physics
    from lab import report as report
    from lab import search as search
    from lab import topology as topology
    from lab import training as training

__version__ = "0.1.0"

_ROOMS = (
    "claims",
    "compression",
    "datasets",
    "explain",
    "generalization",
    "generative",
    "inductive_bias",
    "kernels",
    "losses",
    "online",
    "physics",
    "report",
    "search",
    "topology",
    "training",
)


def __getattr__(name):
    if name in _ROOMS:
        return import_module(f"lab.{name}")
    raise AttributeError(f"module 'lab' has no attribute {name!r}; rooms: {', '.join(_ROOMS)}")


def __dir__():
    return sorted([*_ROOMS, "__version__"])
