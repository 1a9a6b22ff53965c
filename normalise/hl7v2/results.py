"""Orders and their results: ORC, OBR, OBX, SPM and TQ1.

Sources: HL7 v2-to-FHIR, ORC[ServiceRequest], OBR[ServiceRequest], OBR[DiagnosticReport], OBR[Specimen],
OBX[Observation], SPM[Specimen], NTE[Observation], TQ1[ServiceRequest]; HL7 v2.8.2 chapter 7.
"""

from __future__ import annotations

from copy import deepcopy as copy
from typing import Final

from normalise.hl7v2.building import Body, Building, add_to
from normalise.hl7v2.concepts import wording
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import text
from normalise.hl7v2.identifiers import entity
from normalise.hl7v2.message import Segment
from normalise.hl7v2.observations import observation_of, says_something
from normalise.hl7v2.ordering import settle_requester
from normalise.hl7v2.references import refer
from normalise.hl7v2.tables import VOCABULARIES
from normalise.hl7v2.times import moment
from normalise.hl7v2.visits import subject
from normalise.ids import derive

_ORC: Final = mapper("ORC-ServiceRequest")
_REQUEST: Final = mapper("OBR-ServiceRequest")
_ORC_REPORT: Final = mapper("ORC-DiagnosticReport")
_REPORT: Final = mapper("OBR-DiagnosticReport")
_SOURCE: Final = mapper("OBR-Specimen")
_SPM: Final = mapper("SPM-Specimen")
_TQ1: Final = mapper("TQ1-ServiceRequest")


#: What an OBR says of how its specimens were collected: times, volume, collector, receipt.
_COLLECTED: Final = (7, 8, 9, 10, 14)


