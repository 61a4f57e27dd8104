"""Persistent homology and Betti matching of images: compiled kernels (``cpu``) and matrix reduction (``reference``)."""
