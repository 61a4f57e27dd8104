"""Play an optimization of one's own points in JupyterLab: cloud, barcode and loss follow the step."""

from __future__ import annotations

import json

import ipywidgets
import torch

from lab import checks
from widgets.jupyter.explorer import Explorer
from widgets.pages import persistence as page

_STYLE = {"description_width": "90px"}


class PersistenceExplorer(Explorer):
    """Points, their (signed) barcode and a loss that move together.

    Press play, or set ``explorer.controls["step"].value``; the other controls choose features, descriptor, loss, direction
    and step length. ``explorer.points`` are the positions at the present step.

    Args:
        x: points (n, 2), 2 to 150 of them, numpy or torch.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        ValueError, TypeError: x of another shape, with NaN, or with too many points.
    """

    def __init__(self, x, *, theme: str = "light"):
        x = checks.tensor("x", x, ndim=2)
        self._start = json.dumps(page.starting_points("", 0, 0, json.dumps(x.detach().double().tolist()), None))
        checks.choice("theme", theme, ("light", "dark"))
        step = ipywidgets.IntSlider(value=0, min=0, max=60, description="Step", style=_STYLE)
        choices = {
            "degree": ipywidgets.Dropdown(options=[("loops", 1), ("components", 0)], description="Features"),
            "descriptor": ipywidgets.Dropdown(options=page.DESCRIPTORS, description="Descriptor"),
            "loss": ipywidgets.Dropdown(options=page.LOSSES, description="Loss"),
            "transform": ipywidgets.Dropdown(
                options=list(page.TRANSFORMS), value="diffeomorphic", description="Direction"
            ),
            "rate": ipywidgets.FloatSlider(value=0.02, min=0.005, max=0.1, step=0.005, description="Step size"),
        }
        for control in choices.values():
            control.style = _STYLE

        def draw(values):
            fixed = {"cloud": "", "count": 0, "seed": 0, "points": self._start, "file": None}
            return list(page.draw(**values, **fixed, theme=theme))

        super().__init__("Persistence as an objective", {"step": step, **choices}, draw)
        play = ipywidgets.Play(value=0, min=0, max=60, interval=250, description="play")
        ipywidgets.jslink((play, "value"), (step, "value"))
        side = self.view.children[0]
        side.children = (side.children[0], play, *side.children[1:])

    @property
    def points(self) -> torch.Tensor:
        """Positions (n, 2) at the present step."""
        values = self.values
        order = ("degree", "descriptor", "loss", "transform", "rate")
        path, _ = page.optimized(self._start, *(values[name] for name in order), 0, values["step"])
        return path[values["step"]].clone()
