"""Every statement of the room is measured; what cannot be compared is refused."""

import pytest
import torch

from lab import claims
from lab.losses.comparison import compare


def test_every_statement_is_measured_or_says_why_not():
    for method in claims.methods("losses"):
        for claim in method.claims:
            assert claim.untestable or claims.measuring_function(claim.id) is not None
            assert claim.untestable or claim.control


def test_loss_for_two_classes_is_refused_with_more_of_them():
    x, y = torch.randn(90, 3), torch.arange(90) % 3
    with pytest.raises(ValueError, match="'ensloss' is defined for two classes, y has 3"):
        compare(("cross-entropy", "ensloss"), x, y)
