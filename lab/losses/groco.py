r"""Group ordering constraints: after a differentiable sort, are all positive pairs above all negative pairs?

For an anchor, s = [its k hardest negatives ascending, its positives ascending] are similarities in [-1, 1]. A differentiable
sorting network gives P[i, r]; q_i = sum_{r >= k} P[i, r] is the weight of pair i on the positive ranks, and

.. math:: L = \frac1n \sum_i \mathrm{BCE}(q_i, t_i), \qquad t_i = 1[i \text{ is positive}].

Nothing asks for an order within the groups. Cosines lie in [-1, 1], so at steepness 1 the loss has a floor well above zero even
for a perfect order: watch :func:`ordered` beside it.

Source: N. Shvetsova, F. Petersen, A. Kukleva, B. Schiele, H. Kuehne, 'Learning by Sorting: Self-supervised Learning with
Group Ordering Constraints', ICCV 2023, equations (5) to (8).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import nn

from lab import checks
from lab.kernels.precision import wide, without_autocast
from lab.losses.contrastive_temperature import normalize
from lab.losses.sorting import NETWORKS, SIGMOIDS, soft_sort


class GroCoLoss(nn.Module):
    """The group ordering loss of two or more views.

    Args:
        n_negatives: hardest negatives kept per anchor; the batch must be larger.
        steepness: of the sorting network.
        network, sigmoid: as :func:`lab.losses.sorting.soft_sort`.

    ``forward(views)``: a sequence of V >= 2 tensors (N, D), or one tensor (V, N, D). Each view is the anchor once; partners are
    held constant, so that gradients reach the anchors alone.
    """

    def __init__(
        self, n_negatives: int = 10, steepness: float = 1.0, network: str = "odd-even", sigmoid: str = "cauchy"
    ):
        super().__init__()
        self.n_negatives = checks.integer("n_negatives", n_negatives, low=1)
        self.steepness = checks.number("steepness", steepness, low=0.0, open_low=True)
        self.network = checks.choice("network", network, NETWORKS)
        self.sigmoid = checks.choice("sigmoid", sigmoid, SIGMOIDS)

    def forward(self, views: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
        similarity, positives = group_similarities(views, self.n_negatives)
        return group_ordering_loss(
            similarity, positives, self.steepness, network=self.network, sigmoid=self.sigmoid
        ).mean()

    def extra_repr(self) -> str:
        return f"n_negatives={self.n_negatives}, steepness={self.steepness}, network={self.network!r}"


@without_autocast
def group_similarities(views, n_negatives: int) -> tuple[Float[torch.Tensor, "anchors n"], int]:
    """Similarities [negatives ascending, positives ascending] of every anchor of every view, and the number of positives."""
    if not isinstance(views, torch.Tensor):
        views = [checks.tensor(f"views[{v}]", view, ndim=2, floating=True) for v, view in enumerate(views)]
        if len(views) < 2:
            raise ValueError(f"views must hold at least 2 views, got {len(views)}")
        for v, view in enumerate(views):
            checks.same_shape("views[0]", views[0], f"views[{v}]", view)
        views = torch.stack(views)
    stacked = checks.tensor("views", views, ndim=3, floating=True)
    count, batch, _ = stacked.shape
    if count < 2:
        raise ValueError(f"views must hold at least 2 views, got {count}")
    if batch <= n_negatives:
        raise ValueError(f"views must have more than n_negatives = {n_negatives} rows each, got {batch}")
    unit = torch.stack([normalize(view) for view in stacked])
    fixed = unit.detach()
    found = []
    for v in range(count):
        others = [u for u in range(count) if u != v]
        positive = torch.stack([(unit[v] * fixed[u]).sum(1) for u in others], 1)
        negative = (unit[v] @ fixed[v].T).masked_fill(
            torch.eye(batch, dtype=torch.bool, device=unit.device), -torch.inf
        )
        hardest = negative.topk(n_negatives, dim=1).values.flip(1)
        found.append(torch.cat([hardest, positive.sort(dim=1).values], 1))
    return torch.cat(found), count - 1


@without_autocast
def group_ordering_loss(
    similarity: Float[torch.Tensor, "anchors n"],
    positives: int,
    steepness: float = 1.0,
    *,
    network: str = "odd-even",
    sigmoid: str = "cauchy",
) -> Float[torch.Tensor, " anchors"]:
    """The loss of each row of similarities, whose last ``positives`` entries are the positive pairs.

    Raises:
        ValueError: no row of pairs, no positive or no negative pair.
    """
    similarity = wide(checks.tensor("similarity", similarity, ndim=2, floating=True))
    n = similarity.shape[1]
    positives = checks.integer("positives", positives, low=1, high=n - 1)
    _, matrix = soft_sort(similarity, steepness, network=network, sigmoid=sigmoid)
    mass = matrix[..., n - positives :].sum(-1).clamp(1e-7, 1 - 1e-7)
    target = torch.zeros_like(mass)
    target[:, n - positives :] = 1.0
    return nn.functional.binary_cross_entropy(mass, target, reduction="none").mean(1)


def ordered(similarity: Float[torch.Tensor, "anchors n"], positives: int) -> torch.Tensor:
    """Share of (positive, negative) pairs in the right order."""
    n = similarity.shape[1] - positives
    return (similarity[:, n:, None] > similarity[:, None, :n]).to(similarity.dtype).mean()
