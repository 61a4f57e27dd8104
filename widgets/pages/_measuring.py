"""A claim on a page: how it stands, recorded and on this machine, with its control, and 'measure now'."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from lab import claims
from lab.report.store.standing import Row, effect
from widgets.pages import _studies
from widgets.pages._glossary import mark

BUDGETS = ("smoke", "default")
STATUS_CLASS = {"holds": "holds", "holds at small scale": "holds", "refuted": "fails", "undecided": "undecided"}
_START = 6.0  # seconds in which the process of a measurement is ready
_SMOKE, _DEFAULT = 2.0, 60.0  # of a claim that was never measured
offered = {"measure": False}  # whether visitors of this server may measure


def status_badge(status: str, text: str = "") -> str:
    """A status of the ledger as a coloured word."""
    return f'<span class="lab-status {STATUS_CLASS.get(status, "not-run")}">{escape(text or status)}</span>'


def expected_seconds(claim: claims.Claim, budget: str, row: Row | None = None) -> float:
    """How long a measurement with its control should take: as the last one of that budget did, else by rule of thumb."""
    row = row or _studies.index().rows.get(claim.id)
    known = [entry for entry in (row.here, row.recorded) if entry and entry.get("budget") == budget] if row else []
    seconds = float(known[0].get("seconds") or 0.0) if known else _SMOKE if budget == "smoke" else _DEFAULT
    return _START + seconds * (2 if claim.control else 1)


def claims_list(method: claims.Method, rows: Mapping[str, Row]) -> str:
    """The claims of a method as HTML."""
    items = "".join(claim_html(rows.get(claim.id) or Row(claim, "not run")) for claim in method.claims)
    return f'<ul class="lab-claims">{items}</ul>'


def claim_item(id: str, line: Mapping) -> str:
    """A claim's row after it was measured here, ``line`` being what ``lab claim --json`` printed."""
    row = _studies.index().rows.get(id) or Row(claims.by_id(id), "not run")
    return claim_html(row, control_here=line.get("control_measured"))


def claim_html(row: Row, control_here: Mapping | None = None) -> str:
    """One claim: status, statement, what was measured and its control, and a button that measures it."""
    claim = row.claim
    notes = [claim.untestable, *(f"requires {id}, which is refuted" for id in row.undermined)]
    small = "".join(f"<small>{escape(note)}</small>" for note in notes if note)
    return (
        f'<li data-claim="{escape(claim.id)}"><p>{status_badge(row.status)} <span>{mark(claim.text)}</span></p>'
        f'{_evidence(row, control_here)}{small}<div class="lab-claim-foot"><code>{escape(claim.id)}</code>{_button(row)}</div></li>'
    )


def _evidence(row: Row, control_here) -> str:
    claim = row.claim
    if claim.untestable:
        return ""
    rule = claim.rule_in_words.replace("<=", "≤").replace(">=", "≥")
    parts = [("holds if", rule, "")]
    if row.recorded is not None:
        parts.append(("recorded", effect(row.recorded, ""), row.provenance.removeprefix("recorded ")))
        if row.control:
            parts.append(("recorded control", *_control(row.recorded["control"])))
    if row.here is not None:
        words = row.measured_here.removeprefix("this machine: ").rpartition(", ")[0]
        run = f"run {row.run_id}" if row.run_id else ""
        parts.append(("this machine", effect(row.here, ""), ", ".join(filter(None, [words, run]))))
    else:
        parts.append(("this machine", "not measured yet", ""))
    if control_here is not None:
        parts.append(("control on this machine", *_control(control_here)))
    elif claim.control and row.recorded is None:
        parts.append(("control", claim.control, ""))
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{mark(value)}{f'<small>{escape(note)}</small>' if note else ''}</dd></div>"
        for name, value, note in parts
    )
    return f'<dl class="lab-evidence">{cells}</dl>'


def _control(found: Mapping) -> tuple[str, str]:
    return effect(found, ""), "holds too: the claim does not discriminate" if found["holds"] else "fails, as it should"


def _button(row: Row) -> str:
    claim = row.claim
    if not offered["measure"] or claim.untestable:
        return ""
    seconds = {budget: f"{expected_seconds(claim, budget, row):.0f}" for budget in BUDGETS}
    data = " ".join(f'data-seconds-{budget}="{value}"' for budget, value in seconds.items())
    return (
        f'<span class="lab-measuring"><button type="button" data-lab-measure="{escape(claim.id)}" {data} '
        f'aria-label="Measure now: {escape(claim.id)}">Measure now (about {seconds["smoke"]} s)</button></span>'
    )
