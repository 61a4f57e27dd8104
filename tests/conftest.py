import os

threads = os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", threads)
os.environ.setdefault("OPENBLAS_NUM_THREADS", threads)

import pytest  # noqa: E402


@pytest.fixture
def generator():
    """A seeded ``torch.Generator``."""
    import torch

    return torch.Generator().manual_seed(0)
