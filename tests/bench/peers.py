"""The one door to the peers: libraries that the lab is compared with, in an environment of their own (.venv-peers).

A comparison is a function in a module ``tests.bench.<name>`` (or any importable module) that imports the peer inside
its body. :func:`call` runs it in the peers' Python, where ``lab`` is importable too, and returns what it returns::

    # tests/bench/topology_cases.py
    def gudhi_ratio(size, seed):
        import gudhi
        from tests.bench import frame
        ...
        return frame.ratio("H0 of an image", ours, theirs, compare=..., tolerance=0.0, peer="gudhi")

    # tests/bench/test_topology.py
    @pytest.mark.peers
    def test_h0_is_faster_than_gudhi():
        row = peers.call("tests.bench.topology_cases:gudhi_ratio", size=256, seed=0)

Arguments and results travel by pickle: plain values, numpy arrays, dataclasses of the lab.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-peers" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


class PeerError(RuntimeError):
    """A function behind the door failed; the message holds its traceback."""


def call(function: str, *arguments, timeout: float = 600.0, threads: int = 1, **keywords):
    """Run ``"module:function"`` in the peers' environment and return its result.

    Raises:
        FileNotFoundError: there is no peers' environment (``make peers`` creates it).
        PeerError: the function raised; the message holds its traceback.
    """
    if not PYTHON.exists():
        raise FileNotFoundError(f"no peers' environment at {PYTHON.relative_to(ROOT)}; `make peers` creates it")
    variables = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        variables[name] = str(threads)
    variables |= {"PYTHONPATH": str(ROOT), "PYTHONNOUSERSITE": "1", "TOKENIZERS_PARALLELISM": "false"}
    variables.pop("VIRTUAL_ENV", None)
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder) / "question", Path(folder) / "answer"
        question.write_bytes(pickle.dumps((function, arguments, keywords)))
        done = subprocess.run(
            [str(PYTHON), "-m", "tests.bench.peers", str(question), str(answer)],
            cwd=ROOT,
            env=variables,
            timeout=timeout,
            capture_output=True,
            text=True,
        )
        if not answer.exists():
            said = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
            raise PeerError(f"{function} ended with code {done.returncode}\n{said}")
        good, value = pickle.loads(answer.read_bytes())
    if not good:
        raise PeerError(f"{function} raised\n{value}")
    return value


def topolosses():
    """The compiled ``betti_matching`` module of topolosses; call it behind the door.

    ``import topolosses`` wants torchvision; its compiled part stands alone and is loaded by its file's path.
    """
    found = importlib.util.find_spec("topolosses")
    if found is None:
        raise ModuleNotFoundError("topolosses is not installed here; `make peers` creates the peers' environment")
    files = sorted(Path(found.submodule_search_locations[0]).rglob("betti_matching*.so"))
    if not files:
        raise FileNotFoundError("topolosses holds no compiled module betti_matching")
    spec = importlib.util.spec_from_file_location("betti_matching", files[0])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of the packages in this environment; ``not installed`` where there is none."""
    from importlib import metadata

    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _serve(question: str, answer: str) -> None:
    function, arguments, keywords = pickle.loads(Path(question).read_bytes())
    module, name = function.split(":")
    try:
        result = (True, getattr(importlib.import_module(module), name)(*arguments, **keywords))
        data = pickle.dumps(result)
    except Exception:
        data = pickle.dumps((False, traceback.format_exc()))
    Path(answer).write_bytes(data)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
