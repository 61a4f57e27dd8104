"""A stranger's notebook in a real Chromium: nothing of it runs, in its report as a file, as a served page or by itself."""

import pytest

from lab.report import site
from lab.report.runs.run import execute, plan
from lab.report.site.notebook import body
from lab.report.store.layout import Store
from tests import hostile
from tests.browser.conftest import Server

pytestmark = pytest.mark.browser

_CLICK = """() => { for (const link of document.querySelectorAll("a, .click, [tabindex]")) {
  if (link.protocol === "javascript:" || link.protocol === "vbscript:" || link.protocol === "data:") alarm(link.outerHTML);
  link.dispatchEvent(new MouseEvent("mouseover", {bubbles: true})); if (link.focus) link.focus();
} }"""
_HANDLERS = """() => [...document.querySelectorAll("*")].flatMap((node) => [...node.attributes].filter(
  (attribute) => attribute.name.startsWith("on") || attribute.name === "srcdoc").map((attribute) => node.outerHTML))"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    done = execute(plan(hostile.notebook(folder / "stranger.ipynb")), store=Store(folder / "data"))
    assert done.ok, done.error
    return done


@pytest.fixture
def watched(chromium):
    """A page whose ``alarm`` writes down that a stranger's script ran, and the requests it makes."""
    context = chromium.new_context()
    page = context.new_page()
    page.alarms, page.asked = [], []
    context.expose_binding("alarm", lambda source, *words: page.alarms.append((source["page"].url, words)))
    page.on("dialog", lambda dialog: dialog.dismiss())
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("requestfailed", lambda request: request.failure == "csp" and page.asked.remove(request.url))
    yield page
    context.close()


def visit(page, address):
    page.goto(address)
    page.wait_for_load_state()
    page.evaluate("() => window.labDrawAll && labDrawAll()")
    page.evaluate(_CLICK)
    page.mouse.move(200, 200)
    page.wait_for_timeout(1000)
    assert not page.evaluate(_HANDLERS)
    assert not page.alarms


def test_alarm_rings_where_a_script_does_run(watched):
    watched.set_content("<svg/onload=alarm()>")
    watched.wait_for_timeout(300)
    assert watched.alarms


def test_cleaned_output_is_harmless_without_any_policy(watched):
    for html in hostile.HTML:
        shown = {"output_type": "display_data", "data": {"text/html": html}}
        watched.set_content(
            body({"cells": [{"cell_type": "code", "metadata": {}, "source": "x", "outputs": [shown]}]}).html
        )
        watched.evaluate(_CLICK)
        watched.wait_for_timeout(80)
        assert not watched.evaluate(_HANDLERS), html
        assert not watched.alarms, html
        assert not [address for address in watched.asked if not address.startswith(("about:", "data:image"))], html


def test_cleaned_prose_is_harmless_without_any_policy(watched):
    cells = [{"cell_type": "markdown", "metadata": {}, "source": text} for text in ["# Title\n\nq", *hostile.MARKDOWN]]
    watched.set_content(body({"cells": cells}).html)
    watched.evaluate(_CLICK)
    watched.wait_for_timeout(500)
    assert not watched.evaluate(_HANDLERS)
    assert not watched.alarms


def test_report_of_a_stranger_as_a_file(run, watched):
    index = site.render(store=Store(run.folder.parents[1]))
    for page in (index, index.parent / "runs.html", index.parent / "runs" / f"{run.id}.html"):
        visit(watched, page.as_uri())
        assert not [address for address in watched.asked if not address.startswith(("file:", "data:", "blob:"))]
    assert watched.evaluate("() => { const node = document.createElement('img'); node.setAttribute('onerror', 'alarm()');"
                            "node.src = 'data:,'; document.body.append(node); return true; }")  # fmt: skip
    watched.wait_for_timeout(300)
    assert not watched.alarms, "the policy stops what the cleaning might let through"
    watched.locator("figure.plot .main-svg").first.wait_for()


def test_served_report_has_an_origin_of_its_own(run, watched):
    server = Server(run.folder.parents[1])
    try:
        visit(watched, f"{server.url}report?run={run.id}")
        assert watched.evaluate("() => origin") == "null"
        assert watched.evaluate("() => fetch('/run').then(() => 'read', () => 'refused')") == "refused"
        watched.locator("figure.plot .main-svg").first.wait_for()
        assert watched.evaluate("() => getComputedStyle(document.querySelector('header.bar')).position") != "static"
        with watched.expect_navigation():
            watched.get_by_role("link", name="Runs").click()
        assert watched.evaluate("() => origin") == "null"
    finally:
        server.stop()
