"""The application with the pages of ``own_pages`` beside its own: ``python -m tests.browser.own_app --port 0``."""

import sys
from pathlib import Path

import widgets.pages
from widgets.app import main

widgets.pages.__path__.append(str(Path(__file__).parent / "own_pages"))

if __name__ == "__main__":
    sys.exit(main())
