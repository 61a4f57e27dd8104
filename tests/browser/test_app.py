"""Home, run browser, job page, and the way from a notebook to its run, its page and its report."""

import asyncio
import json
import re

import nbformat
import pytest

from tests.browser.conftest import PATIENCE, Server, run_alone, wait_until
from tests.browser.visits import BUSY, visit

pytestmark = pytest.mark.browser
MIME = "application/vnd.lab.page+json"


def write_notebook(folder, name, title, *cells):
    """A notebook with a title and code cells; the first code cell holds the parameters."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    content.cells = [nbformat.v4.new_markdown_cell(f"# {title}")] + [nbformat.v4.new_code_cell(cell) for cell in cells]
    content.cells[1].metadata["tags"] = ["parameters"]
    nbformat.write(content, folder / f"{name}.ipynb")


@pytest.fixture(scope="module")
def lab_server(tmp_path_factory):
    """The application over notebooks of its own: one with a page, one that fails, one that takes long."""
    folder = tmp_path_factory.mktemp("own") / "own"
    folder.mkdir()
    write_notebook(
        folder, "bound", "A bound",
        "from typing import Literal\ntau: float = 1.5  # 0..2.5 index of the loss\n"
        'curve: Literal["all", "one"] = "all"\nclasses: int = 10  # 2..100',
        "import lab\nfrom lab.losses.comp_sum import gamma_tau\nlab.report.record('bound', float(gamma_tau(0.01, tau, classes)))",
        "from widgets import pages\npages.show('comp_sum', {'tau': tau, 'classes': classes})",
    )  # fmt: skip
    write_notebook(folder, "fails", "A failure", "n: int = 3", "n / 0")
    write_notebook(folder, "dies", "A death", "n: int = 3", "import os, signal", "os.kill(os.getpid(), signal.SIGKILL)")
    begin = "print('begun', flush=True)\nimport time"
    write_notebook(folder, "long", "A long run", "seconds: float = 60.0", begin, "time.sleep(seconds)")
    write_notebook(folder, "busy", "A busy run", "seconds: float = 60.0", BUSY)
    started = Server(tmp_path_factory.mktemp("store"), "--notebooks", str(folder))
    yield started
    started.stop()


def choose(tab, server, notebook, query=""):
    page = tab.open(f"{server.url}run?notebook=own/{notebook}.ipynb{query}")
    page.get_by_role("button", name="Run", exact=True).wait_for()
    return page


def run_of(server, notebook):
    """The newest run of a notebook in the server's store."""
    found = [
        json.loads(path.read_text()) | {"folder": path.parent} for path in (server.data / "runs").glob("*/run.json")
    ]
    return max((run for run in found if notebook in run["notebook"]), key=lambda run: run["started"])


def stored(server, notebook) -> set:
    """The statuses of the stored runs of a notebook."""
    found = [json.loads(path.read_text()) for path in (server.data / "runs").glob("*/run.json")]
    return {run["status"] for run in found if notebook in run["notebook"]}


def test_home_shows_every_study_and_opens_its_page(server, tab, screenshots):
    from lab import claims

    page = tab.open(server.url)
    page.get_by_role("heading", name="Studies").wait_for()
    for method in claims.methods():
        assert page.get_by_role("heading", name=method.title, exact=True).count() >= 1, method.id
    total = sum(len(method.claims) for method in claims.methods())
    page.get_by_text(f"{total} claims").wait_for()
    page.screenshot(path=screenshots / "home.png")
    tab.assert_accessible()
    page.get_by_role("link", name="Comp-sum losses", exact=True).click()
    page.wait_for_url("**/comp-sum")
    tab.figures(1)
    tab.assert_clean()


def test_home_is_filtered_while_typing_and_the_link_keeps_the_filter(server, new_tab):
    first, second = new_tab(), new_tab()
    page = first.open(server.url)
    cards = page.locator(".lab-card")
    everything = cards.count()
    page.get_by_label("Search (press /)").press_sequentially("comp-sum")
    page.get_by_text("1 study").wait_for()
    first.until(lambda: cards.count() == 1, "one card is left")
    assert everything > 1
    page.get_by_label("Search (press /)").press("Enter")
    page.wait_for_function("location.search.includes('search=comp-sum')")
    second.open(page.url)
    second.page.get_by_text("1 study").wait_for()
    first.assert_clean()
    second.assert_clean()


