"""Masked diffusion and value-based decoding: enumeration, brute force, exact tilted laws, own rewards, refusals."""

from itertools import combinations, product

import numpy as np
import pytest
import torch

from lab import generative
from lab.claims import coverage, methods
from lab.generative import VP, GaussianMixture, designs, masked, svdd
from lab.generative.samplers import Noise
from lab.generative.studies import svdd as study


def law(tokens=3, length=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    return masked.Enumerated(torch.rand(tokens**length, generator=g) + 0.05, tokens, length)


def test_conditionals_and_expectations_by_brute_force():
    p, x = law(), law().sequences()
    f = torch.randn(len(x), generator=torch.Generator().manual_seed(1)).double()
    for state in ([3, 3, 3, 3], [0, 3, 2, 3], [1, 1, 3, 0]):
        state = torch.tensor(state)
        fits = ((state == 3) | (x == state)).all(1)
        weight = p.table * fits / (p.table * fits).sum()
        for site in range(4):
            wanted = torch.stack([weight[x[:, site] == k].sum() for k in range(3)])
            assert torch.allclose(p(state)[site], wanted)
        assert float(p.expectation(f)(state)) == pytest.approx(float((weight * f).sum()))
    assert torch.equal(p.index(x), torch.arange(81))


def test_revealing_in_random_order_samples_the_law_and_likelihoods_are_exact():
    p = law(2, 3)
    x = svdd.decode(svdd.Masked(p, 2, 3), lambda x, step: x, items=20_000, candidates=1)[0]
    share = torch.bincount(p.index(x), minlength=8) / len(x)
    assert float(0.5 * (share - p.table).abs().sum()) < 0.02
    assert torch.allclose(masked.log_likelihood(p, p.sequences(), 2), p.table.log())
    chain = masked.markov(torch.tensor([0.5, 0.5]), torch.tensor([[0.9, 0.1], [0.2, 0.8]]), 3)
    assert float(chain.sum()) == pytest.approx(1) and float(chain[0b011]) == pytest.approx(0.5 * 0.1 * 0.8)


def test_a_learned_denoiser_comes_close_to_the_exact_one():
    p = masked.Enumerated(masked.markov(torch.tensor([0.5, 0.5]), torch.tensor([[0.9, 0.1], [0.1, 0.9]]), 4), 2, 4)
    x = p.sequences()[torch.multinomial(p.table, 2000, True, generator=torch.Generator().manual_seed(0))]
    denoiser = masked.train_denoiser(x, 2, steps=300, width=32)
    states = torch.cartesian_prod(*[torch.arange(3)] * 4)
    weight = p.sums[:, None] * (states == 2)  # how often a state is met
    with torch.no_grad():
        error = (denoiser(states).double() - p(states)).abs().sum(-1) / 2
    assert float((weight * error).sum() / weight.sum()) < 0.06


def test_choices_follow_the_weights_and_ties_are_broken_at_random():
    values, noise = torch.tensor([0.0, 1.0, 0.5]).expand(1, 40_000, 3), Noise((0,))
    share = torch.bincount(svdd.choose(values, 0.5, noise)[0], minlength=3) / 40_000
    assert torch.allclose(share.double(), (values[0, 0].double() / 0.5).softmax(0), atol=0.01)
    tied = svdd.choose(torch.tensor([1.0, 0.0, 1.0]).expand(1, 10_000, 3), 0.0, noise)[0]
    assert torch.bincount(tied, minlength=3)[1] == 0 and abs(float((tied == 0).double().mean()) - 0.5) < 0.03


def test_many_candidates_with_exact_values_sample_the_tilted_law():
    p, alpha = law(2, 4), 0.7
    reward = torch.randn(16, generator=torch.Generator().manual_seed(2)).double()
    soft = p.expectation(torch.exp(reward / alpha))
    chain = svdd.Masked(p, 2, 4)
    x = svdd.decode(chain, lambda x, step: alpha * soft(x).log(), items=20_000, candidates=32, alpha=alpha)[0]
    wanted = p.table * torch.exp(reward / alpha)
    share = torch.bincount(p.index(x), minlength=16) / len(x)
    assert float(0.5 * (share - wanted / wanted.sum()).abs().sum()) < 0.03


def test_candidates_are_chosen_for_each_item_on_its_own():
    chain = svdd.Diffusion(study.ring().denoiser(VP()), VP(), 2, 25)
    x = svdd.decode(chain, svdd.posterior_mean_value(chain, lambda x: x[..., 1]), items=50, candidates=5)
    assert len(x[0].unique(dim=0)) == 50
    options = {"items": 20, "candidates": 4, "alpha": 0.1}
    shared = svdd.decode(chain, svdd.posterior_mean_value(chain, lambda x: x[..., 1]), resample=True, **options)
    assert shared.shape == (1, 20, 2)


def test_the_tilted_mixture_is_the_normalized_product():
    truth, x = study.ring(), torch.randn(50, 2, generator=torch.Generator().manual_seed(0)).double()
    gap = study.tilted(truth, 0.5).log_density(x) - truth.log_density(x) - x[:, 1] / 0.5
    assert float(gap.std()) < 1e-9


def test_the_gradient_is_that_of_finite_differences():
    chain = svdd.Diffusion(study.ring().denoiser(VP()), VP(), 2, 25)
    x, reward = torch.randn(1, 4, 2, generator=torch.Generator().manual_seed(0)).double(), lambda x: x.square().sum(-1)
    found, h = svdd.gradient(chain, reward, x, 12), 1e-5
    for k in range(2):
        step = torch.zeros(2).double()
        step[k] = h
        up, down = (reward(chain.finished(x + sign * step, 12)) for sign in (1, -1))
        assert torch.allclose(found[..., k], (up - down) / (2 * h), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_fitted_values_rank_states_by_their_reward(alpha):
    chain = svdd.Diffusion(study.ring().denoiser(VP()), VP(), 2, 25)
    value = svdd.monte_carlo_value(chain, lambda x: x[..., 1], trajectories=200, steps=200, alpha=alpha)
    x = study.ring().sample(200, 3)[None]
    assert float(torch.corrcoef(torch.stack([value(x, 24)[0], x[0, :, 1]]))[0, 1]) > 0.7


def pairs_by_brute_force(letters):
    fits = [(i, j) for i, j in combinations(range(len(letters)), 2) if j - i > 3 and letters[i] + letters[j] in (3, 5)]

    def most(rest, taken):
        best = len(taken)
        for k, (i, j) in enumerate(rest):
            if all(len({i, j, a, b}) == 4 and not (a < i < b < j or i < a < j < b) for a, b in taken):
                best = max(best, most(rest[k + 1 :], [*taken, (i, j)]))
        return best

    return most(fits, [])


def test_base_pairs_and_motifs_by_brute_force():
    x = torch.randint(4, (12, 11), generator=torch.Generator().manual_seed(0))
    assert designs.base_pairs(x).tolist() == [pairs_by_brute_force(row) for row in x.tolist()]
    weights = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1]])
    for row, found in zip(x.tolist(), designs.motif_score(x, weights).tolist()):
        score = [np.log(4 * weights[0, a]) + np.log(4 * weights[1, b]) for a, b in zip(row, row[1:])]
        assert found == pytest.approx(float(max(score)), abs=1e-6)
    bits = torch.tensor(list(product([0, 1], repeat=7)))
    assert study.motifs(bits).tolist() == ["".join(map(str, row)).count("101") for row in bits.tolist()]


