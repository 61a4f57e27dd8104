"""Oscillators, noise, rooms and measures of sound: closed forms, gradients, own sounds, saved networks, refusals."""

import subprocess
import sys

import pytest
import torch

from lab.datasets import Sound, load, wav_bytes
from lab.generative import audio, ddsp
from lab.generative.instruments import collection, notes
from lab.generative.studies import ddsp as study
from lab.source import project_root

RATE, HOP = 8000, 80
DOUBLE = torch.float64


def test_oscillators_equal_sinusoids_in_both_precisions():
    n = torch.arange(1, 1601, dtype=DOUBLE)
    for dtype, tolerance in ((torch.float32, 2e-5), (DOUBLE, 1e-9)):
        f0 = torch.full((2, 20), 200.0, dtype=dtype)
        found = ddsp.HarmonicSynth(RATE, HOP)(f0, torch.ones_like(f0), torch.eye(5, dtype=dtype)[2].expand(2, 20, 5))
        assert found.dtype == dtype and found.shape == (2, 1600)
        assert torch.allclose(found[1].double(), torch.sin(2 * torch.pi * 600 * n / RATE), atol=tolerance)


def test_harmonics_above_half_the_rate_are_silent_and_the_rest_keep_the_sum():
    f0 = torch.tensor([[500.0, 1500.0, 3999.0, 5000.0]])
    share = ddsp.normalized(torch.ones(1, 4, 10), f0, RATE)[0]
    assert (share > 0).sum(1).tolist() == [7, 2, 1, 0] and torch.allclose(share.sum(1), torch.tensor([1.0, 1, 1, 0]))


def test_gradients_of_all_blocks():
    generator = torch.Generator().manual_seed(0)
    f0 = (200 + 20 * torch.rand(1, 3, generator=generator, dtype=DOUBLE)).requires_grad_()
    size = torch.rand(1, 3, generator=generator, dtype=DOUBLE).requires_grad_()
    harmonics = (0.1 + torch.rand(1, 3, 4, generator=generator, dtype=DOUBLE)).requires_grad_()
    assert torch.autograd.gradcheck(ddsp.HarmonicSynth(1000, 4), (f0, size, harmonics))
    noise = torch.rand(1, 3, 4, generator=generator, dtype=DOUBLE)
    bands = torch.rand(1, 3, 5, generator=generator, dtype=DOUBLE).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: ddsp.FilteredNoise(4)(m, noise=noise), (bands,))
    x, taps = (torch.randn(*shape, generator=generator, dtype=DOUBLE).requires_grad_() for shape in ((2, 9), (4,)))
    assert torch.autograd.gradcheck(ddsp.convolved, (x, taps))


def test_upsampling_passes_through_its_frames_and_smooth_weights_sum_to_one():
    track = torch.tensor([[0.0, 1.0, 3.0]])
    for smooth in (False, True):
        up = ddsp.upsample(track, 4, smooth=smooth)
        assert up[0, ::4].tolist() == [0, 1, 3] and up.shape == (1, 12)
        assert torch.allclose(ddsp.upsample(torch.ones(1, 3, 2), 4, smooth=smooth), torch.ones(1, 12, 2))


def test_filtered_noise_has_the_bands_asked_for():
    bands = torch.zeros(1, 200, 33)
    bands[..., 8:16] = 1
    x = ddsp.FilteredNoise(HOP)(bands, torch.Generator().manual_seed(0))
    power = torch.fft.rfft(x[0]).abs().square()
    low, high = int(7 / 64 * len(x[0])), int(16 / 64 * len(x[0]))
    assert power[low:high].sum() / power.sum() > 0.97


def test_a_room_is_a_convolution_and_its_first_tap_is_silent():
    room = ddsp.FIRReverb(3)
    with torch.no_grad():
        room.taps.copy_(torch.tensor([9.0, 0.5, 0.25]))
    x = torch.tensor([[1.0, 0, 0, 2]])
    assert torch.allclose(room(x), torch.tensor([[1.0, 0.5, 0.25, 2.0]]), atol=1e-6)
    assert torch.allclose(room(x, wet=0.0), x)


def test_pitch_and_loudness_of_tones():
    t = torch.arange(RATE) / RATE
    f = torch.tensor([110.0, 233.1, 440.0, 880.0])
    x = torch.sin(2 * torch.pi * f[:, None] * t) + 0.5 * torch.sin(4 * torch.pi * f[:, None] * t)
    found = audio.pitch(x, RATE, HOP)[:, 20:80]
    assert (audio.semitones(found, f[:, None]).abs() < 0.15).all()
    loud = audio.loudness(torch.sin(2 * torch.pi * 1000 * t)[None] * torch.tensor([[1.0], [0.1]]), RATE, HOP)[:, 50]
    assert loud.tolist() == pytest.approx([-3.01, -23.01], abs=0.1)
    assert float(audio.a_weighting(torch.tensor([1000.0]))) == pytest.approx(0, abs=0.01)
    assert float(audio.a_weighting(torch.tensor([100.0]))) == pytest.approx(-19.1, abs=0.1)  # IEC 61672, table
    assert (
        audio.loudness(torch.zeros(1, 800), RATE, HOP).eq(-80).all()
        and audio.pitch(torch.zeros(1, 800), RATE, HOP).isfinite().all()
    )


