"""Persistence as an objective: points, their (signed) barcode and a loss that move together."""

from __future__ import annotations

import json
from functools import lru_cache

import panel as pn
import torch

from lab import checks, datasets, topology
from widgets import pages
from widgets.figures.linking import linked
from widgets.figures.topology import persistence as figures
from widgets.server import uploads

TITLE, ROUTE, METHOD = "Persistence as an objective", "persistence", "persistence"
QUESTION = "Where do points move when a loss rewards or penalizes the persistence of their loops or components?"
EXPLANATION = (
    "Press play: every step moves the points along the chosen direction, and the barcode follows. Drag a point, or "
    "edit the coordinates, to restart the optimization from there. Point at a bar or an atom to highlight the simplices "
    "whose filtration values are its coordinates: only they receive a gradient; click to pin them, press Esc to "
    "release. With codensity as a second parameter "
    "a loop counts only while its points stay dense."
)
CLOUDS = ("noisy_circle", "two_circles", "moons", "spirals", "annulus with clutter")
DESCRIPTORS = ("bars of lengths", "signed barcode of lengths and codensity")
LOSSES = ("enlarge", "shrink", "enlarge the longest")
TRANSFORMS = {
    "subgradient": topology.Vanilla(),
    "diffeomorphic": topology.Diffeomorphic(0.3),
    "stratified sampling": topology.StratifiedSampling(0.02, 6),
    "continuation": topology.Continuation(),
    "big steps": topology.BigStep(0.2),
}
MOST = 150


def build(state: dict) -> pn.viewable.Viewable:
    step = pn.widgets.IntSlider(label="Step", start=0, end=60, value=0)
    widgets = {
        "step": step,
        "cloud": pn.widgets.Select(label="Points", options=list(CLOUDS), value="noisy_circle"),
        "count": pn.widgets.IntSlider(label="Number of points", start=5, end=MOST, value=50),
        "degree": pn.widgets.Select(label="Features", options={"loops": 1, "components": 0}, value=1),
        "descriptor": pn.widgets.Select(label="Descriptor", options=list(DESCRIPTORS), value=DESCRIPTORS[0]),
        "loss": pn.widgets.Select(label="Loss", options=list(LOSSES), value="enlarge"),
        "transform": pn.widgets.Select(label="Direction", options=list(TRANSFORMS), value="diffeomorphic"),
        "rate": pn.widgets.FloatSlider(
            label="Step size (largest displacement)", start=0.005, end=0.1, step=0.005, value=0.02
        ),
        "seed": pn.widgets.IntInput(label="Seed", start=0, end=10_000, value=0),
        "points": pn.widgets.TextAreaInput(
            label="Your own points [[x, y], ...]", value="", rows=2, placeholder="drag points or paste"
        ),
    }
    pages.sync(widgets, state)
    player = pn.widgets.Player(
        label="play, pause, step, rewind", start=0, end=60, value=step.value, interval=250, loop_policy="once",
        show_loop_controls=False, scale_buttons=0.85, sizing_mode="stretch_width", height=60,
    )  # fmt: skip
    player.link(step, value="value", bidirectional=True)
    table_file = uploads.Upload("Points", kinds=("table",))
    cloud = pages.plot(label="points", height=520)
    cloud.config = {**cloud.config, "edits": {"shapePosition": True}}
    barcode, curve, numbers = (
        pages.plot(label="barcode", height=520),
        pages.plot(label="loss", height=300),
        pages.numbers(),
    )
    controls = widgets | {"file": table_file}
    notice = pages.react(controls, draw, cloud, barcode, curve, numbers)
    cloud.param.watch(lambda event: _drag(widgets, table_file, event.new), "relayout_data")
    shown = [player, *widgets.values(), *_back(widgets["points"]), table_file]
    main = [pages.row(cloud, barcode), curve, numbers]
    return pages.layout(TITLE, QUESTION, shown, main, notice=notice, method=METHOD, explanation=EXPLANATION)


def _back(points: pn.widgets.TextAreaInput) -> list[pn.widgets.Button]:
    """Buttons that take back the last change of the points, and all of them."""
    undo = pn.widgets.Button(label="Undo the last change of points", disabled=True)
    reset = pn.widgets.Button(label="Reset the points", disabled=not points.value)
    past: list[str] = []
    returns = {"to": None}

    def changed(event):
        if event.new != returns["to"]:
            past.append(event.old)
        returns["to"] = None
        undo.disabled, reset.disabled = not past, not event.new

    def back(_):
        if past:
            returns["to"] = past.pop()
            points.value = returns["to"]

    points.param.watch(changed, "value")
    undo.on_click(back)
    reset.on_click(lambda _: points.param.update(value=""))
    return [undo, reset]


def draw(step, cloud, count, degree, descriptor, loss, transform, rate, seed, points, file, theme):
    start = starting_points(cloud, count, seed, points, file)
    path, values = optimized(json.dumps(start), degree, descriptor, loss, transform, rate, seed, step)
    now = min(step, len(path) - 1)
    objective = make_objective(degree, descriptor, loss)
    x = path[now]
    found = objective.describe(x)
    filtration = objective.filtration(x)
    _, direction = TRANSFORMS[transform](objective, x, torch.Generator().manual_seed(seed))
    colour = None if filtration.parameters == 1 else filtration.f
    picture = figures.cloud(
        x, start=path[0], directions=-direction, values=colour, values_name="codensity", movable=True,
        title=f"Step {now}: loss {values[now]:.4g}", theme=theme,
    )  # fmt: skip
    picture.update_layout(uirevision=f"{cloud} {count} {seed}")
    if filtration.parameters == 1:
        bars = figures.diagram(found, names=["loops" if degree else "components"], theme=theme)
    else:
        bars = figures.atoms(found, axes=("edge length", "codensity"), theme=theme)
    rows = {
        "step": now,
        "loss": values[now],
        "atoms" if filtration.parameters == 2 else "bars": len(found),
        "longest loop": _longest(x),
        "points with nonzero gradient": int((direction.abs().sum(1) > 1e-12).sum()),
    }
    in_cloud, in_diagram = figures.links_of(found, filtration, x)
    linked(picture, in_cloud), linked(bars, in_diagram)
    return picture, bars, figures.losses({"loss": values}, now=now, theme=theme), rows


