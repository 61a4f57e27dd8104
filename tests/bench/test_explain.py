"""Speed and accuracy of the explanations against captum, shap and lime; writes data/benchmarks/explanations.csv.

Outputs and errors are asserted, times are shown: the rows carry targets and floors.
"""

import pytest

from tests.bench import frame, peers

pytestmark = [pytest.mark.peers, pytest.mark.bench]
CASES = "tests.bench.explain_cases"
SPEED = [
    ("kernelshap", "captum", 500, 100, 2),
    ("kernelshap", "shap", 40, 20, 5),
    ("lime", "captum", 300, 100, 2),
    ("lime", "lime", 10, 5, 5),
    ("smoothgrad", "captum", 8, 5, 2),
    ("integrated_gradients", "captum", 8, 5, 100),
    ("occlusion", "captum", 2, 1, 100),
]


def keep(row: frame.Row) -> frame.Row:
    frame.write("explanations", [row])
    print(frame.show([row]))
    return row


@pytest.mark.parametrize("method, peer, target, floor, few", SPEED)
def test_speed_against_peers(method, peer, target, floor, few):
    assert keep(peers.call(f"{CASES}:speed", method, peer, target, floor, few)).ratio > 0


@pytest.mark.parametrize("width", [64, 256])
@pytest.mark.parametrize("method", ["kernelshap", "lime", "clime", "smoothgrad"])
def test_whole_cost_beside_the_bare_passes(method, width):
    assert keep(peers.call(f"{CASES}:forwards", method, width)).ratio > 0


@pytest.mark.parametrize("draws, peer, target, floor", [
    (256, "shap", 1 / 0.61, 1 / 0.75), (1024, "shap", 1 / 0.48, 1 / 0.65), (256, "captum", 4, 1 / 0.4),
    (1024, "captum", 4, 1 / 0.4), (256, "screened odd regression", 1, 1), (1024, "screened odd regression", 1, 1),
])  # fmt: skip
def test_kernelshap_errs_no_more_at_equal_draws(draws, peer, target, floor):
    assert keep(peers.call(f"{CASES}:accuracy", draws, target, floor, peer)).ratio > (0.9 if "odd" in peer else 1)


def test_kernelshap_of_a_forest_against_exact_treeshap():
    assert keep(peers.call(f"{CASES}:trees")).ratio >= 1


def test_new_kernel_width_is_solved_from_outputs_at_hand():
    assert keep(peers.call(f"{CASES}:widths")).difference <= 1e-9


@pytest.mark.parametrize("method", ["smoothgrad", "integrated_gradients", "occlusion", "kernelshap"])
def test_images_against_the_best_batch_of_captum(method):
    assert keep(peers.call(f"{CASES}:images", method)).ratio > 0


def test_normal_equations_of_local_fits_agree_with_the_batched_product():
    assert keep(peers.call(f"{CASES}:grams")).difference <= 1e-10
