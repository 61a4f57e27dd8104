"""Dispatch, explanation, cache and pieces."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import lab.kernels as kernels
from lab.kernels import cache, chunks, dispatch

ROOT = Path(__file__).parents[2]
LARGE = torch.zeros(400, 400)


def test_words_choose_the_form_and_explain_says_why():
    assert kernels.explain("rowloss", LARGE).path == "cpu"
    small = kernels.explain("rowloss", torch.zeros(3, 3))
    assert small.path == "reference"
    assert "small input" in small.reason
    assert "float64" in kernels.explain("rowloss", LARGE.double()).reason
    with kernels.backend("reference"):
        assert kernels.explain("rowloss", LARGE).reason == "asked for"
        with kernels.backend("cpu"):
            assert kernels.explain("rowloss", torch.zeros(3, 3)).path == "cpu"
        assert kernels.explain("rowloss", LARGE).path == "reference"
    with kernels.backend("triton"), pytest.raises(ValueError, match="CUDA"):
        kernels.explain("rowloss", LARGE)


def test_environment_sets_the_word_and_refuses_others(monkeypatch):
    monkeypatch.setenv("LAB_KERNELS", "reference")
    assert kernels.explain("pairwise", LARGE, LARGE).reason == "asked for"
    with kernels.backend("auto"):
        assert kernels.explain("pairwise", LARGE, LARGE).path == "cpu"
    monkeypatch.setenv("LAB_KERNELS", "fast")
    with pytest.raises(ValueError, match="LAB_KERNELS"):
        kernels.rowloss(LARGE, torch.zeros(400, dtype=torch.long))


def test_the_word_of_a_block_stays_in_its_thread():
    seen = []
    with kernels.backend("reference"):
        thread = threading.Thread(target=lambda: seen.append(dispatch.current()))
        thread.start()
        thread.join()
    assert seen == ["auto"]


def test_table_has_a_row_for_every_operation():
    rows = {row["op"]: row for row in kernels.table()}
    assert {"rowloss", "pairwise", "infonce", "random_hypotheses", "perturb_gram"} <= set(rows)
    text = str(kernels.table())
    assert all(f"{op} " in text and row["reason"] in text for op, row in rows.items())
    assert all(row["path"] in dispatch.WORDS and row["reason"] and row["sentence"] for row in rows.values())


def test_import_loads_neither_numba_nor_triton_nor_scipy():
    code = "import lab.kernels, sys; print([m for m in ('numba', 'triton', 'scipy', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout.strip() == "[]"


def test_operations_run_with_triton_and_scipy_blocked():
    code = """
import sys
class Without:
    # A finder of modules that finds none of these packages: as if they were not installed.
    def __init__(self, inner):
        self.inner = inner
    def __getattr__(self, name):
        return getattr(self.inner, name)
    def find_spec(self, name, path=None, target=None):
        blocked = name.split('.')[0] in ('triton', 'scipy', 'sklearn', 'pandas')
        return None if blocked else self.inner.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import torch, lab.kernels as k
x = torch.randn(300, 300, generator=torch.Generator().manual_seed(0)).requires_grad_()
k.rowloss(x, torch.arange(300)).sum().backward(); k.pairwise(x, x).sum().backward(); k.infonce(x, x).sum().backward()
k.random_hypotheses(k.RandomNetwork(300), x.detach(), x[:, 0].detach(), count=2)
k.perturb_gram(k.Perturbations("gaussian", 4), x.detach())
print(k.explain("rowloss", x).path)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "cpu", done.stderr


def test_cache_moves_where_the_install_is_read_only(monkeypatch, tmp_path):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert cache.prepare() == str(cache.HERE)
    monkeypatch.setattr(cache.os, "access", lambda path, mode: Path(path) != cache.HERE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.prepare() == str(tmp_path / "objective-lab" / "numba")
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / "objective-lab" / "numba")
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    closed = tmp_path / "file"
    closed.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(closed))
    assert "objective-lab-numba" in cache.prepare()
    monkeypatch.delenv("NUMBA_CACHE_DIR")


def test_warm_compiles_every_folder_that_offers_it(monkeypatch):
    own = ["infonce", "pairwise", "perturb_gram", "philox", "random_hypotheses", "rowloss"]
    found = cache.folders()
    assert set(own) - {"infonce"} <= set(found)
    monkeypatch.setattr(cache, "folders", lambda: [name for name in found if name in own])
    lines = []
    seconds = kernels.warm(lines.append)
    assert {"philox", "rowloss", "pairwise", "random_hypotheses", "perturb_gram"} <= set(seconds)
    assert len(lines) == len(seconds)


@pytest.mark.parametrize("threads", [1, 2])
def test_pieces_cover_the_range_once_and_report_progress(threads):
    before, seen, fractions = torch.get_num_threads(), [], []
    try:
        torch.set_num_threads(threads)
        chunks.run(lambda start, stop: seen.extend(range(start, stop)), 1000, cost=1e6, progress=fractions.append)
    finally:
        torch.set_num_threads(before)
    assert sorted(seen) == list(range(1000))
    assert fractions[-1] == 1.0


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_ends_the_work_between_pieces(threads):
    before, done = torch.get_num_threads(), []

    def piece(start, stop):
        time.sleep(0.002)
        done.append(stop - start)

    def stop_soon(fraction):
        if fraction > 0.2:
            raise KeyboardInterrupt

    try:
        torch.set_num_threads(threads)
        with pytest.raises(KeyboardInterrupt):
            chunks.run(piece, 10_000, cost=1e6, progress=stop_soon)
    finally:
        torch.set_num_threads(before)
    assert sum(done) < 8000
