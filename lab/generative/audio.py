r"""Measures of sound: spectrograms and their loss, A-weighted loudness, fundamental frequency, cepstral coefficients.

Sounds are float tensors (batch, samples); tracks have one value a frame, (batch, frames), a frame every ``hop`` samples.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from lab import checks

SIZES = (1024, 512, 256, 128, 64)
LOG_FLOOR, QUIET = 1e-5, -80.0


def magnitudes(x: torch.Tensor, size: int, hop: int | None = None) -> torch.Tensor:
    """Magnitudes |STFT| (batch, frequencies, frames) with a Hann window of ``size`` and three quarters of overlap."""
    window = torch.hann_window(size, dtype=x.dtype, device=x.device)
    padded = F.pad(x, (0, max(0, size - x.shape[-1])))
    spectrum = torch.stft(
        padded, size, hop or size // 4, window=window, center=True, pad_mode="constant", return_complex=True
    )
    return (
        spectrum.abs()
        if not spectrum.requires_grad
        else (spectrum.real.square() + spectrum.imag.square() + 1e-12).sqrt()
    )


def spectral_distance(x: torch.Tensor, y: torch.Tensor, sizes=SIZES, weight: float = 1.0) -> torch.Tensor:
    r"""The multi-scale spectral loss (batch,): sum over sizes of mean |S - S'| + weight mean |log S - log S'|.

    S are magnitudes, floored at 1e-5 in the logarithm. Phase-blind. Source: Engel et al. 2020, section 4.2.
    """
    total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for size in sizes:
        a, b = magnitudes(x, size), magnitudes(y, size)
        logs = (a.clamp_min(LOG_FLOOR).log() - b.clamp_min(LOG_FLOOR).log()).abs()
        total = total + (a - b).abs().mean((1, 2)) + weight * logs.mean((1, 2))
    return total


def a_weighting(frequency: torch.Tensor) -> torch.Tensor:
    """Gain in dB of the A curve of IEC 61672 at ``frequency`` in Hz; 0 at 1000 Hz to a hundredth."""
    f = frequency.double().square().clamp_min(1e-6)
    top = 12194.0**2 * f.square()
    below = (f + 20.6**2) * (f + 12194.0**2) * ((f + 107.7**2) * (f + 737.9**2)).sqrt()
    return 20 * (top / below).log10() + 2.0


def loudness(x: torch.Tensor, rate: int, hop: int, size: int = 512) -> torch.Tensor:
    """A-weighted log power in dB (batch, samples // hop), floored at -80; a full-scale sine of 1000 Hz has about -3."""
    window = torch.hann_window(size, dtype=x.dtype, device=x.device)
    spectrum = torch.stft(
        F.pad(x, (0, size)), size, hop, window=window, center=True, pad_mode="constant", return_complex=True
    )
    frequency = torch.arange(size // 2 + 1, device=x.device) * rate / size
    gain = (10 ** (a_weighting(frequency) / 10)).to(x.dtype)
    power = (spectrum.abs().square() * gain[:, None]).sum(1) * 2 / (size * window.square().sum())
    return (10 * power.clamp_min(1e-12).log10()).clamp_min(QUIET)[:, : x.shape[-1] // hop]


def pitch(
    x: torch.Tensor, rate: int, hop: int, *, low: float = 80.0, high: float = 1000.0, size: int = 1024
) -> torch.Tensor:
    """Fundamental frequency in Hz (batch, samples // hop) by the normalized difference function of YIN.

    The first dip below a tenth, else the deepest one, with a parabola through its neighbours. Source: A. de Cheveigne,
    H. Kawahara, 'YIN, a fundamental frequency estimator for speech and music', Journal of the Acoustical Society of America 2002.
    """
    least, most = max(2, int(rate / high) - 1), min(int(rate / low) + 2, size // 2)
    frames = F.pad(x.double(), (size // 2, size)).unfold(-1, size, hop)[:, : x.shape[-1] // hop]
    half = size - most
    spectrum = torch.fft.rfft(frames, 2 * size)
    short = torch.fft.rfft(frames[..., :half], 2 * size)
    product = torch.fft.irfft(spectrum * short.conj(), 2 * size)[..., : most + 1]
    energy = F.pad(frames.square().cumsum(-1), (1, 0))
    lag = torch.arange(most + 1)
    moved = energy[..., lag + half] - energy[..., lag]
    difference = (moved[..., :1] + moved - 2 * product).clamp_min(0)
    mean = difference.cumsum(-1) / lag.clamp_min(1)
    curve = (difference / mean.clamp_min(1e-12))[..., least : most + 1]
    curve = torch.where(mean[..., least : most + 1] > 1e-12, curve, torch.ones_like(curve))
    dip = (curve[..., 1:-1] <= curve[..., :-2]) & (curve[..., 1:-1] < curve[..., 2:])
    clear = dip & (curve[..., 1:-1] < 0.1)
    first = clear.float().argmax(-1)
    deepest = torch.where(dip, curve[..., 1:-1], torch.full_like(curve[..., 1:-1], 2.0)).argmin(-1)
    at = torch.where(clear.any(-1), first, deepest) + 1
    a, b, c = (curve.gather(-1, (at + shift)[..., None])[..., 0] for shift in (-1, 0, 1))
    shift = (0.5 * (a - c) / (a - 2 * b + c).where((a - 2 * b + c).abs() > 1e-12, torch.ones_like(a))).clamp(-0.5, 0.5)
    return (rate / (at + least + shift)).to(x.dtype)


def cepstrum(
    x: torch.Tensor, rate: int, hop: int, *, count: int = 20, bands: int = 40, size: int = 512
) -> torch.Tensor:
    """Mel-frequency cepstral coefficients (batch, frames, count), orthonormal cosine transform of log mel powers."""
    window = torch.hann_window(size, dtype=x.dtype, device=x.device)
    spectrum = torch.stft(
        F.pad(x, (0, size)), size, hop, window=window, center=True, pad_mode="constant", return_complex=True
    )
    power = spectrum.abs().square()[..., : x.shape[-1] // hop]
    mel = lambda f: 2595 * math.log10(1 + f / 700)  # noqa: E731
    points = 700 * (10 ** (torch.linspace(mel(30.0), mel(rate / 2), bands + 2) / 2595) - 1)
    f = torch.arange(size // 2 + 1) * rate / size
    rise, fall = (f - points[:-2, None]) / points.diff()[:-1, None], (points[2:, None] - f) / points.diff()[1:, None]
    bank = torch.minimum(rise, fall).clamp_min(0).to(x)
    logs = (bank @ power).clamp_min(1e-8).log().transpose(1, 2)
    n = torch.arange(bands)
    basis = torch.cos(torch.pi / bands * (n + 0.5) * torch.arange(count)[:, None]) * math.sqrt(2 / bands)
    basis[0] /= math.sqrt(2)
    return logs @ basis.T.to(x)


def semitones(frequency: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Distance in semitones, 12 log2(frequency/reference)."""
    return 12 * (frequency / reference).log2()


def tone(value, name: str = "x") -> torch.Tensor:
    """Sounds as (batch, samples): one or several, floating."""
    x = checks.tensor(name, value, ndim=(1, 2), floating=True)
    return x if x.ndim == 2 else x[None]
