"""``lab`` with the pages of ``own_pages`` beside its own: ``python -m tests.browser.own_app serve --port 0``."""

from pathlib import Path

import widgets.pages
from lab.cli import main

widgets.pages.__path__.append(str(Path(__file__).parent / "own_pages"))

if __name__ == "__main__":
    main()
