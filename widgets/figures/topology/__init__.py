"""Figures of the room of topology, one module a method."""