def test_cepstrum_is_the_cosine_transform_of_log_mel_powers():
    from scipy import fft

    x = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    full = audio.cepstrum(x, RATE, HOP, count=40)
    back = fft.idct(full[0].numpy(), norm="ortho", axis=1)
    assert torch.allclose(audio.cepstrum(x, RATE, HOP, count=5), full[..., :5], atol=1e-4)
    assert abs(fft.dct(back, norm="ortho", axis=1) - full[0].numpy()).max() < 1e-3


def test_the_spectral_loss_is_blind_to_phase_and_zero_for_equal_sounds():
    t = torch.arange(4000) / RATE
    x, y = torch.sin(2 * torch.pi * 300 * t)[None], torch.cos(2 * torch.pi * 300 * t)[None]
    z = torch.sin(2 * torch.pi * 450 * t)[None]
    near, far = audio.spectral_distance(x, y), audio.spectral_distance(x, z)
    assert audio.spectral_distance(x, x) == 0 and near < far / 3


def test_instruments_sound_their_pitch():
    found = notes([0, 1, 0, 1], [150.0, 150.0, 330.0, 330.0], [0.5, 0.9, 0.2, 0.6], seconds=0.5)
    heard = audio.pitch(found.x, RATE, HOP)[:, 15:40].median(1).values
    assert (audio.semitones(heard, found.frequency).abs() < 1).all() and found.x.abs().max() <= 0.9 + 1e-6
    spectrum = study.loudness_profile(found.x, audio.pitch(found.x, RATE, HOP), study.Setting())
    assert spectrum[1, 0] - spectrum[1, 1] > 10  # a closed bore has no even harmonics
    with pytest.raises(ValueError, match="a sixth of the rate"):
        notes([0], [3000.0], [0.5])


def test_training_lowers_the_loss_and_a_saved_network_plays_the_same_elsewhere(tmp_path):
    train, held = collection(8, 2)
    net = ddsp.Autoencoder(harmonics=10, bands=9, width=16, layers=1)
    losses = ddsp.train(net, train.x, steps=12, batch=4)
    assert losses[-3:].mean() < losses[:3].mean()
    controls = net.controls(held.x)
    with torch.no_grad():
        made = net(controls, torch.Generator().manual_seed(1))
    net.save(tmp_path / "net.pt")
    torch.save(held.x, tmp_path / "x.pt")
    code = (
        "import sys, torch; from lab.generative.ddsp import Autoencoder; f = sys.argv[1]; net = Autoencoder.load(f + '/net.pt');"
        "x = torch.load(f + '/x.pt', weights_only=True);"
        "torch.save(net(net.controls(x), torch.Generator().manual_seed(1)).detach(), f + '/made.pt')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert torch.allclose(torch.load(tmp_path / "made.pt", weights_only=True), made, atol=1e-5)
    up = controls.changed(semitones=12, decibels=-200)
    assert torch.allclose(up.f0, 2 * controls.f0) and up.loudness.eq(-80).all()


def test_own_sounds_run_through_the_study_and_results_come_back(tmp_path):
    for k in range(20):
        (tmp_path / f"{k:02d}.wav").write_bytes(wav_bytes(collection(4, 2, seed=k)[0].x[k % 4], RATE))
    result = study.run(study.Setting.of("smoke"), seeds=(0,), data=load(tmp_path))
    assert result.x.shape == (4, 4000) and set(result.distance) >= {"autoencoder", "silence"}
    result.save(tmp_path / "result.pt")
    again = study.Result.load(tmp_path / "result.pt")
    assert torch.equal(again.distance["autoencoder"], result.distance["autoencoder"])
    assert len(result.to_frame()) == len(result.distance)
    with pytest.raises(ValueError, match="at least 10 pieces"):
        study.run(study.Setting.of("smoke"), seeds=(0,), data=Sound(torch.rand(4000), RATE))


def test_the_kept_network_plays_a_user_file():
    sound = load(project_root() / "data" / "samples" / "pluck.wav").at(RATE)
    found = study.played(sound.x, semitones=5.0, noise=0.0, wet=0.3, timbre=-0.5)
    assert found.made.shape == found.x.shape and found.made.isfinite().all()
    assert abs(float(audio.semitones(found.pitch[1][10:30].median(), found.pitch[0][10:30].median())) - 5) < 1


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: ddsp.HarmonicSynth()(torch.ones(1, 3), torch.ones(1, 4), torch.ones(1, 3, 2)), "same shape"),
        (
            lambda: ddsp.HarmonicSynth()(torch.ones(1, 3), torch.ones(1, 3), torch.ones(1, 4, 2)),
            "harmonics must have shape",
        ),
        (lambda: ddsp.FilteredNoise()(torch.ones(3, 2)), "magnitudes must have 3 axes"),
        (lambda: ddsp.MultiScaleSpectralLoss()(torch.ones(1, 9), torch.ones(1, 8)), "same shape"),
        (lambda: ddsp.FIRReverb(1), "length"),
        (lambda: ddsp.train(ddsp.Autoencoder(), torch.full((2, 800), torch.nan)), "sounds must be finite"),
    ],
)
def test_bad_input_is_refused_in_words(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()
