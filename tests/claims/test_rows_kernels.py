"""The rows of the room kernels, see rows.py."""

from tests.claims.rows import *  # noqa: F403

ROOM = "kernels"
