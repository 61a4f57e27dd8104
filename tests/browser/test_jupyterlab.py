"""A real JupyterLab: the start notebook runs, its explorer follows its slider, arrows are drawn as arrows in every host."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import nbformat
import plotly.graph_objects as go
import pytest

from tests.browser.conftest import ROOT
from tests.browser.test_pages import PLOTLY_JS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1200)]
TOKEN = "a-token-of-this-test"
SECONDS = 400_000
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
ARROWS = "import plotly.graph_objects as go\nfigure = go.Figure(go.Quiver(x=[0, 1], y=[0, 1], u=[1, 0], v=[0, 1]))"

_FIGURES = """() => [...document.querySelectorAll(".jp-OutputArea .js-plotly-plot")]
.filter((node) => node._fullData).map((node) => ({
  title: node._fullLayout.title.text || "",
  traces: node._fullData.map((trace) => trace.type),
  drawn: node.querySelectorAll(".main-svg").length > 0,
  first: node._fullData.length && node._fullData[0].y ? Array.from(node._fullData[0].y).slice(0, 200) : [],
}))"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(folder) -> dict:
    names = ("JUPYTER_CONFIG_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    places = {name: str(folder / name.lower()) for name in names}
    return {**os.environ, **places, "PYTHONPATH": str(ROOT), "LAB_DATA": str(folder / "data"), "OMP_NUM_THREADS": "1"}


def wait_for(url, process):
    for _ in range(240):
        try:
            return urllib.request.urlopen(url, timeout=30).read()
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None, "JupyterLab ended"
            time.sleep(0.5)
    raise AssertionError(f"JupyterLab does not answer at {url}")


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory):
    """JupyterLab over a copy of the start notebook and a notebook of arrows; its address."""
    folder = tmp_path_factory.mktemp("jupyter")
    shutil.copy(ROOT / "notebooks" / "start.ipynb", folder / "start.ipynb")
    arrows = nbformat.v4.new_notebook(metadata=KERNEL)
    sources = (ARROWS, "figure", "from widgets.jupyter.explorer import live\nlive(figure)")
    arrows.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(arrows, folder / "arrows.ipynb")
    port = free_port()
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", f"--ServerApp.root_dir={folder}",
        f"--IdentityProvider.token={TOKEN}", "--allow-root", "--expose-app-in-browser", "--LabApp.news_url=",
    ]  # fmt: skip
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(f"http://127.0.0.1:{port}/api", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=300)


def run_all(tab, jupyter, notebook):
    """Open a notebook and run every cell."""
    page = tab.page
    page.set_default_timeout(SECONDS)
    page.goto(f"{jupyter}/lab/tree/{notebook}?token={TOKEN}&reset")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    page.wait_for_function("window.jupyterapp && jupyterapp.shell.currentWidget?.sessionContext?.isReady")
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    return page


def figures(page, count):
    page.wait_for_function(
        f"() => ({_FIGURES})().filter((figure) => figure.drawn && figure.traces.length).length >= {count}"
    )
    return page.evaluate(_FIGURES)


def test_start_notebook_links_the_studies_and_its_explorer_follows_the_slider(jupyter, tab, screenshots):
    from lab import claims
    from widgets.jupyter import explore

    expected = explore("betti")
    page = run_all(tab, jupyter, "start.ipynb")
    drawn = figures(page, len(expected.figures))
    assert [figure["title"] for figure in drawn] == [figure.layout.title.text for figure in expected.figures]
    assert [figure["traces"] for figure in drawn] == [
        [trace.type for trace in figure.data] for figure in expected.figures
    ]
    for method in claims.methods():
        assert page.locator(".jp-OutputArea table").get_by_text(method.title, exact=True).count() >= 1, method.id
    page.screenshot(path=screenshots / "jupyterlab.png")

    page.locator(".jp-OutputArea .noUi-handle").first.focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    slider = next(control for name, control in expected.controls.items() if name == "threshold")
    slider.value = round(slider.value + 8 * slider.step, 6)
    titles = [figure.layout.title.text for figure in expected.figures]
    present = f"JSON.stringify(({_FIGURES})().map((figure) => figure.title))"
    page.wait_for_function(f"() => {present} === JSON.stringify({json.dumps(titles)})")
    assert not tab.foreign


def test_figures_and_figure_widgets_are_drawn_by_the_plotly_they_are_made_for(jupyter, tab, screenshots):
    page = run_all(tab, jupyter, "arrows.ipynb")
    assert [figure["traces"] for figure in figures(page, 2)] == [["quiver"], ["quiver"]]
    versions = page.evaluate("[window.Plotly, window._Plotly].filter(Boolean).map((plotly) => plotly.version)")
    assert set(versions) <= {PLOTLY_JS}
    page.screenshot(path=screenshots / "jupyterlab-arrows.png")
    assert not tab.foreign


def test_lab_jupyter_opens_at_the_start_notebook(tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "lab", "jupyter", "--no-browser", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(tmp_path), stderr=subprocess.PIPE, text=True)
    try:
        line = next(line for line in process.stderr if f"127.0.0.1:{port}/lab" in line)
        assert "/lab/tree/notebooks/start.ipynb" in line
    finally:
        process.terminate()
        process.wait(timeout=300)


def test_the_arrows_are_arrows_in_the_report_too(tmp_path, tab):
    from lab.report.runs.run import execute, plan
    from lab.report.site import render_run
    from lab.report.store.layout import Store

    notebook = nbformat.v4.new_notebook(metadata=KERNEL)
    first = nbformat.v4.new_code_cell("n: int = 1", metadata={"tags": ["parameters"]})
    notebook.cells = [first, nbformat.v4.new_code_cell(f"{ARROWS}\nfigure")]
    nbformat.write(notebook, tmp_path / "arrows.ipynb")
    store = Store(tmp_path / "data")
    finished = execute(plan(tmp_path / "arrows.ipynb"), store=store)
    assert finished.ok, finished.error
    tab.page.goto(render_run(finished, folder=tmp_path / "site").as_uri())
    tab.page.wait_for_function("() => window.Plotly && window.labDrawAll")
    tab.page.evaluate("() => labDrawAll()")
    tab.page.wait_for_function(
        "() => [...document.querySelectorAll('figure.plot')].every((figure) => figure.dataset.drawn)"
    )
    types = "() => [...document.querySelectorAll('figure.plot .canvas')].map((node) => node._fullData[0].type)"
    assert tab.page.evaluate(types) == ["quiver"]
    assert tab.page.evaluate("Plotly.version") == PLOTLY_JS
    assert isinstance(go.Figure(json.loads(finished.figures()[0].read_text())).data[0], go.Quiver)
    assert not tab.foreign