def test_valences_and_partition_coefficients_of_known_molecules():
    place = {name: k for k, name in enumerate(designs.GROUPS)}
    chain = lambda *names: torch.tensor([place[name] for name in names] + [place["."]] * (designs.ATOMS - len(names)))  # noqa: E731
    ethanol, acetonitrile = chain("C", "C", "O"), chain("C", "C", "#N")
    assert float(designs.group_logp(ethanol)) == pytest.approx(0.89 + 0.66 - 1.64, abs=1e-6)
    assert bool(designs.valid(acetonitrile)) and bool(designs.valid(chain("C", "=O")))
    for wrong in (chain("C", "O", "=C"), chain("F", "F", "C"), chain("=C", "C"), chain("C", "#C", "=C"), chain()):
        assert not bool(designs.valid(wrong)) and float(designs.group_logp(wrong)) == -5
    x, _ = designs.sequences_of("molecules")
    assert bool(designs.valid(x).all()) and designs.names_of(ethanol[None], "molecules") == ["CCO"]


def test_png_bytes_are_those_of_the_files():
    flat, noisy = torch.zeros(64), torch.rand(64, generator=torch.Generator().manual_seed(0))
    found = designs.png_bytes(torch.stack([flat, noisy]), 8)
    assert float(found[0]) < float(found[1]) and found.dtype == torch.float64


def test_own_reward_functions_on_points_and_texts():
    ring = GaussianMixture.ring()
    made = generative.steer(ring, lambda x: -abs(float(x[0]) - 1.5), 20, steps=25)
    assert made.shape == (20, 2) and float(made[:, 0].mean()) > 1
    texts = ["ACGT", "AACC", "GATT", "GAGA"] * 20
    words = generative.steer(texts, lambda text: text.count("GA"), 8, candidates=8)
    assert len(words) == 8 and sum(text.count("GA") for text in words) >= 8


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: generative.steer(GaussianMixture.ring(), lambda x: float("nan"), 4, steps=25), "finite number"),
        (lambda: generative.steer(["AC", "ACG"], len, 4), "texts of one length"),
        (lambda: generative.steer(["AA", "AA"], len, 4), "two different letters"),
        (lambda: svdd.decode(svdd.Masked(law(), 3, 4), None, candidates=0), "candidates must be at least 1"),
        (lambda: svdd.decode(svdd.Masked(law(), 3, 4), None, alpha=-1.0), "alpha must be at least 0"),
        (lambda: svdd.decode(svdd.Masked(law(), 3, 4), lambda x, s: x, candidates=2), "one number a state"),
        (lambda: svdd.Masked(law(), 3, 4).propose(torch.zeros(1, 1, 4).long(), 0, Noise((0,)), 1.0), "no gradient"),
        (lambda: masked.extended(torch.ones(4), 2, 40), "at most"),
        (lambda: masked.Enumerated(torch.tensor([0.0, 1.0]), 2, 1), "must be positive"),
        (lambda: masked.train_denoiser(torch.tensor([[0, 5]]), 4), "tokens from 0 to 3"),
    ],
)  # fmt: skip
def test_refusals_name_the_argument(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_results_stand_in_a_file_and_every_sentence_has_a_row(tmp_path):
    result = study.run(study.Setting.of("smoke"), seeds=(0,))
    result.save(tmp_path / "result.pt")
    assert study.Result.load(tmp_path / "result.pt").to_frame().equals(result.to_frame())
    (method,) = [one for one in methods("generative") if one.id == "svdd"]
    covered = {number for claim in method.claims for number in claim.sentences}
    assert covered == {sentence.number for sentence in coverage.sentences("svdd")}
