"""Figures of the room of generalization, one module a method."""

from widgets.figures.generalization.compare import methods_by_target as methods_by_target
from widgets.figures.generalization.compare import points_over_erm as points_over_erm
from widgets.figures.generalization.doubly_robust_irat import class_bars as class_bars
from widgets.figures.generalization.doubly_robust_irat import class_weights as class_weights
from widgets.figures.generalization.doubly_robust_irat import robustness as robustness
from widgets.figures.generalization.drm import accuracies_by_target as accuracies_by_target
from widgets.figures.generalization.drm import gap_correlations as gap_correlations
from widgets.figures.generalization.drm import head_votes as head_votes
from widgets.figures.generalization.gaqat import accuracy_by_arm as accuracy_by_arm
from widgets.figures.generalization.gaqat import conflicts as conflicts
from widgets.figures.generalization.gaqat import disorder_map as disorder_map
from widgets.figures.generalization.gaqat import swept as swept
from widgets.figures.generalization.policy_gradient_noise_mask import beta_parameters as beta_parameters
from widgets.figures.generalization.policy_gradient_noise_mask import gains_by_mode as gains_by_mode
from widgets.figures.generalization.policy_gradient_noise_mask import masks_on_images as masks_on_images
from widgets.figures.generalization.udim import arms_on_shifts as arms_on_shifts
from widgets.figures.generalization.udim import crafted_images as crafted_images
from widgets.figures.generalization.udim import rises as rises
