"""Measurements of the statements about differentiable signal processing."""

from __future__ import annotations

import torch

from lab.claims import Effects, measures
from lab.generative import ddsp as model
from lab.generative.studies import ddsp as study

DOUBLE = torch.float64


@measures("ddsp.oscillator-is-exact")
def oscillator(trial):
    """Three harmonics under linear vibrato against sin of the summed frequency. Control: the phase 2 pi f(t) t."""
    rate, hop, frames = 8000, 80, 1000
    f0 = 220 + 10 * torch.sin(torch.arange(frames, dtype=DOUBLE) / 7)
    synth = model.HarmonicSynth(rate, hop)
    share = torch.tensor([0.5, 0.3, 0.2])
    found = synth(f0[None].float(), torch.ones(1, frames), share.expand(1, frames, 3))[0].double()
    track = model.upsample(f0.float()[None], hop)[0].double()
    turns = track * torch.arange(1, len(track) + 1) / rate if trial.control else track.cumsum(0) / rate
    wanted = sum(float(s) * torch.sin(2 * torch.pi * k * turns) for k, s in enumerate(share, 1))
    return Effects(float((found - wanted).abs().max()), {"samples": len(track)})


@measures("ddsp.no-aliases")
def aliases(trial):
    """Energy off the multiples of 700 Hz at 8,000 Hz with 30 harmonics, and lost amplitude. Control: twice the rate, decimated."""
    rate, frames, factor = 8000, 100, 2 if trial.control else 1
    synth = model.HarmonicSynth(rate * factor, 80 * factor)
    f0 = torch.full((1, frames), 700.0)
    found = synth(f0, torch.ones(1, frames), torch.ones(1, frames, 30))[0, factor - 1 :: factor].double()
    power = torch.fft.rfft(found).abs().square()
    on = torch.arange(700, len(power), 700)
    kept = power[on].sum() / power.sum()
    phase = 2 * torch.pi * 700 / 8000 * torch.arange(1, len(found) + 1, dtype=DOUBLE)
    size = sum(2 * (found * torch.sin(k * phase)).mean() for k in range(1, 6))
    return Effects([float(1 - kept), float((1 - size).abs()) / 1e3], {"sum of amplitudes": float(size)})


@measures("ddsp.gradients-are-exact")
def gradients(trial):
    """d/df0 and d/dA of a weighted sum of one sinusoid, against cosine and sine. Control: phase without gradient."""
    frames, hop, rate = 6, 40, 8000
    weight = torch.randn(frames * hop, generator=torch.Generator().manual_seed(trial.seeds[0]), dtype=DOUBLE)
    f0 = torch.tensor(300.0, dtype=DOUBLE, requires_grad=True)
    size = torch.tensor(0.7, dtype=DOUBLE, requires_grad=True)
    told = (f0.detach() if trial.control else f0).expand(1, frames)
    made = model.HarmonicSynth(rate, hop)(told, size.expand(1, frames), torch.ones(1, frames, 1, dtype=DOUBLE))[0]
    found = torch.autograd.grad((weight * made).sum(), (f0, size), allow_unused=True)
    n = torch.arange(1, len(weight) + 1, dtype=DOUBLE)
    phase = 2 * torch.pi * 300 * n / rate
    wanted = ((weight * 0.7 * torch.cos(phase) * 2 * torch.pi * n / rate).sum(), (weight * torch.sin(phase)).sum())
    errors = [abs(float(0 if a is None else a) - float(b)) / abs(float(b)) for a, b in zip(found, wanted)]
    return Effects(errors)


@measures("ddsp.noise-filter")
def noise_filter(trial):
    """Flat magnitudes and a room by direct sums. Control: a low-pass filter, a first tap of one."""
    generator = torch.Generator().manual_seed(trial.seeds[0])
    noise = torch.rand(2, 20, 80, generator=generator) * 2 - 1
    bands = torch.ones(2, 20, 33)
    if trial.control:
        bands[..., 16:] = 0
    flat = model.FilteredNoise(80)(bands, noise=noise)
    room = model.FIRReverb(50)
    with torch.no_grad():
        room.taps.copy_(torch.randn(50, generator=generator))
        dry = noise.flatten(1)
        wet = room(dry)
        taps = room.taps.clone()
        taps[0] = 1.0 if trial.control else 0.0
    wanted = (
        dry + torch.nn.functional.conv1d(torch.nn.functional.pad(dry[:, None], (49, 0)), taps.flip(0)[None, None])[:, 0]
    )
    return Effects([float((flat - dry).abs().max()), float((wet - wanted).abs().max())])


