"""The compile gate: every Triton kernel compiled for several GPUs on a machine that needs none, and its code looked at.

    python -m lab.kernels.aot                          # the installed Triton
    python -m lab.kernels.aot --also FOLDER            # and the Triton installed in another folder of packages
    python -m lab.kernels.aot --csv gate.csv           # the table as a file

Each configuration named by the operations is compiled for compute capability 8.0, 9.0 and 10.0 and its machine code is read:
no spilled registers and no local memory, registers under the configuration's ceiling, 128-bit loads and tensor-core
instructions where they are claimed. Anything else ends with exit code 1. Results are kept by the hash of all sources, so
that a second run takes seconds. Counts are static: how often an instruction stands in the code, not how often it runs.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TARGETS = (80, 90, 100)
TENSOR_CORES = {80: ("HMMA",), 90: ("HGMMA", "HMMA"), 100: ("UTCHMMA", "UTCQMMA", "UTCOMMA", "HMMA")}
"""Names of tensor-core instructions: warp-group and tcgen05 forms where blocks are large enough, HMMA otherwise."""


@dataclass(frozen=True)
class Configuration:
    """One kernel with types and block sizes, and what its machine code must show.

    Attributes:
        name: shown in the table.
        kernel: the Triton function.
        signature: types of the run-time arguments by name.
        blocks: values of the compile-time arguments by name.
        warps: warps of a program.
        registers: most registers a thread may use.
        wide: whether 128-bit loads must occur.
        dot: whether tensor-core instructions must occur.
        special: whether special-function instructions must occur.
    """

    name: str
    kernel: Any
    signature: Mapping[str, str]
    blocks: Mapping[str, object]
    warps: int = 4
    registers: int = 128
    wide: bool = False
    dot: bool = False
    special: bool = False


@dataclass(frozen=True)
class Row:
    """What one configuration became on one target; ``failures`` is empty where it passes."""

    configuration: str
    target: str
    triton: str
    registers: int
    local_bytes: int
    shared_bytes: int
    wide_loads: int
    tensor_cores: int
    special: int
    instructions: int
    seconds: float
    failures: str


def configurations() -> list[Configuration]:
    """Every configuration that the operations name."""
    found = []
    for path in sorted(HERE.glob("*/triton.py")):
        gate = getattr(importlib.import_module(f"lab.kernels.{path.parent.name}.triton"), "gate", None)
        found += gate() if gate else []
    return found


def check(configuration: Configuration, target: int) -> Row:
    """Compile one configuration for one compute capability (80, 90, 100) and read its machine code."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    began = time.perf_counter()
    names = configuration.kernel.arg_names
    signature = {name: configuration.signature.get(name, "constexpr") for name in names}
    missing = [name for name in names if signature[name] == "constexpr" and name not in configuration.blocks]
    if missing:
        raise ValueError(f"{configuration.name}: neither a type nor a value for {', '.join(missing)}")
    constants = {(names.index(name),): value for name, value in configuration.blocks.items() if name in names}
    # Launched kernels see pointers and sizes that are multiples of 16; without that hint no load is wide.
    hints = {
        (k,): [["tt.divisibility", 16]]
        for k, name in enumerate(names)
        if signature[name].startswith("*") or signature[name] == "i32"
    }
    source = ASTSource(configuration.kernel, signature, constants, hints)
    compiled = triton.compile(source, target=GPUTarget("cuda", target, 32), options={"num_warps": configuration.warps})
    usage, code = _machine_code(compiled.asm["cubin"])
    counts = {
        "wide_loads": len(re.findall(r"\bLDG\.E[.\w]*\.128\b|\bLDGSTS[.\w]*\.128\b|\bUTMALDG\b", code)),
        "tensor_cores": sum(len(re.findall(rf"\b{name}\b", code)) for name in TENSOR_CORES[target]),
        "special": len(re.findall(r"\bMUFU\b", code)),
        "instructions": len(re.findall(r"^\s+/\*[0-9a-f]{4,}\*/", code, re.M)),
    }
    local = max(usage["STACK"], usage["LOCAL"]) + 4 * len(re.findall(r"\b(?:LDL|STL)\b", code))
    failures = []
    if local:
        failures.append(f"{local} bytes of local memory")
    if usage["REG"] > configuration.registers:
        failures.append(f"{usage['REG']} registers, ceiling {configuration.registers}")
    for wanted, count, what in (
        (configuration.wide, "wide_loads", "no 128-bit load"),
        (configuration.dot, "tensor_cores", "no tensor-core instruction"),
        (configuration.special, "special", "no special-function instruction"),
    ):
        if wanted and not counts[count]:
            failures.append(what)
    return Row(
        configuration.name,
        f"sm_{target}",
        triton.__version__,
        usage["REG"],
        local,
        int(compiled.metadata.shared),
        **counts,
        seconds=time.perf_counter() - began,
        failures="; ".join(failures),
    )


