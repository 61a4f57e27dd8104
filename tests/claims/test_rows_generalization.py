"""The rows of the room generalization, see rows.py."""

from tests.claims.rows import *  # noqa: F403

ROOM = "generalization"
