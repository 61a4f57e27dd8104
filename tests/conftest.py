import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
os.environ.setdefault("OPENBLAS_NUM_THREADS", os.environ["OMP_NUM_THREADS"])

import pytest


@pytest.fixture
def generator():
    """A seeded ``torch.Generator``."""
    import torch

    return torch.Generator().manual_seed(0)
