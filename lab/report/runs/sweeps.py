"""Sweeps: one notebook over a grid, paired values, random draws or a list of parameters, with seeds as an axis.

A sweep is a YAML file or the same words on the command line::

    notebook: notebooks/topology/betti_matching.ipynb
    parameters: {profile: smoke}                # the same for every run
    grid: {image: [retina, coins], noise: {from: 0, to: 1, steps: 5}}
    zip: {width: [8, 16, 32], rate: [0.1, 0.05, 0.02]}
    random: {samples: 20, seed: 0, draw: {noise: {from: 0.001, to: 1, log: true}, image: [retina, coins]}}
    list: [{image: cell, noise: 0.3}]
    seeds: 5                                    # parameter `seed` = 0, 1, 2, 3, 4

The parts that are present multiply. Every value is checked against the notebook's parameters before anything starts.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab import checks
from lab.report.notebook.parameters import read_parameters
from lab.report.runs import run as runs
from lab.report.store.layout import Store, StoreError, project_root, write_atomically
from lab.source import text_hash

_KEYS = ("name", "notebook", "parameters", "grid", "zip", "random", "list", "seeds")
_MOST = 100_000
_NAME = re.compile(r"[^\W_][\w .-]{0,59}")  # it becomes the name of a folder


@dataclass(frozen=True)
class Sweep:
    """A sweep before it runs: ``points`` are the given parameters of each run, ``axes`` the parameters that vary."""

    notebook: str
    points: tuple[dict[str, Any], ...]
    axes: tuple[str, ...]
    spec: dict[str, Any] = field(default_factory=dict)
    text: bool = False

    @property
    def id(self) -> str:
        """The sweep's name or notebook, and ten digits of the hash of what it asks for."""
        stem = self.spec.get("name") or Path(self.notebook).stem.replace("_", "-").lower()
        return f"{stem}-{text_hash(json.dumps(self.spec, sort_keys=True, default=str))[:10]}"

    def plans(self, *, warm: bool = True) -> list[runs.Plan]:
        """One plan a point; refused as :func:`lab.report.runs.run.plan` refuses."""
        return [runs.plan(self.notebook, point, text=self.text, sweep=self.id, warm=warm) for point in self.points]


def from_mapping(spec: Mapping[str, Any], *, text: bool = False, base: Path | None = None) -> Sweep:
    """The sweep that a mapping describes (``text``: values are words of a command line).

    Raises:
        ValueError: an unknown key, values that are not lists, paired lists of different lengths, a sweep without runs.
        ParameterError: a parameter that the notebook does not take, or a refused value.
    """
    for key in spec:
        if key not in _KEYS:
            raise ValueError(f"a sweep has no key {key!r}{checks.did_you_mean(key, _KEYS)}; it has {', '.join(_KEYS)}")
    if not spec.get("notebook"):
        raise ValueError("a sweep needs a notebook")
    name = spec.get("name")
    if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ValueError(
            f"name must be 1 to 60 letters, digits, spaces, '.', '_' or '-', beginning with a letter or digit, got {name!r}"
        )
    notebook = Path(spec["notebook"])
    if not notebook.is_absolute() and not notebook.exists() and base is not None and (base / notebook).exists():
        notebook = base / notebook
    fixed = dict(_mapping("parameters", spec.get("parameters")))
    grid = {name: _values(name, values) for name, values in _mapping("grid", spec.get("grid")).items()}
    paired = {name: _values(name, values) for name, values in _mapping("zip", spec.get("zip")).items()}
    if len({len(values) for values in paired.values()}) > 1:
        raise ValueError(
            "zip needs lists of one length, got "
            + ", ".join(f"{name}: {len(values)}" for name, values in paired.items())
        )
    parts = [
        [dict(zip(grid, values)) for values in itertools.product(*grid.values())],
        [dict(zip(paired, values)) for values in zip(*paired.values())] if paired else [{}],
        _draws(spec.get("random")),
        _listed(spec.get("list")),
        [{"seed": str(seed) if text else seed} for seed in _seeds(spec.get("seeds"))]
        if spec.get("seeds") is not None
        else [{}],
    ]
    total = math.prod(map(len, parts))
    if not 0 < total <= _MOST:
        raise ValueError(f"a sweep must have between 1 and {_MOST} runs, got {total}")
    points = []
    for combination in itertools.product(*parts):
        point = dict(fixed)
        for part in combination:
            twice = sorted(set(part) & (set(point) - set(fixed)))
            if twice:
                raise ValueError(f"parameter {twice[0]!r} stands in two parts of the sweep")
            point.update(part)
        points.append(point)
    schema = read_parameters(notebook if notebook.exists() else project_root() / notebook)
    resolved = [schema.resolve(point, text=text) for point in points]
    axes = [
        name
        for name in schema.parameters
        if len({json.dumps(values.get(name), default=str) for values in resolved}) > 1
    ]
    return Sweep(str(notebook), tuple(points), tuple(axes), json.loads(json.dumps(dict(spec), default=str)), text)


def from_file(path: str | Path) -> Sweep:
    """The sweep of a YAML file; a notebook named in it is looked for beside the file too."""
    import yaml

    path = Path(path)
    try:
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} is not valid YAML: {error}") from None
    if not isinstance(spec, dict):
        raise ValueError(f"{path.name} must hold a mapping with the keys {', '.join(_KEYS)}")
    return from_mapping(spec, base=path.parent)


