"""What ``f`` is and what it returned: its device and dtype, its outputs as a matrix, the output to explain; refusals."""

from __future__ import annotations

import functools
import numbers

import numpy as np
import torch

from lab import checks

PLAIN = (torch.float32, torch.float64)


def device_of(f, default: torch.device) -> torch.device:
    """The device of an ``nn.Module``'s parameters, or ``default``."""
    if isinstance(f, torch.nn.Module):
        for tensor in [*f.parameters(), *f.buffers()]:
            return tensor.device
    return default


def dtype_of(f) -> torch.dtype | None:
    """The floating dtype of an ``nn.Module``'s parameters, or ``None``."""
    if isinstance(f, torch.nn.Module):
        for tensor in f.parameters():
            if tensor.is_floating_point():
                return tensor.dtype
    return None


def refuse_training_mode(f) -> None:
    """Dropout and batch statistics in training mode make ``f`` random: name the layer."""
    moody = (torch.nn.modules.batchnorm._NormBase, torch.nn.modules.dropout._DropoutNd)
    for found in modules_of(f):
        for name, module in found.named_modules():
            if isinstance(module, moody) and module.training:
                what = "f is" if found is f else f"f calls a {type(found).__name__} that is"
                raise ValueError(
                    f"{what} in training mode and holds {type(module).__name__} ({name or 'itself'}); call "
                    f"{'f.eval()' if found is f else '.eval() of it'}"
                )


def modules_of(f) -> list[torch.nn.Module]:
    """The modules that a callable shows: itself, what a method, partial or object holds, and what a function refers to."""
    held, names = [f], getattr(getattr(f, "__code__", None), "co_names", ())
    held += [getattr(f, name, None) for name in ("__self__", "func", "__wrapped__")]
    held += [*getattr(f, "args", ()), *getattr(f, "keywords", {}).values()] if isinstance(f, functools.partial) else []
    for cell in getattr(f, "__closure__", None) or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # a cell that is not filled yet
            continue
    space = getattr(f, "__globals__", {})
    held += [space[name] for name in names if name in space]
    if not isinstance(f, torch.nn.Module) and hasattr(f, "__dict__"):
        held += list(vars(f).values())
    return list({id(each): each for each in held if isinstance(each, torch.nn.Module)}.values())


class State:
    """Modes and buffers of the modules behind ``f``, to be put back after calls that changed them."""

    def __init__(self, f):
        modules = [module for found in modules_of(f) for module in found.modules()]
        self.modes = [(module, module.training) for module in modules]
        self.buffers = [
            (module, name, value, value.detach().clone(), value._version)
            for module in modules
            for name, value in module._buffers.items()
            if value is not None and not value.is_inference()
        ]

    def restore(self) -> None:
        """Put back what is not as it was."""
        for module, mode in self.modes:
            module.training = mode
        with torch.no_grad():
            for place, (module, name, value, kept, version) in enumerate(self.buffers):
                module._buffers[name] = value
                if value._version != version:
                    value.copy_(kept)
                    self.buffers[place] = (module, name, value, kept, value._version)


def as_outputs(got, rows: int, place) -> torch.Tensor:
    """What ``f`` returned as a tensor ``(rows, C)``, or a refusal that says what it was."""
    if type(got) is torch.Tensor and got.dtype in PLAIN and got.shape in ((rows,), (rows, 1)):
        return got.view(rows, 1)
    if not isinstance(got, torch.Tensor):
        if isinstance(got, (tuple, list, dict)) or hasattr(got, "logits"):
            raise TypeError(
                f"f must return one array, got {type(got).__name__}; wrap it, for example lambda x: model(x)[0] or "
                f".logits"
            )
        array = np.asarray(got)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"f must return numbers, got dtype {array.dtype} (labels? pass predict_proba, not predict)")
        got = torch.from_numpy(np.array(array, dtype=np.float64))
    if got.is_complex():
        raise TypeError("f must return real values, got complex ones")
    if not got.is_floating_point():
        got = got.double()
    if got.ndim == 0 or len(got) != rows or got.ndim > 2:
        raise ValueError(
            f"f must return one value or one row of outputs for each row: ({rows},) or ({rows}, C), "
            f"got shape {tuple(got.shape)} on {said(place)}"
        )
    if got.ndim == 2 and got.shape[1] == 0:
        raise ValueError("f returned no outputs (a second axis of length 0)")
    return got.view(rows, -1) if got.is_contiguous() else got.reshape(rows, -1)


def said(place) -> str:
    """Where a call was: words, the slice of instances, or the slices of instances and draws."""
    if isinstance(place, str):
        return place
    rows, part = place if isinstance(place, tuple) else (place, None)
    draws = "" if part is None else f", draws {part.start} to {part.stop - 1}"
    return f"instances {rows.start} to {rows.stop - 1}{draws}"


def kinds(values: torch.Tensor) -> str:
    """What is not finite among ``values``, counted in words."""
    nan, inf = int(torch.isnan(values).sum()), int(torch.isinf(values).sum())
    return " and ".join(f"{n} {word}" for n, word in ((nan, "NaN"), (inf, "infinite")) if n)


def target_of(target, outputs: torch.Tensor, instances: int) -> torch.Tensor | None:
    """The output to explain for every instance, or ``None`` for all of them."""
    classes = outputs.shape[1]
    if target is None:
        return None
    if isinstance(target, str):
        checks.choice("target", target, ("predicted",))
        return outputs.argmax(1)
    if getattr(target, "ndim", None) == 0:  # a scalar of numpy or torch
        target = target.item()
    if isinstance(target, numbers.Integral) and not isinstance(target, bool):
        checks.integer("target", target, low=-classes, high=classes - 1)
        return torch.full((instances,), int(target) % classes)
    index = checks.tensor("target", target, shape=(instances,)).cpu()
    if index.is_floating_point():
        raise TypeError(f"target must hold integers, got {index.dtype}")
    if int(index.min()) < 0 or int(index.max()) >= classes:
        raise ValueError(f"target must be within 0..{classes - 1}, got {int(index.min())}..{int(index.max())}")
    return index.long()
