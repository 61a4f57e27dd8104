"""A table from text: encoding, separator, header and comments are found from the file, said, and may be told instead.

What the fields mean (numbers, dates, words) is decided in :mod:`lab.datasets.typed`.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lab import checks

SEPARATORS = ("\t", ";", "|", ",")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_LOOSE = re.compile(r"[+-]?[$€£¥]?[\d.,' ]*\d[\d.,' ]*%?")


@dataclass(frozen=True)
class Dialect:
    """How a text table is written; ``None`` is found from the file.

    Args:
        separator: one character between fields, or ``"whitespace"``.
        decimal: ``"."`` or ``","``.
        thousands: the character that groups digits.
        encoding: as Python names it.
        na_values: words that mean a missing value in every column; by default the empty field, and in columns of numbers the
            usual words (NA, NaN, null, None, ?, -).
        header: whether the first row names the columns.
    """

    separator: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    na_values: tuple[str, ...] | None = None
    header: bool | None = None

    def __post_init__(self):
        if self.separator is not None and self.separator != "whitespace" and len(self.separator) != 1:
            raise ValueError(f"separator must be one character or 'whitespace', got {self.separator!r}")
        if self.decimal is not None:
            checks.choice("decimal", self.decimal, (".", ","))
        if self.thousands is not None and (len(self.thousands) != 1 or self.thousands == (self.decimal or "")):
            raise ValueError(f"thousands must be one character other than decimal, got {self.thousands!r}")
        if isinstance(self.na_values, str):
            object.__setattr__(self, "na_values", (self.na_values,))
        elif self.na_values is not None:
            object.__setattr__(self, "na_values", tuple(map(str, self.na_values)))


def read_rows(path: Path, dialect: Dialect, max_bytes: int):
    """``(frame of texts, separator, sentences)``: one text column a column of the file, named by its header.

    Raises:
        ValueError: no text, unreadable bytes, rows of different length (with the line), no rows.
    """
    import pandas as pd

    text, notes = _text(path, dialect.encoding, max_bytes)
    lines, told, comments = _body(text.splitlines(), dialect.separator)
    if comments:
        notes.append(f"{len(comments)} comment line{'s' * (len(comments) > 1)} before the table skipped")
    if not lines:
        raise ValueError(f"{path.name} is no readable table: it has no rows")
    separator = told or _separator(lines[:200])
    if dialect.separator is None and separator != ",":
        notes.append(f"fields separated by {'tabs' if separator == chr(9) else repr(separator)}")
    lines, dropped = _without_comments(lines, separator)
    if dropped:
        notes.append(f"{dropped} comment line{'s' * (dropped > 1)} within the table skipped")
    widths = _widths(path, lines, separator)
    body = "\n".join(lines)
    options = {"sep": r"\s+"} if separator == "whitespace" else {"sep": separator, "skipinitialspace": True}
    try:
        frame = pd.read_csv(
            io.StringIO(body),
            header=None,
            names=range(max(widths)),
            dtype=str,
            na_filter=False,
            index_col=False,
            **options,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path.name} is no readable table: {error}") from error
    frame = frame.fillna("")
    frame, names, said = _named(path, frame, widths, dialect.header, comments, separator)
    if len(frame) == 0:
        raise ValueError(f"{path.name} has no rows")
    frame.columns = names
    return frame.reset_index(drop=True), separator, notes + said


def _text(path, encoding, max_bytes):
    from lab.datasets.decoding import limit

    most = max_bytes // 4  # the texts, their numbers and the frame stand in memory together
    limit(path, 4 * path.stat().st_size, max_bytes)
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            data = stream.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} is no readable gzip file: {error}") from error
    limit(path, 4 * len(data), max_bytes)
    if encoding is None and b"\0" in data[:65536]:
        raise ValueError(f"{path.name} is binary, not a CSV text (for UTF-16 say encoding='utf-16')")
    try:
        return data.decode(encoding or "utf-8-sig"), []
    except LookupError as error:
        raise ValueError(f"encoding must be one that Python knows, got {encoding!r}") from error
    except UnicodeDecodeError as error:
        if encoding is not None:
            raise ValueError(f"{path.name} is no text in the encoding {encoding!r}: {error}") from error
    try:
        return data.decode("cp1252"), ["read as Windows-1252, since it is not UTF-8; say encoding= for another"]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is no text in UTF-8 or Windows-1252; say encoding= ({error})") from error


def _body(lines, separator):
    """Lines from the table's first on, a separator that a first line ``sep=;`` states, and the comment lines before it."""
    comments, told, start = [], separator, 0
    while start < len(lines) and (
        not lines[start].strip() or lines[start].startswith("#") or lines[start][:4] == "sep="
    ):
        if lines[start].startswith("#"):
            comments.append(lines[start].lstrip("#").strip())
        elif lines[start][:4] == "sep=":
            told = told or lines[start][4:5]
        start += 1
    return [line for line in lines[start:] if line.strip()], told, comments


