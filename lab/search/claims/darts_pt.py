"""Measurements of the statements about perturbation-based selection."""

from __future__ import annotations

import torch

from lab.claims import Effects, measures
from lab.search import darts_pt
from lab.search.space import Space
from lab.search.studies import darts_pt as study
from lab.search.studies.common import shown
from lab.search.supernet import Supernet, mix


def _features(seed, rows=40):
    """Samples of x, o, m: targets, and two noisy views of them with noise of random size and correlation."""
    generator = torch.Generator().manual_seed(seed)
    m, a, b = torch.randn(3, rows, 500, generator=generator, dtype=torch.float64)
    size = 0.2 + 2 * torch.rand(2, rows, 1, generator=generator, dtype=torch.float64)
    return m + size[0] * a, m + size[1] * (0.5 * a + b), m


@measures("darts_pt.optimal-mix")
def optimal_mix(trial):
    """Largest difference of the closed form from the regression of m - x on o - x. Control: the two weights are exchanged."""
    errors = []
    for x, o, m in zip(*_features(trial.seeds[0])):
        skip, candidate = darts_pt.optimal_mix(x, o, m)
        if trial.control:
            skip, candidate = candidate, skip
        design = torch.stack([o - x, torch.ones_like(x)], 1)
        best = torch.linalg.lstsq(design, (m - x)[:, None]).solution[0, 0]
        errors.append(max(abs(float(candidate - best)), abs(float(skip + candidate) - 1)))
    return Effects(errors)


@measures("darts_pt.nearer-input-larger-weight")
def nearer(trial):
    """(w_skip - w_candidate) (V_x + V_o) 2 / (V_o - V_x), V the variances around m. Control: x and o exchanged."""
    effects = []
    for x, o, m in zip(*_features(trial.seeds[0])):
        skip, candidate = darts_pt.optimal_mix(*((o, x) if trial.control else (x, o)), m)
        near, far = (x - m).var(), (o - m).var()
        effects.append(float((skip - candidate) * 2 * (near + far) / (far - near)))
    return Effects(effects)


@measures("darts_pt.strength-is-the-loss-of-removal")
def removal(trial):
    """Largest difference of strengths from the losses of supernets that never had the operation.

    Control: each operation has the strength of the next one.
    """
    names = ("skip", "linear", "mlp")
    generator = torch.Generator().manual_seed(trial.seeds[0])
    x, y = torch.randn(60, 6, generator=generator, dtype=torch.float64), torch.arange(60) % 3
    whole = Supernet(Space(names, 6, 3, nodes=1, cells=1, width=5))
    parameters = whole.initialize([trial.seeds[0]], torch.float64)
    weights = mix(torch.randn(1, 1, 3, generator=generator, dtype=torch.float64))
    found = darts_pt.strengths(whole, parameters, weights, x, y)[0, 0]

    def loss(net, own, w):
        return float(torch.nn.functional.cross_entropy(net(own, w, x)[0], y))

    errors, kinds = [], {"skip": None, "linear": 1, "mlp": 2}
    for o, name in enumerate(names):
        kept = tuple(other for other in names if other != name)
        part = Supernet(Space(kept, 6, 3, nodes=1, cells=1, width=5))
        own = {key: value for key, value in parameters.items() if key[0] in "sh"}
        for place, other in enumerate(kept):
            for key, value in parameters.items():
                if key.startswith(f"0.0.{kinds[other]}."):
                    own[f"0.0.{place}.{key[6:]}"] = value
        rest = weights[:, :, [k for k in range(3) if k != o]]
        errors.append(
            abs(loss(part, own, rest) - loss(whole, parameters, weights) - float(found[(o + trial.control) % 3]))
        )
    return Effects(errors)


def _run(trial, control="", **changes):
    return study.run(
        study.Setting.of(trial.budget, **changes),
        seeds=trial.seeds,
        data=trial.data,
        control=control if trial.control else False,
    )


@measures("darts_pt.magnitude-is-no-strength", stacked=True)
def no_strength(trial):
    """Kendall's tau of architecture weights with true accuracy over all networks. Control: the strengths in their place."""
    result = _run(trial, operations="plain")
    return Effects(result.measured["tau of strengths" if trial.control else "tau of alpha"], shown(result))


@measures("darts_pt.strength-ranks-better", stacked=True)
def ranks(trial):
    """Kendall's tau of strengths less that of architecture weights. Control: random scores."""
    result = _run(trial, "lots", operations="plain")
    return Effects(result.measured["tau of strengths"] - result.measured["tau of alpha"], shown(result))


def _over_sets(trial, arm, over):
    results = {name: _run(trial, "lots", operations=name) for name in ("s2", "s4")}
    gains = torch.stack([result.gain(arm, over) for result in results.values()])
    return Effects(gains.mean(0), {name: shown(result) for name, result in results.items()})


@measures("darts_pt.better-than-magnitude", stacked=True)
def better(trial):
    """Accuracy of perturbation less magnitude, mean over s2 and s4. Control: random scores."""
    return _over_sets(trial, "perturbation", "magnitude")


@measures("darts_pt.criterion-not-tuning", stacked=True)
def criterion(trial):
    """Accuracy of perturbation less that of magnitude with the same tuning, mean over s2 and s4. Control: random scores."""
    return _over_sets(trial, "perturbation", "tuned magnitude")


@measures("darts_pt.frozen-alpha-suffices", stacked=True)
def frozen(trial):
    """Accuracy of perturbation from a supernet of frozen alpha less magnitude from a trained one. Control: random scores."""
    return _over_sets(trial, "frozen alpha", "magnitude")


@measures("darts_pt.several-searches-improve", stacked=True)
def several(trial):
    """Accuracy of perturbation less magnitude, mean over five searches, each on s2 and s4. Control: random scores."""
    bases = trial.of(study.BASES[:1], study.BASES, study.BASES)
    results = {(base, name): _run(trial, "lots", operations=name, base=base) for base in bases for name in ("s2", "s4")}
    gains = {key: result.gain("perturbation", "magnitude") for key, result in results.items()}
    details = {f"{base}, {name}": float(gain.mean()) for (base, name), gain in gains.items()}
    return Effects(torch.stack(list(gains.values())).mean(0), {"mean gain": details})
