"""Objective Lab: differentiable objectives and what they do to a model, with every claim measured.

``import lab`` costs nothing: each room is imported when it is first named, as in ``lab.topology.match(prediction, label)``.
"""

from importlib import import_module

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
