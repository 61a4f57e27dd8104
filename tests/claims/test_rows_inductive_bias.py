"""The rows of the room inductive_bias, see rows.py."""

from tests.claims.rows import *  # noqa: F403

ROOM = "inductive_bias"
