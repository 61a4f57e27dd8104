"""The pages of searches: each builds at its defaults and answers its main control."""

import pytest

from tests.widgets.test_losses_pages import data, drawn

# page, main control, two of its values
CONTROLS = [
    ("sharpdarts", "lead", -1.0, 3.0),
    ("rarts", "weight", 1.0, 40.0),
    ("self_tuning_networks", "penalty", -2.0, 2.0),
    ("darts_pt", "removed", "skip", "mlp"),
    ("proxylessnas", "tradeoff", 0.0, 1.0),
]


@pytest.mark.parametrize(("name", "control", "first", "second"), CONTROLS, ids=[row[0] for row in CONTROLS])
def test_main_control_moves_the_figures(name, control, first, second):
    (one, panes), (two, _) = drawn(name, **{control: first}), drawn(name, **{control: second})
    assert len(one) == len(panes)
    assert any(data(a) != data(b) for a, b in zip(one[:-1], two[:-1])) or one[-1] != two[-1]


def test_supernet_loses_what_is_taken_away():
    (_, _, numbers), _ = drawn("darts_pt", removed="mlp", edge="0→1")
    assert set(numbers) >= {"accuracy of the supernet", "accuracy without mlp on 0→1"}
    (_, _, numbers), _ = drawn("darts_pt", removed="noise", operations="s2")
    assert numbers["taken away"].startswith("nothing: the candidates are") and "noise" not in numbers["taken away"]


def test_teachers_change_the_search():
    one, two = (drawn("sd_darts", weight=weight)[0][-1] for weight in (0.0, 3.0))
    assert one[0] == two[0] and one[1] != two[1]
