"""Appointments: SCH, TQ1, RGS, AIS, AIG, AIL, AIP and their NTE of SIU^S12 to S26 as Appointment.

Sources: HL7 v2-to-FHIR, SCH[Appointment], SCH[ServiceRequest], AIS[Appointment], AIS[ServiceRequest],
AIG[Appointment], AIL[Appointment], AIP[Appointment], TQ[Appointment], NTE[Appointment-Comment]; HL7 v2.8.2 chapter 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Literal

from normalise.hl7v2.building import Body, Building, add_to
from normalise.hl7v2.concepts import concept, term_coding
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import text
from normalise.hl7v2.identifiers import entity
from normalise.hl7v2.message import Segment
from normalise.hl7v2.observations import note_of
from normalise.hl7v2.participation import in_role
from normalise.hl7v2.people import address, contact_point
from normalise.hl7v2.quantities import quantity
from normalise.hl7v2.references import location, practitioner, refer
from normalise.hl7v2.results import order_scope
from normalise.hl7v2.scene import Group, Read, Scene
from normalise.hl7v2.tables import VOCABULARIES
from normalise.hl7v2.times import later, moment
from normalise.hl7v2.timing import unit_of_time
from normalise.hl7v2.visits import subject
from normalise.ids import derive

_SCH: Final = mapper("SCH-Appointment")
_ORDER: Final = mapper("SCH-ServiceRequest")
_SERVICE: Final = mapper("AIS-Appointment")
_ORDERED: Final = mapper("AIS-ServiceRequest")
_RESOURCES: Final = {id_: mapper(f"{id_}-Appointment") for id_ in ("AIG", "AIL", "AIP")}
#: Where a resource says when it is needed: start, offset and its unit, duration and its unit.
_WHEN: Final = {"AIS": (4, 5, 6, 7, 8), "AIG": (8, 9, 10, 11, 12), "AIL": (6, 7, 8, 9, 10), "AIP": (6, 7, 8, 9, 10)}
#: Who to ask, and the fields of SCH that name the person, telephone, address and place.
_CONTACTS: Final = (("placer", 12, 13, 14, 15), ("filler", 16, 17, 18, 19), ("enterer", 20, 21, None, 22))
_SECONDS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86400, "wk": 604800}
_NOTE: Final = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Appointment.note"
#: What an appointment may be without a time (FHIR invariant app-3).
_TIMELESS: Final = frozenset({"proposed", "cancelled", "waitlist"})


class Appointments(Group):
    """SCH and what follows it: one appointment; its patients stand between its time and its resources."""

    __slots__ = (
        "_appointment",
        "_comments",
        "_notes",
        "_offsets",
        "_orders",
        "_patients",
        "_sch",
        "_times",
        "_tq1",
        "_waiting",
    )

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._sch: Segment | None = None
        self._tq1: Segment | None = None
        self._waiting = False
        self._notes: list[Segment] = []
        self._appointment: Body | None = None
        self._comments: list[str] = []
        self._orders: list[Body] = []
        self._patients: list[Body] = []
        self._times: list[tuple[str, str]] = []
        self._offsets: list[tuple[Body, timedelta, timedelta | None]] = []

    def sch(self, segment: Segment) -> None:
        """What is booked; the patient who comes is not known yet."""
        self._finish()
        self._sch = segment

    def tq1(self, segment: Segment) -> None:
        """When it is booked for."""
        self._tq1 = self._tq1 or segment

    def nte(self, segment: Segment) -> None:
        """A comment, on the appointment or on the resource before it."""
        if self._appointment is None:
            self._notes.append(segment)
        else:
            self._comment(segment)

    def rgs(self, segment: Segment) -> None:
        """A group of resources begins: the patients are known."""
        if self._of_none(segment):
            return
        self._begin()

    def _of_none(self, segment: Segment) -> bool:
        """Whether there is no appointment yet; the segment is left out."""
        if self._sch is None:
            self.scene.leave_out(segment)
        return self._sch is None

    def ais(self, segment: Segment) -> None:
        """A service."""
        if self._of_none(segment):
            return
        body, building = self._begin(), self.scene.building
        found = _SERVICE.apply(segment, {}, building)
        status = found.pop("status", "")
        if status and self._sch is not None and not text(self._sch.first(25)):
            body["status"] = status
        add_to(body, found)
        start, end = self._when(segment, {})
        if self._sch is not None and (text(self._sch.first(26)) or text(self._sch.first(27))):
            self._orders.append(_make_order(self._sch, segment, (start, end), building))

    def resource(self, segment: Segment) -> None:
        """Equipment, a place or somebody who is needed."""
        if self._of_none(segment):
            return
        body, building = self._begin(), self.scene.building
        found = _RESOURCES[segment.id].apply(segment, {}, building)
        if "actor" not in found and "type" not in found:  # FHIR invariant app-1
            building.note("required", 3, "Expected what or who is needed; the segment is left out.")
            return
        self._when(segment, found)
        body["participant"].append(found)

    def pid(self, segment: Segment) -> None:
        """Somebody who comes; an appointment may have several."""
        if self.scene.patient:
            self._patients.append(subject(self.scene.building))
        self._waiting = True
        self.hand_on(segment)
        self._waiting = False

    def close(self) -> None:
        """The message ends: the appointment is whole."""
        if not self._waiting:
            self._finish()

    def _begin(self) -> Body:
        scene = self.scene
        if self._appointment is None:
            assert self._sch is not None  # whoever reads a segment after it has looked
            if scene.patient:
                self._patients.append(subject(scene.building))
            self._appointment = start_appointment(self._sch, scene.reading.event.code, scene.building)
            people = {one["reference"]: one for one in self._patients}.values()
            status = self._appointment["status"]
            attending = _attendance(status)
            self._appointment["participant"] = [{"actor": one, "status": attending} for one in people]
            for one in self._notes:
                self._comment(one)
        scene.annotated = None
        return self._appointment

    def _comment(self, nte: Segment) -> None:
        """R4 has one comment; who wrote it and when stands in R5's note."""
        note = note_of(nte, self.scene.building)
        if note is not None:
            self._comments.append(note["text"])
            if len(note) > 1 and self._appointment is not None:
                self._appointment.setdefault("extension", []).append({"url": _NOTE, "valueAnnotation": note})

    def _when(self, segment: Segment, participant: Body) -> tuple[str, str]:
        """When a resource is needed, its period in the participant; an offset waits for the appointment's start."""
        at, offset_at, offset_unit, lasting_at, lasting_unit = _WHEN[segment.id]
        zone = self.scene.building.zone
        lasting = _span(segment.first(lasting_at), segment.first_whole(lasting_unit))
        begun = moment(text(segment.first(at)), zone)
        if begun is None:
            offset = _span(segment.first(offset_at), segment.first_whole(offset_unit))
            if offset is not None:
                self._offsets.append((participant, offset, lasting))
            return "", ""
        end = later(begun.value, lasting) if lasting and begun.instant else ""
        participant["period"] = {"start": begun.value, **({"end": end} if end else {})}
        if begun.instant:
            self._times.append((begun.value, end))
        return begun.value, end

    def _finish(self) -> None:
        """The appointment has its time, its comment, its orders and the people to ask."""
        if self._sch is None:
            return
        body = self._begin()
        self._put_times(body)
        status = body["status"]
        for one in body["participant"]:
            one.setdefault("status", _attendance(status))
        _add_contacts(self._sch, body, self.scene.building)
        if self._comments:
            body["comment"] = "\n".join(self._comments)
        if self._orders:
            body["basedOn"] = [refer(one) for one in self._orders]
        self._sch = self._tq1 = self._appointment = None
        self._notes, self._comments, self._orders, self._patients = [], [], [], []
        self._times, self._offsets = [], []

    def _put_times(self, body: Body) -> None:
        """Start and end: TQ1, SCH-11, else the resources'. FHIR has neither without the other (app-2)."""
        assert self._sch is not None
        building = self.scene.building
        building.at = self._sch
        start, end = _ends(self._tq1, 7, 8, building) if self._tq1 else ("", "")
        timing = self._sch.first_whole(11).split("^")
        sch = Segment("SCH", [*timing[:5], "", ""], self._sch.label)
        own = _ends(sch, 3, 4, building) if len(timing) > 3 else ("", "")
        start, end = start or own[0], end or own[1]
        if self._times and not start:
            start = min(one[0] for one in self._times)
            end = end or max((one[1] for one in self._times), default="")
        lasting = _span(self._sch.first(9), self._sch.first_whole(10))
        if lasting and 0 < (minutes := round(lasting.total_seconds() / 60)) < 2**31:
            body["minutesDuration"] = minutes
        if start and not end and lasting:
            end = later(start, lasting)
        if start and end and datetime.fromisoformat(start) <= datetime.fromisoformat(end):
            body |= {"start": start, "end": end}
        elif start:
            body["requestedPeriod"] = [{"start": start}]
        if "start" not in body and body["status"] not in _TIMELESS:
            building.note("required", 11, "Expected start and end or duration of the appointment; written without.")
        for participant, offset, duration in self._offsets:
            if start:
                begun = later(start, offset)
                ends = later(begun, duration) if begun and duration else ""
                if begun:
                    participant["period"] = {"start": begun, **({"end": ends} if ends else {})}
        if self._tq1 and (term := VOCABULARIES["AppointmentPriority"].find(text(self._tq1.first(9)))):
            body["priority"] = int(term.code)

    READS: ClassVar[Mapping[str, Read]] = {
        "SCH": sch,
        "PID": pid,
        "TQ1": tq1,
        "NTE": nte,
        "RGS": rgs,
        "AIS": ais,
        "AIG": resource,
        "AIL": resource,
        "AIP": resource,
    }


