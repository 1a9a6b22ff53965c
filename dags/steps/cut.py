"""A process beside a holder's export: cuts its share of the parts, and ends with what started it.

    python -m dags.steps.cut INSTITUTION REQUEST run|again PATIENTS FIRST STEP

Started by `dags.steps.share`; arguments hold no patient. What it leaves undone the export does itself, and an error
shows there, told discreetly; here it has a name only.
"""

from __future__ import annotations

import os
import sys
import threading

from dags.steps import share
from dags.steps.site import site


def main() -> None:
    """Cut, for as long as standard input is open."""
    threading.Thread(target=_end_with_the_export, daemon=True).start()
    institution, request, way, patients, first, step = sys.argv[1:]
    try:
        holder = share.holder(institution, site())
        export = share.export(holder, bytes.fromhex(request), again=way == "again", patients=int(patients))
        export.help(int(first), int(step))
    except Exception as error:  # noqa: BLE001  (its words could hold what a record does)
        sys.exit(f"export, part {first} of {step}: {type(error).__name__}")


def _end_with_the_export() -> None:
    while os.read(0, 1):  # not sys.stdin: a thread that waits in it holds a lock that the interpreter's end wants
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
