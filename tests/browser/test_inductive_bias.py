"""The page of inductive bias in a browser: what it shows is what the library returns, and its line can be dragged."""

import pytest

from lab.inductive_bias import required_bits
from tests.inductive_bias.test_page import SMALL
from widgets.pages import inductive_bias as page

pytestmark = pytest.mark.browser


def test_slider_in_a_browser_shows_the_bits_of_the_library(server, tab):
    state = "&".join(f"{name}={value}" for name, value in {**SMALL, "position": 62}.items())
    tab.open(f"{server.url}{page.ROUTE}?{state}")
    titles = [figure["title"] for figure in tab.figures(3)]
    prepared = page._prepared(*SMALL.values())
    bits = required_bits(prepared.law, prepared.threshold(62)).bits
    assert any(f"{bits:.3g} bits to reach" in title.replace("<br>", " ") for title in titles)


LINES = """() => { const found = [], walk = (scope) => { for (const node of scope.querySelectorAll("*")) {
  if (node.classList.contains("shapelayer")) for (const path of node.querySelectorAll("path")) {
    const box = path.getBoundingClientRect(); if (box.width < 8 && box.height > 50) found.push([box.x, box.y +
    box.height / 2]); }
  if (node.shadowRoot) walk(node.shadowRoot); } }; walk(document); return found; }"""


def test_dragging_the_line_in_a_browser_moves_the_threshold(server, tab):
    state = "&".join(f"{name}={value}" for name, value in {**SMALL, "position": 40}.items())
    tab.open(f"{server.url}{page.ROUTE}?{state}")
    before = next(figure["title"] for figure in tab.figures(3) if "to reach" in figure["title"])
    tab.page.wait_for_function(f"() => ({LINES})().length > 0")
    x, y = tab.page.evaluate(LINES)[-1]
    tab.page.mouse.move(x, y)
    tab.page.mouse.down()
    tab.page.mouse.move(x + 120, y, steps=4)
    tab.page.mouse.up()
    bits = float(before.split()[0])
    tab.page.wait_for_function(
        "(old) => !document.title || !window.location.search.includes('position=40')", arg=before
    )
    tab.page.wait_for_timeout(1500)
    after = next(figure["title"] for figure in tab.figures(3) if "to reach" in figure["title"])
    assert float(after.split()[0]) < bits
