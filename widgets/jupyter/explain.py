"""ExplanationExplorer: all explanations of your own model, live."""

from __future__ import annotations

import ipywidgets

from lab import checks, explain
from lab.explain.choice import choose_task
from lab.explain.engine import prepare
from lab.explain.neighbourhoods import Exponential, Masks
from lab.explain.risk import fit_recipe, possible_methods, questions, recipes
from widgets.figures import explain as figures
from widgets.jupyter.explorer import Explorer

_STYLE = {"style": {"description_width": "110px"}, "layout": {"width": "340px"}, "continuous_update": False}


class ExplanationExplorer(Explorer):
    """The explanations of ``f`` at the rows of ``X`` side by side, and the one to trust for a question.

    ::

        ExplanationExplorer(model, X[:20])                    # the last expression of a cell

    The kernel width re-solves cached outputs without calling ``f``; noise and row change what is shown. Methods that the
    inputs cannot have (gradients of a tree, noise on categories) are left out.

    Args:
        f, X, baseline, features, target: as in :func:`lab.explain.explain`; of several outputs the predicted one is shown.
        names: of the features, where ``X`` has none.
        n_samples: draws of the sampling methods.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        TypeError, ValueError: what :func:`lab.explain.explain` refuses, and ``names`` of the wrong number.
    """

    def __init__(self, f, X, *, baseline=None, features=None, target=None, names=None, n_samples: int = 600,
                 theme: str = "light"):  # fmt: skip
        self.task = prepare(
            f, X, baseline=baseline, features=features, target="predicted" if target is None else target
        )
        self.n_samples, self.theme = checks.integer("n_samples", n_samples, low=20), theme
        self.names = tuple(self.task.players.names if names is None else names)
        if len(self.names) != self.task.players.count:
            raise ValueError(f"names must have {self.task.players.count} entries, got {len(self.names)}")
        self._fitted: dict[float, dict] = {}
        self._chosen: dict[tuple, object] = {}
        mask_only = not self.task.players.x.is_floating_point() or bool(getattr(self.task.box.f, "categorical", None))
        asked = {words: key for key, words in explain.QUESTIONS.items() if not (mask_only and key in ("noise", "path"))}
        rows = self.task.players.instances
        controls = {
            "width": ipywidgets.FloatSlider(value=1.0, min=0.2, max=3, step=0.05, description="LIME width", **_STYLE),
            "sigma": ipywidgets.FloatSlider(value=0.1, min=0.05, max=2, step=0.05, description="Noise σ", **_STYLE),
            "instance": ipywidgets.IntSlider(value=0, min=0, max=max(rows - 1, 0), description="Row", **_STYLE),
            "question": ipywidgets.Dropdown(options=list(asked.items()), description="Question", **{
                key: value for key, value in _STYLE.items() if key != "continuous_update"
            }),
        }  # fmt: skip
        super().__init__("Explanations", controls, self._results_at)

    def explanations(self, sigma: float, width: float) -> dict[str, explain.Explanation]:
        """All methods at one noise and one kernel width (in units of ``sqrt(features)``)."""
        if sigma not in self._fitted:
            methods = possible_methods(self.task, recipes((sigma,)), self._own_laws())
            self._fitted[sigma] = {
                name.removesuffix(f" {sigma:g}"): fit_recipe(self.task, recipe, self.n_samples, 0)
                for name, recipe in methods.items()
            }
        found = dict(self._fitted[sigma])
        if "LIME" in found:
            kernel = Exponential(width * self.task.players.count**0.5)
            found["LIME"] = found["LIME"].resolve(Masks(kernel))
        return found

    def _own_laws(self) -> dict:
        """A law for which every method that the inputs allow may stay."""
        laws = questions()
        return {"coalitions": laws["coalitions"]} if not self.task.players.single() else {}

    def _results_at(self, values: dict) -> list:
        found = self.explanations(values["sigma"], values["width"])
        key = (values["question"], values["sigma"])
        if key not in self._chosen:
            self._chosen[key] = choose_task(
                self.task, values["question"], sigma=values["sigma"], n_samples=self.n_samples
            )
        chosen = self._chosen[key]
        table = {
            "risk": chosen.risk.value,
            "effective draws of LIME": float(found["LIME"].diagnostics.effective_sample_size[values["instance"]]),
        }
        weights = figures.weights(found, instance=values["instance"], names=self.names, theme=self.theme)
        return [weights, figures.choice(chosen, theme=self.theme), table]
