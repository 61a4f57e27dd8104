"""The adaptive integrator against torchdiffeq: make bench."""

import pytest

from tests.bench import frame, peers


@pytest.mark.peers
@pytest.mark.parametrize("items, width", [(256, 64), (32, 16)])
def test_forward_and_backward_pass_against_torchdiffeq(items, width):
    row = peers.call("tests.bench.integrate_cases:network_field", items=items, width=width, tolerance=1e-5)
    frame.write("integrate", [row])
    print("\n" + frame.show([row]))  # equality was asserted before the timing; speed is shown, not tested
