"""Training of many small models at once with stacked weights.

Models of one architecture differ in seed, data, loss, learning rate or weight decay. Their parameters lie in one buffer; a step
is a few batched operations and one fused optimizer step for all, so that the overhead of a small model is paid once. The result
equals training the models one after the other (:func:`lab.training.fit_loop`) up to rounding.
"""

from __future__ import annotations

import sys
import time

import torch

from lab.training.batches import Batches, batch_order
from lab.training.engines import engine
from lab.training.fitted import Fitted, History
from lab.training.recipe import Recipe, recipe, torch_optimizer


def fit(
    network,
    inputs,
    targets=None,
    *,
    seeds=1,
    loss="cross_entropy",
    objective=None,
    optimizer="adam",
    learning_rate=1e-3,
    weight_decay=0.0,
    schedule="constant",
    epochs=50,
    batch_size=32,
    sample_weights=None,
    clip=None,
    validation=None,
    patience=None,
    progress=None,
    cancel=None,
) -> Fitted:
    """Train one model per seed, all at once.

    Args:
        network: callable ``seed -> nn.Module``, or a list of modules of one architecture (they stay as they are). What has no
            ``requires_grad`` is not trained, each model keeps its own buffers, and shared parameters stay shared.
        inputs: (items, ...) shared by all models, or ``PerModel`` of (models, items, ...).
        targets: (items, ...) or ``PerModel``; int64 classes for "cross_entropy".
        seeds: number of seeds, or a sequence of them; a model's seed draws its weights and the order of its batches.
        loss: "cross_entropy", "binary_cross_entropy" (of logits), "squared_error"; a callable ``(logits, targets) -> scalar`` of
            one model's batch; a callable with ``reduction == "none"`` that returns one value per item; or a list of such, one
            per model. An epoch's loss is the mean over its items.
        objective: instead of ``loss``, a callable ``(model, inputs, targets) -> scalar`` of one model's batch.
        optimizer: "sgd", "momentum" (0.9), "adam", "adamw", "rmsprop", "adagrad", or a callable ``parameters ->
            torch.optim.Optimizer`` whose update is elementwise.
        learning_rate, weight_decay: a number, or one per model.
        schedule: "constant", "linear", "cosine", "warmup-cosine" (a tenth of warm-up), or a callable of the done fraction in
            [0, 1) that returns the factor of the learning rate.
        epochs: passes over the items.
        batch_size: items per step; None is full batch in the items' own order. The last batch of an epoch may be smaller.
        sample_weights: (items,) or ``PerModel`` of (models, items): a batch's loss is ``mean_i w_i l_i``.
        clip: largest Euclidean norm of a model's gradient.
        validation: ``(inputs, targets)``, shared or ``PerModel``, evaluated after every epoch.
        patience: a model stops after so many epochs without a smaller validation loss and keeps its best weights.
        progress: True for a bar on stderr, or a callable ``(epochs done, epochs, mean loss)``.
        cancel: callable asked after every step; if it returns True the run ends and the result says so.

    Returns:
        :class:`Fitted`.

    Raises:
        ValueError, TypeError: arguments that do not fit together, before any training.
    """
    run = recipe(
        network,
        inputs,
        targets,
        seeds=seeds,
        loss=loss,
        objective=objective,
        optimizer=optimizer,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        schedule=schedule,
        epochs=epochs,
        batch_size=batch_size,
        sample_weights=sample_weights,
        clip=clip,
        validation=validation,
        patience=patience,
    )
    return _train(run, _reporter(progress), cancel or (lambda: False))


