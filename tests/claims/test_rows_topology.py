"""The rows of the room topology, see rows.py."""

from tests.claims.rows import *  # noqa: F403

ROOM = "topology"
