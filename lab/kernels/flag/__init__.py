"""Loops of flag complexes: edge collapse over two parameters, triangles of what is left, boundary reduction over
Z/2."""
