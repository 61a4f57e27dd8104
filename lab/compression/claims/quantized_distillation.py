"""Measurements of the statements about quantized distillation and differentiable quantization."""

from __future__ import annotations

import math

import torch

from lab.claims import Effects, measures
from lab.compression import quantized_distillation as method
from lab.compression.studies import quantized_distillation as study
from lab.compression.studies.common import shown
from lab.training import BucketScale, LearnedPoints, UniformQuantizer, mlp


@measures("quantized_distillation.levels-and-error")
def levels(trial):
    """Levels of a bucket over 2^b and largest error over alpha/(2 s), both less one, over 1 to 6 bits. Control: one bit less."""
    model = mlp(40, 30, widths=(50,), seed=trial.seeds[0], dtype=torch.float64)
    worst = []
    for bits in range(2, 7):
        found = method.quantize(model, bits - trial.control, bucket=64)
        for name, value in found.weights().items():
            scale = found.scales[name]
            error = (scale.scale(value) - scale.scale(model.get_parameter(name).detach())).abs().max()
            count = max(len(row.unique()) for row in found.levels[name])
            worst += [count / 2**bits - 1, float(error) * 2 * (2**bits - 1) - 1]
    return Effects(max(worst), {"weights": sum(p.numel() for p in model.parameters())})


@measures("quantized_distillation.gradient-of-points")
def gradient(trial):
    """Relative difference of the points' gradients from central differences of the loss at the nearest points, found by search.

    Control: the next point's gradient.
    """
    generator = torch.Generator().manual_seed(trial.seeds[0])
    v, weight = torch.randn(2, 6, 50, generator=generator, dtype=torch.float64)
    points, scale, errors = LearnedPoints(v, bits=3, bucket=100), BucketScale.of(v, 100), []

    def searched(places):
        nearest = (scale.scale(v)[..., None] - places).abs().argmin(-1)
        return float(((scale.unscale(places[nearest]) - weight) ** 2).sum())

    (found,) = torch.autograd.grad(((points(v) - weight) ** 2).sum(), points.points)
    found = found.roll(1) if trial.control else found
    for step in 1e-6 * torch.eye(len(found), dtype=v.dtype):
        places = points.points.detach()
        slope = (searched(places + step) - searched(places - step)) / 2e-6
        errors.append(abs(slope - float(found[int(step.argmax())])) / float(found.abs().max()))
    return Effects(max(errors))


@measures("quantized_distillation.noise-is-normal")
def noise(trial):
    """Noise of a dot product under stochastic quantization of its weights: excess kurtosis and mean over deviation, in size.

    Control: two weights instead of two thousand.
    """
    width, draws = (4 if trial.control else 2000), 3000
    generator = torch.Generator().manual_seed(trial.seeds[0])
    v, x = torch.randn(2, width, generator=generator, dtype=torch.float64)
    quantizer = UniformQuantizer(2, stochastic=True, seed=generator)
    sums = torch.stack([(quantizer(v) - v) @ x for _ in range(draws)])
    z = (sums - sums.mean()) / sums.std()
    found = {
        "excess kurtosis": abs(float((z**4).mean()) - 3),
        "mean over deviation": abs(float(sums.mean() / sums.std())),
    }
    return Effects(list(found.values()), found)


def _run(trial, control="", **changes):
    return study.run(
        study.Setting.of(trial.budget, **changes),
        seeds=trial.seeds,
        data=trial.data,
        control=control if trial.control else False,
    )


def _gain(trial, arm, over, control="shuffled", **changes):
    result = _run(trial, control, **changes)
    return Effects(result.gain(arm, over), shown(result.accuracy))


@measures("quantized_distillation.near-the-teacher", stacked=True)
def near(trial):
    """Accuracy of the distilled student of four bits less the teacher's. Control: the teacher's logits shuffled."""
    return _gain(trial, "distilled, 4 bits", "teacher")


