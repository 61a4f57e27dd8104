"""One of several server processes: it reads its options, says its port, and ends with the front."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading

from widgets.server.options import Options, free
from widgets.server.serve import run_server


def main() -> int:
    """One server process: options on stdin, its port on stdout; it ends with the front. The exit status."""
    request = json.loads(sys.stdin.readline())
    request["options"]["allow_websocket_origin"] = tuple(request["options"]["allow_websocket_origin"])
    threading.Thread(target=_end_with_front, daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    port = free("127.0.0.1", 0)
    run_server(
        Options(**request["options"]),
        port,
        "127.0.0.1",
        request["allowed"],
        lambda: print(port, file=answers, flush=True),
    )
    return 0


def _end_with_front() -> None:
    while sys.stdin.read(1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
