"""A picture at once: in the page itself, in its place, and the live figures take over without a shift."""

import pytest

from tests.browser.first_figure import WATCH
from tests.browser.test_pages import wait_until_drawn

pytestmark = pytest.mark.browser

SEEN = """() => [...document.querySelectorAll(".lab-still svg")].filter((one) => one.getBoundingClientRect().width > 200)
  .map((one) => one.querySelectorAll("path, image").length)"""


@pytest.mark.parametrize("size", [(1400, 900), (390, 844)])
def test_page_shows_its_default_figures_before_any_script_ran(server, tab, size):
    tab.page.set_viewport_size(dict(zip(("width", "height"), size)))
    tab.page.route("**/*.js*", lambda route: route.abort())
    tab.page.goto(f"{server.url}comp-sum?theme=dark")
    drawn = tab.page.evaluate(SEEN)
    assert len(drawn) == 2 and min(drawn) > 10
    assert tab.page.locator(".lab-answer").inner_text().startswith("An example with margin")
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_live_figures_take_over_without_shift_and_without_empty_axes(server, tab):
    tab.page.set_viewport_size({"width": 1400, "height": 900})
    tab.page.add_init_script(WATCH)
    tab.open(f"{server.url}comp-sum")
    wait_until_drawn(tab)
    seen = tab.page.evaluate("window.labSeen")
    assert not tab.page.locator(".lab-first").count()
    assert seen["still"] is not None and seen["still"] < seen["live"]
    assert seen["shift"] < 0.001, seen["shifts"]
    assert seen["empty"] == 0
    tab.assert_clean()


def test_page_at_another_state_reserves_the_place_and_shows_no_default_figure(server, tab):
    tab.page.route("**/*.js*", lambda route: route.abort())
    tab.page.goto(f"{server.url}comp-sum?tau=0.5")
    assert tab.page.evaluate(SEEN) == []
    assert tab.page.locator(".lab-place").count() == 2


def test_controls_unfold_on_a_phone(server, tab):
    tab.page.set_viewport_size({"width": 390, "height": 844})
    tab.open(f"{server.url}comp-sum")
    wait_until_drawn(tab)
    assert tab.page.locator(".noUi-handle:visible").count() == 1
    tab.page.get_by_role("button", name="All controls").click()
    assert tab.page.locator(".noUi-handle:visible").count() == 3
    tab.page.get_by_role("button", name="Fewer controls").click()
    assert tab.page.locator(".noUi-handle:visible").count() == 1


def test_slash_leads_to_the_search_which_finds_betti_matching_for_vessel(server, tab):
    tab.open(f"{server.url}comp-sum")
    wait_until_drawn(tab)
    tab.page.keyboard.press("/")
    tab.page.wait_for_url("**/#search")
    tab.page.wait_for_function("() => !document.querySelector('.lab-first')")
    tab.page.keyboard.type("vessel")
    card = tab.page.locator("article.lab-card", has_text="Betti matching").first
    card.wait_for()
    tab.until(
        lambda: not tab.page.locator("article.lab-card", has_text="Comp-sum losses").count(), "others are left out"
    )
    tab.assert_clean()
