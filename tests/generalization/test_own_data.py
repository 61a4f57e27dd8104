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


def test_samples_are_read_as_what_they_are():
    from lab import datasets
    from lab.source import project_root

    folder = project_root() / "data" / "samples"
    shapes, moved = datasets.load(folder / "shapes"), datasets.load(folder / "shapes_by_domain")
    assert shapes.x.shape == (20, 1, 12, 12) and shapes.classes == ("bar", "cross", "disc", "ring")
    assert moved.names == ("dark", "inverted", "noisy") and all(len(part) == 8 for part in moved)
    patients = datasets.own_domains(folder / "patients.csv", column="domain")
    assert patients.names == ("north", "south", "west") and patients.classes == ("ill", "well")


def test_what_was_trained_on_own_data_answers_in_a_new_process(tmp_path):
    """Every method on a table or images of the reader, saved, and read by a process that saw neither."""
    import subprocess
    import sys

    import torch
    from torch import nn

    from lab import datasets, generalization, training
    from tests.layouts import table

    sources, target = datasets.own_domains(table(tmp_path / "p.csv"), column="domain").leave_out("north")
    images = datasets.load(class_folders(tmp_path / "images"))
    x, y = (target.x - target.x.min()) / (target.x.max() - target.x.min()), target.label
    quick = {"epochs": 2}
    models = {
        "drm": (
            generalization.train_drm(generalization.DRMClassifier(training.mlp(2, 8), 8, 2, 2), sources, epochs=2),
            x,
        ),
        "udim": (
            generalization.train_udim(generalization.Classifier(training.mlp(2, 8), nn.Linear(8, 2)), x, y, **quick),
            x,
        ),
        "done": (generalization.train_done(training.mlp(2, 2), x, y, **quick), x),
        "mask": (
            generalization.train_masked(
                nn.Sequential(nn.Flatten(), training.mlp(64, 2)), images.x, images.label, tuning_epochs=1, **quick
            ),
            images.x,
        ),
    }
    stored = {name: (model.state_dict(), x, model(x).detach()) for name, (model, x) in models.items()}
    torch.save(stored, tmp_path / "models.pt")
    code = f"""
import torch
from torch import nn
from lab import generalization, training
fresh = {{
    "drm": generalization.DRMClassifier(training.mlp(2, 8), 8, 2, 2),
    "udim": generalization.Classifier(training.mlp(2, 8), nn.Linear(8, 2)),
    "done": training.mlp(2, 2), "mask": nn.Sequential(nn.Flatten(), training.mlp(64, 2)),
}}
for name, (state, x, wanted) in torch.load({str(tmp_path / "models.pt")!r}, weights_only=True).items():
    fresh[name].load_state_dict(state)
    assert torch.equal(fresh[name](x), wanted), name
print("equal")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "equal", done.stderr[-2000:]
