"""The process that reads files of visitors: it imports once, and reads every file in a fork of its own under limits.

One JSON request a line on stdin, one JSON answer a line on stdout; results are plain files in the request's folder. The fork
sets limits on memory, processor time and written bytes and opens the file; whatever goes wrong is a refusal in words or
the death of that fork. Forking is safe here: this process runs one thread and has computed nothing.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import resource
import signal
import struct
import sys
import time
import traceback
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pandas
import PIL.Image
import psutil
import pyarrow.parquet
import safetensors.torch
import tifffile
import torch
from pandas.errors import ParserError

import lab.datasets
from lab.datasets import files

AXES = {"image": 2, "channels": 3, "volume": 3}
_TENSOR_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "I8": 1, "U8": 1,
    "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
_HEADER_BYTES = 8 * 2**20
_COLUMNS, _TENSORS, _ROWS = 10_000, 10_000, 2_000_000
_OWN = (str(Path(lab.__file__).parent), str(Path(__file__).parents[1]))  # whose errors are sentences already
_INTERNAL = re.compile(
    r"malformed node|integer is required|invalid literal|has no attribute|requires a buffer|\b0x[0-9a-f]{6}"
)
_TOO_LONG = "reading it takes longer than allowed"
_IMPORTED = (nibabel, pandas, PIL.Image, pyarrow.parquet, tifffile)  # before the limits, and before a file is open


def main() -> int:
    """Answer requests until stdin ends; the exit status."""
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    answers.write("ready\n")
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(in_a_fork(request)) + "\n")
    return 0


def in_a_fork(request: dict) -> dict:
    """What reading the file gave: ``{"kind": ...}`` or ``{"refused": words}``."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            outcome = answer(request)
            (Path(request["out"]) / "answer.json").write_text(json.dumps(outcome), encoding="utf-8")
            status = 0
        finally:
            os._exit(status)
    deadline = time.monotonic() + float(request["seconds"]) * 2 + 1
    done = status = 0
    while not done:
        done, status = os.waitpid(child, os.WNOHANG)
        if not done and time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return {"refused": _TOO_LONG}
        if not done:
            time.sleep(0.005)
    path = Path(request["out"]) / "answer.json"
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0 and path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
        return {"refused": _TOO_LONG}
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXFSZ:
        return {"refused": "it decodes to more than the limit"}
    return {"refused": "it could not be read: the reading process ended early, the file is damaged or hostile"}


def answer(request: dict) -> dict:
    """Read under the request's limits; every error is a refusal in words."""
    restrict(int(request["memory_bytes"]), float(request["seconds"]), int(request["decoded_bytes"]))
    try:
        return read(request, Path(request["path"]), Path(request["out"]))
    except MemoryError:
        return {"refused": "reading it takes more memory than allowed"}
    except RecursionError:
        return {"refused": "it is nested too deeply"}
    except Exception as error:
        return {"refused": words(error, request["path"])}


def restrict(memory_bytes: int, seconds: float, written_bytes: int) -> None:
    """Limit what this process may take from now on."""
    used = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (used + memory_bytes, used + memory_bytes))
    spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    limit = int(spent + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * written_bytes + 2**20, 2 * written_bytes + 2**20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def read(request: dict, path: Path, out: Path) -> dict:
    """Read ``path`` as the request's kinds and role say, and write plain files into ``out``."""
    name, limit = path.name.lower(), int(request["decoded_bytes"])
    if name.endswith(".safetensors"):
        return _weights(_safetensors(path, limit), out)
    if name.endswith((".pt", ".pth")):
        return _weights(_state_dict(path, limit), out)
    if name.endswith((*files.TEXTS, ".parquet")):
        return _table(path, limit, out)
    if name.endswith(".wav"):
        return _sound(path, limit, out)
    placed = files.read_placed(path, role=request["role"], max_bytes=limit)
    array, spacing, affine = placed.values.numpy(), placed.spacing, placed.affine
    wanted = [kind for kind in request["kinds"] if AXES.get(kind) == array.ndim]
    if not wanted:
        allowed = " or ".join(f"{AXES[kind]} ({kind})" for kind in request["kinds"] if kind in AXES)
        raise ValueError(
            f"it has {array.ndim} axes, size {' x '.join(map(str, array.shape))}; wanted are {allowed} axes"
        )
    np.save(out / "array.npy", array, allow_pickle=False)
    lengths = [float(length) for length in spacing] if len(spacing) == array.ndim else [1.0] * array.ndim
    affine = None if affine is None else np.asarray(affine).tolist()
    return {"kind": wanted[0], "spacing": lengths, "affine": affine, "notes": placed.notes}


def _sound(path: Path, limit: int, out: Path) -> dict:
    """Samples of a WAV file and the time between them."""
    sound = lab.datasets.load(path, max_bytes=limit)
    np.save(out / "array.npy", sound.x.numpy(), allow_pickle=False)
    return {"kind": "sound", "spacing": [1 / sound.rate], "affine": None, "notes": sound.notes}


def _table(path: Path, limit: int, out: Path) -> dict:
    """A table whose columns are counted before it is parsed, and whose texts are counted before they leave this process."""
    if not path.name.lower().endswith(".parquet"):
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            head = file.readline(_HEADER_BYTES)
            rows = sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))
        columns = max(head.count(separator) for separator in (b",", b";", b"\t")) + 1
    else:
        metadata = pyarrow.parquet.ParquetFile(path).metadata
        columns, rows = metadata.num_columns, metadata.num_rows
    if columns > _COLUMNS:
        raise ValueError(f"it has {columns:,} columns or more; at most {_COLUMNS:,} are read")
    if rows > _ROWS:
        raise ValueError(f"it has {rows:,} rows; at most {_ROWS:,} are read, so choose or draw some of them first")
    table = lab.datasets.load(path, max_bytes=limit)
    frame = table.frame
    _refuse_large(int(frame.memory_usage(deep=True).sum()) + sum(map(_repeated, frame.items())), limit)
    frame.to_parquet(out / "table.parquet")
    return {"kind": "table", "notes": table.notes}


