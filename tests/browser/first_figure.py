"""How soon a page shows a figure: ``python -m tests.browser.first_figure [PAGE ...]`` prints a line a page.

For each page: seconds from the navigation to the first meaningful figure (a picture of the default state in the page itself, or
a drawing with its traces), seconds until the live figures stand, the layout shift until then (CLS), how often a figure had axes
and nothing in them, and the seconds of the processor that server and browser took. On a busy machine the last ones and the ratio
of the clock to an empty page's clock say what an idle machine would show. ``--fresh`` starts a server for each page, so that
every one is the first page of its server; ``--screenshots DIR`` keeps pictures in both sizes and themes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import psutil

from tests.browser.conftest import Profile, Server, Tab, page_names
from tests.browser.test_pages import route_of, wait_until_drawn

SIZES = {"wide": {"width": 1400, "height": 900}, "phone": {"width": 390, "height": 844}}

# Runs before the page's own scripts: looks for a figure, 30 times a second, and listens to layout shifts.
WATCH = """(() => {
  const seen = window.labSeen = { still: null, live: null, shift: 0, empty: 0, shifts: [] };
  new PerformanceObserver((list) => { for (const entry of list.getEntries()) seen[entry.name] = entry.startTime; })
    .observe({ type: "paint", buffered: true });
  new PerformanceObserver((list) => { for (const entry of list.getEntries()) if (!entry.hadRecentInput) {
    seen.shift += entry.value;
    const moved = ({ node, previousRect: a, currentRect: b }) => [node && (node.className || node.nodeName),
      Math.round(a.y), Math.round(a.height), Math.round(b.y), Math.round(b.height)].join(" ");
    seen.shifts.push([Math.round(entry.startTime), entry.value.toFixed(4), ...entry.sources.map(moved)]);
  } }).observe({ type: "layout-shift", buffered: true });
  const walk = function* (scope) { for (const node of scope.querySelectorAll("*")) {
    yield node; if (node.shadowRoot) yield* walk(node.shadowRoot); } };
  const look = () => {
    let drawn = 0, bare = 0;
    for (const node of walk(document)) {
      if (seen.still === null && node.classList.contains("lab-still") && node.getBoundingClientRect().height > 20)
        seen.still = performance.now();
      if (!node.classList.contains("js-plotly-plot") || !node.querySelector(".main-svg")) continue;
      if (!node.checkVisibility({ visibilityProperty: true })) continue;
      if (node._fullData && node._fullData.length) drawn += 1;
      else if (node.querySelector(".xtick, .ytick, .xgrid, .xlines-above, .crisp")) bare += 1;
    }
    if (drawn && seen.live === null) seen.live = performance.now();
    if (bare) seen.empty += 1;
  };
  setInterval(look, 30);
})()"""


def spent(processes) -> float:
    """Seconds of the processor that the processes and their children took."""
    total, counted = 0.0, set()
    for process in processes:
        try:
            family = (process, *process.children(recursive=True))
        except psutil.NoSuchProcess:
            continue
        for one in family:
            if one.pid in counted:
                continue
            counted.add(one.pid)
            try:
                times = one.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
    return total


def measure(server, tab, url) -> dict:
    """One load of a page in a tab: times, shift, and what it cost."""
    tab.page.add_init_script(WATCH)
    server_process = [psutil.Process(server.process.pid)]
    browser = [one for one in psutil.Process().children(recursive=True) if "chrom" in one.name()]
    before = spent(server_process), spent(browser)
    tab.page.goto(url)
    wait_until_drawn(tab)
    seen = tab.page.evaluate("window.labSeen")
    after = spent(server_process), spent(browser)
    times = [value for value in (seen["still"], seen["live"]) if value is not None]
    return {
        "first_figure_s": round(min(times) / 1000, 2) if times else None,
        "first_paint_s": round(seen.get("first-contentful-paint", 0) / 1000, 2),
        "live_s": round(seen["live"] / 1000, 2) if seen["live"] is not None else None,
        "shift": round(seen["shift"], 4),
        "looks_with_empty_axes": seen["empty"],
        "server_cpu_s": round(after[0] - before[0], 2),
        "browser_cpu_s": round(after[1] - before[1], 2),
        "shifts": seen["shifts"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", default=page_names())
    parser.add_argument("--fresh", action="store_true", help="a server for each page")
    parser.add_argument("--twice", action="store_true", help="a second load of each page, with warm caches")
    parser.add_argument("--why", action="store_true", help="print every layout shift")
    parser.add_argument("--screenshots", type=Path)
    chosen = parser.parse_args()
    from playwright.sync_api import sync_playwright

    folder = Path(tempfile.mkdtemp())
    print(f"load average {' '.join(f'{value:.1f}' for value in psutil.getloadavg())}", flush=True)
    with sync_playwright() as playwright:
        profile = Profile(playwright, folder / "profile")
        server = None
        for name in chosen.pages:
            if server is None or chosen.fresh:
                if server is not None:
                    server.stop()
                data = Path(tempfile.mkdtemp())
                server = Server(data)
            for view, theme in _views(chosen.screenshots):
                for turn in ("first", "again")[: 1 + chosen.twice]:
                    tab = Tab(profile.context, lambda origins: None)
                    tab.page.set_viewport_size(SIZES[view])
                    found = measure(server, tab, f"{server.url}{route_of(name)}?theme={theme}")
                    shifts = found.pop("shifts")
                    print(json.dumps({"page": name, "view": view, "theme": theme, "load": turn, **found}), flush=True)
                    for shift in shifts if chosen.why else ():
                        print("   ", *shift, flush=True)
                    if chosen.screenshots:
                        chosen.screenshots.mkdir(parents=True, exist_ok=True)
                        time.sleep(0.3)
                        tab.page.screenshot(path=chosen.screenshots / f"{name}-{view}-{theme}.png", full_page=True)
                    tab.page.close()
        server.stop()
        profile.context.close()


def _views(screenshots):
    if screenshots is None:
        return [("wide", "light")]
    return [("wide", "light"), ("wide", "dark"), ("phone", "light"), ("phone", "dark")]


if __name__ == "__main__":
    main()
