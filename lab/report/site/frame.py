"""The frame of every page: head, navigation, theme, and the promise that nothing is fetched from elsewhere.

A page states its policy: no script runs but the page's own, which bear a number that nobody knew before it was written, and
nothing is asked of anyone. What a notebook brings is cleaned before (:mod:`lab.report.site.sanitize`); the policy holds where
that should fail.
"""

from __future__ import annotations

import re
import secrets
import shutil
from datetime import UTC, datetime
from html import escape
from importlib.util import find_spec
from pathlib import Path

from lab import __version__
from lab.report.store.layout import write_atomically, writing
from lab.report.store.redaction import scrub_page

ASSETS = Path(__file__).parent / "assets"
_LOGO = (
    '<svg width="22" height="22" viewBox="0 0 22 22" aria-hidden="true"><circle cx="11" cy="11" r="9" fill="none" '
    'stroke="#0072B2" stroke-width="2.4"/>'
    '<circle cx="14" cy="9" r="3.4" fill="#009E73"/><circle cx="7.6" cy="13.4" r="2" fill="#D55E00"/></svg>'
)
_PAGES = (("Studies", "index.html"), ("Claims", "claims.html"), ("Runs", "runs.html"))


def page(title: str, content: str, *, here: str = "", depth: int = 0, plots: bool = False) -> str:
    """A whole HTML page; ``depth`` is how many folders it lies below the index, ``here`` the current entry of the bar."""
    up = "../" * depth
    links = "".join(
        f'<a href="{up}{href}"{" aria-current=page" if name == here else ""}>{name}</a>' for name, href in _PAGES
    )
    nonce = secrets.token_hex(16)
    plotly = f'<script nonce="{nonce}" defer src="{up}assets/plotly.min.js"></script>' if plots else ""
    written = datetime.now(UTC).strftime("%Y-%m-%d")
    html = f"""<!doctype html>
<html lang="en" data-theme="light">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy(nonce)}">
<title>{escape(title)} · Objective Lab</title>
<link rel="icon" href="data:,">
<script nonce="{nonce}">(function(){{var t;try{{t=localStorage.getItem("lab-theme")}}catch(e){{}}
document.documentElement.dataset.theme=t||(matchMedia("(prefers-color-scheme: dark)").matches?"dark":"light")}})();</script>
<link rel="stylesheet" href="{up}assets/lab.css">
{plotly}
<script nonce="{nonce}" defer src="{up}assets/lab.js"></script>
</head>
<body>
<header class="bar"><nav aria-label="Site">
<a class="brand" href="{up}index.html" aria-label="Objective Lab">{_LOGO}<span>Objective Lab</span></a>{links}
<span class="spacer"></span><button id="theme" type="button">Dark</button></nav></header>
<main>
{content}
</main>
<footer>Objective Lab {__version__} · written {written} · this site works offline</footer>
</body>
</html>
"""
    return scrub_page(html)


def policy(nonce: str = "") -> str:
    """What a page may do, as a Content-Security-Policy; without a nonce it runs no script at all."""
    scripts = f"'nonce-{nonce}'" if nonce else "'none'"
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' file: 'unsafe-inline'; img-src data: blob:; font-src data:; "
        "media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def nonce_of(html: str) -> str:
    """The nonce that a written page names in its head, or an empty string."""
    found = re.search(r"script-src 'nonce-([0-9a-f]{32})'", html[: html.find("</head>") + 1])
    return found[1] if found else ""


def write(path: Path, html: str) -> Path:
    """Write a page whole, so that a reader sees the old one or the new one."""
    write_atomically(path, html)
    return path


def copy_assets(folder: Path) -> None:
    """Put the style, the script and the one plotly.js of the installed plotly package beside the pages."""
    target = folder / "assets"
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
        for source in (*sorted(ASSETS.iterdir()), plotly_script()):
            copy, status = target / source.name, source.stat()
            known = copy.stat() if copy.exists() else None
            if not known or (known.st_size, int(known.st_mtime)) != (status.st_size, int(status.st_mtime)):
                shutil.copy2(source, copy)


def plotly_script() -> Path:
    """The plotly.js that belongs to the installed plotly."""
    spec = find_spec("plotly")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("plotly is not installed; make env installs it")
    return Path(spec.origin).parent / "package_data" / "plotly.min.js"
