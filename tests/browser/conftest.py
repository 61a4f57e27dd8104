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
    "--disable-component-update", "--disable-sync", "--no-proxy-server", "--use-gl=swiftshader", "--enable-unsafe-swiftshader",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]  # fmt: skip
VIEW = {"viewport": {"width": 1280, "height": 900}}
STORED = "local_storage,indexeddb,service_workers,cache_storage,file_systems"


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
def driver():
    """What drives browsers."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def chromium(driver):
    """A headless Chromium found on PATH."""
    browser = driver.chromium.launch(executable_path=executable(), args=FLAGS)
    yield browser
    browser.close()


def executable() -> str:
    """The Chromium on PATH."""
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    assert path, "no Chromium on PATH; install it (Debian: apt-get install chromium)"
    return path


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The application over an empty store."""
    started = Server(tmp_path_factory.mktemp("data"))
    yield started
    started.stop()


class Profile:
    """A browser that one visitor after the other has, each of whom finds no cookie and nothing stored.

    Its window stands and its scripts stay compiled, so that a page loads in a third of the time that it takes in a context
    made for it.
    """

    def __init__(self, driver, folder: Path):
        self.context = driver.chromium.launch_persistent_context(
            folder, executable_path=executable(), args=FLAGS, **VIEW
        )
        self._blank = self.context.pages[0]  # keeps the window
        self._storage = self.context.new_cdp_session(self._blank)
        self.is_free = True

    def empty(self, origins):
        """Forget the visitor."""
        for page in self.context.pages:
            if page != self._blank:
                page.close()
        self.context.clear_cookies()
        for origin in origins:
            self._storage.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": STORED})
        self.is_free = True


class Visitors:
    """Opens tabs, each of a visitor who has nothing in common with the others."""

    def __init__(self, driver, folder: Path):
        self._driver, self._folder, self._profiles = driver, folder, []

    def come(self) -> "Tab":
        """The tab of one visitor more."""
        profile = next((profile for profile in self._profiles if profile.is_free), None)
        if profile is None:
            profile = Profile(self._driver, self._folder / str(len(self._profiles)))
            self._profiles.append(profile)
        profile.is_free = False
        return Tab(profile.context, profile.empty)

    def end(self):
        """Close all browsers."""
        for profile in self._profiles:
            profile.context.close()


@pytest.fixture(scope="session")
def visitors(driver, tmp_path_factory):
    """Who opens tabs."""
    opened = Visitors(driver, tmp_path_factory.mktemp("profiles"))
    yield opened
    opened.end()


class Tab:
    """A browser tab with a record of foreign requests, console errors and failed answers."""

    def __init__(self, context, leave):
        self.context, self._leave = context, leave
        self.context.set_default_timeout(1000 * PATIENCE)
        self.foreign, self.errors, self._origins = [], [], set()
        self.page = self.context.new_page()
        self.page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "response", lambda answer: answer.status >= 400 and self.errors.append(f"{answer.status} {answer.url}")
        )
        self.context.on("request", self._watch)

    def _watch(self, request):
        # FLAGS let no request out of this machine
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:", "file:")):
            self.foreign.append(request.url)
        elif request.url.startswith("http"):
            self._origins.add("/".join(request.url.split("/")[:3]))

    def close(self):
        """Close every page of the visitor; nothing of the visitor is left."""
        if self._leave is not None:
            self.context.remove_listener("request", self._watch)
            self._leave(self._origins)
            self._leave = None

    def open(self, url: str):
        """Load a page and wait until the live one stands."""
        self.page.goto(url)
        self.page.wait_for_function(
            "window.Bokeh && Bokeh.documents.length > 0 && !document.querySelector('.lab-first')"
        )
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
def tab(visitors):
    """The tab of a new visitor."""
    opened = visitors.come()
    yield opened
    opened.close()


@pytest.fixture
def new_tab(visitors):
    """A function that opens the tabs of further visitors."""
    opened = []

    def make():
        opened.append(visitors.come())
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture(scope="session")
def screenshots():
    """Where screenshots for people are written."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return SCREENSHOTS
