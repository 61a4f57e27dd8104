"""All methods of the room side by side."""

import pandas as pd
import pytest

from lab.physics.studies import compare as study


@pytest.mark.slow
def test_every_method_stands_next_to_its_baseline(tmp_path):
    result = study.run(study.Setting.of("smoke"), seeds=(0,))
    frame = result.to_frame()
    assert set(frame["method"]) == set(study.METHODS) and frame["ratio"].is_monotonic_increasing
    assert (frame["of the baseline"] > 0).all() and (frame["of the method"] > 0).all()
    row = frame.set_index("method").loc["reg_neural_de"]
    assert row["ratio"] == row["of the method"] / row["of the baseline"] < 1
    result.save(tmp_path / "table.csv")
    assert len(pd.read_csv(tmp_path / "table.csv")) == len(study.METHODS)
