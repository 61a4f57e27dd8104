"""The pages of generative models: each builds at its defaults and answers its main control."""

import pandas as pd
import pytest

from tests.widgets.test_losses_pages import data, drawn
from widgets.pages import private_gsd, score_sde
from widgets.server.uploads import Uploaded

# page, main control, two of its values
CONTROLS = [
    ("private_gsd", "epsilon", 0.05, 20.0),
    ("score_sde", "frame", 5, 38),
]


@pytest.mark.parametrize(("name", "control", "first", "second"), CONTROLS, ids=[row[0] for row in CONTROLS])
def test_main_control_moves_the_figures(name, control, first, second):
    (one, panes), (two, _) = drawn(name, **{control: first}), drawn(name, **{control: second})
    assert len(one) == len(panes)
    assert any(data(a) != data(b) for a, b in zip(one[:-1], two[:-1])) or one[-1] != two[-1]


def test_own_tables_are_synthesized_or_refused_in_words():
    class File:
        data = pd.DataFrame({"age": range(60), "vote": ["a", "b"] * 30})

    found, frame = private_gsd.synthesized(20.0, "fair", "prefixes", 50, File)
    assert frame is File.data and found.statement["spent"][0][0] == "bounds of age"
    File.data = pd.DataFrame({"name": [f"n{i}" for i in range(100)]})
    with pytest.raises(ValueError, match="more than 64"):
        private_gsd.synthesized(1.0, "fair", "prefixes", 50, File)
    File.data = File.data[:10]
    with pytest.raises(ValueError, match="below 50"):
        private_gsd.synthesized(1.0, "fair", "prefixes", 50, File)


def test_own_points_take_the_place_of_the_ring_and_words_are_refused():
    frame = pd.DataFrame({"a": [0.0, 1.0, 5.0, 2.0], "word": ["x"] * 4, "b": [1.0, 2.0, 9.0, 0.0]})
    own = score_sde.draw(30, "VP", 0.2, upload=Uploaded("own.csv", "table", frame))
    assert data(own[0]) != data(score_sde.draw(30, "VP", 0.2)[0])
    with pytest.raises(ValueError, match="two columns of numbers"):
        score_sde.draw(30, "VP", 0.2, upload=Uploaded("own.csv", "table", frame[["a", "word"]]))
