"""Bits at ten thousand training and test points, blockwise and in place, exact or by Lanczos quadrature.

:func:`large_law` holds three ``n x n`` float64 matrices at most beside the eigensolver's workspace and takes one
Cholesky factorization, one triangular solve, one product and one symmetric eigendecomposition; its law answers every
threshold in milliseconds. :func:`large_bits` with ``method="lanczos"`` replaces the eigendecomposition: the saddlepoint
equations need only ``tr f(S)`` and ``d' f(S) d`` for smooth ``f``, which quadrature gives from a few dozen products with
``S``. The quadratic form is exact to the steps taken. The trace is an average over random probes whose quadrature
weights are calibrated to the exact ``tr S`` and ``tr S^2``; what is left is random and has a standard error.

Source: G. Golub, G. Meurant, 'Matrices, Moments and Quadrature', 1994; S. Ubaru, J. Chen, Y. Saad, 'Fast Estimation of
tr(f(A)) via Stochastic Lanczos Quadrature', SIAM Journal on Matrix Analysis and Applications 2017; J.-C. Deville, C.-E.
Saerndal, 'Calibration Estimators in Survey Sampling', Journal of the American Statistical Association 1992 (the
weights).
"""

from __future__ import annotations

import math

import torch

from lab import checks
from lab.inductive_bias.bit_methods import required_bits
from lab.inductive_bias.bits import Bits
from lab.inductive_bias.kernel_space import EPSILON, KernelSpace
from lab.inductive_bias.laws import LOG2, GaussianQuadraticLaw
from lab.inductive_bias.task import Task


def large_law(space: KernelSpace, task: Task, *, block: int = 2048, progress=None) -> GaussianQuadraticLaw:
    """The exact law of the loss with bounded memory: ``required_bits(large_law(space, task), eps)``.

    At 10,000 + 10,000 points about 5 GB and a few minutes on two cores.

    Args:
        space: with ``noise > 0`` or a covariance that is well conditioned on the training points.
        task: with the metric ``"mse"``.
        block: rows of a covariance built at once.
        progress: called with the name of the finished stage.

    Raises:
        ValueError: the training covariance is singular to rounding (use :class:`KernelSpace` itself, or noise).
    """
    report = progress or (lambda stage: None)
    covariance, errors, trace, meta = _posterior_in_place(space, task, block, report)
    values, vectors = torch.linalg.eigh(covariance)
    del covariance
    report("eigendecomposition")
    shifts = ((vectors.T @ errors) ** 2).sum(1)
    keep = values > 4 * EPSILON * trace
    return GaussianQuadraticLaw(
        values[keep], shifts[keep], task.outputs, float(shifts[~keep].sum()), errors.numel(), meta=meta
    )


def large_bits(
    space: KernelSpace,
    task: Task,
    eps: float,
    *,
    method: str = "exact",
    probes: int = 24,
    steps: int = 60,
    block: int = 2048,
    seed: int = 0,
    progress=None,
) -> Bits:
    """Required bits with bounded memory.

    Args:
        space, task, block, progress: as in :func:`large_law`.
        eps: the loss that counts as generalizing.
        method: ``"exact"`` (eigendecomposition, contour integral), or ``"lanczos"``, several times cheaper at 10,000
            points, with a 95 % interval from the probes.
        probes, steps: random vectors and Lanczos steps of the trace.

    Raises:
        ValueError: as :func:`large_law`.
    """
    checks.choice("method", method, ("lanczos", "exact"))
    eps = checks.number("eps", eps, low=0.0)
    checks.integer("probes", probes, low=4)
    checks.integer("steps", steps, low=4)
    if method == "exact":
        return required_bits(large_law(space, task, block=block, progress=progress), eps)
    report = progress or (lambda stage: None)
    covariance, errors, _, meta = _posterior_in_place(space, task, block, report)
    found, error = _lanczos_nats(covariance, errors, eps, probes, steps, checks.generator(seed))
    report("Lanczos")
    value, spread = found / LOG2, 1.96 * error / LOG2
    reasons = (f"traces from {probes} probes of {steps} Lanczos steps beside the leading eigenvectors",)
    meta.update(probes=probes, steps=steps, seed=seed)
    return Bits(value, (max(0.0, value - spread), value + spread), "Lanczos", True, reasons, eps, meta)


