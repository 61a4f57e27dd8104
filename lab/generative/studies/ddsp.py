"""Notes of strings and pipes rebuilt by oscillators and noise; pitch, loudness, timbre and room moved one by one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from pydantic import Field

from lab import study
from lab.datasets.sounds import Sound
from lab.generative import ddsp as model
from lab.generative.audio import loudness, magnitudes, pitch, semitones, spectral_distance
from lab.generative.instruments import collection
from lab.generative.studies.kept import Kept
from lab.source import project_root

ROOM_SECONDS = 0.25
_TRAINED = project_root() / "data" / "benchmarks" / "ddsp_autoencoder.pt"
EDGE = 8  # frames left out at both ends of a note where tracks are compared


class Setting(study.Setting):
    """Notes by physical modelling, an autoencoder trained on some of them and judged on the others."""

    rate: int = Field(8000, ge=4000, le=48_000, title="Samples a second")
    seconds: float = Field(0.5, ge=0.2, le=10.0, title="Length of a note in seconds")
    train: int = Field(48, ge=4, le=5000, title="Notes to learn from")
    held: int = Field(12, ge=2, le=500, title="Notes held out")
    harmonics: int = Field(30, ge=1, le=200, title="Harmonics")
    bands: int = Field(33, ge=3, le=257, title="Noise bands")
    width: int = Field(64, ge=8, le=1024, title="Width of the network")
    layers: int = Field(2, ge=1, le=4, title="Layers of a stack")
    steps: int = Field(400, ge=1, le=200_000, title="Training steps")
    batch: int = Field(12, ge=1, le=128, title="Notes a step")

    PROFILES: ClassVar = {
        "smoke": {"train": 6, "held": 4, "harmonics": 8, "bands": 9, "width": 16, "layers": 1, "steps": 3, "batch": 4},
        "full": {
            "rate": 16_000, "seconds": 4.0, "train": 1000, "held": 100, "harmonics": 100, "bands": 65, "width": 512, "layers": 3,
            "steps": 30_000, "batch": 32,
        },
    }  # fmt: skip

    @property
    def hop(self) -> int:
        """Samples between frames: a hundred frames a second."""
        return self.rate // 100


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """Held-out notes and what became of them; tracks are (notes, frames), sounds (notes, samples).

    ``distance[arm]`` (notes,) spectral distance to the note: the autoencoder, the network that emits samples, the nearest training
    note, silence. ``moved[what]`` holds measured changes, see :func:`manipulated`. ``kind`` tells the instrument.
    """

    x: torch.Tensor
    kind: torch.Tensor
    f0: torch.Tensor
    loudness: torch.Tensor
    made: dict[str, torch.Tensor]
    distance: dict[str, torch.Tensor]
    moved: dict[str, torch.Tensor]
    losses: dict[str, torch.Tensor]
    parameters: dict[str, int]
    rate: int

    def to_frame(self):
        """One row an arm: mean spectral distance on the notes held out, and its spread."""
        import pandas as pd

        rows = [
            {"arm": arm, "spectral distance": float(v.mean()), "spread": float(v.std())}
            for arm, v in self.distance.items()
        ]
        return pd.DataFrame(rows)


def autoencoder(setting, *, prior: bool = True, room: int = 0, seed: int = 0) -> model.Autoencoder:
    """The network of a setting."""
    sizes = {"harmonics": setting.harmonics, "bands": setting.bands, "width": setting.width, "layers": setting.layers}
    return model.Autoencoder(setting.rate, setting.hop, **sizes, prior=prior, room=room, seed=seed)


def notes_of(setting, data=None, seed: int = 0):
    """Notes to learn from and held out, (notes, samples), and instruments of the held-out ones; own sounds are cut into notes."""
    if data is None:
        found = collection(setting.train, setting.held, rate=setting.rate, seconds=setting.seconds, seed=seed)
        return found[0].x, found[1].x, found[1].kind, found[0].kind
    sounds = [data] if isinstance(data, Sound) else list(data)
    if not sounds or not all(isinstance(one, Sound) for one in sounds):
        raise ValueError("data must be a sound, or several: a WAV file or a folder of them")
    length = int(setting.rate * setting.seconds)
    pieces, kinds = [], []
    for place, one in enumerate(sounds):
        x = one.at(setting.rate).x
        cut = (
            x[: len(x) // length * length].reshape(-1, length)
            if len(x) >= length
            else torch.nn.functional.pad(x, (0, length - len(x)))[None]
        )
        loud = cut[cut.square().mean(1) > 1e-5]
        pieces.append(loud)
        kinds += [place % 2] * len(loud)
    x = torch.cat(pieces)
    if len(x) < 10:
        raise ValueError(
            f"data must hold at least 10 pieces of {setting.seconds:g} s that are not silent, got {len(x)}"
        )
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    held, kind = max(2, len(x) // 5), torch.tensor(kinds)[order]
    return x[order[held:]], x[order[:held]], kind[:held], kind[held:]


@study.remembered(size=6)
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """One autoencoder and one network without signal processing, both trained on the same notes; ``seeds[0]`` draws all of it.

    Controls: ``"shuffled"``: frames of the training notes in another order; ``"untrained"``: no training.
    """
    seed = seeds[0]
    train, x, kind, kinds = notes_of(setting, data, seed)
    arms, losses = {}, {}
    options = {
        "steps": 0 if control == "untrained" else setting.steps,
        "batch": setting.batch,
        "seed": seed,
        "shuffled": control == "shuffled",
    }
    for place, arm in enumerate(("autoencoder", "samples without a prior")):
        arms[arm] = autoencoder(setting, prior=place == 0, seed=seed)
        tell = (lambda done, of, place=place: progress(place * of + done, 2 * of)) if progress else None
        losses[arm] = model.train(arms[arm], train, progress=tell, **options)
    return judged(setting, arms, losses, train, x, kind, kinds)


@torch.no_grad()
def judged(setting, arms, losses, train, x, kind, kinds) -> Result:
    """Everything that is measured on notes held out."""
    frames = x.shape[1] // setting.hop
    x = x[:, : frames * setting.hop]
    made, distance = {}, {}
    generator = torch.Generator().manual_seed(0)
    for arm, net in arms.items():
        made[arm] = net(net.controls(x), generator)
        distance[arm] = spectral_distance(made[arm], x)
    nearest = train[:, : x.shape[1]]
    distance["nearest training note"] = torch.stack(
        [spectral_distance(nearest, one.expand_as(nearest)).min() for one in x]
    )
    distance["silence"] = spectral_distance(torch.zeros_like(x), x)
    f0, loud = pitch(x, setting.rate, setting.hop), loudness(x, setting.rate, setting.hop)
    return Result(
        x, kind, f0, loud, made, distance, manipulated(setting, arms, train, x, kind, kinds), losses,
        {arm: sum(p.numel() for p in one.parameters()) for arm, one in arms.items()}, setting.rate,
    )  # fmt: skip


@torch.no_grad()
def manipulated(setting, arms, train, x, kind, kinds) -> dict[str, torch.Tensor]:
    """What is measured when one control moves, a value a note (medians over the middle frames of the note):

    - ``"pitch after pitch"``, ``"loudness after pitch"``: error in semitones against the pitch asked for and change of loudness in
      dB, when f0 rises by four semitones; ``"pitch unmoved"``: that error before the change;
    - ``"loudness after loudness"``, ``"pitch after loudness"``: error in dB of the change against the 6 dB less asked for,
      change in semitones;
    - ``"octave, autoencoder"``, ``"octave, samples without a prior"``: error in semitones one octave up, beyond all training notes;
    - ``"timbre"``: with the latent of the other instrument, distance of the profile to the own instrument less to the other.
    """
    rate, hop = setting.rate, setting.hop
    middle = slice(EDGE, max(EDGE + 1, x.shape[1] // hop - EDGE))
    generator = torch.Generator().manual_seed(1)
    median = lambda track: track[:, middle].median(1).values  # noqa: E731
    heard = lambda sound: (pitch(sound, rate, hop, high=2500.0), loudness(sound, rate, hop))  # noqa: E731
    net, plain = arms["autoencoder"], arms["samples without a prior"]
    asked = net.controls(x)
    f0, loud = heard(net(asked, generator))
    up, quiet = asked.changed(semitones=4), asked.changed(decibels=-6)
    f_up, l_up = heard(net(up, generator))
    f_quiet, l_quiet = heard(net(quiet, generator))
    found = {
        "pitch after pitch": median(semitones(f_up, up.f0).abs()),
        "pitch unmoved": median(semitones(f0, up.f0).abs()),
        "loudness after pitch": median(l_up - loud).abs(),
        "loudness after loudness": (median(l_quiet - loud) + 6).abs(),
        "loudness unmoved": torch.full((len(x),), 6.0),
        "pitch after loudness": median(semitones(f_quiet, f0).abs()),
    }
    for arm, one in (("autoencoder", net), ("samples without a prior", plain)):
        own = one.controls(x).changed(semitones=12)
        found[f"octave, {arm}"] = median(semitones(heard(one(own, generator))[0], own.f0).abs())
    found["octave unmoved"] = median(semitones(f0, 2 * asked.f0).abs())
    profile = lambda sound: loudness_profile(sound, pitch(sound, rate, hop), setting)  # noqa: E731
    means = [profile(train[:, : x.shape[1]][kinds == k]).mean(0) for k in (0, 1)]
    latent = [net.controls(train[:, : x.shape[1]][kinds == k]).z.mean(0) for k in (0, 1)]
    for name, choice in (("timbre", 1 - kind), ("timbre unmoved", kind)):
        z = torch.stack([latent[int(k)] for k in choice])
        mine = profile(net(asked.changed(z=z), generator))
        far, near = (torch.stack([means[int(k)] for k in those]) for those in (kind, 1 - kind))
        found[name] = (mine - far).abs().mean(1) - (mine - near).abs().mean(1)
    return found


def loudness_profile(x: torch.Tensor, f0: torch.Tensor, setting, count: int = 8) -> torch.Tensor:
    """Levels of the first harmonics below the loudest, in dB (notes, count), over the middle of a note: its timbre."""
    spectrum = torch.stft(x, 1024, setting.hop, window=torch.hann_window(1024), center=True, return_complex=True).abs()
    spectrum = spectrum[..., : f0.shape[1]].transpose(1, 2)
    place = f0[..., None] * torch.arange(1, count + 1) * 1024 / setting.rate
    around = (place.round().long()[..., None] + torch.arange(-1, 2)).clamp(0, 512)
    level = spectrum.gather(2, around.flatten(2)).unflatten(2, (count, 3)).amax(-1)
    level = level[:, EDGE : max(EDGE + 1, level.shape[1] - EDGE)].square().mean(1).clamp_min(1e-8)
    decibels = 10 * level.log10()
    return (decibels - decibels.amax(1, keepdim=True)).clamp_min(-60)


@dataclass(frozen=True, eq=False)
class Rooms(Kept):
    """Learned rooms, a value a room: ``tail`` correlation of log energies with the true tail, distances to the dry notes of the wet
    and of the dereverberated notes, and to another instrument's notes in the true room of dry and of transferred ones."""

    tail: torch.Tensor
    wet: torch.Tensor
    dereverberated: torch.Tensor
    dry: torch.Tensor
    transferred: torch.Tensor
    envelope: torch.Tensor
    truth: torch.Tensor


