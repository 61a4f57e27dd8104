"""Figures of the room of generalization, one module a method."""

from widgets.figures.generalization.drm import accuracies_by_target as accuracies_by_target
from widgets.figures.generalization.drm import gap_correlations as gap_correlations
from widgets.figures.generalization.drm import head_votes as head_votes
from widgets.figures.generalization.udim import arms_on_shifts as arms_on_shifts
from widgets.figures.generalization.udim import crafted_images as crafted_images
from widgets.figures.generalization.udim import rises as rises