def make_objective(degree: int, descriptor: str, loss: str) -> topology.Objective:
    """The chain of the page: filtration, degree, loss."""
    sign = 1.0 if loss == "shrink" else -1.0
    if descriptor == DESCRIPTORS[0]:
        largest = 1 if loss == "enlarge the longest" else None
        return topology.Objective(topology.Rips, lambda found: sign * found.lengths[:largest].sum(), degree)
    if loss == "enlarge the longest":
        raise ValueError("a signed barcode has no longest bar: choose 'enlarge' or 'shrink', or bars of lengths")
    return topology.Objective(
        lambda x: topology.CodensityRips(x, 0.3), lambda found: sign * topology.lengths_between(found), degree
    )


def starting_points(cloud: str, count: int, seed: int, points: str, file) -> list:
    """Coordinates [[x, y], ...]: dragged or pasted ones first, then a file's first two numeric columns, then the data set's."""
    if points.strip():
        try:
            found = json.loads(points)
        except ValueError as error:
            raise ValueError(f"points must be a list of pairs like [[0, 0], [1, 0.5]]: {error}") from error
        return _checked(found)
    if file is not None:
        numeric = file.data.numeric()[0] if hasattr(file.data, "numeric") else file.data
        values = torch.as_tensor(numeric, dtype=torch.float64)
        if values.ndim != 2 or values.shape[1] < 2:
            raise ValueError(f"points must be a table with two numeric columns, got shape {tuple(values.shape)}")
        values = (values[:, :2] - values[:, :2].mean(0)) / values[:, :2].std().clamp_min(1e-12)
        return _checked(values[:MOST].tolist())
    if cloud == "annulus with clutter":
        from lab.topology.studies.clouds import cluttered_annulus

        return cluttered_annulus(max(count, 8), seed).tolist()
    if cloud == "two_circles":
        return datasets.noisy_circle(count, circles=2, noise=0.12, seed=seed).x.double().tolist()
    makers = {"noisy_circle": lambda: datasets.noisy_circle(count, noise=0.15, seed=seed)}
    makers |= {"moons": lambda: datasets.moons(count, seed=seed), "spirals": lambda: datasets.spirals(count, seed=seed)}
    return makers[cloud]().x.double().tolist()


def _checked(found) -> list:
    values = checks.tensor("points", found, ndim=2).double()
    if values.shape[1] != 2 or not 2 <= len(values) <= MOST:
        raise ValueError(f"points must be 2 to {MOST} pairs, got shape {tuple(values.shape)}")
    return values.tolist()


@lru_cache(maxsize=8)
def _run(start, degree, descriptor, loss, transform, rate, seed):
    chosen = TRANSFORMS[transform]
    objective = make_objective(degree, descriptor, loss)

    def normalized(function, x, generator):
        value, direction = chosen(function, x, generator)
        return value, direction / direction.norm(dim=1).max().clamp_min(1e-12)

    points = torch.tensor(json.loads(start), dtype=torch.float64)
    return topology.Minimizer(objective, points, "sgd", rate, normalized, None, seed)


def optimized(start, degree, descriptor, loss, transform, rate, seed, steps):
    """Iterates 0..``steps`` and their losses; what was computed before is kept."""
    run = _run(start, degree, descriptor, loss, transform, rate, seed)
    while len(run.history) < steps + 1:
        run.step()
    return run.path[: steps + 1], [done.loss for done in run.history[: steps + 1]]


def _longest(x):
    lengths = topology.bars(topology.Rips(x), 1).lengths
    return float(lengths[0]) if len(lengths) else 0.0


def _drag(widgets, file, event) -> None:
    """A dragged point becomes part of the own points, and the steps start anew."""
    moved = {key: value for key, value in (event or {}).items() if key.startswith("shapes[")}
    if not {"x0", "x1", "y0", "y1"} <= {key.rsplit(".", 1)[-1] for key in moved}:
        return
    number = int(next(iter(moved)).split("[")[1].split("]")[0])
    corner = {key.rsplit(".", 1)[-1]: float(value) for key, value in moved.items()}
    values = {name: widget.value for name, widget in widgets.items()}
    start = starting_points(values["cloud"], values["count"], values["seed"], values["points"], file.value)
    path, _ = optimized(
        json.dumps(start), values["degree"], values["descriptor"], values["loss"], values["transform"], values["rate"],
        values["seed"], values["step"],
    )  # fmt: skip
    points = path[min(values["step"], len(path) - 1)].tolist()
    if number >= len(points):
        return
    points[number] = [(corner["x0"] + corner["x1"]) / 2, (corner["y0"] + corner["y1"]) / 2]
    text = json.dumps([[round(a, 4), round(b, 4)] for a, b in points])
    widgets["step"].value = 0
    widgets["points"].value = text
