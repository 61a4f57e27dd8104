"""Which sentence of a paper's abstract is covered by which claim.

``data/claims/sentences/<method>.toml`` numbers the sentences of each abstract, in own words::

    [[sentence]]
    number = 1
    text = "Group ordering constraints improve nearest-neighbour accuracy over InfoNCE."

A sentence that states nothing to measure gives its ``reason``. A row of the ledger says in ``sentences`` which it covers.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache

from lab.claims.ledger import method, methods
from lab.source import project_root


@dataclass(frozen=True)
class Sentence:
    """One sentence of an abstract, the ids of the claims that cover it, and why there is none where there is none."""

    method: str
    number: int
    text: str
    claims: tuple[str, ...]
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """Whether neither a claim nor a reason stands for the sentence."""
        return not self.claims and not self.reason


def sentences(id: str) -> tuple[Sentence, ...]:
    """The sentences of the abstract of a method; empty if they are not numbered yet.

    Raises:
        ValueError: a claim that covers a sentence which the abstract does not have.
    """
    found = method(id)
    rows = _file().get(found.id, [])
    for claim in found.claims:
        if rows and not set(claim.sentences) <= set(range(1, len(rows) + 1)):
            raise ValueError(
                f"claim {claim.id!r} covers sentences {list(claim.sentences)}, the abstract has {len(rows)}"
            )
    return tuple(
        Sentence(found.id, k, row["text"], tuple(c.id for c in found.claims if k in c.sentences), row.get("reason", ""))
        for k, row in enumerate(rows, 1)
    )


def uncovered(room: str | None = None) -> list[Sentence]:
    """All open sentences, of one room or of all."""
    return [sentence for one in methods(room) for sentence in sentences(one.id) if sentence.is_open]


@lru_cache(maxsize=1)
def _file():
    folder = project_root() / "data" / "claims" / "sentences"
    return {path.stem: _numbered(path) for path in sorted(folder.glob("*.toml"))}


def _numbered(path):
    rows = tomllib.loads(path.read_text(encoding="utf-8")).get("sentence", [])
    if [row.get("number") for row in rows] != list(range(1, len(rows) + 1)):
        raise ValueError(
            f"{path.name} must number its sentences 1, 2, ... in order, got {[row.get('number') for row in rows]}"
        )
    return rows