def _machine_code(cubin: bytes) -> tuple[dict[str, int], str]:
    import triton

    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        said = subprocess.run(
            [tools / "cuobjdump", "--dump-resource-usage", file], capture_output=True, text=True, check=True
        ).stdout
        code = subprocess.run([tools / "nvdisasm", file], capture_output=True, text=True, check=True).stdout
    usage = {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL|SHARED):(\d+)", said)}
    return usage, code


def run(
    targets: Sequence[int] = TARGETS, *, chosen: Sequence[Configuration] | None = None, keep: bool = True, progress=None
) -> list[Row]:
    """Check all configurations (or ``chosen``) for all targets; kept results are used where no source has changed."""
    store = _store() if keep and chosen is None else None
    known = json.loads(store.read_text(encoding="utf-8")) if store is not None and store.exists() else {}
    rows = []
    for configuration in configurations() if chosen is None else chosen:
        for target in targets:
            key = f"{configuration.name} sm_{target}"
            row = Row(**known[key]) if key in known else check(configuration, target)
            known[key] = asdict(row)
            rows.append(row)
            if progress is not None:
                progress(row)
    if store is not None:
        store.parent.mkdir(parents=True, exist_ok=True)
        store.write_text(json.dumps(known), encoding="utf-8")
    return rows


def _store() -> Path:
    import triton

    digest = hashlib.sha256(triton.__version__.encode())
    for path in [HERE / "aot.py", *sorted(HERE.glob("*/triton.py"))]:
        digest.update(path.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "objective-lab" / "gate" / f"{digest.hexdigest()[:24]}.json"


def line(row: Row) -> str:
    """One row as text."""
    verdict = row.failures or "passes"
    return (
        f"{row.configuration:40} {row.target:7} triton {row.triton:7} {row.registers:4} registers "
        f"{row.local_bytes:4} B local {row.shared_bytes:7} B shared {row.wide_loads:4} wide {row.tensor_cores:4} "
        f"tensor {row.special:5} special  {row.seconds:5.1f} s  {verdict}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab.kernels.aot", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="FOLDER",
        help="a folder of packages with another Triton version; may be given several times",
    )
    parser.add_argument("--csv", metavar="FILE", help="write the table")
    parser.add_argument("--fresh", action="store_true", help="do not use kept results")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    # A default of the compiler that changes between versions is stated.
    os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
    if importlib.util.find_spec("triton") is None:
        print("the gate needs the package triton: pip install 'objective-lab[kernels]'", file=sys.stderr)
        return 2
    rows = run(keep=not options.fresh, progress=None if options.json else lambda row: print(line(row), flush=True))
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))
        return 0
    for folder in options.also:
        path = os.pathsep.join([folder, str(HERE.parents[1])])
        flags = ["--json", *(["--fresh"] if options.fresh else [])]
        done = subprocess.run(
            [sys.executable, "-m", "lab.kernels.aot", *flags],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return 2
        for row in (Row(**value) for value in json.loads(done.stdout)):
            rows.append(row)
            print(line(row))
    if options.csv:
        write(rows, Path(options.csv))
    failed = [row for row in rows if row.failures]
    versions = sorted({row.triton for row in rows})
    print(
        f"{'FAIL' if failed else 'PASS'} {len(rows) - len(failed)}/{len(rows)} "
        f"(Triton {', '.join(versions)}; {', '.join(sorted({row.target for row in rows}))})"
    )
    return 1 if failed else 0


def write(rows: Sequence[Row], path: Path) -> None:
    """The table as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**asdict(row), "seconds": f"{row.seconds:.2f}"} for row in rows)


if __name__ == "__main__":
    # The module of this name, not a second copy of it: kernels import Configuration from there.
    from lab.kernels import aot

    sys.exit(aot.main())