def again(name: str, store: Store) -> Sweep:
    """The remembered sweep called ``name``, as it was asked for.

    Raises:
        StoreError: no sweep has this name.
    """
    (known,) = remembered(store, name)
    sweep = from_mapping(
        {**known["spec"], "notebook": known.get("path", known["notebook"])}, text=known.get("text", False)
    )
    return replace(sweep, spec=known["spec"])


def estimate(plans: list[runs.Plan], store: Store, jobs: int) -> tuple[float | None, int]:
    """Seconds that the runs which are not in the store will take, from earlier runs of the notebook, and how many there are.

    ``None`` if the notebook has never run.
    """
    waiting = [plan for plan in plans if runs.answering(plan, store) is None]
    if not waiting:
        return 0.0, 0
    known = [run for run in store.all() if run.notebook == waiting[0].notebook and run.ok]
    alike = [run for run in known if run.parameters.get("profile") == waiting[0].parameters.get("profile")] or known
    if not alike:
        return None, len(waiting)
    each = sum(run.info["seconds"] for run in alike) / len(alike)
    return each * len(waiting) / max(1, jobs), len(waiting)


def remember(sweep: Sweep, plans: list[runs.Plan], store: Store) -> None:
    """Write ``data/runs/.sweeps/<id>.json``: what the sweep asked for and which runs answer."""
    path = store.runs / ".sweeps" / f"{sweep.id}.json"
    content = {
        "id": sweep.id,
        "notebook": plans[0].notebook,
        "path": plans[0].notebook if Path(plans[0].path).is_relative_to(project_root()) else plans[0].path,
        "text": sweep.text,
        "axes": list(sweep.axes),
        "spec": sweep.spec,
        "runs": [plan.run_id for plan in plans],
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False))


def remembered(store: Store, name: str | None = None) -> list[dict[str, Any]]:
    """All remembered sweeps, the newest first, or the one called ``name`` (its id or the beginning of it)."""
    found = []
    for path in (store.runs / ".sweeps").glob("*.json"):
        found.append(json.loads(path.read_text(encoding="utf-8")))
    found.sort(key=lambda sweep: sweep["created"], reverse=True)
    if name is None:
        return found
    matching = [sweep for sweep in found if sweep["id"] == name] or [
        sweep for sweep in found if sweep["id"].startswith(name)
    ]
    if not matching:
        hint = checks.did_you_mean(name, [sweep["id"] for sweep in found])
        raise StoreError(f"there is no sweep {name!r}{hint}")
    return matching[:1]


def _mapping(key, value):
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} must be a mapping from parameter to values, got {value!r}")
    return value


def _values(name, given):
    if isinstance(given, Mapping):
        return _range(name, given)
    if not isinstance(given, list) or not given:
        raise ValueError(
            f"the values of {name!r} must be a list that is not empty or {{from, to, steps}}, got {given!r}"
        )
    return given


def _range(name, given):
    steps = checks.integer(f"steps of {name}", given.get("steps"), low=2)
    low, high = _ends(name, given, ("steps",))
    if given.get("log"):
        values = [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]
    else:
        values = [low + (high - low) * step / (steps - 1) for step in range(steps)]
    whole = isinstance(given["from"], int) and isinstance(given["to"], int)
    values = [float(f"{value:.14g}") for value in values]  # 0.3, not 0.30000000000000004
    return [int(value) if whole and value == int(value) else value for value in values]


def _ends(name, given, more=()):
    unknown = set(given) - {"from", "to", "log", *more}
    if unknown:
        raise ValueError(f"the range of {name!r} has from, to, log{', steps' * bool(more)}, got {sorted(unknown)[0]!r}")
    low, high = (checks.number(f"{key} of {name}", given.get(key)) for key in ("from", "to"))
    if given.get("log") and min(low, high) <= 0:
        raise ValueError(f"a logarithmic range of {name!r} needs positive ends, got {low:g} and {high:g}")
    return low, high


def _draws(spec):
    if spec is None:
        return [{}]
    unknown = set(_mapping("random", spec)) - {"samples", "seed", "draw"}
    if unknown:
        raise ValueError(f"random has samples, seed and draw, got {sorted(unknown)[0]!r}")
    samples = checks.integer("samples of random", spec.get("samples"), low=1)
    generator = random.Random(checks.integer("seed of random", spec.get("seed", 0), low=0))
    draws = _mapping("draw", spec.get("draw"))
    if not draws:
        raise ValueError("random needs draw: a mapping from parameter to values or {from, to}")
    return [{name: _draw(name, values, generator) for name, values in draws.items()} for _ in range(samples)]


def _draw(name, values, generator):
    if not isinstance(values, Mapping):
        return generator.choice(_values(name, values))
    low, high = _ends(name, values)
    if values.get("log"):
        return math.exp(generator.uniform(math.log(low), math.log(high)))
    if isinstance(values["from"], int) and isinstance(values["to"], int):
        return generator.randint(values["from"], values["to"])
    return generator.uniform(low, high)


def _listed(items):
    if items is None:
        return [{}]
    if not isinstance(items, list) or not items or not all(isinstance(item, Mapping) for item in items):
        raise ValueError(f"list must be a list of mappings from parameter to value, got {items!r}")
    return [dict(item) for item in items]


def _seeds(given):
    if isinstance(given, list):
        return [checks.integer("seed", seed, low=0) for seed in given]
    return list(range(checks.integer("seeds", given, low=1)))
