"""Results in, plotly figures out: the only place of the project that draws.

Each room has a module here, each drawing function the form ``what(result, *, theme="light") -> go.Figure``. A figure's
title is its answer, computed from the result; axes carry labels and units; colours come from :data:`COLOURS` alone.
"""

from widgets.figures.theme import COLOURS, colours, figure, template

__all__ = ["COLOURS", "colours", "figure", "template"]
