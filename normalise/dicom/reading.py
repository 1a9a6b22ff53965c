"""What every part of the mapping of one object shares: who and what it is of, and the resources so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from normalise.collecting import Collector
from normalise.dicom.dataset import Item
from normalise.dicom.tables import kind_of
from normalise.dicom.values import Body, concept, day, instant, moment, one_line
from normalise.errors import set_aside
from normalise.ids import id_within

CLASS: Final = 0x00080016
INSTANCE: Final = 0x00080018
STUDY: Final = 0x0020000D
SERIES: Final = 0x0020000E
PATIENT: Final = 0x00100020
_OFFSET: Final = 0x00080201
_UID_CHARACTERS: Final = frozenset("0123456789.")


@dataclass(frozen=True, slots=True)
class Large:
    """A value that the connector took out of the object and put into the bulk store.

    Attributes:
        tag: The element.
        size: Bytes.
        digest: SM3, hex.
        name: Its name in the bulk store, as URN.
        syntax: Transfer syntax it is in.
    """

    tag: int
    size: int
    digest: str
    name: str
    syntax: str


@dataclass(slots=True)
class Reading:
    """One object on its way to FHIR.

    Attributes:
        item: The object.
        collector: Its resources and notes.
        institution: Who owns the source.
        source: Id of the source.
        zone: Zone of times without an offset.
        sop_class: Its class.
        uid: Its own UID.
        study: Its study's.
        series: Its series'.
        patient: Id of the Patient, set first of all.
        large: What lies in the bulk store.
    """

    item: Item
    collector: Collector
    institution: str
    source: str
    zone: ZoneInfo
    sop_class: str
    uid: str
    study: str
    series: str
    patient: str
    large: dict[int, Large]

    @property
    def kind(self) -> str:
        """``image``, ``report``, ``document``, ``waveform``, ``key_objects``."""
        return kind_of(self.sop_class)

    def id_within(self, type_: str, *parts: str) -> str:
        """Return the id of a thing of this institution."""
        return id_within(type_, self.institution, *parts)

    def add(self, body: Body, tag: int | str, mode: Any = "update", own: bool = True) -> str:
        """The resource belongs to the object; returns the reference to it.

        Args:
            body: The resource.
            tag: Where it comes from.
            mode: ``ensure`` for what the object only mentions.
            own: Whether it is the patient's; else it is the institution's.
        """
        place = tag if isinstance(tag, str) else self.item.at(tag)
        self.collector.add(body, place, self.patient if own else None, mode)
        return f"{body['resourceType']}/{body['id']}"

    def note(self, code: str, tag: int | str, message: str) -> None:
        """What could not be read fully is told."""
        self.collector.note(code, tag if isinstance(tag, str) else self.item.at(tag), message)

    def day(self, tag: int, item: Item | None = None) -> str | None:
        """Return a date, noting one that is none."""
        text = (item or self.item).text(tag)
        found = day(text) if text else None
        if text and found is None:
            self.note("bad_value", (item or self.item).at(tag), "Expected a date of 8 digits that exists; left out.")
        return found

    def moment(self, date: int, time: int, item: Item | None = None) -> str | None:
        """Return date and time of two elements as dateTime, noting a date that is none."""
        holder = item or self.item
        if self.day(date, holder) is None:
            return None
        return moment(holder.text(date), holder.text(time), self.zone, self.item.text(_OFFSET))

    @property
    def offset(self) -> str:
        """(0008,0201), or ``""``."""
        return self.item.text(_OFFSET)

    @property
    def recorded(self) -> str:
        """When the object was made, a FHIR instant, or ``""``."""
        pairs = ((0x00080012, 0x00080013), (0x00080023, 0x00080033), (0x00080021, 0x00080031), (0x00080020, 0x00080030))
        return next((found for one in pairs if (found := instant(self.moment(*one)))), "")

    def practitioners(self, tag: int, codes: int = 0) -> list[Body]:
        """Return references to the persons of a PN element, who are known from now on.

        Args:
            tag: The names.
            codes: Sequence with their identifications (PS3.3 table 10-1), item by item, or 0.
        """
        from normalise.dicom.people import practitioner

        identified = list(self.item.items(codes)) if codes else []
        found = []
        for number, name in enumerate(self.item.texts(tag)):
            code = identified[number].first(0x00401101) if number < len(identified) else None
            if one_line(name):
                found.append(practitioner(name, code, self, tag))
        return found

    def concept(self, tag: int, item: Item | None = None) -> Body | None:
        """Return the first code of a sequence."""
        return concept((item or self.item).first(tag))


def required(item: Item, tag: int, what: str) -> str:
    """Return a UID that the object must have.

    Raises:
        SetAside: It is missing, or no UID.
    """
    uid = item.uid(tag)
    if not uid:
        raise set_aside("required", item.at(tag), f"{what} is missing, and nothing can be told from it; have it sent.")
    if len(uid) > 64 or not set(uid) <= _UID_CHARACTERS:
        raise set_aside("bad_value", item.at(tag), f"{what}: expected digits and full stops, at most 64; other came.")
    return uid
