"""How far an archive was read: a day, and what is known of the studies of the last days before it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

from connectors.contract import Mark

#: Objects remembered at most; of older studies all are asked for again then, and land once.
REMEMBERED: Final = 200_000
_BYTES: Final = 8
#: The archive's own count of a study of which not everything has come yet.
_OPEN: Final = -1


def short(uid: str) -> bytes:
    """Return 64 bits by which a UID is remembered."""
    return hashlib.sha256(uid.encode()).digest()[:_BYTES]


@dataclass(slots=True)
class Known:
    """What is known of one study.

    Attributes:
        count: How many objects the archive counted in it when all had come, else -1.
        objects: What has come of it, manifests too, by 64 bits of the UID.
        written: It as it stands in a cursor, until it changes.
    """

    count: int = _OPEN
    objects: set[bytes] = field(default_factory=set)
    written: list[Any] | None = None

    def add(self, uid: str) -> None:
        """The object has come."""
        self.objects.add(short(uid))
        self.written = None


@dataclass(slots=True)
class Progress:
    """The cursor while it is used: ``{"day": ISO date, "studies": {day: {study: [count, objects]}}}``.

    Attributes:
        day: The newest day read, or None at the beginning.
        studies: By day and 64 bits of the UID.
        expected: Records that the archive listed since this reading began.
        waiting: Objects that it lists and that did not come in this run.
    """

    day: date | None
    studies: dict[str, dict[bytes, Known]]
    expected: int = 0
    waiting: int = 0

    @classmethod
    def of(cls, cursor: Mapping[str, Any]) -> Progress:
        """Return the progress that a cursor stands for."""
        day = cursor.get("day")
        studies = {
            one: {base64.b64decode(uid): _known(*value) for uid, value in known.items()}
            for one, known in cursor.get("studies", {}).items()
        }
        return cls(None if day is None else datetime.fromisoformat(day).date(), studies)

    def known(self, day: date, uid: str) -> Known:
        """Return what is known of a study, which is remembered from now on."""
        return self.studies.setdefault(day.isoformat(), {}).setdefault(short(uid), Known())

    def reached(self, day: date, overlap: int) -> None:
        """This day has been begun; what lies before its overlap window is forgotten."""
        self.day = day if self.day is None else max(self.day, day)
        first = (self.day - timedelta(overlap)).isoformat()
        for one in [one for one in self.studies if one < first]:
            del self.studies[one]

    def mark(self) -> Mark:
        """Return the mark of it."""
        self._forget()
        studies = {
            day: {base64.b64encode(uid).decode(): _written(one) for uid, one in sorted(known.items())}
            for day, known in sorted(self.studies.items())
        }
        cursor = {} if self.day is None else {"day": self.day.isoformat(), "studies": studies}
        return Mark(cursor, self.waiting, self.expected)

    def _forget(self) -> None:
        held = {day: sum(len(one.objects) for one in known.values()) for day, known in self.studies.items()}
        total = sum(held.values())
        for day in sorted(held)[:-1]:
            if total <= REMEMBERED:
                return
            total -= held[day]
            del self.studies[day]


def _known(count: int, objects: str) -> Known:
    packed = base64.b64decode(objects)
    return Known(count, {packed[at : at + _BYTES] for at in range(0, len(packed), _BYTES)})


def _written(known: Known) -> list[Any]:
    if known.written is None:
        known.written = [known.count, base64.b64encode(b"".join(sorted(known.objects))).decode()]
    return known.written
