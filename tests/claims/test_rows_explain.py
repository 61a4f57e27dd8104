"""The rows of the room explain, see rows.py."""

from tests.claims.rows import *  # noqa: F403

ROOM = "explain"