def _repeated(item) -> int:
    """The bytes that a column of few distinct texts would take if every row held its own."""
    _, column = item
    if not hasattr(column, "cat"):
        return 0
    lengths = np.array([len(str(category)) for category in column.cat.categories], dtype=np.int64)
    codes = column.cat.codes.to_numpy()
    return int(lengths[codes[codes >= 0]].sum())


def words(error: Exception, path: str) -> str:
    """The reason of a refusal without the server's own paths; what only a library's maker understands becomes a plain sentence."""
    frames = traceback.extract_tb(error.__traceback__)
    text = str(error).strip() or type(error).__name__
    if "codec can't" in text:
        return "it is not text in UTF-8"
    foreign = not isinstance(error, ParserError) and not (frames and frames[-1].filename.startswith(_OWN))
    if foreign or _INTERNAL.search(text):
        return f"it is damaged, or it is not what its ending ({Path(path).suffix}) says it is"
    text = text.replace(str(path), "the file").replace(str(Path(path).parent), "").replace(Path(path).name, "the file")
    return text.splitlines()[0][:400]


def _weights(arrays: dict[str, np.ndarray], out: Path) -> dict:
    for i, array in enumerate(arrays.values()):
        np.save(out / f"{i}.npy", array, allow_pickle=False)
    return {"kind": "weights", "names": list(arrays)}


def _safetensors(path: Path, decoded_bytes: int) -> dict[str, np.ndarray]:
    """Tensors of a safetensors file; its header is checked against the file before a tensor is made."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        if len(head) < 8:
            raise ValueError("it is too short for a safetensors file")
        (length,) = struct.unpack("<Q", head)
        if length > min(_HEADER_BYTES, size - 8):
            raise ValueError(f"its header claims {length} bytes, the file has {size}")
        try:
            header = json.loads(file.read(length))
        except ValueError:
            raise ValueError("its header is no JSON text") from None
    if not isinstance(header, dict):
        raise ValueError("its header is no mapping from names to tensors")
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    _refuse_many(len(entries))
    _refuse_large(sum(_claimed(name, entry) for name, entry in entries.items()), decoded_bytes)
    with safetensors.safe_open(path, framework="pt") as opened:
        return {name: _array(opened.get_tensor(name)) for name in opened.keys()}


def _claimed(name: str, entry) -> int:
    """The bytes that a tensor of a safetensors header would take, at least four a value."""
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"tensor {name[:60]!r} has no shape of whole numbers")
    kind = entry.get("dtype")
    if not isinstance(kind, str) or kind not in _TENSOR_BYTES:
        raise ValueError(f"tensor {name[:60]!r} has the unknown type {str(kind)[:20]!r}")
    return math.prod(shape) * max(_TENSOR_BYTES[kind], 4)


def _state_dict(path: Path, decoded_bytes: int) -> dict[str, np.ndarray]:
    """Tensors of a state dict; only tensors and plain containers are unpickled, nothing else is ever built."""
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not a zip-format state dict; save it with torch.save(model.state_dict(), ...)")
    with zipfile.ZipFile(path) as archive:
        _refuse_large(sum(entry.file_size for entry in archive.infolist()), decoded_bytes)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        found = re.search(
            r"(?:GLOBAL|Unsupported global|Unsupported operand|Unsupported class)[: ]+([\w.]{1,80})", str(error)
        )
        named = f" ({found[1]})" if found and not found[1].isdigit() else ""
        raise ValueError(f"it is damaged or holds more than tensors{named}; nothing of it was executed") from None
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ValueError("it is not a state dict: a mapping from names to tensors is wanted")
    _refuse_many(len(content))
    # a tensor's view may be larger than what is stored
    _refuse_large(sum(value.numel() * max(value.element_size(), 4) for value in content.values()), decoded_bytes)
    return {str(name): _array(value) for name, value in content.items()}


def _array(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach()
    if tensor.dtype in (torch.bfloat16, torch.float16) or tensor.dtype.itemsize == 1 and tensor.is_floating_point():
        tensor = tensor.float()
    return tensor.contiguous().numpy()


def _refuse_many(count: int) -> None:
    if count > _TENSORS:
        raise ValueError(f"it holds {count:,} tensors; at most {_TENSORS:,} are read")


def _refuse_large(total: int, limit: int) -> None:
    if total > limit:
        raise ValueError(
            f"it would take {total / 2**20:,.0f} MB decoded, more than the limit of {limit / 2**20:,.0f} MB"
        )


if __name__ == "__main__":
    sys.exit(main())
