"""The page of explanations in a browser: own tables and weights, what the sliders change, and what is refused."""

import io
from types import SimpleNamespace
from urllib.parse import quote, urlencode

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from lab import explain, training
from widgets.pages import explanations as page

pytestmark = pytest.mark.browser

ASKED = explain.QUESTIONS
PATIENCE = 400_000  # milliseconds: networks are trained while the browser waits


@pytest.fixture(autouse=True)
def patient(tab):
    tab.context.set_default_timeout(PATIENCE)


# every panel's bars: {method: {label: weight}} of the figure of eight explanations
BARS = """() => { const found = {}; const walk = (scope) => { for (const node of scope.querySelectorAll("*")) {
  if (node.classList.contains("js-plotly-plot") && node._fullData && node._fullLayout.title.text.includes("explanations of one"))
    for (const trace of node._fullData) found[trace.name] = Object.fromEntries(Array.from(trace.y).map((label, i) =>
      [label, Array.from(trace.x)[i]]));
  if (node.shadowRoot) walk(node.shadowRoot); } }; walk(document); return found; }"""


def expected(figure) -> dict:
    return {trace.name: dict(zip(map(str, trace.y), map(float, trace.x))) for trace in figure.data}


def wait_for(tab, wanted: dict):
    """Until the bars in the browser are ``wanted``, to six digits."""
    tab.page.wait_for_function(
        f"""(wanted) => {{ const shown = ({BARS})(); return Object.keys(wanted).length === Object.keys(shown).length &&
        Object.entries(wanted).every(([name, bars]) => shown[name] && Object.entries(bars).every(([label, value]) =>
        Math.abs(shown[name][label] - value) <= 1e-6 * (1 + Math.abs(value)))); }}""",
        arg=wanted,
        timeout=PATIENCE,
    )


def csv(frame) -> bytes:
    return frame.to_csv(index=False).encode()


def give(tab, number: int, name: str, content: bytes):
    tab.page.locator("input[type=file]").nth(number).set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    )


def test_sliders_change_all_eight_to_what_the_library_returns(server, tab):
    settings = {"table": "diabetes", "family": "tanh network"}
    state = {**settings, "sigma": 0.5, "width": 0.5, "blank": 1.0, "instance": 3}
    tab.open(f"{server.url}{page.ROUTE}?{urlencode(state, quote_via=quote)}")
    shown = page.draw(ASKED["noise"], 0.5, 0.5, 1.0, 3, "diabetes", "tanh network", "")[1]
    assert len(shown.data) == 8
    wait_for(tab, expected(shown))
    tab.page.locator(".noUi-handle").first.focus()
    tab.page.keyboard.press("ArrowRight")
    moved = page.draw(ASKED["noise"], 0.55, 0.5, 1.0, 3, "diabetes", "tanh network", "")[1]
    wait_for(tab, expected(moved))
    tab.assert_clean()


def test_uploaded_exclusive_or_is_learned_and_refused(server, tab, screenshots):
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {name: generator.choice([-1.0, 1.0], 800) + 0.05 * generator.normal(size=800) for name in "ab"}
    )
    frame["y"] = frame["a"] * frame["b"]
    tab.open(f"{server.url}{page.ROUTE}?family=deep%20relu%20network&question={quote(ASKED['coalitions'])}")
    tab.figures(2)
    give(tab, 0, "xor.csv", csv(frame))
    tab.page.wait_for_function(
        """() => { const walk = (scope) => { for (const node of scope.querySelectorAll("*")) {
        if (node._fullLayout && node._fullLayout.title && (node._fullLayout.title.text || "").startsWith("No linear"))
          return true; if (node.shadowRoot && walk(node.shadowRoot)) return true; } return false; }; return walk(document); }""",
        timeout=PATIENCE,
    )
    upload = SimpleNamespace(data=pd.read_csv(io.BytesIO(csv(frame))), name="xor.csv")
    shown = page.draw(ASKED["coalitions"], 0.1, 1.0, 0.0, 0, "breast_cancer", "deep relu network", "", upload=upload)[1]
    wait_for(tab, expected(shown))
    tab.page.screenshot(path=screenshots / "explanations-xor.png", full_page=True)
    tab.assert_clean()


def test_own_weights_are_read_and_a_pickle_is_not(server, tab):
    net = training.mlp(10, 1, widths=(8,), activation="tanh", seed=5)
    tab.open(f"{server.url}{page.ROUTE}?table=diabetes&architecture=layers%20with%20tanh")
    tab.figures(2)
    give(tab, 1, "mine.safetensors", safetensors.torch.save(net.state_dict()))
    arrays = {name: value.numpy() for name, value in net.state_dict().items()}
    upload = SimpleNamespace(data=arrays, name="mine")
    shown = page.draw(
        ASKED["noise"],
        0.1,
        1.0,
        0.0,
        0,
        "diabetes",
        "relu network",
        "",
        architecture="layers with tanh",
        weights=upload,
    )[1]
    wait_for(tab, expected(shown))
    whole = io.BytesIO()
    torch.save(net, whole)  # a pickled module, not a state dict
    give(tab, 1, "mine.pt", whole.getvalue())
    tab.page.get_by_text("nothing of it was executed").or_(tab.page.get_by_text("not a state dict")).first.wait_for()
    wait_for(tab, expected(shown))
