"""Random perturbations and the weighted normal equations of a local fit: see :func:`perturb_gram`."""

from lab.kernels.perturb_gram.law import Perturbations
from lab.kernels.perturb_gram.public import Gram, perturb_gram

__all__ = ["Gram", "Perturbations", "perturb_gram"]
