"""Every page found by contract, without a word about the page itself."""

import ast
import re
from pathlib import Path

import plotly
import pytest

from tests.browser.conftest import ROOT, page_names

pytestmark = pytest.mark.browser

SHIPPED = (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_text(encoding="utf-8")[:400]
PLOTLY_JS = re.search(r"plotly\.js v([\d.]+)", SHIPPED).group(1)


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
    """Until the figures have come, nothing is being computed, and for some frames all stays as and where it is."""
    tab.page.evaluate("window.restfulFrames = 0")
    tab.page.wait_for_function(
        """() => {
          let figures = "", open = 0;
          const walk = (scope) => { for (const node of scope.querySelectorAll("*")) {
            if (node.classList.contains("lab-working") && node.getBoundingClientRect().width) open += 1;
            if (node.classList.contains("js-plotly-plot")) {
              if (!node.querySelector(".main-svg")) open += 1;
              const box = node.getBoundingClientRect();
              figures += [box.x, box.y, box.width, box.height].join() + ";";
            }
            if (node.shadowRoot) walk(node.shadowRoot); } };
          walk(document);
          const idle = open === 0 && Bokeh.documents.every((shown) => shown.is_idle);
          window.restfulFrames = figures && idle && figures === window.figuresStood ? window.restfulFrames + 1 : 0;
          window.figuresStood = figures;
          return window.restfulFrames > 8;
        }""",
    )


@pytest.mark.parametrize("name", page_names())
def test_page_in_the_dark_on_a_phone_fits_its_width(name, server, tab, screenshots):
    tab.page.emulate_media(color_scheme="dark")
    tab.page.set_viewport_size({"width": 390, "height": 844})
    tab.open(f"{server.url}{route_of(name)}?theme=dark")
    wait_until_drawn(tab)
    tab.figures(1)
    assert tab.page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
    tab.page.screenshot(path=screenshots / f"{name}-phone-dark.png", full_page=True)
    tab.assert_clean()


def test_page_refuses_an_unknown_setting_in_words(server, tab):
    tab.open(f"{server.url}comp-sum?no_such_setting=1")
    alert = tab.page.get_by_role("alert").first
    alert.wait_for()
    assert "no_such_setting" in alert.inner_text()
    tab.page.get_by_role("link", name="Open the page at its defaults").click()
    assert tab.figures(2)
    tab.assert_clean()
