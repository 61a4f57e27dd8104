"""Students of few bits: with and without a teacher, quantized while they train or afterwards, with points that learn."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from lab import study
from lab.claims import tunes
from lab.compression import quantized_distillation as method
from lab.compression.studies.common import Kept, Task, table, task
from lab.source import project_root
from lab.training import PerModel, distillation_loss, fit, initialize, mlp
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

DEPTHS = (1, 2, 3, 4, 5, 6)
TUNED_BITS = (0, 2, 4)  # other numbers of bits take the rate of the nearest below, 1 that of 2
ARMS = tuple(f"{arm}, {bits} bits" if bits else arm for bits in TUNED_BITS for arm in ("student", "distilled"))
RATES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
POINT_RATES = (1e-5, 3e-5, 1e-4, 3e-4)
UNTUNED = 0.05  # of convolutional and recurrent students, with and without the teacher alike
SHORT = {"epochs": 12}  # a convolution or a recurrence costs several times the plain student's step
_BITS = project_root() / "data" / "benchmarks" / "quantized_distillation_bits.npz"


class Setting(study.Setting):
    """Digits with redrawn labels; a large teacher of clean ones, small students of few bits."""

    kind: Literal["mlp", "convolutional", "recurrent"] = Field("mlp", title="Student")
    bits: int = Field(4, ge=1, le=8, title="Bits a weight")
    low: int = Field(2, ge=1, le=8, title="Few bits")
    point_bits: int = Field(3, ge=1, le=6, title="Bits of learned points")
    noise: float = Field(0.4, ge=0.0, le=0.9, title="Share of redrawn labels", json_schema_extra={"step": 0.1})
    size: Literal[14, 28] = Field(14, title="Side in pixels")
    items: int = Field(2000, ge=50, le=60_000, title="Items to learn from")
    width: int = Field(32, ge=2, le=512, title="Width of the student")
    teacher_width: int = Field(512, ge=8, le=4096, title="Width of the teacher")
    teacher_epochs: int = Field(15, ge=1, le=500, title="Epochs of the teacher")
    epochs: int = Field(24, ge=1, le=500, title="Epochs of a student")
    point_steps: int = Field(400, ge=1, le=20_000, title="Steps of the points")

    PROFILES: ClassVar = {
        "smoke": {"items": 200, "width": 16, "teacher_width": 32, "teacher_epochs": 8, "epochs": 6, "point_steps": 30},
        "full": {"size": 28, "items": 4000, "width": 128, "teacher_width": 1200, "teacher_epochs": 100, "epochs": 200},
    }


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """Test accuracies (seeds,) by arm, bytes by arm, and weights of the first seed for pictures.

    Arms: "teacher"; "student" and "distilled" in full precision; "student, b bits" and "distilled, b bits", quantized while
    they train; "rounded, b bits", the distilled student quantized afterwards; "points, b bits" before and "learned points, b
    bits" after differentiable quantization.
    """

    accuracy: dict[str, torch.Tensor]
    bytes: dict[str, int]
    weights: dict[str, torch.Tensor]
    losses: torch.Tensor

    def gain(self, arm: str, over: str) -> torch.Tensor:
        """Accuracy of one arm less that of another, a seed at a time."""
        return self.accuracy[arm] - self.accuracy[over]

    def to_frame(self):
        """One row an arm: accuracy, its spread, bytes."""
        frame = table(self.accuracy)
        frame["bytes"] = [self.bytes.get(arm, 0) for arm in frame["arm"]]
        return frame


@study.remembered(size=12)
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """All arms on the same items, labels and starts.

    Controls: ``"shuffled"``: the teacher's logits belong to other items; ``"eight bits"``: the few bits are eight.
    """
    seeds = tuple(seeds)
    low = 8 if control == "eight bits" else setting.low
    where, x, labels, logits, taught = lesson(setting, seeds, data)
    if control == "shuffled":
        logits = logits[torch.randperm(len(logits), generator=torch.Generator().manual_seed(0))]
    count, accuracy, sizes = len(seeds), {"teacher": taught.expand(len(seeds))}, {}
    sizes["teacher"] = 4 * sum(p.numel() for p in teacher_for(setting, where)(0).parameters())
    plain = students(setting, where, x, labels, logits, seeds, 0)
    for bits in dict.fromkeys((0, setting.bits, low)):
        found = plain if bits == 0 else students(setting, where, x, labels, logits, seeds, bits)
        values = _accuracy(found, where, setting)
        ending = f", {bits} bits" if bits else ""
        accuracy[f"student{ending}"], accuracy[f"distilled{ending}"] = values[:count], values[count:]
        sizes[f"distilled{ending}"] = (
            method.quantize(found.model(count), bits).bytes()
            if bits
            else 4 * sum(p[0].numel() for p in found.stack.weights)
        )
    distilled = [plain.model(count + k) for k in range(count)]
    for bits in dict.fromkeys((setting.bits, low)):
        rounded = [method.quantize(model, bits).model(model) for model in distilled]
        accuracy[f"rounded, {bits} bits"] = torch.stack([_of_module(model, where, setting) for model in rounded])
    bits, inputs, learned = setting.point_bits, _shaped(x, setting, where), []
    for k, model in enumerate(distilled):
        options = {"bits": bits, "bucket": None, "learn": "points", "steps": setting.point_steps, "seed": seeds[k]}
        options["learning_rate"] = chosen("quantized_distillation", "points", {"learned points": POINT_RATES})[
            "learned points"
        ]
        learned.append(method.distill(_Recalled(logits), model, inputs, labels[k], **options))
        if progress is not None:
            progress(k + 1, count)
    started = [method.quantize(model, bits, bucket=None, points="quantile") for model in distilled]
    for name, found in (("points", started), ("learned points", learned)):
        values = [_of_module(one.model(model), where, setting) for one, model in zip(found, distilled)]
        accuracy[f"{name}, {bits} bits"] = torch.stack(values)
    sizes[f"learned points, {bits} bits"] = learned[0].bytes()
    name = next(iter(learned[0].levels))
    weights = {
        "distilled": distilled[0].get_parameter(name).detach(),
        f"points, {bits} bits": started[0].weights()[name], f"learned points, {bits} bits": learned[0].weights()[name],
    }  # fmt: skip
    return Result(accuracy, sizes, weights, torch.stack([one.losses for one in learned]))


class _Recalled:
    """A teacher that answers with logits it has given before."""

    def __init__(self, logits):
        self.logits = logits

    def __call__(self, x):
        return self.logits


def lesson(setting, seeds, data=None, where: Task | None = None):
    """The task, the items of the lesson, labels (seeds, items) with redrawn ones, the teacher's logits and its test accuracy."""
    where = where or task(setting.size, data)
    x, y = where.x[: setting.items], where.y[: setting.items]
    classes, rows = len(where.classes), []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        redrawn = torch.rand(len(y), generator=generator) < setting.noise
        rows.append(torch.where(redrawn, torch.randint(classes, (len(y),), generator=generator), y))
    taught = fit(teacher_for(setting, where), x, y, epochs=setting.teacher_epochs, batch_size=64)
    right = (taught.predict(where.test[0])[0].argmax(1) == where.test[1]).double().mean()
    return where, x, torch.stack(rows), taught.predict(x)[0], right


