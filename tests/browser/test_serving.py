"""Options of the server: a login, a prefix behind a proxy, a limit on visitors, many visits."""

import time
import urllib.error
import urllib.request

import psutil
import pytest

from tests.browser.conftest import Server

pytestmark = pytest.mark.browser


def test_login_guards_pages_and_reports(tmp_path):
    server = Server(tmp_path, "--basic-auth", "a password", "--cookie-secret", "a long random text")
    try:
        with urllib.request.urlopen(server.url, timeout=60) as answer:
            assert "/login" in answer.url
        for path in ("reports/index.html", "report?run=x"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(server.url + path, timeout=60)
            assert refused.value.code == 403, path
        assert server.health()["status"] == "ok"
    finally:
        server.stop()


def test_pages_work_below_a_prefix(tmp_path, tab):
    server = Server(tmp_path, "--prefix", "/lab")
    try:
        assert server.first.endswith("/lab/")
        page = tab.open(server.first)
        page.get_by_role("link", name="Comp-sum losses", exact=True).click()
        page.wait_for_url("**/lab/comp-sum")
        assert tab.figures(2)
        page.get_by_role("link", name="Runs").click()
        page.wait_for_url("**/lab/runs")
        tab.assert_clean()
    finally:
        server.stop()


def test_one_visitor_too_many_is_told_so(tmp_path, new_tab):
    server = Server(tmp_path, "--max-sessions", "1")
    try:
        first, second = new_tab(), new_tab()
        first.open(server.url)
        second.open(server.url)
        second.page.get_by_role("alert").filter(has_text="full").wait_for()
    finally:
        server.stop()


def test_visits_leave_no_session_and_little_memory(tmp_path, new_tab):
    server = Server(tmp_path, "--session-seconds", "2")
    process = psutil.Process(server.process.pid)

    def visits(count):
        for _ in range(count):
            visitor = new_tab()
            visitor.open(server.url + "comp-sum")
            assert visitor.figures(2)
            visitor.context.close()
        for _ in range(120):
            if server.health()["sessions"] == 0:
                break
            time.sleep(0.5)
        return process.memory_info().rss

    try:
        before = visits(4)
        after = visits(8)
        assert server.health()["sessions"] == 0
        assert (after - before) / 8 < 5 * 2**20, f"{(after - before) / 8 / 2**20:.1f} MB stay of every visit"
    finally:
        server.stop()
