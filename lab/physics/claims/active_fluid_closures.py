"""Measurements of the statements about learned closures of an active fluid."""

from __future__ import annotations

import time

import torch

from lab.claims import Effects, measures
from lab.physics import active_fluid_closures as a
from lab.physics.studies import active_fluid_closures as study
from lab.physics.studies.active_fluid_closures import Setting


def _moments(seed, count=400):
    """Random a_2 in the unit disc and strain rates, (1, 1, count), in double precision."""
    draw = torch.Generator().manual_seed(seed)
    size, angle, x, y = torch.rand(4, 1, 1, count, generator=draw, dtype=torch.float64)
    return torch.polar(size.sqrt(), 2 * torch.pi * angle), torch.complex(2 * x - 1, 2 * y - 1)


def _network(law, *features):
    h = torch.stack(features, -1).reshape(-1, len(features))
    for k, (weight, bias) in enumerate(zip(law.weights, law.biases)):
        h = (torch.tanh(h) if k else h) @ weight[0] + bias[0]
    return h.T.reshape(-1, *features[0].shape)


def formula(law, a2, e):
    """The closure written out from its weights, with the sigmoid of the paper's formula."""
    s2, z = a2.abs().square(), e * a2.conj()
    strained = law.inputs > 1
    found = _network(law, *((s2, e.abs().square(), z.real, z.imag.square()) if strained else (s2,)))
    r = 2 * s2 - 1 + 2 * (1 - s2) * torch.sigmoid(s2 * found[0])
    return (a2 / a2.abs()) ** 2 * torch.complex(r, s2 * z.imag * found[1] if strained else 0 * r)


def _laws(seed, width=8):
    laws = [a.InvariantClosure(width, (seed,)), a.StrainClosure(width, (seed,))]
    return [law.double().requires_grad_(False) for law in laws]


def _largest(gap, unit):
    return float(gap.abs().max() / unit.abs().max())


@measures("active_fluid_closures.rotations-and-mirrors")
def symmetry(trial):
    """Closures of turned and mirrored moments against the turned and mirrored closure, written out from the weights.

    Control: the network on components, compared with itself.
    """
    a2, e = _moments(trial.seeds[0])
    turn = torch.polar(torch.ones((), dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64))
    found = []
    plain = a.PlainClosure(8, (trial.seeds[0],)).double().requires_grad_(False)
    for law in [plain] if trial.control else _laws(trial.seeds[0]):
        wanted = law(a2, e) if trial.control else formula(law, a2, e)
        found.append(_largest(law(turn * a2, turn * e) - turn**2 * wanted, wanted))
        found.append(_largest(law(a2.conj(), e.conj()) - wanted.conj(), wanted))
    return Effects(found)


@measures("active_fluid_closures.realizable")
def realizable(trial):
    """How far r = Re(a_4 / (a_2/s)^2) leaves [2 s^2 - 1, 1], and the closure its formula. Control: the network on components."""
    a2, e = _moments(trial.seeds[0])
    s2 = a2.abs().square()
    law = _laws(trial.seeds[0])[0]
    found = {}
    if trial.control:
        law = a.PlainClosure(8, (trial.seeds[0],)).double().requires_grad_(False)
    else:
        found["formula"] = float((law(a2, e) - formula(law, a2, e)).abs().max())
    r = (law(a2, e) * a2.conj() ** 2).real / s2
    found["outside"] = float(torch.maximum(r - 1, 2 * s2 - 1 - r).max())
    return Effects(list(found.values()), found)


