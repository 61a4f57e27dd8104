"""The rows of the room compression, see rows.py."""

from tests.claims.rows import *  # noqa: F403

ROOM = "compression"
