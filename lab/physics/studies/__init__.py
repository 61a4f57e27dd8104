"""The experiments of the room, one module a method."""
