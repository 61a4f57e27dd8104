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
    ("ddsp", "semitones", 0, 7),
    ("svdd", "candidates", 1, 20),
    ("vi_fractional_sde", "hurst", 0.2, 0.8),
    ("score_ntk", "stop", 3, 30),
    ("f_distill", "divergence", "Jensen-Shannon", "reverse KL"),
]


@pytest.mark.parametrize(("name", "control", "first", "second"), CONTROLS, ids=[row[0] for row in CONTROLS])
def test_main_control_moves_the_figures(name, control, first, second):
    (one, panes), (two, _) = drawn(name, **{control: first}), drawn(name, **{control: second})
    assert len(one) == len(panes)
    figures = [(data(a), data(b)) for a, b in zip(one, two) if hasattr(a, "data")]
    assert figures and any(a != b for a, b in figures)


def test_own_tables_are_synthesized_or_refused_in_words():
    class File:
        data = pd.DataFrame({"age": range(60), "vote": ["a", "b"] * 30})

    found, frame = private_gsd.synthesized(20.0, "fair", "prefixes", 50, 0, File)
    assert frame is File.data and found.statement["spent"][0][0] == "bounds of age"
    File.data = pd.DataFrame({"name": [f"n{i}" for i in range(100)]})
    with pytest.raises(ValueError, match="more than 64"):
        private_gsd.synthesized(1.0, "fair", "prefixes", 50, 0, File)
    File.data = File.data[:10]
    with pytest.raises(ValueError, match="below 50"):
        private_gsd.synthesized(1.0, "fair", "prefixes", 50, 0, File)


def test_own_points_take_the_place_of_the_ring_and_words_are_refused():
    frame = pd.DataFrame({"a": [0.0, 1.0, 5.0, 2.0], "word": ["x"] * 4, "b": [1.0, 2.0, 9.0, 0.0]})
    own = score_sde.draw(30, "VP", 0.2, upload=Uploaded("own.csv", "table", frame))
    assert data(own[0]) != data(score_sde.draw(30, "VP", 0.2)[0])
    with pytest.raises(ValueError, match="two columns of numbers"):
        score_sde.draw(30, "VP", 0.2, upload=Uploaded("own.csv", "table", frame[["a", "word"]]))


def test_an_own_column_is_the_teacher_of_a_student_or_is_refused_in_words():
    from widgets.pages import f_distill

    frame = pd.DataFrame({"word": ["x"] * 60, "a": [0.0, 1.0, 9.0] * 20})
    own = f_distill.draw(0.5, "forward KL", 20, 3.0, upload=Uploaded("own.csv", "table", frame))
    assert own[-1]["forward KL: shift"] == pytest.approx(10 / 3, abs=1.0)
    assert f_distill.column_of(pd.DataFrame({"a": range(1000)})).shape == (200, 1)
    for wrong, words in (
        (frame[["word"]], "a column of numbers"),
        (frame[:10], "at least 20"),
        (0 * frame[["a"]], "different"),
    ):
        with pytest.raises(ValueError, match=words):
            f_distill.draw(0.5, "forward KL", 20, 3.0, upload=Uploaded("own.csv", "table", wrong))


def test_own_sounds_are_played_or_refused_in_words():
    from types import SimpleNamespace

    import numpy as np

    from widgets.figures.sound import player
    from widgets.pages import ddsp

    t = np.arange(16_000) / 16_000
    file = SimpleNamespace(data=(0.5 * np.sin(2 * np.pi * 220 * t)).astype(np.float32), spacing=(1 / 16_000,))
    heard, picture, bars, numbers = ddsp.draw(0, 0, 0.0, 1.0, 0.0, "plucked string", file, "light")
    assert heard.count("<audio controls") == 2 and abs(numbers["pitch of the note (Hz, median)"] - 220) < 2
    with pytest.raises(ValueError, match="at least 0.2 s"):
        ddsp.draw(
            0, 0, 0.0, 1.0, 0.0, "plucked string", SimpleNamespace(data=file.data[:400], spacing=(1 / 16_000,)), "light"
        )
    assert "&lt;b&gt;" in player(np.zeros(10), 8000, "<b>")
    with pytest.raises(ValueError, match="30 s"):
        player(np.zeros(31 * 8000), 8000)


def test_a_sound_survives_the_cleaning_of_a_report_and_nothing_else_does():
    import torch

    from lab.report.site.sanitize import clean
    from widgets.figures.sound import player

    kept = clean(player(torch.zeros(100), 8000, "a note"))
    assert 'src="data:audio/wav;base64,' in kept and "<audio controls" in kept
    hostile = (
        "http://elsewhere/a.wav",
        "javascript:alarm()",
        "data:text/html;base64,AAAA",
        'data:audio/wav;base64,AA" onerror="alarm()',
    )
    for address in hostile:
        assert "src" not in clean(f"<audio controls autoplay src='{address}'></audio>").replace("autoplay", "")
