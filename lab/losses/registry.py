"""Classification losses by name, so that a notebook, a sweep or a table can choose among them."""

from __future__ import annotations

from importlib import import_module

from torch import nn

from lab import checks

# name -> (module; class; arguments that make this member)
_LOSSES: dict[str, tuple[str, str, dict]] = {
    "cross-entropy": ("comp_sum", "CompSumLoss", {"tau": 1.0}),
    "sum-exponential": ("comp_sum", "CompSumLoss", {"tau": 0.0}),
    "generalized-cross-entropy": ("comp_sum", "CompSumLoss", {"tau": 1.7}),
    "mean-absolute-error": ("comp_sum", "CompSumLoss", {"tau": 2.0}),
    "comp-sum": ("comp_sum", "CompSumLoss", {}),
    "ldr-kl": ("ldr", "LDRKLLoss", {}),
    "ldr-kl-small-temperature": ("ldr", "LDRKLLoss", {"temperature": 0.1}),
    "aldr-kl": ("ldr", "ALDRKLLoss", {}),
    "aldr-kl-small-temperature": ("ldr", "ALDRKLLoss", {"initial_temperature": 1.0}),
    "ensloss": ("ensloss", "EnsLoss", {}),
    "symmetric-cross-entropy": ("baselines", "SymmetricCrossEntropyLoss", {}),
    "focal": ("baselines", "FocalLoss", {}),
    "label-smoothing": ("baselines", "LabelSmoothingLoss", {}),
    "multi-margin": ("baselines", "MultiMarginLoss", {}),
}

SEEDED = ("ensloss",)  # take a seed and act on a whole batch: one instance a model
BINARY = ("ensloss",)  # defined for two classes


def names() -> tuple[str, ...]:
    """The names of all classification losses."""
    return tuple(_LOSSES)


def by_name(name: str, **arguments) -> nn.Module:
    """The classification loss ``name`` as a module, with ``arguments`` of its class (``tau``, ``reduction``, ...).

    Raises:
        ValueError: an unknown name, with the nearest one.
        TypeError: an argument that the class does not take.
    """
    checks.choice("name", name, _LOSSES)
    module, kind, preset = _LOSSES[name]
    return getattr(import_module(f"lab.losses.{module}"), kind)(**{**preset, **arguments})
