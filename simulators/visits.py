"""What happens in a hospital on one day, as the messages that tell of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from simulators.messages import Sender, Visit, adt, oru
from simulators.people import patient

#: The first day, 0; later ones follow it. Far enough back that no rule calls a message one from the future.
FIRST_DAY: Final = datetime.fromisoformat("2026-01-05T07:30:00+08:00")
#: People of the region; those who come twice, or to two hospitals, are the same there.
POPULATION: Final = 400
#: Every so many visits somebody was registered without papers, under a number that is given up later.
_WITHOUT_PAPERS: Final = 12


def visits(seed: int, sender: Sender, code: str, day: int) -> Iterator[list[bytes]]:
    """Yield the messages of one visit after the other, in the order in which they happen; without end.

    Args:
        seed: The region's seed.
        sender: The hospital's system.
        code: What control ids, visit and order numbers begin with; the hospital's own.
        day: Which day, from 0.
    """
    chance = random.Random(f"day {seed} {code} {day}")
    at = FIRST_DAY + timedelta(days=day)
    number = 0
    while True:
        at += timedelta(seconds=chance.randrange(20, 90))
        who = patient(seed, chance.randrange(POPULATION))
        visit = Visit(f"{code}{day:04d}{number:06d}", who, chance.random() < 0.4, seed, at)
        yield list(_visit(visit, sender, number % _WITHOUT_PAPERS == _WITHOUT_PAPERS - 1))
        number += 1


def _visit(visit: Visit, sender: Sender, without_papers: bool) -> Iterator[bytes]:
    """Yield one visit's messages; what happens in it takes minutes, so that a day holds all of it."""
    at, step = visit.begins, timedelta(minutes=10)
    events = ["A01", "R01", "A08", "R01", "A03"] if visit.inpatient else ["A04", "R01", "A08"]
    if without_papers:
        events.insert(1, "A40")
    for number, event in enumerate(events):
        control_id = f"{visit.number}{number}"
        if event == "R01":
            yield oru(visit, sender, control_id, at, control_id)
        else:
            unknown = without_papers and (number == 0 or event == "A40")
            yield adt(event, visit, sender, control_id, at, f"T{visit.number}" if unknown else "")
        at += step
