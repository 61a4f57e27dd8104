"""One engine: ``g* = argmin_g E_xi loss(f, g, x, xi)`` for any neighbourhood, surrogate and loss.

==================  =====================================  ============================================================
loss                objective                              solution for linear ``g``
==================  =====================================  ============================================================
``"squared"``       ``E w (f(x_xi) - g(xi))^2``            weighted least squares, one solve for all instances
``"gradient"``      ``E |grad_xi f(x_xi) - grad g|^2``     ``E grad_xi f(x_xi)``, the intercept is fixed afterwards
``Sobolev(lam)``    the first plus ``lam`` times the 2nd   least squares with both moments
==================  =====================================  ============================================================

Gradients are taken with respect to ``xi``: under the operator ``b + xi (x - b)`` that is ``(x - b) grad f``.

Source: T. Han, S. Srinivas, H. Lakkaraju, 'Which Explanation Should I Choose? A Function Approximation Perspective to
Characterizing Post Hoc Explanations', NeurIPS 2022, Sections 3.1 and 3.2. The paper's code fits ``g`` by 2800 steps of
Adam and stands for infinite kernel weights by 1e6; here every fit is solved in closed form and constraints are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from lab import checks
from lab.explain import frames, neighbourhoods, odd, path, solve
from lab.explain.blackbox import BlackBox, dtype_of
from lab.explain.explanation import Diagnostics, Explanation, warn
from lab.explain.neighbourhoods import Draws, Gaussian, LeaveOneOut, Masks, Scaling, Shapley
from lab.explain.players import Players, players
from lab.explain.surrogate import Linear, Sobolev, interactions

DOUBLINGS = 8  # `until` stops after this many doublings of the draws


def explain(
    f: Callable,
    x,
    *,
    neighbourhood=Gaussian(0.1),
    model: Linear = Linear(),
    loss="squared",
    baseline=None,
    features=None,
    target=None,
    n_samples: int = 1000,
    until: float | None = None,
    seed=0,
    confidence: float = 0.95,
    max_bytes: int | None = None,
    proxy: bool = False,
) -> Explanation:
    """Explain ``f`` at every row of ``x`` by the best ``g`` of a class on a declared neighbourhood.

    Args:
        f: an ``nn.Module`` or a function of what ``x`` is, to ``(n,)`` or ``(n, C)``.
        x: ``(N, ...)`` tensor or array, or a frame of N rows.
        neighbourhood: the law of the perturbations: :class:`Gaussian`, :class:`Scaling`, :class:`Masks`,
            :class:`LeaveOneOut`, :class:`Categories`, or a function ``(number, players, generator) -> draws``.
        model: the class of ``g``: :class:`Linear`.
        loss: ``"squared"``, ``"gradient"`` or :class:`Sobolev`.
        baseline: what replaces a player: a number (0 if ``None``), an instance, one an instance; for a frame one row.
        features: the player of every element (:func:`superpixels`, :func:`grid`, negative labels never move), or for a
            frame ``{player: [columns]}``.
        target: the output to explain: an index, one index an instance, ``"predicted"``, or ``None`` for all outputs.
        n_samples: perturbations an instance; fewer are used where all are enumerated or the limit is analytic.
        until: double the draws until every interval's half-width is below this (at most 8 times); for the straight
            path, refine until the completeness gap is below it.
        seed: int or ``torch.Generator``; the same draws serve all instances.
        confidence: of the intervals.
        max_bytes: bound on the memory of one call of ``f`` (256 MiB).
        proxy: for the Shapley kernel, fit odd interactions on the same draws and explain what they leave
            (:mod:`lab.explain.odd`).

    Returns:
        :class:`Explanation` with weights ``(N, K)``, or ``(N, K, C)`` where all of several outputs are explained.

    Raises:
        TypeError, ValueError: bad arguments, and an ``f`` that is random, depends on the batch, or returns NaN or a
            wrong shape. An exception of ``f`` passes through with a note of the rows that raised it.
    """
    task = prepare(
        f,
        x,
        baseline=baseline,
        features=features,
        target=target,
        link=_link(model),
        max_bytes=max_bytes,
        neighbourhood=neighbourhood,
    )
    result = task.explain(
        neighbourhood, model, loss, n_samples=n_samples, until=until, seed=seed, confidence=confidence, proxy=proxy
    )
    warn(result.diagnostics.warnings)
    return result


def prepare(
    f: Callable,
    x,
    *,
    baseline=None,
    features=None,
    target=None,
    link: str = "identity",
    max_bytes: int | None = None,
    neighbourhood=None,
) -> Task:
    """Check ``f``, ``x``, ``baseline``, ``features`` and ``target`` once, for several explanations of the same
    instances."""
    data = getattr(neighbourhood, "data", None)
    if frames.is_frame(x):
        f, mover = frames.encoded(f, x, baseline, features, data, getattr(neighbourhood, "operator", "") == "add")
        box = BlackBox(f, mover, target=target, link=link, max_bytes=max_bytes)
    else:
        arrays = not isinstance(x, torch.Tensor)
        mover = players(x, baseline, features, dtype_of(f))
        if data is not None:
            mover = with_donors(mover, data)
        box = BlackBox(f, mover, target=target, link=link, arrays=arrays, max_bytes=max_bytes)
    return Task(box, mover, mover.contrast().cpu(), link)


def with_donors(mover: Players, data) -> Players:
    """``mover`` with the rows of ``data`` as what replaces a player."""
    rows = checks.tensor("data", data)
    if tuple(rows.shape[1:]) != mover.shape:
        raise ValueError(f"data must hold rows of shape {mover.shape}, got {tuple(rows.shape)}")
    return replace(mover, donors=rows.reshape(len(rows), -1).to(mover.x))


@dataclass(frozen=True)
class Task:
    """A black box, its instances and what may move: everything an explanation needs except the choice of ``(Z, G,
    l)``."""

    box: BlackBox
    players: Players
    contrast: torch.Tensor
    link: str

    def explain(
        self,
        neighbourhood,
        model: Linear,
        loss,
        *,
        n_samples: int = 1000,
        until: float | None = None,
        seed=0,
        confidence: float = 0.95,
        proxy: bool = False,
    ) -> Explanation:
        law = neighbourhoods.neighbourhood("neighbourhood", neighbourhood)
        _check_choice(law, model, loss, self.link, proxy)
        n_samples = checks.integer("n_samples", n_samples, low=1)
        confidence = checks.number("confidence", confidence, low=0, high=1, open_low=True)
        if confidence == 1:
            raise ValueError("confidence must be below 1")
        if until is not None:
            checks.number("until", until, low=0, open_low=True)
        self.check(law)
        if loss == "gradient" and isinstance(law, Scaling) and law.low < law.high:
            return self._along_path(law, model, n_samples, until, confidence)
        generator = checks.generator(seed)
        for doubling in range(DOUBLINGS + 1):
            began = self.box.rows
            drawn = self.draw(law, n_samples * 2**doubling, generator)
            result = self._fit(law, model, loss, drawn, confidence, proxy, began)
            if until is None or drawn.exact:
                return result
            half = result.quantile * result.standard_error.reshape(self.players.instances, -1).amax(1)
            if bool((half <= until).all()):
                return result
        late = int((half > until).sum())
        text = (
            f"until={until:g} was not reached for {late} of {len(half)} instances with {drawn.count} draws "
            f"(largest half-width {float(half.max()):.3g})"
        )
        told = replace(result.diagnostics, converged=half <= until, warnings=(*result.diagnostics.warnings, text))
        return replace(result, diagnostics=told)

    def draw(self, law, number: int, generator, judge: bool = False) -> Draws:
        """Perturbations of ``law`` in the precision of ``x``, with donors chosen from each instance's pool."""
        drawn = (law.judge if judge else law.draws)(self.contrast, number, generator)
        if drawn.donor is not None and law.pool is not None:
            pools = nearest_rows(self.players, law.pool)
            drawn = replace(drawn, donor=pools[:, drawn.donor])
        dtype = self.players.x.dtype
        if dtype in (torch.float32, torch.float16, torch.bfloat16):
            drawn = replace(drawn, design=drawn.design.to(dtype).double())
        return drawn

    def check(self, law) -> None:
        """Refuse neighbourhoods that these inputs cannot have."""
        if law.operator == "add" and not self.players.x.is_floating_point():
            raise TypeError("additive noise needs floating-point x; for tokens and categories use Masks or Categories")
        if law.operator == "add" and getattr(self.box.f, "categorical", None):
            raise TypeError(
                f"additive noise is undefined for categorical columns ({', '.join(self.box.f.categorical)}); use "
                f"Masks, "
                "LeaveOneOut or Categories(data)"
            )
        if isinstance(law, neighbourhoods.Categories) and self.players.donors is None:
            raise ValueError(
                "Categories(data) must be named when the instances are prepared: explain(..., neighbourhood=...)"
            )
        if isinstance(law, neighbourhoods.Categories) and (law.pool or 0) > len(self.players.donors):
            raise ValueError(f"pool must be at most the {len(self.players.donors)} rows of data, got {law.pool}")

    def anchors(self, law, drawn: Draws | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``f(x)`` and, where the law is tied at both ends, ``f`` with every player replaced; each ``(N, C)``."""
        if law.anchor != "both":
            return self.box.at_x, None
        rows = None
        if drawn is not None and drawn.donor is not None:
            unique = [torch.unique(d) for d in (drawn.donor if drawn.donor.ndim == 2 else drawn.donor[None])]
            rows = torch.stack(unique) if drawn.donor.ndim == 2 else unique[0]
        return self.box.at_x, self.box.at_baseline(rows)

    def _fit(self, law, model, loss, drawn: Draws, confidence, proxy, began) -> Explanation:
        if law.operator == "mix" and loss == "squared" and self.players.count > 1 and isinstance(law, Scaling):
            raise ValueError(
                "Scaling moves all players together, so the squared loss cannot tell their weights apart; use "
                "loss='gradient'"
            )
        limit = isinstance(law, Gaussian) and law.sigma == 0
        if loss == "gradient" or limit:
            return self._gradient_fit(law, model, loss, drawn, confidence, began)
        extra = None
        if isinstance(loss, Sobolev):
            member, fixed = solve.memberships(drawn.group)
            weight = importance(law, drawn, self.contrast)
            select = torch.cat([member, fixed[:, None]], 1)
            outputs, sums = self.box.gradients(drawn.design, select * weight[..., None], law.operator)
            extra = loss.weight * sums
        else:
            outputs = self.box.values(drawn.design, drawn.donor, operator=law.operator)
        at_x, at_b = self.anchors(law, drawn)
        cached = Cached(self, drawn, outputs, at_x, at_b, extra, loss, proxy)
        return cached.fit(law, model, confidence, began)

    def _gradient_fit(self, law, model, loss, drawn: Draws, confidence, began) -> Explanation:
        member, fixed = solve.memberships(drawn.group)
        weight = importance(law, drawn, self.contrast)
        weight = weight / weight.sum(-1, keepdim=True)
        select = torch.cat([member, fixed[:, None]], 1) * weight[..., None]
        outputs, sums = self.box.gradients(drawn.design, select, law.operator)
        shares = select.sum(-2)  # (G + 1,) or (N, G + 1)
        shares = shares.expand(self.players.instances, -1)[..., None, None]
        theta = sums.sum(1)
        groups = member.shape[1]
        left_out = (
            (theta[:, None] - sums[:, :groups]) / (1 - shares[:, :groups]) if groups > 1 else theta[:, None][:, :0]
        )
        instances = self.players.instances
        fit = solve.Fit(theta, left_out - theta[:, None], outputs, torch.ones(instances, dtype=torch.float64))
        if groups == 1:
            fit = replace(fit, deviations=torch.zeros_like(theta[:, None]))
        centre = weight.expand(instances, -1)
        residual = outputs - torch.einsum(
            "...mk,nkc->nmc" if drawn.design.ndim == 2 else "nmk,nkc->nmc", drawn.design, theta
        )
        intercept = (centre[..., None] * residual).sum(1)
        risk = _missed(residual, outputs, centre)
        cached = Cached(self, drawn, outputs, self.box.at_x, None, None, loss, False)
        return cached.result(law, model, fit, intercept, risk, weight, confidence, began, gap=None)

    def _along_path(self, law: Scaling, model, nodes: int, until, confidence) -> Explanation:
        began = self.box.rows
        found = path.integrate(self.box, law.low, law.high, nodes, until)
        sums = found.weights
        intercept = found.centre - 0.5 * (law.low + law.high) * sums.sum(1)
        infinite = torch.full((self.players.instances,), float(found.nodes), dtype=torch.float64)
        fit = solve.Fit(
            sums, sums.new_zeros(len(sums), 0, *sums.shape[1:]), sums[:, :0], torch.ones(len(sums)).double()
        )
        cached = Cached(self, None, None, self.box.at_x, None, None, "gradient", False)
        result = cached.result(
            law, model, fit, intercept, found.risk, infinite[:, None], confidence, began, gap=found.gap
        )
        converged = torch.ones(len(sums), dtype=torch.bool) if until is None else found.gap.amax(-1) <= until
        texts = ()
        if not bool(converged.all()):
            texts = (
                f"until={until:g} was not reached for {int((~converged).sum())} of {len(sums)} instances "
                f"(largest completeness gap {float(found.gap.max()):.3g})",
            )
        error = found.error if result.weights.ndim == 3 else found.error[..., 0]
        told = replace(result.diagnostics, converged=converged, draws=found.nodes, warnings=texts, exact=False)
        return replace(result, diagnostics=told, standard_error=error, quantile=1.0)


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
        weight = importance(law, drawn, task.contrast)
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
        spread, missed, mass = outputs, fit.residual, weight.expand(instances, -1)
        if law.anchor == "both":
            ends = law.log_target(torch.stack([torch.zeros(count), torch.ones(count)]).double(), task.contrast).exp()
            spread = torch.cat([outputs, self.at_b[:, None], self.at_x[:, None]], 1)
            missed = torch.cat([missed, torch.zeros_like(spread[:, :2])], 1)
            mass = torch.cat(
                [raw_importance(law, drawn, task.contrast).expand(instances, -1), ends.expand(instances, -1)], 1
            )
        risk = _missed(missed, spread, mass)
        gap = None
        if law.anchor == "both":
            gap = (torch.einsum("q,nqc->nc", ones, fit.theta) - (self.at_x - self.at_b)).abs()
        return self.result(law, model, fit, intercept, risk, weight, confidence, began, gap)

    def _solve(self, psi, weight, outputs, model: Linear, free: int):
        ridge = extra = None
        if isinstance(self.loss, Sobolev):
            ridge = self.loss.weight * weight
            extra = torch.nn.functional.pad(self.extra, (0, 0, free, 0))
        if model.penalty is None:
            return solve.least_squares(psi, weight, outputs, self.drawn.group, ridge=ridge, extra=extra)
        return _sparse_fit(psi, weight, outputs, self.drawn.group, free, model.penalty)

    def _between_ends(self, psi, weight, ones, count):
        """Least squares under ``g(0) = f(b)`` and ``g(1) = f(x)``: along ``ones`` fixed, free in its complement."""
        rise = (self.at_x - self.at_b)[:, None]
        along = ones / (ones @ ones)
        across = torch.linalg.svd(ones[None])[2][1:].T  # (q, q - 1), orthonormal, orthogonal to `ones`
        y = self.outputs - self.at_b[:, None]
        if self.proxy:
            return odd.fit(psi, weight, y, rise, self.drawn.group), self.at_b
        y = y - (psi @ along)[..., None] * rise
        fit = solve.least_squares(psi @ across, weight, y, self.drawn.group)
        return fit.mapped(across, along[:, None] * rise), self.at_b

    def result(self, law, model, fit, intercept, risk, weight, confidence, began, gap) -> Explanation:
        task = self.task
        count, instances = task.players.count, task.players.instances
        squares = law.operator == "add"
        error = fit.variance().sqrt()
        matrix = interactions(fit.theta, count, squares) if model.degree == 2 else None
        weights, error = fit.theta[:, :count], error[:, :count]
        exact = fit.groups == 0
        quantile = 0.0 if exact else _student(confidence, fit.groups)
        ess = (weight.sum(-1).square() / weight.square().sum(-1)).expand(instances)
        if gap is None:
            gap = torch.full((instances, weights.shape[-1]), torch.nan, dtype=torch.float64)
        texts, sound = _doubts(fit, ess, exact, law)
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


def raw_importance(law, drawn: Draws, contrast: torch.Tensor) -> torch.Tensor:
    """``law's density / proposal`` for every draw, ``(m,)`` or ``(N, m)``."""
    return torch.exp(law.log_target(drawn.design, contrast) - drawn.log_proposal)


def importance(law, drawn: Draws, contrast: torch.Tensor) -> torch.Tensor:
    """The same with the largest weight 1, safe from underflow where a kernel is narrow."""
    log = law.log_target(drawn.design, contrast) - drawn.log_proposal
    return torch.exp(log - log.amax(-1, keepdim=True))


def nearest_rows(mover: Players, pool: int) -> torch.Tensor:
    """The ``pool`` donor rows nearest to each instance, ``(N, pool)``: fewest differing columns first, then
    distance."""
    x, donors = mover.x.double(), mover.donors.double()
    spread = donors.nan_to_num().std(0, correction=0).clamp_min(1e-12)
    gap = ((x[:, None] - donors[None]) / spread).nan_to_num(nan=1.0).abs()
    return gap.sum(-1).argsort(dim=1, stable=True)[:, :pool]


def _missed(residual: torch.Tensor, outputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``Var_w(residual) / Var_w(f)``, ``(N, C)``; 0 where ``f`` is constant and ``g`` too."""
    share = (weight / weight.sum(1, keepdim=True))[..., None]
    centred = residual - (share * residual).sum(1, keepdim=True)
    around = outputs - (share * outputs).sum(1, keepdim=True)
    left, whole = (share * centred.square()).sum(1), (share * around.square()).sum(1)
    tiny = torch.finfo(torch.float64).eps * outputs.square().amax(1).clamp_min(1e-300)
    return torch.where(whole > tiny, left / whole.clamp_min(1e-300), torch.where(left > tiny, torch.inf, 0.0))


def _student(confidence: float, groups: int) -> float:
    from scipy import stats

    return float(stats.t.ppf(0.5 + confidence / 2, groups - 1)) if groups > 1 else math.nan


def _doubts(fit: solve.Fit, ess: torch.Tensor, exact: bool, law) -> tuple[tuple[str, ...], torch.Tensor]:
    """What a reader should know before believing the weights, and which instances are sound."""
    texts, size = [], fit.theta.shape[1]
    sound = torch.ones(len(fit.theta), dtype=torch.bool)
    singular = ~torch.isfinite(fit.condition) | (fit.condition > solve.SINGULAR)
    if bool(singular.any()):
        sound &= ~singular
        texts.append(
            f"the fit is singular for {int(singular.sum())} of {len(sound)} instances: the draws do not tell all "
            f"{size} "
            "weights apart (more draws, fewer players, or a wider kernel); the smallest solution is returned"
        )
    if (
        not exact
        and not (isinstance(law, Masks) and isinstance(law.kernel, Shapley))
        and not isinstance(law, LeaveOneOut)
    ):
        few = (
            ess < 2 * (size + 1) if not isinstance(law, (Gaussian, Scaling)) or size > 0 and ess.min() < 10 else ess < 0
        )
        if bool(few.any()):
            sound &= ~few
            texts.append(
                f"only {float(ess.min()):.0f} effective draws for {size} weights ({int(few.sum())} of {len(sound)} "
                f"instances): "
                "the kernel is narrow for these draws; widen it, temper it, or draw more"
            )
    if fit.groups == 1:
        sound &= False
        texts.append("too few draws for an interval: a single jackknife group")
    return tuple(texts), sound


def _sparse_fit(psi, weight, outputs, group, free: int, penalty: float) -> solve.Fit:
    """The L1-penalised fit and its jackknife over groups, by coordinate descent on the same sums."""
    instances = outputs.shape[0]
    member, fixed = solve.memberships(group)
    weight = weight.expand(instances, -1)
    weight = weight / weight.sum(1, keepdim=True)

    def fitted(keep):
        mass = weight * keep
        scaled = (psi if psi.ndim == 3 else psi.expand(instances, -1, -1)) * mass[..., None]
        return solve.sparse(scaled.mT @ psi, scaled.mT @ outputs, free, penalty)

    theta = fitted(torch.ones(len(group), dtype=torch.float64))
    groups = member.shape[1]
    deviations = theta.new_zeros(instances, groups, *theta.shape[1:])
    for g in range(groups):
        deviations[:, g] = fitted(1 - member[:, g]) - theta
    residual = outputs - psi @ theta
    return solve.Fit(theta, deviations, residual, torch.ones(instances, dtype=torch.float64))


def _link(model) -> str:
    if not isinstance(model, Linear):
        raise TypeError(f"model must be Linear(...), got {model!r}")
    return model.link


def _check_choice(law, model, loss, link: str, proxy) -> None:
    if not isinstance(model, Linear):
        raise TypeError(f"model must be Linear(...), got {model!r}")
    if model.link != link:
        raise ValueError(f"the instances were prepared for link={link!r}, the model has {model.link!r}")
    if not isinstance(loss, Sobolev):
        checks.choice("loss", loss, ("squared", "gradient"))
    if loss != "squared" and (model.degree != 1 or model.penalty is not None):
        raise ValueError("degree=2 and penalty go with the squared loss")
    if isinstance(loss, Sobolev) and law.anchor != "none":
        raise ValueError("Sobolev is for neighbourhoods without anchors: Gaussian, or a sampler of your own")
    if loss != "squared" and isinstance(law, (neighbourhoods.Categories, LeaveOneOut)):
        raise ValueError(f"{type(law).__name__} has no derivative in xi; use loss='squared'")
    if not model.intercept and law.anchor != "none":
        raise ValueError(f"{law} fixes the intercept; leave intercept=True")
    if model.penalty is not None and law.anchor != "none":
        raise ValueError("penalty is for neighbourhoods without anchors (Gaussian, Masks with Exponential or Uniform)")
    if proxy and not (isinstance(law, Masks) and isinstance(law.kernel, Shapley) and model.degree == 1):
        raise ValueError("proxy is for Masks(Shapley()) with degree=1")
