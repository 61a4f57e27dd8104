"""The tables of scikit-learn, read from the installed package."""

from __future__ import annotations

from lab.datasets.sets import Table

TABLES = ("iris", "wine", "breast_cancer", "diabetes", "linnerud")


def load_table(name: str) -> Table:
    """The table ``name``; a class target holds the names of the classes, a regression target numbers."""
    from sklearn import datasets

    stored = getattr(datasets, f"load_{name}")(as_frame=True)
    frame = stored.frame.copy()
    frame.columns = [str(column).replace(" (cm)", "").replace(" ", "_") for column in frame.columns]
    if name == "linnerud":
        return Table(frame.drop(columns=["Waist", "Pulse"]).astype({"Weight": float}), "Weight", name)
    if "target_names" in stored:
        frame["target"] = [str(stored.target_names[code]) for code in frame["target"]]
    return Table(frame, "target", name)