def start_appointment(sch: Segment, event: str, building: Building) -> Body:
    """The Appointment of an SCH belongs to the message: known by the filler's number, else the placer's."""
    body: Body = {"resourceType": "Appointment"}
    _SCH.apply(sch, body, building)
    own = entity(sch.first_whole(2), building) or entity(sch.first_whole(1), building)
    if own:
        body["id"] = building.id_of("Appointment", own.get("system", ""), own["value"])
    else:
        building.note("required", 1, "No number of the appointment: it stands for this message alone.")
        body["id"] = building.id_within("Appointment", "message", building.control_id)
    if "status" not in body:
        term = VOCABULARIES["AppointmentEvent"].find(event)
        body["status"] = term.code if term else "booked"
    if body["status"] == "cancelled" and (why := concept(sch.first_whole(6), building)):
        body["cancelationReason"] = why
    return building.add(body)


def _attendance(status: str) -> Literal["accepted", "declined", "needs-action"]:
    if status in ("cancelled", "entered-in-error", "noshow"):
        return "declined"
    return "needs-action" if status in ("pending", "waitlist", "proposed") else "accepted"


def _span(number: str, unit: str) -> timedelta | None:
    """A number and its unit of time; minutes where none is named."""
    found = quantity(text(number), {}) if number else None
    parts = [text(one) for one in unit.split("^")[:2]]
    named = next((known for one in parts if (known := unit_of_time(one))), "" if any(parts) else "min")
    seconds = _SECONDS.get(named)
    if found is None or seconds is None or not 0 <= found["value"] < 10_000_000:
        return None
    return timedelta(seconds=found["value"] * seconds)