def _posterior_in_place(space, task, block, report):
    if task.metric != "mse":
        raise ValueError(f"metric must be 'mse' for the law of the squared error, got {task.metric!r}")
    checks.integer("block", block, low=1)
    covariance = space.covariance
    if hasattr(covariance, "resolved"):
        covariance = covariance.resolved(task.train_inputs)
    x, u = task.train_inputs, task.test_inputs
    n, m, k = task.n_train, task.n_test, task.outputs
    matrix = _filled(covariance, x, x, block)
    matrix.diagonal().add_(space.noise)
    info = torch.empty((), dtype=torch.int32)
    torch.linalg.cholesky_ex(matrix, out=(matrix, info))  # the rounding of the machine decides whether a pivot is 0
    diagonal = matrix.diagonal()
    if int(info) != 0 or not float(diagonal.min() / diagonal.max()) > 1e-6:
        raise ValueError("covariance of the training points is singular to rounding; give the space some noise")
    report("Cholesky factorization")
    labels = torch.linalg.solve_triangular(matrix, task.train_targets, upper=False)
    quadratic = float((labels**2).sum())
    amplitude = quadratic / (n * k) if space.amplitude == "marglik" else space.amplitude
    mean = torch.empty(m, k, dtype=torch.float64)
    cross = torch.empty(n, m, dtype=torch.float64)
    for start in range(0, m, block):
        part = slice(start, min(start + block, m))
        cross[:, part] = torch.linalg.solve_triangular(matrix, covariance(x, u[part]), upper=False)
        mean[part] = cross[:, part].T @ labels
    del matrix
    report("triangular solve")
    posterior = _filled(covariance, u, u, block)
    trace = amplitude * float(posterior.diagonal().sum())
    for start in range(0, m, block):
        part = slice(start, min(start + block, m))
        posterior[part].addmm_(cross[:, part].T, cross, alpha=-1)
    del cross
    posterior.mul_(amplitude)
    report("posterior covariance")
    meta = {"space": space.label, "n_train": n, "n_test": m, "outputs": k, "noise": space.noise, "amplitude": amplitude}
    return posterior, mean - task.test_targets, trace, meta


def _filled(covariance, a, b, block):
    matrix = torch.empty(len(a), len(b), dtype=torch.float64)
    for start in range(0, len(a), block):
        part = slice(start, min(start + block, len(a)))
        matrix[part] = covariance(a[part], b)
    return matrix


