"""What holds on every page, read from the page in a browser: one meaning a colour, export, words explained, keyboard."""

import json
import re

import pytest
from plotly.colors import sample_colorscale

from tests.browser.conftest import page_names
from tests.browser.test_pages import PLOTLY_JS, route_of, wait_until_drawn
from widgets.figures.theme import COLOURS, colours
from widgets.pages._glossary import TERMS

pytestmark = pytest.mark.browser

DRAWN = {
    "scatter", "scattergl", "bar", "heatmap", "contour", "image", "histogram", "histogram2d", "box", "violin", "scatter3d",
    "surface", "mesh3d", "isosurface", "volume", "pie", "table", "parcoords", "scatterpolar", "sankey", "treemap", "icicle",
    "sunburst", "waterfall", "funnel", "splom", "cone", "indicator", "scatterternary", "contourcarpet", "carpet", "parcats",
}  # fmt: skip

# Each figure: title, buttons of its bar, and each trace's name, type and the colours that it sets outside a colour scale.
PICTURES = """() => {
  const found = [], walk = (scope) => { for (const node of scope.querySelectorAll("*")) {
    if (node.classList.contains("js-plotly-plot") && node._fullData) found.push(node);
    if (node.shadowRoot) walk(node.shadowRoot); } };
  walk(document);
  const plain = (value) => typeof value === "string" ? [value] : value && value.length !== undefined && typeof value !== "string"
    ? Array.from(value).filter((item) => typeof item === "string") : [];
  return found.map((node) => ({
    title: node._fullLayout.title.text || "",
    buttons: [...node.querySelectorAll(".modebar-btn")].map((button) => button.dataset.title || button.getAttribute("aria-label")),
    traces: node._fullData.map((trace) => ({name: trace.name || "", type: trace.type, legend: trace.showlegend !== false,
      scale: (trace.meta && trace.meta.colorscale) || "",
      colours: [...new Set([...(trace.mode && trace.mode.includes("lines") && trace.line ? plain(trace.line.color) : []),
        ...(trace.type === "bar" || /markers/.test(trace.mode) ? plain(trace.marker && trace.marker.color) : []),
        ...(trace.type === "mesh3d" && !trace.intensity ? plain(trace.color) : []),
        ...(trace.fill && trace.fill !== "none" ? plain(trace.fillcolor) : [])])]})),
  }));
}"""

TERMS_SEEN = """() => {
  const words = [], marked = [], walk = (scope) => { for (const node of scope.childNodes) {
    if (node.nodeType === 3) { words.push(node.textContent); continue; }
    if (node.nodeType !== 1 || /^(SCRIPT|STYLE|CODE|PRE|OPTION|TEXTAREA|SVG|SMALL)$/i.test(node.tagName)) continue;
    if (node.classList.contains("js-plotly-plot") || node.classList.contains("lab-source")) continue;
    if (/lab-status|lab-drop|bk-input-group|bk-slider-title|noUi/.test(node.className)) continue;
    if (node.classList.contains("lab-term")) { marked.push(node.firstChild.textContent.toLowerCase()); continue; }
    if (node.shadowRoot) walk(node.shadowRoot);
    walk(node); words.push("\\n"); } };
  walk(document.querySelector("main"));
  return [words.join(" "), marked];
}"""

FOCUS = """() => {
  let node = document.activeElement;
  while (node && node.shadowRoot && node.shadowRoot.activeElement) node = node.shadowRoot.activeElement;
  if (!node || node === document.body) return null;
  const style = getComputedStyle(node), box = node.getBoundingClientRect();
  const labels = node.labels ? [...node.labels].map((label) => label.textContent).join(" ") : "";
  return {tag: node.tagName.toLowerCase(), role: node.getAttribute("role") || "", type: node.type || "",
    name: (node.getAttribute("aria-label") || labels || node.title || node.textContent || "").trim(),
    ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1 || /lab-drop/.test(node.closest("label")?.className),
    seen: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight, path: [Math.round(box.x), Math.round(box.y)]};
}"""

