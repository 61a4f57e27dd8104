"""Figures of the room of compression, one module a method."""

from widgets.figures.compression.dcc import accuracies as accuracies
from widgets.figures.compression.dcc import by_stage as by_stage
from widgets.figures.compression.dcc import condensed as condensed
from widgets.figures.compression.dcc import growing as growing
from widgets.figures.compression.dcc import learning as learning
from widgets.figures.compression.dcc import velocities as velocities
from widgets.figures.compression.quantized_distillation import accuracy_over_bytes as accuracy_over_bytes
from widgets.figures.compression.quantized_distillation import arms as arms
from widgets.figures.compression.quantized_distillation import levels as levels
from widgets.figures.compression.quantized_distillation import over_bits as over_bits
from widgets.figures.compression.smooth_expert_distillation import chained as chained
from widgets.figures.compression.smooth_expert_distillation import expert_paths as expert_paths
from widgets.figures.compression.smooth_expert_distillation import matching as matching
from widgets.figures.compression.smooth_expert_distillation import movements as movements
from widgets.figures.compression.smooth_expert_distillation import swept_images as swept_images
