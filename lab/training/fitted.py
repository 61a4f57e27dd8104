"""The result of a training run: the models, their history, and how each of them ended."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from lab.training.stacks import PerModel, Stack

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class History:
    """Mean training loss and validation loss (models, epochs); NaN after a model has stopped, no columns without validation."""

    loss: torch.Tensor
    validation: torch.Tensor


@dataclass(frozen=True, eq=False)
class Fitted:
    """Trained models.

    ``epochs`` (models,) counts the epochs behind each model's weights; ``stopped`` says which stopped early, ``diverged`` which
    had a loss that is not finite; ``cancelled`` whether the run was cut short; ``seconds`` is wall time.
    """

    stack: Stack
    seeds: tuple[int, ...]
    history: History
    epochs: torch.Tensor
    stopped: torch.Tensor
    diverged: torch.Tensor
    cancelled: bool
    seconds: float

    def __len__(self) -> int:
        return len(self.stack)

    def model(self, index: int) -> nn.Module:
        """Model ``index`` as a plain module (a copy)."""
        return self.stack[index]

    @torch.no_grad()
    def predict(self, inputs, batch_size: int = 1024) -> torch.Tensor:
        """Outputs (models, items, ...) for inputs (items, ...) or ``PerModel``."""
        each = isinstance(inputs, PerModel)
        values = inputs.values if each else inputs
        like = self.stack.weights[0]
        values = torch.as_tensor(values).to(like.device, like.dtype)
        parts = values.split(max(1, batch_size), dim=1 if each else 0)
        return torch.cat([self.stack(PerModel(part) if each else part) for part in parts], dim=1)

    def to_frame(self) -> pd.DataFrame:
        """One row per model and epoch: model, seed, epoch, loss, validation."""
        import pandas as pd

        models, epochs = self.history.loss.shape
        model = torch.arange(models).repeat_interleave(epochs)
        frame = pd.DataFrame(
            {
                "model": model.numpy(),
                "seed": [self.seeds[index] for index in model.tolist()],
                "epoch": torch.arange(1, epochs + 1).repeat(models).numpy(),
                "loss": self.history.loss.flatten().cpu().numpy(),
            }
        )
        if self.history.validation.numel():
            frame["validation"] = self.history.validation.flatten().cpu().numpy()
        return frame[frame["loss"].notna() | (frame["epoch"] == 1)].reset_index(drop=True)

    def save(self, path) -> None:
        """Write weights and history to one safetensors file, atomically."""
        from safetensors.torch import save_file

        path = Path(path)
        tensors = {
            f"weights.{name}": value.detach().contiguous() for name, value in self.stack.parameters_by_name().items()
        }
        tensors |= {f"buffers.{name}": value.contiguous() for name, value in self.stack.buffers_by_name().items()}
        tensors |= {
            "loss": self.history.loss.contiguous(),
            "validation": self.history.validation.contiguous(),
            "epochs": self.epochs,
            "stopped": self.stopped,
            "diverged": self.diverged,
        }
        facts = {
            "seeds": json.dumps(self.seeds),
            "cancelled": json.dumps(self.cancelled),
            "seconds": json.dumps(self.seconds),
        }
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            save_file(tensors, temporary, metadata=facts)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path, network) -> Fitted:
        """Read what :meth:`save` wrote; ``network`` is the callable seed -> module that was trained."""
        from safetensors import safe_open

        with safe_open(str(path), framework="pt") as stored:
            facts = stored.metadata()
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}
        seeds = tuple(json.loads(facts["seeds"]))
        stack = Stack([network(seed) for seed in seeds])
        with torch.no_grad():
            for name, weight in stack.parameters_by_name().items():
                saved = tensors.get(f"weights.{name}")
                if saved is None or saved.shape != weight.shape:
                    raise ValueError(
                        f"network does not fit the file: {name} has shape {tuple(weight.shape)} here and "
                        f"{'is missing' if saved is None else tuple(saved.shape)} there"
                    )
                weight.copy_(saved)
            for name, value in stack.buffers_by_name().items():
                value.copy_(tensors.get(f"buffers.{name}", value))
        return cls(
            stack,
            seeds,
            History(tensors["loss"], tensors["validation"]),
            tensors["epochs"],
            tensors["stopped"],
            tensors["diverged"],
            json.loads(facts["cancelled"]),
            json.loads(facts["seconds"]),
        )
