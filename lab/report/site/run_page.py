"""The page of one run: what was asked, what came out, and how to get it again."""

from __future__ import annotations

import json
import shlex
from html import escape
from pathlib import Path
from urllib.parse import quote

from lab.report.site import frame
from lab.report.site.notebook import body, text_as_html
from lab.report.store.layout import Run, project_root

STATUS = {
    "holds": ("good", "holds"),
    "holds at small scale": ("small-scale", "holds at small scale"),
    "refuted": ("bad", "refuted"),
    "undecided": ("open", "undecided"),
    "not testable here": ("none hatched", "not testable here"),
    "not run": ("none", "not run"),
}


def run_page(run: Run) -> str:
    """The whole page of ``run``."""
    content = run.content()
    command = command_of(run)
    rendered = body(content, folder=_folder(run), caption=_caption(run, command))
    contents = "".join(
        f'<a href="#{anchor}"{" class=deep" if level > 2 else ""}>{escape(text)}</a>'
        for level, anchor, text in rendered.headings
        if 1 < level < 4
    )
    html = (
        '<div class="page"><article>'
        f"{_head(run)}{_claims(run)}{_failure(run)}{rendered.html}{_metrics(run)}{_provenance(run, command)}</article>"
        f'<aside class="toc" aria-label="Contents">{contents}</aside></div>'
    )
    return frame.page(run.title, html, depth=1, plots=rendered.figures > 0)


def status_mark(status: str) -> str:
    """A claim's status as a coloured mark with its words."""
    kind, words = STATUS.get(status, ("none", status))
    return f'<span class="status {kind}">{escape(words)}</span>'


def command_of(run: Run) -> str:
    """The command that makes the run again."""
    words = ["lab", "run", run.notebook]
    for name, value in run.info["given"].items():
        words += ["-p", name, value if isinstance(value, str) else json.dumps(value)]
    return " ".join(shlex.quote(str(word)) for word in words)


def short(value) -> str:
    """A recorded value in a few characters."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _head(run):
    info = run.info
    mark = (
        '<span class="status good">completed</span>'
        if run.ok
        else f'<span class="status bad">{escape(run.status)}</span>'
    )
    facts = [
        mark,
        f"{info['seconds']:.1f} s",
        f"{info['peak_memory'] / 2**20:.0f} MiB",
        escape(str(info["started"])[:10]),
    ]
    given = "".join(
        f"<span{' class=given' if name in info['given'] else ''}><b>{escape(name)}</b>{escape(short(value))}</span>"
        for name, value in run.parameters.items()
    )
    question = f'<p class="lead">{text_as_html(info["question"])}</p>' if info.get("question") else ""
    return (
        f"<h1>{text_as_html(run.title)}</h1>{question}"
        f'<div class="facts">{"".join(f"<span>{fact}</span>" for fact in facts)}<button id="all-code" type="button">Show code'
        "</button></div>" + (f'<div class="parameters" aria-label="Parameters">{given}</div>' if given else "")
    )


def _failure(run):
    if run.ok or not run.error:
        return ""
    error = run.error
    where = f' in <a href="#cell-{error["cell"]}">cell {error["cell"]}</a>' if error.get("cell") else ""
    log = (
        f"<details><summary>Log</summary><pre>{escape(error['log'])}</pre></details>"
        if error.get("log", "").strip()
        else ""
    )
    source = f"<pre>{escape(error['source'])}</pre>" if error.get("source") else ""
    return f'<div class="notice" role="alert"><b>{escape(error["name"])}</b>{where}: {escape(error["message"])}{source}{log}</div>'


def _claims(run):
    """The verdicts in one line under the title; each claim is shown in full where the notebook measures it."""
    if not run.claims:
        return ""
    from lab import claims

    known = {claim.id: claim.text for claim in claims.ledger()}
    marks = "".join(
        f'<span class="verdict" title="{escape(known.get(name, ""), quote=True)}">{status_mark(entry["status"])}<code>'
        f"{escape(name)}</code></span>"
        for name, entry in run.claims.items()
    )
    return f'<div class="facts" aria-label="Claims">{marks}</div>'


def _metrics(run):
    units = {entry["name"]: entry["unit"] for entry in run.records if entry["kind"] == "metric"}
    if not units:
        return ""
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{escape(short(value))} {escape(units[name])}</td></tr>'
        for name, value in run.metrics.items()
    )
    return f'<h2 id="metrics">Metrics</h2><div class="wide"><table><tbody>{rows}</tbody></table></div>'


def _provenance(run, command):
    info, origin = run.info, run.info["provenance"]
    git = origin.get("git") or {}
    commit = (
        f"{git['commit'][:12]}{', with uncommitted changes ' + git['difference'] if git.get('dirty') else ''}"
        if git
        else "not in a repository"
    )
    rows = [
        ("Run", f"<code>{escape(run.id)}</code>"),
        ("Reproduce", f"<code>{escape(command)}</code>"),
        ("Commit", escape(commit)),
        ("Lock", escape(origin.get("lock") or "none")),
        (
            "Machine",
            escape(
                f"{origin['system']}, {origin['cores']} cores, {origin['device']}, {origin['threads']} "
                f"thread{'s' * (origin['threads'] != 1)} per run"
            ),
        ),
        ("Python", escape(origin["python"])),
        ("Time", f"{info['seconds']:.1f} s, {info['cpu_seconds']:.1f} s CPU time, {escape(info['kernel'])} kernel"),
    ]
    listed = ", ".join(f"{name} {version}" for name, version in info["observed"].get("packages", {}).items())
    return (
        '<div class="provenance"><h2 id="provenance">Provenance</h2><dl>'
        + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
        + f'</dl><details class="small"><summary>Packages</summary>{escape(listed)}</details></div>'
    )


def _caption(run, command):
    folder, root = Path(run.folder).resolve(), project_root()
    if not folder.is_relative_to(root):
        return how_made(command, f'<span class="small">open it with <code>lab jupyter {escape(run.id)}</code></span>')
    path = (folder.relative_to(root) / "notebook.ipynb").as_posix()
    return how_made(
        command,
        f'<a href="http://127.0.0.1:8888/lab/tree/{escape(quote(path))}">Open in JupyterLab</a>'
        f'<span class="small">while <code>lab jupyter</code> runs</span>',
    )


def how_made(command: str, more: str = "") -> str:
    """The caption of a figure: the command that makes it, to be copied, and ``more`` HTML."""
    return (
        f'<details><summary>How to reproduce this figure</summary><div class="how"><code>{escape(command)}</code>'
        f'<button type="button" data-copy="{escape(command, quote=True)}">Copy</button>{more}</div></details>'
    )


def _folder(run):
    path = project_root() / run.notebook
    return path.parent if path.exists() else Path(run.folder)
