"""The page of volumes in a browser: its planes are linked, and what it shows is what the library finds."""

import re

import pytest

from lab import datasets, topology
from widgets.figures.topology import volumes as figures

pytestmark = pytest.mark.browser

PLOTS = """() => { const found = [], walk = (scope) => { for (const node of scope.querySelectorAll("*")) {
  if (node.classList.contains("js-plotly-plot") && node._fullLayout) { const area = node.querySelector(".nsewdrag");
    const box = area && area.getBoundingClientRect(); found.push({title: node._fullLayout.title.text,
    box: box ? [box.x, box.y, box.width, box.height] : null}); }
  if (node.shadowRoot) walk(node.shadowRoot); } }; walk(document); return found; }"""


def titles(tab):
    return [figure["title"].replace("<br>", " ") for figure in tab.figures(4)]


def plane(tab, name) -> int:
    """The number of the plane that is shown."""
    (title,) = [title for title in titles(tab) if title.startswith(name)]
    return int(re.search(r"plane (\d+) of", title).group(1))


def test_page_shows_what_the_library_finds(server, tab):
    tab.open(f"{server.url}volumes?show=all&dimension=loops&min_length=0.15")
    data = datasets.load("vessel_tree_3d")
    shown = figures.scene(topology.match(data.prediction, data.label), dimensions=(1,), min_length=0.15)
    assert figures.view(shown).layout.title.text.replace("<br>", " ") in titles(tab)
    drawn = next(figure for figure in tab.figures(4) if "mesh3d" in figure["traces"])
    assert sum("loops" in name for name in drawn["names"]) == 2 * len({feature.kind for feature in shown.features})
    tab.assert_clean()


def test_click_into_a_plane_moves_the_other_two(server, tab):
    tab.open(f"{server.url}volumes")
    assert [plane(tab, name) for name in ("Axial", "Coronal", "Sagittal")] == [33, 33, 33]

    def click():
        axial = next(plot for plot in tab.page.evaluate(PLOTS) if plot["title"].startswith("Axial"))
        x, y, width, height = axial["box"]
        tab.page.mouse.move(x + 0.25 * width, y + 0.75 * height - 10)
        tab.page.mouse.move(x + 0.25 * width, y + 0.75 * height, steps=3)
        tab.page.wait_for_timeout(300)  # plotly finds out what lies below the pointer
        tab.page.mouse.click(x + 0.25 * width, y + 0.75 * height)

    tab.until(lambda: plane(tab, "Sagittal") != 33 and plane(tab, "Coronal") != 33, "the other planes move", act=click)
    assert plane(tab, "Axial") == 33
    assert abs(plane(tab, "Sagittal") - 17) <= 2
    assert abs(plane(tab, "Coronal") - 49) <= 2
    tab.page.wait_for_function("location.search.includes('sagittal')")
    tab.assert_clean()


def test_planes_go_through_the_feature_that_is_lit_up(server, tab):
    tab.open(f"{server.url}volumes?feature=3")
    data = datasets.load("vessel_tree_3d")
    shown = figures.scene(topology.match(data.prediction, data.label), kinds=figures.KINDS[1:])
    place = figures.place_of(shown.named(3), data.image.shape)
    assert [plane(tab, name) - 1 for name in ("Axial", "Coronal", "Sagittal")] == list(place)
    assert any("feature 3" in figure["names"] for figure in tab.figures(4))
    tab.assert_clean()
