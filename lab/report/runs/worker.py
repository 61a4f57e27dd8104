"""A driver in a process of its own: reads one plan from standard input, writes events to standard output as JSON lines."""

from __future__ import annotations

import json
import signal
import sys


def main() -> int:
    """Execute the plan on standard input in the store ``sys.argv[1]``; exit code 0 if the run is ok."""
    from lab.report.events import Control
    from lab.report.runs import run as runs
    from lab.report.store.layout import Store, StoreError

    request = json.load(sys.stdin)
    control = Control()
    signal.signal(signal.SIGTERM, lambda *_: control.stop("cancelled"))

    def emit(event):
        values = event.to_dict()
        del values["fraction"]
        print(json.dumps(values), flush=True)

    try:
        run = runs.execute(
            runs.Plan(**request["plan"]),
            store=Store(sys.argv[1]),
            limits=runs.Limits(**request["limits"]),
            force=request["force"],
            emit=emit,
            control=control,
        )
    except StoreError as error:
        print(json.dumps({"failure": str(error)}), flush=True)
        return 2
    print(
        json.dumps({"kind": "finished", "run_id": run.id, "text": run.status, "seconds": run.info["seconds"]}),
        flush=True,
    )
    return 0 if run.ok else 1


if __name__ == "__main__":
    sys.exit(main())
