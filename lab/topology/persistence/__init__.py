"""Persistence as an objective: filtration, descriptor, loss, optimizer."""
