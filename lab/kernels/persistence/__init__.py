"""Measures of connected components over two parameters and the elder rule over one: integer ids and weights."""
