"""A sound as a player that carries it: heard on a page, in a notebook and in a report."""

from __future__ import annotations

import base64
from html import escape

from lab.datasets.sounds import wav_bytes

MOST_SECONDS = 30.0


def player(x, rate: int, label: str = "") -> str:
    """HTML of a player for samples ``x`` in [-1, 1]; louder ones are divided by their peak and the label says so.

    Raises:
        ValueError: more than 30 seconds.
    """
    if len(x) > MOST_SECONDS * rate:
        raise ValueError(f"a player holds at most {MOST_SECONDS:g} s of sound, got {len(x) / rate:.0f} s")
    peak = float(abs(x).max())
    if peak > 1:
        x, label = x / peak, f"{label} (turned down by a factor of {peak:.2g})"
    code = base64.b64encode(wav_bytes(x, rate)).decode()
    label = escape(label)
    player = f'<audio controls aria-label="{label}" src="data:audio/wav;base64,{code}"></audio>'
    return f"<figure><figcaption>{label}</figcaption>{player}</figure>"
