"""Speed and accuracy of the explanations against captum, shap and lime; writes data/benchmarks/explanations.csv."""

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
    row = keep(peers.call(f"{CASES}:speed", method, peer, target, floor, few))
    assert row.ratio >= row.floor


@pytest.mark.parametrize("method", ["kernelshap", "lime", "clime", "smoothgrad"])
def test_whole_cost_stays_near_the_bare_passes(method):
    row = keep(peers.call(f"{CASES}:forwards", method))
    assert row.ratio >= row.floor


@pytest.mark.parametrize("draws, peer, target, floor", [
    (256, "shap", 1 / 0.61, 1 / 0.75), (1024, "shap", 1 / 0.48, 1 / 0.65), (256, "captum", 4, 1 / 0.4),
    (1024, "captum", 4, 1 / 0.4),
])  # fmt: skip
def test_kernelshap_error_at_equal_draws(draws, peer, target, floor):
    row = keep(peers.call(f"{CASES}:accuracy", draws, target, floor, peer))
    assert row.ratio >= row.floor


def test_kernelshap_of_a_forest_against_exact_treeshap():
    assert keep(peers.call(f"{CASES}:trees")).ratio >= 1


def test_new_kernel_width_is_solved_within_50_milliseconds():
    assert keep(peers.call(f"{CASES}:widths")).ours_ms <= 50


def test_smoothgrad_on_images_keeps_up_with_the_best_batch_of_captum():
    row = keep(peers.call(f"{CASES}:images"))
    assert row.ratio >= row.floor
