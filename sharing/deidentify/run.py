"""What one dataset's de-identification carries from resource to resource: pseudonyms, caches, counts, the person."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final

from sharing.deidentify.dates import Shift, year
from sharing.deidentify.definitions import resource_types
from sharing.deidentify.profile import Profile
from sharing.deidentify.pseudonyms import REMEMBERED, Pseudonyms
from sharing.deidentify.report import Applied
from sharing.deidentify.tables import places, tables

#: What takes an element or leaves it out: its value and the run in, what may leave out; None where nothing may.
Step = Callable[[Any, "Run"], Any]

LOCAL_CODES: Final = "urn:xinglin:pseudonym:code"
_ADDRESS: Final = re.compile(r"(?:.*/)?([A-Z][A-Za-z]+)/([A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]{1,64})?")


class Run:
    """The state of one ``Deidentifier``; the compiled steps read and count here.

    Attributes:
        counts: Applications of rules by place.
        person: Whose resource is being worked on.
        known: Names and numbers of this person, for scrubbing.
        inside: Pseudonyms of the contained resources that may stay, by their ids.
        seen: Contained resources that somebody referred to.
        behind: References to resources of the same Bundle that stay behind.
    """

    def __init__(self, profile: Profile, secret: bytes, today: date, types: frozenset[str]) -> None:
        self.profile = profile
        self.pseudonyms = Pseudonyms(secret)
        self.tables = tables()
        self.places: Mapping[str, frozenset[str]] = places()
        self.counts: Counter[Applied] = Counter()
        self.known: Collection[str] = ()
        self.inside: dict[str, str] = {}
        self.seen: set[str] = set()
        self.behind: frozenset[str] = frozenset()
        self.today = today
        self._types = types
        self._codings: dict[tuple[str, str], tuple[dict[str, str] | None, bool]] = {}
        self._references: dict[str, str | None] = {}
        self._shifts: dict[bytes, Shift] = {}
        self._person: bytes | None = None
        self._shift: Shift | None = None

    def whose(self, person: bytes, known: Collection[str]) -> None:
        """From here on dates move as this person's."""
        self.known = known
        if person == self._person:
            return
        self._person = person
        rule = self.profile.classes["date"]
        if rule["do"] == "shift":
            days = self.pseudonyms.shift(b"days" + person, rule["days"])
            minutes = self.pseudonyms.shift(b"minutes" + person, rule["minutes"])
            self._shift = Shift.of(days, minutes, rule["zone"])

    def moved(self, text: str) -> str | None:
        """Return a date of this person moved; None for what is no date."""
        return None if self._shift is None else self._shift.moved(text)

    def day(self, day: date) -> date:
        """Return a date of this person, from a text, moved.

        Raises:
            ValueError: It cannot move so far.
        """
        moved = self.moved(day.isoformat())
        if moved is None:
            raise ValueError("the date cannot move")
        return date.fromisoformat(moved)

    def capped_year(self, text: str, oldest: int) -> str | None:
        """Return the year of a date; who is ``oldest`` or more today shares the year with all who are older."""
        found = year(text)
        return None if found is None else max(found, f"{self.today.year - oldest:04d}")

    def coding(self, system: str, code: str) -> tuple[dict[str, str] | None, bool]:
        """Return what may leave of a coding, and whether it stands in the lists; do not change it, it is shared."""
        found = self._codings.get((system, code))
        if found is None:
            if len(self._codings) >= REMEMBERED:
                self._codings.clear()
            found = self._codings[system, code] = self._coding(system, code)
        return found

    def _coding(self, system: str, code: str) -> tuple[dict[str, str] | None, bool]:
        display = self.tables.display(system, code)
        if display is not None:
            coding = {"system": system, "code": code}
            return ({**coding, "display": display} if display else coding), True
        if self.profile.action("local-code") != "pseudonym":
            return None, False
        return {"system": LOCAL_CODES, "code": self.pseudonyms.value(system, code)}, False

    def reference(self, text: str) -> str | None:
        """Return what a literal reference becomes, None where it leads to what does not leave."""
        if text.startswith("#"):
            return self._inside(text[1:])
        if text in self.behind:
            return None
        if text not in self._references:
            if len(self._references) >= REMEMBERED:
                self._references.clear()
            self._references[text] = self._reference(text)
        return self._references[text]

    def _reference(self, text: str) -> str | None:
        found = _ADDRESS.fullmatch(text)
        if found is not None and found[1] in resource_types():
            return f"{found[1]}/{self.pseudonyms.id(found[1], found[2])}" if found[1] in self._types else None
        return self.pseudonyms.uuid(text)

    def _inside(self, id_: str) -> str | None:
        if id_ == "":  # the resource that contains this one
            return "#"
        if id_ not in self.inside:
            return None
        self.seen.add(id_)
        return "#" + self.inside[id_]


def now() -> date:
    """Return today's date, UTC."""
    return datetime.now(UTC).date()
