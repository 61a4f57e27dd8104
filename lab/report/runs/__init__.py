"""Runs: one, many at once, in the background, on other machines."""
