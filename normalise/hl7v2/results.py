"""Orders and their results: ORC, OBR, NTE, OBX, SPM, TQ1 of ORU^R01, and OBX of ADT.

Sources: HL7 v2-to-FHIR, ORC[ServiceRequest], OBR[ServiceRequest], OBR[DiagnosticReport], OBR[Specimen],
OBX[Observation], SPM[Specimen], NTE[Observation], TQ1[ServiceRequest]; HL7 v2.8.2 chapter 7.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from normalise.hl7v2.building import Body, Building, add_to
from normalise.hl7v2.concepts import wording
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import free_text, text
from normalise.hl7v2.identifiers import entity
from normalise.hl7v2.message import Segment
from normalise.hl7v2.references import refer
from normalise.hl7v2.values import absent
from normalise.hl7v2.visits import subject
from normalise.ids import derive

_ORC: Final = mapper("ORC-ServiceRequest")
_REQUEST: Final = mapper("OBR-ServiceRequest")
_REPORT: Final = mapper("OBR-DiagnosticReport")
_SOURCE: Final = mapper("OBR-Specimen")
_OBX: Final = mapper("OBX-Observation")
_SPM: Final = mapper("SPM-Specimen")
_NTE: Final = mapper("NTE-Annotation")
_TQ1: Final = mapper("TQ1-ServiceRequest")
_VALUES: Final = frozenset(
    f"value{kind}" for kind in ("Quantity", "CodeableConcept", "String", "Range", "Ratio", "Time", "DateTime", "Period")
) | {"component"}


class Order:
    """One OBR with its ORC: the request, the report, and the results and specimens that follow."""

    __slots__ = (
        "_building",
        "_key",
        "_obr",
        "_observations",
        "_occurrences",
        "_report",
        "_request",
        "_requested",
        "_specimens",
    )

    def __init__(self, orc: Segment | None, obr: Segment, building: Building) -> None:
        building.at = obr
        self._building = building
        self._obr = obr
        self._observations: list[Body] = []
        self._specimens: list[Body] = []
        self._occurrences: dict[tuple[str, ...], int] = {}
        placer, filler = _number(orc, obr, 2, "PLAC", building), _number(orc, obr, 3, "FILL", building)
        identifiers = [one for one in (placer, filler) if one]
        code = text(obr.first(4)) or text(obr.first(4, 2))
        alone = ("message", building.control_id, obr.label)
        self._key = (*_scope(filler or placer, alone, building), code)
        request_key = (*_scope(placer or filler, alone, building), code)
        self._request = self._make_request(orc, identifiers, derive("ServiceRequest", *request_key))
        self._requested = f"ServiceRequest/{self._request['id']}"
        self._report = self._make_report(identifiers)

    def _make_request(self, orc: Segment | None, identifiers: list[Body], id_: str) -> Body:
        body: Body = {"resourceType": "ServiceRequest", "id": id_, "subject": subject(self._building)}
        if identifiers:
            body["identifier"] = list(identifiers)
        body["intent"] = "reflex-order" if text(self._obr.first(11)) == "G" else "order"
        if orc is not None:
            _ORC.apply(orc, body, self._building)
        _REQUEST.apply(self._obr, body, self._building)
        body.setdefault("status", "unknown")
        return self._building.add(self._within(body))

    def _make_report(self, identifiers: list[Body]) -> Body:
        body: Body = {"resourceType": "DiagnosticReport", "id": derive("DiagnosticReport", *self._key)}
        body |= {"subject": subject(self._building), "basedOn": [refer(self._request)]}
        if identifiers:
            body["identifier"] = list(identifiers)
        _REPORT.apply(self._obr, body, self._building)
        if "status" not in body:
            self._building.note("required", 25, "Expected a result status; written as unknown.")
            body["status"] = "unknown"
        return self._building.add(self._within(body))

    def _within(self, body: Body) -> Body:
        if self._building.encounter:
            body["encounter"] = {"reference": f"Encounter/{self._building.encounter}"}
        return body

    def observe(self, obx: Segment, specimen: Body | None) -> Body | None:
        """The result of an OBX belongs to the report; one after an SPM is about that specimen.

        Words without OBX-3 are about what was ordered; an OBX that says nothing is left out, and None returned.
        """
        body = _observation(obx, self._building, self._key, self._occurrences)
        if "code" not in body:
            if not _says_something(body):
                self._building.note("required", 5, "Expected a code or a value, neither came; the segment is left out.")
                return None
            self._building.note("required", 3, "Expected what was observed; written as what was ordered.")
            body["code"] = {"text": wording(self._report["code"])}
        if "effectiveDateTime" not in body:  # OBX-14: when absent, the observation time of the OBR holds
            if "effectiveDateTime" in self._report:
                body["effectiveDateTime"] = self._report["effectiveDateTime"]
            elif "effectivePeriod" in self._report:
                body["effectivePeriod"] = dict(self._report["effectivePeriod"])
        body["basedOn"] = [{"reference": self._requested}]
        if specimen is not None:
            body["specimen"] = refer(specimen)
        stored = self._building.add(self._within(body))
        self._report.setdefault("result", []).append({"reference": f"Observation/{stored['id']}"})
        self._observations.append(stored)
        return stored

    def collect(self, spm: Segment) -> Body:
        """The specimen of an SPM belongs to the order."""
        building = self._building
        building.at = spm
        own = entity(spm.first(2, 2).replace("&", "^"), building) or entity(spm.first(2).replace("&", "^"), building)
        alone = (*self._key, text(spm.first(1)) or spm.label, text(spm.first(4)))
        body: Body = {"resourceType": "Specimen", "id": derive("Specimen", *_scope(own, alone, building))}
        body |= {"subject": subject(building), "request": [refer(self._request)]}
        stored = building.add(_SPM.apply(spm, body, building))
        self._specimens.append(stored)
        return stored

    def time(self, tq1: Segment) -> None:
        """TQ1's part of the request stands in it."""
        add_to(self._request, _TQ1.apply(tq1, {}, self._building))

    @property
    def bodies(self) -> tuple[Body, Body]:
        """The report and the request."""
        return self._report, self._request

    def close(self) -> None:
        """The specimens are known: report and request name them, and each result when there is only one."""
        if not self._specimens:
            self._collect_source()
        references = [refer(one) for one in self._specimens]
        if not references:
            return
        self._report["specimen"] = references
        self._request["specimen"] = references
        if len(references) == 1:
            for observation in self._observations:
                observation.setdefault("specimen", references[0])

    def _collect_source(self) -> None:
        """Until 2.6 the OBR itself describes the specimen, OBR-15 above all."""
        if not any(self._obr.get(field).strip("^&~ ") for field in (9, 10, 14, 15, 39)):
            return
        body: Body = {"resourceType": "Specimen", "id": derive("Specimen", *self._key, "OBR")}
        body |= {"subject": subject(self._building), "request": [refer(self._request)]}
        _SOURCE.apply(self._obr, body, self._building)
        self._specimens.append(self._building.add(body))


