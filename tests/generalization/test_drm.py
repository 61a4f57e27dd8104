"""Domain-specific risk minimization: loss, weights, gap estimates, adaptation, the bound, and a user's own domains."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import training
from lab.datasets import Points, own_domains
from lab.generalization import DRMClassifier, combine, drm_loss, entropies, gap_estimates, head_weights, train_drm
from lab.generalization.drm import adapt_heads, adaptivity_bound
from lab.generalization.studies import drm as study


@pytest.fixture
def batch(generator):
    logits = torch.randn(9, 4, 5, generator=generator, dtype=torch.float64)
    return logits, torch.randint(5, (9,), generator=generator), torch.arange(9) % 3


def test_loss_is_half_the_own_head_and_half_the_head_for_all(batch):
    logits, y, d = batch
    cross = torch.nn.functional.cross_entropy
    wanted = [0.5 * (cross(logits[i, d[i]], y[i]) + cross(logits[i, 3], y[i])) for i in range(9)]
    torch.testing.assert_close(drm_loss(logits, y, d), torch.stack(wanted))
    assert torch.autograd.gradcheck(lambda z: drm_loss(z, y, d), logits.clone().requires_grad_())


def test_loss_of_batches_equals_the_mean_over_domains(generator):
    model = DRMClassifier(training.mlp(3, 4, widths=(5,)), 4, 2, 3)
    batches = [(torch.randn(n, 3, generator=generator), torch.randint(3, (n,), generator=generator)) for n in (4, 7)]
    each = [drm_loss(model(x), y, torch.full_like(y, i)).mean() for i, (x, y) in enumerate(batches)]
    torch.testing.assert_close(model.training_loss(batches), (each[0] + each[1]) / 2)
    with pytest.raises(ValueError, match="one for each of the 2 source domains, got 1"):
        model.training_loss(batches[:1])


def test_entropies_are_zero_for_a_sure_head_and_log_classes_for_an_undecided_one():
    logits = torch.tensor([[[100.0, 0, 0], [0, 0, 0]]])
    torch.testing.assert_close(entropies(logits), torch.tensor([[0.0, math.log(3)]]))


@given(st.lists(st.floats(1e-3, 5), min_size=1, max_size=6), st.floats(0, 8))
@settings(max_examples=50, deadline=None)
def test_weights_are_a_distribution_in_the_order_of_the_gaps(gaps, power):
    gap = torch.tensor(gaps, dtype=torch.float64)
    weights = head_weights(gap, "soft", power)
    assert float(weights.sum()) == pytest.approx(1)
    wanted = (gap + 1e-6) ** -power
    torch.testing.assert_close(weights, wanted / wanted.sum())


def test_hard_weights_are_the_limit_of_soft_ones():
    gap = torch.tensor([0.3, 0.1, 0.2], dtype=torch.float64)
    torch.testing.assert_close(head_weights(gap, "soft", 200.0), head_weights(gap, "hard"), atol=1e-12, rtol=0)
    torch.testing.assert_close(head_weights(gap, "soft", 0.0), head_weights(gap, "uniform"))


def test_combined_probabilities_are_a_mixture_of_the_domain_heads(batch):
    logits, _, _ = batch
    p = torch.softmax(logits, -1)
    weights = head_weights(entropies(logits)[:, :3].mean(0))
    torch.testing.assert_close(combine(logits), torch.einsum("h,nhk->nk", weights, p[:, :3]))
    by_sample = torch.stack([combine(one[None])[0] for one in logits])
    torch.testing.assert_close(combine(logits, scope="sample"), by_sample)
    torch.testing.assert_close(combine(logits, rule="all"), p[:, 3])
    torch.testing.assert_close(combine(logits[:, :2]), p[:, 0])  # one domain: its head
    torch.testing.assert_close(combine(torch.stack([logits, 2 * logits]))[1], combine(2 * logits))


def test_estimates_find_the_domain_that_the_target_comes_from(generator):
    centres = torch.eye(3, 6) * 4
    domain = torch.arange(300) % 3
    source = centres[domain] + torch.randn(300, 6, generator=generator)
    target = centres[1] + torch.randn(50, 6, generator=generator)
    logits = torch.randn(50, 4, 5, generator=generator)
    logits[:, 1] *= 10
    found = gap_estimates(logits, target, source, domain)
    assert {name: int(value.argmin()) for name, value in found.items()} == dict.fromkeys(found, 1)


def test_adaptation_without_a_step_is_batchwise_prediction_and_leaves_the_heads(generator):
    weight, bias = torch.randn(12, 6, generator=generator), torch.zeros(12)
    z, before = torch.randn(50, 6, generator=generator), weight.clone()
    p, share, _ = adapt_heads(weight, bias, z, 3, learning_rate=0.0, batch=20)
    logits = (z @ weight.T).unflatten(-1, (4, 3))
    torch.testing.assert_close(p, torch.cat([combine(part) for part in logits.split(20)]))
    adapt_heads(weight, bias, z, 3, learning_rate=0.5, beta=0.0)
    assert torch.equal(weight, before)
    assert 0 <= float(share) <= 1


def test_adaptation_of_stacked_models_equals_each_alone(generator):
    weight, bias, z = (
        torch.randn(2, 9, 4, generator=generator),
        torch.randn(2, 9, generator=generator),
        torch.randn(2, 40, 4),
    )
    both, _, _ = adapt_heads(weight, bias, z, 3, learning_rate=0.1, beta=0.4)
    for k in range(2):
        alone, _, _ = adapt_heads(weight[k], bias[k], z[k], 3, learning_rate=0.1, beta=0.4)
        torch.testing.assert_close(both[k], alone)


def test_doubled_softmax_never_passes_half(generator):
    weight, z = 50 * torch.randn(30, 6, generator=generator), torch.randn(64, 6, generator=generator)
    _, share, largest = adapt_heads(weight, torch.zeros(30), z, 10, beta=0.5, coded=True)
    assert share == 0
    assert float(largest) <= math.e / (math.e + 9) + 1e-6
    assert float(adapt_heads(weight, torch.zeros(30), z, 10, beta=0.5)[1]) > 0.5


def test_bound_is_tight_without_any_shift():
    even, labels = torch.full((4,), 0.25), torch.tensor([0.0, 1, 1, 0])
    risk, most, gap = adaptivity_bound(even[None], even, labels[None], labels, 1 - labels[None], torch.ones(1))
    assert risk == most == 1
    assert gap == 0


def test_own_table_with_domains_in_a_few_lines(tmp_path):
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"site": np.resize(["a", "b", "c"], 240), "u": draw.normal(size=240), "v": draw.normal(size=240)}
    )
    frame["ill"] = np.where((frame.u > 0) ^ (frame.site == "c"), "yes", "no")
    sources, target = own_domains(frame, column="site", target="ill").leave_out("b")
    start = DRMClassifier(training.mlp(2, 16), 16, 2, 2)
    before = [p.clone() for p in start.parameters()]
    model = train_drm(start, sources, epochs=30)
    assert all(torch.equal(a, b) for a, b in zip(before, start.parameters()))
    heads = model(target.x).argmax(-1)
    assert float((heads[:, 0] == target.label).float().mean()) > 0.9  # the head of a
    assert float((heads[:, 1] == target.label).float().mean()) < 0.1  # the head of c
    assert model.predict(target.x, rule="hard").shape == model.adapt(target.x).shape == (80, 2)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    again = DRMClassifier(training.mlp(2, 16), 16, 2, 2)
    again.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert torch.equal(again.predict(target.x), model.predict(target.x))


def test_bad_arguments_are_refused(batch):
    logits, _, _ = batch
    with pytest.raises(ValueError, match="rule"):
        combine(logits, rule="best")
    with pytest.raises(ValueError, match="scope"):
        combine(logits, scope="set")
    with pytest.raises(ValueError, match="domains"):
        DRMClassifier(training.mlp(3, 4), 4, 0, 3)
    with pytest.raises(ValueError, match="beta"):
        adapt_heads(torch.zeros(4, 2), torch.zeros(4), torch.zeros(3, 2), 2, beta=2.0)


def test_result_is_kept_and_has_every_rule(tmp_path):
    result = study.run(study.Setting.of("smoke", items=150, epochs=1), seeds=(0,))
    result.save(tmp_path / "result")
    again = study.Result.load(tmp_path / "result")
    assert again.targets == result.targets
    assert torch.equal(again.unseen["soft"], result.unseen["soft"])
    assert len(result.to_frame()) == 3 * len(result.seen)
    assert isinstance(Points(torch.zeros(1, 2)), Points)
