"""One verb: own candidates and data in, a network ready to train out; and the same answer in another process."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from lab import search, training

OWN = {
    "skip": lambda w: nn.Identity(),
    "wide": lambda w: nn.Sequential(nn.Linear(w, 2 * w), nn.GELU(), nn.Linear(2 * w, w)),
    "scaled": lambda w: nn.LayerNorm(w),
}


@pytest.fixture
def rows(generator):
    x = torch.randn(80, 5, generator=generator)
    return x, (x[:, 0] * x[:, 1] > 0).long()


@pytest.mark.parametrize("method", search.METHODS)
def test_every_method_finds_a_network_of_own_candidates(rows, method):
    found = search.search(OWN, *rows, method=method, seeds=2, steps=5, width=6)
    assert len(found.genotypes) == 2 and found.genotype in found.genotypes
    assert set(found.genotype.operations) <= set(OWN)
    fitted = training.fit(found.network, *rows, seeds=2, epochs=2)
    assert fitted.predict(rows[0]).shape == (2, 80, 2)


def test_images_are_searched_with_own_convolutions(generator):
    own = {"skip": lambda c: nn.Identity(), "conv": lambda c: nn.Conv2d(c, c, 3, padding=1)}
    x, y = torch.rand(40, 1, 6, 6, generator=generator), torch.arange(40) % 2
    found = search.search(own, x, y, method="darts", seeds=2, steps=3, width=4, cells=1)
    assert found.network(3)(x).shape == (40, 2)


def test_arrays_of_any_kind_give_the_same_search(rows):
    x, y = rows
    first = search.search("s2", x, y, seeds=2, steps=4, width=6)
    again = search.search("s2", np.asfortranarray(x.numpy()), y.numpy().astype(np.int32), seeds=2, steps=4, width=6)
    assert first.genotypes == again.genotypes and torch.equal(first.validation, again.validation)


def test_found_network_is_saved_and_predicts_in_a_new_process(rows, tmp_path):
    x, y = rows
    found = search.search("plain", x, y, method="darts", seeds=2, steps=4, width=6)
    found.save(tmp_path / "genotype.json")
    fitted = training.fit(found.network, x, y, seeds=[0], epochs=2)
    fitted.save(tmp_path / "weights.safetensors")
    expected = fitted.predict(x[:3]).flatten().tolist()
    code = f"""
import torch
from lab import search, training
space = search.Space("plain", 5, 2, cells=2, width=6)
build = lambda seed: search.Outcome.network_from({str(tmp_path / "genotype.json")!r}, space, seed)
fitted = training.Fitted.load({str(tmp_path / "weights.safetensors")!r}, build)
print(fitted.predict(torch.tensor({x[:3].tolist()})).flatten().tolist())
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert eval(said) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_methods_are_compared_on_own_rows_and_on_the_table(rows):
    own = search.compare(["darts", "random"], *rows, operations="s2", seeds=2, steps=4)
    table = search.compare(["proxylessnas", "random"], operations="s2", seeds=2, steps=4)
    for result in (own, table):
        assert all(values.shape == (2,) for values in result.accuracy.values())
        assert list(result.to_frame().columns[:2]) == ["method", "accuracy"] and len(result.to_frame()) == 2
    assert table.best >= float(table.accuracy["random"].max()) and own.best != own.best
    with pytest.raises(ValueError, match="methods must be one of"):
        search.compare(["grid"])


def test_bad_input_is_refused_in_words(rows):
    x, y = rows
    with pytest.raises(ValueError, match="did you mean 'rarts'"):
        search.search("s2", x, y, method="rart")
    with pytest.raises(ValueError, match="without gaps, got \\[0, 2\\]"):
        search.search("s2", x, 2 * y)
    with pytest.raises(TypeError, match="classes as integers"):
        search.search("s2", x, y.float())
    with pytest.raises(ValueError, match="at least 20 items, got 5"):
        search.search("s2", x[:5], y[:5])
    with pytest.raises(ValueError, match="80 and 79"):
        search.search("s2", x, y[1:])
    with pytest.raises(ValueError, match="x must be finite"):
        search.search("s2", torch.full((80, 5), torch.nan), y)
