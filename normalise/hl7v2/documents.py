"""Documents: TXA, its OBX and NTE of MDM^T01 to T11 as DocumentReference, CON as Consent.

Sources: HL7 v2-to-FHIR, TXA[DocumentReference], OBX[DocumentReference], NTE[DocumentReference]; HL7 v2.8.2 chapter 9.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import ClassVar, Final

from normalise.hl7v2.building import Body, Building, add_to
from normalise.hl7v2.concepts import concept, wording
from normalise.hl7v2.engine import mapper
from normalise.hl7v2.escapes import free_text, text
from normalise.hl7v2.identifiers import entity
from normalise.hl7v2.message import Segment
from normalise.hl7v2.scene import Group, Read, Scene
from normalise.hl7v2.tables import VOCABULARIES
from normalise.hl7v2.values import attachment, pointer
from normalise.hl7v2.visits import subject

_TXA: Final = mapper("TXA-DocumentReference")
#: Types of OBX-2 that are a part of the document; others are results that it tells of.
_WORDS: Final = frozenset({"TX", "FT", "ST", ""})
_FILES: Final = {"ED": attachment, "RP": pointer}
_PLAIN: Final = "text/plain; charset=utf-8"
_ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"


class Documents(Group):
    """TXA and the OBX and NTE after it: one document and its content."""

    __slots__ = ("_document", "_lines", "_topic")

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._document: Body | None = None
        self._topic = ""
        self._lines: list[str] = []

    def close(self) -> None:
        """The document is whole: it has content, be it that there is none."""
        self._write()
        if self._document is not None:
            first = self._document["content"][0]["attachment"]
            if len(self._document["content"]) > 1:  # the content came: what TXA says of it stands with it
                said = self._document["content"].pop(0)["attachment"]
                for name, value in said.items():
                    self._document["content"][0]["attachment"].setdefault(name, value)
            elif not first:
                first["extension"] = [{"url": _ABSENT, "valueCode": "unknown"}]
        self._document = None

    def txa(self, segment: Segment) -> None:
        """A document begins; the orders before it are what it is about."""
        self.scene.close()
        self._document = start_document(segment, self.scene)
        self.scene.about = (self._document,)

    def obx(self, segment: Segment) -> None:
        """A part of the document: words, a file, an address; else a result of the patient."""
        type_ = text(segment.first(2)).upper()
        if self._document is None or (type_ not in _WORDS and type_ not in _FILES):
            self.hand_on(segment)
            return
        building = self.scene.building
        building.at = segment
        named = concept(segment.first_whole(3), building)
        topic = wording(named) if named else ""
        if type_ in _WORDS:
            if topic != self._topic:
                self._write()
            self._topic = topic
            self._lines += [free_text(one) for one in segment.get(5).split("~")]
            return
        self._write()
        for one in filter(None, segment.get(5).split("~")):
            self._attach(_FILES[type_](one), one, topic)

    def nte(self, segment: Segment) -> None:
        """A note in the document is more of its text."""
        if self._document is None:
            self.hand_on(segment)
        else:
            self._lines += [free_text(one) for one in segment.get(3).split("~")]

    def _attach(self, found: Body | None, raw: str, topic: str) -> None:
        building = self.scene.building
        if found is None:
            building.note("bad_value", 5, "The value is not of the type in OBX-2; it is kept as text.")
            found = _words(free_text(raw))
        if found and self._document is not None:
            self._document["content"].append({"attachment": {**({"title": topic} if topic else {}), **found}})

    def _write(self) -> None:
        whole = "\n".join(self._lines).strip("\n")
        if whole.strip() and self._document is not None:
            self._attach(_words(whole), whole, self._topic)
        self._lines, self._topic = [], ""

    READS: ClassVar[Mapping[str, Read]] = {"TXA": txa, "OBX": obx, "NTE": nte}


def start_document(txa: Segment, scene: Scene) -> Body:
    """The DocumentReference of a TXA belongs to the message, its content not yet.

    It is known by TXA-12, else by the name of its file (TXA-16), else it stands for this message alone.
    """
    building, event = scene.building, scene.reading.event.code
    body: Body = {"resourceType": "DocumentReference", "subject": subject(building)}
    _TXA.apply(txa, body, building)
    body["id"] = _document_id(txa, building)
    if event == "T11":
        body["status"] = "entered-in-error"
    body.setdefault("status", "current")
    body.setdefault("content", [{"attachment": {}}])
    earlier = entity(txa.first_whole(13), building)
    context = body.setdefault("context", {})
    if earlier and (relation := VOCABULARIES["DocumentRelation"].find(event)):
        id_ = building.id_of("DocumentReference", earlier.get("system", ""), earlier["value"])
        target = {"reference": f"DocumentReference/{id_}", "identifier": earlier}
        body["relatesTo"] = [{"code": relation.code, "target": target}]
    elif earlier:
        context["related"] = [{"type": "DocumentReference", "identifier": earlier}]
    if building.encounter:
        context["encounter"] = [{"reference": f"Encounter/{building.encounter}"}]
    orders = [one.body for one in building.resources if one.type == "ServiceRequest"]
    if orders:
        add_to(context, {"related": [{"reference": f"ServiceRequest/{one['id']}"} for one in orders]})
    elif numbers := [one for field in (14, 15) if (one := entity(txa.first_whole(field), building))]:
        add_to(context, {"related": [{"identifier": one} for one in numbers]})
    if not context:
        del body["context"]
    return building.add(body)


def _document_id(txa: Segment, building: Building) -> str:
    own = entity(txa.first_whole(12), building)
    if own:
        return building.id_of("DocumentReference", own.get("system", ""), own["value"])
    file = text(txa.first(16))
    if file:
        return building.id_within("DocumentReference", "file", file)
    building.note("required", 12, "No document number and no file name: the document stands for this message alone.")
    return building.id_within("DocumentReference", building.patient, "message", building.control_id, txa.label)


def _words(whole: str) -> Body:
    data = base64.b64encode(whole.encode()).decode("ascii")
    return {"contentType": _PLAIN, "data": data} if whole.strip() else {}
