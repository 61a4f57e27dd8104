"""Designs to be steered: rewards of digits, DNA, RNA and chains of atoms, and the sequences that frozen models learn from."""

from __future__ import annotations

import io
import math

import torch

from lab.generative import masked

MOTIF = torch.tensor([[0.85, 0.05, 0.05, 0.05], [0.05, 0.05, 0.85, 0.05], [0.05, 0.85, 0.05, 0.05], [0.05, 0.05, 0.05, 0.85],
                      [0.45, 0.05, 0.45, 0.05], [0.05, 0.85, 0.05, 0.05], [0.85, 0.05, 0.05, 0.05]])  # fmt: skip
GROUPS = (
    "C",
    "N",
    "O",
    "F",
    "=C",
    "=N",
    "=O",
    "#C",
    "#N",
    ".",
)  # an atom with its bond to the one before; "." is the end
BONDS, VALENCE = (1, 1, 1, 1, 2, 2, 2, 3, 3, 0), (4, 3, 2, 1, 4, 3, 2, 4, 3, 0)
ATOMS = 9


def motif_score(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The best match of a position weight matrix (width, letters) in sequences (..., L), in nats over a uniform background."""
    width, letters = weights.shape
    windows = x.unfold(-1, width, 1)
    table = weights.double().log() + math.log(letters)
    return table[torch.arange(width), windows].sum(-1).amax(-1)


def base_pairs(x: torch.Tensor, loop: int = 3) -> torch.Tensor:
    """The most pairs AU, CG, GU without crossings of RNA (..., L) in letters A, C, G, U, loops of at least ``loop``.
    Nussinov, 1978."""
    length = x.shape[-1]
    a, b = x[..., :, None], x[..., None, :]
    pair = ((a + b == 3) | (a + b == 5)).int()  # A U and C G, G U, as 0 1 2 3
    best = torch.zeros(*x.shape, length, dtype=torch.int32)
    for gap in range(loop + 1, length):
        i = torch.arange(length - gap)
        j = i + gap
        found = torch.maximum(best[..., i + 1, j], best[..., i, j - 1])
        found = torch.maximum(found, best[..., i + 1, j - 1] + pair[..., i, j])
        for cut in range(loop + 1, gap - loop - 1):
            found = torch.maximum(found, best[..., i, i + cut] + best[..., i + cut + 1, j])
        best[..., i, j] = found
    return best[..., 0, -1].double()


def png_bytes(pixels: torch.Tensor, side: int) -> torch.Tensor:
    """Bytes of images (..., side * side) in [0, 1] written as PNG of 16 grey levels; a black box, one file after the other."""
    from PIL import Image

    levels = (pixels.clamp(0, 1) * 15).round().to(torch.uint8).mul(17).reshape(-1, side, side).numpy()

    def size(image):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "png")
        return file.tell()

    return torch.tensor([size(one) for one in levels], dtype=torch.float64).reshape(pixels.shape[:-1])


def violations(x: torch.Tensor) -> torch.Tensor:
    """How often chains of groups (..., ATOMS) break a rule: an overbound atom, an atom after the end, a bond before the
    first atom, no
    atom at all."""
    bonds, valence = (torch.tensor(one)[x] for one in (BONDS, VALENCE))
    ended = x == len(GROUPS) - 1
    after = torch.cat([bonds[..., 1:], torch.zeros_like(bonds[..., :1])], -1)
    first = torch.where(torch.arange(x.shape[-1]) == 0, 0, bonds)
    overbound = (~ended & (first + after > valence)).sum(-1)
    late = (ended[..., :-1] & ~ended[..., 1:]).sum(-1)
    return overbound + late + (bonds[..., 0] != 1)


def valid(x: torch.Tensor) -> torch.Tensor:
    """Whether chains of groups break no rule."""
    return violations(x) == 0


def group_logp(x: torch.Tensor) -> torch.Tensor:
    """Sum of fragment constants of octanol-water partition (Hansch, Leo, 1979) over the atoms of a valid chain; -5 for each
    broken rule of another.

    Carbon 0.20 and 0.23 a hydrogen; N -2.18, NH -2.15, NH2 -1.54; O -1.82, OH -1.64, =O -2.10; F -0.38. Corrections for bonds and
    branching are left out.
    """
    bonds, valence = (torch.tensor(one)[x] for one in (BONDS, VALENCE))
    after = torch.cat([bonds[..., 1:], torch.zeros_like(bonds[..., :1])], -1)
    hydrogens = (valence - torch.where(torch.arange(x.shape[-1]) == 0, 0, bonds) - after).clamp_min(0)
    kind = torch.tensor([0, 1, 2, 3, 0, 1, 4, 0, 1, 5])[x]
    amine = torch.tensor([-2.18, -2.15, -1.54, -1.54])[hydrogens.clamp_max(3)]
    oxygen = torch.tensor([-1.82, -1.64, -1.64])[hydrogens.clamp_max(2)]
    value = torch.where(kind == 0, 0.20 + 0.23 * hydrogens, 0.0) + torch.where(kind == 1, amine, 0.0)
    value = value + torch.where(kind == 2, oxygen, 0.0) - 0.38 * (kind == 3) - 2.10 * (kind == 4)
    broken = violations(x)
    return torch.where(broken == 0, value.sum(-1), -5.0 * broken).double()


def sequences_of(name: str, count: int = 4000, seed: int = 31) -> tuple[torch.Tensor, int]:
    """Training sequences and their number of letters: DNA with motifs in half of them, RNA rich in GC, valid chains of atoms."""
    g = torch.Generator().manual_seed(seed)
    if name == "molecules":
        draws = torch.randint(len(GROUPS), (60 * count, ATOMS), generator=g)
        length = torch.randint(3, ATOMS + 1, (len(draws), 1), generator=g)
        draws = torch.where(torch.arange(ATOMS) < length, draws % (len(GROUPS) - 1), len(GROUPS) - 1)
        single = torch.rand(draws.shape, generator=g) < 0.6  # mostly single bonds, as in drugs
        draws = torch.where(single & (draws < 9), torch.tensor([0, 1, 2, 3, 0, 1, 2, 0, 0, 9])[draws], draws)
        return draws[valid(draws)][:count], len(GROUPS)
    step = torch.tensor([[0.4, 0.2, 0.2, 0.2], [0.2, 0.3, 0.1, 0.4], [0.3, 0.2, 0.3, 0.2], [0.2, 0.2, 0.3, 0.3]])
    if name == "rna":
        step = torch.tensor(
            [[0.3, 0.25, 0.25, 0.2], [0.2, 0.3, 0.3, 0.2], [0.2, 0.3, 0.3, 0.2], [0.2, 0.3, 0.25, 0.25]]
        )
    x = torch.randint(4, (count, 1), generator=g)
    for _ in range(23):
        x = torch.cat([x, torch.multinomial(step[x[:, -1]], 1, generator=g)], 1)
    if name == "dna":
        motif = torch.multinomial(MOTIF, count, replacement=True, generator=g).T
        place = torch.randint(24 - len(MOTIF) + 1, (count, 1), generator=g) + torch.arange(len(MOTIF))
        weak = torch.rand(count, len(MOTIF), generator=g) < 0.35  # most motifs are damaged
        motif = torch.where(weak, x.gather(1, place), motif)
        x[: count // 2] = x.scatter(1, place, motif)[: count // 2]
    return x, 4


def names_of(x: torch.Tensor, name: str) -> list[str]:
    """Finished sequences (items, L) of a domain as text."""
    alphabet = {"dna": "ACGT", "rna": "ACGU", "molecules": GROUPS}[name]
    return [one.rstrip(".") for one in masked.words(x, alphabet)]
