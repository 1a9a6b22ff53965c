"""The elements of an object, each as the rules say: removed, emptied, replaced, moved, scrubbed, or kept."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import UID_dictionary  # type: ignore[attr-defined]  # defined there, not in its list

from sharing.deidentify.imaging_dates import Moved, partner
from sharing.deidentify.imaging_pixels import ALL_PIXELS
from sharing.deidentify.imaging_reading import as_declared, counted, items, little_endian, name_of, raw, text, vr_of
from sharing.deidentify.imaging_rules import Rules, rules
from sharing.deidentify.imaging_text import charsets, decode
from sharing.deidentify.imaging_writing import WIDTHS, element, fits, item, swapped
from sharing.deidentify.profile import Profile
from sharing.deidentify.pseudonyms import Pseudonyms
from sharing.deidentify.report import Report
from sharing.deidentify.scrubbing import Dates, scrub
from sharing.deidentify.scrubbing_checks import resident_id
from sharing.errors import Malformed

CHARSET: Final = 0x00080005
_DEEPEST: Final = 24
#: What stands where the standard wants a value and none may leave.
DUMMY: Final = "REMOVED"
_TEXTS: Final = frozenset(("AE", "LO", "LT", "SH", "ST", "UC", "UR", "UT"))
_TIMES: Final = frozenset(("DA", "TM", "DT"))
_BYTES: Final = frozenset(("OB", "OW", "OF", "OD", "OL", "OV", "UN"))
_FORMS: Final = {
    "CS": re.compile(r"[A-Z0-9 _]{0,16}"),
    "DS": re.compile(r" *[+-]?(?:\d+\.?\d*|\.\d+)(?:[Ee][+-]?\d+)? *|"),
    "IS": re.compile(r" *[+-]?\d{1,10} *|"),
    "AS": re.compile(r"\d{3}[DWMY]|"),
}
_UID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)
_CODE: Final = re.compile(r"[A-Za-z0-9.^_+-]{1,16}", re.ASCII)
_AGE, _CODE_VALUE, _CODE_MEANING, _NAME, _ID = 0x00101010, 0x00080100, 0x00080104, 0x00100010, 0x00100020
_CONCEPT_NAME, _SCHEME = 0x0040A043, 0x00080102


class Cleaner:
    """Cleans the elements of one object of one person.

    Args:
        profile: What may leave, and how.
        pseudonyms: Of the dataset.
        person: Whose object it is.
        report: Counts what was dropped and changed.
    """

    def __init__(self, profile: Profile, pseudonyms: Pseudonyms, person: bytes, report: Report) -> None:
        self._profile = profile
        self._pseudonyms = pseudonyms
        self._report = report
        self._rules: Rules = rules()
        self._moved = Moved(profile, pseudonyms, person)
        self._who = pseudonyms.value("dicom:patient", person.hex())
        self._known: Collection[str] = ()
        action = profile.action("date")
        self._dates: Dates = self._moved.day if action == "shift" else "year" if action == "year" else "hide"

    def look(self, dataset: Dataset, known: Collection[str]) -> None:
        """From here on texts are searched for what the object itself says of the patient, and for what is known."""
        self._known = frozenset((*known, *self._told(dataset, charsets(raw(dataset, CHARSET), ()), 0)))

    def elements(
        self, dataset: Dataset, outer: tuple[str, ...] = (), parent: str = "", depth: int = 0
    ) -> dict[int, bytes]:
        """Return what leaves of the elements of a dataset, encoded, by tag; pixels apart.

        Raises:
            Malformed: Sequences nest deeper than any standard has them, or elements break off.
        """
        if depth > _DEEPEST:
            raise Malformed(f"expected sequences nested at most {_DEEPEST} deep")
        declared = charsets(raw(dataset, CHARSET), outer)
        done = {}
        for tag in sorted(int(one) for one in dataset.keys()):  # noqa: SIM118  pydicom's keys are not its values
            place = f"{parent}.{name_of(tag)}" if parent else name_of(tag)
            encoded = self._element(dataset, tag, declared, place, depth)
            if encoded is not None:
                done[tag] = encoded
        return done

    def uid(self, value: str) -> str:
        """Return the UID that stands for another in this dataset."""
        return self._pseudonyms.uid(value)

    def _element(self, dataset: Dataset, tag: int, declared: tuple[str, ...], place: str, depth: int) -> bytes | None:
        group = tag >> 16
        if tag in (CHARSET, 0x00080000) or group in (0x0002, 0xFFFE, 0xFFFC) or tag & 0xFFFF == 0:
            return None
        if group % 2:
            return self._drop("(private)", "private")
        if tag in ALL_PIXELS:
            return self._drop(place, "nested-pixels") if depth else None  # those of the object itself: imaging_pixels
        if group & 0xFF00 in (0x5000, 0x6000):
            return self._drop("(overlays and curves)", "overlay")
        vr = vr_of(dataset, tag)
        if vr is None:
            return self._drop(place, "unknown")
        if vr == "SQ":
            return self._sequence(dataset, tag, declared, place, depth)
        if tag in (_NAME, _ID):
            self._report.note(place, "id:pseudonym")
            return element(tag, vr, self._who.encode())
        value = raw(dataset, tag)
        if vr in _TIMES:
            return self._time(dataset, tag, vr, place)
        if vr == "UI":
            return self._uids(tag, value, place)
        return self._plain(dataset, tag, vr, value, declared, place)

    def _plain(
        self, dataset: Dataset, tag: int, vr: str, value: bytes, declared: tuple[str, ...], place: str
    ) -> bytes | None:
        action = self._rules.table.get(tag)
        if tag in self._rules.descriptors or tag in self._rules.texts:
            return self._text(tag, vr, value, declared, place, action or "D")
        if action is not None and tag not in self._rules.kept:
            return self._by_table(tag, vr, place, action)
        if vr == "PN":
            self._report.note(place, "name")
            return element(tag, vr, b"")
        if vr in _TEXTS:
            return self._safe_text(tag, vr, value, declared, place)
        if vr in _FORMS:
            return self._form(tag, vr, value, place)
        if vr in _BYTES and tag not in self._rules.safe_bytes:
            return self._drop(place, "unlisted-bytes")
        sized = vr in _BYTES or counted(tag, WIDTHS[vr], len(value))
        if not fits(vr, value) or not sized or not as_declared(dataset, tag, vr):
            return self._drop(place, "shape")
        return element(tag, vr, value if little_endian(dataset, tag) else swapped(vr, value))

    def _by_table(self, tag: int, vr: str, place: str, action: str) -> bytes | None:
        """Z where the table allows it, since a reader wants the element; D where it must have a value; else X."""
        if "Z" in action:
            self._report.note(place, "ps315:emptied")
            return element(tag, vr, b"")
        if "D" in action and (vr in _TEXTS or vr == "PN"):
            self._report.note(place, "ps315:replaced")
            return element(tag, vr, DUMMY.encode())
        return self._drop(place, "ps315:removed")

    def _sequence(self, dataset: Dataset, tag: int, declared: tuple[str, ...], place: str, depth: int) -> bytes | None:
        action = self._rules.table.get(tag, "")
        cleaned = not action or tag in self._rules.structured or "D" in action
        if not cleaned:
            if "Z" not in action:
                return self._drop(place, "ps315:removed")
            self._report.note(place, "ps315:emptied")
            return element(tag, "SQ", b"")
        found = items(dataset, tag)
        if found is None:
            return self._drop(place, "shape")
        inner = (one for one in found if not self._about_somebody(one, place))
        parts = (self.elements(one, declared, name_of(tag), depth + 1) for one in inner)
        return element(tag, "SQ", b"".join(item(b"".join(part[key] for key in sorted(part))) for part in parts))

    def _about_somebody(self, content: Dataset, place: str) -> bool:
        """Whether an item of a report says who the subject or an observer is."""
        for concept in (items(content, _CONCEPT_NAME) or []) if _CONCEPT_NAME in content else []:
            if text(concept, _CODE_VALUE) in self._rules.concepts.get(text(concept, _SCHEME), ()):
                self._report.note(place, "person-observation")
                return True
        return False

    def _time(self, dataset: Dataset, tag: int, vr: str, place: str) -> bytes | None:
        action = self._rules.table.get(tag, "")
        if tag in self._rules.never_dates or self._profile.action("date") == "drop":
            return self._by_table(tag, vr, place, action or "X")
        other = partner(tag)
        beside = text(dataset, other) if other is not None and other in dataset else ""
        moved = [self._one_time(vr, one.strip(), beside) for one in text(dataset, tag).split("\\")]
        self._report.note(place, self._profile.rule("date"))
        if not any(moved) and "Z" not in action and "D" not in action:
            return None
        return element(tag, vr, "\\".join(moved).encode())

    def _one_time(self, vr: str, value: str, beside: str) -> str:
        if vr == "DA":
            return self._moved.date(value, beside)
        return self._moved.time(value, beside) if vr == "TM" else self._moved.both(value)

    def _uids(self, tag: int, value: bytes, place: str) -> bytes | None:
        action = self._rules.table.get(tag, "")
        if action == "X":
            return self._drop(place, "ps315:removed")
        found = [one.strip() for one in value.decode("ascii", "replace").strip("\0 ").split("\\")]
        if not all(_UID.fullmatch(one) or not one for one in found):
            return self._drop(place, "shape")
        new = [one if not one or (not action and one in UID_dictionary) else self.uid(one) for one in found]
        if new != found:
            self._report.note(place, "uid:pseudonym")
        return element(tag, "UI", "\\".join(new).encode())

    def _text(
        self, tag: int, vr: str, value: bytes, declared: tuple[str, ...], place: str, action: str
    ) -> bytes | None:
        """A descriptor, or a text of a report: scrubbed, or gone, as the profile says of free text."""
        found = decode(value, declared)
        if self._profile.action("text") != "scrub" or found is None:
            if "D" in action:
                self._report.note(place, self._profile.rule("text"))
                return element(tag, vr, DUMMY.encode())
            return self._by_table(tag, vr, place, action)
        self._report.note(place, self._profile.rule("text"))
        scrubbed = scrub(found.strip(), self._known, dates=self._dates).text.encode()
        return element(tag, vr, scrubbed) if fits(vr, scrubbed) else self._drop(place, "shape")

    def _safe_text(self, tag: int, vr: str, value: bytes, declared: tuple[str, ...], place: str) -> bytes | None:
        if tag not in self._rules.safe_texts:
            return self._drop(place, "unlisted")
        found = decode(value, declared)
        if found is None:
            return self._drop(place, "undecodable")
        found = found.strip()
        if tag == _CODE_VALUE:
            clean = _CODE.fullmatch(found) is not None and not self._holds(found) and not _is_person(found)
        else:
            clean = not scrub(found, self._known, dates="keep").spans
        if clean:
            return element(tag, vr, found.encode())
        if tag == _CODE_MEANING:
            self._report.note(place, "scrubbed")
            return element(tag, vr, DUMMY.encode())
        return self._drop(place, "scrubbed")

    def _form(self, tag: int, vr: str, value: bytes, place: str) -> bytes | None:
        """A code, a number or an age of the form that its VR has."""
        found = value.decode("ascii", "replace").strip("\0 ")
        if not all(_FORMS[vr].fullmatch(one.strip()) for one in found.split("\\")):
            return self._drop(place, "shape")
        if vr == "CS" and scrub(found, self._known, dates="keep").spans:
            return self._drop(place, "scrubbed")
        if tag == _AGE:
            return self._age(found, place)
        return element(tag, vr, found.encode())

    def _age(self, found: str, place: str) -> bytes | None:
        if self._profile.action("age") != "top":
            return self._drop(place, self._profile.rule("age"))
        oldest: Any = self._profile.classes["age"]["oldest"]
        if found.endswith("Y") and int(found[:3]) > oldest:
            self._report.note(place, self._profile.rule("age"))
            found = f"{oldest:03d}Y"
        return element(_AGE, "AS", found.encode())

    def _holds(self, found: str) -> bool:
        return any(one.kind == "KNOWN" for one in scrub(found, self._known, dates="keep").spans)

    def _told(self, dataset: Dataset, declared: tuple[str, ...], depth: int) -> Iterator[str]:
        """What the object says of people: all names, and the numbers and places that the rules list."""
        if depth > _DEEPEST:
            raise Malformed(f"expected sequences nested at most {_DEEPEST} deep")
        declared = charsets(raw(dataset, CHARSET), declared)
        for tag in map(int, dataset.keys()):
            vr = vr_of(dataset, tag)
            if vr == "SQ" and (tag >> 16) % 2 == 0:
                for one in items(dataset, tag) or ():
                    yield from self._told(one, declared, depth + 1)
            elif vr == "PN" or tag in self._rules.known:
                found = decode(raw(dataset, tag), declared)
                yield from (one.strip() for one in (found or "").split("\\") if one.strip())

    def _drop(self, place: str, rule: str) -> bytes | None:
        """Nothing leaves of this element, and the report says so."""
        self._report.note(place, rule)
        return None


def _is_person(code: str) -> bool:
    return len(code) in (15, 18) and code[:-1].isdigit() and resident_id(code)
