"""A process beside a holder's export: cuts its share of the parts, and ends with what started it.

    python -m dags.steps.cut INSTITUTION REQUEST run|again PATIENTS FIRST STEP

Started by `dags.steps.share`; arguments hold no patient. It says nothing: what it leaves undone the export does itself,
and an error shows there, where it is told discreetly.
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
        one = share.export(share.holder(institution, site()), bytes.fromhex(request), again=way == "again",
                           patients=int(patients))  # fmt: skip
        one.help(int(first), int(step))
    except Exception:  # noqa: BLE001  (an error could name what a record holds)
        sys.exit(1)


def _end_with_the_export() -> None:
    while sys.stdin.buffer.read(1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
