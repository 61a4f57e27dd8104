"""Own networks by architecture, pipelines on frames with levels, and blocks of jackknife groups."""

import numpy as np
import pandas as pd
import pytest
import torch

from lab import explain, training
from lab.explain import folded, solve, user_models


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_layers_compute_what_the_module_computes(activation):
    net = training.mlp(6, 3, widths=(5, 4), activation=activation, seed=1).double()
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = user_models.layered(net.state_dict(), 6, architecture=f"layers with {activation}")
    torch.testing.assert_close(plain(x), net(x).detach())
    moved = user_models.layered(net.state_dict(), 6, architecture=f"layers with {activation}", head="probability",
                               shift=torch.ones(6), scale=torch.full((6,), 2.0))  # fmt: skip
    torch.testing.assert_close(moved(x), torch.softmax(net(2 * x + 1), 1).detach())


def test_layers_that_do_not_chain_are_refused():
    with pytest.raises(ValueError, match="chain from 4 columns"):
        user_models.layered({"w": np.ones((2, 3))}, 4)
    with pytest.raises(ValueError, match="head"):
        user_models.layered({"w": np.ones((1, 4))}, 4, head="odds")


@pytest.mark.parametrize("family", ["linear", "trees", "relu network"])
def test_pipeline_learns_levels_and_takes_missing_values(family):
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"level": generator.choice(["a", "b", "c"], 300), "size": generator.normal(size=300)})
    frame["y"] = np.where(frame["level"] == "a", "yes", "no")
    frame.loc[3, "level"], frame.loc[4, "size"], frame.loc[5, "y"] = None, np.nan, None
    f, rows, known, score = user_models.pipeline(frame, "y", family)
    assert score > 0.9
    found = explain.kernelshap(f, rows[:5], baseline=explain.typical(known))
    assert found.names == ("level", "size")
    rise = f(rows[:5]) - f(explain.typical(known))
    np.testing.assert_allclose(found.weights.sum(1).numpy(), rise, atol=1e-9)
    with pytest.raises(ValueError, match="different texts"):
        user_models.pipeline(frame.assign(name=[f"n{i}" for i in range(300)]), "y", family)
    with pytest.raises(ValueError, match="target"):
        user_models.pipeline(frame, "z", family)


def test_blocks_sort_draws_by_group_and_put_them_back():
    group = torch.tensor([2, -1, 0, 1, 0, -1, 2])
    blocks, values = solve.Blocks.of(group), torch.arange(14.0).view(2, 7)
    assert torch.equal(blocks.unsort(blocks.sort(values, 1)), values)
    for g, start, stop in blocks.spans:
        wanted = -1 if g == blocks.groups else g
        assert bool((blocks.sort(group, 0)[start:stop] == wanted).all())
    assert sum(stop - start for _, start, stop in blocks.spans) == 7


def test_quadratic_forms_are_those_by_hand():
    generator = torch.Generator().manual_seed(0)
    psi = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    half = torch.randn(3, 4, 4, generator=generator, dtype=torch.float64)
    matrix = half + half.mT
    expected = torch.einsum("mi,nij,mj->nm", psi, matrix, psi)
    torch.testing.assert_close(folded.quadratic_forms(psi, matrix, held=64).double(), expected, atol=1e-4, rtol=1e-5)