def test_choice_of_dark_survives_the_way_through_the_pages(server, tab, screenshots):
    page = tab.open(server.url)
    page.get_by_role("button", name="Dark").click()
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    page.wait_for_function("window.Bokeh && Bokeh.documents.length > 0")
    page.screenshot(path=screenshots / "home-dark.png")
    tab.open(server.url + "comp-sum")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert "theme" not in page.url
    tab.assert_clean()


_ROLE_OF_FOCUS = """(() => {
  let node = document.activeElement;
  while (node.shadowRoot && node.shadowRoot.activeElement) node = node.shadowRoot.activeElement;
  return node.getAttribute("role");
})()"""


def test_keyboard_alone_moves_the_main_control(server, tab):
    page = tab.open(server.url + "comp-sum")
    before = tab.figures(1)[0]["title"]
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate(_ROLE_OF_FOCUS) == "slider":
            break
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("location.search.includes('tau=1.8')")
    tab.until(lambda: "τ = 1.8" in " ".join(tab.figures(1)[0]["names"]), f"the figure follows from {before!r}")
    tab.assert_clean()


def test_glossary_explains_a_word_on_focus(server, tab):
    page = tab.open(server.url)
    word = page.locator(".lab-term").first
    word.focus()
    shown = lambda: word.evaluate("node => getComputedStyle(node, '::after').content")  # noqa: E731
    tab.until(lambda: word.get_attribute("data-meaning") in shown(), "the meaning is shown")
    assert len(shown()) > 20


def test_form_is_made_from_the_typed_parameters(lab_server, tab, screenshots):
    page = choose(tab, lab_server, "bound")
    assert page.get_by_label("tau").input_value() == "1.5"
    assert page.get_by_label("curve").evaluate("node => [...node.options].map((option) => option.text)") == [
        "all",
        "one",
    ]
    assert page.get_by_label("classes").input_value() == "10"
    page.screenshot(path=screenshots / "run.png")
    tab.assert_accessible()
    tab.assert_clean()


def test_wrong_parameter_in_the_address_is_refused_in_words(lab_server, tab):
    page = tab.open(f"{lab_server.url}run?notebook=own/bound.ipynb&clases=3")
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "clases" in alert.inner_text()
    assert "did you mean 'classes'" in alert.inner_text()
    page = tab.open(f"{lab_server.url}run?notebook=own/bound.ipynb&classes=1")
    page.get_by_role("alert").filter(has_text="from 2 to 100").wait_for()
    tab.assert_clean()


def test_run_page_and_report_show_the_same_numbers(lab_server, tab, new_tab, screenshots):
    page = choose(tab, lab_server, "bound", "&tau=0.75")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("link", name="Open as dashboard").wait_for()
    page.screenshot(path=screenshots / "run-finished.png", full_page=True)
    assert re.search(r"job=", page.url)
    run = run_of(lab_server, "bound")
    assert run["parameters"]["tau"] == 0.75
    (metric,) = [
        json.loads(line) for line in (run["folder"] / "records.jsonl").read_text().splitlines() if '"bound"' in line
    ]
    shown = f"{metric['value']:.4f}"

    cells = json.loads((run["folder"] / "notebook.ipynb").read_text())["cells"]
    shown_data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    (record,) = [data[MIME] for data in shown_data if MIME in data]
    assert record["state"] == {"tau": 0.75, "classes": 10}
    (kept,) = [row["value"] for row in record["numbers"][0] if row["quantity"].endswith("τ = 0.75")]
    assert f"{kept:.4f}" == shown

    page.get_by_role("link", name="Open as dashboard").click()
    page.wait_for_url("**/comp-sum?**")
    figures = tab.figures(2)
    assert "τ = 0.75" in " ".join(figures[0]["names"])
    page.locator(".lab-tile", has_text="τ = 0.75").get_by_text(shown).wait_for()
    page.get_by_text("From run").wait_for()
    page.screenshot(path=screenshots / "run-as-dashboard.png", full_page=True)

    report = new_tab()
    report.page.goto(f"{lab_server.url}report?run={run['folder'].name}")
    report.page.get_by_text(shown).first.wait_for()
    assert len(report.figures(2)) >= 2
    titles = [figure["title"] for figure in report.figures(2)]
    assert [figure["title"] for figure in figures] == titles[-2:]
    assert not report.foreign
    tab.assert_clean()

    served, alone = Server(lab_server.data, run["folder"].name), new_tab()
    try:
        alone.open(served.first)
        assert alone.figures(2)[0]["title"] == figures[0]["title"]
        alone.page.locator(".lab-tile", has_text="τ = 0.75").get_by_text(shown).wait_for()
        alone.page.get_by_text("From run").wait_for()
        alone.assert_clean()
    finally:
        served.stop()

    listed = new_tab()
    listed.open(f"{lab_server.url}runs?search=tau=0.75")
    listed.page.get_by_text("1 of ").wait_for()
    listed.page.get_by_role("link", name="Dashboard").wait_for()
    listed.page.screenshot(path=screenshots / "runs.png", full_page=True)
    listed.assert_accessible()
    listed.assert_clean()


