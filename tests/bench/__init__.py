"""Benchmarks: speed against published peers, with outputs compared first."""
