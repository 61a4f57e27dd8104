r"""Absorbing (masked) diffusion of sequences, with denoisers that are exact by enumeration or learned.

Tokens 0, ..., K - 1 turn into the mask K one after the other; the way back reveals one masked site at a time, chosen at
random, with a
token drawn from the denoiser p(x_i | what is revealed). This is the process with rates in continuous time seen at its jumps:
with the
exact conditionals every order of revealing gives the law p itself, whatever the noise schedule.

With p given as a table over K^L sequences, sums over everything that agrees with a partly masked sequence stand in one table over
(K + 1)^L states, made axis by axis; conditionals and expectations are quotients of its entries.

Source: J. Austin, D. Johnson, J. Ho, D. Tarlow, R. van den Berg, 'Structured denoising diffusion models in discrete
state-spaces', NeurIPS
2021, section 3.1 (absorbing state); revealing in any order: E. Hoogeboom et al., 'Autoregressive diffusion models', ICLR 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from lab import checks
from lab.generative.samplers import Noise
from lab.generative.scores import descend, stacked
from lab.training import PerModel

Denoiser = Callable[[torch.Tensor], torch.Tensor]  # (..., L) tokens and masks -> (..., L, K) probabilities
LARGEST = 1 << 22


def extended(weights: torch.Tensor, tokens: int, length: int) -> torch.Tensor:
    """Sums of ``weights`` (tokens ** length,) over the sequences that agree with each state: ((tokens + 1) ** length,)."""
    if (checks.integer("tokens", tokens, low=2) + 1) ** checks.integer("length", length, low=1) > LARGEST:
        raise ValueError(
            f"tokens and length allow {(tokens + 1) ** length} states, at most {LARGEST} can be enumerated"
        )
    table = checks.tensor("weights", weights, shape=(tokens**length,)).double().reshape((tokens,) * length)
    for axis in range(length):
        table = torch.cat([table, table.sum(axis, keepdim=True)], axis)
    return table.flatten()


class Enumerated:
    """A law over all sequences of ``length`` from ``tokens`` letters, from its table of probabilities (tokens ** length,).

    >>> law = Enumerated(torch.tensor([0.1, 0.2, 0.3, 0.4]), 2, 2)
    >>> law(torch.tensor([2, 1]))[0]
    tensor([0.3333, 0.6667], dtype=torch.float64)
    """

    def __init__(self, probabilities: torch.Tensor, tokens: int, length: int):
        table = checks.tensor("probabilities", probabilities).double()
        if bool((table <= 0).any()):
            raise ValueError("probabilities must be positive")
        self.tokens, self.length = tokens, length
        self.table = table / table.sum()
        self.sums = extended(self.table, tokens, length)
        self.places = (tokens + 1) ** torch.arange(length - 1, -1, -1)
        self.own = tokens ** torch.arange(length - 1, -1, -1)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """p(x_i = k | what is revealed) for every site, (..., L, K); at revealed sites the token itself."""
        place = (x * self.places).sum(-1)
        moved = place[..., None, None] + (torch.arange(self.tokens) - x[..., None]) * self.places[:, None]
        masked = (x == self.tokens)[..., None]
        whole = self.sums[place][..., None, None]
        return torch.where(
            masked, self.sums[moved] / whole, F.one_hot(x.clamp_max(self.tokens - 1), self.tokens).double()
        )

    def expectation(self, f: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """E[f(x_0) | state] as a function of states, for ``f`` given on all sequences (tokens ** length,)."""
        sums = extended(self.table * f.double(), self.tokens, self.length)
        return lambda x: (sums / self.sums)[(x * self.places).sum(-1)]

    def sequences(self) -> torch.Tensor:
        """All sequences in the order of the table, (tokens ** length, length)."""
        return torch.cartesian_prod(*[torch.arange(self.tokens)] * self.length)

    def index(self, x: torch.Tensor) -> torch.Tensor:
        """Places of complete sequences in the table."""
        return (x * self.own).sum(-1)


def markov(start: torch.Tensor, step: torch.Tensor, length: int) -> torch.Tensor:
    """Probabilities of all sequences of a Markov chain with first letters ``start`` (K,) and transitions ``step`` (K, K)."""
    x = torch.cartesian_prod(*[torch.arange(len(start))] * length)
    return start[x[:, 0]] * step[x[:, :-1], x[:, 1:]].prod(1)


def reveal(x: torch.Tensor, probabilities: torch.Tensor, noise: Noise) -> torch.Tensor:
    """One masked site of each sequence ``x`` (seeds, ..., L) revealed, its token from ``probabilities`` (seeds, ..., L, K)."""
    tokens = probabilities.shape[-1]
    order = torch.where(x == tokens, noise.uniform(*x.shape[1:]), -1.0)
    site = order.argmax(-1, keepdim=True)
    row = probabilities.gather(-2, site[..., None].expand(*site.shape, tokens)).squeeze(-2).double()
    level = noise.uniform(*x.shape[1:-1])[..., None] * row.sum(-1, keepdim=True)
    token = (row.cumsum(-1) < level).sum(-1, keepdim=True).clamp_max(tokens - 1)
    return torch.where(x.gather(-1, site) == tokens, x.scatter(-1, site, token), x)


def log_likelihood(denoiser: Denoiser, x: torch.Tensor, tokens: int, *, orders: int = 4, seed: int = 0) -> torch.Tensor:
    """Mean over random orders of sum_i log p(x_i | revealed before): a lower bound of log p, exact for exact conditionals."""
    generator, total = torch.Generator().manual_seed(seed), torch.zeros(x.shape[:-1], dtype=torch.float64)
    for _ in range(checks.integer("orders", orders, low=1)):
        rank = torch.rand(x.shape, generator=generator).argsort(-1)
        for k in range(x.shape[-1]):
            state = torch.where(rank < k, x, tokens)
            found = denoiser(state).double().gather(-1, x[..., None]).squeeze(-1)
            total = total + torch.where(rank == k, found.clamp_min(1e-12).log(), 0.0).sum(-1)
    return total / orders


def encoded(x: torch.Tensor, tokens: int) -> torch.Tensor:
    """States as rows (..., L (K + 1) + 1): which token or mask stands where, and the share of masks."""
    rows = F.one_hot(x, tokens + 1).float().flatten(-2)
    return torch.cat([rows, (x == tokens).float().mean(-1, keepdim=True)], -1)


def train_denoiser(
    x: torch.Tensor,
    tokens: int,
    *,
    steps: int = 1500,
    batch: int = 256,
    width: int = 128,
    seed: int = 0,
    rate: float = 2e-3,
) -> Denoiser:
    """p(x_i | revealed) learned from sequences ``x`` (items, L): cross-entropy at sites masked at a random rate."""
    x = checks.tensor("x", x, ndim=2).long()
    if int(x.min()) < 0 or int(x.max()) >= checks.integer("tokens", tokens, low=2):
        raise ValueError(f"x must hold tokens from 0 to {tokens - 1}, got {int(x.min())} to {int(x.max())}")
    length, noise = x.shape[1], Noise((seed,), torch.float32)
    stack = stacked(length * (tokens + 1), length * tokens, (seed,), width, 2)

    def logits(state):
        return stack(PerModel(encoded(state, tokens).reshape(1, -1, length * (tokens + 1) + 1)))[0].unflatten(
            -1, (length, tokens)
        )

    def loss(step):
        rows = (noise.uniform(batch)[0] * len(x)).long().clamp_max(len(x) - 1)
        masked = noise.uniform(batch, length)[0] < noise.uniform(batch, 1)[0].clamp_min(1 / length)
        each = F.cross_entropy(
            logits(torch.where(masked, tokens, x[rows])).flatten(0, 1), x[rows].flatten(), reduction="none"
        )
        return (each.reshape(batch, length) * masked).sum() / masked.sum().clamp_min(1)

    descend(stack, loss, steps, rate)
    return lambda state: logits(state.reshape(-1, length)).softmax(-1).reshape(*state.shape, tokens)


def words(x: torch.Tensor, alphabet: Sequence[str]) -> list[str]:
    """Sequences (items, L) as text."""
    return ["".join(alphabet[k] for k in row) for row in x.tolist()]
