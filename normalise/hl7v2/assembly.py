"""Messages put together: which segment belongs to which patient, visit and order (HL7 v2.8.2 chapters 3 and 7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from normalise.hl7v2.building import Body, Building
from normalise.hl7v2.concepts import names_something
from normalise.hl7v2.header import Reading
from normalise.hl7v2.message import Segment
from normalise.hl7v2.patients import Mode, add_details, add_guarantor, add_relative, merge, start_patient
from normalise.hl7v2.results import Order, note_of, observe_patient
from normalise.hl7v2.roles import add_role, takes_roles
from normalise.hl7v2.visits import (
    add_allergy,
    add_diagnosis,
    add_importance,
    add_insurance,
    add_insurance_details,
    add_procedure,
    add_visit_details,
    start_encounter,
)

#: Segments that say nothing clinical: the transport, the software, the event (read apart), and batch frames.
_SILENT: Final = frozenset({"MSH", "EVN", "SFT", "UAC", "MSA", "ARV", "DSC", "BTS", "FTS"})


class Assembly:
    """Reads the segments of one message in order; each belongs to the last patient, visit and order before it."""

    def __init__(self, reading: Reading, building: Building) -> None:
        self._reading = reading
        self._building = building
        self._mode: Mode = "ensure" if reading.event.kind == "result" else "update"
        self._pid = reading.message.segments[0]
        self._patient: Body = {}
        self._encounter: Body | None = None
        self._orc: Segment | None = None
        self._order: Order | None = None
        self._specimen: Body | None = None
        self._annotated: Body | None = None
        self._coverage: Body | None = None
        self._about: tuple[Body, ...] = ()
        self._occurrences: dict[tuple[str, ...], int] = {}

    def run(self) -> None:
        """Every segment that is mapped has become resources; each other kind has one note."""
        expected = _READ if self._reading.event.kind == "result" else _READ_VISIT
        for segment in self._reading.message.segments:
            read = expected.get(segment.id)
            if read is not None:
                read(self, segment)
            elif segment.id not in _SILENT:
                self._leave_out(segment)
        self._close_order()

    def _leave_out(self, segment: Segment) -> None:
        self._building.at = segment
        message = f"Segment {segment.id} is not mapped; its content stays in the landed message."
        self._building.note("structure", 0, message)

    def _close_order(self) -> None:
        if self._order is not None:
            self._order.close()
        self._order = self._specimen = self._annotated = None

    def _pid_(self, pid: Segment) -> None:
        self._close_order()
        self._pid, self._encounter, self._orc = pid, None, None
        self._patient = start_patient(pid, self._building, self._mode)
        self._about = (self._patient,)

    def _pd1(self, segment: Segment) -> None:
        add_details(segment, self._patient, self._building)

    def _nk1(self, segment: Segment) -> None:
        add_relative(segment, self._patient, self._building, self._mode)

    def _mrg(self, segment: Segment) -> None:
        if self._reading.event.kind == "merge":
            merge(segment, self._patient, self._building)

    def _pv1(self, segment: Segment) -> None:
        if self._reading.event.visit != "ignored":
            status = self._reading.event.status
            self._encounter = start_encounter(segment, self._pid, status, self._building, self._mode)
            add_importance(segment, self._patient, self._building)
            self._about = (self._encounter,)

    def _pv2(self, segment: Segment) -> None:
        if self._encounter is not None:
            add_visit_details(segment, self._encounter, self._building)

    def _dg1(self, segment: Segment) -> None:
        add_diagnosis(segment, self._encounter, self._building, "update")

    def _allergy(self, segment: Segment) -> None:
        add_allergy(segment, self._building, self._mode)

    def _pr1(self, segment: Segment) -> None:
        procedure = add_procedure(segment, self._encounter, self._building, self._mode)
        self._about = (procedure,) if procedure else ()

    def _gt1(self, segment: Segment) -> None:
        add_guarantor(segment, self._building, self._mode)
        self._about = ()

    def _in1(self, segment: Segment) -> None:
        self._coverage = add_insurance(segment, self._building, self._mode)
        self._about = ()

    def _in2(self, segment: Segment) -> None:
        if self._coverage is not None:
            add_insurance_details(segment, self._coverage, self._building)

    def _role(self, segment: Segment) -> None:
        if takes_roles(segment, self._about):
            add_role(segment, self._about, self._building)
        else:
            self._leave_out(segment)

    def _tq1(self, segment: Segment) -> None:
        if self._order is not None:
            self._order.time(segment)

    def _orc_(self, segment: Segment) -> None:
        self._close_order()
        self._orc = segment
        self._about = ()

    def _obr(self, segment: Segment) -> None:
        self._close_order()
        self._order = Order(self._orc, segment, self._building)
        self._orc = None
        self._about = self._order.bodies

    def _obx(self, segment: Segment) -> None:
        if self._order is not None:
            self._annotated = self._order.observe(segment, self._specimen)
        elif names_something(segment.get(3)):
            self._annotated = observe_patient(segment, self._building, self._occurrences)
        else:
            self._building.at = segment
            self._building.note("required", 3, "Expected what was observed; the segment is left out.")
        self._about = (self._annotated,) if self._annotated else ()

    def _spm(self, segment: Segment) -> None:
        if self._order is not None:
            self._annotated = self._specimen = self._order.collect(segment)

    def _nte(self, segment: Segment) -> None:
        note = note_of(segment, self._building)
        if note is None:
            return
        if self._annotated is not None:
            self._annotated.setdefault("note", []).append(note)
        elif self._order is not None:
            self._order.comment(note)
        else:
            self._building.at = segment
            self._building.note("structure", 3, "A note about a patient or a visit has no place in FHIR; left out.")


_READ: Final[dict[str, Callable[[Assembly, Segment], None]]] = {
    "PID": Assembly._pid_,
    "PD1": Assembly._pd1,
    "NK1": Assembly._nk1,
    "MRG": Assembly._mrg,
    "PV1": Assembly._pv1,
    "PV2": Assembly._pv2,
    "DG1": Assembly._dg1,
    "AL1": Assembly._allergy,
    "IAM": Assembly._allergy,
    "PR1": Assembly._pr1,
    "GT1": Assembly._gt1,
    "IN1": Assembly._in1,
    "IN2": Assembly._in2,
    "ROL": Assembly._role,
    "PRT": Assembly._role,
    "TQ1": Assembly._tq1,
    "ORC": Assembly._orc_,
    "OBR": Assembly._obr,
    "OBX": Assembly._obx,
    "SPM": Assembly._spm,
    "NTE": Assembly._nte,
}
#: Orders have no place in a message about a visit or a person.
_READ_VISIT: Final = {id_: read for id_, read in _READ.items() if id_ not in ("ORC", "OBR", "SPM", "TQ1")}
