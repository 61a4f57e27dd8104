"""What the server costs: ``python -m tests.browser.load`` prints visits at once, memory, a page load beside a job, a cancel.

Every visit asks for the page, opens its websocket, pulls the document, says that it is ready and waits for the figures, so
that the server does all that it does for a browser. Seconds of the processor are printed beside seconds of the clock: on a
busy machine the former say what the latter would be. The page load beside a job and the cancel happen in a real browser.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import tempfile
import threading
import time
from pathlib import Path

import psutil
from tornado.httpclient import AsyncHTTPClient

from tests.browser.conftest import FLAGS, VIEW, Server, Tab, executable
from tests.browser.test_app import write_notebook
from tests.browser.visits import BUSY, PAGE, visit


def seconds_of(process) -> float:
    times = process.cpu_times()
    return times.user + times.system


async def at_once(server, processes, count) -> dict:
    """``count`` visitors at once: seconds of clock and processor, memory a visitor."""
    (await visit(server)).close()
    memory = sum(process.memory_info().rss for process in processes)
    spent, began = sum(map(seconds_of, processes)), time.perf_counter()
    open_ones = await asyncio.gather(*(visit(server) for _ in range(count)))
    clock, spent = time.perf_counter() - began, sum(map(seconds_of, processes)) - spent
    grown = sum(process.memory_info().rss for process in processes) - memory
    for socket in open_ones:
        socket.close()
    each = round(grown / count / 2**20, 2)
    return {"visitors": count, "clock_s": round(clock, 2), "processor_s": round(spent, 2), "mb_each": each}


async def one_after_another(server, processes, count, step=100) -> list[float]:
    """Memory in MB after every ``step`` visits that came and went."""
    curve = []
    for _ in range(count // step):
        for _ in range(step // 5):
            for socket in await asyncio.gather(*(visit(server) for _ in range(5))):
                socket.close()
        for _ in range(240):
            await asyncio.sleep(0.5)
            if server.health()["sessions"] == 0:
                break
        curve.append(round(sum(process.memory_info().rss for process in processes) / 2**20, 1))
        print("  after", len(curve) * step, "visits:", curve[-1], "MB", flush=True)
    return curve


def beside_a_job(server, visitors: int) -> dict:
    """A page load idle, while a job computes, and while ``visitors`` are there too; how long a cancel takes."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)

        def visitor() -> Tab:
            context = browser.new_context(**VIEW)
            return Tab(context, lambda origins: context.close())

        def load() -> float:
            tab = visitor()
            began = time.perf_counter()
            tab.open(server.url + PAGE)
            tab.figures(2)
            spent = time.perf_counter() - began
            tab.close()
            return spent

        load()
        owner = visitor()
        owner.open(server.url + "run?notebook=own/busy.ipynb&seconds=600")
        idle = [load() for _ in range(5)]
        owner.page.get_by_role("button", name="Run", exact=True).click()
        owner.page.get_by_text("begun").first.wait_for(timeout=300_000)
        busy = [load() for _ in range(5)]
        tabs = [visitor() for _ in range(visitors)]
        for tab in tabs:
            tab.open(server.url + PAGE)
            tab.figures(2)
        crowded = [load() for _ in range(3)]
        for tab in tabs:
            tab.close()
        shown, ended = cancelled(owner, server)
        browser.close()
    median = statistics.median
    return {
        "idle_s": round(median(idle), 2), "beside_job_s": round(median(busy), 2), "ratio": round(median(busy) / median(idle), 2),
        f"beside_job_and_{visitors}_s": round(median(crowded), 2), "cancel_shown_s": round(shown, 2),
        "cancel_killed_s": round(ended, 2),
    }  # fmt: skip


def cancelled(owner: Tab, server: Server) -> tuple[float, float]:
    """Seconds from the click on Cancel until the page says so, and until the kernel is dead."""
    kernel = max(psutil.Process(server.process.pid).children(recursive=True), key=seconds_of)
    ended = []

    def watch():
        psutil.wait_procs([kernel], timeout=60)
        ended.append(time.perf_counter())

    watcher = threading.Thread(target=watch)
    watcher.start()
    button = owner.page.get_by_role("button", name="Cancel")
    button.hover()
    began = time.perf_counter()
    button.click()
    owner.page.get_by_role("heading", name=re.compile("cancelled")).wait_for()
    shown = time.perf_counter() - began
    watcher.join()
    return shown, ended[0] - began


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.browser.load", description="Measure the server.")
    parser.add_argument("--visitors", type=int, default=40, help="visitors at once")
    parser.add_argument("--visits", type=int, default=500, help="visits one after another")
    parser.add_argument("--num-procs", type=int, default=1)
    given = parser.parse_args()
    AsyncHTTPClient.configure(None, max_clients=100)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "own"
        folder.mkdir()
        write_notebook(folder, "busy", "A busy run", "seconds: float = 60.0", BUSY)
        options = ["--session-seconds", "30", "--notebooks", str(folder), "--num-procs", str(given.num_procs)]
        server = Server(Path(name), *options)
        front = psutil.Process(server.process.pid)
        processes = [front, *front.children()] if given.num_procs > 1 else [front]
        try:
            print("load average", psutil.getloadavg())
            print(asyncio.run(at_once(server, processes, given.visitors)), flush=True)
            print(beside_a_job(server, 20), flush=True)
            print("memory", asyncio.run(one_after_another(server, processes, given.visits)), flush=True)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
