"""Multigrid operator networks against gather and scatter: make bench."""

import pytest

from tests.bench import frame
from tests.bench.spon_cases import message_passing


@pytest.mark.peers
@pytest.mark.parametrize("refinements, items", [(3, 16), (4, 16)])
def test_forward_and_backward_pass_against_message_passing(refinements, items):
    row = message_passing(refinements, items, 24)
    frame.write("physics", [row])
    print("\n" + frame.show([row]))  # speed is shown, not tested
