"""Every page found by contract, without a word about the page itself."""

import ast
import json
import re
from pathlib import Path

import plotly
import pytest

from tests.browser.conftest import ROOT, page_names

pytestmark = pytest.mark.browser

SHIPPED = (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_text(encoding="utf-8")[:400]
PLOTLY_JS = re.search(r"plotly\.js v([\d.]+)", SHIPPED).group(1)
DRAWN = {
    "scatter", "scattergl", "bar", "heatmap", "contour", "image", "histogram", "histogram2d", "box", "violin", "scatter3d",
    "surface", "mesh3d", "isosurface", "volume", "pie", "table", "parcoords", "scatterpolar", "sankey", "treemap", "icicle",
    "sunburst", "waterfall", "funnel", "splom", "cone", "indicator", "scatterternary", "contourcarpet", "carpet", "parcats",
}  # fmt: skip


def route_of(name: str) -> str:
    """The ROUTE that a page module assigns, alone or in a tuple of names."""
    for node in ast.parse((ROOT / "widgets" / "pages" / f"{name}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign):
            targets = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else [node.targets[0]]
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            for target, value in zip(targets, values):
                if getattr(target, "id", "") == "ROUTE":
                    return ast.literal_eval(value)
    raise AssertionError(f"widgets/pages/{name}.py assigns no ROUTE")


def wait_until_drawn(tab):
    """Until nothing is being computed and the figures have come."""
    tab.page.wait_for_function(
        """() => {
          const hosts = [], walk = (scope) => { for (const node of scope.querySelectorAll("*")) {
            if (node.classList.contains("lab-working") && node.getBoundingClientRect().width) hosts.push(node);
            if (node.shadowRoot) walk(node.shadowRoot); } };
          walk(document);
          return hosts.length === 0;
        }""",
    )
    tab.page.wait_for_timeout(400)


@pytest.mark.parametrize("name", page_names())
def test_page_draws_its_figures_with_the_plotly_they_were_made_for_and_is_accessible(name, server, tab, screenshots):
    tab.open(server.url + route_of(name))
    wait_until_drawn(tab)
    figures = tab.figures(1)
    assert all(figure["traces"] for figure in figures), "a figure without a trace"
    assert {trace for figure in figures for trace in figure["traces"]} <= DRAWN
    assert all(figure["title"] for figure in figures), "a figure without its answer in the title"
    assert tab.page.evaluate("Plotly.version") == PLOTLY_JS
    tab.page.screenshot(path=screenshots / f"{name}.png", full_page=True)
    tab.assert_accessible()
    tab.assert_clean()


@pytest.mark.parametrize("name", page_names())
def test_page_in_the_dark_on_a_phone_fits_its_width(name, server, new_tab, screenshots):
    tab = new_tab(color_scheme="dark")
    tab.page.set_viewport_size({"width": 390, "height": 844})
    tab.open(f"{server.url}{route_of(name)}?theme=dark")
    wait_until_drawn(tab)
    tab.figures(1)
    assert tab.page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
    tab.page.screenshot(path=screenshots / f"{name}-phone-dark.png", full_page=True)
    tab.assert_clean()


@pytest.mark.parametrize("name", page_names())
def test_address_of_a_changed_page_restores_it_in_another_browser(name, server, new_tab):
    first, second = new_tab(), new_tab()
    first.open(server.url + route_of(name))
    wait_until_drawn(first)
    change(first)
    second.open(first.page.url)
    wait_until_drawn(second)
    assert second.page.url == first.page.url
    same = lambda: comparable(second.figures(1)) == comparable(first.figures(1))  # noqa: E731
    first.until(same, "both browsers show the same")
    first.assert_clean()
    second.assert_clean()


def change(tab):
    """Move the main control by hand; every step is in the address before the next."""
    handles = tab.page.locator(".noUi-handle")
    if not handles.count():
        choice = tab.page.locator("select:not([multiple])").first
        choice.select_option(index=1)
        tab.page.wait_for_function("location.search.length > 1")
        return
    handle = handles.first
    handle.focus()
    at_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
    for _ in range(3):
        was = tab.page.url
        tab.page.keyboard.press("ArrowLeft" if at_end else "ArrowRight")
        tab.page.wait_for_function("(was) => location.href !== was", arg=was)


def comparable(figures):
    keys = ("title", "traces", "lengths", "first", "names", "sums")
    return json.loads(json.dumps([{key: figure[key] for key in keys} for figure in figures]))


def test_page_refuses_an_unknown_setting_in_words(server, tab):
    tab.open(f"{server.url}comp-sum?no_such_setting=1")
    alert = tab.page.get_by_role("alert").first
    alert.wait_for()
    assert "no_such_setting" in alert.inner_text()
    tab.page.get_by_role("link", name="Open the page at its defaults").click()
    assert tab.figures(2)
    tab.assert_clean()