CONTROLS = """() => {
  let count = 0;
  const walk = (scope) => { for (const node of scope.querySelectorAll("*")) {
    const control = node.matches(".noUi-handle, select, input:not([type=hidden]), textarea, button, a[href]");
    if (control && !node.disabled && !node.closest(".lab-skip") && node.getBoundingClientRect().width > 0 &&
        getComputedStyle(node).visibility !== "hidden" && node.tabIndex >= 0) count += 1;
    if (node.shadowRoot) walk(node.shadowRoot); } };
  walk(document);
  return count;
}"""


@pytest.fixture(scope="module", params=page_names())
def opened(request, server, visitors):
    """A page at its defaults in a tab: its name and the tab; the tests below it only look, the last one moves its control."""
    tab = visitors.come()
    tab.open(server.url + route_of(request.param))
    wait_until_drawn(tab)
    tab.figures(1)
    yield request.param, tab
    tab.close()


def test_page_draws_its_figures_with_the_plotly_they_were_made_for_and_is_accessible(opened, screenshots):
    name, tab = opened
    figures = tab.figures(1)
    assert all(figure["traces"] for figure in figures), "a figure without a trace"
    assert {trace for figure in figures for trace in figure["traces"]} <= DRAWN
    assert all(figure["title"] for figure in figures), "a figure without its answer in the title"
    assert tab.page.evaluate("Plotly.version") == PLOTLY_JS
    tab.page.screenshot(path=screenshots / f"{name}.png", full_page=True)
    tab.assert_accessible()
    tab.assert_clean()


def plain(colour: str) -> str:
    """``#rrggbb`` in upper case of a colour as plotly writes it; alpha is left out."""
    numbers = re.fullmatch(r"rgba?\((\d+), *(\d+), *(\d+).*\)", colour)
    return "#" + "".join(f"{int(n):02X}" for n in numbers.groups()) if numbers else colour.upper()


def on_scale(colour: str, name: str, bands: int = 24) -> bool:
    """Whether ``#RRGGBB`` is, up to rounding, the middle of one of the bands of a plotly colour scale."""
    channels = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    tones = sample_colorscale(name, [(band + 0.5) / bands for band in range(bands)], colortype="tuple")
    return any(all(abs(255 * part - channel) < 1.5 for part, channel in zip(tone, channels)) for tone in tones)


# Words in the name of a trace, and the one colour that they may have.
MEANINGS = {
    r"^(matched|holds)": COLOURS["matched"],
    r"unmatched in prediction|does not hold|^fails": COLOURS["prediction"],
    r"unmatched in label": COLOURS["label"],
    r"not run|extrapolat": COLOURS["extrapolated"],
}


def test_colours_are_those_of_the_palette_and_mean_one_thing(opened):
    name, tab = opened
    c = colours("light")
    palette = {colour.upper() for colour in (*c.series, c.matched, c.prediction, c.label, c.extrapolated, c.reference)}
    palette |= {colour.upper() for colour in (c.text, c.muted, c.grid, c.background, "#444444")}
    of_name: dict[str, set] = {}
    for figure in tab.page.evaluate(PICTURES):
        for trace in figure["traces"]:
            used = {plain(colour) for colour in trace["colours"] if not colour.startswith("rgba(0,0,0,0")}
            used = {colour for colour in used if colour != "TRANSPARENT"}
            if trace["scale"]:  # patches of a value: each in a colour of the scale that the trace names
                used = {colour for colour in used if not on_scale(colour, trace["scale"])}
            assert used <= palette, f"{name}: {figure['title']!r}, {trace['name']!r} draws in {used - palette}"
            for words, colour in MEANINGS.items():
                if re.search(words, trace["name"]) and used:
                    assert used == {colour}, f"{name}: {trace['name']!r} is drawn in {used}, not in {colour}"
            if trace["legend"] and trace["name"] and len(used) == 1:
                of_name.setdefault(trace["name"], set()).update(used)
    twice = {words: used for words, used in of_name.items() if len(used) > 1}
    assert not twice, f"{name}: one name in two colours: {twice}"


