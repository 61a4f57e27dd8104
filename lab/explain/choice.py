"""Which explanation for which question: the method of least risk on the neighbourhood that the question names.

Source: T. Han, S. Srinivas, H. Lakkaraju, NeurIPS 2022, Section 4.2 (the guiding principle).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lab import checks
from lab.explain import neighbourhoods
from lab.explain.engine import Task, prepare
from lab.explain.explanation import Explanation
from lab.explain.neighbourhoods import Exponential, Gaussian, LeaveOneOut, Masks, Scaling, Shapley, Uniform
from lab.explain.risk import NORMAL, Bench, Risk, _fresh, fit_recipe, possible_laws, possible_methods, recipes
from lab.explain.surrogate import Link

QUESTIONS = {
    "noise": "What if every feature moves a little?",
    "removal": "What if a random half of the features is taken away?",
    "coalitions": "What does each feature add to any set of others?",
    "one removed": "What if a single feature is taken away?",
    "path": "What happens on the way from the baseline to here?",
}


@dataclass(frozen=True)
class Choice:
    """The answer of :func:`choose`.

    ``method`` is ``None`` where the answer is refused: then no linear ``g`` was found faithful and ``best`` only names the
    least bad. ``difference`` is the runner-up's risk minus the best one's with its 95 % interval; ``significant`` whether
    that interval is above 0. ``risks`` holds all candidates, best first.
    """

    question: str
    method: str | None
    best: str
    risk: Risk
    runner_up: str | None
    difference: float
    difference_interval: tuple[float, float]
    significant: bool
    threshold: float
    risks: dict[str, Risk]
    explanation: Explanation

    @property
    def refused(self) -> bool:
        return self.method is None

    @property
    def sentence(self) -> str:
        """The answer in words."""
        told = f"risk {self.risk.value:.3g} ± {NORMAL * self.risk.standard_error:.2g}"
        if self.refused:
            refused = f"above the rejection threshold {self.threshold:g}; the closest is {self.best}"
            return f"No linear explanation is faithful here ({told}, {refused})."
        if self.runner_up is None:
            return f"{self.best} ({told})."
        low, high = self.difference_interval
        word = "ahead of" if self.significant else "not significantly different from"
        return f"{self.best} ({told}), {word} {self.runner_up} (difference {self.difference:.3g}, [{low:.2g}, {high:.2g}])."


def choose(
    f: Callable,
    x,
    question="noise",
    *,
    sigma: float = 0.1,
    baseline=None,
    features=None,
    target=None,
    threshold: float = 0.2,
    n_samples: int = 1000,
    seed=0,
    link: Link = "identity",
    max_bytes: int | None = None,
) -> Choice:
    """Name the method for a question, the runner-up, and whether the difference is real; refuse where none is faithful.

    Args:
        question: ``"noise"``, ``"removal"``, ``"coalitions"``, ``"one removed"``, ``"path"``, or a neighbourhood.
        sigma: of the noise, for the question and for the Gaussian methods.
        threshold: the risk (``1 - R^2``) above which a linear explanation is called unfaithful.

    Raises:
        ValueError: an unknown question, or one that these inputs cannot answer (noise on categories).
    """
    task = prepare(f, x, baseline=baseline, features=features, target=target, link=link, max_bytes=max_bytes)
    return choose_task(task, question, sigma=sigma, threshold=threshold, n_samples=n_samples, seed=seed)


def choose_task(
    task: Task, question="noise", *, sigma: float = 0.1, threshold: float = 0.2, n_samples: int = 1000, seed=0
) -> Choice:
    """:func:`choose` for instances that are prepared already."""
    checks.number("threshold", threshold, low=0)
    label, law = _law_of(question, checks.number("sigma", sigma, low=0, open_low=True))
    if not possible_laws(task, {label: law}):
        raise ValueError(
            f"the question {label!r} moves columns by numbers, which these inputs (categories, tokens) cannot"
        )
    if isinstance(law, Gaussian) and law.sigma > 0:
        sigma = law.sigma
    candidates = recipes((sigma,))
    if isinstance(law, Masks) and isinstance(law.kernel, Exponential):
        candidates["LIME"] = (law, "squared")
    elif isinstance(law, Masks) and isinstance(law.kernel, Uniform):
        candidates["LIME (wide)"] = (law, "squared")
    candidates = possible_methods(task, candidates, {label: law})
    bench = Bench.draw(task, law, n_samples, _fresh(seed, 0))
    fitted = {name: fit_recipe(task, recipe, n_samples, seed) for name, recipe in candidates.items()}
    missed = {name: bench.missed(one) for name, one in fitted.items()}
    risks = {name: bench.judged(one) for name, one in missed.items()}
    order = sorted(risks, key=lambda name: risks[name].value)
    for name in [name for name in order if candidates[name][0] == law][::-1]:
        gap, error = bench.difference(missed[order[0]], missed[name])
        if gap <= NORMAL * error + 1e-9:  # where the data do not decide, the method made for the question goes first
            order.remove(name)
            order.insert(0, name)
    best, runner_up = order[0], order[1] if len(order) > 1 else None
    difference, error = bench.difference(missed[best], missed[runner_up]) if runner_up else (0.0, 0.0)
    interval = (difference - NORMAL * error, difference + NORMAL * error)
    faithful = risks[best].value <= threshold
    return Choice(
        label,
        best if faithful else None,
        best,
        risks[best],
        runner_up,
        difference,
        interval,
        interval[0] > 1e-9,
        threshold,
        {name: risks[name] for name in order},
        fitted[best],
    )


def _law_of(question, sigma: float) -> tuple[str, object]:
    if not isinstance(question, str):
        law = neighbourhoods.neighbourhood("question", question)
        return repr(law), law
    checks.choice("question", question, QUESTIONS)
    law = {
        "noise": Gaussian(sigma),
        "removal": Masks(Uniform()),
        "coalitions": Masks(Shapley()),
        "one removed": LeaveOneOut(),
        "path": Scaling(0, 1),
    }[question]
    return question, law
