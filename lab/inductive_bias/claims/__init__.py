"""The measuring functions of this room: the estimate itself, and what it says about tasks and models."""

from lab.inductive_bias.claims import estimate, models, tasks

__all__ = ["estimate", "models", "tasks"]
