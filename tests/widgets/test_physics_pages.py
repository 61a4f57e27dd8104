"""The pages of physics: each builds at its defaults and answers its main control."""

import pytest

from tests.widgets.test_losses_pages import drawn

# page, main control, two of its values
CONTROLS = [
    ("aas", "smoothness", 0.5, -1.5),
    ("deepmesh", "pull", 0.1, -0.1),
    ("dcdm", "radius", 0.1, 0.3),
    ("dgno", "sensors", 8, 64),
    ("pi_hc_moe", "overlap", 0, 6),
    ("reg_neural_de", "strength", 0.0, 10.0),
    ("difftactile", "friction", 0.1, 1.5),
    ("spon", "across", -0.4, -0.6),
]


@pytest.mark.parametrize(("name", "control", "first", "second"), CONTROLS, ids=[row[0] for row in CONTROLS])
def test_main_control_moves_the_figures(name, control, first, second):
    (one, panes), (two, _) = drawn(name, **{control: first}), drawn(name, **{control: second})
    assert len(one) == len(panes)
    assert any(a.to_json() != b.to_json() for a, b in zip(one[:-1], two[:-1])) or one[-1] != two[-1]


def test_a_pulled_vertex_moves_by_the_pull_and_the_recorded_sphere_becomes_a_torus():
    import torch

    from lab.physics import deepmesh as d
    from lab.physics import surfaces as s
    from widgets.pages import deepmesh as page

    _, nets = page.recorded()
    assert [s.euler(s.isosurface(net, 20).faces) for net in (nets[0], nets[-1])] == [2, 0]
    mesh = d.IsoSurface(nets[3], 24)()
    moved, outward = page.answer(nets[3], mesh, 10, 0.02)
    point = mesh.vertices.detach()[10]
    along = point + torch.linspace(-0.05, 0.05, 201)[:, None] * outward
    values = moved(along)
    crossing = along[(values.abs()).argmin()]
    assert float((crossing - point) @ outward) == pytest.approx(0.02, abs=0.008)


def test_a_finger_on_little_friction_slips_and_on_much_it_holds():
    from widgets.pages import difftactile as page

    shares = []
    for friction in (0.05, 2.0):
        *_, numbers = page.draw(friction, 4.0, 1.0, page.PRESS + page.DRAG - 1, "disc", 8, "light")
        shares.append(numbers["tangential force over μ_f times normal force"])
    assert shares[0] > 0.9 and shares[1] < 0.5


def test_a_click_adds_a_bump_or_takes_it_away_and_the_density_follows():
    import panel as pn

    from widgets.pages import aas as page

    bumps = pn.widgets.TextInput(value="0.3 0.3")
    page.clicked(bumps, {"points": [{"x": 0.8, "y": 0.6}]})
    assert page.read(bumps.value) == [(0.3, 0.3), (0.8, 0.6)]
    page.clicked(bumps, {"points": [{"x": 0.31, "y": 0.3}]})
    assert page.read(bumps.value) == [(0.8, 0.6)]
    page.clicked(bumps, {"points": [{"x": 0.8, "y": 0.6}]})
    assert page.read(bumps.value) == [(0.8, 0.6)]  # the last one stays
    _, found, _ = page.solved(((0.8, 0.6),), 0.1, 0.3)
    row, column = divmod(int(found.density.argmax()), 32)
    assert (row / 32, column / 32) == pytest.approx((0.8, 0.6), abs=0.05)
    with pytest.raises(ValueError, match="pairs"):
        page.read("0.3")
    with pytest.raises(ValueError, match="lie in"):
        page.read("0.3 1.4")
