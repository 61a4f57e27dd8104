"""Figures, page and explorer of volumes follow their inputs."""

import numpy as np
import pytest
import torch

from lab import topology
from lab.datasets.orientation import planes
from widgets import pages
from widgets.figures.topology import volumes as figures
from widgets.jupyter import VolumeExplorer
from widgets.pages import volumes as page


def pair():
    """A ring in both, an island and a hollow ball in the prediction only."""
    label = torch.zeros(14, 18, 20)
    label[3:6, 2:10, 2:10] = 1
    label[3:6, 5:7, 5:7] = 0
    prediction = 0.1 + 0.8 * label
    prediction[10:13, 12:17, 13:18] = 0.75
    prediction[11, 14, 15] = 0.1
    return prediction, label


def drawn(figure, kind):
    return {
        trace.name: trace
        for trace in figure.data
        if trace.type == kind and trace.name and trace.showlegend is not False
    }


def test_view_draws_surfaces_and_lines_of_the_features_asked_for():
    found = topology.match(*pair())
    shown = figures.scene(found, spacing=(2.0, 1.0, 1.0))
    view = figures.view(shown)
    lines, surfaces = drawn(view, "scatter3d"), drawn(view, "mesh3d")
    assert set(lines) == {"matched: loops (1)"}
    assert set(surfaces) == {"prediction only: components (1)", "prediction only: cavities (1)"}
    assert view.layout.title.text.replace("<br>", " ") == "1 component, 0 loops, 1 cavity unmatched, 1 matched feature"
    island = surfaces["prediction only: components (1)"]
    assert np.ptp(island.z) == pytest.approx(6, abs=0.1)  # three pages of two units
    assert np.ptp(island.y) == pytest.approx(5, abs=0.1)
    only = figures.scene(found, kinds=("unmatched in prediction",), dimensions=(2,))
    assert [feature.bar.dimension for feature in only.features] == [2]
    assert figures.view(only, highlight=1, theme="dark").layout.title.text == "1 cavity unmatched"
    with pytest.raises(ValueError, match="feature must be at most 1"):
        figures.view(only, highlight=2)


def test_planes_show_what_they_cut_with_the_spacing_of_the_file():
    prediction, label = pair()
    shown = figures.scene(topology.match(prediction, label), spacing=(2.0, 1.0, 0.5))
    axial, coronal, _ = (figures.plane(shown, prediction, which, (11, 14, 15)) for which in planes(None))
    assert axial.layout.title.text.replace("<br>", " ") == "Axial plane 12 of 14: 2 unmatched features"
    assert axial.data[0].z.shape == (18, 20)
    assert coronal.data[0].z.shape == (14, 20)
    assert np.allclose(coronal.data[0].x, 0.5 * np.arange(20)) and np.allclose(coronal.data[0].y, 2.0 * np.arange(14))
    assert {"label", "prediction"} <= {trace.name for trace in coronal.data} | {"label"}
    assert figures.plane(shown, prediction, planes(None)[0], (0, 0, 0)).layout.title.text.startswith(
        "Axial plane 1 of 14: 0"
    )


def test_planes_of_an_oriented_file_are_the_anatomical_ones():
    shown = figures.scene(topology.match(*pair()), affine=np.diag([-1.0, 1.0, 1.0, 1.0]))
    axial = figures.plane(shown, pair()[0], planes(shown.affine)[0], (5, 6, 7))
    assert "8 of 20" in axial.layout.title.text
    low, high = axial.layout.xaxis.range
    assert low > high, "axis 0 grows to the left and must be shown reversed"


def test_listing_says_where_each_feature_is():
    rows = figures.listing(figures.scene(topology.match(*pair()), kinds=figures.KINDS[1:]))
    assert [row["feature"] for row in rows] == [1, 2]
    assert {row["kind"] for row in rows} == {"components, unmatched in prediction", "cavities, unmatched in prediction"}
    (cavity,) = [row for row in rows if row["kind"].startswith("cavities")]
    assert cavity["near voxel"] == "11, 14, 15"
    assert cavity["size"] == "1 voxels"


