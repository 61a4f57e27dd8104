"""The menu 'Take it with you': every entry saves what it says."""

import pytest

from tests.browser.test_pages import wait_until_drawn

pytestmark = pytest.mark.browser


def saved(tab, words):
    with tab.page.expect_download() as found:
        tab.page.locator(".lab-take button", has_text=words).click()
    return found.value


def test_menu_saves_figures_data_page_python_and_citation(server, tab, tmp_path):
    tab.open(f"{server.url}comp-sum?tau=0.5")
    wait_until_drawn(tab)
    page = tab.page
    page.get_by_text("Take it with you").click()
    assert saved(tab, "BibTeX").path().read_text().count("@") == 2
    python = saved(tab, "Python that makes").path().read_text()
    assert "pages.at('comp_sum', {'tau': 0.5})" in python
    table = saved(tab, "Data as CSV").path().read_text().splitlines()
    assert table[0] == "figure,trace,x,y,z,text"
    assert len({line.split(",")[0] for line in table[1:]}) == 2
    whole = tmp_path / "page.html"
    saved(tab, "Page as HTML").save_as(whole)
    page.locator(".lab-take p", has_text="Saved.").wait_for()
    page.keyboard.press("Escape")
    assert not page.get_by_role("button", name="BibTeX").is_visible()
    tab.assert_clean()
    page.goto(whole.as_uri())
    assert [figure["title"] for figure in tab.figures(2)]
    assert page.locator("h1").inner_text() == "Comp-sum losses"
    assert page.locator(".lab-tile").count() == 4
    assert page.get_by_text("Claims and measurements").is_visible()
    assert not tab.foreign and not page.locator("button:visible:not(.modebar-btn)").count()


def test_unknown_page_or_kind_is_refused(server, tab):
    for address in ("take?_kind=python&_page=nothing", "take?_kind=pickle&_page=comp-sum", "take"):
        assert tab.page.request.get(server.url + address).status == 404
