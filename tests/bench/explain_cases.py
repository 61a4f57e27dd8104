"""Comparisons of the explanations room, run behind the door to the peers.

Speed: 100 instances, 30 standardised columns, 1000 draws (50 steps of the path), a trained-size network on one core. The
peer explains fewer instances where it works one by one; its time is scaled to 100. captum gets ``perturbations_per_eval``
equal to the draws, its best setting.
"""

from __future__ import annotations

import numpy as np
import torch

INSTANCES, COLUMNS, DRAWS, STEPS = 100, 30, 1000, 50


def network(columns: int = COLUMNS, width: int = 64, seed: int = 0) -> torch.nn.Module:
    """Two hidden layers with weights of unit gain, a probability."""
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for inputs, outputs in ((columns, width), (width, width), (width, 1)):
        layer = torch.nn.Linear(inputs, outputs)
        layer.weight.data = torch.randn(outputs, inputs, generator=generator) * (2 / inputs) ** 0.5
        layer.bias.data = 0.3 * torch.randn(outputs, generator=generator)
        layers += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1], torch.nn.Sigmoid()).eval().requires_grad_(False)


def rows(count: int = INSTANCES, columns: int = COLUMNS, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, columns, generator=torch.Generator().manual_seed(seed))


def speed(method: str, peer: str, target: float, floor: float, few: int = 0, rounds: int = 3):
    """One row of the table: a preset on all instances against a peer on ``few``, per instance."""
    from lab import explain
    from tests.bench import frame

    torch.set_num_threads(1)
    net, x = network(), rows()
    few = few or INSTANCES
    theirs, tolerance = _peer(method, peer, net, x[:few])
    arguments = {"width": 6.0} if method == "lime" else {}
    preset = getattr(explain, method)

    def ours():
        return preset(net, x, **arguments).weights

    def difference(mine, other):
        if tolerance is None:  # another law (discretised columns), nothing to compare
            return 0.0
        return float((mine[:few] - other).norm() / mine[:few].norm())

    row = frame.ratio(
        f"{method}, d=30, m={STEPS if 'integrated' in method else DRAWS}",
        ours,
        theirs,
        compare=difference,
        tolerance=tolerance if tolerance is not None else 0.0,
        peer=peer,
        packages=("scikit-learn",),
        target=target * few / INSTANCES,
        floor=floor * few / INSTANCES,
        rounds=rounds,
    )
    return _scaled(row, INSTANCES / few, peer)


def _scaled(row, factor: float, peer: str):
    """The same row for equal numbers of instances."""
    from dataclasses import replace

    scaled = {name: getattr(row, name) * factor for name in ("peer_ms", "ratio", "low", "high", "target", "floor")}
    return replace(row, case=f"{row.case} against {peer}", **scaled)


def _peer(method: str, peer: str, net, x):
    """The peer's call on ``x`` and how far its sampled values may lie from ours."""
    base = torch.zeros_like(x[:1])
    if peer == "captum":
        from captum import attr

        f = lambda batch: net(batch)[:, 0]  # noqa: E731
        if method == "kernelshap":
            method_ = attr.KernelShap(f)
            return lambda: torch.cat(
                [method_.attribute(row[None], base, n_samples=DRAWS, perturbations_per_eval=DRAWS) for row in x]
            ), 1.0
        if method == "lime":
            from captum._utils.models.linear_model import SkLearnLinearRegression
            from captum.attr._core.lime import get_exp_kernel_similarity_function

            similar = get_exp_kernel_similarity_function("euclidean", kernel_width=6.0 / 2**0.5)
            method_ = attr.Lime(f, interpretable_model=SkLearnLinearRegression(), similarity_func=similar)
            return lambda: torch.cat(
                [method_.attribute(row[None], base, n_samples=DRAWS, perturbations_per_eval=DRAWS) for row in x]
            ), 1.0
        if method == "smoothgrad":
            method_ = attr.NoiseTunnel(attr.Saliency(f))
            return lambda: method_.attribute(
                x, nt_type="smoothgrad", nt_samples=DRAWS, nt_samples_batch_size=40, stdevs=0.1, abs=False
            ), 0.2
        if method == "integrated_gradients":
            method_ = attr.IntegratedGradients(f)
            sizes = (None, len(x), 10 * len(x))  # captum at the fastest of three sizes of its internal batch
            return _fastest(
                [
                    lambda size=size: method_.attribute(x, base, n_steps=STEPS, internal_batch_size=size)
                    for size in sizes
                ]
            ), 0.02
        method_ = attr.FeatureAblation(f)
        return lambda: method_.attribute(x, base, perturbations_per_eval=COLUMNS), 1e-4
    if peer == "shap":
        import shap

        explainer = shap.KernelExplainer(
            lambda a: net(torch.from_numpy(a)).numpy()[:, 0], base.numpy().astype(np.float32)
        )
        return lambda: torch.from_numpy(explainer.shap_values(x.numpy(), nsamples=DRAWS, l1_reg=0, silent=True)), 1.0
    from lime.lime_tabular import LimeTabularExplainer

    explainer = LimeTabularExplainer(rows(500).numpy(), mode="regression", discretize_continuous=False, random_state=0)
    f = lambda a: net(torch.from_numpy(a.astype(np.float32))).numpy()[:, 0]  # noqa: E731
    return lambda: [
        explainer.explain_instance(row, f, num_features=COLUMNS, num_samples=DRAWS) for row in x.numpy()
    ], None