def _density(seed, angles=64, n=16):
    """A smooth random density of angles (angles, n, n) with its even moments f_1 ... f_8, and a fluid of that size."""
    fluid = a.ActiveFluid(-3.0, 0.8, n=n, harmonics=8, dtype=torch.float64)
    draw = torch.Generator().manual_seed(seed)
    box, theta = fluid.box, torch.arange(angles, dtype=torch.float64) * 2 * torch.pi / angles
    f = torch.zeros(1, 8, n, n, dtype=torch.complex128)
    for k in range(3):
        noise = torch.complex(*torch.randn(2, n, n, generator=draw, dtype=torch.float64))
        smooth = box.field(box.transform(noise) * torch.exp(-2 * box.k2))
        f[0, k] = 0.2 / (k + 1) * smooth / smooth.abs().max()
    order = 2 * torch.arange(1, 9, dtype=torch.float64)
    waves = torch.exp(-1j * order[:, None] * theta)
    psi = (1 + 2 * torch.einsum("kxy,kt->txy", f[0], waves).real) / (2 * torch.pi)
    return fluid, box, f, psi, theta


@measures("active_fluid_closures.moments-of-the-kinetic-theory")
def moments(trial):
    """Slopes of the moments against the kinetic equation for the density of angles, and the stress of the moments against its
    tensors D and S by quadrature. Control: vorticity and alignment with the other sign.
    """
    fluid, box, f, psi, theta = _density(trial.seeds[0])
    u, v, w, e = a.flow(fluid, box, f[:, 0], f[:, 1])
    sign = -1 if trial.control else 1
    p = torch.stack([theta.cos(), theta.sin()])
    step = 2 * torch.pi / len(theta)
    D = torch.einsum("txy,it,jt->ijxy", psi, p, p) * step
    S = torch.einsum("txy,it,jt,kt,lt->ijklxy", psi, p, p, p, p) * step
    E = torch.stack([torch.stack([e.real[0], e.imag[0]]), torch.stack([e.imag[0], -e.real[0]])])
    turn = torch.stack([torch.stack([0 * w[0], -w[0] / 2]), torch.stack([w[0] / 2, 0 * w[0]])])
    spin = torch.einsum("it,ijxy,jt->txy", torch.stack([-p[1], p[0]]), E + sign * turn + 2 * fluid.zeta * sign * D, p)
    flux = torch.fft.fft(spin * psi, dim=0)
    wave = 1j * torch.fft.fftfreq(len(theta), 1 / len(theta), dtype=torch.float64)
    slope = -torch.fft.ifft(wave[:, None, None] * flux, dim=0).real
    px, py = box.gradient(psi)
    slope = slope - u[0] * px - v[0] * py
    wanted = torch.stack([(slope * torch.exp(2j * k * theta)[:, None, None]).sum(0) * step for k in range(1, 5)])
    ours = a.slopes(fluid, box, f, None)[0, :4]
    exact = a.flow(fluid, box, f[:, 0], f[:, 1], picard=20)
    E = torch.stack(
        [torch.stack([exact[3].real[0], exact[3].imag[0]]), torch.stack([exact[3].imag[0], -exact[3].real[0]])]
    )
    stress = fluid.alpha * D + fluid.beta * torch.einsum("ijklxy,klxy->ijxy", S, E) - 2 * fluid.zeta * fluid.beta * sign * (
        torch.einsum("ikxy,kjxy->ijxy", D, D) - torch.einsum("ijklxy,klxy->ijxy", S, D)
    )  # fmt: skip
    traceless = torch.complex((stress[0, 0] - stress[1, 1]) / 2, stress[0, 1])
    found = {"slopes": _largest(ours - wanted, wanted), "flow": _largest(box.stokes(traceless)[0] - exact[0][0], u)}
    return Effects(list(found.values()), found)


def _run(trial, control=False):
    return study.run(Setting.of(trial.budget), seeds=trial.seeds, control=control if trial.control else False)


def _shown(result):
    return {name: float(e.mean()) for name, e in result.errors.items()}


@measures("active_fluid_closures.on-par-with-bingham", stacked=True)
def on_par(trial):
    """Error of a_4 over that of Bingham's closure at parameters between the corners. Control: a_4 exchanged among points."""
    result = _run(trial, "shuffled")
    return Effects(result.errors["strain"] / result.errors["Bingham"], _shown(result))


