"""Self-distilled search: the vote, the term, the other arms, and sharpness against the lab's own for one model."""

import pytest
import torch

from lab.search import bilevel, sd_darts
from lab.search.bilevel import Recipe, Search, Split
from lab.search.sd_darts import VotingTeachers
from lab.search.space import Space
from lab.search.studies import sd_darts as study
from lab.search.supernet import Supernet, mix
from lab.training.sharpness import loss_sharpness


@pytest.fixture(scope="module")
def parts():
    x = torch.rand(60, 6, generator=torch.Generator().manual_seed(0))
    split = Split.of(x, (x[:, 0] > 0.5).long(), train=24, validation=24)
    return Supernet(Space(("skip", "tanh", "linear"), 6, 2, cells=1, width=5)), split, Recipe(steps=8, batch_size=12)


def test_teachers_that_agree_vote_for_what_they_say(generator):
    z = torch.randn(1, 6, 4, generator=generator, dtype=torch.float64).expand(3, -1, -1)
    torch.testing.assert_close(torch.softmax(sd_darts.vote(z, 3.0) / 3, -1), torch.softmax(z[0] / 3, -1))


def test_term_has_no_gradient_at_its_teacher_and_none_into_it(generator):
    z = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    t = z.detach().clone().requires_grad_()
    VotingTeachers().term(z, t).sum().backward()
    assert float(z.grad.abs().max()) < 1e-12 and t.grad is None


def test_weight_zero_or_an_interval_beyond_the_search_is_darts(parts):
    supernet, split, recipe = parts
    plain = bilevel.run(supernet, split, recipe, seeds=[0, 5])
    for teachers in (VotingTeachers(interval=2, weight=0.0), VotingTeachers(interval=9)):
        assert torch.equal(bilevel.run(supernet, split, recipe, seeds=[0, 5], start=teachers.attach).alpha, plain.alpha)
    taught = bilevel.run(supernet, split, recipe, seeds=[0, 5], start=VotingTeachers(interval=2).attach)
    alone = bilevel.run(supernet, split, recipe, seeds=[5], start=VotingTeachers(interval=2).attach)
    assert not torch.equal(taught.alpha, plain.alpha)
    torch.testing.assert_close(taught.alpha[1], alone.alpha[0], rtol=1e-3, atol=1e-6)


def test_teachers_keep_the_alpha_of_their_time(parts):
    supernet, split, recipe = parts
    search = Search(supernet, split, recipe, [0])
    VotingTeachers(count=1, interval=1).attach(search)
    x = search.batch("train")[0]
    search.step_number = 1
    assert float(search.extra_loss(search, search.logits(x), x).detach().abs().max()) < 1e-6
    with torch.no_grad():
        search.alpha += torch.tensor([3.0, 0.0, -3.0])
    kept = search.extra_loss
    search.step_number = 0  # no new snapshot: the old one still teaches
    assert float(kept(search, search.logits(x), x).detach().max()) > 1e-4


def test_other_arms_are_darts_where_they_are_off(parts):
    supernet, split, recipe = parts
    plain = bilevel.run(supernet, split, recipe, seeds=[0])
    smooth = bilevel.run(supernet, split, recipe, seeds=[0], start=sd_darts.smoothed_labels(0.0))
    flat = bilevel.run(supernet, split, recipe, seeds=[0], step=sd_darts.flat_step(0.0))
    torch.testing.assert_close(smooth.alpha, plain.alpha)
    torch.testing.assert_close(flat.alpha, plain.alpha, rtol=1e-3, atol=1e-6)
    moving = bilevel.run(supernet, split, recipe, seeds=[0], start=sd_darts.moving_teacher(0.0))
    torch.testing.assert_close(moving.alpha, plain.alpha, rtol=1e-3, atol=1e-5)


def test_smoothed_labels_are_those_of_torch(parts):
    supernet, split, recipe = parts
    search = Search(supernet, split, recipe, [0])
    sd_darts.smoothed_labels(0.2)(search)
    x, y = search.batch("train")
    logits = search.logits(x)
    smooth = search.losses((x, y)) + search.extra_loss(search, logits, x)
    expected = torch.nn.functional.cross_entropy(logits[0], y[0], label_smoothing=0.2)
    torch.testing.assert_close(smooth[0], expected)


def test_sharpness_of_stacked_seeds_is_that_of_each_alone(parts):
    supernet, split, recipe = parts
    found = bilevel.run(supernet, split, recipe, seeds=[0, 5])
    x, y = split.train
    stacked = sd_darts.weight_sharpness(found, x, y, 0.1)
    inner = sd_darts.alpha_sharpness(found, x, y, 0.1)
    for s in range(2):
        own = {name: value[s] for name, value in found.parameters.items()}

        def loss(p, s=s):
            logits = supernet({name: value[None] for name, value in p.items()}, found.weights[s : s + 1], x)
            return torch.nn.functional.cross_entropy(logits[0], y)

        def alpha_loss(p, s=s):
            logits = supernet({n: v[s : s + 1] for n, v in found.parameters.items()}, mix(p["alpha"])[None], x)
            return torch.nn.functional.cross_entropy(logits[0], y)

        torch.testing.assert_close(stacked[s], loss_sharpness(loss, own, 0.1), rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(
            inner[s], loss_sharpness(alpha_loss, {"alpha": found.alpha[s]}, 0.1), rtol=1e-3, atol=1e-6
        )


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="count must be at least 1"):
        VotingTeachers(count=0)
    with pytest.raises(ValueError, match="temperature must be greater than 0"):
        sd_darts.vote(torch.zeros(2, 3), 0.0)
    with pytest.raises(ValueError, match="teachers on the first axis"):
        sd_darts.vote(torch.zeros(3))
    with pytest.raises(ValueError, match="weight: "):
        study.Setting(weight=-1.0)
