r"""Differentiable digital signal processing: oscillators, filtered noise and a room as modules behind a small network.

Controls come frame by frame, sound comes sample by sample:

.. math:: x(n) = \sum_k A(n) c_k(n) \sin\Bigl(2\pi k \sum_{m\le n} f_0(m)/r\Bigr) + (\eta * h_n)(n), \qquad y = x + x * w,

c_k >= 0 sums to one over the harmonics below r/2, h_n is the impulse response of the frame's noise magnitudes, w a learned room
whose first tap is zero. The phase is accumulated in turns, in double precision, and wrapped, so that it does not drift. An
encoder reads a latent z from cepstral coefficients; a recurrent decoder turns (f0, loudness, z) into A, c and the noise magnitudes.
The loss compares spectrograms at several sizes.

Source: J. Engel, L. Hantrakul, C. Gu, A. Roberts, 'DDSP: Differentiable Digital Signal Processing', ICLR 2020, sections 3 and 4.
f0 is measured by autocorrelation (YIN) in place of a trained tracker; sizes are those of the setting, 48,000 samples of room, 100
harmonics and 65 bands in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from lab import checks
from lab.generative.audio import QUIET, SIZES, cepstrum, loudness, pitch, spectral_distance, tone

LATENT = 8
COEFFICIENTS = 20


def exp_sigmoid(x: torch.Tensor) -> torch.Tensor:
    """2 sigmoid(x)^log(10) + 1e-7: positive, at most 2, and exponential in the middle (equation 5)."""
    return 2 * torch.sigmoid(x) ** math.log(10) + 1e-7


def upsample(track: torch.Tensor, hop: int, *, smooth: bool = False) -> torch.Tensor:
    """A track (batch, frames, ...) at sample rate (batch, frames * hop, ...): linear, or ``smooth`` by Hann windows."""
    u = torch.arange(hop, dtype=track.dtype, device=track.device) / hop
    weight = torch.sin(torch.pi / 2 * u).square() if smooth else u
    weight = weight.reshape(1, 1, hop, *[1] * (track.ndim - 2))
    after = torch.cat([track[:, 1:], track[:, -1:]], 1)[:, :, None]
    return (track[:, :, None] + weight * (after - track[:, :, None])).flatten(1, 2)


class HarmonicSynth(nn.Module):
    """A bank of oscillators at the multiples of f0.

    ``forward(f0, amplitude, harmonics)`` with f0 in Hz and amplitude (batch, frames), harmonics (batch, frames, K) nonnegative,
    returns (batch, frames * hop). Harmonics at or above half the rate are silent, frame by frame before they are normalized and
    again sample by sample.
    """

    def __init__(self, rate: int = 8000, hop: int = 80):
        super().__init__()
        self.rate = checks.integer("rate", rate, low=1)
        self.hop = checks.integer("hop", hop, low=1)

    def forward(self, f0: torch.Tensor, amplitude: torch.Tensor, harmonics: torch.Tensor) -> torch.Tensor:
        f0, amplitude = (
            checks.tensor("f0", f0, ndim=2, floating=True),
            checks.tensor("amplitude", amplitude, ndim=2, floating=True),
        )
        harmonics = checks.tensor("harmonics", harmonics, shape=(*f0.shape, None), floating=True)
        checks.same_shape("f0", f0, "amplitude", amplitude)
        k = torch.arange(1, harmonics.shape[-1] + 1, device=f0.device)
        share = normalized(harmonics, f0, self.rate)
        track = upsample(f0, self.hop)
        turns = (track.double() / self.rate).cumsum(1)
        phase = torch.remainder(turns[..., None] * k, 1.0).to(f0.dtype)
        gain = upsample(amplitude[..., None] * share, self.hop, smooth=True)
        gain = gain * (track[..., None] * k < self.rate / 2)
        return (gain * torch.sin(2 * torch.pi * phase)).sum(-1)


def normalized(harmonics: torch.Tensor, f0: torch.Tensor, rate: int) -> torch.Tensor:
    """Harmonics (batch, frames, K) with those at or above rate/2 set to zero and a sum of one over the rest."""
    k = torch.arange(1, harmonics.shape[-1] + 1, device=f0.device)
    kept = harmonics * (f0[..., None] * k < rate / 2)
    return kept / kept.sum(-1, keepdim=True).clamp_min(1e-7)


class FilteredNoise(nn.Module):
    """Uniform noise through a filter that changes from frame to frame.

    ``forward(magnitudes, generator=None)`` with magnitudes (batch, frames, bands) at equal steps from 0 to half the rate returns
    (batch, frames * hop); the impulse responses are zero-phase under a Hann window, convolved frame by frame and added.
    """

    def __init__(self, hop: int = 80):
        super().__init__()
        self.hop = checks.integer("hop", hop, low=1)

    def forward(self, magnitudes: torch.Tensor, generator: torch.Generator | None = None, noise=None) -> torch.Tensor:
        magnitudes = checks.tensor("magnitudes", magnitudes, ndim=3, floating=True)
        batch, frames, _ = magnitudes.shape
        if noise is None:
            noise = torch.rand(batch, frames, self.hop, generator=generator, dtype=magnitudes.dtype) * 2 - 1
            noise = noise.to(magnitudes.device)
        response = impulse_response(magnitudes)
        length = response.shape[-1]
        size = self.hop + length - 1
        spectrum = torch.fft.rfft(noise, size) * torch.fft.rfft(response, size)
        parts = torch.fft.irfft(spectrum, size).transpose(1, 2)  # (batch, size, frames)
        total = F.fold(parts, (1, self.hop * (frames - 1) + size), (1, size), stride=(1, self.hop))[:, 0, 0]
        return total[:, length // 2 : length // 2 + frames * self.hop]  # the responses are centred


def impulse_response(magnitudes: torch.Tensor) -> torch.Tensor:
    """Zero-phase responses (..., 2 (bands - 1)) of magnitudes (..., bands), Hann-windowed around their middle."""
    response = torch.fft.irfft(
        magnitudes.to(torch.complex64 if magnitudes.dtype == torch.float32 else torch.complex128)
    )
    length = response.shape[-1]
    window = torch.hann_window(length, dtype=magnitudes.dtype, device=magnitudes.device)
    return torch.roll(response, length // 2, -1) * window


class FIRReverb(nn.Module):
    """A room: a learned impulse response of ``length`` samples, its first tap zero, added to the dry sound.

    It starts near zero (deviation 1e-6), as the paper's.
    """

    def __init__(self, length: int = 2000, seed: int = 0):
        super().__init__()
        self.length = checks.integer("length", length, low=2)
        start = torch.randn(self.length, generator=torch.Generator().manual_seed(seed))
        self.taps = nn.Parameter(1e-6 * start)

    def response(self) -> torch.Tensor:
        """The impulse response without the dry path."""
        return torch.cat([torch.zeros_like(self.taps[:1]), self.taps[1:]])

    def forward(self, x: torch.Tensor, wet: float = 1.0) -> torch.Tensor:
        return x + wet * convolved(x, self.response())


def convolved(x: torch.Tensor, response: torch.Tensor) -> torch.Tensor:
    """x (batch, samples) convolved with a response (taps,), cut to the length of x."""
    size = x.shape[-1] + len(response) - 1
    return torch.fft.irfft(torch.fft.rfft(x, size) * torch.fft.rfft(response, size), size)[:, : x.shape[-1]]


class MultiScaleSpectralLoss(nn.Module):
    """Mean over the batch of :func:`lab.generative.audio.spectral_distance`."""

    def __init__(self, sizes: tuple[int, ...] = SIZES, weight: float = 1.0):
        super().__init__()
        self.sizes, self.weight = tuple(sizes), weight

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        checks.same_shape("x", x, "y", y)
        return spectral_distance(x, y, self.sizes, self.weight).mean()


@dataclass(frozen=True, eq=False)
class Controls:
    """What a sound is made of, frame by frame: ``f0`` in Hz, ``loudness`` in dB (batch, frames), ``z`` (batch, frames, latent)."""

    f0: torch.Tensor
    loudness: torch.Tensor
    z: torch.Tensor

    def changed(self, *, semitones: float = 0.0, decibels: float = 0.0, z: torch.Tensor | None = None) -> Controls:
        """The same with pitch and loudness moved, or another latent."""
        return Controls(
            self.f0 * 2 ** (semitones / 12), (self.loudness + decibels).clamp_min(QUIET), self.z if z is None else z
        )


def _stack(inputs: int, width: int, layers: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for k in range(layers):
        parts += [nn.Linear(width if k else inputs, width), nn.LayerNorm(width), nn.LeakyReLU()]
    return nn.Sequential(*parts)


class Decoder(nn.Module):
    """(f0, loudness, z) -> heads of the sizes given: a stack for each input, a GRU, a stack (figure 5)."""

    def __init__(self, heads: tuple[int, ...], width: int = 64, layers: int = 2, latent: int = LATENT):
        super().__init__()
        self.heads = tuple(heads)
        self.entries = nn.ModuleList([_stack(size, width, layers) for size in (1, 1, latent)])
        self.recurrent = nn.GRU(3 * width, width, batch_first=True)
        self.exit = _stack(4 * width, width, layers)
        self.out = nn.Linear(width, sum(heads))

    def forward(self, controls: Controls) -> tuple[torch.Tensor, ...]:
        midi = (69 + 12 * (controls.f0 / 440).log2()) / 127
        inputs = (midi[..., None], (controls.loudness[..., None] - QUIET) / -QUIET, controls.z)
        read = torch.cat([entry(one) for entry, one in zip(self.entries, inputs)], -1)
        found = self.exit(torch.cat([self.recurrent(read)[0], read], -1))
        return self.out(found).split(self.heads, -1)


class Encoder(nn.Module):
    """Cepstral coefficients -> z (batch, frames, latent) by a GRU (the paper's z-encoder)."""

    def __init__(self, width: int = 32, latent: int = LATENT):
        super().__init__()
        self.norm = nn.LayerNorm(COEFFICIENTS)
        self.recurrent = nn.GRU(COEFFICIENTS, width, batch_first=True)
        self.out = nn.Linear(width, latent)

    def forward(self, coefficients: torch.Tensor) -> torch.Tensor:
        return self.out(self.recurrent(self.norm(coefficients))[0])


class Autoencoder(nn.Module):
    """Encoder, decoder, harmonic oscillators, filtered noise and an optional room.

    Args:
        rate, hop: samples a second, and between frames.
        harmonics, bands, width, layers: sizes.
        room: taps of a learned reverb, 0 for none.
        prior: ``False`` replaces the signal processing by a head that emits the samples of each frame (what it is compared with).
    """

    def __init__(
        self, rate: int = 8000, hop: int = 80, *, harmonics: int = 30, bands: int = 33, width: int = 64, layers: int = 2,
        room: int = 0, prior: bool = True, seed: int = 0,
    ):  # fmt: skip
        super().__init__()
        self.rate, self.hop, self.prior = rate, hop, prior
        self.sizes = {
            "harmonics": harmonics,
            "bands": bands,
            "width": width,
            "layers": layers,
            "room": room,
            "prior": prior,
        }
        with torch.random.fork_rng([]):
            torch.default_generator.manual_seed(seed)  # the CPU alone, and put back: no device of the user is seeded
            self.encoder = Encoder(max(16, width // 2))
            self.decoder = Decoder((1, harmonics, bands) if prior else (hop,), width, layers)
        self.harmonic, self.noise = HarmonicSynth(rate, hop), FilteredNoise(hop)
        self.reverb = FIRReverb(room, seed) if room else None

    def controls(self, x) -> Controls:
        """Pitch, loudness and latent of sounds (batch, samples) or (samples,)."""
        x = tone(x)
        found = self.measured(x)
        return Controls(found[0], found[1], self.encoder(found[2]))

    def measured(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """f0, loudness and cepstral coefficients; the part without weights."""
        with torch.no_grad():
            return (
                pitch(x, self.rate, self.hop),
                loudness(x, self.rate, self.hop),
                cepstrum(x, self.rate, self.hop, count=COEFFICIENTS),
            )

    def heads(self, controls: Controls) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Amplitude (batch, frames), harmonics (batch, frames, K) and noise magnitudes (batch, frames, bands)."""
        amplitude, harmonics, bands = self.decoder(controls)
        return exp_sigmoid(amplitude)[..., 0], exp_sigmoid(harmonics), exp_sigmoid(bands - 5)

    def dry(self, controls: Controls, generator: torch.Generator | None = None) -> torch.Tensor:
        """Sound (batch, samples) without the room."""
        if not self.prior:
            return self.decoder(controls)[0].flatten(1)
        amplitude, harmonics, bands = self.heads(controls)
        return self.harmonic(controls.f0, amplitude, harmonics) + self.noise(bands, generator)

    def forward(self, controls: Controls, generator: torch.Generator | None = None) -> torch.Tensor:
        x = self.dry(controls, generator)
        return x if self.reverb is None else self.reverb(x)

    def save(self, path) -> None:
        """Weights and sizes."""
        torch.save({"sizes": self.sizes, "rate": self.rate, "hop": self.hop, "weights": self.state_dict()}, path)

    @classmethod
    def load(cls, path) -> Autoencoder:
        """What :meth:`save` wrote; no code is run from the file."""
        kept = torch.load(path, weights_only=True)
        model = cls(kept["rate"], kept["hop"], **kept["sizes"])
        model.load_state_dict(kept["weights"])
        return model.eval()


def train(
    model: Autoencoder,
    sounds,
    *,
    steps: int = 300,
    batch: int = 12,
    rate: float = 3e-3,
    seed: int = 0,
    shuffled: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> torch.Tensor:
    """Adam on the spectral loss of random batches of ``sounds`` (notes, samples); gradients clipped at 3. Returns losses (steps,).

    ``shuffled`` hands the decoder the frames of each note in another order (a negative control).
    """
    x = tone(sounds, "sounds")
    steps, batch = checks.integer("steps", steps, low=0), checks.integer("batch", batch, low=1)
    f0, loud, coefficients = model.measured(x)
    x = x[:, : f0.shape[1] * model.hop]
    generator = torch.Generator().manual_seed(seed)
    if shuffled:
        order = torch.randperm(f0.shape[1], generator=generator)
        f0, loud, coefficients = f0[:, order], loud[:, order], coefficients[:, order]
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1), rate / 10)
    objective, losses = MultiScaleSpectralLoss(), []
    for k in range(steps):
        rows = torch.randint(len(x), (min(batch, len(x)),), generator=generator)
        made = model(Controls(f0[rows], loud[rows], model.encoder(coefficients[rows])), generator)
        loss = objective(made, x[rows])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
        if progress is not None:
            progress(k + 1, steps)
    model.eval()
    return torch.stack(losses) if losses else torch.zeros(0)
