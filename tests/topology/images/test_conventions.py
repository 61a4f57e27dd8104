"""The preset of the older Python code against a brute force of it: framed images, its own order of cells, endless bars.

That code numbers cells pixel by pixel (pixels ordered by value and place, a cell belongs to its last one), pads one pixel
with the first value, and matches the bars that never end, whose death it sets to one value in both images. Among the
cells of one pixel the brute force goes from the last to the first, against the order of the lab.
"""

import numpy as np
import pytest
import torch
from scipy import ndimage

from lab import topology
from lab.kernels.cubical import reference
from lab.topology import BettiMatchingLoss
from lab.topology.images import convention


def owned(f, dimension):
    """Cells of one dimension by (value, place) of the pixel that owns them, then backwards by anchor and type."""
    found = plain(f, dimension)
    place = {corner: k for k, corner in enumerate(np.ndindex(f.shape))}
    owner = lambda cell: max((f[v], place[v]) for v in reference._corners(cell))  # noqa: E731
    return sorted(sorted(found, reverse=True), key=owner)


plain = reference._cells


def brute_force(prediction, label):
    """The loss of the older code in superlevel form: matched, unmatched, and the endless pair."""
    a, b = (np.pad(-x, 1, constant_values=(-x).min()) for x in (prediction, label))
    total = 2 * (a.min() - b.min()) ** 2
    for matched, extra, missing in reference.match(a, b):
        for one, two in matched:
            ends = [[reference.value(f, cell) for cell in bar] for f, bar in ((a, one), (b, two))]
            total += 2 * sum((x - y) ** 2 for x, y in zip(*ends))
        for f, bars in ((a, extra), (b, missing)):
            total += sum((reference.value(f, birth) - reference.value(f, death)) ** 2 for birth, death in bars)
    return total


def segmentation(seed, shape=(11, 13)):
    draw = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(draw.standard_normal(shape), 1.2)
    soft = 1 / (1 + np.exp(-3 * field / field.std() - 0.3 * draw.standard_normal(shape)))
    return soft, (field > 0.2 * field.std()).astype(float)


@pytest.mark.parametrize("seed", range(12))
def test_preset_gives_the_loss_of_the_older_code_against_binary_labels(seed, monkeypatch):
    soft, label = segmentation(seed)
    prediction = soft if seed % 3 else (soft > 0.5).astype(float)
    monkeypatch.setattr(reference, "_cells", owned)
    wanted = brute_force(prediction, label)
    found = topology.match(prediction, label, convention="betti-matching-2d")
    assert float(found.loss()) == pytest.approx(wanted, rel=1e-12)
    x, y = (torch.from_numpy(each)[None, None] for each in (prediction, label))
    loss = BettiMatchingLoss(convention="betti-matching-2d")
    assert float(loss(x, y)) == pytest.approx(wanted, rel=1e-12)
    assert wanted > 0 or seed % 3 == 0


def test_the_endless_pair_counts_in_one_preset_and_not_in_the_other():
    prediction, label = segmentation(3)
    older = topology.match(prediction, label, convention="betti-matching-2d")
    newer = topology.match(prediction, label, convention="betti-matching-3d")
    assert older.counts_essential
    assert not newer.counts_essential
    assert float(older.loss() - older.loss(essential=False)) == pytest.approx(2 * (1 - prediction.max()) ** 2)
    assert float(newer.loss()) == float(topology.match(prediction, label).loss())


def test_order_of_cells_decides_between_images_with_ties(monkeypatch):
    pairs = [np.random.default_rng(seed).integers(0, 4, (2, 12, 13)) / 3 for seed in range(3)]
    first = [brute_force(*pair) for pair in pairs]
    monkeypatch.setattr(reference, "_cells", owned)
    second = [brute_force(*pair) for pair in pairs]
    assert any(abs(one - two) > 1e-6 for one, two in zip(first, second))
    found = [float(topology.match(*pair, convention="betti-matching-2d").loss()) for pair in pairs]
    assert found == pytest.approx(first)


def test_preset_beside_other_options_is_refused():
    one = np.zeros((4, 4))
    with pytest.raises(ValueError, match="decides about filtration and border"):
        topology.match(one, one, convention="betti-matching-2d", border="foreground")
    with pytest.raises(ValueError, match="decides about filtration and border"):
        BettiMatchingLoss(convention="betti-matching-3d", filtration="both")
    assert set(convention.CONVENTIONS) == {"betti-matching-2d", "betti-matching-3d"}


def test_preset_survives_saving(tmp_path):
    found = topology.match(*segmentation(5), convention="betti-matching-2d")
    found.save(tmp_path / "pair")
    assert float(topology.Matching.load(tmp_path / "pair").loss()) == float(found.loss())
