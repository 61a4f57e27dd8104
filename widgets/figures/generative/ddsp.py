"""Sounds by their parts: spectrograms, profiles of harmonics, distances, changes asked for and heard, rooms."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from widgets.figures.theme import colours, figure, lines, template


def spectrograms(levels: dict, rate: int, hop: int, *, title: str = "", theme: str = "light") -> go.Figure:
    """Levels in dB (frequencies, frames) side by side, on one scale."""
    fig = make_subplots(1, len(levels), subplot_titles=list(levels), shared_yaxes=True, horizontal_spacing=0.03)
    top = max(float(one.max()) for one in levels.values())
    for k, one in enumerate(levels.values(), 1):
        heat = go.Heatmap(
            z=one.tolist(), x0=0, dx=hop / rate, y0=0, dy=rate / 2 / (one.shape[0] - 1), zmin=top - 70, zmax=top,
            showscale=k == len(levels), colorbar={"title": "dB", "thickness": 10},
        )  # fmt: skip
        fig.add_trace(heat, 1, k)
    fig.update_xaxes(title_text="time (s)")
    fig.update_yaxes(title_text="frequency (Hz)", col=1)
    fig.update_annotations(font_size=12)
    return fig.update_layout(template=template(theme), title_text=lines(title, 80), height=340, margin={"t": 70})


def profile(harmonics, amplitude: float, noise, *, theme: str = "light") -> go.Figure:
    """Mean amplitudes of the harmonics, and of the noise bands."""
    c = colours(theme)
    bars = go.Bar(
        x=list(range(1, len(harmonics) + 1)),
        y=(amplitude * harmonics).tolist(),
        name="harmonics",
        marker={"color": c.matched},
    )
    strongest = int(harmonics.argmax()) + 1
    share = float(harmonics[::2].sum() / harmonics.sum())
    title = f"Harmonic {strongest} is strongest; the odd ones carry {share:.0%}"
    fig = figure(bars, theme=theme, title=title, x="harmonic", y="amplitude", height=300)
    band = go.Scatter(
        x=[1 + k * (len(harmonics) - 1) / (len(noise) - 1) for k in range(len(noise))], y=noise.tolist(), name="noise",
        line={"color": c.series[0]},
    )  # fmt: skip
    return fig.add_trace(band)


def distances(result, *, theme: str = "light") -> go.Figure:
    """Spectral distance to the notes held out, one dot a note."""
    c = colours(theme)
    mean = {arm: float(v.mean()) for arm, v in result.distance.items()}
    arms = sorted(mean, key=mean.__getitem__, reverse=True)
    tones = {"autoencoder": c.matched, "samples without a prior": c.prediction}
    dots = go.Scatter(
        x=[float(v) for a in arms for v in result.distance[a]], y=[a for a in arms for _ in result.distance[a]], mode="markers",
        marker={"size": 8, "opacity": 0.7, "color": [tones.get(a, c.muted) for a in arms for _ in result.distance[a]]},
    )  # fmt: skip
    title = f"{arms[-1].capitalize()} comes to {mean[arms[-1]]:.1f}, {arms[-2]} to {mean[arms[-2]]:.1f}"
    fig = figure(dots, theme=theme, title=title, x="spectral distance to the note held out", height=300)
    return fig.update_layout(margin={"l": 170})


def training(result, *, theme: str = "light") -> go.Figure:
    """Losses over steps."""
    c = colours(theme)
    tones = (c.matched, c.prediction)
    traces = [
        go.Scatter(y=v.tolist(), name=arm, line={"color": tones[k % 2], "width": 1.5})
        for k, (arm, v) in enumerate(result.losses.items())
    ]
    return figure(
        *traces, theme=theme, title="The same loss, with and without oscillators", x="step", y="spectral loss"
    )


def changes(result, *, theme: str = "light") -> go.Figure:
    """Errors of what is heard after each change, a box a quantity."""
    c = colours(theme)
    names = {
        "pitch after pitch": "pitch +4 semitones: pitch error (semitones)",
        "pitch after loudness": "loudness −6 dB: pitch change (semitones)",
        "octave, autoencoder": "one octave up: pitch error (semitones)",
        "loudness after pitch": "pitch +4 semitones: loudness change (dB)",
        "loudness after loudness": "loudness −6 dB: loudness error (dB)",
    }
    boxes = [
        go.Box(
            x=result.moved[key].tolist(),
            name=lines(label, 26),
            marker={"color": c.series[k % 7]},
            boxpoints="all",
            showlegend=False,
        )
        for k, (key, label) in enumerate(names.items())
    ]
    worst = float(result.moved["octave, autoencoder"].median())
    title = f"An octave above its notes, the pitch is off by {worst:.2g} semitones (median)"
    fig = figure(*boxes, theme=theme, title=title, x="error", height=420)
    return fig.update_layout(margin={"l": 190})


def tails(rooms, *, theme: str = "light") -> go.Figure:
    """Energies of learned and true rooms over time, first room in full colour."""
    c = colours(theme)
    time = [10 * k for k in range(rooms.truth.shape[1])]
    traces = []
    for k in range(len(rooms.truth)):
        faint = {"opacity": 1.0 if k == 0 else 0.25, "showlegend": k == 0}
        traces.append(
            go.Scatter(
                x=time, y=rooms.truth[k].tolist(), name="true room", line={"color": c.reference, "dash": "dot"}, **faint
            )
        )
        traces.append(
            go.Scatter(x=time, y=rooms.envelope[k].tolist(), name="learned room", line={"color": c.matched}, **faint)
        )
    title = f"The learned tail correlates with the true one at {float(rooms.tail.mean()):.2f}"
    return figure(*traces, theme=theme, title=title, x="time (ms)", y="energy (dB)")