def _fields(line: str, separator: str) -> list[str]:
    if separator == "whitespace":
        return line.split()
    return [field.strip() for field in next(csv.reader([line], delimiter=separator, skipinitialspace=True))]


def _separator(sample) -> str:
    """The character that cuts the first lines into equally many fields, the header included."""
    best, most = ",", 0.0
    for one in SEPARATORS:
        widths = [len(_fields(line, one)) for line in sample]
        common = Counter(widths[1:] or widths).most_common(1)[0]
        alike = sum(width in (widths[0], common[0]) for width in widths) / len(widths)
        if widths[0] > 1 and common[0] - widths[0] in (0, 1) and alike > most:
            best, most = one, alike
    if most == 0:
        widths = {len(line.split()) for line in sample}
        if len(widths) == 1 and widths != {1} and any(NUMBER.fullmatch(each) for each in sample[-1].split()):
            return "whitespace"
    return best


def _without_comments(lines, separator):
    marked = [k for k, line in enumerate(lines) if line.startswith("#")]
    width = len(_fields(lines[0], separator))
    drop = {k for k in marked if len(_fields(lines[k], separator)) != width or width == 1}
    return [line for k, line in enumerate(lines) if k not in drop], len(drop)


def _widths(path, lines, separator) -> list[int]:
    if separator == "whitespace":
        return [len(line.split()) for line in lines]
    if not any('"' in line for line in lines):
        return [line.count(separator) + 1 for line in lines]
    try:
        return [len(row) for row in csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)]
    except csv.Error as error:
        raise ValueError(f"{path.name} is no readable table: {error}") from error


def _named(path, frame, widths, header, comments, separator):
    """The frame without its header row, the columns' names, and what was said and left out."""
    notes, first, rest = [], widths[0], set(widths[1:])
    top = [str(field).strip() for field in frame.iloc[0].tolist()]
    rows = frame.iloc[1:] if len(widths) > 1 else frame.iloc[:0]
    has = _looks_named(top[:first], rows) if header is None else header
    if has and rest == {first + 1}:
        if (rows[first].str.strip() == "").all():
            frame, rows, notes = frame.drop(columns=first), rows.drop(columns=first), ["an empty last column left out: rows end "
                                                                                       "in a separator"]  # fmt: skip
        else:
            top, first, notes = (
                ["row names", *top[:first]],
                first + 1,
                ["the first column has no name: taken as row names"],
            )
    elif rest - {first}:
        line = next(k for k, width in enumerate(widths) if width != first)
        raise ValueError(
            f"{path.name}: row {line + 1} has {widths[line]} fields, the first row has {first}, separated by {separator!r}; mend "
            "the row, or say separator="
        )
    if not has:
        names = _fields(comments[-1], separator) if comments else []
        said = (
            "names taken from the comment above the table"
            if len(names) == first
            else "no header; columns numbered from 1"
        )
        notes.append(said)
        return frame, names if len(names) == first else [f"column {k + 1}" for k in range(first)], notes
    names = [name or f"Unnamed: {k}" for k, name in enumerate(top[:first])]
    if len(names) > 1 and names[-1].startswith("Unnamed") and (rows.iloc[:, -1].str.strip() == "").all():
        names, rows, notes = names[:-1], rows.iloc[:, :-1], ["an empty last column left out: rows end in a separator"]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        notes.append(f"columns of one name numbered: {', '.join(map(repr, twice))}")
        seen: Counter = Counter()
        for k, name in enumerate(names):
            names[k] = f"{name}.{seen[name]}" if seen[name] else name
            seen[name] += 1
    return rows, names, notes


def _looks_named(top, rows) -> bool:
    """Whether the first row names columns: some column of numbers begins with a word, or no column holds numbers."""
    numbers = [
        k for k in range(len(top)) if len(rows) and rows[k].str.strip().str.fullmatch(_LOOSE.pattern).mean() > 0.5
    ]
    if not numbers:
        return True
    return any(not _LOOSE.fullmatch(top[k]) for k in numbers)
