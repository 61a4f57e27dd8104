"""The rows of the room search, see rows.py."""

from tests.claims.rows import *  # noqa: F403

ROOM = "search"