def _run(trial, control=False):
    setting = study.Setting.of(trial.budget, held=max(2, len(trial.seeds)))
    return study.run(setting, seeds=(0,), data=trial.data, control=control if trial.control else False)


def _notes(trial, values):
    """One value a replicate: the notes held out, as many as there are seeds."""
    return values[: len(trial.seeds)]


def _shown(result):
    return {arm: round(float(v.mean()), 3) for arm, v in result.distance.items()} | result.parameters


@measures("ddsp.better-than-samples", "ddsp.nsynth", stacked=True)
def over_samples(trial):
    """Log ratio of spectral distances. Control: frames of the training notes in another order."""
    result = _run(trial, "shuffled")
    clean = _run(trial) if not trial.control else study.run(
        study.Setting.of(trial.budget, held=max(2, len(trial.seeds))), seeds=(0,), data=trial.data
    )  # fmt: skip
    gain = (clean.distance["samples without a prior"] / result.distance["autoencoder"]).log()
    return Effects(_notes(trial, gain), _shown(result))


@measures("ddsp.better-than-memory", stacked=True)
def over_memory(trial):
    """Log ratio of spectral distances to the nearest training note's. Control: no training."""
    result = _run(trial, "untrained")
    gain = (result.distance["nearest training note"] / result.distance["autoencoder"]).log()
    return Effects(_notes(trial, gain), _shown(result))


@measures("ddsp.pitch-alone", stacked=True)
def pitch_alone(trial):
    """Errors after four semitones more, each over its tolerance. Control: the sound before the change."""
    moved = _run(trial).moved
    off = moved["pitch unmoved" if trial.control else "pitch after pitch"]
    return Effects(
        _notes(trial, torch.maximum(off / 0.5, moved["loudness after pitch"] / 3)),
        {"semitones": float(off.mean()), "dB": float(moved["loudness after pitch"].mean())},
    )


@measures("ddsp.loudness-alone", stacked=True)
def loudness_alone(trial):
    """Errors after 6 dB less, each over its tolerance. Control: the sound before the change."""
    moved = _run(trial).moved
    off = moved["loudness unmoved" if trial.control else "loudness after loudness"]
    return Effects(
        _notes(trial, torch.maximum(off / 3, moved["pitch after loudness"] / 0.5)),
        {"dB": float(off.mean()), "semitones": float(moved["pitch after loudness"].mean())},
    )


@measures("ddsp.octave-above", stacked=True)
def octave(trial):
    """Pitch error of samples less that of the autoencoder, an octave up. Control: the autoencoder stays at the note's pitch."""
    moved = _run(trial).moved
    own = moved["octave unmoved" if trial.control else "octave, autoencoder"]
    details = {arm: round(float(moved[arm].median()), 3) for arm in moved if arm.startswith("octave")}
    return Effects(_notes(trial, moved["octave, samples without a prior"] - own), details)


@measures("ddsp.timbre-transfer", stacked=True)
def timbre(trial):
    """Distance to the own profile less that to the other's, with the other's latent. Control: the own latent."""
    return Effects(_notes(trial, _run(trial).moved["timbre unmoved" if trial.control else "timbre"]))


def _rooms(trial, control):
    return study.rooms(study.Setting.of(trial.budget), seeds=trial.seeds, control=control if trial.control else False)


@measures("ddsp.dereverberation", stacked=True)
def dereverberation(trial):
    """Log ratio of distances to the dry notes. Control: another room added."""
    found = _rooms(trial, "other room")
    return Effects((found.wet / found.dereverberated).log(), {"recorded": float(found.wet.mean())})


@measures("ddsp.room-is-found", stacked=True)
def room_found(trial):
    """Correlation of the energies of the learned and the true tail. Control: the room before training."""
    return Effects(_rooms(trial, "untrained").tail)


@measures("ddsp.room-transfer", stacked=True)
def room_transfer(trial):
    """Log ratio of distances of pipes to pipes in the true room. Control: that room at a tenth of its level."""
    found = _rooms(trial, "faint room")
    return Effects(
        (found.dry / found.transferred).log(),
        {"dry": float(found.dry.mean()), "transferred": float(found.transferred.mean())},
    )
