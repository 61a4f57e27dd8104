"""The page of persistence in a browser: it plays, pauses, steps and rewinds, points light up, and points can be dragged."""

import re
import time

import pytest

from tests.browser.test_pages import wait_until_drawn
from widgets.pages import persistence as page

pytestmark = pytest.mark.browser

STATE = {"cloud": "noisy_circle", "count": 14, "degree": 0, "loss": "shrink", "transform": "subgradient", "rate": 0.02}


def _open(server, tab, **more):
    state = "&".join(f"{name}={value}" for name, value in {**STATE, **more}.items())
    tab.open(f"{server.url}{page.ROUTE}?{state}")
    tab.figures(3)
    wait_until_drawn(tab)


def _step(tab) -> int:
    titles = [figure["title"] for figure in tab.figures(3)]
    return next(int(found.group(1)) for title in titles if (found := re.search(r"Step (\d+)", title)))


STEP_NOW = """() => { const walk = (scope) => { for (const node of scope.querySelectorAll("*")) {
  if (node._fullLayout && node._fullLayout.title && /Step \\d+/.test(node._fullLayout.title.text))
    return Number(node._fullLayout.title.text.match(/Step (\\d+)/)[1]);
  if (node.shadowRoot) { const found = walk(node.shadowRoot); if (found !== undefined) return found; } } };
  return walk(document); }"""

BUTTONS = """(name) => { const walk = (scope) => { for (const node of scope.querySelectorAll("*")) {
  if (node.tagName === "BUTTON" && node.className.split(" ").includes(name)) return node;
  if (node.shadowRoot) { const found = walk(node.shadowRoot); if (found) return found; } } return null; };
  const found = walk(document); if (found) found.click(); return Boolean(found); }"""


def test_page_plays_pauses_steps_and_rewinds(server, tab):
    _open(server, tab)
    assert _step(tab) == 0
    assert tab.page.evaluate(BUTTONS, "play")
    tab.page.wait_for_function(f"() => ({STEP_NOW})() >= 2")
    assert tab.page.evaluate(BUTTONS, "pause")
    paused = _rest(tab)
    assert 2 <= paused < 60
    assert tab.page.evaluate(BUTTONS, "next")
    tab.page.wait_for_function(f"() => ({STEP_NOW})() === {paused + 1}")
    assert tab.page.evaluate(BUTTONS, "previous")
    tab.page.wait_for_function(f"() => ({STEP_NOW})() === {paused}")
    assert tab.page.evaluate(BUTTONS, "first")
    tab.page.wait_for_function(f"() => ({STEP_NOW})() === 0")
    tab.assert_clean()


def _rest(tab) -> int:
    """The step at which the page comes to rest: the same for three seconds."""
    seen, since = _step(tab), time.monotonic()

    def rests():
        nonlocal seen, since
        if _step(tab) != seen:
            seen, since = _step(tab), time.monotonic()
        return time.monotonic() > since + 3

    tab.until(rests, "the page comes to rest after a pause")
    return seen


BAR = """() => { const walk = (scope) => { for (const node of scope.querySelectorAll("*")) {
  if (node._fullData && node._fullLayout && !/Step/.test(node._fullLayout.title.text || "")) {
    for (const trace of node._fullData) if (trace.customdata && trace.customdata.length && trace.x) {
      const last = trace.x.length - 1, box = node.getBoundingClientRect(), layout = node._fullLayout;
      return [box.x + layout._size.l + layout.xaxis.c2p(trace.x[last]),
              box.y + layout._size.t + layout.yaxis.c2p(trace.y[last])]; } }
  if (node.shadowRoot) { const found = walk(node.shadowRoot); if (found) return found; } } return null; };
  return walk(document); }"""

SHAPES = """() => { const found = []; const walk = (scope) => { for (const node of scope.querySelectorAll("*")) {
  if (node.classList.contains("shapelayer")) for (const path of node.querySelectorAll("path")) {
    const box = path.getBoundingClientRect();
    if (box.width > 2 && box.width < 40) found.push([box.x + box.width / 2, box.y + box.height / 2]); }
  if (node.shadowRoot) walk(node.shadowRoot); } }; walk(document); return found; }"""


LIT = """() => { const found = []; const walk = (scope) => { for (const node of scope.querySelectorAll("*")) {
  if (node.classList.contains("lab-lit")) found.push(node.childElementCount);
  if (node.shadowRoot) walk(node.shadowRoot); } }; walk(document); return found; }"""


def _point(tab):
    x, y = tab.page.evaluate(BAR)
    tab.page.mouse.move(x - 30, y - 30)
    tab.page.mouse.move(x, y, steps=5)


def test_pointing_at_a_bar_lights_up_its_simplices_without_the_server_and_a_click_pins_them(server, tab):
    _open(server, tab)
    lit = lambda: tab.page.evaluate(LIT)  # noqa: E731
    tab.until(lambda: sum(count > 0 for count in lit()) == 2, "bar and simplices light up", act=lambda: _point(tab))
    titles = [figure["title"] for figure in tab.figures(3)]
    tab.page.wait_for_timeout(1500)
    assert sum(count > 0 for count in lit()) == 2, "the light stays while the pointer rests"
    tab.until(lambda: not any(lit()), "the light goes with the pointer", act=lambda: tab.page.mouse.move(5, 5))
    tab.until(lambda: sum(count > 0 for count in lit()) == 2, "they light up again", act=lambda: _point(tab))
    tab.page.mouse.click(*tab.page.evaluate(BAR))
    tab.page.wait_for_timeout(500)
    tab.page.mouse.move(5, 5)
    tab.page.wait_for_timeout(500)
    assert sum(count > 0 for count in lit()) == 2, "a click pins"
    tab.page.keyboard.press("Escape")
    assert not any(lit()), "Esc releases"
    assert [figure["title"] for figure in tab.figures(3)] == titles
    tab.assert_clean()


def _drag(tab):
    shapes = tab.page.evaluate(SHAPES)
    if len(shapes) < STATE["count"]:
        return
    x, y = shapes[0]
    tab.page.mouse.move(x, y)
    tab.page.mouse.down()
    tab.page.mouse.move(x + 40, y + 25, steps=6)
    tab.page.mouse.up()


def test_dragging_a_point_starts_the_optimization_anew(server, tab):
    _open(server, tab, step=3)
    assert _step(tab) == 3
    tab.page.wait_for_function(f"() => ({SHAPES})().length >= {STATE['count']}")
    tab.until(lambda: "points=" in tab.page.url, "the dragged point is in the address", act=lambda: _drag(tab))
    tab.page.wait_for_function(f"() => ({STEP_NOW})() === 0")
