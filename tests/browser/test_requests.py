"""Raw requests to a served application: foreign hosts and origins, headers, addresses that are too long, the login."""

import http.client
import json
import re
import socket
import urllib.parse
from urllib.parse import urlparse

import pytest

from tests import hostile
from tests.browser.conftest import Server

pytestmark = pytest.mark.browser

UPGRADE = {
    "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "bokeh, none",
}  # fmt: skip


def ask(server, path, *, method="GET", body=None, **headers):
    """Status, headers and text of one request; ``Host`` as given, redirections not followed."""
    address = urlparse(server.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=150)
    connection.putrequest(method, path, skip_host="Host" in headers)
    if body is not None:
        headers = {**headers, "Content-Length": str(len(body)), "Content-Type": "application/x-www-form-urlencoded"}
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders(body)
    answer = connection.getresponse()
    text = b"" if answer.status == 101 else answer.read()
    connection.close()
    return answer.status, answer.headers, text.decode("utf-8", "replace")


def raw(server, text):
    """The first line of the answer to bytes that no client library would send."""
    address = urlparse(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=150) as connection:
        connection.sendall(text)
        return connection.recv(4096).split(b"\r\n")[0].decode()


@pytest.fixture(scope="module", params=[(), ("--num-procs", "2")], ids=["one", "front"])
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "strangers").mkdir()
    hostile.notebook(folder / "strangers" / "stranger.ipynb")
    started = Server(folder, "--notebooks", str(folder / "strangers"), *request.param)
    yield started
    started.stop()


def test_every_request_with_a_foreign_host_or_origin_is_refused(server):
    port = urlparse(server.url).port
    paths = ("/", "/run", "/comp-sum", "/health", "/report?run=x", "/reports/index.html", "/assets/lab.css",
             "/static/js/bokeh.min.js", "/nowhere", "/comp-sum/ws")  # fmt: skip
    for path in paths:
        more = UPGRADE if path.endswith("/ws") else {}
        for host in (
            f"evil.example:{port}",
            "127.0.0.1",
            f"127.0.0.1:{port + 1}",
            f"localhost.:{port}",
            f"x@localhost:{port}",
            "",
        ):
            assert ask(server, path, Host=host, **more)[0] in (400, 403), (path, host)
        for origin in ("null", "http://evil.example", f"http://evil.example:{port}"):
            assert ask(server, path, Origin=origin, **more)[0] == 403, (path, origin)
        assert ask(server, path, X_Forwarded_Host="evil.example", **more)[0] != 403
    for method in ("POST", "PUT", "OPTIONS"):
        assert ask(server, "/upload?token=x", method=method, body=b"x", Origin="http://evil.example")[0] == 403
    assert ask(server, "/comp-sum/ws", Origin=server.url.rstrip("/"), **UPGRADE)[0] == 101
    assert ask(server, "/", Host=f"LOCALHOST:{port}")[0] == 200
    own = f"Host: 127.0.0.1:{port}\r\n".encode()
    for request in (b"GET / HTTP/1.1\r\n" + own + b"Host: evil.example\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"):
        assert re.search(r" 40[03]\b", raw(server, request)), request


def test_every_answer_bears_the_headers(server):
    for path in ("/", "/comp-sum", "/health", "/nowhere", "/assets/lab.js", "/reports/nowhere.html", "/report?run=x"):
        _, headers, _ = ask(server, path)
        policy = headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert "frame-ancestors 'none'" in policy and "default-src 'none'" in policy, path
        if path != "/health" or "X-Frame-Options" in headers:
            assert headers["Referrer-Policy"] == "same-origin" and headers["X-Frame-Options"] == "DENY", path
        assert all("SameSite=Lax" in cookie for cookie in headers.get_all("Set-Cookie") or ())
    _, headers, page = ask(server, "/comp-sum")
    (nonce,) = re.findall(r"script-src 'nonce-(\w{32})' 'unsafe-eval';", headers["Content-Security-Policy"])
    scripts = re.findall(r"<script[^>]*>", page)
    assert scripts and all(f'nonce="{nonce}"' in script for script in scripts)
    assert not re.search(r"<[^<>]*\son\w+=", re.sub(r"<script.*?</script>", "", page, flags=re.S))
    assert nonce not in ask(server, "/comp-sum")[2]
    for gone in ("/comp-sum/autoload.js?bokeh-autoload-element=x", "/comp-sum/metadata"):
        assert ask(server, gone)[0] == 404


