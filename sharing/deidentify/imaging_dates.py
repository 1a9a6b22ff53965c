"""Dates and times of an object, moved as all dates of the person, or cut to the year (PS3.15 E.3.6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from pydicom.datadict import keyword_for_tag, tag_for_keyword

from sharing.deidentify.dates import Shift
from sharing.deidentify.profile import Profile
from sharing.deidentify.pseudonyms import Pseudonyms

_DATE: Final = re.compile(r"(\d{4})[.-]?(\d\d)[.-]?(\d\d)", re.ASCII)
_TIME: Final = re.compile(r"(\d\d):?(\d\d)?:?(\d\d)?(?:\.\d{1,6})?", re.ASCII)
_BOTH: Final = re.compile(r"(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:\.\d{1,6})?([+-]\d{4})?", re.ASCII)


class Moved:
    """What becomes of the dates of one person's objects.

    Args:
        profile: Its class ``date`` says ``shift`` with ``days``, ``minutes`` and ``zone``, or ``year``, or ``drop``.
        pseudonyms: Of the dataset.
        person: Whose object it is; the same bytes as for FHIR resources.
    """

    def __init__(self, profile: Profile, pseudonyms: Pseudonyms, person: bytes) -> None:
        self.action = profile.action("date")
        rule: Mapping[str, Any] = profile.classes["date"]
        self._zone = int(rule.get("zone", 8))
        self._shift: Shift | None = None
        if self.action == "shift":
            # As sharing.deidentify.run does, so that an object and its ImagingStudy tell one story.
            days = pseudonyms.shift(b"days" + person, rule["days"])
            self._shift = Shift.of(days, pseudonyms.shift(b"minutes" + person, rule["minutes"]), self._zone)

    def day(self, day: date) -> date:
        """Return a date of a text moved.

        Raises:
            ValueError: Dates do not move in this profile, or not so far.
        """
        moved = self._shift.moved(day.isoformat()) if self._shift else None
        if moved is None:
            raise ValueError("dates do not move")
        return date.fromisoformat(moved)

    def date(self, value: str, time: str) -> str:
        """Return a DA, moved together with its TM where there is one; ``""`` for what is no date."""
        found = _DATE.fullmatch(value)
        if found is None:
            return ""
        if self.action == "year":
            return f"{found[1]}0101"
        clock = _clock(time)
        written = "-".join(found.groups()) + (f"T{clock}{self._offset()}" if clock else "")
        return self._moved(written)[:10].replace("-", "")

    def time(self, value: str, day: str) -> str:
        """Return a TM, moved together with its DA; ``""`` for one without: a clock alone is a habit of somebody."""
        found, clock = _DATE.fullmatch(day), _clock(value)
        if found is None or not clock:
            return ""
        return self._moved(f"{'-'.join(found.groups())}T{clock}{self._offset()}")[11:19].replace(":", "")

    def both(self, value: str) -> str:
        """Return a DT moved, without fractions and offset; ``""`` for what is none."""
        found = _BOTH.fullmatch(value)
        if found is None:
            return ""
        year, month, day, hour, minute, second, offset = found.groups()
        if self.action == "year":
            return year
        if not day:
            return re.sub(r"\D", "", self._moved("-".join(one for one in (year, month) if one)))
        zone = f"{offset[:3]}:{offset[3:]}" if offset else self._offset()
        clock = f"T{hour}:{minute or '00'}:{second or '00'}{zone}" if hour else ""
        return re.sub(r"\D", "", self._moved(f"{year}-{month}-{day}{clock}")[:19])

    def _moved(self, written: str) -> str:
        return (self._shift.moved(written) if self._shift else None) or ""

    def _offset(self) -> str:
        return f"{'-' if self._zone < 0 else '+'}{abs(self._zone):02d}:00"


def partner(tag: int) -> int | None:
    """Return the TM of a DA or the DA of a TM: StudyTime (0008,0030) of StudyDate (0008,0020)."""
    name = keyword_for_tag(tag)
    if name.endswith("Date"):
        return tag_for_keyword(name[:-4] + "Time")
    if name.endswith("Time"):
        return tag_for_keyword(name[:-4] + "Date")
    return None


def _clock(value: str) -> str:
    """``hh:mm:ss`` of a TM; empty where it is none."""
    found = _TIME.fullmatch(value)
    return ":".join(one or "00" for one in found.groups()) if found else ""
