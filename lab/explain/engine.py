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

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from lab import checks
from lab.explain import frames, neighbourhoods, path, solve, validation
from lab.explain.blackbox import BlackBox
from lab.explain.explanation import Explanation, joined, warn
from lab.explain.fitted import Cached
from lab.explain.neighbourhoods import Draws, Gaussian, Scaling
from lab.explain.outputs import dtype_of
from lab.explain.players import Players, players
from lab.explain.surrogate import Linear, Link, Sobolev
from lab.explain.weighting import importance, missed

COPIES = 12  # of the outputs that a fit holds at its most
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
        max_bytes: bound on the memory of one call of ``f`` (256 MiB), and on that of the fit of its outputs (1 GiB; at least
            64 MiB): where all of them at once would take more, instances are fitted in blocks, at the least one by one, and
            ``resolve`` is not to be had.
        proxy: for the Shapley kernel, add a regression on odd-order interactions, fitted on the same draws, and explain
            what it leaves (:mod:`lab.explain.odd_regression`).

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
        link=validation.link_of(model),
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
    link: Link = "identity",
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
        mover = players(x, baseline, features, dtype_of(f), data)
        box = BlackBox(f, mover, target=target, link=link, arrays=arrays, max_bytes=max_bytes)
    return Task(box, mover, mover.contrast().cpu(), link)


@dataclass(frozen=True)
class Task:
    """A black box, its instances and what may move: everything an explanation needs except the choice of ``(Z, G,
    l)``."""

    box: BlackBox
    players: Players
    contrast: torch.Tensor
    link: Link

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
        validation.check_choice(law, model, loss, self.link, proxy)
        n_samples = checks.integer("n_samples", n_samples, low=1)
        confidence = checks.number("confidence", confidence, low=0, high=1, open_low=True)
        if confidence == 1:
            raise ValueError("confidence must be below 1")
        if until is not None:
            checks.number("until", until, low=0, open_low=True)
        self.check(law)
        block = self._block(law, n_samples)
        if block < self.players.instances:
            given = {"n_samples": n_samples, "until": until, "confidence": confidence, "proxy": proxy}
            return self._in_blocks(block, law, model, loss, checks.generator(seed), given)
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

    def _block(self, law, n_samples: int) -> int:
        """How many instances are fitted at once: outputs of ``n_samples`` draws within the bound of the memory."""
        channels = 1 if self.box.target is not None else self.box.outputs
        draws = self.players.count if isinstance(law, neighbourhoods.LeaveOneOut) else n_samples
        one = COPIES * 8 * draws * channels
        if one > max(self.box.most_bytes, 2**30):
            raise ValueError(
                f"{draws} draws of {channels} outputs take about {one / 1e9:.3g} GB an instance; choose a target, fewer draws, "
                "or a larger max_bytes"
            )
        return min(self.players.instances, max(1, self.box.most_bytes // one))

    def _in_blocks(self, block, law, model, loss, generator, given) -> Explanation:
        """The explanation of all instances from those of blocks of them, with the same draws for each."""
        parts, start = [], generator.get_state()
        for first in range(0, self.players.instances, block):
            rows = torch.arange(first, min(first + block, self.players.instances))
            box = self.box.restricted(rows)
            generator.set_state(start)
            part = Task(box, box.players, self.contrast[rows], self.link)
            parts.append(replace(part.explain(law, model, loss, seed=generator, **given), problem=None))
        return joined(parts)

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
        categorical = getattr(self.box.f, "categorical", None)
        if law.operator == "add" and categorical:
            raise TypeError(
                f"additive noise is undefined for categorical columns ({', '.join(categorical)}); use "
                f"Masks, "
                "LeaveOneOut or Categories(data)"
            )
        donors = self.players.donors
        if not isinstance(law, neighbourhoods.Categories):
            return
        if donors is None:
            raise ValueError(
                "Categories(data) must be named when the instances are prepared: explain(..., neighbourhood=...)"
            )
        if (law.pool or 0) > len(donors):
            raise ValueError(f"pool must be at most the {len(donors)} rows of data, got {law.pool}")

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
        result = self._solved(law, model, loss, drawn, confidence, proxy, began)
        still = (self.contrast == 0).all(1) if law.operator == "mix" and self.players.donors is None else None
        if still is None or not bool(still.any()):
            return result
        text = f"the baseline equals x in {int(still.sum())} of {len(still)} instances: nothing is taken away, all weights are 0"
        told = replace(result.diagnostics, warnings=(*result.diagnostics.warnings, text))
        return replace(result, diagnostics=told)

    def _solved(self, law, model, loss, drawn: Draws, confidence, proxy, began) -> Explanation:
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
        risk = missed(residual, outputs, centre)
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


def nearest_rows(mover: Players, pool: int) -> torch.Tensor:
    """The ``pool`` donor rows nearest to each instance, ``(N, pool)``: fewest differing columns first, then
    distance."""
    x, donors = mover.x.double(), mover.donors.double()
    spread = donors.nan_to_num().std(0, correction=0).clamp_min(1e-12)
    gap = ((x[:, None] - donors[None]) / spread).nan_to_num(nan=1.0).abs()
    return gap.sum(-1).argsort(dim=1, stable=True)[:, :pool]