def _train(run: Recipe, report, cancel) -> Fitted:
    start = time.perf_counter()
    models = len(run.stack)
    device = run.stack.weights[0].device
    batches = Batches(run.data, run.shared, models, run.items)
    work = engine(run.stack, run.data[0].ndim - int(not run.shared[0]), run.objective)
    step = _Stepper(run, work.flat)
    size = run.batch_size or run.items
    per_epoch = -(-run.items // size)
    history, validation = [], []
    best = torch.full((models,), float("inf"), device=device)
    kept, wait = None, torch.zeros(models, dtype=torch.int64, device=device)
    lasted = torch.full((models,), run.epochs, dtype=torch.int64, device=device)
    active = torch.ones(models, dtype=torch.bool, device=device)
    diverged = ~active
    cancelled = False
    for epoch in range(run.epochs):
        order = None
        if run.batch_size is not None:
            order = torch.stack([batch_order(run.items, seed, epoch) for seed in run.seeds]).to(device)
        total = torch.zeros(models, device=device, dtype=run.stack.weights[0].dtype)
        for number in range(per_epoch):
            x, y, w = batches.full() if order is None else batches.take(order[:, number * size : (number + 1) * size])
            losses = work.gradients(run.criterion, x, y, w)
            step((epoch * per_epoch + number) / (run.epochs * per_epoch))
            total += losses * x.shape[1]
            if cancel():
                cancelled = True
                break
        mean = total / run.items
        if cancelled:
            lasted.clamp_(max=epoch)
            break
        diverged |= active & ~torch.isfinite(mean)
        history.append(torch.where(active, mean, float("nan")))
        if run.validation is not None:
            held = _evaluate(work, run, models)
            validation.append(torch.where(active, held, float("nan")))
            if run.patience is not None:
                better = active & (held < best)
                best = torch.where(better, held, best)
                wait = torch.where(better, 0, wait + 1)
                kept = _keep(kept, better, work.flat)
                lasted = torch.where(better, epoch + 1, lasted)
                active = active & (wait < run.patience)
        report(epoch + 1, run.epochs, mean)
        if not bool(active.any()):
            break
    buffer = work.flat.parameter.detach()
    work.write(run.stack, buffer if kept is None else kept)
    if run.patience is None:
        lasted.clamp_(max=len(history))
    return Fitted(
        run.stack.requires_grad_(False),
        run.seeds,
        History(_columns(history, total), _columns(validation, total)),
        lasted.cpu(),
        ~active.cpu(),
        diverged.cpu(),
        cancelled,
        time.perf_counter() - start,
    )


class _Stepper:
    """One optimizer step for all models, with a learning rate, a weight decay and a clipped norm for each."""

    def __init__(self, run: Recipe, flat):
        self.flat, self.schedule, self.clip = flat, run.schedule, run.clip
        tensor = lambda values: torch.tensor(values, device=flat.parameter.device, dtype=flat.parameter.dtype)  # noqa: E731
        self.largest = max(run.rates)
        same_decay = len(set(run.decays)) == 1
        self.rates = None if len(set(run.rates)) == 1 else flat.spread(tensor(run.rates) / self.largest)
        self.decays = None if same_decay else flat.spread(tensor(run.decays))
        self.decoupled = run.optimizer == "adamw"
        self.optimizer = torch_optimizer(
            run.optimizer, [flat.parameter], self.largest, run.decays[0] if same_decay else 0.0
        )
        self.initial = [group["lr"] for group in self.optimizer.param_groups]

    @torch.no_grad()
    def __call__(self, done: float) -> None:
        factor = self.schedule(done)
        for group, rate in zip(self.optimizer.param_groups, self.initial):
            group["lr"] = rate * factor
        parameter = self.flat.parameter
        if self.clip is not None:
            scale = (self.clip / (self.flat.norms() + 1e-6)).clamp(max=1.0)
            for gradient in self.flat.gradients:
                gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))
        if self.decays is not None and not self.decoupled:
            parameter.grad.addcmul_(self.decays, parameter)
        rates, before = self.rates, parameter
        if rates is not None:
            before = parameter.clone()
        if self.decays is not None and self.decoupled:
            parameter.mul_(1 - self.largest * factor * self.decays)
        self.optimizer.step()
        if rates is not None:
            # every named optimizer's update is linear in its learning rate
            parameter.copy_(torch.lerp(before, parameter, rates))


def _columns(rows, like):
    return torch.stack(rows, dim=1).cpu() if rows else torch.empty(len(like), 0, dtype=like.dtype)


def _evaluate(work, run, models, chunk=512):
    """Mean validation loss of each model."""
    (inputs, shared), (targets, _) = run.validation
    items = inputs.shape[0 if shared else 1]
    held = Batches([inputs, targets], [pair[1] for pair in run.validation], models, items)
    total = 0.0
    for first in range(0, items, chunk):
        x, y = held.full(slice(first, first + chunk))
        total = total + work.losses(run.criterion, x, y) * x.shape[1]
    return total / items


def _keep(kept, better, flat):
    """The best parameters so far: those of ``better`` models replaced by the present ones."""
    present = flat.parameter.detach()
    if kept is None:
        return present.clone()
    for target, source in zip(flat.views(kept), flat.views(present)):
        target[better] = source[better]
    return kept


def _reporter(progress):
    if progress is None or progress is False:
        return lambda done, total, loss: None
    if callable(progress):
        return lambda done, total, loss: progress(done, total, float(loss.mean()))
    from tqdm import tqdm

    bar = tqdm(unit="epoch", file=sys.stderr)

    def report(done, total, loss):
        bar.total = total
        bar.set_postfix(loss=f"{float(loss.mean()):.4g}", refresh=False)
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return report
