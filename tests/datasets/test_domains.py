"""Shifts, domains of a set, and a user's own: tables with a domain column, folders of folders."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lab.datasets import Points, Table, load, moved, own_domains
from lab.datasets.domains import Domains, blurred, coloured, contrast, domains, inverted, noisy, rotated


def images(count=6, size=9, seed=0):
    x = torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed))
    return Points(x, torch.arange(count) % 10, "some", tuple(map(str, range(10))))


def test_quarter_turns_are_exact():
    x = images().x.double()
    for turns in range(4):
        torch.testing.assert_close(moved(x, turns * np.pi / 2), torch.rot90(x, turns, (2, 3)), atol=1e-12, rtol=0)


def test_turning_agrees_with_an_independent_resampler():
    x = torch.zeros(1, 1, 15, 15, dtype=torch.float64)
    x[0, 0, 5:10, 6:9] = torch.rand(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    wanted = ndimage.rotate(x[0, 0].numpy(), 30, reshape=False, order=1)
    np.testing.assert_allclose(moved(x, np.deg2rad(30.0))[0, 0].numpy(), wanted, atol=1e-10)


def test_each_image_has_its_own_turn_zoom_and_shift():
    x = images(3).x
    angles, zooms = torch.tensor([0.0, 0.5, -0.4]), torch.tensor([1.0, 1.2, 0.9])
    shifts = torch.tensor([[0.0, 0.0], [0.2, 0.0], [0.0, -0.3]])
    both = moved(x, angles, zooms, shifts)
    for k in range(3):
        torch.testing.assert_close(both[k : k + 1], moved(x[k : k + 1], angles[k], zooms[k], shifts[k]))
    torch.testing.assert_close(both[0], x[0], atol=1e-6, rtol=0)
    assert moved(x, 0.0, size=(4, 5)).shape == (3, 1, 4, 5)


def test_shifts_are_what_they_say():
    data = images()
    assert torch.equal(inverted()(data).x, 1 - data.x)
    assert torch.equal(contrast(1.0)(data).x, data.x)
    assert float(contrast(0.0)(data).x.std(dim=(2, 3)).max()) < 1e-6
    assert torch.equal(noisy(0.0)(data).x, data.x)
    grey = Points(torch.full((4, 1, 40, 40), 0.5), torch.zeros(4, dtype=torch.int64))
    assert float(noisy(0.1)(grey).x.std()) == pytest.approx(0.1, abs=0.005)
    blur = blurred(1.5)(data).x[0, 0].double().numpy()
    np.testing.assert_allclose(
        blur, ndimage.gaussian_filter(data.x[0, 0].double().numpy(), 1.5, mode="nearest"), atol=1e-6
    )


def test_shifts_leave_the_users_images_as_they_were():
    data = images()
    kept = data.x.clone()
    for shift in (rotated(30), noisy(0.3), blurred(1), contrast(0.5), inverted(), coloured(0.2)):
        shift(data)
        assert torch.equal(data.x, kept)


def test_colour_predicts_label_by_its_flip_and_shape_by_the_label_noise():
    data = Points(torch.ones(20_000, 1, 2, 2), torch.arange(20_000) % 10)
    found = coloured(0.1, 0.25)(data, seed=0)
    channel = (found.x[:, 1, 0, 0] > 0).long()
    assert float((channel == found.label).float().mean()) == pytest.approx(0.9, abs=0.01)
    assert float(((data.label >= 5).long() == found.label).float().mean()) == pytest.approx(0.75, abs=0.01)
    assert bool((found.x.sum(1) == 1).all())
    exact = coloured(0.0, 0.0)(data)
    assert torch.equal((exact.x[:, 1, 0, 0] > 0).long(), exact.label)
    assert torch.equal(coloured(1.0, 0.0)(data).x[:, 0, 0, 0].long(), exact.label)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(6, 40), st.integers(0, 5))
def test_disjoint_domains_hold_every_item_once(count, items, seed):
    data = Points(torch.arange(items).view(-1, 1, 1, 1).float(), torch.arange(items) % 3)
    made = domains(data, [contrast(1 + k) for k in range(count)], seed=seed)
    rows = torch.cat([part.label for part in made])
    assert sorted(rows.tolist()) == sorted(data.label.tolist())
    assert max(map(len, made)) - min(map(len, made)) <= 1
    assert len(domains(data, [contrast(1), contrast(2)], disjoint=False)["contrast 2"]) == items


def test_leaving_one_out_keeps_the_others_in_order():
    made = domains(images(12), [rotated(a) for a in (0, 30, 60)])
    sources, target = made.leave_out("30 degrees")
    assert [part.name for part in sources] == ["0 degrees", "60 degrees"]
    assert target.name == "30 degrees"
    with pytest.raises(ValueError, match="did you mean '30 degrees'"):
        made.leave_out("31 degrees")


def test_domains_that_are_none_are_refused():
    with pytest.raises(ValueError, match="at least two domains"):
        domains(images(), [rotated(0)])
    with pytest.raises(ValueError, match="of different names"):
        domains(images(), [rotated(0), rotated(0)])
    with pytest.raises(TypeError, match="shifts"):
        domains(images(), [0, 30])
    with pytest.raises(ValueError, match="one channel"):
        domains(Points(torch.rand(4, 3, 5, 5), torch.zeros(4)), [coloured(0.1), coloured(0.2)])
    with pytest.raises(ValueError, match="features of one shape"):
        Domains((images(size=4), Points(torch.rand(3, 1, 5, 5), torch.zeros(3), "other")))


def frame(rows=40):
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {"site": np.resize(["north", "south", "east"], rows), "age": generator.normal(50, 9, rows),
         "sex": np.resize(["f", "m"], rows), "ill": np.resize(["no", "yes", "no"], rows)}
    )  # fmt: skip


def test_table_with_a_domain_column(tmp_path):
    path = tmp_path / "patients.csv"
    frame().to_csv(path, index=False)
    for source in (path, frame(), Table(frame(), "ill")):
        found = own_domains(source, column="site", target="ill")
        assert found.names == ("east", "north", "south")
        assert sum(map(len, found)) == 40
        assert found["east"].x.shape == (13, 2)
        assert found.classes == ("no", "yes")
        assert any("domains: 'site'" in note for note in found.notes)


def test_table_that_holds_no_domains_is_refused(tmp_path):
    with pytest.raises(ValueError, match="column must name the domain column"):
        own_domains(frame(), target="ill")
    with pytest.raises(ValueError, match="column must differ from the target"):
        own_domains(frame(), column="ill", target="ill")
    with pytest.raises(ValueError, match="names of rows, not domains"):
        own_domains(frame().assign(site=np.arange(40).astype(str)), column="site", target="ill")
    broken = frame()
    broken.loc[[1, 5], "site"] = None
    with pytest.raises(ValueError, match="2 empty cells"):
        own_domains(broken, column="site", target="ill")
    with pytest.raises(ValueError, match="at least two domains"):
        own_domains(frame().assign(site="north"), column="site", target="ill")


def folder(tmp_path, sizes=(8, 8)):
    from PIL import Image

    generator = np.random.default_rng(0)
    for domain, size in zip(("photo", "sketch"), sizes):
        for name in ("cat", "dog"):
            (tmp_path / domain / name).mkdir(parents=True)
            for k in range(3):
                Image.fromarray(generator.integers(0, 255, (size, size), dtype=np.uint8)).save(
                    tmp_path / domain / name / f"{k}.png"
                )
    return tmp_path


def test_folder_of_domains(tmp_path):
    path = folder(tmp_path)
    (path / "photo" / "cat" / "notes.txt").write_text("a cat")
    (path / "readme.md").write_text("two domains")
    found = own_domains(path)
    assert found.names == ("photo", "sketch")
    assert found.classes == ("cat", "dog")
    assert found["photo"].x.shape == (6, 1, 8, 8)
    assert found["sketch"].label.tolist() == [0, 0, 0, 1, 1, 1]
    assert any("readme.md" in note for note in found.notes)
    assert any("1 files that are no images" in note for note in found.notes)
    assert own_domains(path, size=4)["photo"].x.shape == (6, 1, 4, 4)


def test_folder_that_does_any_harm_is_refused(tmp_path):
    path = folder(tmp_path, sizes=(8, 10))
    with pytest.raises(ValueError, match="2 sizes, from .8, 8. to .10, 10.; say size="):
        own_domains(path)
    assert own_domains(path, size=8)["sketch"].x.shape == (6, 1, 8, 8)
    with pytest.raises(ValueError, match="max_bytes"):
        own_domains(path, size=8, max_bytes=100)
    with pytest.raises(ValueError, match="column and target are for tables"):
        own_domains(path, column="site")
    (path / "photo" / "cat" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(ValueError, match="bad.png"):
        own_domains(path, size=8)


def test_folder_of_one_domain_or_one_class_is_refused(tmp_path):
    (tmp_path / "photo" / "cat").mkdir(parents=True)
    with pytest.raises(ValueError, match="at least two domain folders"):
        own_domains(tmp_path)


def test_class_without_images_in_a_domain_is_noted(tmp_path):
    path = folder(tmp_path)
    for file in (path / "sketch" / "dog").iterdir():
        file.unlink()
    found = own_domains(path)
    assert found["sketch"].label.tolist() == [0, 0, 0]
    assert any("sketch: no image of class 'dog'" in note for note in found.notes)


def test_rotated_mnist_has_no_image_twice():
    made = domains(load("mnist", size=14), [rotated(a) for a in (0, 15, 30, 45, 60, 75)])
    assert [len(part) for part in made] == [834, 834, 833, 833, 833, 833]
    assert 0 <= float(made["75 degrees"].x.min()) <= float(made["75 degrees"].x.max()) <= 1
