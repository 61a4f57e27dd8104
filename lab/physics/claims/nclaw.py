"""Measurements of the statements about neural constitutive laws."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lab.claims import Effects, measures
from lab.kernels import MpmState, mpm_step
from lab.physics import continuum as c
from lab.physics import nclaw
from lab.physics.studies import nclaw as study
from lab.physics.studies.nclaw import Setting

SETTINGS = {"jelly": {}, "water": {"material": "water"}, "plasticine": {"material": "plasticine"},
            "sand": {"material": "sand"}}  # fmt: skip


def _gradients(seed, count=64, d=2, spread=0.15):
    draw = torch.Generator().manual_seed(seed)
    found = torch.eye(d, dtype=torch.float64) + spread * torch.randn(count, d, d, generator=draw, dtype=torch.float64)
    Q, _ = torch.linalg.qr(torch.randn(count, d, d, generator=draw, dtype=torch.float64))
    return found[None], torch.cat([Q[..., :-1], Q[..., -1:] * torch.det(Q)[:, None, None]], -1)[None]


def _laws(seed, d, biases=False):
    options = {"d": d, "width": 8, "seeds": (seed,), "biases": biases}
    laws = [
        nclaw.MetaElasticity(**options),
        nclaw.MetaElasticity(**options, symmetric=True),
        nclaw.MetaPlasticity(**options),
    ]
    return [law.double().requires_grad_(False) for law in laws]


def formula(law, G, weights=None):
    """The law written out from its weights, with the singular values of G: what the module must equal."""
    d = G.shape[-1]
    U, S, V = torch.linalg.svd(G)
    R = U @ V
    rows, columns = torch.triu_indices(d, d)
    green = (G.mT @ G - torch.eye(d, dtype=G.dtype))[..., rows, columns]
    h = torch.cat([S.sum(-1, keepdim=True) - d, green, torch.linalg.det(G)[..., None] - 1], -1)
    for k, weight in enumerate(law.network.weights if weights is None else weights):
        h = (F.gelu(h) if k else h) @ weight[0]
    X = h.unflatten(-1, (d, d))
    X = (X + X.mT) / 2
    if hasattr(law, "alpha"):
        return G + law.alpha * R @ X
    return law.unit * R @ X @ (R.mT if law.symmetric else G.mT)


def _largest(a, unit):
    return float(a.abs().max() / unit.abs().max())


@measures("nclaw.rotation-equivariance")
def equivariance(trial):
    """tau(Q F) against Q tau(F) Q^T and F_new(Q F) against Q F_new(F), the right sides written out from the weights.

    Control: the network on raw entries of F, which is compared with itself.
    """
    found = {}
    for d in (2, 3):
        G, Q = _gradients(trial.seeds[0], d=d)
        if trial.control:
            raw = nclaw.RawElasticity(d, 8, seeds=(trial.seeds[0],)).double().requires_grad_(False)
            found[f"raw network, {d}-D"] = _largest(raw(Q @ G) - Q @ raw(G) @ Q.mT, raw(G))
            continue
        for name, law in zip(("elasticity", "symmetric form", "plasticity"), _laws(trial.seeds[0], d)):
            right = Q @ formula(law, G) @ (Q.mT if name != "plasticity" else torch.eye(d, dtype=G.dtype))
            unit = right if name != "plasticity" else right - Q @ G
            found[f"{name}, {d}-D"] = _largest(law(Q @ G) - right, unit)
    return Effects(list(found.values()), found)


@measures("nclaw.rest-equilibrium")
def rest(trial):
    """Stress and plastic flow at F = Q over those at strains of 15 %, and the distance from the laws written out.

    Control: networks with biases.
    """
    found = {}
    for d in (2, 3):
        G, Q = _gradients(trial.seeds[0], d=d)
        for name, law in zip(("elasticity", "symmetric form", "plasticity"), _laws(trial.seeds[0], d, trial.control)):
            offset = Q if name == "plasticity" else torch.zeros_like(Q)
            moved = formula(law, G) - (G if name == "plasticity" else 0)
            found[f"{name} at rest, {d}-D"] = _largest(law(Q) - offset, moved)
            if not trial.control:
                found[f"{name}, {d}-D"] = _largest(law(G) - formula(law, G), moved)
    return Effects(list(found.values()), found)


def _flight(law, seed, steps=40):
    """A spinning body far from walls and without gravity under ``law``: its states before and after."""
    setting = Setting.of("smoke")
    scene = setting.scene()
    scene = c.Scene(scene.cells, scene.spacing, scene.dt, volume=scene.volume, gravity=(0.0, 0.0), layers=0)
    x = (study.body("square", 6, 2, setting.pitch) + 0.5)[None]
    state = c.start(x, (0.3, -0.2), spin=6.0)
    stretched = _gradients(seed, x.shape[1], spread=0.05)[0]
    state = state._replace(F=stretched)
    return state, c.rollout(state, law, None, scene, steps).last, scene


def _angular(state: MpmState, scene):
    x = state.x - state.x.mean(1, keepdim=True)
    v = state.v - state.v.mean(1, keepdim=True)
    moment = torch.einsum("sna,snb->sab", x, v) + (scene.spacing**2 / 4 * state.C.mT).sum(1)
    return moment[:, 0, 1] - moment[:, 1, 0]


def _acts(law, scene, state):
    """How far one step under ``law`` is from one under the law written out, over what the stress changes in it."""
    ours, wanted, dust = (
        mpm_step(*state, tau, **scene.options).v for tau in (law(state.F), formula(law, state.F), 0 * state.F)
    )
    return _largest(ours - wanted, wanted - dust)


@measures("nclaw.momentum-is-kept")
def momentum(trial):
    """Change of the mean velocity over its size in 40 steps without walls and gravity, in double precision.

    Control: the end-to-end simulator, whose messages have no opposite.
    """
    if trial.control:
        found = study.end_to_end(Setting.of("smoke"), seeds=trial.seeds)
        return Effects(found["momentum"].double())
    law = _laws(trial.seeds[0], 2)[0]
    before, after, scene = _flight(law, trial.seeds[0])
    change = (after.v - before.v).mean(1).norm() / before.v.mean(1).norm()
    return Effects([float(change), _acts(law, scene, before)])


@measures("nclaw.symmetric-form-keeps-angular-momentum")
def angular(trial):
    """Change of the angular momentum in 40 steps over its size. Control: the published form tau = R X F^T."""
    published, ours, _ = _laws(trial.seeds[0], 2)
    law = published if trial.control else ours
    before, after, scene = _flight(law, trial.seeds[0])
    old, new = _angular(before, scene), _angular(after, scene)
    return Effects([float(((new - old) / old).abs()), _acts(law, scene, before)])


@measures("nclaw.gradient-through-the-simulation")
def gradient(trial):
    """Slope of the position error in a random direction of the weights, by the adjoint and by central differences.

    The differences take the law written out from its weights. Control: the deformation is detached at each step.
    """
    seed = trial.seeds[0]
    law = _laws(seed, 2)[0].requires_grad_(True)
    setting = Setting.of("smoke")
    scene = setting.scene()
    state = study.thrown(setting, "square", (0.5, -2.0), 4.0)
    state = MpmState(*(each.double() for each in state))
    state = state._replace(F=_gradients(seed, state.x.shape[1], spread=0.05)[0])
    target = state.x + 0.01

    def error(stress):
        return (c.rollout(state, stress, None, scene, 12).last.x - target).square().sum()

    draw = torch.Generator().manual_seed(seed)
    weights = [w.detach() for w in law.network.weights]
    way = [torch.randn(w.shape, generator=draw, dtype=w.dtype) for w in weights]
    slopes = torch.autograd.grad(error(lambda G: law(G.detach() if trial.control else G)), list(law.network.weights))
    ours = sum(float((g * a).sum()) for g, a in zip(slopes, way))
    h = 1e-5
    with torch.no_grad():
        ends = [
            float(error(lambda G, s=s: formula(law, G, [w + s * h * a for w, a in zip(weights, way)]))) for s in (1, -1)
        ]
    wanted = (ends[0] - ends[1]) / (2 * h)
    return Effects(abs(ours - wanted) / abs(wanted), {"adjoint": ours, "differences": wanted})


def _run(trial, control="shuffled", **changes):
    return study.run(
        Setting.of(trial.budget, **changes), seeds=trial.seeds, control=control if trial.control else False
    )


def _shown(result):
    return {"errors in m": {name: float(e.mean()) for name, e in result.errors.items()},
            "without stress": {name: float(e.mean()) for name, e in result.zero.items()}}  # fmt: skip


@measures("nclaw.generalizes-to-geometry", stacked=True)
def geometry(trial):
    """Worst of ring and bar. Control: each particle is taught another one's path."""
    result = _run(trial)
    return Effects(result.ratio("ring", "bar"), _shown(result))


