"""Options of the server: a login, a prefix behind a proxy, a limit on visitors, many visits."""

import asyncio
import http.client
import re
import time
import urllib.error
import urllib.request
from urllib.parse import urlparse

import psutil
import pytest
from bokeh.util.token import get_token_payload
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from tests.browser.conftest import Server, run_alone, wait_until

pytestmark = pytest.mark.browser


def test_login_guards_pages_and_reports(tmp_path):
    server = Server(tmp_path, "--basic-auth", "a password", "--cookie-secret", "a long random text")
    try:
        with urllib.request.urlopen(server.url, timeout=150) as answer:
            assert "/login" in answer.url
            asked = re.findall(r"<input [^>]*name=\"(\w+)\"", answer.read().decode())
            assert asked == ["password"], "nobody is asked for a name that does not count"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(server.url + "login", data=b"password=another", timeout=150)
        assert refused.value.code == 403
        assert "The password is wrong." in refused.value.read().decode()
        for path in ("reports/index.html", "report?run=x"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(server.url + path, timeout=150)
            assert refused.value.code == 403, path
        assert server.health()["status"] == "ok"
    finally:
        server.stop()


def answer(server, path, **headers):
    """Status and headers of one request; redirections are not followed."""
    address = urlparse(server.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=150)
    connection.request("GET", path, headers=headers)
    found = connection.getresponse()
    connection.close()
    return found.status, dict(found.getheaders())


def test_login_by_a_provider_sends_the_visitor_there(tmp_path):
    login = (
        "--oauth-provider",
        "github",
        "--oauth-key",
        "a-key",
        "--oauth-secret",
        "a-secret",
        "--cookie-secret",
        "long text",
    )
    server = Server(tmp_path, *login, "--oauth-redirect-uri", "https://lab.example.org/login")
    try:
        status, headers = answer(server, "/comp-sum")
        assert (status, headers["Location"].split("?")[0]) == (302, "./login")
        status, headers = answer(server, "/login")
        assert status == 302
        assert headers["Location"].startswith("https://github.com/login/oauth/authorize")
        assert "client_id=a-key" in headers["Location"]
        assert "redirect_uri=https%3A%2F%2Flab.example.org%2Flogin" in headers["Location"]
        assert "a-secret" not in headers["Location"]
        assert answer(server, "/reports/index.html")[0] == 403
    finally:
        server.stop()


def test_named_origin_and_address_may_connect_and_no_other(tmp_path):
    server = Server(tmp_path, "--address", "127.0.0.2", "--allow-websocket-origin", "lab.example.org")
    upgrade = {
        "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "bokeh, none",
    }  # fmt: skip
    try:
        assert server.url.startswith("http://127.0.0.2:")
        assert answer(server, "/comp-sum/ws", Origin="https://lab.example.org", **upgrade)[0] == 101
        assert answer(server, "/comp-sum/ws", Origin="https://evil.example.org", **upgrade)[0] == 403
        with pytest.raises(ConnectionError):
            http.client.HTTPConnection("127.0.0.1", urlparse(server.url).port, timeout=20).connect()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def brief(tmp_path_factory):
    """The application below a prefix, with sessions that end soon."""
    started = Server(tmp_path_factory.mktemp("brief"), "--prefix", "/lab", "--session-seconds", "2")
    yield started
    started.stop()


def test_pages_work_below_a_prefix(brief, tab):
    assert brief.first.endswith("/lab/")
    page = tab.open(brief.first)
    page.get_by_role("link", name="Comp-sum losses", exact=True).click()
    page.wait_for_url("**/lab/comp-sum")
    assert tab.figures(2)
    page.get_by_role("link", name="Runs").click()
    page.wait_for_url("**/lab/runs")
    tab.assert_clean()


def test_one_visitor_too_many_is_told_so(tmp_path, new_tab):
    server = Server(tmp_path, "--max-sessions", "1")
    try:
        first, second = new_tab(), new_tab()
        first.open(server.url)
        wait_until(lambda: server.health()["sessions"] >= 1, "the first visitor is counted")
        second.open(server.url)
        second.page.get_by_role("alert").filter(has_text="full").wait_for()
    finally:
        server.stop()


def test_visits_leave_no_session_and_little_memory(brief, new_tab):
    process = psutil.Process(brief.process.pid)

    def visits(count):
        for _ in range(count):
            visitor = new_tab()
            visitor.open(brief.first + "comp-sum")
            assert visitor.figures(2)
            visitor.close()
        wait_until(lambda: brief.health()["sessions"] == 0, "no session is left")
        return process.memory_info().rss

    before = visits(4)
    after = visits(8)
    assert (after - before) / 8 < 5 * 2**20, f"{(after - before) / 8 / 2**20:.1f} MB stay of every visit"


async def greeting(server, token) -> str | None:
    """What the server says to a page that connects with this token; ``None`` where it hangs up."""
    address = server.url.removeprefix("http://")
    request = HTTPRequest(f"ws://{address}comp-sum/ws", headers={"Origin": server.url.rstrip("/")}, connect_timeout=150)
    socket = await websocket_connect(request, subprotocols=["bokeh", token])
    try:
        return await asyncio.wait_for(socket.read_message(), 150)
    finally:
        socket.close()


def token_of(server) -> str:
    """The token that a page was given."""
    with urllib.request.urlopen(server.url + "comp-sum", timeout=150) as page:
        return re.search(r'"token":"([^"]+)"', page.read().decode()).group(1)


def test_token_of_a_page_connects_until_it_expires(tmp_path):
    server = Server(tmp_path, "--token-seconds", "10")
    try:
        token = token_of(server)
        until = get_token_payload(token)["session_expiry"]
        if time.time() < until - 1:
            assert run_alone(greeting(server, token)) is not None
        wait_until(lambda: time.time() > until + 1, "time goes by")
        assert run_alone(greeting(server, token)) is None
        assert run_alone(greeting(server, token_of(server))) is not None
    finally:
        server.stop()
