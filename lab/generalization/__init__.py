"""Generalization: when training says something about domains, attacks and classes that were never seen.

::

    DRMClassifier(encoder, features, domains, classes), train_drm(model, sources)      one head a domain, weighed by the target
    Classifier(encoder, head), train_udim(model, x, label)                             flat on the source and on crafted domains

    from lab.datasets import own_domains
    sources, target = own_domains("patients.csv", column="hospital").leave_out("north")
    model = DRMClassifier(training.mlp(sources[0].x.shape[1], 32), 32, len(sources), 2)
    train_drm(model, sources).predict(target.x).argmax(1)
"""

from __future__ import annotations

from lab.generalization.drm import DRMClassifier as DRMClassifier
from lab.generalization.drm import adaptivity_bound as adaptivity_bound
from lab.generalization.drm import combine as combine
from lab.generalization.drm import drm_loss as drm_loss
from lab.generalization.drm import entropies as entropies
from lab.generalization.drm import gap_estimates as gap_estimates
from lab.generalization.drm import head_weights as head_weights
from lab.generalization.drm import train_drm as train_drm
from lab.generalization.udim import Classifier as Classifier
from lab.generalization.udim import craft as craft
from lab.generalization.udim import inconsistency as inconsistency
from lab.generalization.udim import train_udim as train_udim
