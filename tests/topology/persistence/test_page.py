"""The page and the figures of persistence: data follow the controls and equal what the library returns."""

import json

import numpy as np
import pytest
import torch

from lab import topology
from lab.topology.studies import clouds
from lab.topology.studies.graphs import DescriptorScore
from widgets.figures.topology import persistence as figures
from widgets.pages import persistence as page
from widgets.pages._static import static

TRIANGLE = json.dumps([[0, 0], [1, 0], [0.5, 1], [0.2, 0.4], [0.9, 0.7]])


def shown(**state):
    return static("persistence", state, page.build(state))


def test_points_of_the_figure_are_the_iterates_of_the_library():
    """One step: later iterates reach ties, where the last bit of a coordinate decides which subgradient is taken."""
    found = shown(step=1, count=20, transform="subgradient")
    start = torch.tensor(page.starting_points("noisy_circle", 20, 0, "", None), dtype=torch.float64)
    objective = page.make_objective(1, page.DESCRIPTORS[0], "enlarge")
    _, direction = topology.Vanilla()(objective, start, None)
    x = start - 0.02 * direction / direction.norm(dim=1).max()
    points = next(trace for trace in found.figures[0].data if trace.name == "points")
    assert np.allclose(np.stack([points.x, points.y], 1), x.numpy())
    bars = next(trace for trace in found.figures[1].data if trace.name == "loops")
    assert np.allclose(np.stack([bars.x, bars.y], 1), topology.bars(topology.Rips(x), 1).points.numpy())


def test_every_step_moves_points_and_bars():
    first, later = shown(step=0, count=20), shown(step=6, count=20)
    for k in range(2):
        name = ("points", "loops")[k]
        a, b = (next(t for t in f.figures[k].data if t.name == name) for f in (first, later))
        assert list(a.x) != list(b.x)


def test_own_points_and_both_descriptors():
    found = shown(points=TRIANGLE, degree=0, descriptor=page.DESCRIPTORS[1], step=2)
    assert "atoms" in found.figures[1].layout.title.text
    assert len(next(t for t in found.figures[0].data if t.name == "points").x) == 5


def test_bar_is_linked_to_its_simplices():
    arguments = {
        "cloud": "noisy_circle",
        "count": 20,
        "degree": 1,
        "descriptor": page.DESCRIPTORS[0],
        "loss": "enlarge",
    }
    rest = {"transform": "subgradient", "rate": 0.02, "seed": 0, "points": "", "file": None, "theme": "light"}
    picture, bars, *_ = page.draw(step=0, **arguments, **rest)
    x = torch.tensor(page.starting_points("noisy_circle", 20, 0, "", None), dtype=torch.float64)
    found = topology.bars(topology.Rips(x), 1)
    in_cloud, in_diagram = picture.layout.meta["links"], bars.layout.meta["links"]
    assert set(in_cloud) == set(in_diagram) == {str(k) for k in range(len(found))}
    for k, (birth, death) in enumerate(found.index.tolist()):
        wanted = [x[list(divmod(cell, 20))].numpy() for cell in (birth, death)]
        assert all(np.allclose(part["points"], edge) for part, edge in zip(in_cloud[str(k)], wanted))
        assert np.allclose(in_diagram[str(k)][0]["points"], found.points[k : k + 1].numpy())


def test_dragging_a_point_makes_it_an_own_point():
    import panel as pn

    view = page.build({"count": 6, "step": 1})
    widgets = {w.name: w for w in view.select(pn.widgets.Widget)}
    plot = next(p for p in view.select(pn.pane.Plotly) if p.name == "points")
    plot.relayout_data = {"shapes[2].x0": 1.0, "shapes[2].x1": 1.2, "shapes[2].y0": -0.1, "shapes[2].y1": 0.1}
    points = json.loads(widgets["Your own points [[x, y], ...]"].value)
    assert points[2] == [1.1, 0.0]
    assert len(points) == 6
    assert widgets["Step"].value == 0


def test_changes_of_points_are_undone_one_by_one_or_reset():
    import panel as pn

    view = page.build({"count": 6})
    field = next(w for w in view.select(pn.widgets.TextAreaInput))
    undo, reset = (
        next(b for b in view.select(pn.widgets.Button) if b.name.startswith(name)) for name in ("Undo", "Reset")
    )
    assert undo.disabled and reset.disabled
    first, second = TRIANGLE, "[[0, 0], [1, 0], [0, 2]]"
    field.value = first
    field.value = second
    undo.clicks += 1
    assert field.value == first
    undo.clicks += 1
    assert field.value == "" and undo.disabled
    field.value = second
    reset.clicks += 1
    assert field.value == "" and reset.disabled and not undo.disabled
    undo.clicks += 1
    assert field.value == second


@pytest.mark.parametrize(
    "state, words",
    [
        ({"points": "[[0,0]"}, "list of pairs"),
        ({"points": "[[0,0]]"}, "2 to 150 pairs"),
        ({"points": "[[0,0],[1,null]]"}, "points must be"),
        ({"step": 999}, "step must be at most"),
        ({"cloud": "noise"}, "cloud must be one of"),
        ({"sped": 1}, "no setting 'sped'"),
        ({"descriptor": page.DESCRIPTORS[1], "loss": "enlarge the longest"}, "no longest bar"),
    ],
)
def test_wrong_states_are_refused_in_words(state, words):
    with pytest.raises((ValueError, TypeError), match=words):
        page.build(state)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_figures_answer_in_their_titles(theme):
    run = clouds.enlarge_loops(2, count=24, steps=6)
    one = clouds.enlarge_loops(1, count=24, steps=6)
    x = run.start
    measure = topology.hilbert(topology.CodensityRips(x, 0.2), 0)
    race = clouds.transform_race({"subgradient": topology.Vanilla()}, count=20, steps=4)
    score = DescriptorScore(["hilbert", "rank"], [[0.5, 0.7], [0.6, 0.6]], [0.01, 0.1])
    drawn = [
        figures.spreads([one, run], theme=theme),
        figures.places(run, title="places", theme=theme),
        figures.surface(measure, theme=theme),
        figures.grid_error(clouds.grid_errors((10, 50), count=30), theme=theme),
        figures.race(race, theme=theme),
        figures.scores(score, theme=theme),
        figures.arms({"one": [0.1, 0.2], "two": [0.3, 0.5]}, y="accuracy", theme=theme),
        figures.embedding(x, torch.arange(24) % 3, theme=theme),
        figures.losses({"loss": [2.0, 1.0]}, now=1, theme=theme),
        figures.atoms(measure, highlight=0, theme=theme),
    ]
    for figure in drawn:
        assert figure.layout.title.text
        assert figure.layout.xaxis.title.text or figure.data[0].x is not None
    assert (
        "most accurate: hilbert" not in drawn[5].layout.title.text.lower()
        or drawn[5].data[0].y[0] >= drawn[5].data[1].y[0]
    )
    assert float(drawn[2].data[0].customdata.max()) == float(measure.at(measure.points).max())
