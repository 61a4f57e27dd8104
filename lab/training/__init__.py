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

Gradients as functions, and training unrolled on them (parameters are dictionaries of tensors)::

    gradients(model, parameters, x, y, loss="cross_entropy", *, by="batch" | "item" | "group") -> dict
    unroll(gradient, parameters, *inputs, steps, learning_rate, momentum=0.0, recompute=False) -> list of dicts
    function_of(module), parameters_of(module), flatten(parameters), unflatten(vector, like), recomputed(function, *tensors)
    head_gradients(head, features, targets, loss), head_gradient_norms(...)      single items of a linear head, in closed form

Steps and losses that several rooms share::

    sam_gradient(loss, parameters, rho, *, kind="sam" | "asam" | "gsam"), perturb(...), loss_sharpness(loss, parameters, rho)
    UniformQuantizer(bits, bucket, stochastic), LearnedStep(bits), LearnedPoints(v, bits), BucketScale, learned_step(v, step, bits),
    round_straight_through(x)
    distillation_loss(logits, teacher, targets, temperature=2.0, weight=0.7)
    log_running_mean(log_mean, log_new, gamma)
"""

from __future__ import annotations

from lab.training.attacks import apgd as apgd
from lab.training.attacks import fgsm as fgsm
from lab.training.attacks import pgd as pgd
from lab.training.batches import batch_order as batch_order
from lab.training.distillation import distillation_loss as distillation_loss
from lab.training.fitted import Fitted as Fitted
from lab.training.fitting import fit as fit
from lab.training.heads import head_gradient_norms as head_gradient_norms
from lab.training.heads import head_gradients as head_gradients
from lab.training.metrics import Accuracy as Accuracy
from lab.training.metrics import AreaUnderCurve as AreaUnderCurve
from lab.training.metrics import Brier as Brier
from lab.training.metrics import CalibrationError as CalibrationError
from lab.training.metrics import ClasswiseCalibrationError as ClasswiseCalibrationError
from lab.training.metrics import Dice as Dice
from lab.training.metrics import IntersectionOverUnion as IntersectionOverUnion
from lab.training.metrics import NegativeLogLikelihood as NegativeLogLikelihood
from lab.training.metrics import accuracy as accuracy
from lab.training.metrics import area_under_curve as area_under_curve
from lab.training.metrics import brier as brier
from lab.training.metrics import calibration_error as calibration_error
from lab.training.metrics import classwise_calibration_error as classwise_calibration_error
from lab.training.metrics import dice as dice
from lab.training.metrics import intersection_over_union as intersection_over_union
from lab.training.metrics import negative_log_likelihood as negative_log_likelihood
from lab.training.networks import UNet as UNet
from lab.training.networks import cnn as cnn
from lab.training.networks import initialize as initialize
from lab.training.networks import mlp as mlp
from lab.training.networks import unet as unet
from lab.training.quantizers import BucketScale as BucketScale
from lab.training.quantizers import LearnedPoints as LearnedPoints
from lab.training.quantizers import LearnedStep as LearnedStep
from lab.training.quantizers import UniformQuantizer as UniformQuantizer
from lab.training.quantizers import learned_step as learned_step
from lab.training.quantizers import round_straight_through as round_straight_through
from lab.training.reference import fit_loop as fit_loop
from lab.training.sharpness import loss_sharpness as loss_sharpness
from lab.training.sharpness import perturb as perturb
from lab.training.sharpness import sam_gradient as sam_gradient
from lab.training.stacks import PerModel as PerModel
from lab.training.stacks import Stack as Stack
from lab.training.trackers import log_running_mean as log_running_mean
from lab.training.unrolled import flatten as flatten
from lab.training.unrolled import function_of as function_of
from lab.training.unrolled import gradients as gradients
from lab.training.unrolled import parameters_of as parameters_of
from lab.training.unrolled import recomputed as recomputed
from lab.training.unrolled import unflatten as unflatten
from lab.training.unrolled import unroll as unroll
