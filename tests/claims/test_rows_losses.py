"""The rows of the room losses, see rows.py."""

from tests.claims.rows import *  # noqa: F403

ROOM = "losses"
