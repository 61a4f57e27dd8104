"""Several server processes behind one port: every visitor stays with one, whatever opens at once."""

import io
import os
import re
import signal

import numpy as np
import psutil
import pytest

from tests.browser.conftest import PATIENCE, Server, wait_until
from tests.browser.test_app import write_notebook

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two processes behind one port, below a prefix."""
    folder = tmp_path_factory.mktemp("own") / "own"
    folder.mkdir()
    write_notebook(folder, "long", "A long run", "seconds: float = 60.0", "import time", "time.sleep(seconds)")
    started = Server(
        tmp_path_factory.mktemp("store"), "--num-procs", "2", "--prefix", "lab", "--notebooks", str(folder)
    )
    started.url = started.first
    yield started
    started.stop()


def test_many_visitors_spread_over_the_processes_and_each_page_draws(pair, new_tab):
    tabs = [new_tab() for _ in range(4)]
    for tab in tabs:
        tab.open(pair.url + "comp-sum?tau=0.5")
    for tab in tabs:
        assert "τ = 0.5" in " ".join(tab.figures(2)[0]["names"])
    wait_until(lambda: pair.health()["sessions"] >= 4, "four sessions are counted")
    health = pair.health()
    assert len(health["processes"]) == 2
    assert min(health["processes"]) >= 1
    assert sum(health["processes"]) == health["sessions"]
    for tab in tabs:
        handle = tab.page.locator(".noUi-handle").first
        handle.focus()
        tab.page.keyboard.press("ArrowRight")
    for tab in tabs:
        tab.page.wait_for_function("location.search.includes('tau=0.55') || location.search.includes('tau=0.6')")
        tab.assert_clean()


def test_two_pages_of_a_new_visitor_opened_at_once_both_draw(pair, tab):
    second = tab.context.new_page()
    tab.page.goto(pair.url + "comp-sum", wait_until="commit")
    tab.context.clear_cookies()
    second.goto(pair.url + "groco", wait_until="commit")
    for page in (tab.page, second):
        page.wait_for_function("window.Bokeh && Bokeh.documents.length > 0")
        page.locator(".js-plotly-plot .main-svg").first.wait_for()
    tab.assert_clean()


def test_a_visitor_stays_with_a_process(pair, tab):
    tab.open(pair.url + "comp-sum")
    (cookie,) = [cookie for cookie in tab.context.cookies() if cookie["name"] == "lab_process"]
    assert cookie["path"] == "/lab"
    assert cookie["httpOnly"]
    for _ in range(3):
        tab.open(pair.url + "runs")
        assert [found["value"] for found in tab.context.cookies() if found["name"] == "lab_process"] == [
            cookie["value"]
        ]


def test_an_upload_reaches_the_page_through_either_process(pair, tab):
    buffer = io.BytesIO()
    np.save(buffer, np.random.default_rng(0).random((24, 24)))
    page = tab.open(pair.url + "betti-matching")
    tab.figures(1)
    for number in ("0", "1"):
        tab.context.add_cookies([{"name": "lab_process", "value": number, "url": pair.url}])
        content = {"name": f"own{number}.npy", "mimeType": "application/octet-stream", "buffer": buffer.getvalue()}
        page.locator("input[type=file]").first.set_input_files(content)
        page.get_by_text(f"own{number}.npy: image of 24 × 24").wait_for()


def test_a_link_to_a_running_job_leads_to_the_process_that_drives_it(pair, new_tab):
    owner = new_tab()
    page = owner.open(pair.url + "run?notebook=own/long.ipynb")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("time.sleep(seconds)").wait_for()
    visitors = [new_tab() for _ in range(2)]
    for number, visitor in enumerate(visitors):
        visitor.context.add_cookies([{"name": "lab_process", "value": str(number), "url": pair.url}])
        visitor.open(page.url)
        visitor.page.get_by_text("time.sleep(seconds)").wait_for()
    visitors[1].page.get_by_role("button", name="Cancel").click()
    page.get_by_role("heading", name=re.compile("cancelled")).wait_for()


def test_a_process_that_is_killed_starts_again(pair, tab):
    front = psutil.Process(pair.process.pid)
    killed = front.children()[0].pid
    os.kill(killed, signal.SIGKILL)
    children = lambda: [child.pid for child in front.children()]  # noqa: E731
    wait_until(lambda: killed not in children() and pair.health()["status"] == "ok", "the process starts again")
    for number in ("0", "1"):
        tab.context.add_cookies([{"name": "lab_process", "value": number, "url": pair.url}])
        tab.open(pair.url + "comp-sum")
        tab.figures(2)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """Two processes behind one port and a password."""
    login = ("--basic-auth", "a password", "--cookie-secret", "a long random text")
    started = Server(tmp_path_factory.mktemp("guarded"), "--num-procs", "2", *login)
    yield started
    started.stop()


def test_one_login_holds_in_every_process(guarded, tab):
    page = tab.page
    page.goto(guarded.url)
    page.wait_for_function("document.activeElement.name === 'password'")  # ready for typing
    page.keyboard.type("a password")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Studies").wait_for()
    for number in ("0", "1"):
        tab.context.add_cookies([{"name": "lab_process", "value": number, "url": guarded.url}])
        tab.open(guarded.url + "comp-sum")
        tab.figures(2)


def test_the_processes_end_with_the_front(guarded):
    children = psutil.Process(guarded.process.pid).children()
    assert len(children) == 2
    guarded.process.kill()
    _, alive = psutil.wait_procs(children, timeout=PATIENCE)
    assert not alive
