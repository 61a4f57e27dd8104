"""The site: whole without a network, small, scrubbed, and right about what ran."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest

from lab.claims import by_id, ledger
from lab.report import site
from lab.report.notebook.parameters import ParameterError
from lab.report.runs.run import answering, execute, plan, plan_of
from lab.report.site.claim_page import claim_page
from lab.report.site.mathematics import extract, mathml, restore
from lab.report.site.notebook import body
from lab.report.site.sanitize import clean
from lab.report.site.thumbnail import thumbnail, values
from lab.report.store.layout import Store, project_root
from lab.report.store.redaction import is_secret, scrub
from lab.report.store.standing import Row

FIGURE = (
    "display({'application/vnd.plotly.v1+json': {'data': [{'type': 'scatter', 'y': [1, n]}], 'layout': {'title': "
    "{'text': 'Two'}}}}, raw=True)"
)


@pytest.fixture(scope="module")
def rendered(write_notebook, tmp_path_factory):
    """The site of a good and a bad run: ``(index, runs)``."""
    folder = tmp_path_factory.mktemp("site")
    store = Store(folder / "data")
    path = write_notebook(
        folder,
        "#: # Squares\n\nDoes $x^2$ grow?",
        "n: int = 3",
        "#: ## Why\n\n$$\\sum_i x_i$$ and `code $not$ math`",
        "import os, lab\nfrom IPython.display import display\nprint(os.path.abspath('x'), "
        f"os.path.expanduser('~/.secret'))\n{FIGURE}",
        "lab.report.record('n', n, unit='mm')",
    )
    bad = write_notebook(folder, "#: # Bad", "n: int = 3", "1 / 0", name="bad")
    runs = [execute(plan(path, {"n": 4}), store=store), execute(plan(bad), store=store)]
    return site.render(runs=runs, store=store), runs


def test_pages_are_whole_offline_and_small(rendered):
    index, (good, bad) = rendered
    folder = index.parent
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.html"))
    pages_of_claims = [f"claims/{claim.id}.html" for claim in ledger()]
    own = ["claims.html", "index.html", "runs.html", f"runs/{bad.id}.html", f"runs/{good.id}.html"]
    assert names == sorted([*own, *pages_of_claims])
    assert sorted(path.name for path in (folder / "assets").iterdir()) == ["lab.css", "lab.js", "plotly.min.js"]
    for name in names:
        html = (folder / name).read_text()
        assert len(html) < (1_000 * len(ledger()) if name == "claims.html" else 350_000)
        fetched = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"|<link[^>]*href="([^"]+)"', html)
        for address in filter(None, (one or other for one, other in fetched)):
            assert address.startswith("data:") or ((folder / name).parent / address).is_file(), address
    page = (folder / "runs" / f"{good.id}.html").read_text()
    plot = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page)[1])
    assert plot["data"][0]["y"] == [1, 4]
    assert page.count("<math") == 2
    assert "code $not$ math" in page
    assert ">4 mm<" in page
    assert "ZeroDivisionError" in (folder / "runs" / f"{bad.id}.html").read_text()
    assert "completed" in page


def test_nothing_of_the_machine_enters_a_page(rendered):
    index, (good, _) = rendered
    for path in index.parent.rglob("*.html"):
        html = path.read_text()
        assert str(project_root()) not in html
        assert str(Path.home()) + "/" not in html
        assert str(index.parents[2]) not in html


def test_a_page_is_written_again_only_when_its_run_is_new(rendered):
    index, (good, _) = rendered
    store = Store(index.parents[1])
    page = index.parent / "runs" / f"{good.id}.html"
    before = page.stat().st_mtime_ns
    site.render(store=store)
    assert page.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("key=ghp_abcdefghijklmnopqrstuvwxyz0123456789", "key=[hidden]"),
        ("/home/someone/data/x.png and /usr/share/a/b.txt", "…/x.png and …/b.txt"),
        ("see https://host/home/x/y and a/b and 1/2", "see https://host/home/x/y and a/b and 1/2"),
        ("data:image/jpeg;base64,/9j/4AAQ/home/abc/def=", "data:image/jpeg;base64,/9j/4AAQ/home/abc/def="),
        (r"C:\Users\someone\x.txt and D:\data\own\x.txt", r"~\x.txt and …\x.txt"),
        (r"/home/someone, /Users/someone and C:\Users\someone", "~, ~ and ~"),
        ("https://me:password1@host/x", "https://[hidden]@host/x"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "[hidden]"),
        ("/opt/env/lib/python3.11/site-packages/torch/nn.py", "site-packages/torch/nn.py"),
    ],
)
def test_paths_and_secrets_are_scrubbed_and_the_rest_is_not(text, wanted):
    assert scrub(text) == wanted


@pytest.fixture
def own_environment(monkeypatch):
    """Variables of a user, and nothing remembered from another environment."""
    from lab.report.store import redaction as module

    remembered = (module._secrets, module._known, module._roots, module._names)
    for function in remembered:
        function.cache_clear()
    yield monkeypatch.setenv
    for function in remembered:
        function.cache_clear()


def test_a_secret_parameter_reaches_the_notebook_and_is_stored_nowhere(write_notebook, tmp_path):
    secret = "correct<horse>battery"
    path = write_notebook(
        tmp_path,
        "api_key: str = ''\nn: int = 1",
        """
        import lab
        print(api_key)
        lab.report.record('length', len(api_key))
        """,
    )
    store = Store(tmp_path / "data")
    run = execute(plan(path, {"api_key": secret}), store=store)
    assert run.metrics == {"length": len(secret)}
    kept = [file.read_text() for file in run.folder.rglob("*") if file.is_file()]
    assert not any(form in text for text in kept for form in (secret, "horse>battery", "horse&gt;battery"))
    assert run.info["given"] == {"api_key": "[hidden]"}
    assert answering(plan(path, {"api_key": secret}), store) is not None
    assert answering(plan(path, {"api_key": secret + "s"}), store) is None
    with pytest.raises(ParameterError, match="api_key"):
        plan_of(run)


@pytest.mark.parametrize(
    "name, wanted", [("api_key", True), ("hf_token", True), ("tokenizer", False), ("monkey", False)]
)
def test_names_of_secrets_are_told_from_others(name, wanted):
    assert is_secret(name) is wanted


def test_a_run_of_a_store_elsewhere_is_opened_by_its_command(write_notebook, tmp_path):
    run = execute(plan(write_notebook(tmp_path, "n: int = 1", FIGURE)), store=Store(tmp_path / "data"))
    page = site.render_run(run, folder=tmp_path / "site").read_text()
    assert f"lab jupyter {run.id}" in page and "127.0.0.1:8888" not in page


def test_secrets_and_names_printed_in_a_notebook_are_in_no_file_of_its_run_or_page(
    write_notebook, tmp_path, own_environment
):
    secret, home = 'correct<horse>"battery&staple', tmp_path / "mary jane"
    own_environment("SERVICE_API_KEY", secret)
    own_environment("DATABASE_URL", "postgres://mary:jane-password@db/x")
    own_environment("HOME", str(home))
    own_environment("USER", "maryjane77")
    own_environment("LOGNAME", "maryjane77")
    path = write_notebook(
        tmp_path,
        "#: # Own",
        "n: int = 1",
        """
        import os, getpass, lab, sys
        print(os.environ['SERVICE_API_KEY'], os.environ['DATABASE_URL'])
        print(os.path.expanduser('~'), os.path.expanduser('~/data/x.csv'), getpass.getuser(), '/home/mary')
        print(os.environ['SERVICE_API_KEY'], file=sys.stderr)
        lab.report.record('key', os.environ['SERVICE_API_KEY'])
        """,
        "import html\ndisplay({'text/html': '<b>' + html.escape(os.environ['SERVICE_API_KEY']) + '</b>'}, raw=True)",
        "{'key': os.environ['SERVICE_API_KEY']}",
        "raise ValueError(os.environ['SERVICE_API_KEY'])",
    )
    store = Store(tmp_path / "data")
    run = execute(plan(path), store=store)
    assert run.status == "failed"
    assert run.metrics == {"key": "[hidden]"}
    index = site.render(store=store)
    for file in (*run.folder.rglob("*"), *index.parent.rglob("*.html")):
        text = file.read_text() if file.is_file() else ""
        assert "horse" not in text, file
        assert "jane-password" not in text, file
    page = (index.parent / "runs" / f"{run.id}.html").read_text()
    for name in ("maryjane77", "mary jane", "/home/mary"):
        assert name not in page
    assert "~ ~/data/x.csv [hidden] ~" in page


def test_formulas_become_mathml_and_code_is_left_alone():
    text, formulas = extract("$a_1$ costs $5 and `$x$`, \\(b\\)\n```\n$c$\n```\n$$\\frac{1}{2}$$")
    assert len(formulas) == 3
    assert "`$x$`" in text
    assert "$c$" in text
    html = restore(text, formulas)
    assert html.count("<math") == 3
    assert "<mfrac>" in html
    assert 'display="block"' in html


def test_letters_that_browsers_cannot_style_become_characters():
    assert "𝟙" in mathml(r"\mathbb{1}")
    assert "𝜽" in mathml(r"\boldsymbol{\theta}")
    assert mathml(r"\left( a") == r'<code class="tex">\left( a</code>'


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://x/y.js"></script>',
        "<img src=https://x/y.png>",
        '<img src="https://x/y.png">',
        '<iframe src="https://x"></iframe>',
        '<p onclick="steal()">x</p>',
        '<link rel="stylesheet" href="https://x/y.css">',
        '<div style="background: url(https://x/y.png)">x</div>',
        '<a href="javascript:steal()">x</a>',
    ],
)
def test_output_of_a_library_can_fetch_and_run_nothing(html):
    found = clean(html)
    assert "https://x" not in found
    assert "steal" not in found or "javascript" not in found and "onclick" not in found


def test_text_that_looks_like_an_attribute_stays():
    assert clean("<p>on one = 3 and src = 'x'</p>") == "<p>on one = 3 and src = 'x'</p>"


def test_data_cannot_end_its_own_script():
    plot = {"data": [{"type": "scatter", "y": [1], "name": "</script><b>"}], "layout": {}}
    cell = {
        "cell_type": "code",
        "metadata": {},
        "source": "x",
        "outputs": [{"output_type": "display_data", "data": {"application/vnd.plotly.v1+json": plot}}],
    }
    html = body({"cells": [cell]}).html
    assert html.count("</script>") == 1
    assert json.loads(re.search(r'<script type="application/json">(.*?)</script>', html)[1])["data"] == plot["data"]


def test_thumbnails_draw_what_the_figure_holds():
    packed = {"dtype": "f8", "bdata": base64.b64encode(np.array([0.0, 1.0, 4.0]).tobytes()).decode()}
    assert values(packed).tolist() == [0, 1, 4]
    line = thumbnail(
        {"data": [{"type": "scatter", "x": [0, 1, 2], "y": packed, "mode": "lines", "line": {"color": "#009E73"}}]}
    )
    assert re.search(r'd="M16\.0 162\.0L160\.0 125\.5L304\.0 16\.0"', line)
    assert "#009E73" in line
    assert thumbnail({"data": [{"type": "bar", "x": ["a", "b"], "y": [1, 2]}]}).count("<rect") == 2
    lying = thumbnail({"data": [{"type": "bar", "orientation": "h", "y": ["a", "b"], "x": [1, 2]}]})
    widths = [float(width) for width in re.findall(r'<rect[^>]*width="([\d.]+)"', lying)]
    assert widths == [144.0, 288.0]
    upright = {"data": [{"type": "bar", "x": ["a", "b", "c"], "y": [1, 100, 0]}], "layout": {"yaxis": {"type": "log"}}}
    drawn = thumbnail(upright)
    assert drawn.count("<rect") == 2
    assert "nan" not in drawn
    assert "inf" not in drawn
    assert "data:image/png;base64," in thumbnail({"data": [{"type": "heatmap", "z": [[0, 1], [1, 0]]}]})
    assert thumbnail({"data": []}).count("<path") == 7


def test_the_card_shows_the_figure_that_the_notebook_names_now(write_notebook, tmp_path, monkeypatch):
    from lab.report.site import overview

    draw = "display({'application/vnd.plotly.v1+json': {'data': [{'type': 'bar', 'y': [1] * %d}], 'layout': {}}}, raw=True)"
    path = write_notebook(tmp_path, "n: int = 3", draw % 1, draw % 2)
    store = Store(tmp_path / "data")
    run = execute(plan(path), store=store)
    monkeypatch.setattr(overview, "project_root", lambda: tmp_path)
    bars = [site.render(store=store).read_text().split('class="cards"')[1].count("<rect")]
    content = json.loads(path.read_text())
    content["metadata"]["lab"] = {"thumbnail": 2, "front": True}
    path.write_text(json.dumps(content))
    assert execute(plan(path), store=store).info == run.info  # nothing to run again
    bars.append(site.render(store=store).read_text().split('class="cards"')[1].count("<rect"))
    assert bars == [1, 2]
    content["metadata"]["kernelspec"]["name"] = "another"
    path.write_text(json.dumps(content))
    assert plan(path).run_id != run.id


def test_the_sites_dark_theme_is_the_figures_dark_theme():
    from widgets.figures.theme import colours

    script = (Path(site.__file__).parent / "assets" / "lab.js").read_text()
    light, dark = colours("light"), colours("dark")
    for name in ("reference", "text", "muted", "grid", "background"):
        assert f'"{getattr(light, name).lower()}": "{getattr(dark, name).lower()}"' in script


def test_numbers_of_a_figure_in_base64_are_no_key():
    import base64

    import numpy as np

    from lab.report.store.redaction import without_secrets

    faces = base64.b64encode(np.array([0, 11, 32, 32, 40, 3] + list(range(2600)), np.int32).tobytes()).decode()
    text = '{"bdata": "' + faces + '", "more": "AAAAKIA' + "A" * 30 + '"}'
    assert without_secrets(text) == text
    assert without_secrets("key AKIA" + "Q7" * 8 + " end") == "key [hidden] end"
    assert without_secrets('{"key": "AKIA' + "Q7" * 8 + '"}') == '{"key": "[hidden]"}'


def test_page_of_a_claim_shows_rule_effect_control_history_and_command():
    claim = by_id("kernels.speed")
    line = {
        "id": claim.id, "verdict": "holds", "value": 9.0, "low": 8.0, "high": 10.0, "replicates": 8, "values": [8.5, 9.5],
        "unit": claim.unit, "date": "2026-12-01", "control": {"value": 1.0, "low": 0.9, "high": 1.1, "holds": False},
    }  # fmt: skip
    row = Row(claim, "holds at small scale", line, {**line, "replicates": 3, "budget": "default"})
    html = claim_page(row, {})
    for words in ("recorded 2026-12-01, 8 replicates", "3 of 8 replicates", "fails, as it should",
                  f"lab claim {claim.id} --control",
                  "torch&#x27;s time over ours &gt;= 2", "torch distances against themselves"):  # fmt: skip
        assert words in html, words
    ends = [float(x) for x in re.findall(r'class="effect whisker" x1="([\d.]+)" x2="([\d.]+)"', html)[0]]
    (bound,) = (float(x) for x in re.findall(r'class="bound" x1="([\d.]+)"', html))
    (control,) = (float(x) for x in re.findall(r'class="control" cx="([\d.]+)"', html))
    assert control < bound < ends[0] < ends[1]
