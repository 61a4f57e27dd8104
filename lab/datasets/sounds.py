"""Sound files: RIFF/WAVE read with every size checked against the file, and written.

A stranger's file is hostile: declared sizes are compared with what is there before anything is allocated, formats other than plain
samples are refused, and several channels are mixed into one with a note.
"""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lab import checks

MOST_SECONDS, RATES = 600.0, (1_000, 384_000)
_PLAIN, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE


@dataclass(frozen=True, eq=False)
class Sound:
    """One channel of samples in [-1, 1] at ``rate`` samples a second; ``notes`` say what reading did."""

    x: torch.Tensor
    rate: int
    name: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "x", checks.tensor("x", self.x, ndim=1).float())
        checks.integer("rate", self.rate, low=RATES[0], high=RATES[1])

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        from lab.datasets.sets import described

        return described("Sound", self.name, f"{len(self.x) / self.rate:.2f} s at {self.rate} Hz", self.notes)

    def at(self, rate: int) -> Sound:
        """The same sound at another rate, by a polyphase filter."""
        rate = checks.integer("rate", rate, low=RATES[0], high=RATES[1])
        if rate == self.rate:
            return self
        from scipy import signal

        common = int(np.gcd(rate, self.rate))
        x = signal.resample_poly(self.x.double().numpy(), rate // common, self.rate // common)
        note = f"resampled from {self.rate} to {rate} Hz"
        return Sound(torch.from_numpy(np.ascontiguousarray(x)).float(), rate, self.name, (*self.notes, note))

    def save(self, path: str | os.PathLike) -> None:
        """Write 16-bit samples."""
        Path(path).write_bytes(wav_bytes(self.x, self.rate))


def read_wav(path: str | os.PathLike, *, max_bytes: int = 2**30) -> Sound:
    """The sound of a WAV file.

    Raises:
        ValueError: no RIFF/WAVE file, a truncated or contradictory one, compressed samples, more than ten minutes or ``max_bytes``.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > max_bytes:
        raise ValueError(f"{path.name} has {size} bytes, more than the limit of {max_bytes}")
    raw = path.read_bytes()
    if len(raw) < 12 or raw[:4] != b"RIFF" or raw[8:12] != b"WAVE":
        raise ValueError(f"{path.name} is no RIFF/WAVE file")
    shape, samples, place = None, None, 12
    while place + 8 <= len(raw) and samples is None:
        tag, length = raw[place : place + 4], struct.unpack_from("<I", raw, place + 4)[0]
        start, place = place + 8, place + 8 + length + length % 2
        if start + length > len(raw):
            raise ValueError(
                f"{path.name} is truncated: its part {tag!r} states {length} bytes, {len(raw) - start} are there"
            )
        if tag == b"fmt ":
            shape = _format(path.name, raw[start : start + length])
        elif tag == b"data":
            if shape is None:
                raise ValueError(f"{path.name} has samples before their format")
            samples = raw[start : start + length]
    if shape is None or samples is None:
        raise ValueError(f"{path.name} holds no samples")
    kind, channels, rate, bits = shape
    width = bits // 8
    count = len(samples) // (width * channels)
    if count == 0:
        raise ValueError(f"{path.name} is empty")
    if count / rate > MOST_SECONDS or count * channels * 8 > max_bytes:
        raise ValueError(f"{path.name} lasts {count / rate:.0f} s, more than the {MOST_SECONDS:.0f} s that are read")
    values = _values(samples[: count * width * channels], kind, bits).reshape(count, channels)
    if not np.isfinite(values).all():
        raise ValueError(f"{path.name} has samples that are NaN or infinite")
    notes = [f"{channels} channels mixed into one"] if channels > 1 else []
    if len(samples) % (width * channels):
        notes.append("an incomplete last sample left out")
    values = values.mean(1)
    peak = float(np.abs(values).max())
    if peak > 1:
        values = values / peak
        notes.append(f"divided by its peak of {peak:.3g}")
    return Sound(torch.from_numpy(values).float(), rate, path.stem, tuple(notes))


def wav_bytes(x, rate: int) -> bytes:
    """A 16-bit WAV file of one channel; samples beyond [-1, 1] are refused."""
    x = checks.tensor("x", x, ndim=1).detach().double().cpu()
    rate = checks.integer("rate", rate, low=RATES[0], high=RATES[1])
    peak = float(x.abs().max())
    if peak > 1:
        raise ValueError(f"x must lie in [-1, 1], got a peak of {peak:.3g}; divide by it first")
    body = (x * 32767).round().to(torch.int16).numpy().astype("<i2").tobytes()
    out = io.BytesIO()
    out.write(b"RIFF" + struct.pack("<I", 36 + len(body)) + b"WAVEfmt ")
    out.write(
        struct.pack("<IHHIIHH", 16, _PLAIN, 1, rate, 2 * rate, 2, 16) + b"data" + struct.pack("<I", len(body)) + body
    )
    return out.getvalue()


def _format(name, part):
    if len(part) < 16:
        raise ValueError(f"{name} has a format of {len(part)} bytes, 16 are needed")
    kind, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", part)
    if kind == _EXTENSIBLE and len(part) >= 26:
        kind = struct.unpack_from("<H", part, 24)[0]
    if (kind, bits) not in {(_PLAIN, 8), (_PLAIN, 16), (_PLAIN, 24), (_PLAIN, 32), (_FLOAT, 32), (_FLOAT, 64)}:
        raise ValueError(
            f"{name} holds samples of format {kind} with {bits} bits; plain samples of 8 to 32 bits or floats are read"
        )
    if not 1 <= channels <= 32 or not RATES[0] <= rate <= RATES[1] or block != channels * bits // 8:
        raise ValueError(f"{name} states {channels} channels at {rate} Hz in blocks of {block} bytes, which cannot be")
    return kind, channels, rate, bits


def _values(raw, kind, bits):
    if kind == _FLOAT:
        return np.frombuffer(raw, f"<f{bits // 8}").astype(np.float64)
    if bits == 8:
        return (np.frombuffer(raw, np.uint8).astype(np.float64) - 128) / 128
    if bits == 24:
        parts = np.frombuffer(raw, np.uint8).reshape(-1, 3).astype(np.int32)
        whole = parts[:, 0] | parts[:, 1] << 8 | parts[:, 2] << 16
        return (whole - ((whole & 0x800000) << 1)) / 2**23
    return np.frombuffer(raw, f"<i{bits // 8}").astype(np.float64) / 2 ** (bits - 1)
