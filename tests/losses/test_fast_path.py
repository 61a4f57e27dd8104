"""Timings of the fast path compare equal results; texture patches are described by waves, wherever they are cut."""

import pytest
import torch

import lab
from lab.losses.studies.common import spectra, table
from lab.losses.studies.fast_path import pixel_seconds, training_seconds, with_and_without


@pytest.fixture
def rows(generator):
    return torch.randn(80, 5, generator=generator), torch.arange(80) % 3


def test_both_forms_agree_before_they_are_timed(rows):
    whole = training_seconds("generalized-cross-entropy", *rows, models=2, epochs=1, width=8, rounds=1)
    pixels = pixel_seconds("ldr-kl", (1, 3, 8, 8), rounds=1)
    for one in (whole, pixels):
        assert one.ours > 0 and one.other > 0 and one.ratio == pytest.approx(one.other / one.ours)
        assert one.error < 1e-4


def test_a_form_with_other_results_is_not_timed(rows, monkeypatch):
    from lab.losses.studies import fast_path

    calls = iter(range(100))
    monkeypatch.setattr(fast_path, "by_name", lambda name, **options: lambda z, y: z.sum() * next(calls))
    with pytest.raises(ValueError, match="outputs differ"):
        pixel_seconds("cross-entropy", (1, 3, 4, 4), rounds=1)


def test_table_of_times_has_a_row_a_loss_and_leaves_out_losses_of_two_classes(rows, monkeypatch):
    from lab.losses.studies import fast_path

    one = pixel_seconds("cross-entropy", (1, 3, 4, 4), rounds=1)
    monkeypatch.setattr(fast_path, "training_seconds", lambda *_, **__: one)
    monkeypatch.setattr(fast_path, "pixel_seconds", lambda *_, **__: one)
    frame = with_and_without(["cross-entropy", "ensloss", "focal"], *rows)
    assert list(frame["loss"]) == ["cross-entropy", "focal"]
    assert (frame["training, ratio"] == one.ratio).all()


def test_spectra_do_not_depend_on_where_a_pattern_begins(generator):
    image = torch.randn(3, 12, 12, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(spectra(image), spectra(image.roll((2, 5), (1, 2))))
    assert not torch.allclose(spectra(image[:1]), spectra(image[1:2]))


def test_textures_are_a_classification_table():
    x, y = table(lab.datasets.load("textures"))
    assert x.shape == (1500, 84) and set(y.tolist()) == {0, 1, 2}
    assert torch.isfinite(x).all()
