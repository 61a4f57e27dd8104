"""Losses and what they do to a model: classification, contrastive, aggregate, calibration, densities, segmentation sets.

Classification losses are ``nn.Module``s with the arguments of ``torch.nn.CrossEntropyLoss`` beside their own, and a function
beside each. :func:`by_name` makes one from its name, for sweeps and comparisons::

    lab.losses.by_name("comp-sum", tau=1.5)
    lab.losses.names()
"""

from typing import TYPE_CHECKING

from lab.losses.aggregate import AggregateLoss as AggregateLoss
from lab.losses.aggregate import aggregate_loss as aggregate_loss
from lab.losses.aggregate import asymptotic_risk as asymptotic_risk
from lab.losses.aggregate import interpolated_ridge as interpolated_ridge
from lab.losses.aggregate import make_bags as make_bags
from lab.losses.aggregate import private_bag_means as private_bag_means
from lab.losses.baselines import focal_loss as focal_loss
from lab.losses.baselines import label_smoothing_loss as label_smoothing_loss
from lab.losses.baselines import multi_margin_loss as multi_margin_loss
from lab.losses.baselines import symmetric_cross_entropy_loss as symmetric_cross_entropy_loss
from lab.losses.comp_sum import CompSumLoss as CompSumLoss
from lab.losses.comp_sum import SmoothAdversarialCompSum as SmoothAdversarialCompSum
from lab.losses.comp_sum import comp_sum_loss as comp_sum_loss
from lab.losses.comp_sum import conditional_risk as conditional_risk
from lab.losses.comp_sum import gamma_tau as gamma_tau
from lab.losses.comp_sum import margin_distance as margin_distance
from lab.losses.comp_sum import t_tau as t_tau
from lab.losses.comparison import Comparison as Comparison
from lab.losses.comparison import compare as compare
from lab.losses.comparison import noisy_labels as noisy_labels
from lab.losses.contrastive_temperature import hard_info_nce as hard_info_nce
from lab.losses.contrastive_temperature import info_nce as info_nce
from lab.losses.contrastive_temperature import relative_penalty as relative_penalty
from lab.losses.contrastive_temperature import tolerance as tolerance
from lab.losses.contrastive_temperature import uniformity as uniformity
from lab.losses.correctness_calibration import AdaptiveTemperature as AdaptiveTemperature
from lab.losses.correctness_calibration import CorrectnessAwareLoss as CorrectnessAwareLoss
from lab.losses.correctness_calibration import correctness_aware_loss as correctness_aware_loss
from lab.losses.ensloss import EnsLoss as EnsLoss
from lab.losses.ensloss import ens_loss as ens_loss
from lab.losses.ensloss import sample_calibrated_derivatives as sample_calibrated_derivatives
from lab.losses.groco import GroCoLoss as GroCoLoss
from lab.losses.groco import group_ordering_loss as group_ordering_loss
from lab.losses.ldr import ALDRKLLoss as ALDRKLLoss
from lab.losses.ldr import LDRKLLoss as LDRKLLoss
from lab.losses.ldr import aldr_kl_loss as aldr_kl_loss
from lab.losses.ldr import ldr_kl_loss as ldr_kl_loss
from lab.losses.meco import MECOLoss as MECOLoss
from lab.losses.meco import nce_loss as nce_loss
from lab.losses.pulaski import TinyProbUNet as TinyProbUNet
from lab.losses.pulaski import energy_set_distance as energy_set_distance
from lab.losses.pulaski import generalized_energy_distance as generalized_energy_distance
from lab.losses.pulaski import set_loss as set_loss
from lab.losses.pulaski import sinkhorn_set_distance as sinkhorn_set_distance
from lab.losses.reduction import row_losses as row_losses
from lab.losses.registry import by_name as by_name
from lab.losses.registry import names as names
from lab.losses.sorting import soft_sort as soft_sort
from lab.losses.sorting import soft_sort_permutation as soft_sort_permutation
from lab.losses.target_surrogates import SSO as SSO
from lab.losses.target_surrogates import target_surrogate as target_surrogate

if TYPE_CHECKING:
    from lab.losses.generative_classifier import SharedVarianceGaussianNB as SharedVarianceGaussianNB
    from lab.losses.generative_classifier import sample_need as sample_need


def __getattr__(name):
    """The generative classifier is an estimator of scikit-learn, which is imported with it and not before."""
    if name in ("SharedVarianceGaussianNB", "sample_need"):
        from lab.losses import generative_classifier

        return getattr(generative_classifier, name)
    raise AttributeError(f"module 'lab.losses' has no attribute {name!r}")
