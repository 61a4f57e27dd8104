"""A visitor's file in a real browser and over plain HTTP, and figures of a trace that an older plotly.js draws wrongly."""

import http.client
import io
import re
import zipfile
from urllib.parse import quote, urlparse

import numpy as np
import pytest

from tests.browser.conftest import Server

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    """The application with a page that takes a picture."""
    started = Server(tmp_path_factory.mktemp("data"), module="tests.browser.own_app")
    yield started
    started.stop()


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def open_probe(tab, probe, query=""):
    page = tab.open(f"{probe.url}probe{query}")
    tab.figures(2)
    return page


def give(page, name, content):
    page.locator("input[type=file]").set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    )


def test_own_picture_is_shown_with_its_own_numbers(probe, tab, screenshots):
    page = open_probe(tab, probe)
    picture = np.random.default_rng(0).random((20, 30)) ** 2
    give(page, "my picture.npy", npy(picture))
    page.get_by_text("my picture.npy: image of 20 × 30").wait_for()
    page.get_by_text(f"{(picture > 0.5).mean():.1%} lie above 0.5").first.wait_for()
    page.locator(".lab-tile", has_text="mean").get_by_text(f"{picture.astype(np.float32).mean():.4g}").wait_for()
    page.screenshot(path=screenshots / "upload.png")
    page.get_by_role("button", name="Remove picture").click()
    page.get_by_text("49.0% lie above 0.5").or_(page.get_by_text("50.0% lie above 0.5")).first.wait_for()
    tab.assert_clean()


def test_hostile_and_wrong_files_are_refused_in_words_and_the_page_goes_on(probe, tab, screenshots):
    page = open_probe(tab, probe)
    bomb = io.BytesIO()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**15, 2**10)})
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + b"\0" * 2**25)
    for name, content, words in (
        ("bomb.npz", bomb.getvalue(), "bomb.npz was rejected"),
        ("table.xlsx", b"PK", "this file type is not supported here"),
        ("truncated.npy", npy(np.zeros((50, 50)))[:300], "truncated.npy was rejected"),
        ("objects.npy", npy(np.array([{1: 2}], dtype=object)), "objects.npy was rejected"),
        ("volume.npy", npy(np.zeros((4, 5, 6))), "3 axes"),
    ):
        give(page, name, content)
        page.get_by_role("alert").filter(has_text=words).wait_for()
    page.screenshot(path=screenshots / "upload-refused.png")
    give(page, "good.npy", npy(np.ones((3, 4))))
    page.get_by_text("good.npy: image of 3 × 4").wait_for()
    assert not tab.foreign
    assert all("413" in error for error in tab.errors), tab.errors


def test_file_above_the_limit_is_refused_before_it_is_sent(probe, tab):
    page = open_probe(tab, probe)
    give(page, "large.npy", npy(np.zeros((600, 600))))
    page.get_by_text("more than the limit of 2 MB").wait_for()
    tab.assert_clean()


def test_two_visitors_share_no_file(probe, new_tab):
    first, second = new_tab(), new_tab()
    one, two = open_probe(first, probe), open_probe(second, probe)
    give(one, "mine.npy", npy(np.ones((3, 4))))
    one.get_by_text("mine.npy: image of 3 × 4").wait_for()
    two.wait_for_timeout(1500)  # longer than the page takes to look for a file
    assert two.get_by_text("mine.npy").count() == 0
    tokens = [page.locator("input[type=file]").get_attribute("data-lab-upload") for page in (one, two)]
    assert tokens[0] != tokens[1]


def post(probe, token, body, *, name="a.npy", length=None):
    address = urlparse(probe.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=150)
    connection.putrequest("POST", f"/upload?token={quote(token, safe='')}")
    connection.putheader("Content-Length", str(len(body) if length is None else length))
    connection.putheader("X-File-Name", quote(name))
    connection.endheaders()
    try:
        connection.send(body)
        return connection.getresponse().status
    finally:
        connection.close()


def test_server_counts_bytes_itself_whatever_the_browser_said(probe, tab):
    page = open_probe(tab, probe)
    token = page.locator("input[type=file]").get_attribute("data-lab-upload")
    assert post(probe, token, b"", length=10 * 2**30) == 413
    page.get_by_role("alert").filter(has_text="more than the limit").wait_for()
    assert post(probe, token, npy(np.ones((3, 4)))) == 204
    page.get_by_text("a.npy: image of 3 × 4").wait_for()


def test_unknown_tokens_and_paths_in_tokens_are_refused(probe):
    for token in ("", "unknown", "../../etc", "..", "a/b", "%2e%2e"):
        assert post(probe, token, b"x") == 403, token


