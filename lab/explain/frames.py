"""Frames as instances: one column, or one named group of columns, is one player; categories, missing values and dtypes
stay.

Inside, a frame is a matrix of codes: numbers as they are, categories as positions in their list of levels, missing
categories as -1. ``f`` always gets a frame with the caller's columns and dtypes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from lab import checks
from lab.explain.players import Players


def is_frame(x) -> bool:
    """Whether ``x`` is a pandas frame, without importing pandas."""
    return type(x).__module__.split(".")[0] == "pandas" and hasattr(x, "columns")


def encoded(f: Callable, x, baseline, features, data, additive: bool = False) -> tuple[Codec, Players]:
    """``f`` on codes, and the players of the frame ``x``.

    ``baseline`` is a frame of one row (or one row an instance) or a mapping ``column -> value``; it may be left out where
    ``data`` (a frame of observed rows) takes its place: then it is :func:`typical` of the data; and where the noise is
    additive, which needs none.
    """
    if not callable(f):
        raise TypeError(f"f must be callable, got {type(f).__name__}")
    if len(x) == 0:
        raise ValueError("x is a frame without rows; at least one instance is needed")
    if len(set(x.columns)) < len(x.columns):
        raise ValueError("x has columns of the same name")
    if data is not None and not is_frame(data):
        raise TypeError(f"data must be a frame like x, got {type(data).__name__}")
    if data is not None:
        data = _aligned("data", data, x.columns)
    if baseline is None and data is None and additive:
        baseline = x[:1]
    if baseline is None and data is None:
        raise ValueError(
            "baseline is needed for a frame (what stands in for a column that is taken away): a frame of one row, a "
            "mapping column -> value, or lab.explain.typical(frame)"
        )
    baseline = typical(data) if baseline is None else _as_frame(baseline, x)
    baseline = _aligned("baseline", baseline, x.columns)
    if len(baseline) not in (1, len(x)):
        raise ValueError(f"baseline must have 1 row or {len(x)}, got {len(baseline)}")
    codec = Codec(f, x, [baseline] + ([data] if data is not None else []), data)
    index, names = _columns_of(features, list(x.columns))
    donors = codec.encode("data", data) if data is not None else None
    own = len(names) == len(x.columns) and index == list(range(len(names)))
    return codec, Players(
        codec.encode("x", x),
        codec.encode("baseline", baseline),
        None if own else torch.tensor(index),
        len(names),
        (len(x.columns),),
        tuple(str(name) for name in names),
        donors,
        counted=True,
    )


class Codec:
    """Frames to codes and back; called with codes it decodes them and calls ``f``."""

    def __init__(self, f: Callable, x, others: list, data):
        self.f, self.columns, self.dtypes = f, list(x.columns), dict(x.dtypes)
        self.levels: dict[str, list] = {}
        self.missing: dict[str, object] = {}
        for column in self.columns:
            if _is_number(x[column]) and not any(_beyond_float64(frame[column]) for frame in (x, *others)):
                for other in others:
                    if not _is_number(other[column]):
                        raise TypeError(f"column {column!r} holds numbers in x and {other[column].dtype} elsewhere")
                continue
            if x[column].dtype.kind in "mMc":
                raise TypeError(f"column {column!r} has dtype {x[column].dtype}; turn it into numbers or categories")
            known = list(x[column].cat.categories) if hasattr(x[column], "cat") else []
            seen = [value for frame in [*others, x] for value in frame[column].dropna().unique()]
            if data is not None:
                observed = set(data[column].dropna().unique())
                unseen = [value for value in x[column].dropna().unique() if value not in observed]
                if unseen:
                    raise ValueError(f"column {column!r} of x holds {unseen[0]!r}, which data never shows")
            if known:
                strange = [value for value in seen if value not in known]
                if strange:
                    raise ValueError(f"column {column!r}: {strange[0]!r} is not among the categories {known}")
            self.levels[column] = known or list(dict.fromkeys(seen))
            absent = [value for frame in (x, *others) for value in frame[column][frame[column].isna()][:1]]
            self.missing[column] = absent[0] if absent else np.nan  # None, NaN or NA, as the caller writes it
        self.categorical = list(self.levels)

    def encode(self, name: str, frame) -> torch.Tensor:
        """Codes ``(rows, columns)`` float64."""
        out = np.empty((len(frame), len(self.columns)))
        for j, column in enumerate(self.columns):
            values = frame[column]
            if column in self.levels:
                place = {level: i for i, level in enumerate(self.levels[column])}
                out[:, j] = [-1 if missing else place[value] for value, missing in zip(values, values.isna())]
            else:
                out[:, j] = values.to_numpy(dtype=float, na_value=np.nan)
                if np.isinf(out[:, j]).any():
                    raise ValueError(f"{name}: column {column!r} holds infinite values")
        return torch.from_numpy(out)

    def decode(self, codes: np.ndarray):
        """The frame of ``codes``, with the columns and dtypes of ``x``."""
        import pandas as pd

        columns = {}
        for j, column in enumerate(self.columns):
            values, dtype = codes[:, j], self.dtypes[column]
            if column in self.levels:
                code = values.astype(int)
                if isinstance(dtype, pd.CategoricalDtype):
                    columns[column] = pd.Categorical.from_codes(code, dtype=dtype)
                else:
                    level = np.empty(len(self.levels[column]) + 1, dtype=object)
                    level[:-1], level[-1] = self.levels[column], self.missing[column]
                    taken = pd.Series(level[code])
                    columns[column] = (
                        taken
                        if taken.isna().any() and dtype.kind in "biu" and isinstance(dtype, np.dtype)
                        else taken.astype(dtype)
                    )
            else:
                columns[column] = _numbers(values, dtype)
        return pd.DataFrame(columns)

    def __call__(self, codes: torch.Tensor):
        return self.f(self.decode(codes.numpy()))


def _numbers(values: np.ndarray, dtype):
    """Codes of a column of numbers in its dtype; in a wider one where that does not hold them."""
    import pandas as pd

    plain = getattr(dtype, "subtype", getattr(dtype, "numpy_dtype", dtype))  # of sparse and of nullable columns
    if np.issubdtype(plain, np.integer):
        known = values[~np.isnan(values)]
        nullable = plain is not dtype and not hasattr(dtype, "subtype")
        if not bool((known == np.round(known)).all()) or (len(known) < len(values) and not nullable):
            return pd.Series(values)
        limits = np.iinfo(plain)
        if len(known) and not (limits.min <= known.min() and known.max() <= limits.max):
            return pd.Series(values).astype("Int64" if nullable else np.int64)
    return pd.Series(values).astype(dtype)


def _beyond_float64(values) -> bool:
    """Whether a column holds integers that float64 does not: such ids are levels, not numbers."""
    plain = getattr(values.dtype, "subtype", getattr(values.dtype, "numpy_dtype", values.dtype))
    if not isinstance(plain, np.dtype) or plain.kind not in "iu" or not len(values.dropna()):
        return False
    return max(abs(int(values.min())), abs(int(values.max()))) > 2**53


def typical(frame):
    """One row that stands for a frame: medians of numbers (of whole numbers a half one where it falls between two), most
    frequent levels of the others."""
    import pandas as pd

    row = {}
    for column in frame.columns:
        values = frame[column]
        if _is_number(values) and not _beyond_float64(values):
            middle = float("nan") if values.isna().all() else float(values.median())
            row[column] = _numbers(np.array([middle]), values.dtype)
        else:
            # pandas has no mode of nullable booleans with missing ones
            plain = values.astype(object) if isinstance(values.dtype, pd.BooleanDtype) else values
            row[column] = pd.Series([plain.mode(dropna=False).iloc[0]], dtype=object).astype(values.dtype)
    return pd.DataFrame(row)


def _is_number(values) -> bool:
    import pandas as pd

    return pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype)


def _as_frame(baseline, x):
    import pandas as pd

    if is_frame(baseline):
        return baseline
    if not isinstance(baseline, Mapping):
        raise TypeError(
            f"baseline must be a frame or a mapping column -> value for a frame, got {type(baseline).__name__}"
        )
    missing = [column for column in x.columns if column not in baseline]
    if missing:
        raise ValueError(f"baseline lacks the columns {missing}")
    for column in x.columns:
        known = x[column].cat.categories if hasattr(x[column], "cat") else None
        if known is not None and not pd.isna(baseline[column]) and baseline[column] not in known:
            raise ValueError(
                f"baseline: {baseline[column]!r} is not among the categories {list(known)} of column {column!r}"
            )
    row = {}
    for column in x.columns:
        value, dtype = baseline[column], x[column].dtype
        number = _is_number(x[column]) and not _beyond_float64(x[column]) and not isinstance(value, str)
        row[column] = (
            _numbers(np.array([np.nan if pd.isna(value) else value], dtype=float), dtype)
            if number
            else pd.Series([value]).astype(dtype)
        )
    return pd.DataFrame(row)


def _aligned(name: str, frame, columns):
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"{name} lacks the columns {missing}")
    if len(set(frame.columns)) < len(frame.columns):
        raise ValueError(f"{name} has columns of the same name")
    if len(frame) == 0:
        raise ValueError(f"{name} has no rows")
    return frame[list(columns)]


def _columns_of(features, columns: list) -> tuple[list[int], list[str]]:
    """The player of every column and the players' names; columns that no group names are their own players."""
    if features is None:
        return list(range(len(columns))), columns
    if isinstance(features, Mapping):
        groups = {name: [members] if isinstance(members, str) else list(members) for name, members in features.items()}
        moving = columns
    elif isinstance(features, Sequence) and not isinstance(features, str):
        groups, moving = {}, list(features)
    else:
        raise TypeError(
            f"features must be a mapping player -> columns or a list of the columns that move, got "
            f"{type(features).__name__}"
        )
    owner = {}
    for name, members in groups.items():
        for member in members:
            if member in owner:
                raise ValueError(f"column {member!r} belongs to two players, {owner[member]!r} and {name!r}")
            owner[member] = name
    for column in [*owner, *moving]:
        if column not in columns:
            raise ValueError(
                f"features names the column {column!r}, which x lacks{checks.did_you_mean(column, columns)}"
            )
    names = list(dict.fromkeys(owner.get(column, column) for column in columns if column in moving))
    if not names:
        raise ValueError("features names no column: nothing may move")
    place = {name: i for i, name in enumerate(names)}
    return [place[owner.get(column, column)] if column in moving else len(names) for column in columns], names