def _fastest(calls: list):
    """Of calls that compute the same, the one that takes the least CPU time (the best of three runs each)."""
    import time

    def clock(call) -> float:
        began = time.process_time()
        call()
        return time.process_time() - began

    return min(calls, key=lambda call: min(clock(call) for _ in range(3)))


def forwards(method: str, width: int = 64, rounds: int = 9):
    """The whole of a preset in units of the bare passes that it needs (the ratio is bare / whole).

    The bare passes run on inputs that lie ready, 1000 rows a call, the fastest of 500 to 8000 for this network.
    """
    from lab import explain
    from tests.bench import frame

    torch.set_num_threads(1)
    net, x = network(width=width), rows()
    ready = rows(INSTANCES * DRAWS).split(1000)
    preset = getattr(explain, method)
    gradient = method == "smoothgrad"

    def bare():
        for batch in ready:
            if gradient:
                inputs = batch.detach().requires_grad_(True)
                torch.autograd.grad(net(inputs).sum(), inputs)
            else:
                with torch.no_grad():
                    net(batch)

    case = f"{method}, d=30, m={DRAWS}, 30-{width}-{width}-1 network, over bare passes"
    row = frame.ratio(
        case,
        lambda: preset(net, x).weights,
        bare,
        compare=lambda mine, other: 0.0,
        tolerance=0.0,
        peer="torch",
        target=1 / 1.2,
        floor=1 / 1.5,
        rounds=rounds,
    )
    return row


def accuracy(draws: int, target: float, floor: float, peer: str = "shap"):
    """Error of KernelSHAP against exact Shapley values at equal draws, d=12: the peer's over ours, mean over models.

    Four models; eight against the odd regression, whose errors are closest. ``low`` and ``high`` are the least and the largest
    ratio of a model.
    """
    from dataclasses import replace

    from lab import explain
    from tests.bench import frame

    torch.set_num_threads(1)
    ratios, errors = [], []
    for seed in range(8 if peer == "screened odd regression" else 4):  # no setting was chosen on these models
        net, x = network(12, 32, seed=500 + seed).double(), rows(10, 12, seed=600 + seed).double()
        exact = explain.kernelshap(net, x, n_samples=4096).weights
        ours = [_error(explain.kernelshap(net, x, n_samples=draws, seed=s).weights, exact) for s in range(3)]
        theirs = [_error(_sampled(peer, net, x, draws, s), exact) for s in range(2)]
        errors.append((np.mean(ours), np.mean(theirs)))
        ratios.append(np.mean(theirs) / np.mean(ours))
    row = frame.ratio(
        f"KernelSHAP error, d=12, m={draws} against {peer}",
        lambda: 0,
        lambda: 0,
        compare=lambda a, b: 0.0,
        tolerance=0.0,
        peer=peer,
        rounds=3,
        least=0.0,
    )
    ours, theirs = np.mean(errors, 0)
    return replace(
        row,
        ours_ms=float(ours),
        peer_ms=float(theirs),
        ratio=float(theirs / ours),
        low=float(min(ratios)),
        high=float(max(ratios)),
        target=target,
        floor=floor,
        difference=float(ours),
    )


def _sampled(peer: str, net, x, draws: int, seed: int) -> torch.Tensor:
    if peer == "captum":
        from captum import attr

        torch.manual_seed(seed)
        method = attr.KernelShap(lambda batch: net(batch)[:, 0])
        base = torch.zeros_like(x[:1])
        return torch.cat(
            [method.attribute(row[None], base, n_samples=draws, perturbations_per_eval=draws) for row in x]
        )
    if peer == "screened odd regression":
        return torch.stack([screened_odd(net, row, draws, seed) for row in x])
    import shap

    np.random.seed(seed)  # noqa: NPY002  the peer draws from the global state
    explainer = shap.KernelExplainer(lambda a: net(torch.from_numpy(a)).numpy()[:, 0], np.zeros((1, x.shape[1])))
    return torch.from_numpy(explainer.shap_values(x.numpy(), nsamples=draws, l1_reg=0, silent=True))


