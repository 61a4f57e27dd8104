"""The page of one claim: statement, rule, effect beside its control as a picture, tuning, history, and how to measure it again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from lab.claims.recorded import history, tuning_trials
from lab.report.site import frame
from lab.report.site.notebook import text_as_html
from lab.report.site.run_page import short, status_mark
from lab.report.store.standing import Row, effect, ends, number_of

WIDTH, LEFT, STEP, DOT = 760, 130, 34, 3.2


def claim_page(row: Row, pages: Mapping[str, str]) -> str:
    """The whole page of a claim; ``pages`` maps run ids to their pages."""
    claim = row.claim
    facts = [
        ("Source", escape(claim.source)),
        ("Published", escape(claim.published)),
        ("Holds if", escape(claim.rule_in_words) if not claim.untestable else ""),
        ("Why a zero margin", escape(claim.why_zero)),
        ("Kind", f"{escape(claim.kind)}, {'the paper’s setting' if claim.setting == 'paper' else 'at small scale'}"),
        ("Replicates", f"{claim.replicates} {escape(claim.drawn)}, {escape(claim.statistic)}" if claim.drawn else ""),
        ("Negative control", escape(claim.control)),
        ("Not testable here", escape(claim.untestable)),
        ("Requires", ", ".join(f'<a href="{escape(id)}.html">{escape(id)}</a>' for id in claim.requires)),
        ("Recorded", escape(f"{row.measured}, {row.provenance}") if row.recorded else "not yet"),
        ("Control result", escape(row.control.removeprefix("control "))),
        ("This machine", _here(row, pages)),
    ]
    table = "".join(f"<tr><th>{name}</th><td>{text}</td></tr>" for name, text in facts if text)
    undermined = "".join(
        f'<div class="notice">It requires <a href="{escape(id)}.html">{escape(id)}</a>, which is refuted.</div>'
        for id in row.undermined
    )
    html = (
        f'<p class="small"><a href="../claims.html#{escape(claim.method)}">All claims</a> · {escape(claim.id)}</p>'
        f"<h1 class='statement'>{text_as_html(claim.text)}</h1><p>{status_mark(row.status)}</p>{undermined}{picture(row)}"
        f'<div class="wide"><table class="facts-table"><tbody>{table}</tbody></table></div>'
        f"{_commands(row)}{_history(row)}{_tuning(row)}"
    )
    return frame.page(claim.id, html, here="Claims", depth=1)


def picture(row: Row) -> str:
    """Region, effect, control and this machine's measurement on one axis, as SVG; empty where nothing was measured."""
    lines = []
    if row.recorded is not None:
        lines.append(("recorded", row.recorded, "effect"))
        if row.recorded.get("control"):
            lines.append(("control", row.recorded["control"], "control"))
    if row.here is not None:
        lines.append(("this machine", row.here, "here"))
    region = row.claim.region()
    dots = [number_of(v) for _, entry, _ in lines for v in entry.get("values") or () if not isinstance(v, list)]
    spots = (
        [number_of(entry["value"]) for _, entry, _ in lines]
        + [end for _, entry, _ in lines for end in ends(entry)]
        + dots
    )
    marks = [end for end in region if math.isfinite(end)]
    known = [spot for spot in [*spots, *marks] if math.isfinite(spot)]
    if not lines or not known:
        return ""
    low, high = min(known), max(known)
    pad = 0.08 * (high - low or abs(high) or 1.0)
    low, high = low - pad, high + pad

    def x(value):
        inside = min(max(value, low), high)
        return LEFT + (inside - low) / (high - low) * (WIDTH - LEFT - 12)

    height = STEP * len(lines) + 34
    first, last = x(region[0]), x(region[1])
    parts = [f'<rect class="region" x="{first:.1f}" y="4" width="{max(last - first, 1):.1f}" height="{height - 30}"/>']
    parts += [f'<line class="bound" x1="{x(end):.1f}" x2="{x(end):.1f}" y1="4" y2="{height - 26}"/>' for end in marks]
    for k, (name, entry, kind) in enumerate(lines):
        y, (start, stop) = STEP * k + 22, ends(entry)
        parts.append(f'<text class="axis" x="0" y="{y + 4}">{name}</text>')
        parts.append(f'<line class="{kind} whisker" x1="{x(start):.1f}" x2="{x(stop):.1f}" y1="{y}" y2="{y}"/>')
        for value in entry.get("values") or ():
            if not isinstance(value, list) and math.isfinite(number_of(value)):
                parts.append(f'<circle class="{kind} one" cx="{x(number_of(value)):.1f}" cy="{y}" r="{DOT}"/>')
        if math.isfinite(number_of(entry["value"])):
            parts.append(f'<circle class="{kind}" cx="{x(number_of(entry["value"])):.1f}" cy="{y}" r="{DOT * 1.8}"/>')
    taken: list[float] = []
    for value in (*marks, min(known), max(known)):
        if all(abs(x(value) - place) > 60 for place in taken):
            taken.append(x(value))
            parts.append(
                f'<text class="axis" text-anchor="middle" x="{x(value):.1f}" y="{height - 8}">{value:.3g}</text>'
            )
    words = f"{row.claim.unit or 'effect'}; shaded: the claim holds"
    return (
        f'<figure class="claim-picture"><svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(words, quote=True)}">'
        f"{''.join(parts)}</svg><figcaption>{escape(words)}</figcaption></figure>"
    )


