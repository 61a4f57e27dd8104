"""The software bill of materials of the running environment, as CycloneDX 1.5 JSON: every installed package with its licence."""

from __future__ import annotations

import json
import re
from importlib import metadata


def bill() -> str:
    """The bill as JSON text, sorted by name, so that two bills are compared line by line."""
    named = [(part.metadata["Name"], part) for part in metadata.distributions()]
    found = {re.sub(r"[-_.]+", "-", name).lower(): part for name, part in named if name}
    own = found.pop("objective-lab", None)
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": _component("objective-lab", own) | {"type": "application"}},
        "components": [_component(name, part) for name, part in sorted(found.items())],
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def _component(name, part):
    from lab import __version__

    version = part.version if part is not None else __version__
    reference = f"pkg:pypi/{name}@{version}"
    component = {"type": "library", "bom-ref": reference, "name": name, "version": version, "purl": reference}
    licences = licence(part.metadata) if part is not None else "Apache-2.0"
    return component | {"licenses": [{"license": {"name": licences}}]}


def licence(stated) -> str:
    """The licence that a package's metadata state: the expression, else the classifiers, else the first line of the field."""
    if stated.get("License-Expression"):
        return stated["License-Expression"]
    classifiers = stated.get_all("Classifier") or []
    named = [
        line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License ::") and line.count("::") > 1
    ]
    field = (stated.get("License") or "").strip().splitlines()
    return " AND ".join(named) or (field[0][:120] if field else "not stated")
