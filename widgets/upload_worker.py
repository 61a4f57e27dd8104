"""The process that reads one file of a visitor: one JSON request on stdin, one JSON answer on stdout, plain arrays as files.

Everything that needs memory for code is imported first; then the limits on further memory, processor time and written
bytes are set, then the file is opened. Whatever goes wrong is an answer ``{"refused": words}`` or the death of this process.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch

import lab.datasets
from lab.datasets import files

AXES = {"image": 2, "volume": 3}
_TENSOR_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "I8": 1, "U8": 1,
    "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
_HEADER_BYTES = 8 * 2**20


def main() -> int:
    """Answer the request on stdin; the exit status."""
    request = json.load(sys.stdin)
    answer = os.fdopen(os.dup(1), "w")
    sys.stdout = sys.stderr
    torch.set_num_threads(1)
    restrict(int(request["memory_bytes"]), float(request["seconds"]), int(request["decoded_bytes"]))
    try:
        outcome = read(Path(request["path"]), request["kinds"], int(request["decoded_bytes"]), Path(request["out"]))
    except MemoryError:
        outcome = {"refused": "reading it takes more memory than allowed"}
    except RecursionError:
        outcome = {"refused": "it is nested too deeply"}
    except Exception as error:  # noqa: BLE001 - a hostile file may raise anything; the process ends either way
        outcome = {"refused": words(error, request["path"])}
    json.dump(outcome, answer)
    answer.close()
    return 0


def restrict(memory_bytes: int, seconds: float, written_bytes: int) -> None:
    """Limit what this process may take from now on."""
    used = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (used + memory_bytes, used + memory_bytes))
    spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    limit = int(spent + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * written_bytes + 2**20, 2 * written_bytes + 2**20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def read(path: Path, kinds: list[str], decoded_bytes: int, out: Path) -> dict:
    """Read ``path`` as the first of ``kinds`` that fits and write plain files into ``out``."""
    name = path.name.lower()
    if name.endswith(".safetensors"):
        return _weights(_safetensors(path, decoded_bytes), out)
    if name.endswith((".pt", ".pth")):
        return _weights(_state_dict(path, decoded_bytes), out)
    if name.endswith(".csv"):
        frame = lab.datasets.load(path, max_bytes=decoded_bytes).frame
        frame.to_parquet(out / "table.parquet")
        return {"kind": "table"}
    found = files.read_array(path, max_bytes=decoded_bytes)
    array, spacing = found.array, found.spacing
    wanted = [kind for kind in kinds if AXES.get(kind) == array.ndim]
    if not wanted:
        allowed = " or ".join(f"{AXES[kind]} axes ({kind})" for kind in kinds if kind in AXES)
        raise ValueError(f"it has {array.ndim} axes {array.shape}; wanted: {allowed}")
    np.save(out / "array.npy", array, allow_pickle=False)
    return {"kind": wanted[0], "spacing": [float(length) for length in spacing]}


def words(error: Exception, path: str) -> str:
    """The reason of a refusal without the server's own paths."""
    text = str(error).strip() or type(error).__name__
    text = text.replace(str(path), "the file").replace(str(Path(path).parent), "").replace(Path(path).name, "the file")
    return text.splitlines()[0][:400]


def _weights(arrays: dict[str, np.ndarray], out: Path) -> dict:
    for i, array in enumerate(arrays.values()):
        np.save(out / f"{i}.npy", array, allow_pickle=False)
    return {"kind": "weights", "names": list(arrays)}


def _safetensors(path: Path, decoded_bytes: int) -> dict[str, np.ndarray]:
    """Tensors of a safetensors file; its header is checked against the file before a tensor is made."""
    from safetensors import safe_open

    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        if len(head) < 8:
            raise ValueError("it is too short for a safetensors file")
        (length,) = struct.unpack("<Q", head)
        if length > min(_HEADER_BYTES, size - 8):
            raise ValueError(f"its header claims {length} bytes, the file has {size}")
        header = json.loads(file.read(length))
    total = 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry.get("dtype") not in _TENSOR_BYTES:
            raise ValueError(f"tensor {name[:60]!r} has the unknown type {entry.get('dtype')!r}")
        count = int(np.prod([int(length) for length in entry["shape"]], dtype=object)) if entry["shape"] else 1
        total += count * max(_TENSOR_BYTES[entry["dtype"]], 4)
    _refuse_large(total, decoded_bytes)
    with safe_open(path, framework="pt") as opened:
        return {name: _array(opened.get_tensor(name)) for name in opened.keys()}  # noqa: SIM118 - not a mapping


def _state_dict(path: Path, decoded_bytes: int) -> dict[str, np.ndarray]:
    """Tensors of a state dict; only tensors and plain containers are unpickled, nothing else is ever built."""
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not a zip-format state dict; save it with torch.save(model.state_dict(), ...)")
    with zipfile.ZipFile(path) as archive:
        _refuse_large(sum(entry.file_size for entry in archive.infolist()), decoded_bytes)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - torch names the offending global in many error types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"it holds more than tensors, and nothing of it was executed ({reason[:160]})") from None
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ValueError("it is not a state dict: a mapping from names to tensors is wanted")
    # a tensor's view may be larger than what is stored
    _refuse_large(sum(value.numel() * max(value.element_size(), 4) for value in content.values()), decoded_bytes)
    return {str(name): _array(value) for name, value in content.items()}


def _array(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach()
    if tensor.dtype in (torch.bfloat16, torch.float16) or tensor.dtype.itemsize == 1 and tensor.is_floating_point():
        tensor = tensor.float()
    return tensor.contiguous().numpy()


def _refuse_large(total: int, limit: int) -> None:
    if total > limit:
        raise ValueError(f"it would take {total / 2**20:,.0f} MB decoded, more than the limit of {limit / 2**20:,.0f} MB")


if __name__ == "__main__":
    _ = pd  # imported before the limits are set
    sys.exit(main())