def test_page_shows_what_the_library_finds_and_moves_its_planes():
    at = pages.static("volumes", {}, page.build({"axial": 0.0, "dimension": "loops", "show": "all"}))
    moved = pages.static("volumes", {}, page.build({"axial": 0.5, "dimension": "loops", "show": "all"}))
    assert "Axial plane 1 of 64" in at.figures[1].layout.title.text
    assert not np.array_equal(at.figures[1].data[0].z, moved.figures[1].data[0].z)
    data = page.datasets.load("vessel_tree_3d")
    found = topology.match(data.prediction, data.label)
    assert at.numbers[0]["matched"].tolist() == [len(found.matched[d]) for d in range(3)]
    with pytest.raises(ValueError, match="volume"):
        page.build({"volume": "vessel_tree"})


def test_click_into_a_plane_moves_the_other_two():
    view = page.build({})
    widgets = {widget.label: widget for widget in view.select(page.pn.widgets.FloatSlider)}
    figure = next(iter(pages.static("volumes", {}, view).figures[1:2]))
    names = {name: widgets[f"{name.capitalize()} plane (relative position)"] for name in page.PLACES}
    follow = next(iter(view.select(page.pn.widgets.Checkbox)))
    page._move({**names, "follow": follow}, figure, {"points": [{"x": 63.0, "y": 0.0}]})
    assert (names["axial"].value, names["coronal"].value, names["sagittal"].value) == (0.5, 0.0, 1.0)
    assert follow.value is False
    chosen = page.pn.widgets.IntInput(value=0)
    page._choose({"feature": chosen}, {"points": [{"customdata": [4]}]})
    assert chosen.value == 4


class File:
    def __init__(self, data, affine=()):
        self.data, self.shape, self.spacing, self.affine = data, data.shape, (1.0, 1.0, 1.0), affine


def test_page_refuses_files_that_do_not_belong_together():
    volume = np.zeros((4, 5, 6), np.float32)
    with pytest.raises(ValueError, match="label file is still missing"):
        page._pair("vessel_tree_3d", "mixed", File(volume), None)
    with pytest.raises(ValueError, match="4 x 5 x 6 and 6 x 5 x 4"):
        page._pair("vessel_tree_3d", "mixed", File(volume), File(volume.T))
    with pytest.raises(ValueError, match="RAS and LAS"):
        page._pair("x", "mixed", File(volume, np.eye(4).tolist()), File(volume, np.diag([-1.0, 1, 1, 1]).tolist()))
    with pytest.raises(ValueError, match="lab run volumes"):
        page._pair("x", "mixed", File(np.empty((170, 170, 170), bool)), File(np.empty((170, 170, 170), bool)))


def test_explorer_follows_its_controls_and_its_clicks():
    prediction, label = pair()
    explorer = VolumeExplorer(prediction.numpy(), label.long(), spacing=(2, 1, 1))
    assert [figure.data[0].type for figure in explorer.figures] == ["mesh3d", "heatmap", "heatmap", "heatmap"]
    before = explorer.figures[0].layout.title.text
    explorer.controls["show"].value = "matched"
    assert explorer.figures[0].layout.title.text != before
    explorer.controls["show"].value = "unmatched"
    explorer.controls["feature"].value = 2
    assert explorer.controls["axial"].value == 11
    assert len(explorer.static()) == 4

    class Points:
        xs, ys = [3.0], [8.0]

    explorer._move(2, Points)  # coronal: columns to the right, pages of two units
    assert (explorer.controls["sagittal"].value, explorer.controls["axial"].value) == (3, 4)
    ids = VolumeExplorer(prediction, label.long() + 1)
    assert "label_id" in ids.controls
    with pytest.raises(ValueError, match="spacing"):
        VolumeExplorer(prediction, label, spacing=(1, 1))
    with pytest.raises(ValueError, match=r"\(14, 18, 20\) and \(20, 18, 14\)"):
        VolumeExplorer(prediction, label.permute(2, 1, 0))


def test_errors_by_dimension_add_up_to_the_title():
    label = torch.zeros(8, 8, 8)
    label[2:6, 2:6, 2:6] = 1
    prediction = label.clone()
    prediction[0, 0, 0] = 0.8  # one component too many
    table = figures.by_dimension(prediction, label)
    title = figures.errors(table, 0.93).layout.title.text.replace("<br>", " ")
    assert title == "At Dice 0.93, 1 unmatched feature; the Betti number error counts 1"
