"""The pages of online learning: each builds at its defaults and answers its main control."""

import pytest

from tests.widgets.test_losses_pages import data, drawn
from widgets import pages

# page, main control, two of its values
CONTROLS = [("optimistic_omd_sea", "noise", 0.0, 1.5), ("refined_regret_linear_mdp", "step", 0.5, 5.0)]


@pytest.mark.parametrize(("name", "control", "first", "second"), CONTROLS, ids=[row[0] for row in CONTROLS])
def test_main_control_moves_the_figures(name, control, first, second):
    (one, panes), (two, _) = drawn(name, **{control: first}), drawn(name, **{control: second})
    assert len(one) == len(panes)
    assert any(data(a) != data(b) for a, b in zip(one[:-1], two[:-1])) and one[-1] != two[-1]
    with pytest.raises(ValueError, match=control):
        pages.find(name).build({control: -1e9})


def test_regret_stays_below_its_bound_on_the_page():
    (_, _, numbers), _ = drawn("optimistic_omd_sea", environment="i.i.d.")
    assert numbers["regret, optimistic"] <= numbers["bound, optimistic"]
    (_, _, moving), _ = drawn("optimistic_omd_sea", measure="best point of each round")
    assert "bound, optimistic" not in moving and moving["regret, two layers"] < moving["regret, optimistic"]


def test_larger_steps_push_plain_estimates_over_the_limit_first():
    name = "least step size x estimate, {}"
    (*_, numbers), _ = drawn("refined_regret_linear_mdp", step=1.0)
    assert numbers[name.format("magnitude-reduced")] > -1 > numbers[name.format("log-barrier")]
