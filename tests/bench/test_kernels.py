"""CPU kernels against torch, torch.compile and KeOps; writes ``data/benchmarks/kernels.csv``."""

import pytest

from tests.bench import frame, kernel_cases, peers

pytestmark = pytest.mark.bench
HERE = (
    "pairwise_distances",
    "pairwise_products",
    "hypotheses",
    "rowloss_compiled",
    "rowloss_eager",
    "rowloss_image",
    "doubled_batch",
    "element_step",
    "element_step_adjoint",
)


def judge(row):
    frame.write("kernels", [row])
    print("\n" + frame.show([row]))  # correctness was asserted before the timing; speed is shown, not tested


@pytest.mark.parametrize("case", HERE)
def test_kernel_against_torch(case):
    judge(getattr(kernel_cases, case)())


@pytest.mark.peers
def test_pairwise_against_keops():
    judge(peers.call("tests.bench.kernel_cases:pairwise_keops"))


@pytest.mark.peers
def test_the_device_benchmark_times_keops_where_it_can_be_imported():
    found = peers.call("tests.bench.kernel_cases:device_benchmark")
    assert found["peer"] == "KeOps"
    assert found["over_peer"] > 0
