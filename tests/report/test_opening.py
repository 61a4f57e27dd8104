"""Opening a stranger's notebook: its parameters are read as text, in bounded time, or refused in words."""

import json
import time

import pytest

from lab.report.notebook.parameters import load_notebook, read_parameters


def parameters(source):
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": source}
    return read_parameters({"cells": [cell]}).parameters


def test_nothing_of_a_default_is_executed(tmp_path):
    mark = tmp_path / "mark"
    found = parameters(f"a = open({str(mark)!r}, 'w')\nb = __import__('os').system('touch {mark}')\nc: int = 2**10")
    assert found["a"].computed and found["b"].computed
    assert found["c"].default == 1024
    assert not mark.exists()


@pytest.mark.parametrize(
    "power", ["((9**1024)**1024)**1024", "9**1024**1024", "2**1000 * 2**4000", "(2**1000)**1000", "10.0**400"]
)
def test_a_default_cannot_compute_for_long(power):
    began = time.process_time()
    assert parameters(f"n = {power}")["n"].computed
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "source", ["n = " + "(" * 5000 + ")" * 5000, "n = 1 \0", "n = '''", "n = " + "-" * 100_000 + "1", "\ud800 = 1"]
)
def test_a_cell_that_cannot_be_parsed_is_refused_in_words(source):
    with pytest.raises(ValueError, match="is not valid Python"):
        parameters(source)


@pytest.mark.parametrize(
    "content",
    [[1], {"cells": [1]}, {"cells": [{"metadata": 1}]}, {"cells": [{"source": [1]}]}, {"cells": [{"metadata": {"tags": 1}}]},
     {"cells": [], "metadata": 1}, {"cells": {}}],
)  # fmt: skip
def test_what_is_no_notebook_is_refused_in_words(tmp_path, content):
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"x\.ipynb is not a notebook"):
        load_notebook(path)


def test_json_nested_too_deeply_is_no_notebook(tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_text("[" * 200_000)
    with pytest.raises(ValueError, match=r"x\.ipynb is not a notebook"):
        load_notebook(path)
