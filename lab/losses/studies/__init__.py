"""The experiments of the room, one module a method; :mod:`lab.losses.studies.common` holds what they share."""
