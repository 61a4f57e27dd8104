"""Models of a visitor: a network from its tensors and a named architecture, and scikit-learn pipelines trained in place.

Nothing is unpickled: tensors come as plain arrays, estimators are fitted here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from lab import checks

ARCHITECTURES = {
    "layers with relu": torch.relu,
    "layers with tanh": torch.tanh,
    "layers with sigmoid": torch.sigmoid,
    "layers with gelu": torch.nn.functional.gelu,
}
HEADS = ("as it is", "probability")
FAMILIES = ("linear", "tanh network", "relu network", "deep relu network", "trees")


def layered(
    tensors: Mapping,
    inputs: int,
    *,
    architecture: str = "layers with relu",
    head: str = "as it is",
    shift: torch.Tensor | None = None,
    scale: torch.Tensor | None = None,
) -> Callable:
    """A stack of linear layers ``(out, in)`` in file order, with an activation between them, as
    ``(n, inputs) -> (n,)`` or ``(n, C)``.

    Names do not matter; shapes do: matrices must chain from ``inputs``, and every layer has its bias, or none has one.

    Args:
        tensors: name -> array, as of a state dict or a safetensors file.
        architecture: one of :data:`ARCHITECTURES`.
        head: ``"probability"`` takes a sigmoid of one output or a softmax of several.
        shift, scale: ``(inputs,)``: the network reads ``x * scale + shift`` (columns in their own units).

    Raises:
        ValueError: the shapes do not chain; an unknown architecture or head.
    """
    checks.choice("architecture", architecture, tuple(ARCHITECTURES))
    checks.choice("head", head, HEADS)
    activation = ARCHITECTURES[architecture]
    arrays = [torch.as_tensor(value).double() for value in tensors.values()]
    matrices = [array for array in arrays if array.ndim == 2]
    biases = [array for array in arrays if array.ndim == 1]
    sizes = [inputs, *[len(matrix) for matrix in matrices]]
    fits = matrices and all(matrix.shape[1] == size for matrix, size in zip(matrices, sizes))
    if not fits or [len(bias) for bias in biases] not in ([], sizes[1:]) or len(arrays) != len(matrices) + len(biases):
        listed = ", ".join(str(tuple(array.shape)) for array in arrays)
        raise ValueError(
            f"the weights must be linear layers that chain from {inputs} columns (out, in), each with its bias or none with "
            f"one; the file holds {listed}"
        )

    def f(x):
        x = x.double()
        if scale is not None:
            x = x * scale.to(x)
        if shift is not None:
            x = x + shift.to(x)
        for number, matrix in enumerate(matrices):
            x = x @ matrix.T + (biases[number] if biases else 0)
            x = activation(x) if number + 1 < len(matrices) else x
        if x.shape[1] > 1:
            return x if head == "as it is" else torch.softmax(x, 1)
        return x[:, 0] if head == "as it is" else torch.sigmoid(x[:, 0])

    return f


def pipeline(frame, target: str, family: str = "trees", *, seed: int = 0):
    """A scikit-learn pipeline trained on a frame with levels and missing values: ``(model, rows, held-out score)``.

    Numbers are imputed and standardised, levels become indicators inside the pipeline, so one column stays one player.
    ``model(rows)`` is a probability of the second class, of all classes where they are more, or a number.

    Args:
        frame: rows with the column ``target``, which is classes or numbers by :func:`lab.datasets.columns.target_type`; rows
            without a target are left out.
        family: ``"linear"``, ``"trees"``, or a network of :data:`FAMILIES` (one or two hidden layers).
    """
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    from lab.datasets import columns

    checks.choice("target", target, tuple(map(str, frame.columns)))
    checks.choice("family", family, FAMILIES)
    frame = frame[frame[target].notna()]
    x, y = frame.drop(columns=[target]), frame[target]
    if x.shape[1] == 0 or len(x) < 10:
        raise ValueError(f"the table must hold a column beside {target!r} and 10 rows, got {x.shape[1]} and {len(x)}")
    number = [c for c in x.columns if pd.api.types.is_numeric_dtype(x[c]) and not pd.api.types.is_bool_dtype(x[c])]
    level = [c for c in x.columns if c not in number]
    crowded = [c for c in level if x[c].nunique() > max(50, len(x) // 4)]
    if crowded:
        raise ValueError(f"column {crowded[0]!r} holds {x[crowded[0]].nunique()} different texts; leave such names out")
    x = x.astype({c: object for c in level})
    regression = columns.target_type(y)[0] == "numbers"
    y = y.astype(float) if regression else y
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).tolist()
    held = max(len(x) // 5, 1)
    model = make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(), StandardScaler()), number),
            (make_pipeline(SimpleImputer(strategy="constant", fill_value="missing"), OneHotEncoder(handle_unknown="ignore")),
             level),
        ),
        _estimator(family, regression, seed),
    ).fit(x.iloc[order[held:]], y.iloc[order[held:]])  # fmt: skip
    score = float(model.score(x.iloc[order[:held]], y.iloc[order[:held]]))

    def f(rows):
        if regression:
            return model.predict(rows)
        shares = model.predict_proba(rows)
        return shares[:, 1] if shares.shape[1] == 2 else shares

    return f, x.iloc[order[:held]].reset_index(drop=True), x.iloc[order[held:]].reset_index(drop=True), score


def _estimator(family: str, regression: bool, seed: int):
    from sklearn import ensemble, linear_model, neural_network

    if family == "linear":
        return linear_model.Ridge() if regression else linear_model.LogisticRegression(max_iter=1000)
    if family == "trees":
        kind = ensemble.RandomForestRegressor if regression else ensemble.RandomForestClassifier
        return kind(40, max_depth=6, random_state=seed)
    kind = neural_network.MLPRegressor if regression else neural_network.MLPClassifier
    widths = (32, 32) if family == "deep relu network" else (16,)
    return kind(widths, activation="tanh" if family == "tanh network" else "relu", max_iter=400, random_state=seed)