@measures("quantized_distillation.convolutional-student", stacked=True)
def convolutional(trial):
    """The same for a convolutional student, against itself in full precision. Control: the teacher's logits shuffled."""
    return _gain(trial, "distilled, 4 bits", "teacher", kind="convolutional", **trial.of({}, study.SHORT, {}))


@measures("quantized_distillation.recurrent-student", stacked=True)
def recurrent(trial):
    """The same for a gated recurrent student over image rows. Control: the teacher's logits shuffled."""
    return _gain(trial, "distilled, 4 bits", "teacher", kind="recurrent", **trial.of({}, study.SHORT, {}))


@measures("quantized_distillation.teacher-helps-at-two-bits", stacked=True)
def helps(trial):
    """Accuracy of quantized students with less without the teacher, two bits. Control: the teacher's logits shuffled."""
    return _gain(trial, "distilled, 2 bits", "student, 2 bits")


@measures("quantized_distillation.training-beats-rounding", stacked=True)
def beats_rounding(trial):
    """Accuracy of students quantized while they train less rounded afterwards, two bits. Control: eight bits."""
    result = _run(trial, "eight bits")
    bits = 8 if trial.control else 2
    return Effects(result.gain(f"distilled, {bits} bits", f"rounded, {bits} bits"), shown(result.accuracy))


@measures("quantized_distillation.points-learn", stacked=True)
def points_learn(trial):
    """Accuracy after less before the points learned, three bits. Control: the teacher's logits shuffled."""
    return _gain(trial, "learned points, 3 bits", "points, 3 bits")


@measures("quantized_distillation.teacher-corrects-labels", stacked=True)
def corrects(trial):
    """What the teacher adds at two bits under label noise less what it adds on clean labels. Control: logits shuffled."""
    gains = [_run(trial, "shuffled", noise=noise).gain("distilled, 2 bits", "student, 2 bits") for noise in (0.4, 0.0)]
    return Effects(gains[0] - gains[1], {"noisy": float(gains[0].mean()), "clean": float(gains[1].mean())})


@measures("quantized_distillation.order-of-magnitude-smaller")
def smaller(trial):
    """Bytes of the teacher over those of the four-bit student, code and scales included; and decibels of the student's weights
    over their rounding errors, since bytes alone could be saved by any weights. Control: the teacher itself, eight bits.
    """
    setting = study.Setting.of()
    where = study.task(setting.size)
    teacher = study.teacher_for(setting, where)(trial.seeds[0])
    small = teacher if trial.control else study.student_for(setting, where, 0, trial.seeds[0])
    found = method.quantize(small, 8 if trial.control else 4)
    whole, bytes_ = 4 * sum(p.numel() for p in teacher.parameters()), found.bytes()
    pairs = [(p.detach(), found.weights()[name]) for name, p in small.named_parameters()]
    signal, error = (sum(float(one.square().sum()) for one in ones) for ones in zip(*((p, p - q) for p, q in pairs)))
    decibels = 10 * math.log10(signal / error)
    details = {"teacher": whole, "student": bytes_, "without Huffman": found.bytes(huffman=False)}
    return Effects([whole / bytes_, decibels], details)


@measures("quantized_distillation.time-linear-in-depth")
def linear_in_depth(trial):
    """Share of the variance of CPU time that a line over the number of layers explains. Control: depths in another order."""
    found = []
    for seed in trial.seeds:
        seconds = study.latencies(seed)
        depth = torch.tensor(study.DEPTHS, dtype=torch.float64)
        depth = depth[[3, 0, 5, 1, 4, 2]] if trial.control else depth
        found.append(float(torch.corrcoef(torch.stack([depth, seconds]))[0, 1].square()))
    return Effects(found, {"milliseconds": [round(1e3 * float(one), 3) for one in seconds]})


@measures("quantized_distillation.benchmarks", stacked=True)
def benchmarks(trial):
    """Accuracy of the distilled convolutional student of four bits less the teacher's, on the user's set."""
    return _gain(trial, "distilled, 4 bits", "teacher", kind="convolutional")
