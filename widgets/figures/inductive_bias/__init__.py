"""Figures of required bits: the tail of a loss law, the bit map, curves over sizes, rankings, prices of edits."""

from widgets.figures.inductive_bias.curves import at_scale, lines, over_dimension, over_sizes
from widgets.figures.inductive_bias.networks import boolean_prior, network_widths, splitting_calibration
from widgets.figures.inductive_bias.tables import prices, ranking, speed
from widgets.figures.inductive_bias.tails import bit_map, bits_by_example, missed, tail

__all__ = [
    "at_scale",
    "bit_map",
    "bits_by_example",
    "boolean_prior",
    "lines",
    "missed",
    "network_widths",
    "over_dimension",
    "over_sizes",
    "prices",
    "ranking",
    "speed",
    "splitting_calibration",
    "tail",
]