def test_path_in_the_name_stays_a_name(probe, tab):
    page = open_probe(tab, probe)
    token = page.locator("input[type=file]").get_attribute("data-lab-upload")
    assert post(probe, token, npy(np.ones((3, 4))), name="../../../../tmp/escaped.npy") == 204
    page.get_by_text("escaped.npy: image of 3 × 4").wait_for()
    assert page.get_by_text("../").count() == 0


def test_script_in_a_name_is_text(probe, tab):
    page = open_probe(tab, probe)
    token = page.locator("input[type=file]").get_attribute("data-lab-upload")
    assert post(probe, token, npy(np.ones((3, 4))), name="<img src=x onerror=document.title=1>.npy") == 204
    page.get_by_text("onerror").wait_for()
    assert page.title() != "1"
    tab.assert_clean()


def test_arrows_are_drawn_as_arrows(probe, tab):
    page = open_probe(tab, probe)
    figures = {figure["title"]: figure for figure in tab.figures(2)}
    assert figures["Two arrows"]["traces"] == ["quiver"]
    assert page.evaluate("Plotly.version").startswith("4.")
    tab.assert_clean()


def test_refusal_of_draw_appears_in_words_and_goes_again(probe, tab):
    page = open_probe(tab, probe, "?level=0.9")
    handle = page.locator(".noUi-handle")
    handle.focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("alert").filter(has_text="level must be below 1, got 1.0").wait_for()
    page.keyboard.press("ArrowLeft")
    page.get_by_role("alert").wait_for(state="hidden")
    tab.assert_clean()


def test_figures_are_saved_as_svg_and_their_data_as_csv(probe, tab):
    page = open_probe(tab, probe)
    page.locator(".js-plotly-plot").first.hover()
    with page.expect_download() as saved:
        page.locator('[data-title="Save the data as CSV"], [aria-label="Save the data as CSV"]').first.click(force=True)
    lines = saved.value.path().read_text().splitlines()
    assert lines[0] == "trace,x,y,z,text"
    assert len(lines) == 1 + 48
    assert float(lines[-1].split(",")[3]) == 1.0
    with page.expect_download() as saved:
        page.locator('[data-title="Save the figure as SVG"], [aria-label="Save the figure as SVG"]').first.click(
            force=True
        )
    assert re.search("<svg", saved.value.path().read_text()[:300])
    tab.assert_clean()


def test_glossary_word_in_a_question_is_explained(probe, tab):
    page = open_probe(tab, probe)
    word = page.locator(".lab-term", has_text="birth").first
    assert "threshold" in word.get_attribute("data-meaning")


def test_broken_page_is_told_of_and_takes_no_other_with_it(probe, tab, screenshots):
    page = tab.open(probe.url)
    card = page.locator(".lab-card", has_text="this module cannot be imported <b>at all</b>")
    card.get_by_text("failed to load").wait_for()
    page.locator("section", has_text="Pages that failed to load").last.screenshot(path=screenshots / "home-fault.png")
    card.get_by_role("link", name="broken").click()
    page.wait_for_url("**/broken")
    page.get_by_role("alert").filter(has_text="This page failed to load").last.wait_for()  # the plain page says it too
    tab.open(f"{probe.url}faulty?word=fail")
    page.get_by_role("alert").filter(has_text="nothing of that name").wait_for()
    open_probe(tab, probe)
    tab.assert_clean()


def test_fault_while_drawing_is_told_and_the_page_goes_on(probe, tab):
    page = tab.open(f"{probe.url}faulty?level=0.5")
    assert tab.figures(1)[0]["title"] == "A line from 0.5"
    page.locator(".noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("alert").filter(has_text="RuntimeError: the drawing broke down").wait_for()
    assert tab.figures(1)[0]["title"] == "A line from 0.5"
    page.keyboard.press("ArrowLeft")
    page.get_by_role("alert").wait_for(state="hidden")
    tab.assert_clean()


def test_names_that_begin_like_formulas_are_text_in_saved_data(probe, tab):
    page = tab.open(f"{probe.url}faulty")
    tab.figures(1)
    page.locator(".js-plotly-plot").first.hover()
    with page.expect_download() as saved:
        page.locator('[data-title="Save the data as CSV"], [aria-label="Save the data as CSV"]').first.click(force=True)
    assert saved.value.path().read_text().splitlines()[1:] == ["'=1+1,0,0,,-3", "'=1+1,1,1,,'@SUM(1)"]
