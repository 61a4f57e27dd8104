"""What a notebook recorded of its page."""

from __future__ import annotations

import json
from pathlib import Path

MIME = "application/vnd.lab.page+json"


def page_of_notebook(path: str | Path) -> tuple[str, dict] | None:
    """Page and state that an executed notebook recorded in its last :func:`show`, or ``None``."""
    notebook = json.loads(Path(path).read_text(encoding="utf-8"))
    for cell in reversed(notebook.get("cells", [])):
        for output in cell.get("outputs", []):
            record = output.get("data", {}).get(MIME)
            if record:
                return record["page"], record["state"]
    return None
