"""Own folders and tables through every row that takes them, in words where one cannot."""

import math

import pytest

from lab.claims import ledger, measure
from tests.layouts import LAYOUTS, class_folders

ROWS = [claim for claim in ledger("generalization") if claim.data and not claim.untestable]
IMAGES_ONLY = "policy_gradient_noise_mask"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", sorted({claim.method for claim in ROWS}))
def test_every_method_takes_every_layout(method, layout, tmp_path):
    path = LAYOUTS[layout](tmp_path)
    claim = next(claim for claim in ROWS if claim.method == method)
    if method == IMAGES_ONLY and layout == "table":
        with pytest.raises(ValueError, match="images .* are wanted, got features of shape"):
            measure(claim.id, data=str(path), budget="smoke", replicates=2)
        return
    if method == "drm" and layout == "fixed split":  # colours, where one channel is needed
        with pytest.raises(ValueError, match="coloured needs images of one channel, got 3"):
            measure(claim.id, data=str(path), budget="smoke", replicates=2)
        return
    found = measure(claim.id, data=str(path), budget="smoke", replicates=2)
    assert math.isfinite(found.value) and found.own == "data"


@pytest.mark.parametrize("claim", ROWS, ids=lambda claim: claim.id)
def test_every_row_that_takes_data_runs_on_class_folders(claim, tmp_path):
    found = measure(claim.id, data=str(LAYOUTS["class folders"](tmp_path)), budget="smoke", replicates=2)
    assert math.isfinite(found.value)


def test_transfer_needs_classes_to_keep_away(tmp_path):
    path = class_folders(tmp_path / "two")
    with pytest.raises(ValueError, match="at least four classes"):
        measure("policy_gradient_noise_mask.transfers", data=str(path), budget="smoke", replicates=2)
