"""The experiments of the room, one module a method; :mod:`lab.generalization.studies.common` holds what they share."""