@measures("nclaw.generalizes-to-conditions", stacked=True)
def conditions(trial):
    """Worst of another throw and a slope of 25 degrees. Control: each particle is taught another one's path."""
    result = _run(trial)
    return Effects(result.ratio("velocity", "slope"), _shown(result))


@measures("nclaw.generalizes-in-time", stacked=True)
def time(trial):
    """Twice the time of the throw that taught. Control: each particle is taught another one's path."""
    result = _run(trial)
    return Effects(result.ratio("time"), _shown(result))


@measures("nclaw.two-materials", stacked=True)
def two(trial):
    """Learned jelly against learned water in one scene, the worse of both. Control: as for one material."""
    control = "shuffled" if trial.control else False
    return Effects(study.mixed(Setting.of(trial.budget), seeds=trial.seeds, control=control))


@measures("nclaw.solids-to-fluids", stacked=True)
def materials(trial):
    """The worst of four materials on ring and bar. Control: no training."""
    found = {name: _run(trial, "untrained", **more).ratio("ring", "bar") for name, more in SETTINGS.items()}
    return Effects(
        torch.stack(list(found.values())).amax(0), {name: float(ratio.mean()) for name, ratio in found.items()}
    )


@measures("nclaw.elastic-and-plastic-jointly", stacked=True)
def jointly(trial):
    """Both laws of plasticine from one throw, on ring and bar. Control: a motion that never yields."""
    result = _run(trial, "rigid", material="plasticine", learned="both")
    return Effects(result.ratio("ring", "bar"), _shown(result))