def _ends(segment: Segment, first: int, last: int, building: Building) -> tuple[str, str]:
    found: list[str] = []
    for field in (first, last):
        when: Any = moment(text(segment.get(field).partition("^")[0]), building.zone)
        found.append((when.instant or "") if when else "")
    return found[0], found[1]


def _add_contacts(sch: Segment, body: Body, building: Building) -> None:
    """Placer contact, filler contact and enterer take part, for information."""
    building.at = sch
    for kind, who_at, phone_at, address_at, place_at in _CONTACTS:
        said = _contact(sch, (who_at, phone_at, place_at), building)
        if not said:
            continue
        coding = term_coding("ContactOf", kind)
        who = said.get("practitioner")
        if who and address_at and (home := address(sch.first_whole(address_at), building)):
            building.complete(who, {"address": [home]})
        if who and len(said) > 1:
            said["code"] = [{"coding": [dict(coding)]}]
        actor = in_role(said, building) or said["location"][0]
        body["participant"].append(
            {"type": [{"coding": [coding]}], "actor": actor, "required": "information-only", "status": "accepted"}
        )


def _contact(sch: Segment, fields: tuple[int, int, int], building: Building) -> Body:
    """Who to ask, by which telephone and where, as elements of a PractitionerRole; nothing where neither is said."""
    who_at, phone_at, place_at = fields
    who = practitioner(sch.first_whole(who_at), building) if sch.get(who_at) else None
    place = location(sch.first_whole(place_at), building) if sch.get(place_at) else None
    phones = [one for raw in sch.get(phone_at).split("~") if raw and (one := contact_point(raw, building))]
    found: Body = {"practitioner": who} if who else {}
    if who and phones:
        found["telecom"] = phones
    if place:
        found["location"] = [place]
    return found


def _make_order(sch: Segment, ais: Segment, period: tuple[str, str], building: Building) -> Body:
    """The ServiceRequest that a service was booked for: SCH-26 and SCH-27 number it."""
    body: Body = {"resourceType": "ServiceRequest", "intent": "order", "subject": subject(building)}
    _ORDER.apply(sch, body, building)
    _ORDERED.apply(ais, body, building)
    body.setdefault("status", "unknown")
    code = text(ais.first(3)) or text(ais.first(3, 2))
    body["id"] = derive("ServiceRequest", *order_scope(body["identifier"][0], (), building), code)
    if period[0]:
        body["occurrencePeriod"] = {"start": period[0], **({"end": period[1]} if period[1] else {})}
    return building.add(body)
