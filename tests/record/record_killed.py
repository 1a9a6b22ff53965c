"""Erases a patient in a process that is killed before its n-th write: ``record_killed.py N PATIENT``."""

from __future__ import annotations

import sys
from typing import Final

from killed import KilledBefore
from pymongo import monitoring

from dags.steps.records import desk
from dags.steps.site import Site
from schemas.home import Home
from sharing.record.erasing import erase_patient

READS: Final = frozenset(("hello", "ping", "find", "getMore", "aggregate", "distinct", "count", "createIndexes"))


def main(number: int, patient: str) -> None:
    monitoring.register(KilledBefore(number, READS))
    at = Site(Home.from_environment())
    here, vault = desk("lab-centre", at), at.vault("lab-centre")
    erase_patient(here, vault, patient)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
