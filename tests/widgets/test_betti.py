"""Figures, page and explorer of Betti matching follow their inputs."""

import numpy as np
import pytest
import torch

from lab import topology
from lab.topology.images import comparison
from lab.topology.studies import segmentation
from widgets import pages
from widgets.figures.topology import betti as figures
from widgets.figures.topology import betti_studies
from widgets.jupyter import BettiExplorer
from widgets.pages import betti_matching as page


def pair():
    label = torch.zeros(24, 30)
    label[4:12, 4:12] = 1
    label[7:9, 7:9] = 0
    prediction = 0.1 + 0.8 * label
    prediction[16:20, 20:24] = 0.75
    return prediction, label


def markers(figure):
    """Marks of each named trace, without the gaps of its lines."""
    return {
        trace.name: sum(x is not None for x in trace.x)
        for trace in figure.data
        if trace.type == "scatter" and trace.name
    }


def test_overlay_shows_each_feature_once_in_its_colour():
    found = topology.match(*pair())
    drawn = markers(figures.overlay(found))
    assert drawn["matched, loops (1)"] == 2
    assert drawn["unmatched in prediction, components (1)"] == 2
    figure = figures.overlay(found, highlight=found.unmatched_prediction[0][0], theme="dark")
    assert markers(figure)["this feature"] == 16
    assert "1 matched feature, 1 unmatched in prediction" in figure.layout.title.text.replace("<br>", " ")


def test_barcodes_hold_the_bars_of_both_sides():
    found = topology.match(*pair())
    drawn = markers(figures.barcodes(found))
    assert drawn["matched, loops"] == 2
    assert drawn["unmatched in prediction, components"] == 2
    lines = [trace for trace in figures.barcodes(found).data if trace.name == "unmatched in prediction, components"]
    assert sorted(x for x in lines[0].x if x is not None) == pytest.approx([0.1, 0.75])


def test_gradient_marks_the_pixels_that_the_loss_touches():
    prediction, label = pair()
    x = prediction.clone().requires_grad_()
    topology.BettiMatchingLoss()(x[None, None], label[None, None]).backward()
    figure = figures.gradient(prediction, x.grad)
    assert sum(markers(figure).values()) == 2 * int((x.grad != 0).sum())  # an arrow has two ends
    up = next(trace for trace in figure.data if (trace.name or "").startswith("raised"))
    for k in range(0, len(up.x), 3):
        assert x.grad[up.y[k], up.x[k]] < 0
        assert up.y[k + 1] < up.y[k]


def test_study_figures_state_their_answer():
    table = comparison.table({"one": pair()[0], "two": pair()[1]}, pair()[1])
    assert "from 0 to 1 features" in betti_studies.equal_dice(table).layout.title.text.replace("<br>", " ")
    growth = segmentation.growth((32, 64), rounds=1)
    assert "ns per pixel" in betti_studies.growth(growth).layout.title.text.replace("<br>", " ")
    assert len(betti_studies.rankings(segmentation.pitfalls(disks())).data) > 2


def test_cost_figures_state_memory_limits_and_orientation():
    frame = segmentation.benchmark_table("growth")
    title = betti_studies.growth(frame).layout.title.text
    assert f"{frame.bytes_per_pixel.iloc[-1]:.0f} bytes per pixel" in title.replace("<br>", " ")
    flips = segmentation.orientation(pairs=4, size=16)
    assert len(flips) == 12
    assert (
        flips[flips.kind == "noise with noise"].changed.mean() > flips[flips.kind != "noise with noise"].changed.mean()
    )
    assert len(betti_studies.orientation(flips).data[0].x) == 3
    table = segmentation.benchmark_table("companions")
    assert len(betti_studies.companions(table).data) == 5
    with pytest.raises(ValueError, match="part must be one of"):
        segmentation.benchmark_table("speed")


def disks():
    x, y = np.mgrid[:64, :64]
    return sum((x - a) ** 2 + (y - b) ** 2 < 60 for a, b in ((16, 16), (16, 46), (46, 30))) > 0


