"""The rows of the room physics, see rows.py."""

from tests.claims.rows import *  # noqa: F403

ROOM = "physics"
