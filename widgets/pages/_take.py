"""What a visitor takes along of a page: the Python that makes its state, and how to cite its paper."""

from __future__ import annotations

from collections.abc import Mapping
from pprint import pformat

from lab import claims
from lab.claims import citation
from widgets.pages._discovery import Page

_MOST = 20_000  # characters of a state


def python_of(page: Page, state: Mapping) -> str:
    """A script that makes the figures and numbers of a page at a state.

    Raises:
        ValueError: a state that is too long to be one.
    """
    written = pformat(dict(state), width=100, sort_dicts=False)
    if len(written) > _MOST:
        raise ValueError(f"the state of the page has {len(written):,} characters, more than {_MOST:,}")
    module = next((method.module for method in claims.methods() if method.id == page.method), "")
    title = page.title.replace("\\", "\\\\").replace('"""', "'''")
    own = f"# The method itself: import {module}; help({module})\n" if module else ""
    return (
        f'"""{title}: the figures and numbers of the page at this state."""\n\n'
        f"from widgets import pages\n\n{own}"
        f"view = pages.at({page.name!r}, {written})\n"
        "for figure in view.figures:\n    figure.show()\n"
        "for table in view.numbers:\n    print(table.to_string(index=False))\n"
    )


def bibtex_of(page: Page) -> str:
    """BibTeX of the paper of a page's method and of the lab."""
    return citation.cite(page.method)
