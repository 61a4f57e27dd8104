"""One class of several is the pair that a network's own counting means."""

import pytest
import torch

from lab.topology.images.classes import classes, one_class

IDS = torch.tensor([[0, 0, 1, 1], [2, 2, 0, 1], [2, 0, 0, 0]])
SOFT = torch.rand(3, 3, 4, generator=torch.Generator().manual_seed(0)).softmax(0)


def test_channel_k_is_id_k_behind_the_background():
    for k in (1, 2):
        prediction, mask = one_class(SOFT, IDS, k)
        assert torch.equal(prediction, SOFT[k])
        assert torch.equal(mask, IDS == k)
    prediction, mask = one_class(SOFT, IDS)
    assert torch.allclose(prediction, SOFT[1] + SOFT[2])
    assert torch.equal(mask, IDS > 0)
    assert classes(SOFT, IDS) == (1, 2)


def test_one_hot_label_with_background_equals_ids():
    hot = torch.nn.functional.one_hot(IDS, 3).permute(2, 0, 1)
    for k in range(3):
        for one, two in zip(one_class(SOFT, hot, k), one_class(SOFT, IDS, k)):
            assert torch.equal(one, two)
    assert classes(SOFT, hot) == (1, 2)


def test_independent_masks_count_from_one():
    masks = torch.stack([IDS == 1, (IDS == 2) | (IDS == 1), IDS == 2])
    assert classes(SOFT, masks) == (1, 2, 3)
    prediction, mask = one_class(SOFT, masks, 3)
    assert torch.equal(prediction, SOFT[2])
    assert torch.equal(mask, masks[2])
    prediction, mask = one_class(SOFT, masks)
    assert torch.equal(prediction, SOFT.amax(0))
    assert torch.equal(mask, IDS > 0)


def test_ids_that_reach_the_number_of_channels_leave_no_background():
    ids = IDS.clone()
    ids[0, 0] = 3
    assert torch.equal(one_class(SOFT, ids, 3)[0], SOFT[2])
    plain = SOFT[1]
    assert torch.equal(one_class(plain, ids, 3)[1], ids == 3)
    assert torch.equal(one_class(plain, ids)[0], plain)


def test_volumes_have_one_axis_more():
    volume, ids = torch.rand(2, 3, 4, 5), torch.randint(0, 2, (3, 4, 5))
    assert torch.equal(one_class(volume, ids, 1, axes=3)[0], volume[1])
    assert one_class(volume[0], ids, axes=3)[0].shape == (3, 4, 5)


@pytest.mark.parametrize(("label", "class_id", "words"), [
    (IDS.T, 0, "3 x 4 and 4 x 3"), (IDS, 4, "no class 4"), (IDS + 4, 1, "ids 0 to 3 for 3 channels"),
    (torch.ones(2, 3, 4), 1, "as many channels, got 3 and 2"), (torch.ones(3, 3, 4), 4, "channels hold classes 1 to 3"),
    (torch.ones(4), 0, "must have 2 axes"), (IDS, -1, "class_id"),
])  # fmt: skip
def test_what_is_no_pair_is_refused(label, class_id, words):
    with pytest.raises(ValueError, match=words):
        one_class(SOFT, label, class_id)
