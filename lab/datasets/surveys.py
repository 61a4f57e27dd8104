"""The survey tables that statsmodels carries, read from the installed package without importing it."""

from __future__ import annotations

from dataclasses import dataclass

from lab.datasets.packaged import packaged
from lab.datasets.sets import Table


@dataclass(frozen=True)
class Survey:
    """Where a table lies, how it is written, and the column to predict."""

    file: str
    separator: str
    target: str
    target_type: str | None = None


SURVEYS = {
    "fair": Survey("fair/fair.csv", ",", "affairs"),
    "randhie": Survey("randhie/randhie.csv", ",", "mdvis", "numbers"),
    "anes96": Survey("anes96/anes96.csv", "\t", "vote"),
    "modechoice": Survey("modechoice/modechoice.csv", ";", "choice"),
}


def load_survey(name: str) -> Table:
    """The table ``name`` with the target that its study models."""
    import pandas as pd

    survey = SURVEYS[name]
    path = packaged("statsmodels", f"statsmodels/datasets/{survey.file}")
    quote = "'" if name == "anes96" else '"'
    frame = pd.read_csv(path, sep=survey.separator, quotechar=quote)
    return Table(frame, survey.target, name, target_type=survey.target_type)
