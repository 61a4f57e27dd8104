"""The page of Betti matching in a browser: its figures are what the library returns, for built-in and for own images."""

import io

import numpy as np
import pytest

from lab import datasets, topology
from widgets.figures.topology import betti as figures
from widgets.pages import betti_matching as page

pytestmark = pytest.mark.browser


def titles(tab):
    return [figure["title"].replace("<br>", " ") for figure in tab.figures(3)]


def wanted(prediction, label, **options):
    """The titles of overlay and bars, as the library makes them."""
    found = topology.match(prediction, label)
    made = (figures.overlay(found, **options), figures.barcodes(found, min_length=options.get("min_length", 0.2)))
    return [figure.layout.title.text.replace("<br>", " ") for figure in made]


def wait_for(tab, title):
    """Until a figure has this title."""
    tab.until(lambda: title in titles(tab), f"a figure says {title!r}")


def test_threshold_moved_by_hand_changes_the_outline_and_keeps_what_the_library_returns(server, tab):
    tab.open(f"{server.url}{page.ROUTE}?image=microaneurysms")
    data = datasets.load("microaneurysms")
    for title in wanted(data.prediction, data.label > 0):
        wait_for(tab, title)

    def names():
        drawn = [name for figure in tab.figures(3) for name in figure["names"]]
        return [name for name in drawn if "outline of the prediction" in name]

    tab.until(lambda: names() == ["outline of the prediction at 0.5"], "the outline is drawn")
    handle = tab.page.locator(".noUi-handle").first
    handle.focus()
    for _ in range(5):
        tab.page.keyboard.press("ArrowRight")
    tab.page.wait_for_function("() => location.search.includes('threshold=0.55')")
    tab.until(lambda: names() == ["outline of the prediction at 0.55"], "the outline follows the threshold")
    tab.assert_clean()


def test_class_of_a_label_with_ids_is_matched_alone(server, tab):
    data = datasets.load("coins")
    tab.open(f"{server.url}{page.ROUTE}?image=coins&label_id=7")
    for title in wanted(data.prediction, data.label == 7):
        wait_for(tab, title)
    assert wanted(data.prediction, data.label == 7) != wanted(data.prediction, data.label > 0)


def test_arrows_sit_where_the_gradient_is(server, tab):
    data = datasets.load("microaneurysms")
    x = data.prediction.clone().requires_grad_()
    topology.BettiMatchingLoss()(x[None, None], (data.label > 0)[None, None]).backward()
    tab.open(f"{server.url}{page.ROUTE}?image=microaneurysms")
    wait_for(
        tab,
        f"The gradient is nonzero at {int((x.grad != 0).sum())} of {x.numel()} pixels: births and deaths of features",
    )
    drawn = next(figure for figure in tab.figures(3) if "gradient" in figure["title"])
    raised = int((x.grad < 0).sum())
    assert f"raised ({raised} pixels)" in drawn["names"]
    tab.assert_clean()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return {"name": "own.npy", "mimeType": "application/octet-stream", "buffer": stream.getvalue()}


def test_own_pair_is_matched(server, tab, screenshots):
    draw = np.random.default_rng(3)
    label = np.zeros((40, 60), np.uint8)
    label[5:20, 5:20] = label[25:35, 40:55] = 1
    label[10:15, 10:15] = 0
    prediction = np.clip(0.1 + 0.8 * label + 0.05 * draw.standard_normal(label.shape), 0, 1)
    prediction[25:30, 8:14] = 0.85
    tab.open(f"{server.url}{page.ROUTE}?image=microaneurysms")
    titles(tab)
    files = tab.page.locator("input[type=file]")
    files.nth(0).set_input_files(npy(prediction.astype(np.float32)))
    tab.page.get_by_text("the label file is still missing").first.wait_for()
    files.nth(1).set_input_files(npy(label))
    for title in wanted(prediction.astype(np.float32), label):
        wait_for(tab, title)
    tab.page.screenshot(path=screenshots / "betti_matching_own.png", full_page=True)


def test_own_prediction_with_one_channel_a_class_is_matched_class_by_class(server, tab):
    draw = np.random.default_rng(4)
    ids = np.zeros((30, 40), np.uint8)
    ids[4:14, 4:14], ids[16:26, 22:34] = 1, 2
    ids[19:22, 26:29] = 0
    scores = np.stack([4.0 * (ids == k) + draw.standard_normal(ids.shape) for k in range(3)])
    soft = (np.exp(scores) / np.exp(scores).sum(0)).astype(np.float32)
    tab.open(f"{server.url}{page.ROUTE}?image=microaneurysms&label_id=2")
    files = tab.page.locator("input[type=file]")
    files.nth(0).set_input_files(npy(soft))
    tab.page.get_by_text("channels of 3 × 30 × 40").first.wait_for()
    files.nth(1).set_input_files(npy(ids))
    for title in wanted(soft[2], ids == 2):
        wait_for(tab, title)
    tab.page.get_by_role("region", name="errors by class").wait_for()
