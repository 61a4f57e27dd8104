"""A quantized network as integers in a file: levels packed by their bits, steps, biases, and nothing that runs.

::

    save_integers(model, "small.safetensors")                   # what quantize_layers or train_gaqat returned
    model = load_integers("small.safetensors", network)         # network: the float architecture, its weights are not used
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lab.generalization.gaqat import Quantized


def save_integers(model: nn.Module, path: str | Path) -> int:
    """Write a module with :class:`lab.generalization.gaqat.Quantized` layers as safetensors; returns the bytes of its tensors.

    Raises:
        ValueError: no quantized layer.
    """
    from safetensors.torch import save_file

    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, Quantized)}
    if not layers:
        raise ValueError(f"model must hold quantized layers, got {type(model).__name__} without any")
    tensors, plain = {}, {}
    inside = {id(value) for layer in layers.values() for value in (layer.layer.weight, layer.layer.bias)}
    for name, layer in layers.items():
        step, levels = layer.weight_step, layer.weight_step.integers(layer.layer.weight)
        bits = ((levels - step.low).reshape(-1, 1).numpy() >> np.arange(step.bits)) & 1
        tensors[f"{name}|levels"] = torch.from_numpy(np.packbits(bits.astype(np.uint8)))
        tensors[f"{name}|steps"] = torch.stack([one.step.detach().abs() for one in (step, layer.input_step)]).float()
        if layer.layer.bias is not None:
            tensors[f"{name}|bias"] = layer.layer.bias.detach().clone()
        plain[name] = {"bits": step.bits, "shape": list(levels.shape), "signed": layer.input_step.signed}
        inside |= {id(one.step) for one in (step, layer.input_step)}
    rest = {name: value.detach().clone() for name, value in model.named_parameters() if id(value) not in inside}
    rest |= {name: value.clone() for name, value in model.named_buffers() if not name.endswith("_step.started")}
    tensors |= {f"|{name}": value for name, value in rest.items()}
    save_file(tensors, str(Path(path)), metadata={"layers": json.dumps(plain)})
    return sum(value.numel() * value.element_size() for value in tensors.values())


def load_integers(path: str | Path, network: nn.Module) -> nn.Module:
    """A copy of ``network``, the float architecture, with the integers of a file of :func:`save_integers`.

    Raises:
        ValueError: another kind of file, a damaged one, or one of another architecture.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(Path(path)), framework="pt") as stored:
            plain = json.loads((stored.metadata() or {}).get("layers", "null"))
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{Path(path).name} is damaged or no safetensors file: {error}") from error
    if not isinstance(plain, dict):
        raise ValueError(f"{Path(path).name} holds no quantized network")
    found = deepcopy(network)
    places = dict(found.named_modules())
    for name, told in plain.items():
        layer, shape = places.get(name), list(told["shape"])
        if layer is None or not hasattr(layer, "weight") or list(layer.weight.shape) != shape:
            raise ValueError(f"network must have a layer {name or 'of its own'!r} with weights of shape {shape}")
        made = Quantized(layer, int(told["bits"]), bool(told["signed"]))
        count, bits = layer.weight.numel(), made.weight_step.bits
        packed = tensors[f"{name}|levels"].numpy()
        if packed.dtype != np.uint8 or packed.size != -(-count * bits // 8):
            raise ValueError(f"{Path(path).name}: {name!r} holds {packed.size} bytes for {count} levels of {bits} bits")
        binary = np.unpackbits(packed)[: count * bits].reshape(-1, bits).astype(np.int64)
        levels = torch.from_numpy((binary << np.arange(bits)).sum(1)).view(shape) + made.weight_step.low
        steps = tensors[f"{name}|steps"]
        if steps.shape != (2,) or not bool(steps.isfinite().all()):
            raise ValueError(f"{Path(path).name}: {name!r} must have two finite steps")
        with torch.no_grad():
            for one, value in zip((made.weight_step, made.input_step), steps):
                one.step.copy_(value)
                one.started.fill_(True)
            layer.weight.copy_(levels * steps[0])
            if layer.bias is not None:
                layer.bias.copy_(tensors[f"{name}|bias"])
        parent, _, last = name.rpartition(".")
        if layer is found:
            found = made
        else:
            setattr(found.get_submodule(parent) if parent else found, last, made)
    own = {name: value for name, value in (*found.named_parameters(), *found.named_buffers())}
    with torch.no_grad():
        for name, value in tensors.items():
            if name.startswith("|"):
                if name[1:] not in own or own[name[1:]].shape != value.shape:
                    raise ValueError(f"network has no parameter {name[1:]!r} of shape {tuple(value.shape)}")
                own[name[1:]].copy_(value)
    return found
