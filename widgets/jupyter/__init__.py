"""Explorers for JupyterLab: ipywidgets beside plotly figures, offline, imported when first named.

``explore(method)`` works for every method of the catalog; the others are made for their room::

    from widgets.jupyter import explore
    explore("betti")

In a notebook that papermill executes an explorer leaves its static figures.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from widgets.jupyter.betti import BettiExplorer as BettiExplorer
    from widgets.jupyter.explain import ExplanationExplorer as ExplanationExplorer
    from widgets.jupyter.explorer import Explorer as Explorer
    from widgets.jupyter.explorer import explore as explore
    from widgets.jupyter.inductive_bias import BiasExplorer as BiasExplorer
    from widgets.jupyter.kernels import KernelExplorer as KernelExplorer
    from widgets.jupyter.listing import studies as studies
    from widgets.jupyter.persistence import PersistenceExplorer as PersistenceExplorer
    from widgets.jupyter.volumes import VolumeExplorer as VolumeExplorer

_PLACES = {
    "BettiExplorer": "widgets.jupyter.betti",
    "VolumeExplorer": "widgets.jupyter.volumes",
    "PersistenceExplorer": "widgets.jupyter.persistence",
    "ExplanationExplorer": "widgets.jupyter.explain",
    "BiasExplorer": "widgets.jupyter.inductive_bias",
    "KernelExplorer": "widgets.jupyter.kernels",
    "Explorer": "widgets.jupyter.explorer",
    "explore": "widgets.jupyter.explorer",
    "studies": "widgets.jupyter.listing",
}

__all__ = list(_PLACES)


def __getattr__(name):
    if name not in _PLACES:
        raise AttributeError(f"module 'widgets.jupyter' has no attribute {name!r}; it has {', '.join(_PLACES)}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__():
    return sorted(_PLACES)