def test_addresses_of_any_length_are_answered_in_words(server):
    long = "x" * 5000
    found = {}
    for path in (f"/{long}", f"/report?run={long}", "/report?run=%00", "/report?run=../../etc", f"/reports/{long}", "/reports/%00",
                 f"/reports/runs/{long}.html", f"/upload?token={long}", f"/comp-sum?run={long}", f"/run?job={long}", "/run?job=%00",
                 f"/comp-sum?x={'[' * 50_000}", f"/static/{long}", f"/assets/{long}", "/assets/%00",
                 "/reports/%2e%2e/%2e%2e/etc/passwd",
                 "/reports//etc/passwd", "/comp-sum?run=%ff%fe", f"/run?notebook={long}", "/static/extensions/x/../y"):  # fmt: skip
        method = "POST" if path.startswith("/upload") else "GET"
        status, _, text = ask(server, path, method=method)
        found[path[:40]] = status
        assert status in (200, 400, 403, 404), (path[:60], status)
        assert str(server.data) not in text and "Traceback" not in text and "root:" not in text, path[:60]
    assert found["/report?run=%00"] == found["/report?run=../../etc"] == found[f"/reports/{long}"[:40]] == 404


def test_opening_a_strangers_notebook_runs_nothing_of_it(server, new_tab):
    tab = new_tab()
    alarms = []
    tab.page.expose_binding("alarm", lambda source, *words: alarms.append(words))
    page = tab.open(f"{server.url}run")
    page.get_by_text("n [<img src=x onerror=alarm()>]").wait_for()
    page.locator(".bk-description").first.hover()
    page.locator(".bk-tooltip-content").get_by_text("<img src=x onerror=alarm()>").wait_for()
    assert not page.locator("img[src=x]").count()
    assert not alarms
    tab.assert_clean()


@pytest.mark.parametrize("more", [(), ("--num-procs", "2")], ids=["one", "front"])
def test_login_below_a_prefix_behind_a_proxy_with_tls(tmp_path, more):
    users = tmp_path / "users.json"
    users.write_text(json.dumps({"ada": "a password"}))
    login = ("--basic-auth", str(users), "--cookie-secret", "a long random text")
    reach = ("--prefix", "/lab", "--use-xheaders", "--allow-websocket-origin", "lab.example.org")
    server = Server(tmp_path, *login, *reach, *more)
    proxy = {"Host": "lab.example.org", "X-Real-Ip": "203.0.113.7", "X-Scheme": "https"}

    def answer(path, body=None, **headers):
        method = "GET" if body is None else "POST"
        return ask(server, path, method=method, body=body and urllib.parse.urlencode(body).encode(), **proxy, **headers)

    try:
        status, headers, _ = answer("/lab/comp-sum")
        place = urllib.parse.urljoin("/lab/comp-sum", headers["Location"])
        assert status == 302 and place == "/lab/login?next=%2Flab%2Fcomp-sum"
        status, headers, page = answer(place)
        assert status == 200 and "form-action 'self'" in headers["Content-Security-Policy"]
        assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["data:,"] and "http" not in page
        right = {"username": "ada", "password": "a password"}
        assert answer(place, right, Origin="https://evil.example")[0] == 403
        status, headers, _ = answer(place, right, Origin="https://lab.example.org")
        assert (status, headers["Location"]) == (302, "/lab/comp-sum")
        (cookie,) = [cookie for cookie in headers.get_all("Set-Cookie") if cookie.startswith("user=")]
        for word in ("HttpOnly", "SameSite=Lax", "Secure", "Path=/lab"):
            assert word in cookie, (word, cookie)
        assert all("Secure" in cookie for cookie in headers.get_all("Set-Cookie"))
        known = {"Cookie": cookie.split(";")[0]}
        assert answer("/lab/comp-sum", **known)[0] == 200
        assert answer("/lab/reports/assets/x.css")[0] == 404 and answer("/lab/reports/index.html")[0] == 403
        for foreign in (
            "https://evil.example",
            "//evil.example",
            "/lab/\\evil.example",
            "/other",
            "/lab//evil.example/%0d%0a",
        ):
            target = answer("/lab/login?" + urllib.parse.urlencode({"next": foreign}), right)[1]["Location"]
            assert target.startswith("/lab/") and "evil.example" not in target.split("/lab/")[0]
        wrong = {"username": "ada", "password": "<img src=x>"}
        assert answer("/lab/login", wrong)[0] == 403
        status, headers, page = answer("/lab/login", right)
        assert status == 429 and headers["Retry-After"] and "Too many wrong passwords" in page
        assert answer("/lab/comp-sum", **known)[0] == 200
        proxy["X-Real-Ip"] = "203.0.113.8"
        assert answer("/lab/login", right)[0] == 302
        status, headers, _ = answer("/lab/logout", **known)
        assert (status, headers["Location"]) == (302, "/lab/login")
    finally:
        server.stop()
