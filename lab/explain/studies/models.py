"""The models and instances that the room's studies explain: tables, images, a tree ensemble, several classes.

A :class:`Subject` is one black box with the instances to explain, standardised so that the baseline 0 is the mean of the
training rows. Networks are trained here in a second; trees are scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import torch

from lab import checks

FAMILIES = ("linear", "tanh network", "relu network", "deep relu network", "trees")
NONLINEAR = {
    "smoke": ("relu network",),
    "default": ("tanh network", "relu network", "deep relu network"),
    "full": ("tanh network", "relu network", "deep relu network"),
}
INSTANCES = {"smoke": 10, "default": 30, "full": 100}


@dataclass(frozen=True)
class Subject:
    """``f``, the instances ``x (N, ...)`` to explain, the training rows ``background``, and how well ``f`` predicts.

    ``score`` is held-out accuracy (classes) or R^2 (numbers); ``weights`` are the true ones where ``f`` is (link-)linear;
    ``mean`` and ``spread`` of the columns in their own units.
    """

    name: str
    family: str
    f: Callable
    x: torch.Tensor
    background: torch.Tensor
    columns: tuple[str, ...]
    score: float
    differentiable: bool = True
    link: str = "identity"
    weights: torch.Tensor | None = None
    mean: torch.Tensor | None = None
    spread: torch.Tensor | None = None

    @property
    def title(self) -> str:
        return f"{self.family} on {self.name}"


def tables(
    data=None,
    *,
    families: tuple[str, ...] = FAMILIES[:4],
    seed: int = 0,
    instances: int = 40,
    columns: int = 0,
    budget: str = "default",
) -> list[Subject]:
    """Subjects of every family on the given table, or on diabetes (a number) and breast cancer (two classes).

    Args:
        data: a ``Table`` with a target, or ``None``.
        columns: keep the first so many columns (0: all).
    """
    sets = [data] if data is not None else ["diabetes", "breast_cancer"]
    return [
        table(one, family, seed=seed, instances=instances, columns=columns, budget=budget)
        for one in sets
        for family in families
    ]


def subjects(data, seed: int, budget: str, *, families: tuple[str, ...] = (), columns: int = 0) -> list[Subject]:
    """The table subjects of one seed at a budget: the linear model and the networks of :data:`NONLINEAR` unless named."""
    families = families or ("linear", *NONLINEAR[budget])
    return tables(data, families=families, seed=seed, instances=INSTANCES[budget], columns=columns, budget=budget)


def linearized(subject: Subject) -> Subject:
    """``subject`` with the least squares plane of its outputs in place of ``f``: a black box of the surrogates' own class."""
    with torch.no_grad():
        outputs = one_output(subject).f(subject.background).reshape(len(subject.background))
    weights = torch.linalg.lstsq(subject.background, outputs).solution
    return replace(subject, f=partial(_product, weights), weights=weights, link="identity")