class Order:
    """One OBR with its ORC, or an ORC alone: the request, the report, and the results and specimens that follow."""

    __slots__ = (
        "_building",
        "_key",
        "_obr",
        "_observations",
        "_occurrences",
        "_report",
        "_reported",
        "_request",
        "_requested",
        "_specimens",
    )

    def __init__(self, orc: Segment | None, obr: Segment | None, building: Building, *, reported: bool | None) -> None:
        """The request belongs to the message, and the report where there is one.

        Args:
            orc: The common part, or None.
            obr: The detail, or None where an ORC stands alone.
            building: The message.
            reported: Whether the message reports results; an order has a report only where OBR-22 or OBR-25 say so, and
                none at all where this is None.
        """
        given = obr or orc
        assert given is not None  # whoever begins an order has read one of them
        building.at = given
        self._building = building
        self._obr = obr
        self._reported = reported
        self._observations: list[Body] = []
        self._specimens: list[Body] = []
        self._occurrences: dict[tuple[str, ...], int] = {}
        placer, filler = order_number(orc, obr, 2, "PLAC", building), order_number(orc, obr, 3, "FILL", building)
        identifiers = [one for one in (placer, filler) if one]
        code = (text(obr.first(4)) or text(obr.first(4, 2))) if obr else ""
        alone = ("message", building.control_id, given.label)
        self._key = (*order_scope(filler or placer, alone, building), code)
        request_key = (*order_scope(placer or filler, alone, building), code)
        self._request = self._make_request(orc, identifiers, derive("ServiceRequest", *request_key))
        self._requested = f"ServiceRequest/{self._request['id']}"
        told = reported or (reported is not None and obr is not None and _is_reported(obr, building))
        self._report = self._make_report(obr, identifiers) if obr and told and "code" in self._request else None
        if self._report is not None and orc is not None:
            add_to(self._report, _ORC_REPORT.apply(orc, {}, building))
            building.at = given

    def _make_request(self, orc: Segment | None, identifiers: list[Body], id_: str) -> Body:
        body: Body = {"resourceType": "ServiceRequest", "id": id_, "subject": subject(self._building)}
        if identifiers:
            body["identifier"] = list(identifiers)
        body["intent"] = "reflex-order" if self._obr and text(self._obr.first(11)) == "G" else "order"
        if orc is not None:
            _ORC.apply(orc, body, self._building)
        if self._obr is not None:
            _REQUEST.apply(self._obr, body, self._building)
        body.setdefault("status", "unknown")
        if orc is not None:
            settle_requester(orc, body, self._building)
        for name in ("extension", "basedOn"):  # what ORC and OBR both say
            if len(body.get(name, ())) > 1:
                body[name] = [one for at, one in enumerate(body[name]) if one not in body[name][:at]]
        return self._building.add(self._within(body))

    def _make_report(self, obr: Segment, identifiers: list[Body]) -> Body:
        body: Body = {"resourceType": "DiagnosticReport", "id": derive("DiagnosticReport", *self._key)}
        body |= {"subject": subject(self._building), "basedOn": [refer(self._request)]}
        if identifiers:
            body["identifier"] = list(identifiers)
        _REPORT.apply(obr, body, self._building)
        if "status" not in body:
            self._building.note("required", 25, "Expected a result status; written as unknown.")
            body["status"] = "unknown"
        return self._building.add(self._within(body))

    def _within(self, body: Body) -> Body:
        if self._building.encounter:
            body["encounter"] = {"reference": f"Encounter/{self._building.encounter}"}
        return body

    def observe(self, obx: Segment, specimen: Body | None) -> Body | None:
        """The result of an OBX belongs to the report, or was sent along with the order.

        One after an SPM is about that specimen. Words without OBX-3 are about what was ordered; an OBX that says
        nothing is left out, and None returned.
        """
        scope = self._key if self._reported else (*self._key, "sent along")
        body = observation_of(obx, self._building, scope, self._occurrences)
        if "code" not in body:
            if not says_something(body) or "code" not in self._request:
                self._building.note("required", 5, "Expected a code or a value, neither came; the segment is left out.")
                return None
            self._building.note("required", 3, "Expected what was observed; written as what was ordered.")
            body["code"] = {"text": wording(self._request["code"])}
        if specimen is not None:
            body["specimen"] = refer(specimen)
        if self._reported and self._report is not None:
            return self._add_result(body, self._report)
        stored = self._building.add(self._within(body))
        self._request.setdefault("supportingInfo", []).append({"reference": f"Observation/{stored['id']}"})
        return stored

    def _add_result(self, body: Body, report: Body) -> Body:
        if "effectiveDateTime" not in body:  # OBX-14: when absent, the observation time of the OBR holds
            if "effectiveDateTime" in report:
                body["effectiveDateTime"] = report["effectiveDateTime"]
            elif "effectivePeriod" in report:
                body["effectivePeriod"] = dict(report["effectivePeriod"])
        body["basedOn"] = [{"reference": self._requested}]
        stored = self._building.add(self._within(body))
        report.setdefault("result", []).append({"reference": f"Observation/{stored['id']}"})
        self._observations.append(stored)
        return stored

    def collect(self, spm: Segment) -> Body:
        """The specimen of an SPM belongs to the order."""
        stored = specimen_of(spm, self._building, self._key)
        self.use(stored)
        return stored

    def use(self, specimen: Body) -> None:
        """The order is carried out on this specimen."""
        specimen.setdefault("request", []).append(refer(self._request))
        self._specimens.append(specimen)

    def time(self, tq1: Segment) -> None:
        """TQ1's part of the request stands in it; FHIR has one occurrence, and a timing says more than a moment."""
        found = _TQ1.apply(tq1, {}, self._building)
        if "occurrenceTiming" in found:
            if "occurrenceTiming" in self._request:
                self._building.note("structure", 0, "An order has more than one timing; the first is kept.")
            self._request.pop("occurrenceDateTime", None)
        add_to(self._request, found)

    def explain(self, condition: Body) -> None:
        """The condition is why it was ordered."""
        add_to(self._request, {"reasonReference": [refer(condition)]})

    def support(self, reference: Body) -> None:
        """What is referred to is among what it goes by."""
        add_to(self._request, {"supportingInfo": [reference]})

    @property
    def bodies(self) -> tuple[Body, ...]:
        """The report, where there is one, and the request."""
        return (self._report, self._request) if self._report is not None else (self._request,)

    @property
    def request(self) -> Body:
        """The request."""
        return self._request

    def close(self) -> None:
        """The specimens are known: report and request name them, and each result when there is only one."""
        if not self._specimens:
            self._collect_source()
        elif self._obr is not None and any(self._obr.get(field) for field in _COLLECTED):
            self._complete_specimens(self._obr)
        references = [refer(one) for one in self._specimens]
        if not references:
            return
        if self._report is not None:
            self._report["specimen"] = references
        self._request["specimen"] = references
        if len(references) == 1:
            for observation in self._observations:
                observation.setdefault("specimen", references[0])

    def _complete_specimens(self, obr: Segment) -> None:
        """How a specimen was collected stands in the OBR where its SPM does not say (v2-to-FHIR, OML_O21)."""
        found = _SOURCE.apply(obr, {}, self._building)
        collection = found.get("collection", {})
        for specimen in self._specimens:
            if not specimen.get("collection", {}).keys().isdisjoint(("collectedDateTime", "collectedPeriod")):
                for name in ("collectedDateTime", "collectedPeriod"):
                    collection.pop(name, None)
            for name, value in copy(collection).items():
                specimen.setdefault("collection", {}).setdefault(name, value)
            if "receivedTime" in found:
                specimen.setdefault("receivedTime", found["receivedTime"])

    def _collect_source(self) -> None:
        """Until 2.6 the OBR itself describes the specimen, OBR-15 above all."""
        if self._obr is None or not any(self._obr.get(field).strip("^&~ ") for field in (9, 10, 14, 15, 39)):
            return
        body: Body = {"resourceType": "Specimen", "id": derive("Specimen", *self._key, "OBR")}
        body |= {"subject": subject(self._building), "request": [refer(self._request)]}
        _SOURCE.apply(self._obr, body, self._building)
        self._specimens.append(self._building.add(body))


