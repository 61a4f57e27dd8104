"""Options of the server: a login, a prefix behind a proxy, a limit on visitors, many visits."""

import asyncio
import json
import re
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlparse

import psutil
import pytest

from tests.browser.conftest import Server

pytestmark = pytest.mark.browser


async def visit(url: str):
    """One visitor without a browser: the page, its websocket, its document; returns the open socket."""
    from tornado.httpclient import AsyncHTTPClient, HTTPRequest
    from tornado.websocket import websocket_connect

    address = urlparse(url)
    answer = await AsyncHTTPClient().fetch(url, request_timeout=280)
    token = re.search(r'"token":"([^"]+)"', answer.body.decode()).group(1)
    origin = {"Origin": f"http://{address.netloc}"}
    request = HTTPRequest(f"ws://{address.netloc}{address.path}/ws", headers=origin, request_timeout=280)
    socket = await websocket_connect(request, subprotocols=["bokeh", token])
    for part in ({"msgid": "1", "msgtype": "PULL-DOC-REQ"}, {}, {}):
        await socket.write_message(json.dumps(part))
    while "PULL-DOC-REPLY" not in str(await asyncio.wait_for(socket.read_message(), 280))[:400]:
        pass
    return socket


def in_a_thread(work):
    """Run a coroutine beside the loop that the browser's driver may hold in this thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


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


def test_login_without_a_secret_is_refused():
    from widgets.app import serve

    with pytest.raises(ValueError, match="cookie_secret"):
        serve(basic_auth="a password")


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


def test_many_visits_leave_no_session_and_little_memory(tmp_path):
    server = Server(tmp_path, "--session-seconds", "1")
    process = psutil.Process(server.process.pid)

    async def visits(count):
        for _ in range(count // 5):
            for socket in await asyncio.gather(*[visit(server.url + "comp-sum") for _ in range(5)]):
                socket.close()

    def settle():
        for _ in range(120):
            if server.health()["sessions"] == 0:
                break
            time.sleep(0.5)
        return process.memory_info().rss

    try:
        in_a_thread(visits(20))
        before = settle()
        in_a_thread(visits(40))
        after = settle()
        assert server.health()["sessions"] == 0
        assert (after - before) / 40 < 0.5 * 2**20, f"{(after - before) / 40 / 2**10:.0f} kB stay of every visit"
    finally:
        server.stop()