@measures("active_fluid_closures.symmetry-pays", stacked=True)
def symmetric(trial):
    """Error of the closure with symmetry over that of the network on components. Control: the two exchanged."""
    result = _run(trial)
    ratio = result.errors["strain"] / result.errors["plain"]
    return Effects(1 / ratio if trial.control else ratio, _shown(result))


@measures("active_fluid_closures.local-is-enough", stacked=True)
def local(trial):
    """How much of the error neighbours take away. Control: a closure that is made of neighbours."""
    result = _run(trial, "planted")
    return Effects(1 - result.errors["nonlocal"] / result.errors["strain"], _shown(result))


@measures("active_fluid_closures.one-network-for-the-plane", stacked=True)
def one_network(trial):
    """The worst of 16 held-out points, error over Bingham's, from four chosen runs. Control: chosen where members agree."""
    found = study.plane(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(found["ratio"].amax(1), {"mean ratio": float(found["ratio"].mean())})


@measures("active_fluid_closures.choosing-saves-runs", stacked=True)
def choosing(trial):
    """Mean error from four chosen runs over that from five by lot. Control: chosen where the members agree."""
    found = study.plane(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(found["chosen"] / found["random"], {"runs": found["runs"].tolist()})


@measures("active_fluid_closures.one-run-is-enough", stacked=True)
def one_run(trial):
    """Error of a_4 after training through the solver on a_2 of one run, over Bingham's. Control: time runs backwards."""
    setting = Setting.of(trial.budget)
    found = study.a_posteriori(setting, seeds=trial.seeds, control=trial.control)
    return Effects(found["error"] / study.run(setting, seeds=trial.seeds).errors["Bingham"])


@measures("active_fluid_closures.stable", stacked=True)
def stable(trial):
    """Relative error of a_2 after ten windows with the closure that was trained on windows. Control: the quadratic closure."""
    found = study.a_posteriori(Setting.of(trial.budget), seeds=trial.seeds)
    return Effects(found["quadratic later" if trial.control else "learned later"],
                   {"Bingham": float(found["Bingham later"].mean())})  # fmt: skip


def _average(what):
    def measured(trial):
        setting = Setting.of(trial.budget)
        found = study.in_time(setting, seeds=trial.seeds)
        return Effects(found[f"{'quadratic' if trial.control else setting.closure} {what}"],
                       {name: float(found[f"{name} {what}"].mean()) for name in ("Bingham", "quadratic")})  # fmt: skip

    measured.__name__, measured.__module__ = f"same_{what}", __name__
    return measured


speed = measures("active_fluid_closures.same-speed", stacked=True)(_average("speed"))
order = measures("active_fluid_closures.same-order", stacked=True)(_average("order"))
spectra = measures("active_fluid_closures.same-spectrum", stacked=True)(_average("spectrum"))


@measures("active_fluid_closures.parameters-are-found", stacked=True)
def parameters(trial):
    """The worse relative error of alpha and zeta, from a_2 alone. Control: no gradient step."""
    found = study.estimated(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(found.amax(1), {"alpha": found[:, 0].tolist(), "zeta": found[:, 1].tolist()})


@measures("active_fluid_closures.cheaper-than-the-kinetic-theory", stacked=True)
def cheaper(trial):
    """CPU time of a coarse step over a kinetic one, the closure learned. Control: a kinetic step against another."""
    n, harmonics, steps = trial.of((32, 8, 4), (128, 16, 10), (128, 16, 40))
    fluid = a.ActiveFluid(n=n, harmonics=harmonics)
    law = a.StrainClosure(32).requires_grad_(False)
    effects = []
    for seed in trial.seeds:
        f = a.disturbed(fluid, 1, seed)

        def cost(f, closure=None):
            began = time.process_time()
            with torch.no_grad():
                a.roll(fluid, f, steps, steps, closure=closure)
            return time.process_time() - began

        ours = min(cost(f) if trial.control else cost(f[:, :1], law) for _ in range(2))
        effects.append(ours / min(cost(f) for _ in range(2)))
    return Effects(effects, {"grid": n, "angles": 4 * harmonics})
