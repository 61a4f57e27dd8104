"""The page of inductive bias in a browser: what it shows is what the library returns, and its line can be dragged."""

import pytest

from lab.inductive_bias import required_bits
from tests.inductive_bias.test_page import SMALL
from widgets.pages import inductive_bias as page

pytestmark = pytest.mark.browser


def test_slider_in_a_browser_shows_the_bits_of_the_library(server, tab):
    state = "&".join(f"{name}={value}" for name, value in {**SMALL, "position": 62}.items())
    tab.open(f"{server.url}{page.ROUTE}?{state}")
    prepared = page._prepared(*SMALL.values())
    bits = required_bits(prepared.law, prepared.threshold(62)).bits
    titles = lambda: [figure["title"].replace("<br>", " ") for figure in tab.figures(3)]  # noqa: E731
    tab.until(
        lambda: any(f"{bits:.3g} bits to reach" in title for title in titles()), "the bits of the library are shown"
    )


LINES = """() => { const found = [], walk = (scope) => { for (const node of scope.querySelectorAll("*")) {
  if (node.classList.contains("shapelayer")) for (const path of node.querySelectorAll("path")) {
    const box = path.getBoundingClientRect(); if (box.width < 8 && box.height > 50) found.push([box.x, box.y +
    box.height / 2]); }
  if (node.shadowRoot) walk(node.shadowRoot); } }; walk(document); return found; }"""


def test_dragging_the_line_in_a_browser_moves_the_threshold(server, tab):
    state = "&".join(f"{name}={value}" for name, value in {**SMALL, "position": 40}.items())
    tab.open(f"{server.url}{page.ROUTE}?{state}")
    bits = lambda: next(float(one["title"].split()[0]) for one in tab.figures(3) if "to reach" in one["title"])  # noqa: E731
    before = bits()

    def drag():
        lines = tab.page.evaluate(LINES)
        if not lines or "position=40" not in tab.page.url:
            return
        x, y = lines[-1]
        tab.page.mouse.move(x, y)
        tab.page.mouse.down()
        tab.page.mouse.move(x + 120, y, steps=4)
        tab.page.mouse.up()

    tab.until(lambda: "position=40" not in tab.page.url, "the line is dragged", act=drag)
    tab.until(lambda: bits() < before, "a larger loss needs fewer bits")
