import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
os.environ.setdefault("OPENBLAS_NUM_THREADS", os.environ["OMP_NUM_THREADS"])

import pytest


@pytest.fixture
def generator():
    """A seeded ``torch.Generator``."""
    import torch

    return torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True)
def _same_draws():
    """What a test draws without a generator is the same in every run and order."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
