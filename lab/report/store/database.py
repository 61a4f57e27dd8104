"""The index of all runs: three Parquet files beside the store, read by DuckDB.

``runs`` has one row a run (status, notebook, times, memory, provenance), ``parameters`` one row a parameter of a run,
``records`` one row a metric or claim; ``metrics`` and ``claims`` are their views, and ``wide`` one row a run with a column for
each parameter (``p_name``) and each metric (``m_name``). Only runs that have changed since are read again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from lab.report.store.layout import Store, StoreError, write_atomically, writing
from lab.report.store.records import number

TABLES = ("runs", "parameters", "records")
_VIEWS = """
create view metrics as select run_id, name, value, text, unit from records where kind = 'metric' and latest;
create view claims as
select run_id, name, value, low, high, holds, status, budget, seeds from records where kind = 'claim' and latest;
"""


def query(sql: str, store: Store | None = None):
    """The answer to an SQL query as ``(column names, rows)``; a store that cannot be written is indexed beside it.

    Raises:
        ValueError: DuckDB does not understand the query; its own words are in the message.
    """
    store = store or Store()
    try:
        return _answer(sql, update(store))
    except StoreError:
        with tempfile.TemporaryDirectory(prefix="lab-index-") as folder:
            return _answer(sql, update(store, Path(folder)))


def _answer(sql, folder):
    import duckdb

    connection = duckdb.connect()
    try:
        for name in TABLES:
            path = str(folder / f"{name}.parquet").replace("'", "''")
            connection.execute(f"create view {name} as select * from read_parquet('{path}')")
        connection.execute(_VIEWS)
        if re.search(r"\bwide\b", sql, re.I):
            connection.execute(_wide(connection))
        cursor = connection.execute(sql)
        return [column[0] for column in cursor.description or ()], cursor.fetchall()
    except duckdb.Error as error:
        raise ValueError(f"the query failed: {error}") from None
    finally:
        connection.close()


def update(store: Store, folder: Path | None = None) -> Path:
    """Bring the Parquet files in ``folder`` (the store's own by default) up to date and return it.

    The store's folder changes its time whenever a run is published or removed: an unchanged time answers at once.

    Raises:
        StoreError: the folder cannot be written.
    """
    own = folder or store.data / "cache" / "index"
    if not store.runs.is_dir():
        store.prepare()
    if not _is_current(own, store):
        with writing(f"the index {own}"), store.lock("index") if folder is None else contextlib.nullcontext():
            _bring_up(own, store)
    return own


def _is_current(folder, store):
    stamp = _read(folder / "stamp.json").get("stamp")
    return stamp == _stamp(store) and all((folder / f"{name}.parquet").exists() for name in TABLES)


def _stamp(store):
    return str(os.stat(store.runs).st_mtime_ns)


def _bring_up(folder, store):
    whole = all((folder / f"{name}.parquet").exists() for name in TABLES)
    stamp, known = _stamp(store), _read(folder / "times.json") if whole else {}
    times = {run_id: str(_time(store, run_id)) for run_id in store.ids()}
    fresh = [run_id for run_id, time in times.items() if known.get(run_id) != time and time != "0"]
    # rows of other runs are dropped: after a kill between two files nothing stands twice
    kept = [run_id for run_id, time in times.items() if known.get(run_id) == time]
    _write(folder, _tables([run for run in map(store.get, fresh) if run is not None]), kept)
    write_atomically(folder / "times.json", json.dumps(times))
    write_atomically(folder / "stamp.json", json.dumps({"stamp": stamp}))


def seed_statistics(store: Store, metric: str, by: list[str], where: str = "true") -> list[dict[str, Any]]:
    """Mean of a metric over seeds for each combination of the parameters ``by``, as texts in ``at``.

    Each entry has ``count``, ``mean``, ``standard_error`` and the 95 % Student interval ``low`` to ``high`` (``None`` for
    one seed).
    """
    from scipy.special import stdtrit

    columns = "".join(f', max(p.text) filter (p.name = {_quoted(name)}) as "{name}"' for name in by)
    sql = (
        f"select m.run_id, any_value(m.value) as value {columns} from metrics m join runs r on r.id = m.run_id "
        f"left join parameters p on p.run_id = m.run_id where m.name = {_quoted(metric)} and ({where}) group by m.run_id"
    )
    names = ", ".join(f'"{name}"' for name in by)
    grouped = (
        f"select {names + ', ' if by else ''}count(value), avg(value), stddev_samp(value) from ({sql}) "
        f"{'group by ' + names if by else ''}"
    )
    _, rows = query(grouped, store)
    found = []
    for row in rows:
        *keys, count, mean, deviation = row
        error = deviation / count**0.5 if count > 1 and deviation is not None else None
        half = float(stdtrit(count - 1, 0.975)) * error if error is not None else None
        ends = (None, None) if half is None else (mean - half, mean + half)
        entry = {"at": dict(zip(by, keys)), "count": count, "mean": mean, "standard_error": error}
        found.append({**entry, "low": ends[0], "high": ends[1]})
    return sorted(found, key=lambda entry: [_natural(entry["at"][name]) for name in by])


def _natural(text):
    try:
        return (0, float(text), "")
    except (TypeError, ValueError):
        return (1, 0.0, str(text))


def _quoted(text):
    return "'" + text.replace("'", "''") + "'"


def _wide(connection):
    parts = ["r.*"]
    for table, letter in (("parameters", "p"), ("metrics", "m")):
        kinds = connection.execute(
            f"select name, count(value) = count(*) from {table} group by name order by name"
        ).fetchall()
        for name, numeric in kinds:
            column = "value" if numeric else "text"
            label = f"{letter}_{name}".replace('"', "")
            parts.append(
                f'(select any_value(t.{column}) from {table} t where t.run_id = r.id and t.name = {_quoted(name)}) as "{label}"'
            )
    return f"create view wide as select {', '.join(parts)} from runs r"


def _time(store, run_id):
    try:
        return os.stat(store.runs / run_id / "run.json").st_mtime_ns
    except OSError:
        return 0


def _read(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return {}


def _tables(runs):
    rows: dict[str, list[dict]] = {name: [] for name in TABLES}
    for run in runs:
        info, origin = run.info, run.info["provenance"]
        git = origin.get("git") or {}
        rows["runs"].append(
            {
                "id": run.id,
                "notebook": run.notebook,
                "title": run.title,
                "status": run.status,
                "started": info["started"],
                "seconds": float(info["seconds"]),
                "cpu_seconds": float(info["cpu_seconds"]),
                "peak_memory": int(info["peak_memory"]),
                "sweep": info.get("sweep", ""),
                "kernel": info["kernel"],
                "error": (run.error or {}).get("name", ""),
                "commit": git.get("commit", ""),
                "dirty": bool(git.get("dirty", False)),
                "lock": origin.get("lock", ""),
                "device": origin.get("device", ""),
                "python": origin.get("python", ""),
                "threads": int(origin.get("threads", 1)),
            }
        )
        for name, value in run.parameters.items():
            given = name in info["given"]
            rows["parameters"].append(
                {"run_id": run.id, "name": name, "value": number(value), "text": _text(value), "given": given}
            )
        last = {(entry["kind"], entry["name"]): place for place, entry in enumerate(run.records)}
        for place, entry in enumerate(run.records):
            low, high = entry.get("interval", (None, None))
            rows["records"].append(
                {
                    "run_id": run.id,
                    "kind": entry["kind"],
                    "name": entry["name"],
                    "value": number(entry["value"]),
                    "text": _text(entry["value"]),
                    "unit": entry.get("unit", ""),
                    "low": number(low),
                    "high": number(high),
                    "holds": entry.get("holds"),
                    "status": entry.get("status", ""),
                    "budget": entry.get("budget", ""),
                    "seeds": len(entry.get("seeds", ())),
                    "latest": last[entry["kind"], entry["name"]] == place,
                }
            )
    return rows


def _text(value):
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _write(folder, tables, kept):
    """Append the new rows to those of the runs ``kept``; each file is replaced in one step."""
    import pyarrow as arrow
    import pyarrow.compute as compute
    import pyarrow.parquet as parquet

    text, real, whole, truth = arrow.string(), arrow.float64(), arrow.int64(), arrow.bool_()
    kinds = {
        "seconds": real,
        "cpu_seconds": real,
        "value": real,
        "low": real,
        "high": real,
        "peak_memory": whole,
        "threads": whole,
    }
    kinds |= {"seeds": whole, "dirty": truth, "given": truth, "holds": truth, "latest": truth}
    columns = {
        "runs": (
            "id notebook title status started seconds cpu_seconds peak_memory sweep kernel error commit dirty lock "
            "device python threads"
        ),
        "parameters": "run_id name value text given",
        "records": "run_id kind name value text unit low high holds status budget seeds latest",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        schema = arrow.schema([(column, kinds.get(column, text)) for column in columns[name].split()])
        table = arrow.Table.from_pylist(rows, schema=schema)
        path = folder / f"{name}.parquet"
        if kept and path.exists():
            old = parquet.read_table(path, schema=schema)
            same = compute.is_in(old["id" if name == "runs" else "run_id"], value_set=arrow.array(kept, text))
            table = arrow.concat_tables([old.filter(same), table])
        temporary = path.with_name(f".{path.name}")
        parquet.write_table(table, temporary, compression="zstd")
        os.replace(temporary, path)
