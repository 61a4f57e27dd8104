"""Figures of the room of generative models, one module a method."""
