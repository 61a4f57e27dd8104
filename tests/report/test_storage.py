"""A full disk, a store that is read only, and a driver that ends between two steps: clear words, nothing lost or doubled."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

from lab.report.runs.run import execute, plan
from lab.report.store import database
from lab.report.store import layout as stores
from lab.report.store.layout import StoreError

LIMITED = (
    "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); from lab.cli import main; main()"
)
NOTEBOOK = (
    "said: int = 1\nkept: int = 1",
    "import lab\nlab.report.record('before', 1)\nprint('x' * said)",
    "lab.report.record('long', 'y' * kept)",
)


@pytest.fixture
def limited(tmp_path):
    """Run ``lab`` where no file can grow over 100 kB: ``(exit code, output, messages)``."""

    def run(*arguments):
        environment = {**os.environ, "LAB_DATA": str(tmp_path / "data"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", LIMITED, *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


def test_what_does_not_fit_on_the_disk_is_said_and_leaves_nothing_half_written(notebook, store, limited):
    path = notebook(*NOTEBOOK)
    code, out, _ = limited("run", path, "-p", "kept", "7", "--no-report")
    assert (code, "ok: study-" in out) == (0, True)
    good = store.ids()
    code, _, messages = limited("run", path, "-p", "said", "300000", "--no-report")
    assert code == 3
    assert f"the store {store.runs} cannot be written: File too large; free space" in messages
    assert "Traceback" not in messages
    assert store.ids() == good
    assert not list((store.runs / ".work").iterdir())
    code, _, messages = limited("run", path, "-p", "kept", "200000", "--no-report")
    assert code == 1
    assert "the disk is full: the record was not written" in messages
    failed = next(run for run in store.all() if not run.ok)
    assert failed.metrics == {"before": 1}
    assert (failed.folder / "records.jsonl").read_bytes().endswith(b"\n")


def test_a_read_only_store_is_said_and_still_answers(notebook, store, monkeypatch):
    wanted = plan(notebook(*NOTEBOOK))
    run = execute(wanted, store=store)

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(StoreError, match="cannot be written: Read-only file system; free space or choose another"):
        execute(plan(wanted.path, {"kept": 2}), store=store)
    assert execute(wanted, store=store).folder == run.folder
    # the folder of the index cannot be made either: the answer comes from an index beside it
    (store.data / "cache").write_text("")
    with pytest.raises(StoreError, match="index .* cannot be written"):
        database.update(store)
    assert database.query("select count(*) from runs", store)[1] == [(1,)]


def test_an_index_whose_writer_was_killed_between_two_files_holds_every_run_once(notebook, store):
    path = notebook(*NOTEBOOK)
    execute(plan(path), store=store)
    database.update(store)
    index = store.data / "cache" / "index"
    times, stamp = (index / "times.json").read_text(), (index / "stamp.json").read_text()
    execute(plan(path, {"kept": 2}), store=store)
    database.update(store)
    for name, text in (("times.json", times), ("stamp.json", stamp)):
        (index / name).write_text(text)
    count = "select count(*), count(distinct run_id) from metrics"
    assert database.query(count, store)[1] == [(4, 2)]
    (index / "runs.parquet").unlink()
    assert database.query("select count(*) from runs", store)[1] == [(2,)]
    assert database.query(count, store)[1] == [(4, 2)]


def test_an_error_that_is_not_the_disks_is_not_called_one():
    with pytest.raises(FileNotFoundError), stores.writing("place"):
        raise FileNotFoundError(errno.ENOENT, "no such file")


def test_a_run_survives_a_kill_while_it_is_replaced_in_two_steps(notebook, store, monkeypatch):
    """Where two folders cannot be swapped at once, the old run is put back by the next driver."""
    wanted = plan(notebook(*NOTEBOOK))
    run = execute(wanted, store=store)
    records = (run.folder / "records.jsonl").read_bytes()
    monkeypatch.setattr(stores, "_renameat2_exchange", lambda source, target: False)
    real, moved = os.rename, []

    def killed_after_the_first(source, target):
        if moved:
            raise KeyboardInterrupt
        if str(target).endswith(stores._OLD):
            moved.append(target)
        real(source, target)

    monkeypatch.setattr(os, "rename", killed_after_the_first)
    with pytest.raises(KeyboardInterrupt):
        execute(wanted, store=store, force=True)
    monkeypatch.setattr(os, "rename", real)
    assert store.ids() == []
    store.sweep_leftovers()
    assert (store.get(run.id).folder / "records.jsonl").read_bytes() == records
    assert not list((store.runs / ".work").iterdir())
    monkeypatch.undo()
    assert execute(wanted, store=store, force=True).ok


def test_a_page_that_cannot_be_written_does_not_hide_the_run(notebook, store, limited):
    code, out, messages = limited("run", notebook(*NOTEBOOK))
    assert code == 3
    assert "ok: study-" in out
    assert "assets cannot be written" in messages
    shutil.rmtree(store.data / "reports")
    assert limited("run", notebook(*NOTEBOOK), "--no-report")[0] == 0