def _lanczos_nats(matrix, errors, eps, probes, steps, generator):
    """``-log P`` and its standard error: converged leading eigenvectors exactly, the rest by quadrature.

    On the complement the shifts are quadrature weights from the errors, and the degrees of freedom are weights from
    random probes: ``tr f = (n - r) * mean over probes``, fractional degrees of freedom at the nodes.
    """
    from lab.kernels.chi_square import chi_square_tail

    n, k = errors.shape
    q = eps * n * k
    leading, vectors = _leading(matrix, min(256, n // 4), generator)
    coordinates = vectors.T @ errors
    rest = errors - vectors @ coordinates
    lengths = rest.norm(dim=0)
    random = torch.randint(0, 2, (n, probes), generator=generator).double().mul_(2).sub_(1)
    random -= vectors @ (vectors.T @ random)
    starts = torch.cat([rest / lengths.clamp_min(1e-300), random / random.norm(dim=0)], 1)
    nodes, weights = _quadrature(matrix, starts, min(steps, n - len(leading)), vectors)
    top = float(torch.cat([leading, nodes.reshape(-1)]).max())
    nodes = nodes.clamp_min(1e-15 * top)
    shift = torch.zeros_like(weights)
    shift[:k] = weights[:k] * (lengths**2)[:, None]
    values = torch.cat([leading, nodes.reshape(-1)])
    shifts = torch.cat([(coordinates**2).sum(1), shift.reshape(-1)])
    moments = torch.tensor(
        [n, float(matrix.diagonal().sum()), float(torch.linalg.vector_norm(matrix) ** 2)], dtype=torch.float64
    ) - torch.stack([(leading**power).sum() for power in range(3)])

    def nats(chosen):
        dof = torch.zeros_like(weights)
        dof[k:][chosen] = k * _calibrated(weights[k:][chosen], nodes[k:][chosen], moments)
        dof = torch.cat([torch.full_like(leading, float(k)), dof.reshape(-1)])
        keep = (dof > 1e-14) | (shifts > 0)
        return -float(chi_square_tail(values[keep], shifts[keep], dof[keep].clamp_min(1e-14), [q]).log_cdf[0])

    everything = torch.arange(probes)
    single = torch.tensor([nats(everything[everything != i]) for i in range(probes)], dtype=torch.float64)
    # the jackknife over probes
    error = math.sqrt((probes - 1) / probes * float(((single - single.mean()) ** 2).sum()))
    return nats(everything), error


def _calibrated(weights, nodes, moments):
    """Weights nearest to ``weights`` whose sum, first and second moment at ``nodes`` are ``moments``.

    ``w (a + b x + c x^2)``, the chi-square distance of survey calibration; only the first two moments (then the sum
    alone) are met where the next would make a weight negative.
    """
    x = nodes / nodes.max()
    powers = torch.stack([torch.ones_like(x), x, x**2])
    wanted = moments / nodes.max() ** torch.arange(3)
    for used in (3, 2, 1):
        gram = torch.einsum("iab,jab,ab->ij", powers[:used], powers[:used], weights)
        factor = torch.einsum("i,iab->ab", torch.linalg.lstsq(gram, wanted[:used]).solution, powers[:used])
        if bool((factor >= 0).all()):
            break
    return weights * factor


def _leading(matrix, count, generator, rounds: int = 4):
    """Converged leading eigenpairs by subspace iteration with a Rayleigh-Ritz step."""
    basis = torch.randn(len(matrix), count, generator=generator, dtype=torch.float64)
    for _ in range(rounds):
        basis, _ = torch.linalg.qr(matrix @ basis)
    image = matrix @ basis
    values, rotation = torch.linalg.eigh(basis.T @ image)
    vectors, image = basis @ rotation, image @ rotation
    residual = (image - vectors * values).norm(dim=0)
    good = residual < 1e-5 * values.abs()
    return values[good], vectors[:, good]


def _quadrature(matrix, starts, steps, deflated):
    """Nodes and weights ``(columns, steps)`` of Lanczos quadrature from each unit column off the ``deflated`` vectors.

    Every new vector is orthogonalized twice against all before it and against the deflated ones.
    """
    n, columns = starts.shape
    basis = torch.zeros(steps, n, columns, dtype=torch.float64)
    alpha = torch.zeros(columns, steps, dtype=torch.float64)
    beta = torch.zeros(columns, steps - 1, dtype=torch.float64)
    basis[0] = starts
    for step in range(steps):
        vector = matrix @ basis[step]
        alpha[:, step] = (vector * basis[step]).sum(0)
        if step == steps - 1:
            break
        for _ in range(2):
            vector -= deflated @ (deflated.T @ vector)
            overlap = torch.einsum("snc,nc->sc", basis[: step + 1], vector)
            vector -= torch.einsum("snc,sc->nc", basis[: step + 1], overlap)
        norm = vector.norm(dim=0)
        beta[:, step] = norm
        # an exhausted Krylov space continues with zeros: the remaining nodes get weight zero
        basis[step + 1] = torch.where(norm > 1e-13 * alpha[:, 0].abs(), vector / norm.clamp_min(1e-300), 0.0)
        beta[:, step] = torch.where(norm > 1e-13 * alpha[:, 0].abs(), norm, 0.0)
    tridiagonal = torch.diag_embed(alpha) + torch.diag_embed(beta, 1) + torch.diag_embed(beta, -1)
    nodes, vectors = torch.linalg.eigh(tridiagonal)
    return nodes, vectors[:, 0, :] ** 2
