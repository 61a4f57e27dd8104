"""A stranger's notebook in a report: what is shown of it, what is not, and the policy of every page."""

import base64
import re

import pandas as pd
import pytest

from lab.report import site
from lab.report.runs.run import execute, plan
from lab.report.site import sanitize
from lab.report.site.frame import nonce_of, policy
from lab.report.site.notebook import body, data_script, text_as_html
from lab.report.site.thumbnail import thumbnail
from lab.report.store.layout import Store, project_root
from lab.report.store.redaction import scrub_page
from tests import hostile

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


def prose(source, folder=None, **more):
    return body({"cells": [{"cell_type": "markdown", "metadata": {}, "source": source, **more}]}, folder=folder).html


def output(**data):
    shown = {"output_type": "display_data", "data": {key.replace("_", "/", 1): value for key, value in data.items()}}
    return body({"cells": [{"cell_type": "code", "metadata": {}, "source": "x", "outputs": [shown]}]}).html


@pytest.fixture
def folder(tmp_path):
    """A notebook's folder with pictures in it, below it, beside it and behind links."""
    own = tmp_path / "own"
    (own / "figures").mkdir(parents=True)
    for path in (own / "a b.png", own / "figures" / "c.jpg", tmp_path / "outside.png", own / "secret.txt"):
        path.write_bytes(path.name.encode())
    (own / "link.png").symlink_to(tmp_path / "outside.png")
    (own / "up").symlink_to(tmp_path)
    return own


@pytest.mark.parametrize("source", ["<a b.png>", "a%20b.png", "figures/c.jpg", "./figures/../figures/c.jpg"])
def test_pictures_below_the_notebooks_folder_are_part_of_the_page(folder, source):
    assert re.search(r'<img src="data:image/(png|jpeg);base64,\w+=*" alt="x">', prose(f"![x]({source})", folder))


@pytest.mark.parametrize(
    "source",
    ["../outside.png", "link.png", "up/outside.png", "/etc/passwd", "../../../../../../etc/passwd", "secret.txt",
     "%2e%2e/outside.png", "figures/../../outside.png", "file:///etc/passwd", "https://elsewhere.example/x.png", "figures",
     "a%00.png", "..\\outside.png"],
)  # fmt: skip
def test_no_other_file_of_the_machine_enters_a_page(folder, source):
    html = prose(f"![x]({source})", folder)
    assert "<img" not in html and "base64" not in html
    assert "not shown" in html or "![x](" in html
    (folder / "outside.png").unlink(missing_ok=True)


def test_pictures_of_a_notebook_without_a_folder_are_not_shown():
    assert "not shown" in prose("![x](a.png)")


def test_pictures_are_base64_of_a_known_kind():
    assert f'src="data:image/png;base64,{PNG}"' in output(image_png=PNG + "\n")
    for content in ('AA" onerror="alarm()', "AA'>", "", "AA=A", "&quot;"):
        html = output(image_png=content)
        assert "<img" not in html and "is not a base64 image" in html
    attached = {"a.png": {"image/png": PNG}, "b.png": {'image/png" onerror="x': PNG}, "c.png": {"text/html": PNG}}
    assert f"data:image/png;base64,{PNG}" in prose("![x](attachment:a.png)", attachments=attached)
    for name in ("b.png", "c.png", "d.png"):
        assert "<img" not in prose(f"![x](attachment:{name})", attachments=attached)


def test_names_of_streams_are_two():
    stream = {"output_type": "stream", "name": 'x"><img src=x onerror=alarm()>', "text": "a < b"}
    html = body({"cells": [{"cell_type": "code", "metadata": {}, "source": "x", "outputs": [stream]}]}).html
    assert '<pre class="stream stdout">a &lt; b</pre>' in html
    assert "onerror" not in html


def test_titles_hold_emphasis_and_formulas_and_nothing_else():
    html = text_as_html(
        "Does *it* hold for $x^2$ <img src=x onerror=alarm()><svg/onload=alarm()> [y](javascript:alarm()) & `<b>`?"
    )
    assert "<em>it</em>" in html and "<math" in html and "<code>&lt;b&gt;</code>" in html
    assert not re.search(r"<(a|img|svg)|<[^<>]*\son", html)


def test_formula_in_an_attribute_stays_a_mark_there():
    html = prose('<b title="$x onfocus=alarm() y$">a</b> $x$')
    assert html.count("<math") == 1
    assert "onfocus" not in html


def test_text_in_a_formula_is_text():
    html = prose("$\\text{a<b \\& <img src=x onerror=alarm()>} \\href{javascript:alarm()}{x}$")
    assert "a&lt;b" in html and "<img" not in html and " href=" not in html


