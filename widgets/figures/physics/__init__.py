"""Figures of the room of physics, one module a method."""

from widgets.figures.physics.nclaw import bodies as bodies
from widgets.figures.physics.nclaw import held_out as held_out
from widgets.figures.physics.nclaw import stress_curves as stress_curves
from widgets.figures.physics.nclaw import training as training