def _product(weights: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
    return batch @ weights


def table(
    data="breast_cancer",
    family: str = "relu network",
    *,
    seed: int = 0,
    instances: int = 40,
    columns: int = 0,
    budget: str = "default",
    missing: str = "refuse",
) -> Subject:
    """One model of ``family`` trained on a table (by name or a ``Table``); classes give a probability, numbers a number.

    ``missing`` values are refused, or ``"drop"`` their rows, or take the column's ``"mean"``.
    """
    checks.choice("family", family, FAMILIES)
    if isinstance(data, str):
        return _named_table(data, family, seed, instances, columns, budget, missing)
    return _table(data, family, seed, instances, columns, budget, missing)


@lru_cache(maxsize=64)
def _named_table(name, family, seed, instances, columns, budget, missing) -> Subject:
    from lab import datasets

    return _table(datasets.load(name), family, seed, instances, columns, budget, missing)


def _table(data, family, seed, instances, columns, budget, missing) -> Subject:
    x, y, names = data.numeric(missing=missing)
    if y is None:
        raise ValueError(f"{data.name or 'the table'} has no target to learn; name one: Table(frame, target)")
    if columns:
        x, names = x[:, :columns], names[:columns]
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(x), generator=generator)
    x, y = x[order], y[order]
    held = max(len(x) // 5, 1)
    mean, spread = x[held:].mean(0), x[held:].std(0).clamp_min(1e-6)
    x = ((x - mean) / spread).float()
    classes = not y.is_floating_point()
    outputs = int(y.max()) + 1 if classes and int(y.max()) > 1 else 1
    train, test = slice(held, None), slice(0, held)
    if not classes:
        y = ((y - y[train].mean()) / y[train].std()).float()
    common = {
        "name": data.name or "your table",
        "family": family,
        "x": x[test][:instances].double(),
        "background": x[train].double(),
        "columns": names,
        "mean": mean.double(),
        "spread": spread.double(),
    }
    if family == "trees":
        return _trees(common, x, y, train, test, classes, seed, budget)
    net = _network(family, x.shape[1], outputs, seed)
    net = _fitted(net, x[train], y[train], classes, outputs, seed, budget).double().eval().requires_grad_(False)
    f = _head(net, classes, outputs)
    guess = f(x[test].double())
    if not classes:
        score = 1 - float((guess - y[test]).square().mean() / y[test].var(correction=0))
    else:
        picked = guess.argmax(1) if outputs > 1 else (guess > 0.5).long()
        score = float((picked == y[test]).double().mean())
    weights, link = None, "identity"
    if family == "linear" and outputs == 1:
        weights, link = net[-1].weight[0].clone(), "logit" if classes else "identity"
    return Subject(f=f, score=score, link=link, weights=weights, **common)


def _network(family: str, inputs: int, outputs: int, seed: int):
    from lab import training

    widths = {"linear": (), "tanh network": (16,), "relu network": (16,), "deep relu network": (32, 32)}[family]
    return training.mlp(
        inputs, outputs, widths=widths, activation="tanh" if family == "tanh network" else "relu", seed=seed
    )


def _fitted(net, x, y, classes: bool, outputs: int, seed: int, budget: str):
    from lab import training

    loss = ("cross_entropy" if outputs > 1 else "binary_cross_entropy") if classes else "squared_error"
    targets = y if classes and outputs > 1 else y.float()[:, None]
    epochs = {"smoke": 15, "default": 40, "full": 100}[budget]
    fitted = training.fit(
        [net],
        x.float(),
        targets,
        seeds=[seed],
        loss=loss,
        learning_rate=1e-2,
        weight_decay=1e-4,
        epochs=epochs,
        batch_size=64,
    )
    return fitted.model(0)


def _head(net, classes: bool, outputs: int):
    """Probabilities for classes, numbers as they are; one value a row for one output."""
    if not classes:
        return lambda x: net(x)[:, 0]
    if outputs == 1:
        return lambda x: torch.sigmoid(net(x))[:, 0]
    return lambda x: torch.softmax(net(x), 1)


def _trees(common: dict, x, y, train, test, classes: bool, seed: int, budget: str) -> Subject:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    kind = RandomForestClassifier if classes else RandomForestRegressor
    forest = kind(20 if budget == "smoke" else 60, max_depth=6, random_state=seed).fit(
        x[train].numpy(), y[train].numpy()
    )
    score = float(forest.score(x[test].numpy(), y[test].numpy()))

    def f(batch):
        inputs = batch.detach().numpy()
        if not classes:
            return torch.from_numpy(forest.predict(inputs))
        shares = torch.from_numpy(forest.predict_proba(inputs))
        return shares[:, 1] if shares.shape[1] == 2 else shares

    return Subject(f=f, score=score, differentiable=False, **common)


@lru_cache(maxsize=4)
def digits(*, seed: int = 0, instances: int = 20, budget: str = "default") -> Subject:
    """A small convolutional network on 8 x 8 digits, ten classes; ``f`` gives the logits."""
    from lab import datasets, training

    data = datasets.load("digits")
    train, test = data.split(0.2, seed=seed)
    net = training.cnn(1, 10, widths=(8, 16), seed=seed)
    epochs = {"smoke": 3, "default": 8, "full": 20}[budget]
    fitted = training.fit([net], train.x, train.label, seeds=[seed], learning_rate=1e-2, epochs=epochs, batch_size=64)
    net = fitted.model(0).eval().requires_grad_(False)
    score = float((net(test.x).argmax(1) == test.label).double().mean())
    names = tuple(f"pixel {j}" for j in range(64))
    return Subject("digits", "convolutional network", net, test.x[:instances], train.x, names, score)


def superpixelled(*, seed: int = 0, instances: int = 20, budget: str = "default", cells: int = 4) -> Subject:
    """The digits' network as a function of the grey levels of ``cells x cells`` patches relative to each image.

    ``f(s)`` is the network on the image whose patches are scaled by ``s``; the instance is ``s = 1``, so the players are the
    patches and the mask methods' baseline is the blank patch.
    """
    one = digits(seed=seed, instances=instances, budget=budget)
    from lab.explain.players import grid

    index = torch.from_numpy(grid((8, 8), cells)).reshape(-1)
    image = one.x[:1].double().reshape(1, 64)
    net = one.f
    label = int(net(one.x[:1]).argmax())

    def f(scales):
        return net((image * scales[:, index]).reshape(-1, 1, 8, 8).float())[:, label].double()

    generator = torch.Generator().manual_seed(seed)
    x = 1 + 0.3 * torch.randn(instances, cells * cells, generator=generator, dtype=torch.float64)
    names = tuple(f"patch {j}" for j in range(cells * cells))
    return Subject("digits", one.family, f, x, x, names, one.score)


def one_output(subject: Subject) -> Subject:
    """The subject for its first class alone, where ``f`` has several outputs."""
    with torch.no_grad():
        outputs = subject.f(subject.x[:1])
    if outputs.ndim == 1 or outputs.shape[1] == 1:
        return subject
    f = subject.f
    return replace(subject, f=lambda x: f(x)[:, 0])
