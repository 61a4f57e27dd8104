"""What the genetic search is compared with: first-order search of softmax rows by Adam on relaxed counts, and independent columns.

Rows are logits over levels and a sigmoid for numbers; cells count products of memberships, a half-space the sigmoid of its margin
over a temperature that falls along the search (``"tempered"``), or a step forwards and that sigmoid backwards
(``"straight-through"``). At the end rows are made hard by the largest and by drawn levels; the better of the two on the wanted
answers is returned.

Source: S. Aydore et al., 'Differentially Private Query Release Through Adaptive Projection', ICML 2021 (relaxed projection);
G. Vietri et al., 'Private Synthetic Data for Multitask Learning and Marginal Queries', NeurIPS 2022 (tempered sigmoid).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from lab import checks
from lab.generative.privacy import gaussian_mechanism
from lab.generative.queries import Queries

FORMS = ("tempered", "straight-through")
WARM = 0.3  # temperature at the start


class RelaxedCounts:
    """Differentiable answers (runs, queries) of relaxed rows, for workloads of at most two columns."""

    def __init__(self, queries: Queries):
        if queries.layout.cell_column.shape[1] > 2:
            raise ValueError("relaxed tables answer marginals of at most two columns, got some of three")
        self.queries, domain = queries, queries.domain
        layout = queries.layout
        coded = sorted(
            {(int(j), int(b)) for c, b in zip(layout.cell_column, layout.cell_bins) for j, b in zip(c, b) if j >= 0}
        )
        self.coded, self.at, place = coded, {}, 1  # place 0 is a column of ones
        for j, bins in coded:
            self.at[j, bins], place = place, place + bins
        first, second = [], []
        for columns, bins in zip(layout.cell_column, layout.cell_bins):
            a = self.at[int(columns[0]), int(bins[0])] + np.arange(bins[0])
            two = len(columns) == 2 and columns[1] >= 0
            b = self.at[int(columns[1]), int(bins[1])] + np.arange(bins[1]) if two else np.array([0])
            first.append(np.repeat(a, len(b)))
            second.append(np.tile(b, len(a)))
        join = lambda parts: torch.from_numpy(np.concatenate(parts) if parts else np.zeros(0, np.int64))  # noqa: E731
        self.first, self.second = join(first), join(second)
        self.weight, self.bound = torch.from_numpy(layout.weight).float(), torch.from_numpy(layout.bound).float()
        self.condition = torch.from_numpy(
            np.where(layout.condition < 0, -1, domain.start[layout.condition] + layout.condition_level)
        )

    def __call__(self, soft: torch.Tensor, temperature: float, form: str) -> torch.Tensor:
        """Answers of rows ``soft`` (runs, rows, width): probabilities of levels, numbers in [0, 1]."""
        domain = self.queries.domain
        parts = [torch.ones_like(soft[..., :1])]
        for j, bins in self.coded:
            start = int(domain.start[j])
            if domain.levels[j]:
                parts.append(soft[..., start : start + bins])
            else:
                inner = torch.arange(1, bins) / bins
                above = step(soft[..., start : start + 1] - inner, temperature / 4, form)
                edge = torch.ones_like(above[..., :1])
                parts.append(torch.cat([edge, above], -1) - torch.cat([above, 0 * edge], -1))
        member = torch.cat(parts, -1)
        pairs = member.transpose(1, 2) @ member / soft.shape[1]
        cells = pairs[:, self.first, self.second]
        if not len(self.bound):
            return cells
        inside = step(soft @ self.weight.T - self.bound, temperature, form)
        chosen = torch.where(self.condition >= 0, soft[..., self.condition.clamp_min(0)], torch.ones(()))
        return torch.cat([cells, (inside * chosen).mean(1)], -1)


def step(margin: torch.Tensor, temperature: float, form: str) -> torch.Tensor:
    """1 where the margin is positive, relaxed."""
    soft = torch.sigmoid(margin / temperature)
    return soft if form == "tempered" else soft + ((margin >= 0).float() - soft).detach()


def relaxed_search(
    queries: Queries,
    noised: np.ndarray,
    *,
    rows: int,
    steps: int = 300,
    rate: float = 0.1,
    form: str = "tempered",
    temperature: float = 0.01,
    active: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Tables (runs, rows, columns) whose relaxed answers follow ``noised`` (runs, queries).

    Args:
        rate: of Adam, on logits.
        form: how steps are relaxed, see above; ``temperature`` is its end.
        active: which queries enter, (runs, queries).
    """
    checks.choice("form", form, FORMS)
    domain, counts = queries.domain, RelaxedCounts(queries)
    generator = torch.Generator().manual_seed(seed)
    runs, width = len(noised), int(domain.start[-1])
    logits = torch.randn(runs, rows, width, generator=generator).requires_grad_()
    wanted = torch.from_numpy(np.asarray(noised)).float()
    mask = torch.ones_like(wanted) if active is None else torch.from_numpy(active).float()
    optimizer = torch.optim.Adam([logits], lr=rate)
    for k in range(steps):
        now = WARM * (temperature / WARM) ** (k / max(steps - 1, 1))
        loss = ((counts(relaxed(domain, logits), now, form) - wanted).square() * mask).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        soft = relaxed(domain, logits)
        drawn, largest = harden(domain, soft, generator), harden(domain, soft, None)
        kept = np.ones_like(noised) if active is None else active
        errors = [((queries.answers(x) - noised) ** 2 * kept).sum(1) for x in (drawn, largest)]
    return np.where((errors[0] < errors[1])[:, None, None], drawn, largest)


def relaxed(domain, logits: torch.Tensor) -> torch.Tensor:
    """Probabilities and numbers of rows of logits."""
    parts = [
        F.softmax(logits[..., a:b], -1) if size else torch.sigmoid(logits[..., a:b])
        for size, a, b in zip(domain.levels, domain.start[:-1], domain.start[1:])
    ]
    return torch.cat(parts, -1)


def harden(domain, soft: torch.Tensor, generator) -> np.ndarray:
    """Rows (runs, rows, columns): drawn levels, or the largest where there is no generator."""
    out = []
    for size, a, b in zip(domain.levels, domain.start[:-1], domain.start[1:]):
        part = soft[..., a:b]
        if not size:
            out.append(part[..., 0])
        elif generator is None:
            out.append(part.argmax(-1).float())
        else:
            at = torch.rand(*part.shape[:2], 1, generator=generator)
            out.append((part.cumsum(-1) < at).sum(-1).clamp_max(int(size) - 1).float())
    return torch.stack(out, -1).double().numpy()


def independent_tables(
    queries: Queries, answers, n: int, rho: float, *, generator, rows: int = 500, runs: int = 1
) -> np.ndarray:
    """Tables of independent columns: the whole budget on one-way marginals ``answers`` of ``queries``, drawn by noised shares."""
    domain, columns = queries.domain, []
    for w, one in enumerate(queries.workloads):
        shares, _ = gaussian_mechanism(
            answers[one.start : one.stop], one.sensitivity / n, rho / len(queries.workloads), generator, runs
        )
        shares = np.clip(shares, 0, None) + 1e-12
        cumulative = torch.from_numpy((shares / shares.sum(1, keepdims=True)).cumsum(1))
        u = torch.rand(runs, rows, generator=generator, dtype=torch.float64)
        code = torch.searchsorted(cumulative, u).clamp_max(shares.shape[1] - 1)
        inner = torch.rand(runs, rows, generator=generator, dtype=torch.float64)
        columns.append(code.double() if domain.levels[w] else (code + inner) / shares.shape[1])
    return torch.stack(columns, -1).numpy()
