"""Runs a holder's export in a process that gets SIGKILL right before its n-th command to MongoDB, or after seconds.

Arguments: holder, id of the request, n (0 for never), seconds (0 for never). Run by test_export_killed.py, with the
home in the environment.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from killed import KilledBefore
from pymongo import monitoring

from dags.steps import share
from dags.steps.site import Site
from schemas.home import Home


def main() -> None:
    """Export."""
    holder, request, number, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    monitoring.register(KilledBefore(number))
    if seconds:
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
    sys.stdout.write(share.share(holder, request, Site(Home.from_environment())))


if __name__ == "__main__":
    main()
