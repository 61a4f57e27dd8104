"""The functions that measure the room's claims; importing this registers them."""

from lab.explain.claims import beyond, choosing, unification

__all__ = ["beyond", "choosing", "unification"]
