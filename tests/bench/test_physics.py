"""Many least-squares problems side by side against a loop of scipy's: make bench."""

import numpy as np
import pytest
import torch

from lab.physics import pi_hc_moe as m
from lab.physics.studies import pi_hc_moe as study
from tests.bench import frame


@pytest.mark.bench
@pytest.mark.parametrize("instances, blocks", [(64, 4), (256, 4)])
def test_levenberg_marquardt_of_many_problems_against_a_loop_of_scipy(instances, blocks):
    from scipy.optimize import least_squares

    setting = study.Setting(nt=12, nx=24, fields=8)
    where, initial = study.system(setting), study.instances(setting, (0,), instances)[0]
    net = m.BasisOperator(11, setting.fields, setting.width).requires_grad_(False)
    basis = net(where.inputs(initial)[None].float())[0].double()
    split = m.expert_split(where.shape, (1, blocks), periodic=where.axes)
    problem = m.MoEConstraint(where, split).problem(basis, initial)
    P, K, points, N = problem.fields.shape
    fields, rows, wanted = (x.numpy() for x in (problem.fields, problem.rows, problem.wanted))
    weight, ridge = problem.weight.numpy(), problem.ridge * np.eye(N)

    def one(k):
        (f, g, h, i), c = fields[k], weight[k]

        def F(w):
            u, u_t, u_x, u_xx = f @ w, g @ w, h @ w, i @ w
            return np.concatenate([c * (u_t + u * u_x - study.NU * u_xx), rows[k] @ w - wanted[k], ridge @ w])

        def jacobian(w):
            u, u_x = f @ w, h @ w
            return np.concatenate([c[:, None] * (g + u_x[:, None] * f + u[:, None] * h - study.NU * i), rows[k], ridge])

        return least_squares(F, np.zeros(N), jac=jacobian, method="lm", xtol=1e-10, ftol=1e-14, gtol=1e-10).x

    row = frame.ratio(
        f"{P} problems of {points} points, {N} weights",
        lambda: m.solve(problem, tolerance=1e-8).weights,
        lambda: torch.from_numpy(np.stack([one(k) for k in range(P)])),
        compare=lambda ours, theirs: float((ours - theirs).abs().max()),
        tolerance=1e-3,
        peer="scipy",
        target=10.0,
        floor=5.0,
        rounds=3,
        least=0.01,
    )
    frame.write("physics", [row])
    print("\n" + frame.show([row]))  # equality was asserted before the timing; speed is shown, not tested