def _here(row, pages):
    words = escape(row.measured_here.removeprefix("this machine: "))
    return f'<a href="../{pages[row.run_id]}">{words}</a>' if row.run_id in pages else words


def _commands(row):
    if row.claim.untestable and not row.claim.data:
        return ""
    id = row.claim.id
    lines = [f"lab claim {id} --control"]
    if row.claim.statistic != "exact":
        lines.append(f"lab claim {id} --until-decided")
    if row.claim.data:
        lines.append(f"lab claim {id} --data FILE-OR-FOLDER")
    return f"<h2>Reproduce</h2><pre>{escape(chr(10).join(lines))}</pre>"


def _history(row):
    found = [line for line in history(row.claim.room) if line["id"] == row.claim.id]
    if not found:
        return ""
    cells = "".join(
        f"<tr><td>{escape(line['date'])}</td><td>{status_mark(line['verdict'])}</td><td class=number>"
        f"{escape(effect(line, line.get('unit', '')))}</td><td class=number>{line['replicates']}</td>"
        f"<td>{escape(line.get('rule', ''))}</td><td><code>{escape(str(line.get('commit', '')))}</code></td></tr>"
        for line in reversed(found)
    )
    head = "".join(
        f"<th>{name}</th>" for name in ("Date", "Verdict", "Effect", "Replicates", "Rule at the time", "Commit")
    )
    return (
        f'<h2>History</h2><div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table></div>'
    )


def _tuning(row):
    trials = tuning_trials(row.claim) if row.claim.statistic != "exact" else []
    if not trials:
        return ""
    return (
        "<h2>Tuning of the compared arms</h2><p>Every arm was tuned over the same number of settings, on seeds not used for "
        f'measurement.</p><div class="wide"><table><thead><tr>{_heads()}</tr></thead><tbody>{_trials(trials)}</tbody></table></div>'
    )


def _heads():
    return "".join(f"<th>{name}</th>" for name in ("Study", "Arm", "Setting", "Mean score", "Seeds", ""))


def _trials(trials: Sequence[Mapping]):
    groups: dict[tuple, list] = {}
    for trial in trials:
        groups.setdefault((trial["study"], trial["arm"], trial["setting"]), []).append(trial)
    rows = []
    for (study, arm, setting), own in groups.items():
        mean = sum(trial["score"] for trial in own) / len(own)
        note = "chosen" if own[0]["chosen"] else ""
        note += "; at the edge of its grid" if own[0]["edge"] else ""
        rows.append(
            f"<tr><td>{escape(study)}</td><td>{escape(arm)}</td><td><code>{escape(setting)}</code></td>"
            f"<td class=number>{short(mean)}</td><td class=number>{len(own)}</td><td>{note}</td></tr>"
        )
    return "".join(rows)
