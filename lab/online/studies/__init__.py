"""Experiments of the room, one module a method."""
