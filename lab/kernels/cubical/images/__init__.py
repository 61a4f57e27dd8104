"""Compiled passes over images."""
