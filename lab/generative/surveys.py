"""The private tables of the studies: surveys with the levels and bounds of their codebooks, and own tables."""

from __future__ import annotations

import numpy as np

from lab import datasets
from lab.generative.queries import Column, Domain


def _levels(low, high):
    return tuple(range(low, high + 1))


# Levels and bounds of the surveys' codebooks; bounds of counts and incomes are round numbers.
DOMAINS = {
    "fair": (
        Column("rate_marriage", _levels(1, 5), ordinal=True),
        Column("age", (17.5, 22.0, 27.0, 32.0, 37.0, 42.0), ordinal=True),
        Column("yrs_married", (0.5, 2.5, 6.0, 9.0, 13.0, 16.5, 23.0), ordinal=True),
        Column("children", (0.0, 1.0, 2.0, 3.0, 4.0, 5.5), ordinal=True),
        Column("religious", _levels(1, 4), ordinal=True),
        Column("educ", (9, 12, 14, 16, 17, 20), ordinal=True),
        Column("occupation", _levels(1, 6)),
        Column("occupation_husb", _levels(1, 6)),
        Column("affairs", low=0, high=60, logarithmic=True),
    ),
    "anes96": (
        Column("popul", low=0, high=10_000, logarithmic=True),
        Column("TVnews", _levels(0, 7), ordinal=True),
        *(Column(name, _levels(1, 7), ordinal=True) for name in ("selfLR", "ClinLR", "DoleLR")),
        Column("PID", _levels(0, 6), ordinal=True),
        Column("age", low=18, high=100),
        Column("educ", _levels(1, 7), ordinal=True),
        Column("income", _levels(1, 24), ordinal=True),
        Column("vote", (0, 1)),
    ),
    "randhie": (
        Column("mdvis", low=0, high=100, logarithmic=True),
        Column("lncoins", low=0, high=5),
        Column("idp", (0, 1)),
        Column("lpi", low=0, high=8),
        Column("fmde", low=0, high=9),
        Column("physlm", low=0, high=1),
        Column("disea", low=0, high=60),
        *(Column(name, (0, 1)) for name in ("hlthg", "hlthf", "hlthp")),
    ),
}  # fmt: skip


def domain_of(table: str) -> Domain:
    """The public domain of a survey."""
    return Domain(DOMAINS[table])


def private_table(name: str, data=None) -> tuple[Domain, np.ndarray]:
    """Domain and encoded rows: of the survey, or of an own table whose levels and ranges are taken as public."""
    if data is None:
        domain = domain_of(name)
        return domain, domain.encode(datasets.load(name).frame)
    if not isinstance(data, datasets.Table):
        raise ValueError("data must be a table, such as a CSV file with one row a person")
    columns = []
    for name in data.frame.columns:
        values = data.frame[name]
        numeric, few = values.dtype.kind in "iufb", values.nunique() <= 24
        if numeric and not few:
            columns.append(Column(name, low=float(values.min()), high=float(values.max())))
        else:
            columns.append(Column(name, tuple(sorted(values.dropna().unique().tolist())), ordinal=numeric))
    domain = Domain(columns)
    return domain, domain.encode(data.frame)
