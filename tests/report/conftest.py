import json
import textwrap

import pytest

from lab.report.store.layout import Store


@pytest.fixture
def store(tmp_path):
    """An empty store of its own."""
    return Store(tmp_path / "data")


@pytest.fixture(scope="session")
def write_notebook():
    """A function that writes a notebook from its cells into a folder.

    Text that begins with ``#: `` is prose, the first code cell holds the parameters.
    """

    def write(folder, *cells, name="study", tags=("parameters",)):
        found, first = [], True
        for source in cells:
            source = textwrap.dedent(source).strip()
            if source.startswith("#: "):
                found.append({"cell_type": "markdown", "metadata": {}, "source": source[3:]})
                continue
            metadata = {"tags": list(tags)} if first else {}
            found.append(
                {"cell_type": "code", "metadata": metadata, "source": source, "outputs": [], "execution_count": None}
            )
            first = False
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        for number, cell in enumerate(found):
            cell["id"] = f"cell-{number}"
        content = {"cells": found, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        path = folder / f"{name}.ipynb"
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def notebook(tmp_path, write_notebook):
    """Write a notebook from its cells into the test's folder."""

    def write(*cells, folder=tmp_path, **options):
        return write_notebook(folder, *cells, **options)

    return write