def _against_graph(trial):
    """Error of the end-to-end simulator on the ring over that of the learned law. Control: no training of the law."""
    ours = _run(trial, "untrained").errors["ring"]
    theirs = study.end_to_end(Setting.of(trial.budget), seeds=trial.seeds)["error"]
    return Effects(theirs / ours, {"end to end (m)": float(theirs.mean()), "learned law (m)": float(ours.mean())})


measures("nclaw.orders-of-magnitude", "nclaw.beats-end-to-end", stacked=True)(_against_graph)


@measures("nclaw.beats-raw-network", stacked=True)
def raw(trial):
    """Error on the ring of a network on raw entries of F, trained alike, over that of the law. Control: no training of the law."""
    ours = _run(trial, "untrained").errors["ring"]
    theirs = study.run(Setting.of(trial.budget, network="raw"), seeds=trial.seeds).errors["ring"]
    return Effects(theirs / ours, {"raw network (m)": float(theirs.mean()), "learned law (m)": float(ours.mean())})


@measures("nclaw.from-a-film", stacked=True)
def from_film(trial):
    """A law from marks tracked in a film of 96 x 96, on the ring. Control: frames in a random order."""
    found = study.filmed(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(found["film"], {"tracking error (m)": float(found["tracking"].mean())})


@measures("nclaw.from-few-noisy-marks", stacked=True)
def from_marks(trial):
    """A law from a fifth of the particles with noise of 1 % of the body, on the ring. Control: frames in a random order."""
    found = study.filmed(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(found["marks"])