def test_page_follows_its_threshold_and_refuses_wrong_states():
    low = pages.static("betti_matching", {}, page.build({"image": "microaneurysms", "threshold": 0.2}))
    high = pages.static("betti_matching", {}, page.build({"image": "microaneurysms", "threshold": 0.8}))
    assert not low.numbers[0].equals(high.numbers[0])
    outline = lambda shown: next(  # noqa: E731
        t for t in shown.figures[0].data if (t.name or "").startswith("outline of the prediction")
    )
    assert outline(low).x != outline(high).x
    with pytest.raises(ValueError, match="image"):
        page.build({"image": "microaneurisms"})


def test_bars_and_features_are_linked_by_one_key_at_their_own_places():
    found = topology.match(*pair())
    places, bars = (
        figures.feature_links(found, min_length=0.0),
        figures.barcodes(found, min_length=0.0).layout.meta["links"],
    )
    assert set(places) == set(bars)
    width = found.shape[-1]
    for d in found.dimensions:
        for one, other in zip(found.matched[d].prediction, found.matched[d].label):
            sides = {tuple(part["axes"]): part["points"] for part in bars[figures.key_of(one)]}
            assert [x for x, _ in sides["x", "y"]] == [one.birth, one.death]
            assert [x for x, _ in sides["x2", "y2"]] == [other.birth, other.death]
        for bar in found.unmatched_prediction[d]:
            ends, *outlines = places[figures.key_of(bar)]
            assert ends["points"][0] == [bar.birth_voxel % width, bar.birth_voxel // width]
            assert outlines and not any(part["marked"] for part in outlines)


def test_page_says_which_file_is_missing():
    with pytest.raises(ValueError, match="label file is still missing"):
        page._case("coins", "mixed", 0, "ends", page.Own(object()), page.Own(None))


class File:
    def __init__(self, data):
        self.data, self.shape, self.affine = data, data.shape, ()


def test_page_takes_a_prediction_with_one_channel_a_class():
    prediction, label = pair()
    ids = label.long() + 2 * (prediction > 0.7).long() * (label == 0).long()
    soft = torch.stack([1 - prediction, prediction * (ids != 2), prediction * (ids == 2)])
    own = page.Own(File(soft.numpy())), page.Own(File(ids.numpy()))
    case = page._case("coins", "mixed", 2, "ends", *own)
    assert torch.equal(case["label"], ids == 2)
    assert case["found"].counts().equals(topology.match(soft[2], ids == 2).counts())
    rows = page.by_class(*case["pair"], 0.5, None)
    assert [row["class"] for row in rows] == ["1", "2"]
    errors = [topology.matching_error(soft[k], ids == k).total for k in (1, 2)]
    assert [row["matching error of the mask"] for row in rows] == errors
    assert page.by_class(prediction, label, 0.5, None) == []


def test_explorer_follows_its_controls_and_its_clicks():
    prediction, label = pair()
    explorer = BettiExplorer(prediction, label.long() + 1)
    assert "label_id" in explorer.controls
    explorer = BettiExplorer(prediction.numpy(), label.numpy())
    before = explorer.figures[1].layout.title.text
    explorer.controls["min_length"].value = 0.7
    assert explorer.figures[1].layout.title.text != before

    class Points:
        point_inds = [0]

    explorer._clicked(explorer.figures[1].data[0], Points, None)
    assert "this feature" in {trace.name for trace in explorer.figures[0].data}
    with pytest.raises(ValueError, match="24 x 30 and 30 x 24"):
        BettiExplorer(prediction, label.T)


def test_explorer_of_several_classes_matches_the_class_that_is_chosen():
    prediction, label = pair()
    ids = label.long() + 2 * (prediction > 0.7).long() * (label == 0).long()  # the island is of class 2
    several = torch.stack([1 - prediction, prediction * label, prediction * (ids == 2)])
    explorer = BettiExplorer(several, ids)
    for k in (1, 2, 0):
        explorer.controls["label_id"].value = k
        wanted = topology.match(several[k], ids == k) if k else topology.match(1 - several[0], ids > 0)
        assert explorer.matching.counts().equals(wanted.counts())
        title = figures.overlay(wanted).layout.title.text
        assert explorer.figures[0].layout.title.text == title
    with pytest.raises(ValueError, match="ids 0 to 3"):
        BettiExplorer(several, ids + 2)
