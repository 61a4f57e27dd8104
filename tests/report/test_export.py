"""A report as one file to mail, and as a notebook: nothing beside it is needed, nothing of this machine stands in it."""

import json
import re

from lab.report import site
from lab.report.runs.run import execute, plan
from lab.report.site import export


def test_one_file_holds_style_scripts_and_figures_and_links_to_nothing_beside_it(store, notebook, tmp_path):
    path = notebook(
        "x: int = 1",
        "#: # A study\n\nA </body> in prose, and [a page](other.html).",
        "import plotly.graph_objects as go; go.Figure(go.Scatter(y=[1, 2]))",
    )
    run = execute(plan(path), store=store)
    page = site.render_run(run, folder=tmp_path / "site")
    target = export.to_html(page, tmp_path / "mail" / "one.html")
    text = target.read_text(encoding="utf-8")
    assert text.count("</body>") == 1 and text.rstrip().endswith("</html>")
    assert not re.search(r'<(script|img|link)\b[^>]*\b(src|href)="(?!data:)', text)
    prose = text[: text.index("</main>")]
    assert not re.search(r'<a\b[^>]*\shref="(?!https?:|mailto:|data:|#)', prose) and "a page" in prose
    assert "Plotly" in text and text.index("Plotly") > text.index("</main>")
    nonce = re.search(r"script-src 'nonce-([0-9a-f]{32})'", text)[1]
    assert text.count(f'nonce="{nonce}"') == text.count("<script nonce=") >= 3


def test_the_executed_notebook_keeps_outputs_and_loses_what_belongs_to_this_machine(store, notebook, tmp_path):
    path = notebook("x: int = 1", "import os; print(os.environ['LAB_RUN_FOLDER'], 6 * 7)")
    run = execute(plan(path), store=store)
    target = export.to_notebook(run, tmp_path / "run.ipynb")
    content = json.loads(target.read_text(encoding="utf-8"))
    printed = "".join(content["cells"][1]["outputs"][0]["text"])
    assert "42" in printed and str(tmp_path) not in printed