def trees(draws: int = 1024):
    """KernelSHAP of a forest at d=30 against exact TreeSHAP with one background row: the shap package's error over ours."""
    from dataclasses import replace

    import shap
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestRegressor

    from lab import explain
    from tests.bench import frame

    torch.set_num_threads(1)
    data = load_breast_cancer()
    x = (data.data - data.data.mean(0)) / data.data.std(0)
    forest = RandomForestRegressor(20, max_depth=5, random_state=0).fit(x, data.target)
    rows_, base = x[:8], np.zeros((1, 30))
    exact = torch.from_numpy(shap.TreeExplainer(forest, base, feature_perturbation="interventional").shap_values(rows_))
    ours = explain.kernelshap(forest.predict, rows_, n_samples=draws).weights
    np.random.seed(0)  # noqa: NPY002
    theirs = torch.from_numpy(
        shap.KernelExplainer(forest.predict, base).shap_values(rows_, nsamples=draws, l1_reg=0, silent=True)
    )
    mine, other = _error(ours, exact), _error(theirs, exact)
    row = frame.ratio(
        f"KernelSHAP error of a forest, d=30, m={draws} against exact TreeSHAP",
        lambda: 0,
        lambda: 0,
        compare=lambda a, b: 0.0,
        tolerance=0.0,
        peer="shap",
        packages=("scikit-learn",),
        rounds=3,
        least=0.0,
    )
    return replace(
        row,
        ours_ms=mine,
        peer_ms=other,
        ratio=other / mine,
        low=other / mine,
        high=other / mine,
        target=1.5,
        floor=1.0,
        difference=mine,
    )


def widths(rounds: int = 9):
    """Milliseconds to solve LIME for a new kernel width from outputs at hand (ours) against explaining anew (peer column)."""
    from lab import explain
    from tests.bench import frame

    torch.set_num_threads(1)
    net, x = network(), rows()
    whole = explain.lime(net, x, width=6.0)
    law = explain.Masks(explain.Exponential(5.0))
    return frame.ratio(
        "new LIME width, N=100, d=30, m=1000",
        lambda: whole.resolve(law).weights,
        lambda: explain.lime(net, x, width=5.0).weights,
        compare=lambda a, b: float((a - b).abs().max()),
        tolerance=1e-9,
        peer="torch",
        rounds=rounds,
    )


