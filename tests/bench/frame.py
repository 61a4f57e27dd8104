"""The frame of a benchmark: outputs compared first, alternating runs on one core, a row of a committed table.

:func:`ratio` times one comparison and returns a :class:`Row`; :func:`write` puts rows into
``data/benchmarks/<room>.csv`` (rows of the same case are replaced, others kept). Rows made behind the door
(:mod:`tests.bench.peers`) carry the versions of that environment. ``python -m tests.bench.frame`` prints all tables and
puts their least, median and largest ratios into the README.
"""

from __future__ import annotations

import csv
import datetime
import io
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lab.kernels import timing
from tests.bench.peers import ROOT, versions

FOLDER = ROOT / "data" / "benchmarks"
README = ROOT / "README.md"
BEGIN, END = "<!-- speed: written by make bench -->", "<!-- end of speed -->"


@dataclass(frozen=True)
class Row:
    """One comparison; ``ratio`` is the peer's CPU time over ours, median over rounds; ``low``, ``high`` quartiles."""

    case: str
    peer: str
    ours_ms: float
    peer_ms: float
    ratio: float
    low: float
    high: float
    difference: float
    target: float
    floor: float
    versions: str
    machine: str
    date: str

    @property
    def verdict(self) -> str:
        """``target met``, ``floor met`` or ``below the floor``."""
        if self.ratio >= self.target:
            return "target met"
        return "floor met" if self.ratio >= self.floor else "below the floor"


def ratio(
    case: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    *,
    compare: Callable[[object, object], float],
    tolerance: float,
    peer: str,
    packages: Iterable[str] = (),
    target: float = 1.0,
    floor: float = 0.0,
    rounds: int = 7,
    least: float = 0.05,
) -> Row:
    """Time ``ours`` against ``theirs`` (see :func:`lab.kernels.timing.alternate`) and return the table's row.

    Args:
        case: what is computed, with its size; the key of the row.
        peer: name of the other side; the version of a package of that name is recorded.
        packages: further packages whose versions matter (numpy, torch and numba are always recorded).
        target, floor: ratios that are aimed at and that must hold.
    """
    found = timing.alternate(ours, theirs, compare=compare, tolerance=tolerance, rounds=rounds, least=least)
    known = versions(peer, *packages, "torch", "numba", "numpy")
    listed = ", ".join(f"{name} {version}" for name, version in known.items() if version != "not installed")
    return Row(
        case,
        peer,
        1e3 * found.ours,
        1e3 * found.other,
        found.ratio,
        found.low,
        found.high,
        found.error,
        target,
        floor,
        listed,
        timing.machine(),
        datetime.date.today().isoformat(),
    )


def write(room: str, rows: Iterable[Row]) -> Path:
    """Put rows into ``data/benchmarks/<room>.csv``; returns its path."""
    new = {row.case: row for row in rows}
    kept = {row.case: row for row in read(room)}
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    for row in (kept | new).values():
        writer.writerow({name: _short(value) for name, value in asdict(row).items()})
    path = FOLDER / f"{room}.csv"
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def read(room: str) -> list[Row]:
    """The committed rows of one room, or an empty list."""
    path = FOLDER / f"{room}.csv"
    if not path.exists():
        return []
    numbers = {field.name for field in fields(Row) if field.type == "float"}
    with path.open(encoding="utf-8", newline="") as file:
        return [Row(**{k: float(v) if k in numbers else v for k, v in line.items()}) for line in csv.DictReader(file)]


def show(rows: Iterable[Row]) -> str:
    """Rows as aligned text for the terminal."""
    lines = [f"{'case':44} {'peer':18} {'ours ms':>9} {'peer ms':>9} {'ratio':>7} {'spread':>15}  verdict"]
    for row in rows:
        spread = f"[{row.low:.2f}, {row.high:.2f}]"
        lines.append(
            f"{row.case:44} {row.peer:18} {row.ours_ms:9.3g} {row.peer_ms:9.3g} {row.ratio:7.2f} {spread:>15}"
            f"  {row.verdict} (target {row.target:g}, floor {row.floor:g})"
        )
    return "\n".join(lines)


def summary() -> str:
    """Every committed row in words, and how many reach their target and their floor; ``python -m tests.bench.frame``."""
    pages, verdicts = [], []
    for room, rows in _tables():
        pages.append(f"{room}\n{show(rows)}")
        verdicts += [row.verdict for row in rows]
    counts = ", ".join(f"{verdicts.count(word)} {word}" for word in ("target met", "floor met", "below the floor"))
    return "\n\n".join([*pages, f"{len(verdicts)} comparisons: {counts}"])


def quote() -> str:
    """The least, median and largest ratio of every table against every peer, as Markdown: no row is left out."""
    lines = [
        "| table | against | comparisons | least | median | largest |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    everything = []
    for room, rows in _tables():
        everything += rows
        groups: dict[str, list[Row]] = {}
        for row in rows:
            if not row.peer.startswith(
                ("a budget", "target")
            ):  # measured against a limit in seconds, not against a peer
                groups.setdefault(row.peer, []).append(row)
        for _, found in sorted(groups.items()):
            ratios = [row.ratio for row in found]
            spread = " | ".join(f"{value:.3g}x" for value in (min(ratios), statistics.median(ratios), max(ratios)))
            lines.append(f"| [{room}](data/benchmarks/{room}.csv) | {_with_version(found)} | {len(found)} | {spread} |")
    below = sum(row.verdict == "below the floor" for row in everything)
    machines = "; ".join(sorted({row.machine for row in everything}))
    days = sorted({row.date for row in everything})
    when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    lines += [
        "",
        f"Measured {when} on {machines}. Of {len(everything)} rows {below} are below the floor that they state.",
    ]
    return "\n".join(lines)


def quoted(text: str) -> str:
    """``text``, the README, with :func:`quote` between its two marks."""
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    return f"{head}{BEGIN}\n{quote()}\n{END}{tail}"


def _tables():
    for path in sorted(FOLDER.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            ours = set(csv.DictReader(file).fieldnames or ()) == {field.name for field in fields(Row)}
        if ours:  # not a table of another kind, such as memory against size
            yield path.stem, read(path.stem)


def _with_version(rows):
    """The peer with the versions that were recorded beside it."""
    peer = rows[0].peer
    found = {part.split(" ", 1)[1] for row in rows for part in row.versions.split(", ") if part.split(" ")[0] == peer}
    return " ".join([peer, *sorted(found)])


def _short(value):
    return f"{value:.5g}" if isinstance(value, float) else value


if __name__ == "__main__":
    print(summary())
    README.write_text(quoted(README.read_text(encoding="utf-8")), encoding="utf-8")
