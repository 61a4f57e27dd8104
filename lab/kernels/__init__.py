"""Fused operations with a torch reference, a numba form for the CPU and a Triton form for GPUs.

Public functions (arrays are torch tensors; numpy is accepted; every differentiable argument has a gradient):

``rowloss(logits, target, loss=comp_sum(), *, temperature=1.0, weight=1.0)``
    One loss a row, shape of ``target``; logits (N, C) or (B, C, H, W). Loss objects: ``comp_sum(tau, margin=0)``,
    ``generalized_cross_entropy(q)``, ``mean_absolute_error()``, ``label_distributionally_robust(margin=)``
    (temperature = lambda, a number or one per sample), ``margin()`` (with ``weight`` = EnsLoss derivatives).
    ``kl_dro_weights(losses, radius)`` gives instance weights for ``weight``.
``pairwise(x, y, values=None, *, kernel="gaussian", reduce="sum", lengthscale=1.0)``
    sum_j k(x_i, y_j) v_j, logsumexp or argmin over all pairs without the matrix. Kernels: gaussian, laplacian,
    matern32, matern52, imq, energy, dot.
``infonce(a, b, *, temperature=0.1)``
    Contrastive loss of each row of ``a`` with positive ``b[i]`` and the other rows of ``b`` as negatives.
``random_hypotheses(network, x, target=None, *, count, seed=0, start=0, measure="error", segments=None, progress=None)``
    Errors (or squared errors, or values) of ``count`` random networks, weights never stored;
    ``network = RandomNetwork(features, widths, outputs, activation=, weight_scale=, bias_scale=, law=)``;
    ``network.parameters(seed, index)`` and ``network.evaluate(x, seed, index)`` replay any one.
``perturb_gram(perturbations, outputs, weights=None, *, seed=0, start=0, intercept=True) -> Gram``
    Weighted normal equations of n local linear fits; ``Gram.solve(ridge=0.0)`` gives the coefficients.
    ``perturbations`` is a tensor (m, d) or ``Perturbations("gaussian" | "uniform" | "mask", dimension, ...)`` with
    ``.draw(count, seed=)``.
``cubical_barcodes(images)``, ``cubical_matching(predictions, labels)``
    Bars and Betti matching of a batch of sublevel images or volumes in dimension 0 and in the top dimension: cells, voxels
    and counts, in whole numbers. :mod:`lab.topology` is the room that reads them.
``mpm_step(x, v, C, F, tau, *, cells, spacing, dt, mass, volume, gravity=0.0, wall="slip", layers=2, force=None)``
    One step of the material point method in two or three dimensions for many scenes, with a hand-written adjoint;
    ``mpm_roll(x, v, C, F, law, steps, every)`` is the gradient-free loop with materials ``ClosedLaw(elastic, mu, lam, ...)``.
``element_step(x, v, drive, *, mesh, lame, dt, substeps=1, viscosity=0.0, contact, bodies, pose, motion, load, force)``
    Explicit steps of a soft body of triangles or tetrahedra that touches rigid bodies, with a hand-written adjoint;
    ``ElementMesh.of(points, elements)`` and ``Bodies.of(shapes, d=2)`` are its constants.

Frame: ``backend("auto" | "reference" | "cpu" | "triton")`` as a context, the variable ``LAB_KERNELS`` with the same
words, ``explain(op, *tensors)`` for the form that would run and why, ``table()`` for all operations, ``warm()`` to
compile and keep every CPU kernel. Any folder here with a ``cpu`` module takes part in ``warm()`` by defining
``warm()`` there; its kernels are ``@njit(cache=True, nogil=True)``.

Importing this module loads torch and nothing else; numba and triton are loaded when a form needs them.
"""

from lab.kernels import cache as _cache

_cache.prepare()

from lab.kernels.cache import warm  # noqa: E402
from lab.kernels.cubical.public import cubical_barcodes, cubical_matching  # noqa: E402
from lab.kernels.dispatch import Choice, backend  # noqa: E402
from lab.kernels.element_step import Bodies, ElementMesh, ElementState, element_step  # noqa: E402
from lab.kernels.infonce import infonce  # noqa: E402
from lab.kernels.mpm import ClosedLaw, MpmState, mpm_roll, mpm_step  # noqa: E402
from lab.kernels.pairwise import KERNELS, pairwise  # noqa: E402
from lab.kernels.perturb_gram import Gram, Perturbations, perturb_gram  # noqa: E402
from lab.kernels.random_hypotheses import RandomNetwork, random_hypotheses  # noqa: E402
from lab.kernels.rowloss import (  # noqa: E402
    RowLoss,
    comp_sum,
    generalized_cross_entropy,
    kl_dro_weights,
    label_distributionally_robust,
    margin,
    mean_absolute_error,
    rowloss,
)
from lab.kernels.spec import KernelSpec, explain, specs, table  # noqa: E402

__all__ = [
    "KERNELS",
    "Bodies",
    "Choice",
    "ClosedLaw",
    "ElementMesh",
    "ElementState",
    "Gram",
    "KernelSpec",
    "MpmState",
    "Perturbations",
    "RandomNetwork",
    "RowLoss",
    "backend",
    "comp_sum",
    "cubical_barcodes",
    "cubical_matching",
    "element_step",
    "explain",
    "generalized_cross_entropy",
    "infonce",
    "kl_dro_weights",
    "label_distributionally_robust",
    "margin",
    "mean_absolute_error",
    "mpm_roll",
    "mpm_step",
    "pairwise",
    "perturb_gram",
    "random_hypotheses",
    "rowloss",
    "specs",
    "table",
    "warm",
]
