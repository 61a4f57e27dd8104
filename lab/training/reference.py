"""The plain loop: one model after the other, as a textbook writes it. The reference of :func:`lab.training.fit`."""

from __future__ import annotations

import inspect
import time

import torch

from lab.training.batches import batch_order
from lab.training.criteria import named
from lab.training.fitted import Fitted, History
from lab.training.fitting import fit
from lab.training.recipe import recipe, torch_optimizer
from lab.training.stacks import Stack


def fit_loop(network, inputs, targets=None, *, progress=None, cancel=None, **options) -> Fitted:
    """Train each model by itself; options and result as :func:`lab.training.fit`. ``progress`` counts models here.

    Raises:
        TypeError: an option that ``fit`` does not have.
    """
    start = time.perf_counter()
    given = inspect.signature(fit).bind(network, inputs, targets, **options)
    given.apply_defaults()
    run = recipe(**{name: value for name, value in given.arguments.items() if name not in ("progress", "cancel")})
    cancel = cancel or (lambda: False)
    models, losses, held, lasted, stopped = [], [], [], [], []
    for index in range(len(run.stack)):
        model, curve, valid, epochs_kept, early = _train_one(run, index, cancel)
        models.append(model)
        losses.append(curve)
        held.append(valid)
        lasted.append(epochs_kept)
        stopped.append(early)
        if callable(progress):
            progress(index + 1, len(run.stack), curve[-1] if curve else float("nan"))
    loss_curves = _ragged(losses, run.stack)
    return Fitted(
        Stack(models).requires_grad_(False),
        run.seeds,
        History(loss_curves, _ragged(held, run.stack)),
        torch.tensor(lasted),
        torch.tensor(stopped),
        loss_curves.isinf().any(dim=1) | torch.tensor([any(value != value for value in curve) for curve in losses]),
        bool(cancel()),
        time.perf_counter() - start,
    )


def _train_one(run, index, cancel):
    model = run.stack[index]
    x, y, w = (_own(value, shared, index) for value, shared in zip(run.data, run.shared))
    optimizer = torch_optimizer(run.optimizer, list(model.parameters()), run.rates[index], run.decays[index])
    initial = [group["lr"] for group in optimizer.param_groups]
    size = run.batch_size or run.items
    steps = -(-run.items // size)
    curve, valid = [], []
    best, wait, kept, lasted = float("inf"), 0, None, run.epochs
    for epoch in range(run.epochs):
        order = torch.arange(run.items) if run.batch_size is None else batch_order(run.items, run.seeds[index], epoch)
        total = 0.0
        for number in range(steps):
            rows = order[number * size : (number + 1) * size].to(x.device)
            for group, rate in zip(optimizer.param_groups, initial):
                group["lr"] = rate * run.schedule((epoch * steps + number) / (run.epochs * steps))
            optimizer.zero_grad()
            value = _loss(run, index, model, x[rows], None if y is None else y[rows], None if w is None else w[rows])
            value.backward()
            if run.clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), run.clip)
            optimizer.step()
            total += float(value.detach()) * len(rows)
            if cancel():
                return model, curve, valid, epoch, False
        curve.append(total / run.items)
        if run.validation is None:
            continue
        x_held, y_held = (_own(value, shared, index) for value, shared in run.validation)
        valid.append(float(_loss(run, index, model, x_held, y_held, None).detach()))
        if run.patience is None:
            continue
        wait = 0 if valid[-1] < best else wait + 1
        if wait == 0:
            best, lasted, kept = (
                valid[-1],
                epoch + 1,
                {name: value.clone() for name, value in model.state_dict().items()},
            )
        if wait >= run.patience:
            break
    if kept is not None:
        model.load_state_dict(kept)
    return model, curve, valid, lasted, wait >= (run.patience or run.epochs + 1)


def _own(value, shared, index):
    return value if value is None or shared else value[index]


def _loss(run, index, model, x, y, w):
    if run.objective is not None:
        return run.objective(model, x, y)
    loss = run.criterion.losses[index]
    logits = model(x)
    if isinstance(loss, str):
        items = named(loss, logits[None], y[None])[0]
    else:
        items = loss(logits, y)
        if items.ndim > 1:
            items = items.flatten(1).mean(dim=1)
    return items.mean() if w is None else (items * w).mean()


def _ragged(rows, stack):
    longest = max(map(len, rows))
    filled = [[*row, *[float("nan")] * (longest - len(row))] for row in rows]
    return torch.tensor(filled, dtype=stack.weights[0].dtype).reshape(len(rows), longest)
