"""Generalization: when training says something about domains, attacks and classes that were never seen.

::

    DRMClassifier(encoder, features, domains, classes), train_drm(model, sources)      one head a domain, weighed by the target
    Classifier(encoder, head), train_udim(model, x, label)                             flat on the source and on crafted domains
    train_done(model, x, label)                                                        adversarial, the weakest items weigh most
    quantize_layers(model, x, bits=4), train_gaqat(model, x, label, bits=4)            few bits, flat, step sizes that are not torn
    save_integers(model, path), load_integers(path, network)                           the same as packed integers in a file
    train_masked(model, images, label, grid=4)                                         pre-trained under learned noise

    from lab.datasets import own_domains
    sources, target = own_domains("patients.csv", column="hospital").leave_out("north")
    model = DRMClassifier(training.mlp(sources[0].x.shape[1], 32), 32, len(sources), 2)
    train_drm(model, sources).predict(target.x).argmax(1)
"""

from __future__ import annotations

from lab.generalization.doubly_robust_irat import eliminated_objective as eliminated_objective
from lab.generalization.doubly_robust_irat import tail_accuracy as tail_accuracy
from lab.generalization.doubly_robust_irat import train_done as train_done
from lab.generalization.doubly_robust_irat import worst_weights as worst_weights
from lab.generalization.drm import DRMClassifier as DRMClassifier
from lab.generalization.drm import adaptivity_bound as adaptivity_bound
from lab.generalization.drm import combine as combine
from lab.generalization.drm import drm_loss as drm_loss
from lab.generalization.drm import entropies as entropies
from lab.generalization.drm import gap_estimates as gap_estimates
from lab.generalization.drm import head_weights as head_weights
from lab.generalization.drm import train_drm as train_drm
from lab.generalization.gaqat import bytes_of as bytes_of
from lab.generalization.gaqat import disorder as disorder
from lab.generalization.gaqat import quantize_layers as quantize_layers
from lab.generalization.gaqat import train_gaqat as train_gaqat
from lab.generalization.integers import load_integers as load_integers
from lab.generalization.integers import save_integers as save_integers
from lab.generalization.policy_gradient_noise_mask import BetaMaskPolicy as BetaMaskPolicy
from lab.generalization.policy_gradient_noise_mask import train_masked as train_masked
from lab.generalization.udim import Classifier as Classifier
from lab.generalization.udim import craft as craft
from lab.generalization.udim import inconsistency as inconsistency
from lab.generalization.udim import train_udim as train_udim