def test_failed_run_says_where_and_why(lab_server, tab, screenshots):
    page = choose(tab, lab_server, "fails")
    page.get_by_role("button", name="Run", exact=True).click()
    alert = page.get_by_role("alert")
    alert.wait_for()
    tab.until(lambda: "ZeroDivisionError" in alert.inner_text(), "the error is named")
    assert "cell" in alert.inner_text()
    page.screenshot(path=screenshots / "run-failed.png", full_page=True)
    tab.assert_clean()


def test_dead_job_says_why(lab_server, tab):
    page = choose(tab, lab_server, "dies")
    page.get_by_role("button", name="Run", exact=True).click()
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert run_of(lab_server, "dies")["status"] != "ok"
    assert "kernel" in alert.inner_text().lower()
    assert "cell 4 of the notebook" in alert.inner_text()
    tab.assert_clean()


def test_cancel_ends_a_run_and_its_kernel(lab_server, tab, screenshots):
    page = choose(tab, lab_server, "long")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("time.sleep(seconds)").wait_for()
    page.screenshot(path=screenshots / "run-progress.png", full_page=True)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("heading", name=re.compile("cancelled")).wait_for()
    tab.until(lambda: stored(lab_server, "long") == {"cancelled"}, "what the run left is stored")
    tab.assert_clean()


def test_job_of_another_browser_is_reached_by_its_link_and_nothing_else_is_shared(lab_server, new_tab):
    first, second = new_tab(), new_tab()
    page = choose(first, lab_server, "bound", "&tau=0.25")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("link", name="Open as dashboard").wait_for()
    second.open(f"{lab_server.url}run?notebook=own/bound.ipynb")
    second.page.get_by_text("The run will appear here").wait_for()
    assert second.page.get_by_label("tau").input_value() == "1.5"
    second.open(page.url)
    second.page.get_by_role("link", name="Open as dashboard").wait_for()
    second.assert_clean()


def test_page_loads_while_a_job_computes(lab_server, new_tab):
    busy, visitor = new_tab(), new_tab()
    page = choose(busy, lab_server, "long", "&seconds=45")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("time.sleep(seconds)").wait_for()
    visitor.open(lab_server.url + "comp-sum")
    assert visitor.figures(2)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("heading", name=re.compile("cancelled")).wait_for()
    visitor.assert_clean()


def test_twenty_visitors_are_served_while_a_job_computes_and_it_is_cancelled_beside_them(lab_server, tab):
    page = choose(tab, lab_server, "busy", "&seconds=300")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("begun").first.wait_for()

    async def visits():
        return await asyncio.gather(*(visit(lab_server) for _ in range(20)))

    sockets = run_alone(visits())  # every one got its figures
    assert len(sockets) == 20
    assert lab_server.health()["sessions"] >= 20
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("heading", name=re.compile("cancelled")).wait_for()
    tab.until(lambda: stored(lab_server, "busy") == {"cancelled"}, "what the run left is stored")
    tab.assert_clean()


def test_health_opens_no_session(server):
    before = server.health()["sessions"]
    answers = [server.health() for _ in range(3)]
    assert all(answer["status"] == "ok" for answer in answers)
    assert answers[-1]["sessions"] <= before


def test_closed_sessions_are_dropped(server, new_tab):
    tab = new_tab()
    tab.open(server.url)
    assert server.health()["sessions"] >= 1
    tab.close()
    wait_until(lambda: server.health()["sessions"] == 0, "no session is left")


def test_foreign_origin_may_not_connect(server):
    import http.client
    from urllib.parse import urlparse

    address = urlparse(server.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    headers = {
        "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "bokeh, none", "Origin": "http://elsewhere.example",
    }  # fmt: skip
    connection.request("GET", "/comp-sum/ws", headers=headers)
    assert connection.getresponse().status == 403
    connection.close()


def test_taken_port_is_said_in_a_sentence(server):
    import subprocess
    import sys

    port = server.url.rsplit(":", 1)[1].strip("/")
    command = [sys.executable, "-m", "lab", "serve", "--port", port]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 2
    assert f"port {port} on 127.0.0.1 cannot be used" in result.stderr
    assert "Traceback" not in result.stderr