def screened_odd(f, row: torch.Tensor, draws: int, seed: int) -> torch.Tensor:
    """Shapley values by the published odd-order route: boosted trees screen triples, least squares fits the odd terms.

    Written here after the idea of OddSHAP (arXiv 2602.01399): pairs are drawn by size, half of them with the size's kernel
    mass; the triples that occur together on the trees' paths, by gain, join the single players, as many as a quarter of the
    pairs; the fit is weighted, tied at both ends, with the least ridge that keeps it solvable.
    """
    from sklearn.ensemble import GradientBoostingRegressor

    from lab.explain import coalitions

    count = len(row)
    design, log_proposal, _ = coalitions.size_strata(count, draws, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        y = f(design * row)[:, 0]
        rise = float(f(row[None])[0, 0] - f(torch.zeros_like(row)[None])[0, 0])
    trees = GradientBoostingRegressor(n_estimators=60, max_depth=3, random_state=seed).fit(design.numpy(), y.numpy())
    gains: dict[tuple, float] = {}
    for tree in (one.tree_ for one in trees.estimators_[:, 0]):
        _walk(tree, 0, (), 0.0, gains)
    triples = sorted(gains, key=gains.get, reverse=True)[: max(len(design) // 8 - count, 0)]
    sign = 2 * design[0::2] - 1
    odd = (y[0::2] - y[1::2]) / 2
    size = design[0::2].sum(1)
    kernel = (count - 1) / (torch.tensor([float(_choose(count, int(k))) for k in size]) * size * (count - size))
    weight = kernel * torch.exp(-log_proposal[0::2])
    columns = [sign, *[sign[:, list(t)].prod(1, keepdim=True) for t in triples]]
    psi = torch.cat(columns, 1)
    ends = torch.ones(1, psi.shape[1], dtype=torch.float64)
    psi, odd = torch.cat([psi, ends]), torch.cat([odd, torch.tensor([rise / 2], dtype=torch.float64)])
    weight = torch.cat([weight, weight.sum()[None] * 1e6])
    gram = psi.T @ (weight[:, None] * psi)
    gram += 1e-9 * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    a = torch.linalg.solve(gram, psi.T @ (weight * odd))
    shapley = 2 * a[:count].clone()
    for triple, value in zip(triples, a[count:]):
        shapley[list(triple)] += 2 * value / 3
    return shapley


def _walk(tree, node: int, seen: tuple, gain: float, gains: dict) -> None:
    """Triples of players on every path from the root, credited with the least gain along it."""
    left, right = tree.children_left[node], tree.children_right[node]
    if left < 0:
        return
    here = tree.impurity[node] * tree.n_node_samples[node] - sum(
        tree.impurity[child] * tree.n_node_samples[child] for child in (left, right)
    )
    players = tuple(sorted({*seen, int(tree.feature[node])}))
    if len(players) == 3:
        gains[players] = gains.get(players, 0.0) + max(here, 0.0)
    for child in (left, right):
        _walk(tree, child, players, here, gains)


def _choose(total: int, chosen: int) -> int:
    import math

    return math.comb(total, chosen)


def grams(rounds: int = 9):
    """The normal equations of 100 local fits with weights of their own: perturb_gram against the batched product of torch."""
    from lab.kernels.perturb_gram import perturb_gram
    from tests.bench import frame

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    psi = torch.randn(DRAWS, COLUMNS + 1, generator=generator, dtype=torch.float64)
    weight = torch.rand(INSTANCES, DRAWS, generator=generator, dtype=torch.float64)
    y = torch.randn(INSTANCES, DRAWS, generator=generator, dtype=torch.float64)
    return frame.ratio(
        "normal equations of LIME, N=100, d=30, m=1000",
        lambda: perturb_gram(psi, y, weight, intercept=False).matrix,
        lambda: ((psi * weight[..., None]).mT @ psi, (weight * y) @ psi)[0],
        compare=lambda a, b: float((a - b).abs().max() / b.abs().max()),
        tolerance=1e-10,
        peer="torch",
        target=1.5,
        floor=1.0,
        rounds=rounds,
    )


def images(method: str, rounds: int = 3):
    """A preset on a convolutional network and 64 x 64 images against captum at its best of three batch sizes."""
    from lab import explain
    from tests.bench import frame

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Conv2d(8, 16, 3, padding=1),
        torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(256, 1),
    ).eval().requires_grad_(False)  # fmt: skip
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    x = torch.rand(4, 1, 64, 64, generator=generator)
    labels = torch.from_numpy(explain.grid((64, 64), 8))
    arguments = {"smoothgrad": {"n_samples": 256}, "integrated_gradients": {}, "occlusion": {"features": labels},
                 "kernelshap": {"features": labels, "n_samples": 256}}[method]  # fmt: skip
    found = []
    for size in (4, 16, 64):
        theirs, tolerance = _on_images(method, net, x, labels, size)
        found.append(frame.ratio(
            f"{method}, 64 x 64 images, convolutional network",
            lambda: getattr(explain, method)(net, x, **arguments).weights, theirs,
            compare=lambda a, b: float((a - b).norm() / a.norm()), tolerance=tolerance, peer="captum", target=1.0, floor=0.9,
            rounds=rounds,
        ))  # fmt: skip
    return min(found, key=lambda row: row.peer_ms)


def _on_images(method: str, net, x, labels, size: int):
    """captum's call with ``size`` rows a batch, and how far its values may lie from ours."""
    from captum import attr

    f = lambda batch: net(batch)[:, 0]  # noqa: E731
    mask = labels.expand(1, 1, 64, 64)
    if method == "smoothgrad":
        own = attr.NoiseTunnel(attr.Saliency(f))
        return lambda: own.attribute(
            x, nt_type="smoothgrad", nt_samples=256, nt_samples_batch_size=size, stdevs=0.1, abs=False
        ).flatten(1), 0.5
    if method == "integrated_gradients":
        own = attr.IntegratedGradients(f)
        return lambda: own.attribute(x, n_steps=STEPS, internal_batch_size=size * 4).flatten(1), 0.05
    first = torch.stack([(labels == k).nonzero()[0] for k in range(64)])  # one pixel of every cell holds its value
    pick = lambda values: values[:, 0, first[:, 0], first[:, 1]]  # noqa: E731
    if method == "occlusion":
        own = attr.FeatureAblation(f)
        return lambda: pick(own.attribute(x, feature_mask=mask, perturbations_per_eval=size)), 1e-3
    own = attr.KernelShap(f)
    return lambda: pick(
        torch.cat(
            [own.attribute(one[None], feature_mask=mask, n_samples=256, perturbations_per_eval=size) for one in x]
        )
    ), 2.0


def _error(weights: torch.Tensor, exact: torch.Tensor) -> float:
    return float(((weights - exact).norm(dim=1) / exact.norm(dim=1)).mean())
