"""BibTeX of a method's paper and of the lab."""

import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lab import claims
from lab.claims import citation
from lab.cli import app

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("method", claims.methods(), ids=lambda method: method.id)
def test_every_source_becomes_an_entry_with_author_title_and_year(method):
    text = citation.paper(method.source)
    assert re.match(r"@(inproceedings|article|misc)\{[a-z0-9]+,\n", text), text
    assert text.count("{") == text.count("}")
    quoted = re.search(r"'(.+)'", method.source)
    assert quoted is None or re.search(r"title = \{\{.+\}\}", text)
    year = re.findall(r"\b(?:19|20)\d\d\b", method.source.rpartition("'")[2])
    assert not year or f"year = {{{year[-1]}}}" in text


def test_venues_are_told_apart_and_names_are_written_for_bibtex():
    text = citation.paper("Lavington, Le Roux, N. Stucki, 'Target-based Surrogates & more', ICML 2023")
    assert text.startswith("@inproceedings{lavington2023target,")
    assert "author = {Lavington and {Le Roux} and Stucki, N.}" in text
    assert "title = {{Target-based Surrogates \\& more}}" in text
    assert "booktitle = {ICML}" in text
    journal = citation.paper("Maddu, 'Closures', Journal of Computational Physics 504, 2024")
    assert journal.startswith("@article") and "journal = {Journal of Computational Physics}" in journal
    assert "volume = {504}" in journal and "year = {2024}" in journal
    preprint = citation.paper("Jiang, 'GAQAT', arXiv 2412.05551, 2024")
    assert preprint.startswith("@misc") and "eprint = {2412.05551}" in preprint
    assert "author = {Salmon and others}" in citation.paper(
        "Objective Lab, with Salmon et al., 'Random numbers', SC 2011"
    )
    assert "note = {no paper, only words}" in citation.paper("no paper, only words")


def test_lab_entry_is_that_of_the_citation_file():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    version = re.search(r"^version: (\S+)$", text, re.M)[1]
    assert version == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("version", version)
    assert f"version = {{{version}}}" in citation.lab_entry()
    assert re.search(r'name: "(.+)"', text)[1] in citation.lab_entry()


def test_command_prints_paper_and_lab_and_names_the_nearest_method():
    found = CliRunner().invoke(app, ["cite", "dcc"])
    assert found.exit_code == 0
    assert found.stdout == citation.cite("dcc")
    assert "Contrastive Signals" in found.stdout and "objectivelab" in found.stdout
    wrong = CliRunner().invoke(app, ["cite", "dccc"])
    assert isinstance(wrong.exception, ValueError) and "dcc" in str(wrong.exception)