def room(setting, seed: int) -> torch.Tensor:
    """A synthetic room: noise under an exponential decay by 60 dB within 0.25 s to 0.4 s, a first reflection after 5 ms."""
    generator = torch.Generator().manual_seed(10_000 + seed)
    n = torch.arange(int(ROOM_SECONDS * setting.rate))
    decay = 0.25 + 0.15 * torch.rand(1, generator=generator)
    taps = torch.randn(len(n), generator=generator) * 10 ** (-3 * n / (decay * setting.rate))
    taps[: setting.rate // 200] = 0
    return 0.6 * taps / taps.norm()


@study.remembered(size=6)
def rooms(setting, *, seeds, data=None, control=False, progress=None) -> Rooms:
    """Autoencoders with a room trained on notes of one instrument played in an unknown room, one a seed.

    Controls: ``"other room"``: another room is added to the dereverberated notes; ``"untrained"``: the room before training;
    ``"faint room"``: pipes are compared in the true room at a tenth of its level.
    """
    rows = []
    for place, seed in enumerate(seeds):
        found = collection(setting.train, setting.held, rate=setting.rate, seconds=setting.seconds, seed=seed)
        strings, pipes = found[0].x[found[0].kind == 0], found[1].x[found[1].kind == 1]
        held = found[1].x[found[1].kind == 0]
        truth = room(setting, seed)
        wet = strings + model.convolved(strings, truth)
        net = autoencoder(setting, room=len(truth), seed=seed)
        model.train(net, wet, steps=setting.steps, batch=setting.batch, seed=seed)
        with torch.no_grad():
            last = model.FIRReverb(len(truth), seed) if control == "untrained" else net.reverb
            learned = room(setting, seed + 5000) if control == "other room" or last is None else last.response()
            heard = held + model.convolved(held, truth)
            dry = net.dry(net.controls(heard), torch.Generator().manual_seed(seed))
            if control == "other room":
                dry = dry + model.convolved(dry, learned)
            there = pipes + model.convolved(pipes, truth) * (0.1 if control == "faint room" else 1.0)
            envelope = [energies(one, setting) for one in (learned, truth)]
            rows.append((
                torch.corrcoef(torch.stack(envelope))[0, 1], spectral_distance(heard, held).mean(),
                spectral_distance(dry, held).mean(),
                spectral_distance(pipes, there).mean(), spectral_distance(pipes + model.convolved(pipes, learned), there).mean(),
                *envelope,
            ))  # fmt: skip
        if progress is not None:
            progress(place + 1, len(seeds))
    return Rooms(*(torch.stack(column) for column in zip(*rows)))


def energies(taps: torch.Tensor, setting) -> torch.Tensor:
    """Energy in dB of a response in windows of 10 ms."""
    window = setting.rate // 100
    return 10 * taps[: len(taps) // window * window].reshape(-1, window).square().mean(1).clamp_min(1e-20).log10()


@dataclass(frozen=True, eq=False)
class Played:
    """A note and what became of it: sounds (samples,), tracks of pitch and loudness (frames,), mean controls of the note made."""

    x: torch.Tensor
    made: torch.Tensor
    pitch: tuple[torch.Tensor, ...]
    loudness: tuple[torch.Tensor, ...]
    levels: dict[str, torch.Tensor]
    amplitude: float
    harmonics: torch.Tensor
    noise: torch.Tensor
    rate: int
    hop: int


@torch.no_grad()
def played(x, *, semitones=0.0, decibels=0.0, timbre=0.0, noise=1.0, wet=0.0, net=None) -> Played:
    """A sound (samples,) rebuilt with its controls moved.

    ``timbre`` from 0, its own latent, to 1, the latent of a mean string or -1, that of a mean pipe; ``noise`` multiplies the noise,
    ``wet`` a synthetic room.
    """
    net = trained() if net is None else net
    x = x[: len(x) // net.hop * net.hop][None]
    asked = net.controls(x).changed(semitones=semitones, decibels=decibels)
    if timbre:
        z = asked.z + abs(timbre) * (latents()[0 if timbre > 0 else 1] - asked.z)
        asked = model.Controls(asked.f0, asked.loudness, z)
    amplitude, harmonics, bands = net.heads(asked)
    made = net.harmonic(asked.f0, amplitude, harmonics) + net.noise(noise * bands, torch.Generator().manual_seed(0))
    if wet:
        made = made + wet * model.convolved(made, room(Setting.of("default", rate=net.rate), 0))
    level = {
        name: 20 * magnitudes(one, 256, net.hop)[0].clamp_min(1e-4).log10()
        for name, one in (("the note", x), ("rebuilt", made))
    }
    tracks = [tuple(measure(one, net.rate, net.hop)[0] for one in (x, made)) for measure in (pitch, loudness)]
    share = model.normalized(harmonics, asked.f0, net.rate)[0].mean(0)
    return Played(
        x[0], made[0], tracks[0], tracks[1], level, float(amplitude.mean()), share, noise * bands[0].mean(0), net.rate, net.hop
    )  # fmt: skip


@lru_cache(maxsize=1)
def examples():
    """Notes that the kept autoencoder has not seen: those held out of its training."""
    setting = Setting.of("default")
    return collection(setting.train, setting.held, rate=setting.rate, seconds=setting.seconds)[1]


@lru_cache(maxsize=1)
@torch.no_grad()
def latents() -> tuple[torch.Tensor, torch.Tensor]:
    """Mean latents (1, 1, latent) of strings and pipes under the kept autoencoder."""
    found = examples()
    z = trained().controls(found.x).z
    return tuple(z[found.kind == k].mean((0, 1), keepdim=True) for k in (0, 1))  # type: ignore[return-value]


def keep_trained(progress=None) -> None:
    """Train the default autoencoder and keep it as the artefact that the page plays."""
    setting = Setting.of("default")
    net = autoencoder(setting)
    model.train(net, notes_of(setting)[0], steps=2 * setting.steps, batch=setting.batch, progress=progress)
    _TRAINED.parent.mkdir(parents=True, exist_ok=True)
    net.save(_TRAINED)


@lru_cache(maxsize=1)
def trained() -> model.Autoencoder:
    """The kept autoencoder of strings and pipes."""
    return model.Autoencoder.load(_TRAINED)