def teacher_for(setting, where: Task):
    """Two wide layers, seed -> module."""
    widths = (setting.teacher_width, setting.teacher_width)
    return lambda seed: mlp(where.x.shape[1], len(where.classes), widths=widths, seed=seed)


def students(setting, where: Task, x, labels, logits, seeds, bits: int, rates=None):
    """Students without and with the teacher, (2 * seeds) models trained at once; ``bits=0`` is full precision.

    ``rates``: of both arms, the tuned ones by default.
    """
    if rates is None and setting.kind == "mlp":
        own = chosen("quantized_distillation", "students", dict.fromkeys(ARMS, RATES))
        near = bits and max(TUNED_BITS[1], *(one for one in TUNED_BITS if one <= bits))
        rates = [own[f"{arm}, {near} bits" if bits else arm] for arm in ("student", "distilled") for _ in seeds]
    rates = UNTUNED if rates is None else rates
    models = [student_for(setting, where, bits, seed) for _ in range(2) for seed in seeds]
    target = torch.cat([labels[..., None].to(logits), logits.expand(len(seeds), *logits.shape)], 2)
    losses = [_loss(weight) for weight in (0.0, method.WEIGHT)]
    return fit(
        models, _shaped(x, setting, where), PerModel(target.repeat(2, 1, 1)), seeds=[*seeds, *seeds],
        loss=[losses[k // len(seeds)] for k in range(2 * len(seeds))], optimizer="momentum", learning_rate=rates,
        schedule="cosine", epochs=setting.epochs, batch_size=64,
    )  # fmt: skip


@tunes("quantized_distillation")
def tune_rates(progress=None) -> None:
    """Rates of the plain students and of the points by accuracy on training items that nobody learns from."""
    setting, seeds = Setting.of(), TUNING_SEEDS[:2]
    where = task(setting.size)
    where = replace(where, x=where.x[:3000], y=where.y[:3000], test=(where.x[3000:], where.y[3000:]))
    _, x, labels, logits, _ = lesson(setting, seeds, where=where)
    known: dict = {}

    def rows(arm, grid, seeds):
        bits = int(arm.split(", ")[1].split()[0]) if ", " in arm else 0
        if bits not in known:
            many, rates = (
                [seed for _ in grid for seed in seeds],
                [rate for _ in range(2) for rate in grid for _ in seeds],
            )
            found = students(setting, where, x, labels.repeat(len(grid), 1), logits, many, bits, rates)
            known[bits] = _accuracy(found, where, setting).view(2, len(grid), len(seeds)).numpy()
        return known[bits][int(arm.startswith("distilled"))]

    def points(arm, grid, seeds):
        plain = students(setting, where, x, labels, logits, seeds, 0)
        options = {"bits": setting.point_bits, "bucket": None, "learn": "points", "steps": setting.point_steps}
        return np.array([
            [
                float(_of_module(
                    method.distill(_Recalled(logits), model, x, labels[k], seed=seed, learning_rate=rate, **options).model(model),
                    where, setting,
                ))
                for k, seed in enumerate(seeds)
                for model in [plain.model(len(seeds) + k)]
            ]
            for rate in grid
        ])  # fmt: skip

    options = {"seeds": seeds, "progress": progress}
    trials = [tune("students", dict.fromkeys(ARMS, RATES), rows, **options)]
    record("quantized_distillation", *trials)  # the points start from students at these rates
    record("quantized_distillation", *trials, tune("points", {"learned points": POINT_RATES}, points, **options))


def student_for(setting, where: Task, bits: int, seed: int) -> nn.Module:
    """A small network of the setting's kind; its layers quantize themselves."""
    classes, width = len(where.classes), setting.width
    if setting.kind == "mlp":
        layers = [method.QuantizedLinear(where.x.shape[1], width, bits=bits), nn.ReLU()]
        return initialize(nn.Sequential(*layers, method.QuantizedLinear(width, classes, bits=bits)), seed)
    channels, height, across = where.images
    if setting.kind == "recurrent":
        return initialize(method.RecurrentStudent(channels * across, width, classes, bits=bits), seed)
    if min(height, across) < 4:
        raise ValueError(f"the convolutional student needs images of at least 4 x 4 pixels, got {height} x {across}")
    few = max(width // 4, 2)
    layers = [
        method.QuantizedConvolution(channels, few, bits=bits), nn.ReLU(), nn.MaxPool2d(2),
        method.QuantizedConvolution(few, 2 * few, bits=bits), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        method.QuantizedLinear(2 * few * (height // 4) * (across // 4), classes, bits=bits),
    ]  # fmt: skip
    return initialize(nn.Sequential(*layers), seed)


def latencies(seed: int, *, width: int = 256, batch: int = 256, repeats: int = 9) -> torch.Tensor:
    """Median CPU seconds of one forward pass of networks of 1 to 6 hidden layers, in the order of :data:`DEPTHS`."""
    x = torch.randn(batch, width, generator=torch.Generator().manual_seed(seed))
    networks = [mlp(width, width, widths=(width,) * depth, seed=seed) for depth in DEPTHS]
    times = torch.zeros(len(DEPTHS), repeats, dtype=torch.float64)
    with torch.no_grad():
        for network in networks:
            network(x)
        for k in range(repeats):
            for place, network in enumerate(networks):
                began = time.process_time()
                for _ in range(3):
                    network(x)
                times[place, k] = (time.process_time() - began) / 3
    return times.median(1).values


@lru_cache(maxsize=1)
def by_bits() -> dict[str, np.ndarray]:
    """The recorded curve of the page: for 1 to 8 bits accuracies by arm, bytes, and the first layer's weights."""
    with np.load(_BITS, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def record_bits(seeds=(0, 1, 2)) -> None:
    """Train students of 1 to 8 bits at the default setting and write what :func:`by_bits` reads."""
    setting = Setting.of()
    where, x, labels, logits, taught = lesson(setting, seeds)
    plain, count = students(setting, where, x, labels, logits, seeds, 0), len(seeds)
    accuracy, sizes, weights = [], [], []
    for bits in range(1, 9):
        found = students(setting, where, x, labels, logits, seeds, bits)
        values = _accuracy(found, where, setting)
        rounded = [method.quantize(plain.model(count + k), bits).model(plain.model(count + k)) for k in range(count)]
        after = torch.stack([_of_module(model, where, setting) for model in rounded])
        accuracy.append([float(one.mean()) for one in (values[count:], values[:count], after)])
        small = method.quantize(found.model(count), bits)
        sizes.append([small.bytes(huffman=False), small.bytes()])
        weights.append(small.weights()["0.weight"].flatten().half().numpy())
    whole = plain.model(count).get_parameter("0.weight").detach().flatten().half().numpy()
    np.savez_compressed(
        _BITS, arms=np.array(["distilled", "no teacher", "rounded afterwards"]), accuracy=np.array(accuracy), bytes=np.array(sizes),
        weights=np.stack(weights), whole=whole, teacher=float(taught), full=_accuracy(plain, where, setting)[count:].mean().numpy(),
        teacher_bytes=4 * sum(p.numel() for p in teacher_for(setting, where)(0).parameters()),
    )  # fmt: skip


def _loss(weight):
    def loss(z, target):
        return distillation_loss(z, target[:, 1:], target[:, 0].long(), method.TEMPERATURE, weight, reduction="none")

    loss.reduction = "none"
    return loss


def _shaped(x, setting, where: Task):
    """Flat items as the student's kind takes them: vectors, images (channels, height, width), or rows with all their channels."""
    if setting.kind == "mlp":
        return x
    images = x.unflatten(1, where.images)
    return images if setting.kind == "convolutional" else images.transpose(1, 2).flatten(2)


def _accuracy(fitted, where: Task, setting):
    return (fitted.predict(_shaped(where.test[0], setting, where)).argmax(2) == where.test[1]).double().mean(1)


@torch.no_grad()
def _of_module(model, where: Task, setting):
    """Accuracy of a module with the weights that it has: its own quantizers are idle on values that stand on levels."""
    return (model(_shaped(where.test[0], setting, where)).argmax(1) == where.test[1]).double().mean()
