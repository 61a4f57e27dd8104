"""Own folders and tables through every row of the room, in words where one cannot."""

import math

import pytest
import torch

from lab.claims import ledger, measure
from lab.compression.studies import compare
from lab.compression.studies import quantized_distillation as quantized
from lab.compression.studies.common import task
from lab.datasets import Points, load
from tests.layouts import LAYOUTS, class_folders
from widgets.figures import compression as figures

ROWS = [claim for claim in ledger("compression") if claim.data and not claim.untestable]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "id",
    [
        "dcc.better-than-dc",
        "quantized_distillation.near-the-teacher",
        "smooth_expert_distillation.smooth-experts-make-better-sets",
    ],
)
def test_every_method_takes_every_layout(id, layout, tmp_path):
    found = measure(id, data=str(LAYOUTS[layout](tmp_path)), budget="smoke", replicates=2)
    assert math.isfinite(found.value) and found.own == "data"


@pytest.mark.parametrize("kind", ["convolutional", "recurrent"])
def test_students_of_images_take_colour_and_refuse_tables(kind, tmp_path):
    split = load(LAYOUTS["fixed split"](tmp_path))
    result = quantized.run(quantized.Setting.of("smoke", kind=kind), seeds=(0,), data=split)
    assert 0 <= float(result.accuracy["distilled, 4 bits"]) <= 1
    with pytest.raises(ValueError, match="needs images, got .* features a row"):
        quantized.run(quantized.Setting.of("smoke", kind=kind), seeds=(0,), data=load(LAYOUTS["table"](tmp_path)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_comparison_and_its_figure_take_every_layout(layout, tmp_path):
    result = compare.run(compare.Setting.of("smoke"), seeds=(0,), data=load(LAYOUTS[layout](tmp_path)))
    assert figures.condensed(result).data
    assert set(result.accuracy) >= {"random", "dc", "dcc", "smooth, all tricks", "all items"}


def test_a_fixed_split_is_kept(tmp_path):
    split = load(LAYOUTS["fixed split"](tmp_path))
    found = task(data=split)
    assert len(found.x) == 16 and len(found.test[0]) == 4 and found.images == (3, 8, 8)
    back = found.test[0].unflatten(1, found.shape) * found.scale + found.mean
    torch.testing.assert_close(back, split["test"].x, atol=1e-5, rtol=0)


def test_classes_that_cannot_be_learned_are_refused(tmp_path):
    one = class_folders(tmp_path / "one", each=1)
    with pytest.raises(ValueError, match="none is left"):
        task(data=load(one))
    with pytest.raises(ValueError, match="of which b has none"):
        task(data=Points(torch.rand(20, 1, 4, 4), torch.zeros(20, dtype=torch.int64), "x", ("a", "b")))
    with pytest.raises(ValueError, match="hold numbers"):
        task(data=Points(torch.rand(20, 1, 4, 4), torch.rand(20), "x", ("a", "b")))
    with pytest.raises(ValueError, match="got str"):
        task(data="folder")


def test_what_was_made_of_own_images_trains_and_answers_in_a_new_process(tmp_path):
    import subprocess
    import sys

    from lab import training
    from lab.compression import condense, condense_by_trajectories, distill

    images = load(class_folders(tmp_path / "images"))
    x = images.x[:, 0]
    condense(x, images.label, 1, outer=2, inner=2).save(tmp_path / "dcc.npz")
    condense_by_trajectories(x, images.label, 1, experts=1, epochs=4, iterations=2, steps=3).save(tmp_path / "ast.npz")
    teacher, student = training.mlp(64, 2, seed=1), training.mlp(64, 2, widths=(8,), seed=2)
    small = distill(teacher, student, images.x.flatten(1), images.label, bits=3, steps=5)
    small.save(tmp_path / "small.npz")
    torch.save((x, small.model(student)(images.x.flatten(1)).detach()), tmp_path / "answer.pt")
    code = f"""
import torch
from lab import training
from lab.compression import Quantized, SyntheticSet
x, wanted = torch.load({str(tmp_path / "answer.pt")!r}, weights_only=True)
student = Quantized.load({str(tmp_path / "small.npz")!r}).model(training.mlp(64, 2, widths=(8,), seed=9))
assert torch.allclose(student(x.flatten(1)), wanted, atol=1e-6)
for name in ("dcc", "ast"):
    made = SyntheticSet.load({str(tmp_path)!r} + f"/{{name}}.npz")
    assert made.train(seeds=1).predict(made.standardized(x)).shape == (1, 20, 2)
print("equal")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "equal", done.stderr[-2000:]
