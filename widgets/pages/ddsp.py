"""Sound from oscillators, noise and a room, interactively: move pitch, loudness, timbre and room of a note, and listen."""

from __future__ import annotations

import panel as pn
import torch

from lab.datasets.sounds import Sound
from lab.generative.studies import ddsp as study
from widgets import pages
from widgets.figures.generative import ddsp as figures
from widgets.figures.sound import player
from widgets.server import uploads

TITLE, ROUTE, METHOD = "Differentiable signal processing", "ddsp", "ddsp"
QUESTION = (
    "What does a note sound like when only its pitch, only its loudness, only its instrument or only its room changes?"
)
EXPLANATION = (
    "A small recurrent network was trained on 48 notes of plucked strings and blown pipes, computed from physical models. It never "
    "emits a sample: it sets the strengths of harmonics and noise bands a hundred times a second, and oscillators do the rest. "
    "Hence pitch can leave the range of the training notes, and the room can be taken away. The notes here were held out. An own "
    "WAV file is cut to its first three seconds and read at 8,000 Hz; it is not kept."
)
LONGEST = 3.0
NOTES = {"plucked string": 0, "blown pipe": 1, "second string": 2, "second pipe": 3}


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "semitones": pn.widgets.IntSlider(label="Pitch (semitones)", start=-12, end=19, value=0),
        "decibels": pn.widgets.IntSlider(label="Loudness (dB)", start=-24, end=6, value=0),
        "timbre": pn.widgets.FloatSlider(
            label="Timbre, from pipe (−1) over its own (0) to string (1)", start=-1, end=1, step=0.1, value=0.0
        ),
        "noise": pn.widgets.FloatSlider(label="Noise", start=0, end=4, step=0.25, value=1.0),
        "room": pn.widgets.FloatSlider(label="Room", start=0, end=1, step=0.1, value=0.0),
        "note": pn.widgets.Select(label="Note", options=list(NOTES), value="plucked string"),
    }
    pages.sync(widgets, state)
    file = uploads.Upload("Your sound", kinds=("sound",))
    ears = pn.pane.HTML("", sizing_mode="stretch_width", margin=0)
    picture, bars, table = (
        pages.plot(label="spectrograms", height=340),
        pages.plot(label="harmonics", height=300),
        pages.numbers(),
    )
    notice = pages.react({**widgets, "file": file}, draw, ears, picture, bars, table)
    return pages.layout(
        TITLE,
        QUESTION,
        [*widgets.values(), file],
        [ears, picture, bars, table],
        notice=notice,
        method=METHOD,
        explanation=EXPLANATION,
    )


def draw(semitones, decibels, timbre, noise, room, note, file, theme):
    found = study.played(
        sound(note, file), semitones=float(semitones), decibels=float(decibels), timbre=timbre, noise=noise, wet=room
    )
    heard = player(found.x, found.rate, "the note") + player(found.made, found.rate, "rebuilt with these controls")
    title = f"Pitch {float(found.pitch[0].median()):.0f} Hz, rebuilt at {float(found.pitch[1].median()):.0f} Hz"
    numbers = {
        "pitch of the note (Hz, median)": round(float(found.pitch[0].median()), 1),
        "pitch heard (Hz, median)": round(float(found.pitch[1].median()), 1),
        "pitch asked (Hz, median)": round(float(found.pitch[0].median()) * 2 ** (semitones / 12), 1),
        "loudness of the note (dB, median)": round(float(found.loudness[0].median()), 1),
        "loudness heard (dB, median)": round(float(found.loudness[1].median()), 1),
    }
    return (
        f'<div class="lab-sounds">{heard}</div>',
        figures.spectrograms(found.levels, found.rate, found.hop, title=title, theme=theme),
        figures.profile(found.harmonics, found.amplitude, found.noise, theme=theme),
        numbers,
    )


def sound(note, file) -> torch.Tensor:
    """The samples to rebuild, at the rate of the kept network."""
    net = study.trained()
    if file is None:
        return study.examples().x[NOTES[note]]
    x = Sound(torch.from_numpy(file.data), round(1 / file.spacing[0])).at(net.rate).x[: int(LONGEST * net.rate)]
    if len(x) < 20 * net.hop:
        raise ValueError(f"the sound lasts {len(x) / net.rate:.2f} s; at least 0.2 s are needed")
    return x
