import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
os.environ.setdefault("OPENBLAS_NUM_THREADS", os.environ["OMP_NUM_THREADS"])

import pytest


def pytest_collection_modifyitems(items):
    """Every process gives a test the same id: none holds an address of memory."""
    drawn = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if drawn:
        raise pytest.UsageError(
            f"ids must be the same in every process, got {drawn[:3]}; name the parameters with ids="
        )


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
