"""The kernel space: Gaussian functions conditioned on the training set, and the exact law of their test error.

    L L' = K_tt,  A = L^-1 K_t*,  mean = A' L^-1 Y,  S = K_** - A'A,  S = U diag(lambda) U',  D_i = |(U'(mean -
    Y*))_i|^2

Source: Boopathy, Yue, Hwang, Iyer, Fiete, 'Towards Exact Computation of Inductive Bias', IJCAI 2024, the kernel-based
sampling of hypotheses. The published scheme draws functions with an iterative solve of ``K_tt`` and fits a family to
their losses; here the law of the loss is taken from the same matrices directly, so that nothing is drawn or fitted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from lab import checks
from lab.inductive_bias.laws import EnergyLaw, GaussianQuadraticLaw
from lab.inductive_bias.task import Task

EPSILON = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class KernelSpace:
    """Functions ``f ~ GP(0, amplitude * covariance)`` that fit the training set, exactly or up to label noise.

    Args:
        covariance: a covariance of :mod:`lab.inductive_bias.covariances`, or any function ``(a, b) -> (n, m)``.
        amplitude: a number, or ``"marglik"``: the maximum of the marginal likelihood,
            ``trace(Y' K_tt^-1 Y) / (n k)``.
        noise: variance of the label noise relative to the amplitude.
        name: a word for tables; the covariance's own form if empty.
    """

    covariance: Any
    amplitude: float | str = "marglik"
    noise: float = 0.0
    name: str = ""

    def __post_init__(self):
        if not callable(self.covariance):
            raise TypeError(f"covariance must be a function of two point sets, got {type(self.covariance).__name__}")
        if self.amplitude != "marglik":
            if isinstance(self.amplitude, str):
                raise ValueError(f"amplitude must be a number or 'marglik', got {self.amplitude!r}")
            checks.number("amplitude", self.amplitude, low=0.0, open_low=True)
        checks.number("noise", self.noise, low=0.0)

    @property
    def label(self) -> str:
        return self.name or _words(self.covariance)

    def condition(self, task: Task) -> Posterior:
        """Mean and covariance of the functions at the test points, given the training set."""
        covariance = self.covariance
        if hasattr(covariance, "resolved"):
            covariance = covariance.resolved(task.train_inputs)
        x, u = task.train_inputs, task.test_inputs
        k_tt, k_ts, k_ss = covariance(x, x), covariance(x, u), covariance(u, u)
        for name, matrix in (("covariance of the training points", k_tt), ("covariance of the test points", k_ss)):
            checks.refuse_nonfinite(name, matrix)
        return _condition(self, covariance, task, k_tt, k_ts, k_ss)

    def loss_law(self, task: Task) -> GaussianQuadraticLaw | EnergyLaw:
        """The law of the test loss: exact for squared error, an energy on latent normals for the error rate."""
        posterior = self.condition(task)
        return posterior.quadratic_law() if task.metric == "mse" else posterior.energy_law()

    def prior_law(self, task: Task) -> GaussianQuadraticLaw:
        """The law of the mean squared error on the *training* set under the unconditioned prior.

        ``required_bits(law, tolerance)`` is the information in the training labels at that tolerance: what the data
        give.
        """
        covariance = self.covariance
        if hasattr(covariance, "resolved"):
            covariance = covariance.resolved(task.train_inputs)
        amplitude = self.condition(task).meta["amplitude"] if self.amplitude == "marglik" else self.amplitude
        x = task.train_inputs
        matrix = amplitude * covariance(x, x)
        meta = {"space": self.label, "n_train": task.n_train, "amplitude": float(amplitude)}
        return Posterior(
            task,
            torch.zeros_like(task.train_targets),
            matrix,
            float(matrix.diagonal().sum()),
            True,
            meta,
            None,
            task.train_targets,
        ).quadratic_law(modes=False)

    def class_law(self, task: Task, features: torch.Tensor) -> GaussianQuadraticLaw:
        """The law of the mean squared distance, over the test points, to the linear model class of ``features``.

        ``features (n_test, p)`` span the model class; ``required_bits(law, eps)`` is then ``-log2`` of the mass that
        the space gives to hypotheses within ``eps`` of the class: the bits of choosing the class inside the space.
        """
        features = checks.tensor("features", features, ndim=2).double()
        if len(features) != task.n_test:
            raise ValueError(f"features must have one row per test point ({task.n_test}), got {len(features)}")
        q, r = torch.linalg.qr(features)
        q = q[:, r.diagonal().abs() > 1e-12 * r.diagonal().abs().max()]
        return self.condition(task).projected(q).quadratic_law()


@dataclass(frozen=True, eq=False)
class Posterior:
    """Gaussian law of the hypotheses at the test points: ``mean (n, k)``, ``covariance (n, n)`` for every output.

    ``coarser`` is the posterior with the rank of ``K_tt`` decided at a coarser cut, where ``K_tt`` is singular to
    rounding.
    """

    task: Task
    mean: torch.Tensor
    covariance: torch.Tensor
    prior_trace: float
    fits_training: bool
    meta: dict
    coarser: Posterior | None = None
    target: torch.Tensor | None = None

    def quadratic_law(self, *, modes: bool = True) -> GaussianQuadraticLaw:
        """The exact law of the mean squared error; ``modes=False`` leaves out what only the bit map needs."""
        errors = self.mean - (self.task.test_targets if self.target is None else self.target)
        values, vectors = torch.linalg.eigh(self.covariance)
        shifts = ((vectors.T @ errors) ** 2).sum(1)
        cut = 4 * EPSILON * self.prior_trace
        coarse = self.coarser.quadratic_law(modes=False) if self.coarser is not None else None
        if coarse is None:
            coarse = _law(self, values, vectors, shifts, 100 * cut, None, None)
        return _law(self, values, vectors if modes else None, shifts, cut, errors if modes else None, coarse)

    def energy_law(self) -> EnergyLaw:
        """The task's own loss as a function of latent normals, one per direction and output."""
        values, vectors = torch.linalg.eigh(self.covariance)
        keep = values > 4 * EPSILON * self.prior_trace
        root = vectors[:, keep] * values[keep].sqrt()
        k, rank = self.task.outputs, int(keep.sum())
        if not self.fits_training:
            return EnergyLaw(lambda latent: torch.full((len(latent),), math.inf), 1, meta=self.meta)

        def energy(latent):
            z = latent.reshape(len(latent), rank, k)
            return self.task.losses(self.mean + torch.einsum("nr,brk->bnk", root, z))

        return EnergyLaw(energy, max(1, rank * k), meta=dict(self.meta))

    def projected(self, basis: torch.Tensor) -> Posterior:
        """The residual of the hypotheses off the column space of the orthonormal ``basis``, to be compared with zero."""

        def off(matrix):
            return matrix - basis @ (basis.T @ matrix)

        covariance = off(off(self.covariance).T)
        return Posterior(
            self.task,
            off(self.mean),
            0.5 * (covariance + covariance.T),
            self.prior_trace,
            self.fits_training,
            self.meta,
            None,
            torch.zeros_like(self.mean),
        )

    def draw(self, size: int, *, seed: int | torch.Generator = 0) -> torch.Tensor:
        """``size`` hypotheses at the test points, ``(size, n, k)``."""
        values, vectors = torch.linalg.eigh(self.covariance)
        root = vectors * values.clamp_min(0).sqrt()
        z = torch.randn(
            checks.integer("size", size, low=1),
            root.shape[1],
            self.mean.shape[1],
            generator=checks.generator(seed),
            dtype=torch.float64,
        )
        return self.mean + torch.einsum("nr,brk->bnk", root, z)


def _condition(space, covariance, task, k_tt, k_ts, k_ss):
    n, k = task.train_targets.shape
    k_tt = k_tt + space.noise * torch.eye(n, dtype=k_tt.dtype)
    factor, info = torch.linalg.cholesky_ex(k_tt)
    diagonal = factor.diagonal()
    regular = int(info) == 0 and float(diagonal.min() / diagonal.max()) > 1e-6
    meta = {"space": space.label, "n_train": n, "n_test": task.n_test, "outputs": k, "noise": space.noise}
    if hasattr(covariance, "width"):
        meta["width"] = covariance.width
    if regular:
        meta["rank_test"] = "not needed: the training covariance has full rank"
        whitened = torch.linalg.solve_triangular(factor, torch.cat([k_ts, task.train_targets], 1), upper=False)
        logdet = 2 * float(diagonal.log().sum())
        return _posterior(space, task, whitened, k_ss, logdet, n, 0.0, meta, None)
    values, vectors = torch.linalg.eigh(k_tt)
    cut = 8 * n * EPSILON * float(values[-1])
    meta["rank_test"] = "ranks decided at two cuts a factor 100 apart"
    coarse = _singular(space, task, values, vectors, 100 * cut, k_ts, k_ss, dict(meta), None)
    return _singular(space, task, values, vectors, cut, k_ts, k_ss, meta, coarse)


def _singular(space, task, values, vectors, cut, k_ts, k_ss, meta, coarse):
    """Conditioning in the range of ``K_tt``: duplicated or dependent training points carry no second condition."""
    keep = values > cut
    basis = vectors[:, keep]
    residual = task.train_targets - basis @ (basis.T @ task.train_targets)
    size = float((task.train_targets**2).sum())
    missed = float((residual**2).sum()) / size if size > 0 else 0.0
    whitened = (basis / values[keep].sqrt()).T @ torch.cat([k_ts, task.train_targets], 1)
    logdet = float(values[keep].log().sum())
    return _posterior(space, task, whitened, k_ss, logdet, int(keep.sum()), missed, meta, coarse)


def _posterior(space, task, whitened, k_ss, logdet, rank, missed, meta, coarse):
    k = task.outputs
    a, b = whitened[:, : task.n_test], whitened[:, task.n_test :]
    quadratic = float((b**2).sum())
    amplitude = space.amplitude
    if amplitude == "marglik":
        amplitude = quadratic / (rank * k) if quadratic > 0 else 1.0
    fits = missed <= 1e-9
    evidence = -0.5 * (quadratic / amplitude + k * (logdet + rank * math.log(2 * math.pi * amplitude)))
    meta = {
        **meta,
        "amplitude": float(amplitude),
        "rank": rank,
        "training_residual": missed,
        "log_marginal_likelihood": evidence if fits else -math.inf,
    }
    covariance = amplitude * (k_ss - a.T @ a)
    trace = amplitude * float(k_ss.diagonal().sum())
    return Posterior(task, a.T @ b, 0.5 * (covariance + covariance.T), trace, fits, meta, coarse)


def _law(posterior, values, vectors, shifts, cut, errors, coarse):
    keep = values > cut
    return GaussianQuadraticLaw(
        eigenvalues=values[keep],
        shifts=shifts[keep],
        outputs=posterior.mean.shape[1],
        floor=float(shifts[~keep].sum()),
        count=posterior.mean.numel(),
        modes=vectors[:, keep] if errors is not None else None,
        errors=errors,
        coarser=coarse,
        fits_training=posterior.fits_training,
        meta=posterior.meta,
    )


def _words(covariance):
    fields = getattr(covariance, "__dataclass_fields__", None)
    if fields is None:
        return getattr(covariance, "__name__", type(covariance).__name__)
    parts = [
        f"{name} {getattr(covariance, name):g}"
        if isinstance(getattr(covariance, name), (int, float)) and not isinstance(getattr(covariance, name), bool)
        else f"{name} {getattr(covariance, name)}"
        for name, entry in fields.items()
        if getattr(covariance, name) != entry.default
    ]
    return type(covariance).__name__ + (f" ({', '.join(parts)})" if parts else "")
