"""Warm kernels: forked from a zygote, isolated, the same outputs as plain papermill; cold on any doubt."""

import asyncio
import json
import os
import subprocess
import sys

import pytest

from lab.report.notebook.forkserver import SOCKET, Zygote, kernel_environment, obstacle
from lab.report.runs.batch import Batch
from lab.report.runs.run import execute, plan

pytestmark = pytest.mark.filterwarnings("ignore")

SOURCES = (
    "import random, numpy as np, torch\nfirst = (random.random(), np.random.rand(), os.getpid() if 'os' in globals() else "
    "0)\nassert 'leak' not in globals()",
    """
    import builtins, os, json, lab
    assert not hasattr(builtins, 'leaked')
    builtins.leaked = leak = True
    os.environ['LEAK'] = '1'
    lab.report.record('random', first[0])
    lab.report.record('numpy', float(first[1]))
    lab.report.record('torch', float(torch.rand(())))
    lab.report.record('pid', os.getpid())
    lab.report.record('threads', torch.get_num_threads())
    """,
    "import plotly.graph_objects as go, pandas as pd\ngo.Figure(go.Scatter(y=[n, 2 * n]))",
    "pd.DataFrame({'n': [n]})",
)


@pytest.fixture(scope="module")
def zygote():
    with Zygote(kernel_environment({**os.environ, "OMP_NUM_THREADS": "1"}, 1)) as found:
        assert found.available, found.reason
        os.environ[SOCKET] = found.path
        yield found
        del os.environ[SOCKET]


def test_warm_runs_are_isolated_reseeded_and_equal_to_plain_papermill(notebook, store, tmp_path, zygote, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = notebook("n: int = 0", *SOURCES)
    runs = [execute(plan(path, {"n": n}, warm=True), store=store) for n in (1, 2)]
    assert [run.info["kernel"] for run in runs] == ["warm", "warm"]
    first, second = (run.metrics for run in runs)
    assert first["pid"] != second["pid"]
    assert first["random"] != second["random"]
    assert first["numpy"] != second["numpy"]
    # torch's default generator is as fresh as in a new process, where it has a fixed seed
    assert first["torch"] == second["torch"]

    import papermill

    out = tmp_path / "out.ipynb"
    monkeypatch.setenv("PLOTLY_RENDERER", "plotly_mimetype")
    papermill.execute_notebook(path, out, {"n": 1}, progress_bar=False)
    plain = json.loads(out.read_text())["cells"]
    ours = runs[0].content()["cells"]
    assert [cell["source"] for cell in ours] == ["".join(cell["source"]) for cell in plain]
    for mine, theirs in zip(ours[-2:], plain[-2:]):
        assert joined(mine["outputs"]) == joined(theirs["outputs"])


def joined(outputs):
    """Outputs with texts in one piece, so that both ways of writing them compare."""
    data = [
        {kind: "".join(value) if isinstance(value, list) else value for kind, value in output["data"].items()}
        for output in outputs
    ]
    return json.dumps(data, sort_keys=True)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"OMP_NUM_THREADS": "2"}, "OMP_NUM_THREADS"),
        ({"PYTHONPATH": "/elsewhere"}, "PYTHONPATH"),
        ({"NUMBA_DISABLE_JIT": "1"}, "NUMBA_DISABLE_JIT"),
    ],
)
def test_another_environment_gets_a_cold_kernel(zygote, change, words):
    from lab.report.provisioner import _ask

    environment = {**kernel_environment(dict(os.environ), 1), **change}
    process, doubt = _ask(zygote.path, ["python", "-m", "ipykernel_launcher", "-f", "nowhere"], {"env": environment})
    assert process is None
    assert words in doubt


def test_without_a_zygote_the_kernel_is_cold_and_the_run_the_same(notebook, store, monkeypatch):
    monkeypatch.setenv(SOCKET, "/nowhere/socket")
    run = execute(plan(notebook("n: int = 3", "import lab\nlab.report.record('n', n)"), warm=True), store=store)
    assert (run.ok, run.info["kernel"], run.metrics) == (True, "cold", {"n": 3})


