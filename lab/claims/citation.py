"""How to cite a method's paper and the lab, as BibTeX, from the source line of the method's catalog row."""

from __future__ import annotations

import re
import unicodedata

from lab.claims.ledger import Method
from lab.claims.ledger import method as method_of

_SOURCE = re.compile(
    r"^(?P<authors>.*?),? '(?P<title>.+)'(?:, (?P<place>.*?))?(?P<year>\b(?:19|20)\d\d)?(?P<rest>\D*)$"
)
_PROCEEDINGS = re.compile(
    r"^(?:[A-Z][A-Za-z]*[A-Z]{2,}[A-Za-z]*|[A-Z]{2,}|Interspeech|Workshop.*|.*Proceedings.*|.*Conference.*)(?: \S*)?$"
)
_JOURNAL = re.compile(r"\b(Access|Journal|Transactions|Letters|Review|Annals|TMLR|JMLR)\b")
_PREPRINT = re.compile(r"arXiv[: ]?(?P<number>\d{4}\.\d{4,5})?")


def cite(method: str | Method) -> str:
    """BibTeX of the paper of ``method`` (its catalog id) and of the lab.

    Raises:
        ValueError: no such method.
    """
    found = method if isinstance(method, Method) else method_of(method)
    return f"{paper(found.source)}\n\n{lab_entry()}\n"


def paper(source: str) -> str:
    """The BibTeX entry of a source line ``Author, Author, 'Title', Venue Year``; what does not read as one becomes a note."""
    found = _SOURCE.match(source)
    if found is None:
        return f"@misc{{source,\n  note = {{{_escaped(source)}}}\n}}"
    authors = found["authors"].removeprefix("Objective Lab, with ")
    place, year = (found["place"] or "").strip(" ,"), found["year"] or ""
    fields = {"author": _authors(authors), "title": f"{{{_escaped(found['title'])}}}"}
    preprint = _PREPRINT.search(place)
    if preprint:
        kind = "misc"
        fields |= {"eprint": preprint["number"] or "", "archiveprefix": "arXiv"}
    elif not place:
        kind = "misc"
    elif _PROCEEDINGS.match(place) and not _JOURNAL.search(place):
        kind = "inproceedings"
        fields["booktitle"] = _escaped(place)
    else:
        kind = "article"
        journal = re.match(r"^(.*?)[ ,]+(\d+)$", place)
        fields |= {"journal": _escaped(journal[1]), "volume": journal[2]} if journal else {"journal": _escaped(place)}
    fields["year"] = year
    first = re.split(r",|&| et al\b| and ", authors)[0].split()[-1] if authors.split() else "anonymous"
    word = next((word for word in re.findall(r"\w+", found["title"]) if len(word) > 3), "paper")
    return _entry(kind, _plain(f"{first}{year}{word}"), fields)


def lab_entry() -> str:
    """The BibTeX entry of the lab itself."""
    from lab import __version__

    fields = {"author": "{The Objective Lab contributors}", "title": "{Objective Lab}", "version": __version__}
    return _entry("software", "objectivelab", fields)


def _entry(kind, key, fields):
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items() if value)
    return f"@{kind}{{{key},\n{lines}\n}}"


def _authors(text: str) -> str:
    """``A. One, Two, Three`` as ``One, A. and Two and Three``; ``et al.`` as ``others``."""
    open_ended = re.search(r"\bet al\.?$", text) is not None
    names = [name.strip() for name in re.split(r",| and ", re.sub(r"\s*\bet al\.?$", "", text)) if name.strip()]
    written = []
    for name in names:
        given, _, family = name.rpartition(" ")
        whole = not given or given[:1].islower() or given in ("Le", "Van", "De", "Del", "Di", "Von")
        written.append(
            f"{{{_escaped(name)}}}"
            if whole and given
            else _escaped(name)
            if whole
            else f"{_escaped(family)}, {_escaped(given)}"
        )
    return " and ".join([*written, *(["others"] if open_ended else [])])


def _escaped(text: str) -> str:
    return re.sub(r"([&%$#_])", r"\\\1", text).replace("{", "(").replace("}", ")")


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", unicodedata.normalize("NFKD", text)).lower()
