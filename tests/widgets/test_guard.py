"""Whose requests are answered, and what a login takes: the rules, without a server."""

import json

import pytest
from bs4 import BeautifulSoup
from panel.pane.markup import Markdown

from lab.report import read_parameters
from tests import hostile
from widgets.pages import _jobs, _shared
from widgets.server import guard, login
from widgets.server.options import Options, checked, origins

OWN = origins(Options(allow_websocket_origin=("lab.example.org", "*.team.example.org")), 5006)


@pytest.mark.parametrize(
    ("host", "origin"),
    [("127.0.0.1:5006", None), ("localhost:5006", "http://localhost:5006"), ("LOCALHOST:5006", "http://LocalHost:5006"),
     ("lab.example.org", "https://lab.example.org"), ("127.0.0.1:5006", "https://lab.example.org"),
     ("a.team.example.org", None), ("lab.example.org:80", None)],
)  # fmt: skip
def test_own_hosts_and_origins_are_answered(host, origin):
    assert guard.is_own([host], [origin] if origin else [], OWN)


@pytest.mark.parametrize(
    "host",
    ["evil.example:5006", "127.0.0.1", "127.0.0.1:80", "127.0.0.1:5007", "localhost.:5006", "localhost:5006.evil.example", "",
     "evil@localhost:5006", "localhost:5006@evil.example", "localhost:05006", "[::1]:5006", "localhost:5006, evil.example",
     "127.0.0.1.nip.io:5006", "lab.example.org.evil.example", "xlab.example.org", "lab-example.org", "localhost:5006/", "0:5006",
     "a.b.team.example.org", "team.example.org", ".team.example.org", "lab.example.org:5006", "*", "127.1:5006",
     "localhost\x00:5006",
     "localhost :5006", "2130706433:5006", "ⓛocalhost:5006"],
)  # fmt: skip
def test_foreign_hosts_are_refused(host):
    assert not guard.is_own([host], [], OWN)


@pytest.mark.parametrize(
    "origin",
    ["null", "", "http://evil.example", "http://evil.example:5006", "http://localhost", "file://",
     "http://localhost:5006.evil.example", "http://evil@localhost:5006x", "http://localhost:5006@evil.example",
     "data://localhost:5006", "localhost:5006", "//localhost:5006",
     "http://localhost:5006/x", "http://[::1", "chrome-extension://localhost:5006"],
)  # fmt: skip
def test_pages_of_other_origins_are_refused(origin):
    assert not guard.is_own(["localhost:5006"], [origin], OWN)


def test_a_request_names_one_host_and_at_most_one_origin():
    assert not guard.is_own([], [], OWN)
    assert not guard.is_own(["localhost:5006", "localhost:5006"], [], OWN)
    assert not guard.is_own(["localhost:5006"], ["http://localhost:5006"] * 2, OWN)
    assert guard.is_own(["[::1]:5006"], ["http://[::1]:5006"], origins(Options(address="::1"), 5006))
    assert guard.is_own(["anything:1"], ["https://else.where"], ["*"])


def test_cookies_are_for_this_site_and_for_tls_where_it_is():
    assert guard.stamped("user=x; Path=/", encrypted=False) == "user=x; Path=/; SameSite=Lax"
    assert guard.stamped("user=secure; SameSite=Strict", encrypted=True) == "user=secure; SameSite=Strict; Secure"
    assert guard.stamped("a=b; samesite=lax; secure", encrypted=True) == "a=b; samesite=lax; secure"


def test_an_address_that_others_reach_needs_a_login_or_a_word():
    for address in ("0.0.0.0", "::", "192.168.1.5", "lab.example.org"):
        with pytest.raises(ValueError, match="--open-to-anyone"):
            checked(Options(address=address))
        assert not checked(Options(address=address, open_to_anyone=True)).takes_jobs
        assert checked(Options(address=address, open_to_anyone=True, jobs=True)).takes_jobs
        assert checked(Options(address=address, basic_auth="x", cookie_secret="y")).takes_jobs
    for address in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        assert checked(Options(address=address)).takes_jobs
        assert not checked(Options(address=address, jobs=False)).takes_jobs
        assert not checked(Options(address=address, allow_websocket_origin=("lab.example.org",))).takes_jobs


def test_passwords_are_compared_whole(tmp_path):
    users = tmp_path / "users.json"
    users.write_text(json.dumps({"ada": "löve", "none": "", "number": 7}))
    assert login.is_right("pass word ", "", "pass word ") and not login.is_right("password", "", "passwor")
    assert login.is_right(str(users), "ada", "löve")
    for name, given in (("ada", "x"), ("eve", "None"), ("eve", ""), ("none", ""), ("number", "7"), ("", "")):
        assert not login.is_right(str(users), name, given)


@pytest.fixture
def notes(tmp_path, monkeypatch):
    monkeypatch.setattr(_shared, "folder", lambda part: tmp_path)
    clock = [1000.0]
    monkeypatch.setattr(login.time, "time", lambda: clock[0])
    return clock


def test_every_wrong_password_doubles_the_wait_of_its_address(notes):
    waits = []
    for _ in range(9):
        login.missed("10.0.0.1")
        waits.append(login.waiting("10.0.0.1"))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert login.waiting("10.0.0.2") == 0
    notes[0] += 59
    assert login.waiting("10.0.0.1") == 1
    notes[0] += 1
    assert login.waiting("10.0.0.1") <= 0
    notes[0] += login.FORGOTTEN_SECONDS
    login.missed("10.0.0.1")
    assert login.waiting("10.0.0.1") == 1
    login.forgive("10.0.0.1")
    assert login.waiting("10.0.0.1") == 0


def test_the_words_of_a_parameter_are_shown_as_they_are():
    parser = Markdown._get_parser("markdown-it", (), Markdown.hard_line_break)
    for text in [
        *hostile.HTML,
        *hostile.MARKDOWN,
        "a_b *c* 0.5-1 & &lt;b&gt; \\<b> $x$",
        "# h",
        "- x",
        "1. x",
        "    x",
    ]:
        text = " ".join(text.translate({2: None, 3: None}).split())
        cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": f"n: int = 1  # [x] {text}"}
        widget = _jobs._widget(read_parameters({"cells": [cell]}).parameters["n"], 1)
        shown = BeautifulSoup(parser.render(widget.description), "html.parser")
        assert shown.get_text().strip() == text
        assert {tag.name for tag in shown.find_all()} == {"p"}