def _is_reported(obr: Segment, building: Building) -> bool:
    """Whether an order says how far its report is (OBR-25), or when that last changed (OBR-22)."""
    said = VOCABULARIES["ReportStatus"].find(text(obr.first(25))) or moment(text(obr.first(22)), building.zone)
    return said is not None


def specimen_of(spm: Segment, building: Building, scope: tuple[str, ...]) -> Body:
    """The Specimen of an SPM belongs to the message.

    Args:
        spm: The specimen.
        building: The message.
        scope: What it is known within when it has no number of its own.
    """
    building.at = spm
    own = entity(spm.first(2, 2).replace("&", "^"), building) or entity(spm.first(2).replace("&", "^"), building)
    alone = (*scope, text(spm.first(1)) or spm.label, text(spm.first(4)))
    body: Body = {"resourceType": "Specimen", "id": derive("Specimen", *order_scope(own, alone, building))}
    return building.add(_SPM.apply(spm, body | {"subject": subject(building)}, building))


def order_number(orc: Segment | None, obr: Segment | None, field: int, type_: str, building: Building) -> Body | None:
    """Return the Identifier of an order: the detail's, else the common part's."""
    found = entity(obr.get(field).partition("~")[0], building, type_) if obr else None
    return found or (entity(orc.get(field).partition("~")[0], building, type_) if orc else None)


def order_scope(number: Body | None, alone: tuple[str, ...], building: Building) -> tuple[str, ...]:
    """What an order or specimen is known by: its number and who gave it, else its place in this message."""
    if number is None:
        return (f"institution:{building.institution}", building.patient, *alone)
    return (number.get("system") or f"institution:{building.institution}", number["value"])
