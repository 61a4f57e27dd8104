"""What the rooms share about learning: networks, training of many models at once, attacks and metrics.

Networks (plain ``nn.Module``; ``seed: int | torch.Generator``, the global random state is neither read nor written)::

    mlp(inputs, outputs, *, widths=(64, 64), activation="relu", bias=True, seed=0, dtype=torch.float32) -> nn.Sequential
    cnn(channels, outputs, *, widths=(16, 32), convolutions=1, dimension=2, activation="relu", normalization=None, seed=0,
        dtype=torch.float32) -> nn.Sequential
    unet(channels, outputs, *, widths=(16, 32, 64), dimension=2, activation="relu", normalization="group", seed=0,
         dtype=torch.float32) -> UNet
    initialize(module, seed) -> module            PyTorch's own initial distributions, drawn from ``seed``, in place

Training of many models at once (same architecture, stacked weights; equal to a plain loop from equal weights and batch order)::

    fit(network, inputs, targets=None, *, seeds=1, loss="cross_entropy", objective=None, optimizer="adam", learning_rate=1e-3,
        weight_decay=0.0, schedule="constant", epochs=50, batch_size=32, sample_weights=None, clip=None,
        validation=None, patience=None, progress=None, cancel=None) -> Fitted
    fit_loop(...same arguments...) -> Fitted      the plain loop over models: the reference of ``fit``

    network      callable seed -> nn.Module, or a list of modules of one architecture (they are copied, not changed)
    inputs       (items, ...) shared by all models, or PerModel of a tensor (models, items, ...); likewise ``targets`` and
                 ``sample_weights``
    seeds        a number of seeds or a sequence of ints; the seed of a model draws its initial weights and its batch order
    loss         a name ("cross_entropy", "binary_cross_entropy", "squared_error"), a callable (logits, targets) -> scalar of ONE
                 model's batch (it is mapped over the models), a callable with attribute ``reduction == "none"`` that returns one
                 value per item (evaluated once on all models' items together, the fastest form, needed for sample weights), or a
                 list of one such callable per model
    objective    instead of ``loss``: callable (model, inputs, targets) -> scalar of one model's batch, for losses that need
                 the model itself (derivatives with respect to inputs, consistency terms); ``model`` is a function of inputs
    optimizer    "sgd", "momentum", "adam", "adamw", "rmsprop", "adagrad", or a callable parameters -> torch.optim.Optimizer
                 that updates elementwise; learning_rate and weight_decay: a number, or one per model
    schedule     "constant", "cosine", "linear", "warmup-cosine", or a callable of the done fraction in [0, 1] -> factor
    epochs, batch_size   ``batch_size=None`` is full batch
    validation   (inputs, targets): evaluated after each epoch; ``patience`` epochs without improvement stop a model, whose
                 best weights are kept
    progress     True for a bar on stderr, or a callable (done, total, loss) called after each epoch
    cancel       callable () -> bool asked after each step; the result then says ``cancelled``

    Fitted: .stack, .predict(inputs) -> (models, items, ...), .model(i) -> nn.Module, .history (loss and validation, (models,
    epochs)), .epochs (per model), .stopped, .diverged, .cancelled, .seconds, .to_frame(), .save(path), Fitted.load(path, network)
    Stack(models): the stacked weights as one module; Stack(x) -> (models, items, ...), Stack[i] -> nn.Module, len(Stack)
    PerModel(values): marks a tensor whose first axis is the model

Attacks on a classifier ``model(inputs) -> logits (items, classes)``; inputs stay in ``bounds``::

    fgsm(model, inputs, targets, *, epsilon, norm="linf", bounds=(0, 1)) -> adversarial inputs
    pgd(model, inputs, targets, *, epsilon, norm="linf", steps=40, step_size=None, restarts=1, random_start=True, bounds=(0, 1),
        loss="cross_entropy", seed=0)
    apgd(model, inputs, targets, *, epsilon, norm="linf", steps=100, restarts=1, loss="cross_entropy" | "dlr", bounds=(0, 1),
         seed=0)

Metrics: functions of (probabilities, targets), with ``logits=True`` of (logits, targets), and classes with ``update(...)``,
``compute()``, ``reset()``::

    accuracy, calibration_error, classwise_calibration_error, brier, negative_log_likelihood, area_under_curve
    Accuracy, CalibrationError, ClasswiseCalibrationError, Brier, NegativeLogLikelihood, AreaUnderCurve
    dice(prediction, label, *, threshold=0.5), intersection_over_union; Dice, IntersectionOverUnion (means over items)
"""

from __future__ import annotations

from importlib import import_module

_PLACES = {
    "mlp": "networks",
    "cnn": "networks",
    "unet": "networks",
    "UNet": "networks",
    "initialize": "networks",
    "fit": "fitting",
    "fit_loop": "reference",
    "Fitted": "fitted",
    "Stack": "stacks",
    "PerModel": "stacks",
    "batch_order": "batches",
    "fgsm": "attacks",
    "pgd": "attacks",
    "apgd": "attacks",
    "accuracy": "metrics",
    "calibration_error": "metrics",
    "classwise_calibration_error": "metrics",
    "brier": "metrics",
    "negative_log_likelihood": "metrics",
    "dice": "metrics",
    "intersection_over_union": "metrics",
    "area_under_curve": "metrics",
    "Accuracy": "metrics",
    "CalibrationError": "metrics",
    "ClasswiseCalibrationError": "metrics",
    "Brier": "metrics",
    "NegativeLogLikelihood": "metrics",
    "Dice": "metrics",
    "IntersectionOverUnion": "metrics",
    "AreaUnderCurve": "metrics",
}

__all__ = list(_PLACES)


def __getattr__(name):
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'lab.training' has no attribute {name!r}; it offers {', '.join(sorted(_PLACES))}")


def __dir__():
    return sorted(_PLACES)
