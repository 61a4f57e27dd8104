"""Words that a visitor may not know, each with one sentence, shown on hover and on keyboard focus."""

from __future__ import annotations

import re
from html import escape

TERMS = {
    "birth": "The threshold at which a topological feature appears as the threshold sweeps through the image values.",
    "death": "The threshold at which a feature merges into an older one or is filled in.",
    "persistence": "The difference between birth and death: how long a feature lasts. Noise is short-lived, structure is not.",
    "barcode": "All features of an image, each drawn as a bar from its birth to its death.",
    "Betti matching": "Pairs the features of two images that map to the same feature of their pointwise union.",
    "Betti number": "The number of features in each dimension: connected components (0), loops (1), cavities (2).",
    "superlevel": "The part of an image at or above a threshold; the threshold sweeps from high to low.",
    "sublevel": "The part of an image at or below a threshold; the threshold sweeps from low to high.",
    "Dice": "Overlap of two masks: twice their intersection divided by the sum of their areas; 1 means identical, 0 disjoint.",
    "filtration": "A nested family of spaces, one for each threshold.",
    "neighbourhood": "The distribution of inputs around a point on which an explanation should agree with the model.",
    "faithfulness": "How well an explanation predicts what the model does when the input changes.",
    "bits": "The unit of information: each bit halves the set of remaining hypotheses.",
    "inductive bias": "How much a learner must already know, in bits, to generalize as well as it does on the data at hand.",
    "hypothesis space": "All functions that a learner could return.",
    "interval": "A confidence interval for the true value, computed from the seeds of this run.",
    "seeds": "Independent repetitions, each with its own random numbers.",
    "calibration": "Whether predicted probabilities equal observed frequencies.",
    "roofline": "The highest speed that memory bandwidth and arithmetic throughput allow on this machine.",
}
_PATTERN = re.compile(
    r"(?<![\w-])(" + "|".join(re.escape(term) for term in sorted(TERMS, key=len, reverse=True)) + r")(?![\w-])",
    re.IGNORECASE,
)
_BY_LOWER = {term.lower(): text for term, text in TERMS.items()}


def mark(text: str, *, html: bool = True) -> str:
    """``text`` with the first occurrence of each glossary term explained.

    ``html=True`` escapes the text first; ``html=False`` is for Markdown, where code spans, formulas and links stay as they are.
    """
    seen: set[str] = set()

    def explain(match):
        term = match.group(1)
        if term.lower() in seen:
            return term
        seen.add(term.lower())
        meaning = escape(_BY_LOWER[term.lower()])
        spoken = f'<span class="lab-hidden"> ({meaning})</span>'
        return f'<span class="lab-term" tabindex="0" data-meaning="{meaning}">{term}{spoken}</span>'

    if html:
        return _PATTERN.sub(explain, escape(text))
    parts = re.split(
        r"(`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\[[^\]]*\]\([^)]*\)|^#.*$|<[^>]*>)", text, flags=re.MULTILINE | re.DOTALL
    )
    return "".join(part if i % 2 else _PATTERN.sub(explain, part) for i, part in enumerate(parts))
