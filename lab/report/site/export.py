"""A page of the site as one HTML file to mail; as PDF, as one PNG, or its figures as PNG files, through Chromium or Chrome.

For the last the page draws every figure itself when its address ends in ``#print`` or ``#picture``, at the width of the paper
or of the picture and in the light theme, and then writes where each figure stands into the document.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import tempfile
from html import unescape
from pathlib import Path

from lab.report.store.layout import Run, StoreError, write_atomically, writing
from lab.report.store.redaction import cleaned, scrub

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
WIDTH, TALLEST = 1280, 16000
_QUIET = (
    "--headless --disable-gpu --no-first-run --disable-quic --disable-sync --disable-background-networking "
    "--disable-component-update --disable-extensions --hide-scrollbars --enable-unsafe-swiftshader "
    "--virtual-time-budget=30000"
).split()


def chromium() -> str | None:
    """The path of a Chromium or Chrome on PATH, or ``None``."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def to_html(page: Path, target: Path) -> Path:
    """Write ``page`` as one file that needs nothing beside it and nobody's network; returns ``target``.

    Style and scripts stand in the file; links to other pages of the site become plain text.

    Raises:
        StoreError: ``target`` cannot be written.
    """
    head, end, body = page.read_text(encoding="utf-8").partition("</head>")
    scripts = []

    def beside(name):
        return (page.parent / name).read_text(encoding="utf-8")

    def script(match):
        source = beside(match[2]).replace("</script", "<\\/script")
        scripts.append(f'<script nonce="{match[1]}">{source}</script>')
        return ""

    head = re.sub(r'<link rel="stylesheet" href="([^"]+)">', lambda match: f"<style>{beside(match[1])}</style>", head)
    head = re.sub(r'<script nonce="([0-9a-f]{32})" defer src="([^"]+)"></script>\n?', script, head)
    body = re.sub(r'(<a\b[^>]*?)\shref="(?!https?:|mailto:|data:|#)[^"]*"', r"\1", body)
    content, close, rest = body.rpartition("</body>")
    write_atomically(
        target, head + end + content + "\n".join(scripts) + close + rest
    )  # as the deferred scripts, at the end
    return target


def to_notebook(run: Run, target: Path) -> Path:
    """Write the executed notebook of ``run`` without what belongs to one machine or person; returns ``target``."""
    content = cleaned(run.content(), scrub)
    write_atomically(target, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return target


def to_pdf(page: Path, target: Path) -> Path:
    """Print ``page`` on A4 with every figure drawn; returns ``target``.

    Raises:
        StoreError: no Chromium on PATH, it failed, or ``target`` cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="lab-export-") as folder:
        printed = Path(folder) / "page.pdf"
        _chromium(f"{page.resolve().as_uri()}#print", folder, "--no-pdf-header-footer", f"--print-to-pdf={printed}")
        return _deliver(printed, target)


def to_png(page: Path, target: Path) -> Path:
    """Write ``page`` as one picture, ``WIDTH`` wide and as tall as it is; raises as :func:`to_pdf`."""
    with tempfile.TemporaryDirectory(prefix="lab-export-") as folder:
        shot, _ = _picture(page, folder)
        return _deliver(shot, target)


def to_figures(page: Path, target: Path, *, scale: int = 2) -> list[Path]:
    """Write each figure of ``page`` as ``figure-1.png``, ... into the folder ``target``, ``scale`` pixels a point.

    Raises:
        StoreError: as :func:`to_pdf`, or the page has no figures.
    """
    from PIL import Image

    with tempfile.TemporaryDirectory(prefix="lab-export-") as folder:
        shot, places = _picture(page, folder, scale)
        if not places["figures"]:
            raise StoreError(f"{page.name} has no figures")
        written = []
        with Image.open(shot) as whole:
            for number, (left, top, width, height) in enumerate(places["figures"], 1):
                buffer, box = io.BytesIO(), (left, top, left + width, top + height)
                whole.crop(tuple(round(scale * end) for end in box)).save(buffer, "PNG")
                path = target / f"figure-{number}.png"
                with writing(path):
                    target.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(buffer.getvalue())
                written.append(path)
        return written


def _picture(page, folder, scale=1):
    """A screenshot of the whole page and its measures: the height, and ``[left, top, width, height]`` of each figure."""
    address = f"{page.resolve().as_uri()}#picture"
    document = _chromium(address, folder, f"--window-size={WIDTH},1000", "--dump-dom")
    found = re.search(r'<html[^>]*\sdata-measures="([^"]*)"', document)
    if found is None:
        raise StoreError(f"Chromium did not finish drawing {page.name}")
    places = json.loads(unescape(found[1]))
    height = min(places["height"], TALLEST // scale)
    shot = Path(folder) / "page.png"
    _chromium(
        address,
        folder,
        f"--window-size={WIDTH},{height}",
        f"--force-device-scale-factor={scale}",
        f"--screenshot={shot}",
    )
    return shot, places


def _chromium(address, folder, *options):
    program = chromium()
    if program is None:
        raise StoreError("PDF and PNG need Chromium or Chrome on PATH: apt-get install chromium (Debian, Ubuntu)")
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    command = [program, *_QUIET, *root, f"--user-data-dir={folder}/profile", *options, address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=180, check=False)
    except subprocess.TimeoutExpired:
        raise StoreError(f"{Path(program).name} did not answer in 180 s") from None
    if done.returncode != 0:
        raise StoreError(f"{Path(program).name} failed with exit code {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout


def _deliver(source, target):
    if not source.exists():
        raise StoreError(f"Chromium wrote nothing for {target}")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return target
