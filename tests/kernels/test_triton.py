"""Triton forms without a GPU: each operation in the interpreter, and the compile gate with a kernel that is broken."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.triton


def python(*arguments, **variables):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    "operation", ["rowloss", "pairwise", "infonce", "random_hypotheses", "perturb_gram", "cubical"]
)
def test_interpreter_gives_the_float64_reference(operation):
    done = python("tests/kernels/interpret.py", operation, TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.rstrip().endswith("passed")


SOUND = """
import triton, triton.language as tl
@triton.jit
def copy(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.exp(tl.load(x + i, mask=i < n, other=0.0)), mask=i < n)
@triton.jit
def spilling(x, y, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    value = tl.load(x + i[:, None] * n + i[None, :])
    tl.store(y + i[:, None] * n + i[None, :], value / tl.sum(value))
"""
ASK = """
import sys
sys.path.insert(0, {folder!r})
import kernels_under_test as k
from lab.kernels import aot
types = {{"x": "*fp32", "y": "*fp32", "n": "i32"}}
row = aot.check(aot.Configuration("test", k.{kernel}, types, {{"BLOCK": {block}}}, {options}), 90)
print(row.failures or "passes")
"""


@pytest.mark.parametrize(
    ("kernel", "block", "options", "answer"),
    [
        ("copy", 1024, "registers=64, wide=True, special=True", "passes"),
        ("copy", 1024, "registers=8", "registers, ceiling 8"),
        ("copy", 1024, "dot=True", "no tensor-core instruction"),
        ("copy", 32, "wide=True, warps=1", "no 128-bit load"),
        ("spilling", 128, "registers=255, warps=1", "local memory"),
    ],
)
def test_gate_fails_a_kernel_that_breaks_its_promise(tmp_path, kernel, block, options, answer):
    (tmp_path / "kernels_under_test.py").write_text(SOUND)
    script = tmp_path / "ask.py"
    script.write_text(ASK.format(folder=str(tmp_path), kernel=kernel, block=block, options=options))
    done = python(str(script))
    assert done.returncode == 0, done.stderr[-3000:]
    assert answer in done.stdout


def test_gate_ends_with_an_error_when_a_configuration_fails(tmp_path):
    script = tmp_path / "ask.py"
    script.write_text("""
import dataclasses, sys
from lab.kernels import aot
first = aot.configurations()[0]
aot.configurations = lambda: [dataclasses.replace(first, registers=1)]
sys.exit(aot.main(["--fresh"]))
""")
    done = python(str(script), XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "FAIL 0/3" in done.stdout


def test_every_gated_configuration_is_named_once_and_at_most_three_an_operation(tmp_path):
    script = tmp_path / "ask.py"
    script.write_text("""
from collections import Counter
from lab.kernels import aot
found = aot.configurations()
assert len({c.name for c in found}) == len(found)
assert max(Counter(c.name.split(" ")[0].rstrip(",") for c in found).values()) <= 3
print(len(found))
""")
    done = python(str(script))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 12
