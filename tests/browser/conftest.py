"""A served application, a Chromium, and a tab that writes down what a page must not do."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 150  # seconds until a condition must hold: machines may be slow and busy
SCREENSHOTS = ROOT / "data" / "screenshots"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-gl=swiftshader", "--enable-unsafe-swiftshader",
]  # fmt: skip


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(6 * PATIENCE))


def wait_until(check, words: str, seconds: float = PATIENCE):
    """Wait until ``check()`` is true, outside a browser."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"{words}: not within {seconds} s"
        time.sleep(0.2)


def run_alone(coroutine):
    """The result of a coroutine, in a thread of its own: the browser's loop runs in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def page_names() -> list[str]:
    """The page modules found by contract, without importing Panel."""
    return sorted(path.stem for path in (ROOT / "widgets" / "pages").glob("*.py") if not path.name.startswith("_"))


class Server:
    """The application in a process of its own, over a store in a folder of its own."""

    def __init__(self, data: Path, *arguments: str, module: str = "lab"):
        environment = {**os.environ, "LAB_DATA": str(data), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", module, "serve", "--port", "0", *arguments]
        self.data = data
        self.log = (data / "server.log").open("w")
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        line = self.process.stdout.readline()
        assert "http://" in line, f"the server said {line!r} and {(data / 'server.log').read_text()[-2000:]!r}"
        self.first = line[line.index("http://") :].strip()
        self.url = self.first[: self.first.index("/", 8) + 1]

    def health(self) -> dict:
        with urllib.request.urlopen(self.first.rpartition("/")[0] + "/health", timeout=PATIENCE) as answer:
            return json.load(answer)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=120)
        self.log.close()


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium found on PATH."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    assert path, "no Chromium on PATH; install it (Debian: apt-get install chromium)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The application over an empty store."""
    started = Server(tmp_path_factory.mktemp("data"))
    yield started
    started.stop()


class Tab:
    """A browser tab with a record of foreign requests, console errors and failed answers."""

    def __init__(self, browser, **options):
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        self.context.set_default_timeout(1000 * PATIENCE)
        self.foreign, self.errors = [], []
        self.page = self.context.new_page()
        self.page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "response", lambda answer: answer.status >= 400 and self.errors.append(f"{answer.status} {answer.url}")
        )
        self.context.route("**/*", self._watch)

    def _watch(self, route):
        url = route.request.url
        if url.startswith(("http://127.0.0.1:", "data:", "blob:", "file:")):
            route.continue_()
        else:
            self.foreign.append(url)
            route.abort()

    def open(self, url: str):
        """Load a page and wait until its document stands."""
        self.page.goto(url)
        self.page.wait_for_function("window.Bokeh && Bokeh.documents.length > 0")
        return self.page

    def figures(self, count: int | None = None) -> list[dict]:
        """Every figure drawn on the page: title, full trace types, number of points; waits for ``count`` of them."""
        if count is not None:
            drawn = f"({_FIGURES})().filter((figure) => figure.traces.length)"
            self.page.wait_for_function(f"() => {drawn}.length >= {count}")
        return self.page.evaluate(_FIGURES)

    def until(self, check, words: str, *, act=None):
        """Wait until ``check()`` is true.

        ``act()`` is done first, and again with growing pauses: what a visitor does who sees nothing happen, for example
        pointing anew at a place that moved because the page was laid out in the meantime.
        """
        end, again, pause = time.monotonic() + PATIENCE, 0.0, 2.0
        while not check():
            now = time.monotonic()
            assert now < end, f"{words}: not within {PATIENCE} s"
            if act is not None and now >= again:
                act()
                again, pause = now + pause, 2 * pause
            self.page.wait_for_timeout(150)

    def assert_accessible(self):
        """No violation that axe-core knows of, across shadow roots."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page, options={"resultTypes": ["violations"]}).response["violations"]
        assert not found, "\n".join(f"{item['id']}: {item['help']}: {item['nodes'][0]['html'][:200]}" for item in found)

    def assert_clean(self):
        assert not self.foreign, f"requests to elsewhere: {self.foreign}"
        assert not self.errors, self.errors


_FIGURES = """() => {
  const found = [];
  const total = (values) => {
    let sum = 0;
    if (values && typeof values !== "string" && values.length)
      for (const value of values) sum += typeof value === "number" ? (Number.isFinite(value) ? value : 0) : total(value);
    return sum;
  };
  const walk = (scope) => {
    for (const node of scope.querySelectorAll("*")) {
      if (node.classList.contains("js-plotly-plot") && node._fullData && node.querySelector(".main-svg")) found.push({
        title: node._fullLayout.title.text || "",
        traces: node._fullData.map((trace) => trace.type),
        lengths: node._fullData.map((trace) => (trace.y && trace.y.length) || (trace.z && trace.z.length) || 0),
        first: node._fullData.length && node._fullData[0].y ? Array.from(node._fullData[0].y).slice(0, 400) : [],
        names: node._fullData.map((trace) => trace.name || ""),
        sums: node._fullData.map((trace) => [total(trace.x), total(trace.y), total(trace.z),
          (trace.contours && trace.contours.start) || 0]),
      });
      if (node.shadowRoot) walk(node.shadowRoot);
    }
  };
  walk(document);
  return found;
}"""


@pytest.fixture
def tab(chromium):
    """A fresh tab in a context of its own: no cookie, no cache."""
    opened = Tab(chromium)
    yield opened
    opened.context.close()


@pytest.fixture
def new_tab(chromium):
    """A function that opens further tabs, each in a context of its own."""
    opened = []

    def make(**options):
        opened.append(Tab(chromium, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.context.close()


@pytest.fixture(scope="session")
def screenshots():
    """Where screenshots for people are written."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return SCREENSHOTS
