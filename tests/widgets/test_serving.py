"""Options of the server that need no server, the front that chooses a process, and the priority of jobs."""

import json
import sys

import nbformat
import pytest

from widgets.server.front import Head, Process, Refusal, Switch
from widgets.server.options import Options, checked, origins


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_procs": 0}, "num_procs must be at least 1"),
        ({"max_sessions": 0}, "max_sessions must be at least 1"),
        ({"session_seconds": float("nan")}, "session_seconds must be finite"),
        ({"token_seconds": 1}, "token_seconds must be at least 10"),
        ({"notebooks": "no/such/folder"}, "notebooks must be a folder"),
        ({"basic_auth": "secret"}, "cookie_secret"),
        ({"basic_auth": "users.json", "cookie_secret": "x"}, "not there"),
        ({"oauth_provider": "githup", "cookie_secret": "x"}, "did you mean 'github'"),
        ({"oauth_provider": "github", "cookie_secret": "x"}, "oauth_key and oauth_secret"),
        ({"oauth_provider": "github", "basic_auth": "x", "cookie_secret": "x"}, "exclude each other"),
        ({"oauth_encryption_key": "short"}, "32 url-safe base64 bytes"),
        ({"oauth_encryption_key": "é" * 44}, "32 url-safe base64 bytes"),
        ({"oauth_encryption_key": "A" * 43 + "+"}, "32 url-safe base64 bytes"),
    ],
)
def test_options_that_cannot_work_are_refused_in_words(options, words):
    with pytest.raises(ValueError, match=words):
        checked(Options(**options))


def test_encryption_without_its_package_is_refused_before_anything_is_served(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    with pytest.raises(ValueError, match="needs the package cryptography: pip install cryptography"):
        checked(Options(oauth_encryption_key="A" * 43 + "="))


def test_pages_of_this_machine_and_of_named_hosts_may_connect():
    found = origins(Options(address="0.0.0.0", allow_websocket_origin=("lab.example.org",)), 80)
    assert found == ["0.0.0.0:80", "127.0.0.1:80", "localhost:80", "lab.example.org"]
    assert "[::1]:80" in origins(Options(address="::1"), 80)


def test_prefix_is_written_one_way():
    assert Options(prefix="/lab/").root == Options(prefix="lab").root == "/lab"
    assert Options().root == ""


def head(path="/", **headers):
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return Head(f"GET {path} HTTP/1.1\r\nHost: here\r\n{lines}\r\n".encode())


def websocket(session):
    from bokeh.util.token import generate_jwt_token

    return head("/comp-sum/ws", Upgrade="websocket", Sec_WebSocket_Protocol=f"bokeh, {generate_jwt_token(session)}")


@pytest.fixture
def switch(tmp_path):
    """A front of three processes that run."""
    processes = [Process(number, Options(), tmp_path, []) for number in range(3)]
    for process in processes:
        process.port = 1
    return Switch(processes, Options(), tmp_path, ["here"])


def test_websocket_goes_where_its_page_was_built(switch):
    for number in range(3):
        page = head("/comp-sum", Cookie=f"lab_process={(number + 1) % 3}").forwarded(number, "10.0.0.1", trust=False)
        session = next(line for line in page.decode().split("\r\n") if line.startswith("Bokeh-Session-Id")).split(": ")[
            1
        ]
        assert switch.choose(websocket(session)).number == number


def test_new_visitors_take_turns_and_known_ones_stay(switch):
    assert [switch.choose(head()).number for _ in range(4)] == [0, 1, 2, 0]
    assert {switch.choose(head(Cookie="a=b; lab_process=2")).number for _ in range(4)} == {2}
    switch._processes[1].open = switch._processes[2].open = 1
    assert switch.choose(head()).number == 0
    for cookie in ("lab_process=9", "lab_process=-1", "lab_process=x"):
        assert switch.choose(head(Cookie=cookie)).number == 0


def test_job_leads_to_its_process_and_no_path_is_followed(switch, tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "a-run").write_text("2")
    (tmp_path / "secret").write_text("1")
    assert switch.choose(head("/run?job=a-run", Cookie="lab_process=0")).number == 2
    assert switch.choose(head("/run?job=../secret", Cookie="lab_process=0")).number == 0


def test_damaged_session_and_foreign_token_choose_by_the_cookie(switch):
    for token in ("x", "bokeh", "bokeh, !!!", "bokeh, eyJzZXNzaW9uX2lkIjogIng"):
        assert (
            switch.choose(head("/ws", Upgrade="websocket", Sec_WebSocket_Protocol=token, Cookie="lab_process=1")).number
            == 1
        )


def test_visitor_cannot_name_a_session_an_address_or_a_scheme(switch):
    request = head(
        Bokeh_Session_Id="mine-0", X_Real_Ip="1.2.3.4", X_Scheme="https", Connection="keep-alive", Accept="text/html"
    )
    text = request.forwarded(1, "10.0.0.1", trust=False).decode()
    assert "mine-0" not in text
    assert "1.2.3.4" not in text
    assert "https" not in text
    assert "X-Real-Ip: 10.0.0.1\r\n" in text
    assert "Connection: close\r\n" in text
    assert "accept: text/html\r\n" in text
    assert "X-Real-Ip: 1.2.3.4\r\n" in request.forwarded(1, "10.0.0.1", trust=True).decode()


@pytest.mark.parametrize(
    "raw",
    [b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"GET / HTTP/1.1\r\n folded: x\r\n\r\n",
     b"GET / HTTP/1.1\r\na: b\nX-Real-Ip: 1\r\n\r\n", b"GET / SPDY/9\r\n\r\n", b"GET / HTTP/1.1\r\nname : x\r\n\r\n"],
)  # fmt: skip
def test_request_that_two_readers_could_read_differently_is_refused(raw):
    with pytest.raises(Refusal):
        Head(raw)


def test_job_steps_back_for_visitors(tmp_path, monkeypatch):
    from lab.report.runs.run import execute, plan
    from lab.report.store.layout import Store

    content = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    first = nbformat.v4.new_code_cell("n: int = 1", metadata={"tags": ["parameters"]})
    content.cells = [first, nbformat.v4.new_code_cell("import os, lab\nlab.report.record('nice', os.nice(0))")]
    nbformat.write(content, tmp_path / "own.ipynb")
    monkeypatch.setenv("LAB_NICE", "19")
    run = execute(plan(tmp_path / "own.ipynb"), store=Store(tmp_path / "data"))
    assert run.ok, run.error
    assert json.loads(json.dumps(run.metrics))["nice"] == 19