def observe_patient(obx: Segment, building: Building, occurrences: dict[tuple[str, ...], int]) -> Body:
    """The result of an OBX without an order, as ADT sends height and weight, belongs to the patient."""
    scope = (building.institution, building.patient, building.encounter or "", text(obx.first(14)))
    body = _observation(obx, building, scope, occurrences)
    if building.encounter:
        body["encounter"] = {"reference": f"Encounter/{building.encounter}"}
    return building.add(body)


def note_of(nte: Segment, building: Building) -> Body | None:
    """Return the Annotation of an NTE: its repetitions are lines."""
    comment = "\n".join(free_text(one) for one in nte.get(3).split("~")).strip()
    return _NTE.apply(nte, {"text": comment}, building) if comment else None


def _observation(
    obx: Segment, building: Building, scope: tuple[str, ...], occurrences: dict[tuple[str, ...], int]
) -> Body:
    """The Observation of an OBX. Its id: the order, OBX-3, OBX-4, and OBX-1 or else how often that came before."""
    what = _what(obx.fields)
    occurrences[what] = count = occurrences.get(what, 0) + 1
    id_ = derive("Observation", *scope, *what, *((str(count),) if count > 1 else ()))
    body: Body = {"resourceType": "Observation", "id": id_, "subject": subject(building)}
    _OBX.apply(obx, body, building)
    if "status" not in body:
        building.note("required", 11, "Expected a result status; written as unknown.")
        body["status"] = "unknown"
    if not _says_something(body):
        body["dataAbsentReason"] = absent(text(obx.first(11)))
    return body


def _what(fields: list[str]) -> tuple[str, str, str, str]:
    """Code (or wording) and system of OBX-3, OBX-4 and OBX-1: what tells the results of one order apart."""
    return *_named(fields[3]), fields[4] if len(fields) > 4 else "", fields[1]


@lru_cache(maxsize=4096)
def _named(code: str) -> tuple[str, str]:
    parts = [*code.split("^", 3), "", ""]
    return parts[0].strip() or parts[1].strip(), parts[2].strip()


def _says_something(body: Body) -> bool:
    return not _VALUES.isdisjoint(body) or any("valueAttachment" in one for one in body.get("extension", ()))


def _number(orc: Segment | None, obr: Segment, field: int, type_: str, building: Building) -> Body | None:
    found = entity(obr.get(field).partition("~")[0], building, type_)
    return found or (entity(orc.get(field).partition("~")[0], building, type_) if orc else None)


def _scope(number: Body | None, alone: tuple[str, ...], building: Building) -> tuple[str, ...]:
    """What an order or specimen is known by: its number and who gave it, else its place in this message."""
    if number is None:
        return (f"institution:{building.institution}", building.patient, *alone)
    return (number.get("system") or f"institution:{building.institution}", number["value"])