def test_a_coloured_table_keeps_its_style_and_no_other_part_of_the_page_takes_it():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    styler = frame.style.highlight_max(color="gold").bar(subset=["b"], color="#56B4E9")
    styler = styler.set_table_styles([{"selector": "th", "props": "color: red; position: fixed"}])
    html = output(text_html=styler.to_html())
    css = re.search(r"<style>(.*?)</style>", html, re.S)[1]
    (cell,) = re.findall(r'id="(note-T_\w+_row1_col0)"', html)
    assert f"#{cell}" in css and "background-color:gold" in css and "linear-gradient(90deg, #56B4E9" in css
    assert "color:red" in css and "position" not in css
    selectors = [
        part
        for rule in css.split("\n")
        for part in rule.split("{")[0].replace(":is(.output,.prose)", "below").split(",")
    ]
    assert len(selectors) > 3 and all(part.startswith("below #note-T_") for part in selectors)


@pytest.mark.parametrize(
    "css",
    ["@import 'x';", "td{background:url(x)}", "td{background:URL('x')}", "td{b\\61 ckground:image-set('x')}",
     "td{width:expression(alarm())}", "td{position:fixed}", "td{margin:-50px}", "td{font-family:'<img>'}", "td[a='<']{color:red}",
     "@media all{td{color:red}}", "}body{x", "td{color:red;}</style", "~ td{color:red}", "td::before{content:url(x)}",
     "td{--x:url(x)}", "td{color:var(--x)}"],
)  # fmt: skip
def test_style_sheets_hold_no_address_and_no_place(css):
    html = output(text_html=f"<style>{css}</style><p>x</p>")
    assert "url" not in html.lower() and "fixed" not in html and "expression" not in html and "image-set" not in html
    assert "-50px" not in html and "var(" not in html and "@" not in html and "<img" not in html
    assert not re.search(r"(^|[,}\n])\s*(body|~)", html)


def test_ids_of_a_notebook_are_none_of_the_pages():
    html = output(text_html='<p id="theme">x</p><a href="#theme">y</a>') + prose("## Run data\n\n[z](#run-data)")
    assert set(re.findall(r' id="([^"]+)"', html)) == {"note-theme", "note-run-data", "cell-1"}
    assert 'href="#note-theme"' in html and 'href="#note-run-data"' in html


def test_an_address_has_no_scheme_after_paths_are_taken_out():
    for root in (project_root(), f"{project_root()}/{project_root()}", f"{project_root()}/"):
        assert '="javascript' not in scrub_page(sanitize.clean(f'<a href="{root}/javascript:alarm()">x</a>'))
    assert scrub_page('<a href="x"> /home/someone/x.png').endswith("…/x.png")


def test_nothing_that_reaches_over_a_quotation_mark_is_taken_out_of_a_page():
    html = '<p title="-----BEGIN PRIVATE KEY-----">-----END PRIVATE KEY-----<b title=" onfocus=alarm() x=">x</b></p>'
    assert scrub_page(html).count('"') == html.count('"')
    assert scrub_page("a -----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY----- b") == "a [hidden] b"


def test_data_of_a_page_hold_no_tag():
    text = data_script({"a": "</script><!--<script>", "b": "x > y"}, "here")
    assert text.startswith('<script type="application/json" id="here">{') and text.count("<") == 2
    assert "\\u003c/script\\u003e" in text


def test_card_of_a_picture_elsewhere_asks_for_nothing():
    figure = {"data": [{"type": "image", "source": "https://elsewhere.example/x.png"}], "layout": {}}
    assert "elsewhere" not in thumbnail(figure)


def test_every_page_states_its_policy_and_has_no_handler(tmp_path):
    store = Store(tmp_path / "data")
    run = execute(plan(hostile.notebook(tmp_path / "stranger.ipynb")), store=store)
    assert run.ok, run.error
    index = site.render(store=store)
    nonces = set()
    for path in index.parent.rglob("*.html"):
        html = path.read_text()
        nonce = nonce_of(html)
        nonces.add(nonce)
        assert f'http-equiv="Content-Security-Policy" content="{policy(nonce)}"' in html
        assert "unsafe" not in policy(nonce).split("script-src")[1].split(";")[0]
        scripts = re.findall(r"<script\b[^>]*>", html)
        assert all(f'nonce="{nonce}"' in script or 'type="application/json"' in script for script in scripts)
        shown = re.sub(r'<script type="application/json".*?</script>|="[^"]*"', "", html, flags=re.S)
        assert not re.search(r"<[^<>]*\son\w+", shown), path
    assert len(nonces) == len(list(index.parent.rglob("*.html"))) and "" not in nonces
