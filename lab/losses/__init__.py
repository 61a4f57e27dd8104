"""Losses and what they do to a model: classification, contrastive, aggregate, calibration, densities, segmentation sets.

Classification losses are ``nn.Module``s with the arguments of ``torch.nn.CrossEntropyLoss`` beside their own, and a function
beside each. :func:`by_name` makes one from its name, for sweeps and comparisons::

    lab.losses.by_name("comp-sum", tau=1.5)
    lab.losses.names()
"""

from __future__ import annotations

from importlib import import_module

_PLACES = {
    "CompSumLoss": "comp_sum",
    "SmoothAdversarialCompSum": "comp_sum",
    "comp_sum_loss": "comp_sum",
    "conditional_risk": "comp_sum",
    "gamma_tau": "comp_sum",
    "margin_distance": "comp_sum",
    "t_tau": "comp_sum",
    "ALDRKLLoss": "ldr",
    "LDRKLLoss": "ldr",
    "aldr_kl_loss": "ldr",
    "ldr_kl_loss": "ldr",
    "info_nce": "contrastive_temperature",
    "hard_info_nce": "contrastive_temperature",
    "relative_penalty": "contrastive_temperature",
    "uniformity": "contrastive_temperature",
    "tolerance": "contrastive_temperature",
    "GroCoLoss": "groco",
    "group_ordering_loss": "groco",
    "soft_sort": "sorting",
    "soft_sort_permutation": "sorting",
    "AggregateLoss": "aggregate",
    "aggregate_loss": "aggregate",
    "asymptotic_risk": "aggregate",
    "interpolated_ridge": "aggregate",
    "make_bags": "aggregate",
    "private_bag_means": "aggregate",
    "MECOLoss": "meco",
    "nce_loss": "meco",
    "SSO": "target_surrogates",
    "target_surrogate": "target_surrogates",
    "SharedVarianceGaussianNB": "generative_classifier",
    "sample_need": "generative_classifier",
    "CorrectnessAwareLoss": "correctness_calibration",
    "correctness_aware_loss": "correctness_calibration",
    "AdaptiveTemperature": "correctness_calibration",
    "TinyProbUNet": "pulaski",
    "set_loss": "pulaski",
    "energy_set_distance": "pulaski",
    "sinkhorn_set_distance": "pulaski",
    "generalized_energy_distance": "pulaski",
    "EnsLoss": "ensloss",
    "ens_loss": "ensloss",
    "sample_calibrated_derivatives": "ensloss",
    "Comparison": "comparison",
    "compare": "comparison",
    "noisy_labels": "comparison",
    "pixel_seconds": "fast_path",
    "training_seconds": "fast_path",
    "with_and_without": "fast_path",
    "row_losses": "reduction",
    "focal_loss": "baselines",
    "label_smoothing_loss": "baselines",
    "multi_margin_loss": "baselines",
    "symmetric_cross_entropy_loss": "baselines",
    "by_name": "registry",
    "names": "registry",
}

__all__ = list(_PLACES)


def __getattr__(name):
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'lab.losses' has no attribute {name!r}; it offers {', '.join(sorted(_PLACES))}")


def __dir__():
    return sorted(_PLACES)
