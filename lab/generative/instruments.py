"""Notes of two instruments by physical modelling, which no harmonic model was built from: plucked strings and blown reed pipes.

- **string**: a delay loop of one period with a two-point loss filter, excited by a noise burst that is combed by the place of the
  pluck. Source: K. Karplus, A. Strong, 'Digital Synthesis of Plucked-String and Drum Timbres', Computer Music Journal 1983;
  D. Jaffe, J. Smith, 'Extensions of the Karplus-Strong Plucked-String Algorithm', ibid.
- **pipe**: a cylindrical bore closed by a reed: a delay of half a period, an inverting lossy end, and a reed whose opening follows
  the pressure difference. Source: M. McIntyre, R. Schumacher, J. Woodhouse, 'On the oscillations of musical instruments', JASA
  1983.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lab import checks

KINDS = ("string", "pipe")


@dataclass(frozen=True, eq=False)
class Notes:
    """Sounds (notes, samples) at ``rate``, which instrument, nominal frequency, strength of pluck or breath in [0, 1]."""

    x: torch.Tensor
    kind: torch.Tensor
    frequency: torch.Tensor
    strength: torch.Tensor
    rate: int


def notes(kind, frequency, strength, *, rate: int = 8000, seconds: float = 0.5, seed: int = 0) -> Notes:
    """One note for each entry of ``kind`` (0 string, 1 pipe), ``frequency`` in Hz and ``strength``; peaks follow the strength."""
    kind = checks.tensor("kind", kind, ndim=1).long()
    frequency, strength = (
        checks.tensor(n, v, shape=(len(kind),)).double() for n, v in (("frequency", frequency), ("strength", strength))
    )
    if not bool(((frequency > 20) & (frequency < rate / 6)).all()):
        raise ValueError(
            f"frequency must lie between 20 and a sixth of the rate, {rate / 6:.0f} Hz, got up to {float(frequency.max()):.0f}"
        )
    count, generator = int(seconds * rate), np.random.default_rng(seed)
    x = np.zeros((len(kind), count))
    for place in (kind == 0).nonzero()[:, 0].tolist():
        x[place] = _string(float(frequency[place]), float(strength[place]), rate, count, generator)
    pipes = (kind == 1).numpy()
    if pipes.any():
        x[pipes] = _pipes(frequency.numpy()[pipes], strength.numpy()[pipes], rate, count, generator)
    x *= (0.15 + 0.75 * strength.numpy())[:, None] / np.maximum(np.abs(x).max(1, keepdims=True), 1e-9)
    return Notes(torch.from_numpy(x).float(), kind, frequency.float(), strength.float(), rate)


def _string(f, strength, rate, count, generator):
    from scipy import signal

    period = rate / f - 0.5  # the loss filter delays by half a sample
    whole = int(period)
    part = period - whole
    burst = np.zeros(count)
    burst[: whole + 1] = generator.uniform(-1, 1, whole + 1)
    burst = signal.lfilter([0.2 + 0.8 * strength], [1, -(0.8 - 0.8 * strength)], burst)  # a hard pluck is bright
    comb = np.zeros(max(2, int(0.18 * period)) + 1)
    comb[0], comb[-1] = 1, -1
    loop = 0.5 * 0.996 ** (220 / f * 2) * np.convolve([1, 1], [1 - part, part])  # linear interpolation of the delay
    return signal.lfilter(
        signal.lfilter(comb, [1], np.eye(1, len(comb))[0]), np.concatenate([[1], np.zeros(whole - 1), -loop]), burst
    )


def _pipes(f, strength, rate, count, generator):
    """All pipes at once, a sample at a time."""
    delay = rate / (2 * f) - 1.0
    whole, part = delay.astype(int), delay - delay.astype(int)
    ring = np.zeros((len(f), whole.max() + 3))
    ring += 0.1 * generator.standard_normal(ring.shape)
    rows, last, out = np.arange(len(f)), np.zeros(len(f)), np.zeros((len(f), count))
    rise = np.minimum(1, np.arange(count) / (0.03 * rate))
    breath = (0.55 + 0.35 * strength)[:, None] * rise * (1 + 0.02 * generator.standard_normal((len(f), count)))
    size = ring.shape[1]
    for n in range(count):
        back = (1 - part) * ring[rows, (n - whole) % size] + part * ring[rows, (n - whole - 1) % size]
        bore = -0.95 * (0.5 * back + 0.5 * last)  # lossy, inverting open end
        last = back
        difference = bore - breath[:, n]
        reed = np.clip(0.7 - 0.3 * difference, -1.0, 1.0)
        ring[:, n % size] = breath[:, n] + difference * reed
        out[:, n] = ring[:, n % size]
    return out - out.mean(1, keepdims=True)


def collection(
    train: int = 48, held: int = 12, *, rate: int = 8000, seconds: float = 0.5, seed: int = 0
) -> tuple[Notes, Notes]:
    """Notes to learn from and notes held out, half of each instrument, 131 to 392 Hz (C3 to G4)."""
    generator = np.random.default_rng(seed)
    total = train + held
    kind = np.arange(total) % 2
    frequency = 131 * 3 ** generator.uniform(0, 1, total)
    found = notes(kind, frequency, generator.uniform(0, 1, total), rate=rate, seconds=seconds, seed=seed + 1)
    part = lambda rows: Notes(found.x[rows], found.kind[rows], found.frequency[rows], found.strength[rows], rate)  # noqa: E731
    return part(slice(0, train)), part(slice(train, total))
