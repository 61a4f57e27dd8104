"""Draws and outputs of one explanation, solved for a kernel, and solved again for another without calling ``f``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from lab.explain import finite, neighbourhoods, odd_regression, solve, sparse, validation
from lab.explain.explanation import Diagnostics, Explanation
from lab.explain.neighbourhoods import Draws, Gaussian, LeaveOneOut
from lab.explain.surrogate import Linear, Sobolev, interactions
from lab.explain.weighting import missed, scaled_importance, student

if TYPE_CHECKING:
    from lab.explain.engine import Task


@dataclass(frozen=True)
class Cached:
    """Draws and outputs of one explanation, from which it can be solved again for another kernel."""

    task: Task
    drawn: Draws | None
    outputs: torch.Tensor | None
    at_x: torch.Tensor
    at_b: torch.Tensor | None
    extra: torch.Tensor | None
    loss: Any
    proxy: bool

    def fit(self, law, model: Linear, confidence: float, began: int) -> Explanation:
        drawn, outputs, task = self.drawn, self.outputs, self.task
        if isinstance(law, LeaveOneOut) and model.degree == 1:
            return self._removals(law, model, confidence, began)
        assert drawn is not None and outputs is not None  # only single removals go without
        weight, top = scaled_importance(law, drawn, task.contrast)
        squares = law.operator == "add"
        psi = model.basis(drawn.design, squares)
        count, instances = task.players.count, task.players.instances
        ones = model.basis(torch.ones(1, count, dtype=torch.float64), squares)[0]
        if law.anchor == "both":
            fit, intercept = self._between_ends(psi, weight, ones, count)
        elif law.anchor == "start":
            fit = solve.least_squares(psi - ones, weight, outputs - self.at_x[:, None], drawn.group)
            intercept = self.at_x - torch.einsum("q,nqc->nc", ones, fit.theta)
        elif model.intercept:
            psi = torch.cat([psi.new_ones(*psi.shape[:-1], 1), psi], -1)
            fit = self._solve(psi, weight, outputs, model, 1)
            intercept = fit.theta[:, 0]
            fit = replace(fit, theta=fit.theta[:, 1:], deviations=fit.deviations[:, :, 1:])
        else:
            fit = self._solve(psi, weight, outputs, model, 0)
            intercept = torch.zeros(instances, outputs.shape[-1], dtype=torch.float64)
        ends = None
        if law.anchor == "both":
            mass = law.log_target(torch.stack([torch.zeros(count), torch.ones(count)]).double(), task.contrast)
            ends = (torch.stack([self.at_b, self.at_x], 1), torch.exp(mass - top))
        risk = missed(fit.residual, outputs, weight, ends)
        gap = None
        if law.anchor == "both":
            gap = (torch.einsum("q,nqc->nc", ones, fit.theta) - (self.at_x - self.at_b)).abs()
        return self.result(law, model, fit, intercept, risk, weight, confidence, began, gap)

    def _removals(self, law, model: Linear, confidence: float, began: int) -> Explanation:
        """Single removals through ``f(x)``: as many equations as weights, each with one of them."""
        theta = self.at_x[:, None] - self.outputs
        ones = torch.ones(len(theta), dtype=torch.float64)
        fit = solve.Fit(theta, theta.new_zeros(len(theta), 0, *theta.shape[1:]), torch.zeros_like(theta), ones)
        weight, risk = torch.ones(theta.shape[1], dtype=torch.float64), torch.zeros_like(self.at_x)
        return self.result(law, model, fit, self.at_x - theta.sum(1), risk, weight, confidence, began, None)

    def _solve(self, psi, weight, outputs, model: Linear, free: int):
        ridge = extra = None
        if isinstance(self.loss, Sobolev):
            ridge = self.loss.weight * weight
            assert self.extra is not None  # the Sobolev loss has asked for derivatives
            extra = torch.nn.functional.pad(self.extra, (0, 0, free, 0))
        if model.penalty is None:
            return solve.least_squares(psi, weight, outputs, self.drawn.group, ridge=ridge, extra=extra)
        return sparse.fit(psi, weight, outputs, self.drawn.group, free, model.penalty)

    def _between_ends(self, psi, weight, ones, count):
        """Least squares under ``g(0) = f(b)`` and ``g(1) = f(x)``: along ``ones`` fixed, free in its complement."""
        rise = (self.at_x - self.at_b)[:, None]
        along = ones / (ones @ ones)
        across = torch.linalg.svd(ones[None])[2][1:].T  # (q, q - 1), orthonormal, orthogonal to `ones`
        y = self.outputs - self.at_b[:, None]
        if self.proxy:
            share = finite.shares(self.drawn) if finite.applies(self.drawn, psi) else None
            return odd_regression.fit(psi, weight, y, rise, self.drawn.group, share), self.at_b
        y = y - (psi @ along)[..., None] * rise
        fit = solve.least_squares(psi @ across, weight, y, self.drawn.group)
        if finite.applies(self.drawn, psi):
            own = psi @ across
            inverse = solve._inverse((own * weight[:, None]).T @ own)[0]
            fit = replace(fit, deviations=finite.plain(own, weight, fit.theta, y, finite.shares(self.drawn), inverse))
        return fit.mapped(across, along[:, None] * rise), self.at_b

    def result(self, law, model, fit, intercept, risk, weight, confidence, began, gap) -> Explanation:
        task = self.task
        count, instances = task.players.count, task.players.instances
        squares = law.operator == "add"
        error = fit.variance().sqrt()
        matrix = interactions(fit.theta, count, squares) if model.degree == 2 else None
        weights, error = fit.theta[:, :count], error[:, :count]
        exact = fit.groups == 0
        quantile = 0.0 if exact else student(confidence, fit.groups)
        ess = (weight.sum(-1).square() / torch.linalg.vecdot(weight, weight)).expand(instances)
        if gap is None:
            gap = torch.full((instances, weights.shape[-1]), torch.nan, dtype=torch.float64)
        texts, sound = validation.doubts(fit, ess, exact, law)
        if task.box.single:
            weights, error, intercept, risk = weights[..., 0], error[..., 0], intercept[..., 0], risk[..., 0]
            matrix = matrix[..., 0] if matrix is not None else None
        told = Diagnostics(
            draws=self.drawn.count if self.drawn is not None else 0,
            calls=task.box.rows - began,
            exact=exact,
            effective_sample_size=ess,
            condition_number=fit.condition,
            completeness_gap=gap.amax(-1),
            converged=sound,
            chunk=task.box.chunk,
            warnings=texts,
        )
        return Explanation(
            weights.contiguous(),
            intercept,
            error.contiguous(),
            risk,
            matrix,
            task.players.names,
            law,
            model,
            self.loss,
            confidence,
            quantile,
            told,
            self,
        )

    def resolve(self, before: Explanation, neighbourhood, confidence: float | None) -> Explanation:
        law = neighbourhoods.neighbourhood("neighbourhood", neighbourhood)
        if self.loss != "squared" or self.outputs is None or self.drawn is None:
            raise ValueError("resolve() needs an explanation by the squared loss; this one matches gradients")
        if type(law) is not type(before.neighbourhood) or law.operator != before.neighbourhood.operator:
            raise ValueError(
                f"resolve() stays within one kind of neighbourhood: {type(before.neighbourhood).__name__} cannot "
                f"become "
                f"{type(law).__name__} without calling f"
            )
        if isinstance(law, Gaussian) and law.sigma == 0:
            raise ValueError("the limit sigma = 0 needs gradients at x, not the outputs at hand; call gradients()")
        cached = self
        if law.anchor == "both" and self.at_b is None:
            cached = replace(self, at_b=self.task.box.at_baseline(None))
        if law.anchor == "both":
            cached = cached._inside()
        return cached.fit(law, before.model, confidence or before.confidence, self.task.box.rows)

    def _inside(self) -> Cached:
        """Without the draws that keep or replace every player: the Shapley kernel fixes those."""
        drawn = self.drawn
        if drawn is None:
            raise ValueError("gradients at one point hold no draws; the Shapley kernel needs draws of players")
        size = drawn.design.sum(-1)
        if size.ndim == 2:
            raise ValueError("tempered draws differ between instances; the Shapley kernel needs shared ones")
        inner = (size > 0) & (size < drawn.design.shape[-1])
        kept = replace(
            drawn,
            design=drawn.design[inner],
            log_proposal=drawn.log_proposal[inner],
            group=drawn.group[inner],
            donor=drawn.donor if drawn.donor is None else drawn.donor[..., inner],
        )
        return replace(self, drawn=kept, outputs=self.outputs[:, inner])
