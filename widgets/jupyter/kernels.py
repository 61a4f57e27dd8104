"""KernelExplorer: operation, size and number format in JupyterLab; forms, errors and the compile gate beside them."""

from __future__ import annotations

from widgets.jupyter.explorer import Explorer, of_page


def KernelExplorer(**state) -> Explorer:
    """The explorer of the fast operations; the last expression of a cell.

    Args:
        state: ``op``, ``size`` and ``dtype`` where they differ from the page's defaults.

    Raises:
        ValueError, TypeError: an unknown setting or a wrong value.
    """
    return of_page("kernels", state)
