"""Private tables: accounting against closed forms and searches, brute-force counts, refusals, releases, an attack."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.datasets import load
from lab.generative import Column, Domain, halfspaces, marginals, prefixes, privacy, ranges, synthesize
from lab.generative.queries import Queries, scores
from lab.generative.relaxed_tables import RelaxedCounts, relaxed_search
from lab.generative.studies import private_gsd as study
from lab.kernels.genetic import count_queries, search_tables
from lab.source import project_root


def domain():
    real = [Column("c", low=-2, high=6), Column("d", low=0, high=9, logarithmic=True)]
    return Domain([Column("a", (0, 1, 2), ordinal=True), Column("b", ("x", "y")), *real])  # fmt: skip


def everything(over):
    return (
        marginals(over, 2, bins=4)
        + marginals(over, 3, bins=2)
        + ranges(over, 2)
        + prefixes(over, 30)
        + halfspaces(over, 15)
    )


def by_hand(queries, x):
    """Shares by the words of the definition, a row and a query at a time."""
    over, found = queries.domain, []
    layout = queries.layout
    for columns, bins in zip(layout.cell_column, layout.cell_bins):
        used = [(j, b) for j, b in zip(columns, bins) if j >= 0]
        code = [
            x[:, j].astype(int) if over.levels[j] else np.minimum((x[:, j] * b).astype(int), b - 1) for j, b in used
        ]
        for cell in itertools.product(*(range(b) for _, b in used)):
            found.append(np.mean([all(c[i] == v for c, v in zip(code, cell)) for i in range(len(x))]))
    inside = scores(over, layout.weight, x) >= layout.bound
    for q in range(len(layout.bound)):
        kept = x[:, layout.condition[q]] == layout.condition_level[q] if layout.condition[q] >= 0 else True
        found.append((inside[:, q] & kept).mean())
    return np.array(found)


def test_counts_are_those_of_the_definition():
    over = domain()
    queries = everything(over)
    x = over.random(37, torch.Generator().manual_seed(0))[0]
    assert np.allclose(queries.answers(x), by_hand(queries, x))
    assert np.allclose(queries.answers(np.stack([x, x[::-1]]))[1], queries.answers(x))
    assert sum(one.stop - one.start for one in queries.workloads) == len(queries)
    cells = marginals(over, 1)
    for one in cells.workloads:
        assert cells.answers(x)[one.start : one.stop].sum() == pytest.approx(1)


@given(seed=st.integers(0, 1000), kind=st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_no_replaced_row_moves_counts_beyond_the_stated_sensitivity(seed, kind):
    over = domain()
    queries = [marginals(over, 2), ranges(over, 3), prefixes(over, 12, seed=seed), halfspaces(over, 9, seed=seed)][kind]
    rows = over.random(2, torch.Generator().manual_seed(seed))[0]
    change = np.diff(count_queries(rows[:, None], queries.layout), axis=0)[0]
    for one in queries.workloads:
        assert math.sqrt((change[one.start : one.stop] ** 2).sum()) <= one.sensitivity + 1e-12


@pytest.mark.parametrize("rho, epsilon", itertools.product((1e-4, 0.02, 0.5, 4.0), (0.05, 1.0, 5.0)))
def test_conversion_lies_between_exact_gaussian_and_closed_form(rho, epsilon):
    from scipy import optimize, stats

    def log_delta(t):
        alpha = 1 + math.exp(t)
        return (alpha - 1) * (alpha * rho - epsilon) + (alpha - 1) * math.log1p(-1 / alpha) - math.log(alpha)

    found = optimize.minimize_scalar(log_delta, bounds=(-20, 20), method="bounded", options={"xatol": 1e-10})
    delta = privacy.zcdp_delta(rho, epsilon)
    assert delta == pytest.approx(min(1.0, math.exp(max(found.fun, -740))), rel=1e-6, abs=1e-300)
    mu = math.sqrt(2 * rho)
    exact = stats.norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * stats.norm.cdf(-mu / 2 - epsilon / mu)
    assert delta >= exact - 1e-15
    if epsilon > rho:
        assert delta <= math.exp(-((epsilon - rho) ** 2) / (4 * rho)) * (1 + 1e-12)


def test_conversion_returns_and_grows():
    for epsilon, delta in itertools.product((0.01, 1.0, 20.0), (1e-12, 1e-5, 0.1)):
        rho = privacy.zcdp_rho(epsilon, delta)
        assert privacy.zcdp_epsilon(rho, delta) == pytest.approx(epsilon, rel=1e-6)
        assert privacy.zcdp_rho(2 * epsilon, delta) > rho
        closed = (math.sqrt(math.log(1 / delta) + epsilon) - math.sqrt(math.log(1 / delta))) ** 2
        assert rho >= closed * (1 - 1e-9)
    assert privacy.zcdp_rho(math.inf, 1e-6) == math.inf
    for bad in ({"epsilon": 0.0, "delta": 1e-6}, {"epsilon": 1.0, "delta": 0.0}, {"epsilon": 1.0, "delta": 1.0}):
        with pytest.raises(ValueError, match="epsilon|delta"):
            privacy.zcdp_rho(**bad)


def test_noise_has_the_stated_deviation_and_selection_its_law():
    generator = torch.Generator().manual_seed(0)
    noised, sigma = privacy.gaussian_mechanism(np.zeros(3), 0.5, 2.0, generator, 40_000)
    assert sigma == 0.25 and np.allclose(noised.std(0), 0.25, rtol=0.02) and abs(np.corrcoef(noised.T)[0, 1]) < 0.02
    errors = np.tile([0.0, 0.05, 0.1], (60_000, 1))
    chosen = privacy.select_workload(errors, 0.1, 0.5, generator)
    scale = 0.1 / math.sqrt(2 * 0.5)
    law = np.exp(errors[0] / scale)
    assert np.allclose(np.bincount(chosen) / len(chosen), law / law.sum(), atol=0.01)


def test_search_carries_exact_counts_and_its_two_ways_agree():
    over = domain()
    queries = everything(over)
    generator = torch.Generator().manual_seed(1)
    start = over.random(30, generator, 3)
    targets = (
        count_queries(np.where(over.levels > 0, 0, over.random(30, generator, 3)), queries.layout).astype(float) + 0.25
    )
    active = np.random.default_rng(0).random(targets.shape) < 0.7
    options = {"generations": 60, "proposals": 12}
    x, counts, report = search_tables(start, queries.layout, targets, active, np.arange(3), **options)
    assert np.array_equal(counts, count_queries(x, queries.layout))
    assert np.allclose(report[:, 0], ((counts - targets) ** 2 * active).sum(1))
    assert (report[:, 0] < ((count_queries(start, queries.layout) - targets) ** 2 * active).sum(1)).all()
    y, *_ = search_tables(start, queries.layout, targets, active, np.arange(3), incremental=False, **options)
    assert np.array_equal(x, y)
    alone, *_ = search_tables(start[1:2], queries.layout, targets[1:2], active[1:2], np.array([1]), **options)
    assert np.array_equal(alone[0], x[1])
    assert ((x >= 0) & (x <= np.where(over.levels, over.levels - 1, 1))).all()


def test_relaxed_counts_of_hard_rows_are_the_counts():
    over = domain()
    queries = marginals(over, 2, bins=4) + prefixes(over, 10) + halfspaces(over, 10)
    x = over.random(25, torch.Generator().manual_seed(2))[0]
    columns = [torch.from_numpy(x[:, j]) for j in range(len(over))]
    hot = torch.nn.functional.one_hot
    soft = torch.cat([hot(c.long(), int(k)) if k else c[:, None] for c, k in zip(columns, over.levels)], -1)
    found = RelaxedCounts(queries)(soft.float()[None], 1e-6, "tempered")
    assert np.allclose(found[0], queries.answers(x), atol=2e-3)
    with pytest.raises(ValueError, match="two columns"):
        RelaxedCounts(marginals(over, 3))
    made = relaxed_search(queries, queries.answers(x)[None], rows=25, steps=150, rate=0.1)
    start = np.abs(queries.answers(over.random(25, torch.Generator().manual_seed(5))[0]) - queries.answers(x)).mean()
    assert np.abs(queries.answers(made)[0] - queries.answers(x)).mean() < start


def table(rows=300, seed=0):
    generator = np.random.default_rng(seed)
    age = generator.integers(18, 90, rows)
    return pd.DataFrame(
        {"age": age, "income": np.exp(generator.normal(9 + age / 90, 0.5)), "vote": np.where(age > 50, "blue", "red")}
    )


def test_synthesize_states_what_it_spent_and_a_saved_table_comes_back(tmp_path):
    frame = table()
    before = frame.copy()
    made = synthesize(
        frame, 2.0, 1e-5, bounds={"age": (18, 90)}, private_bounds_of=["income"], levels={"vote": ["red", "blue"]}, rows=80,
        generations=300, seed=3,
    )  # fmt: skip
    assert frame.equals(before) and list(made.frame.columns) == ["age", "income", "vote"] and len(made.frame) == 80
    spent = sum(rho for _, rho in made.statement["spent"])
    assert spent == pytest.approx(privacy.zcdp_rho(2.0, 1e-5)) and made.statement["spent"][0][0] == "bounds of income"
    assert "replaced row" in made.statement["convention"] and "3" in made.statement["noise seed"]
    assert "floating-point" in made.statement["not protected"]
    assert made.errors(frame).mean() < 0.15 and set(made.frame["vote"]) <= {"red", "blue"}
    made.save(tmp_path / "synthetic.csv")
    again, statement = made.load(tmp_path / "synthetic.csv")
    assert np.allclose(again["age"], made.frame["age"]) and statement["rho"] == made.statement["rho"]
    assert len(made.to_frame()) == len(made.statement["spent"])


def test_noise_is_fresh_unless_a_seed_is_given():
    options = {"bounds": {"age": (18, 90), "income": (0, 1e6)}, "public_levels": ["vote"], "rows": 20, "generations": 5}
    one, two = (synthesize(table(), 1.0, 1e-5, **options) for _ in range(2))
    assert not np.array_equal(one.noised, two.noised) and "not kept" in one.statement["noise seed"]
    one, two = (synthesize(table(), 1.0, 1e-5, seed=1, **options) for _ in range(2))
    assert np.array_equal(one.noised, two.noised) and one.frame.equals(two.frame)
    adaptive = synthesize(table(), 1.0, 1e-5, seed=1, rounds=3, **options)
    assert sum(rho for _, rho in adaptive.statement["spent"]) == pytest.approx(adaptive.statement["rho"])
    assert np.isfinite(adaptive.sigma).sum() < len(adaptive.queries)
    exact = synthesize(table(), math.inf, 1e-5, **options)
    assert np.allclose(exact.noised, exact.queries.answers(exact.queries.domain.encode(table())))


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"bounds": {}}, ValueError, "'age' has no stated values: give bounds"),
        ({"public_levels": ()}, ValueError, "'vote' has no stated values: give levels"),
        ({"levels": {"vote": ["red"]}, "public_levels": ()}, ValueError, "beyond its levels"),
        ({"levels": {"votes": ["red"]}}, ValueError, "did you mean 'vote'"),
        ({"bounds": {"age": (90, 18), "income": (0, 1)}}, ValueError, "low < high"),
        ({"epsilon": -1.0}, ValueError, "epsilon"),
        ({"delta": 0.0}, ValueError, "delta"),
        ({"rounds": 10_000}, ValueError, "rounds must be at most"),
        ({"rows": 0}, ValueError, "rows"),
        ({"seed": 1.5}, TypeError, "seed"),
        ({"table": {"a": 1}}, TypeError, "pandas frame"),
        ({"domain": Domain([Column("age", low=0, high=1)])}, ValueError, "already states"),
    ],
)
def test_bad_input_is_refused_in_words(change, error, words):
    options = {
        "table": table(50), "epsilon": 1.0, "delta": 1e-5, "bounds": {"age": (18, 90), "income": (0, 1e6)},
        "public_levels": ["vote"], "rows": 10, "generations": 2,
    } | change  # fmt: skip
    with pytest.raises(error, match=words):
        synthesize(options.pop("table"), options.pop("epsilon"), options.pop("delta"), **options)


def test_missing_values_and_other_domains_are_refused():
    frame = table(20)
    frame.loc[3, "age"] = np.nan
    with pytest.raises(ValueError, match="missing values"):
        synthesize(frame, 1.0, 1e-5, bounds={"age": (0, 99), "income": (0, 1e6)}, public_levels=["vote"])
    with pytest.raises(ValueError, match="same domain"):
        Queries(domain()) + Queries(domain())
    with pytest.raises(ValueError, match="different names"):
        Domain([Column("a", (1, 2)), Column("a", (1, 2))])


def test_private_bounds_cover_the_bulk_and_refuse_when_there_is_too_little_budget():
    values = np.random.default_rng(0).uniform(20, 60, 2000)
    low, high = privacy.private_bounds(values, 0.1, torch.Generator().manual_seed(0))
    assert low <= 20 and 60 <= high <= 64
    low, high = privacy.private_bounds(-values, 0.1, torch.Generator().manual_seed(0))
    assert low == -64 and high >= -20
    with pytest.raises(ValueError, match="more budget"):
        privacy.private_bounds(values[:5], 1e-6, torch.Generator().manual_seed(0))


def test_encoding_returns_and_says_what_is_beyond():
    over = domain()
    frame = pd.DataFrame({"a": [0, 2], "b": ["x", "y"], "c": [-2.0, 7.0], "d": [0.0, 3.0]})
    back = over.decode(over.encode(frame))
    assert back["b"].tolist() == ["x", "y"] and back["c"].tolist() == [-2.0, 6.0] and np.allclose(back["d"], [0, 3])


def test_attack_proves_less_than_stated_and_finds_half_the_noise():
    found = study.attack(3.0, 0.01, runs=10_000)
    assert len(found) == 3 and all(one.epsilon <= 3.0 for one in found) and max(one.epsilon for one in found) > 1
    assert max(one.epsilon for one in study.attack(3.0, 0.01, runs=10_000, factor=0.5)) > 3.0


def test_surveys_fit_their_domains():
    for name in study.DOMAINS:
        over, x = study.private_table(name)
        assert x.shape == (len(load(name)), len(over)) and np.isfinite(x).all()


def test_a_result_saves_loads_and_makes_a_frame(tmp_path):
    result = study.run(study.Setting.of("smoke", queries="all"), seeds=(0, 1))
    assert list(result.to_frame()["arm"])[:2] == ["genetic", "relaxed"]
    result.save(tmp_path / "result.pt")
    again = study.Result.load(tmp_path / "result.pt")
    assert np.array_equal(again.error["genetic"], result.error["genetic"]) and again.spent == result.spent
    own = load(project_root() / "data" / "samples" / "survey.csv")
    assert study.run(study.Setting.of("smoke"), seeds=(0,), data=own).error["genetic"].shape == (1,)


def test_tables_beyond_their_columns_are_refused():
    queries = marginals(domain(), 1)
    for x in (np.full((1, 2, 4), 3.0), np.zeros((2, 4)), np.full((1, 2, 4), np.nan)):
        with pytest.raises(ValueError, match="tables must"):
            count_queries(x, queries.layout)