def test_every_figure_is_saved_as_png_svg_and_csv(opened):
    name, tab = opened
    for number, figure in enumerate(tab.page.evaluate(PICTURES)):
        if not figure["traces"]:
            continue
        for words, begins in (("PNG", b"\x89PNG"), ("SVG", b"<svg"), ("CSV", b"trace,x,y,z,text\n")):
            click = f"""(number) => {{ const found = [], walk = (scope) => {{ for (const node of scope.querySelectorAll("*")) {{
              if (node.classList.contains("js-plotly-plot") && node._fullData) found.push(node);
              if (node.shadowRoot) walk(node.shadowRoot); }} }}; walk(document);
              [...found[number].querySelectorAll(".modebar-btn")].find((button) =>
                /{words}/i.test(button.dataset.title || button.getAttribute("aria-label"))).click(); }}"""
            assert not any("share" in (button or "").lower() for button in figure["buttons"]), (
                "nothing is sent elsewhere"
            )
            assert any(words.lower() in (button or "").lower() for button in figure["buttons"]), (
                f"{name}: no {words} button"
            )
            with tab.page.expect_download() as saved:
                tab.page.evaluate(click, number)
            content = saved.value.path().read_bytes()
            assert content.startswith(begins), f"{name}: {figure['title']!r} as {words} begins with {content[:30]!r}"
            if words == "CSV":
                assert len(content.splitlines()) > 1, f"{name}: the data of {figure['title']!r} are empty"
            if words == "SVG":
                assert len(content) > 3000, f"{name}: {figure['title']!r} as SVG is empty"
    assert not tab.foreign


def test_words_of_the_glossary_are_explained_where_they_occur(opened):
    name, tab = opened
    text, marked = tab.page.evaluate(TERMS_SEEN)
    for term in TERMS:
        if re.search(rf"(?<![\w-]){re.escape(term)}(?![\w-])", text, re.IGNORECASE):
            assert term.lower() in marked, f"{name}: {term!r} occurs and is nowhere explained"


def test_keyboard_reaches_every_control_and_shows_where_it_is(opened):
    name, tab = opened
    page = tab.page
    for _ in range(3):  # once more where controls came or went on the way
        page.evaluate("document.activeElement && document.activeElement.blur(); window.scrollTo(0, 0)")
        page.evaluate("document.body.focus()")
        wanted = page.evaluate(CONTROLS)
        reached = []
        for _ in range(wanted + 120):
            page.keyboard.press("Tab")
            at = page.evaluate(FOCUS)
            if at is None:
                break
            reached.append(at)
        if wanted == page.evaluate(CONTROLS):
            break
    controls = [
        at for at in reached if at["tag"] in ("select", "input", "textarea", "button", "a") or at["role"] == "slider"
    ]
    assert len(controls) >= wanted, f"{name}: {len(controls)} of {wanted} controls are reached"
    assert not [at for at in reached if not at["name"]], (
        f"{name}: without a name: {[at for at in reached if not at['name']][:3]}"
    )
    blind = [at for at in controls if not at["ring"]]
    assert not blind, f"{name}: nothing shows the focus on {blind[:3]}"
    hidden = [at for at in controls if not at["seen"]]
    assert not hidden, f"{name}: focus out of sight on {hidden[:3]}"


def test_address_of_a_changed_page_restores_it_in_another_browser(opened, new_tab):
    (_, first), second = opened, new_tab()
    change(first)
    second.open(first.page.url)
    wait_until_drawn(second)
    assert second.page.url == first.page.url
    same = lambda: comparable(second.figures(1)) == comparable(first.figures(1))  # noqa: E731
    first.until(same, "both browsers show the same")
    first.assert_clean()
    second.assert_clean()


def change(tab):
    """Move the main control by hand; every step is in the address before the next."""
    handles = tab.page.locator(".noUi-handle")
    if not handles.count():
        choice = tab.page.locator("select:not([multiple])").first
        choice.select_option(index=1)
        tab.page.wait_for_function("location.search.length > 1")
        return
    handle = handles.first
    handle.focus()
    for _ in range(3):
        at_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
        was = tab.page.url
        tab.page.keyboard.press("ArrowLeft" if at_end else "ArrowRight")
        tab.page.wait_for_function("(was) => location.href !== was", arg=was)


def comparable(figures):
    keys = ("title", "traces", "lengths", "first", "names", "sums")
    return json.loads(json.dumps([{key: figure[key] for key in keys} for figure in figures]))
