"""The rows of the room online, see rows.py."""

from tests.claims.rows import *  # noqa: F403

ROOM = "online"
