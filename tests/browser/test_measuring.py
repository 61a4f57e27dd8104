"""'Measure now' on a page: progress and cancel in the claim's own row, then the row as measured."""

import pytest

from tests.browser.test_pages import wait_until_drawn

pytestmark = pytest.mark.browser


def test_claim_is_cancelled_and_then_measured_from_its_page(server, tab):
    tab.open(f"{server.url}comp-sum")
    wait_until_drawn(tab)
    claim = tab.page.locator("[data-lab-measure]").first.get_attribute("data-lab-measure")
    row = tab.page.locator(f'li[data-claim="{claim}"]')
    assert "not measured yet" in row.inner_text()
    row.get_by_role("button", name="Measure now").click()
    row.locator("progress").wait_for()
    assert "of about" in row.inner_text()
    row.get_by_role("button", name="Cancel").click()
    row.get_by_text("Cancelled; nothing was stored.").wait_for()
    row.get_by_role("button", name="Measure now").click()
    row.get_by_text("Measured in").wait_for()
    assert "smoke budget" in row.inner_text()
    assert "control on this machine" in row.inner_text().lower()
    tab.assert_clean()


def test_unknown_claim_and_budget_are_refused(server, tab):
    for query in ("claim=nothing.at-all&budget=smoke", "claim=comp_sum.one-family&budget=huge"):
        assert tab.page.request.post(f"{server.url}measure?{query}").status == 404
    assert tab.page.request.get(f"{server.url}measure?job=x").status == 404
