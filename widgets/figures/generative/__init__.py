"""Figures of the room of generative models, one module a method."""

from widgets.figures.generative import private_gsd as private_gsd
