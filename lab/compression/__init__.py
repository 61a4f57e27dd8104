"""Less data and fewer bits: synthetic sets that stand for large ones, students with few levels that stand for large models.

::

    condense(images, labels, per_class=10, *, method="dcc" | "dc") -> SyntheticSet
    condense_by_trajectories(images, labels, per_class=10, *, smooth=True, tricks=()) -> SyntheticSet
    SyntheticSet: .images, .train(network, seeds=5), .save(path), SyntheticSet.load(path)
    evaluate(sets, y, test, networks=5) -> accuracies of fresh networks trained on each set
    quantize(model, bits=4) -> Quantized                      an own module's weights on few levels
    distill(teacher, student, x, y, bits=4) -> Quantized      the same, trained to follow an own teacher
    Quantized: .model(like), .bytes(), .save(path), Quantized.load(path)

    >>> import torch
    >>> from lab.compression import condense
    >>> images, labels = torch.rand(60, 8, 8), torch.arange(60) % 3
    >>> made = condense(images, labels, per_class=1, outer=2, inner=2)
    >>> made.images.shape
    torch.Size([3, 8, 8])
"""

from lab.compression.dcc import Condensed as Condensed
from lab.compression.dcc import condense as condense
from lab.compression.dcc import condense_all as condense_all
from lab.compression.dcc import matching_loss as matching_loss
from lab.compression.matching import Networks as Networks
from lab.compression.matching import kernel_velocity as kernel_velocity
from lab.compression.matching import layer_distance as layer_distance
from lab.compression.quantized_distillation import Quantized as Quantized
from lab.compression.quantized_distillation import distill as distill
from lab.compression.quantized_distillation import quantize as quantize
from lab.compression.smooth_expert_distillation import condense_by_trajectories as condense_by_trajectories
from lab.compression.smooth_expert_distillation import match_trajectories as match_trajectories
from lab.compression.smooth_expert_distillation import train_experts as train_experts
from lab.compression.synthetic import SyntheticSet as SyntheticSet
from lab.compression.synthetic import evaluate as evaluate