def test_kernels_start_cold_where_forking_is_not_safe(monkeypatch):
    assert "several threads" in Zygote({"OMP_NUM_THREADS": "2"}).start().reason
    monkeypatch.setattr("lab.report.store.provenance.device", lambda: "cuda X")
    assert "CUDA" in Zygote({"OMP_NUM_THREADS": "1"}).start().reason
    for system in ("darwin", "win32"):
        monkeypatch.setattr(sys, "platform", system)
        assert obstacle({}) == f"warm kernels need Linux, this is {system}"


def test_a_batch_on_another_system_runs_cold_and_says_why(notebook, store, monkeypatch, capsys):
    from lab.cli.progress import Progress

    monkeypatch.delenv(SOCKET, raising=False)
    monkeypatch.setattr(
        "lab.report.notebook.forkserver.obstacle", lambda environment: "warm kernels need Linux, this is darwin"
    )
    path = notebook("n: int = 0", "import lab\nlab.report.record('square', n * n)")
    batch = Batch([plan(path, {"n": n}, warm=True) for n in range(3)], store=store)
    with Progress(batch) as progress:
        runs = batch.run(jobs=2, emit=progress.event)
    progress.summary(runs)
    assert [(run.status, run.info["kernel"], run.metrics) for run in runs] == [
        ("ok", "cold", {"square": n * n}) for n in range(3)
    ]
    assert "every run had a fresh kernel: warm kernels need Linux, this is darwin" in capsys.readouterr().err
    from lab.cli import doctor

    monkeypatch.setattr(doctor, "obstacle", lambda environment: "warm kernels need Linux, this is darwin")
    (line,) = [check.text for check in doctor.checks() if check.name == "kernels"]
    assert line == "every run starts a fresh one: warm kernels need Linux, this is darwin"


def test_plain_papermill_gets_warm_kernels_from_the_command(notebook, tmp_path):
    path = notebook("n = 0", "import sys\nprint('pandas' in sys.modules, n)")
    command = [
        sys.executable,
        "-m",
        "lab",
        "warm",
        sys.executable,
        "-m",
        "papermill",
        str(path),
        str(tmp_path / "out.ipynb"),
    ]
    command += ["-p", "n", "3", "--no-progress-bar"]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "".join(json.loads((tmp_path / "out.ipynb").read_text())["cells"][-1]["outputs"][0]["text"]) == "True 3\n"


def test_a_batch_ends_its_zygote(notebook, store, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = notebook("n: int = 0", "import os, lab\nlab.report.record('parent', os.getppid())")
    runs = Batch([plan(path, {"n": n}, warm=True) for n in range(3)], store=store).run(jobs=2)
    assert {run.info["kernel"] for run in runs} == {"warm"}
    assert {(run.folder / "log.txt").read_text() for run in runs} == {""}
    (parent,) = {run.metrics["parent"] for run in runs}
    assert not os.path.exists(f"/proc/{parent}")


def test_jupyter_starts_a_warm_kernel_through_the_provisioner(zygote, monkeypatch):
    from jupyter_client.manager import start_new_async_kernel

    from lab.report.provisioner import WarmProvisioner, register

    register()
    for name, value in kernel_environment(dict(os.environ), 1).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JUPYTER_DEFAULT_PROVISIONER_NAME", "lab-warm")
    from jupyter_client.provisioning.factory import KernelProvisionerFactory

    monkeypatch.setattr(KernelProvisionerFactory.instance(), "default_provisioner_name", "lab-warm")

    async def main():
        manager, client = await start_new_async_kernel(kernel_name="python3")
        try:
            assert isinstance(manager.provisioner, WarmProvisioner)
            assert manager.provisioner.kind == "warm", manager.provisioner.doubt
            reply = await client.execute_interactive("1 / 0", timeout=150, output_hook=lambda message: None)
            assert reply["content"]["ename"] == "ZeroDivisionError"
        finally:
            client.stop_channels()
            await manager.shutdown_kernel(now=True)

    asyncio.run(main())
