"""The rows of the room generative, see rows.py."""

from tests.claims.rows import *  # noqa: F403

ROOM = "generative"
