"""Recording the ledger: every claim and its negative control measured in full, one replicate at a time, resumable.

A unit of work is one replicate of one method (all of its claims at one seed, so that claims of one study share its training),
once for the claims and once for their controls. What is finished is kept in ``data/cache/claims`` under the hash of rule, code
and tuning, so that a recording that was killed goes on where it stood, over days. When all replicates of a claim and of its
control are there, its line is appended to ``data/claims/<room>.jsonl``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from typing import Any

import numpy as np

from lab import checks
from lab.claims import Claim, Effects, Measured, Trial, by_id, ledger, measuring_function
from lab.claims.measure import Budget, concluded
from lab.claims.recorded import append, code_hash, latest, line, stale, tuning_hash
from lab.report.store import provenance
from lab.report.store.layout import data_folder, write_atomically
from lab.report.store.records import jsonable


@dataclass(frozen=True)
class Unit:
    """Claims of one method that are measured in one process at the same seeds, or their controls."""

    ids: tuple[str, ...]
    seeds: tuple[int, ...]
    budget: Budget
    control: bool


@dataclass(frozen=True)
class Outcome:
    """What a recording did: the lines it appended, why claims were left out, and how many recorded controls hold."""

    lines: tuple[dict[str, Any], ...]
    failures: dict[str, str]
    controls: int
    controls_that_hold: tuple[str, ...]


def wanted(claims: Iterable[Claim], *, replicates: int | None = None, force: bool = False) -> list[Claim]:
    """The testable claims whose recorded line is missing, stale or has too few replicates (all of them with ``force``)."""
    claims = [claim for claim in claims if not claim.untestable and claim.control and measuring_function(claim.id)]
    if force:
        return claims
    known, old = latest(), stale()
    return [
        claim
        for claim in claims
        if claim.id not in known or claim.id in old or known[claim.id]["replicates"] < (replicates or claim.replicates)
    ]


def record(
    claims: Sequence[Claim],
    *,
    replicates: int | None = None,
    budget: Budget = "default",
    jobs: int = 1,
    scheduler: str | None = None,
    executor: str = "local",
    progress: Callable[[int, int, str], None] | None = None,
) -> Outcome:
    """Measure claims and controls and append their lines.

    Args:
        claims: rows of the ledger, see :func:`wanted`.
        replicates: more than the rows ask for, if given.
        budget: ``"default"`` or ``"full"``; smoke decides nothing and is not recorded.
        jobs: processes of this machine; ``executor="dask"`` uses ``scheduler``'s workers, or starts ``jobs`` of them.
        progress: called with (units done, all units, what was finished) after each unit.

    One failing claim stops nothing: it is left out, with its reason in the outcome.
    """
    if budget == "smoke":
        raise ValueError("budget must be 'default' or 'full' to be recorded; a smoke run decides nothing")
    count = {claim.id: max(claim.replicates, replicates or 0) for claim in claims}
    units = list(_units(claims, count, budget))
    lines, failures, whole = [], {}, {claim.id: claim for claim in claims}
    parts = {claim.id: {False: {}, True: {}} for claim in claims}

    def take(unit, results):
        for id, result in results.items():
            if "error" in result:
                failures.setdefault(id, result["error"])
            else:
                parts[id][unit.control][unit.seeds] = result
            if id in whole and id not in failures and _complete(parts[id], count[id]):
                lines.append(_write(whole.pop(id), parts[id], budget))

    waiting, done = [], 0
    for unit in units:
        known = {id: found for id in unit.ids if (found := _kept(id, unit)) is not None}
        if known:
            take(replace(unit, ids=tuple(known)), known)
        left = tuple(id for id in unit.ids if id not in known)
        if left:
            waiting.append(replace(unit, ids=left))
        else:
            done += 1
    with _pool(executor, jobs, scheduler) as pool:
        futures = {pool.submit(measure_unit, unit): unit for unit in waiting}
        for future in as_completed(futures):
            unit = futures.pop(future)
            died = future.exception()  # its claims are left out, the rest goes on
            results = (
                future.result()
                if died is None
                else dict.fromkeys(unit.ids, {"error": f"{type(died).__name__}: {died}"})
            )
            for id, result in results.items():
                if "error" not in result:
                    _keep(id, unit, result)
            take(unit, results)
            done += 1
            if progress is not None:
                progress(done, len(units), _words(unit))
    recorded = latest()
    with_control = {id: entry for id, entry in recorded.items() if entry.get("control")}
    holding = tuple(sorted(id for id, entry in with_control.items() if entry["control"]["holds"]))
    return Outcome(tuple(lines), failures, len(with_control), holding)


def measure_unit(unit: Unit) -> dict[str, dict[str, Any]]:
    """The effects of one unit, ``{id: {"values", "details", "seconds"}}`` or ``{"error"}``; runs in a worker."""
    import time

    import torch

    torch.set_num_threads(1)
    found = {}
    for id in unit.ids:
        claim, began = by_id(id), time.perf_counter()
        try:
            effects = measuring_function(id)(Trial(claim, unit.seeds, unit.budget, None, unit.control))
            found[id] = {**_plain(effects), "seconds": time.perf_counter() - began}
        except (Exception, SystemExit) as error:  # reported with its claim; the others go on
            found[id] = {"error": f"{type(error).__name__}: {error}"}
        else:
            _keep(id, unit, found[id])
    return found


def _units(claims, count, budget) -> Iterator[Unit]:
    """All units, those with all seeds at once (stacked trainings, single exact effects) first: they take longest."""
    methods = dict.fromkeys(claim.method for claim in claims)
    for method in methods:
        own = [claim for claim in claims if claim.method == method]
        for control in (False, True):
            stacked = [claim for claim in own if measuring_function(claim.id).stacked]
            for seeds in dict.fromkeys(tuple(range(count[claim.id])) for claim in stacked):
                ids = tuple(claim.id for claim in stacked if count[claim.id] == len(seeds))
                yield Unit(ids, seeds, budget, control)
            single = [claim for claim in own if claim not in stacked]
            for seed in range(max((count[claim.id] for claim in single), default=0)):
                yield Unit(tuple(claim.id for claim in single if seed < count[claim.id]), (seed,), budget, control)


def _complete(parts, count):
    return all(sum(len(seeds) for seeds in arm) >= count for arm in parts.values())


def _write(claim, parts, budget):
    arms = []
    for control in (False, True):
        ordered = sorted(parts[control].items())
        values = [np.atleast_1d(np.asarray(part["values"], dtype=float)) for _, part in ordered]
        if claim.rule == "ordered":
            values = [value if value.ndim == 2 else value[None] for value in values]
        against = [np.asarray(part["against"], dtype=float) for _, part in ordered if part.get("against") is not None]
        effects = Effects(
            np.concatenate(values), ordered[0][1].get("details", {}), np.concatenate(against) if against else None
        )
        seeds = tuple(seed for key, _ in ordered for seed in key)
        seconds = sum(part["seconds"] for _, part in ordered)
        arms.append(replace(concluded(claim, effects, seeds, budget=budget), control=control, seconds=seconds))
    entry = line(*arms, context=context())
    append(claim.room, entry)
    return entry


def context() -> dict[str, Any]:
    """Commit, versions and machine of a recorded line."""
    state = provenance.git_state()
    return {
        "commit": str(state.get("commit", ""))[:12],
        "versions": provenance.versions(["torch", "numpy", "scipy", "numba", "sklearn"]),
        "machine": {
            key: value for key, value in provenance.machine().items() if key in ("system", "python", "cores", "device")
        },
    }


def _plain(effects: Effects) -> dict[str, Any]:
    def listed(part):
        part = part.detach().cpu().numpy() if hasattr(part, "detach") else part
        return None if part is None else np.asarray(part, dtype=float).tolist()

    return {
        "values": listed(effects.values),
        "against": listed(effects.against),
        "details": jsonable(dict(effects.details)),
    }


def _path(id, unit):
    seeds = f"{unit.seeds[0]}" if len(unit.seeds) == 1 else f"{unit.seeds[0]}-{unit.seeds[-1]}"
    name = f"{'control' if unit.control else 'claim'}-{seeds}.json"
    return data_folder() / "cache" / "claims" / id / f"{_key(id)}-{unit.budget}" / name


@lru_cache(maxsize=1024)
def _key(id):
    claim = by_id(id)
    return "-".join(filter(None, (claim.rule_hash(), code_hash(claim), tuning_hash(claim))))


def _kept(id, unit):
    try:
        return json.loads(_path(id, unit).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None


def _keep(id, unit, result):
    write_atomically(_path(id, unit), json.dumps(result, ensure_ascii=False))


def _words(unit):
    method = by_id(unit.ids[0]).method
    seeds = f"seed {unit.seeds[0]}" if len(unit.seeds) == 1 else f"{len(unit.seeds)} seeds"
    return f"{method}, {seeds}{', control' if unit.control else ''}"


@contextmanager
def _pool(name: str, jobs: int, scheduler: str | None) -> Iterator[Executor]:
    if name == "dask":
        from distributed import Client

        client = (
            Client(scheduler) if scheduler else Client(n_workers=jobs, threads_per_worker=1, dashboard_address=None)
        )
        with client, client.get_executor(pure=False) as pool:
            yield pool
        return
    environment = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS",)}
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            yield pool
    finally:
        for name, value in environment.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


def rows_of(ids: Sequence[str] = (), *, room: str | None = None, every: bool = False) -> list[Claim]:
    """The rows named by ids, by a room, or all."""
    if ids:
        return [by_id(id) for id in ids]
    if room is not None or every:
        return list(ledger(room))
    raise ValueError("name the ids of claims, a room (--room), or all of them (--all)")


def until_decided(id: str, *, budget: Budget = "default", looks: int = 3, data=None) -> Measured:
    """Measure with n, 2n, 4n replicates until the claim is decided.

    The risk of look k = 1, 2, 3 is 5 % / 2^k, so that all looks together keep 5 %.
    """
    from lab.claims import measure

    claim = by_id(id)
    whole = claim.statistic == "exact" or measuring_function(claim.id).stacked
    found: Measured | None = None
    done = 0
    for look in range(1, checks.integer("looks", looks, low=1) + 1):
        count = claim.replicates * 2 ** (look - 1)
        seeds = range(0 if whole else done, count)  # replicates that stand alone are measured once
        last = measure(id, replicates=tuple(seeds), budget=budget, data=data)
        if claim.statistic == "exact":
            return last
        values = (*(found.values if found and not whole else ()), *last.values)
        again = concluded(claim, Effects(values, last.details), range(count), budget=budget, risk=0.05 / 2**look)
        seconds = last.seconds + (found.seconds if found else 0.0)
        found, done = replace(again, seconds=seconds, own=last.own), count
        if found.verdict != "undecided":
            break
    assert found is not None  # there is at least one look
    return found
