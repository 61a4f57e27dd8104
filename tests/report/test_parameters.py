"""Typed parameters: what the syntax tree says, what is refused, and in which words."""

from pathlib import Path

import pytest

from lab.report.notebook.parameters import ParameterError, read_parameters, resolve

CELL = """
from enum import Enum
from pathlib import Path
from typing import Literal, Optional
class Mode(Enum):
    FAST = "fast"
    EXACT = "exact"
profile: Literal["smoke", "default", "full"] = "default"
seeds: int = 5           # 1..50
width: float = 0.5       # 0..1 [mm] width of the kernel
mode: Mode = Mode.EXACT
image: Path | None = None
label: Optional[str] = None
sizes: list[int] = [8,
    16]                  # 2..512
pair: tuple[int, str] = (1, "a")
table: dict[str, float] = {"a": 1.0}
loud: bool = False
count = 2**10
"""


@pytest.fixture
def schema(notebook):
    return read_parameters(notebook(CELL))


def test_every_declaration_is_read_with_its_range_unit_and_place(schema):
    assert list(schema.parameters) == "profile seeds width mode image label sizes pair table loud count".split()
    width = schema.parameters["width"]
    assert (width.low, width.high, width.unit, width.help, width.line) == (0, 1, "mm", "width of the kernel", 9)
    assert schema.parameters["sizes"].high == 512
    assert schema.parameters["mode"].default == "exact"
    assert schema.parameters["count"].default == 1024


def test_nothing_of_the_cell_is_executed(notebook, tmp_path):
    trap = tmp_path / "trap"
    path = notebook(f"x: int = 1\nPath({str(trap)!r}).write_text('executed')\ny = __import__('os').getcwd()")
    found = read_parameters(path)
    assert not trap.exists()
    assert found.parameters["y"].computed
    assert found.resolve({}) == {"x": 1}


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("seeds", "50", 50),
        ("width", "1e-1", 0.1),
        ("mode", "fast", "fast"),
        ("image", "none", None),
        ("image", "/data/x.png", "/data/x.png"),
        ("label", "007", "007"),
        ("sizes", "2,4", [2, 4]),
        ("sizes", "[2, 4]", [2, 4]),
        ("pair", '[3, "b"]', (3, "b")),
        ("table", '{"b": 2.5}', {"b": 2.5}),
        ("loud", "true", True),
        ("count", "3", 3),
    ],
)
def test_words_of_the_command_line_become_values(schema, name, text, value):
    found = schema.resolve({name: text}, text=True)[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "name, text",
    [
        ("seeds", "abc"),
        ("seeds", "0"),
        ("seeds", "51"),
        ("seeds", "010"),
        ("seeds", "2.0"),
        ("seeds", "true"),
        ("width", "nan"),
        ("width", "inf"),
        ("width", "1.01"),
        ("mode", "FAST"),
        ("profile", "Smoke"),
        ("sizes", "2,1"),
        ("sizes", "2,x"),
        ("pair", "[1]"),
        ("loud", "1"),
        ("count", "many"),
    ],
)
def test_a_wrong_word_is_refused_with_name_value_and_place(schema, name, text):
    with pytest.raises(ParameterError) as refusal:
        schema.resolve({name: text}, text=True)
    message = str(refusal.value)
    assert repr(name) in message
    assert repr(text) in message
    assert "cell 1, line" in message


@pytest.mark.parametrize("value", [True, 5.0, "5", None, [5]])
def test_python_values_of_another_type_are_refused(schema, value):
    with pytest.raises(ParameterError, match="an integer from 1 to 50"):
        schema.resolve({"seeds": value})


def test_an_unknown_name_is_refused_with_the_nearest(schema):
    with pytest.raises(ParameterError, match="no parameter 'seedz'; did you mean 'seeds'"):
        schema.resolve({"seedz": 1})


def test_a_wrong_choice_is_refused_with_the_nearest(schema):
    with pytest.raises(ParameterError, match="did you mean 'smoke'"):
        schema.resolve({"profile": "smok"})


def test_paths_and_enums_are_built_again_in_the_kernel(schema):
    source = schema.source({"mode": "fast", "image": "/x", "sizes": [2], "label": "a'b"})
    space = {}
    exec(CELL + source, space)
    assert space["mode"] is space["Mode"].FAST
    assert space["image"] == Path("/x")
    assert (space["sizes"], space["label"]) == ([2], "a'b")


@pytest.mark.parametrize(
    "line, words",
    [
        ("x: np.ndarray = None", "the annotation 'np.ndarray' is not one of"),
        ("x: int = 0  # 1..5", "the default of parameter 'x' is 0, but an integer from 1 to 5"),
        ("x: int = f()", "must be a literal value"),
        ("x: int", "has no default"),
        ("x: int = (", "not valid Python"),
    ],
)
def test_a_declaration_that_cannot_stand_is_refused_in_words(notebook, line, words):
    with pytest.raises(ValueError) as refusal:
        read_parameters(notebook(line))
    assert words in str(refusal.value)


def test_a_notebook_without_parameters_takes_none(notebook):
    path = notebook("x = 1", tags=())
    assert resolve(path) == {}
    with pytest.raises(ParameterError, match="has no parameters, got 'x'"):
        resolve(path, {"x": 2})


def test_what_is_no_notebook_is_refused(tmp_path):
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / "b.ipynb").write_text("[]")
    for name, words in (
        ("a.py", "does not hold JSON"),
        ("b.ipynb", "not a notebook of format 4"),
        ("c.ipynb", "there is no notebook"),
    ):
        with pytest.raises(ValueError, match=words):
            read_parameters(tmp_path / name)
