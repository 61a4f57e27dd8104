"""WAV files: what is written is read, every plain format, and what a stranger may send."""

import struct

import numpy as np
import pytest
import torch

from lab.datasets import load, read_wav, wav_bytes
from lab.source import project_root


def riff(*parts):
    body = b"".join(tag + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2) for tag, part in parts)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def form(kind=1, channels=1, rate=8000, bits=16):
    block = channels * bits // 8
    return struct.pack("<HHIIHH", kind, channels, rate, rate * block, block, bits)


@pytest.fixture
def put(tmp_path):
    def write(content, name="a.wav"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def test_written_sounds_come_back(put):
    x = torch.sin(torch.arange(400) / 5) * 0.7
    found = read_wav(put(wav_bytes(x, 11_025)))
    assert found.rate == 11_025 and torch.allclose(found.x, x, atol=2**-15) and not found.notes
    found.save(put(b"", "b.wav"))
    assert torch.allclose(load(put(b"", "b.wav").with_name("a.wav")).x, x, atol=2**-15)


@pytest.mark.parametrize("kind, bits", [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)])
def test_every_plain_format_is_read(put, kind, bits):
    x = np.array([0.0, 0.5, -0.5, 0.25])
    if kind == 3:
        raw = x.astype(f"<f{bits // 8}").tobytes()
    elif bits == 8:
        raw = (x * 128 + 128).astype(np.uint8).tobytes()
    else:
        raw = b"".join(int(v * 2 ** (bits - 1)).to_bytes(bits // 8, "little", signed=True) for v in x)
    assert np.allclose(read_wav(put(riff((b"fmt ", form(kind, 1, 8000, bits)), (b"data", raw)))).x, x)


def test_what_reading_does_is_said(put):
    raw = np.array([[1000, 3000], [-2000, -2000]], "<i2").tobytes() + b"\1"
    found = read_wav(put(riff((b"LIST", b"abc"), (b"fmt ", form(channels=2)), (b"data", raw))))
    assert np.allclose(found.x, [2000 / 32768, -2000 / 32768]) and len(found.notes) == 2 and "mixed" in found.notes[0]
    loud = read_wav(put(riff((b"fmt ", form(3, 1, 8000, 32)), (b"data", np.array([4.0, -2], "<f4").tobytes()))))
    assert np.allclose(loud.x, [1, -0.5]) and "divided by its peak" in loud.notes[0]
    assert "resampled" in loud.at(16_000).notes[-1] and len(loud.at(16_000)) == 4
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(8000) / 8000)
    found = read_wav(put(wav_bytes(0.5 * tone, 8000))).at(16_000)
    assert torch.fft.rfft(found.x).abs().argmax() == 440


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "no RIFF"),
        (b"RIFF\x10\0\0\0AVI LIST", "no RIFF"),
        (riff((b"fmt ", form())), "holds no samples"),
        (riff((b"data", b"\0\0")), "before their format"),
        (riff((b"fmt ", form()), (b"data", b"")), "is empty"),
        (riff((b"fmt ", form()[:10]), (b"data", b"\0\0")), "format of 10 bytes"),
        (riff((b"fmt ", form(kind=2)), (b"data", b"\0\0")), "format 2 with 16 bits"),
        (riff((b"fmt ", form(channels=0)), (b"data", b"\0\0")), "cannot be"),
        (riff((b"fmt ", form(rate=0)), (b"data", b"\0\0")), "cannot be"),
        (riff((b"fmt ", form(rate=4_000_000_000 // 2)), (b"data", b"\0\0")), "cannot be"),
        (riff((b"fmt ", form(3, 1, 8000, 32)), (b"data", np.array([np.nan], "<f4").tobytes())), "NaN or infinite"),
        (riff((b"fmt ", form(rate=1000, bits=8)), (b"data", b"\0" * 700_000)), "more than the 600 s"),
        (riff((b"fmt ", form())) + b"data\xff\xff\xff\xff", "truncated"),
        (
            riff((b"fmt ", form())) + b"data" + struct.pack("<I", 2**31) + b"\0" * 10,
            "states 2147483648 bytes, 10 are there",
        ),
        (b"\x80\x04cos\nsystem\n", "no RIFF"),
    ],
)
def test_hostile_files_are_refused_in_words(put, content, words):
    with pytest.raises(ValueError, match=words):
        read_wav(put(content))


def test_folders_and_limits(put, tmp_path):
    for k in range(20):
        put(wav_bytes(torch.rand(4000), 8000), f"note_{k:02d}.wav")
    found = load(tmp_path)
    assert len(found) == 20 and [one.name for one in found][:2] == ["note_00", "note_01"]
    with pytest.raises(ValueError, match="more than the limit"):
        load(tmp_path, max_bytes=1000)
    with pytest.raises(ValueError, match="more than the limit"):
        read_wav(tmp_path / "note_00.wav", max_bytes=100)
    with pytest.raises(ValueError, match=r"must lie in \[-1, 1\]"):
        wav_bytes(torch.ones(3) * 2, 8000)


def test_the_sample_is_read():
    assert load(project_root() / "data" / "samples" / "pluck.wav").rate == 16_000
