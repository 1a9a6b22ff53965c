"""What one record becomes while it is read: its resources and notes, and where they came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from normalise.ids import id_within
from schemas.records import Normalised, Refusal, Resource, SourceContext

Body = dict[str, Any]

#: Extension of Provenance.target: where in the sender's record the resource comes from.
PLACE: Final = "urn:xinglin:fhir:StructureDefinition:segment"
_ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_TYPES: Final = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"


class Collector:
    """The resources and notes of one record, in the order in which it gives them.

    Args:
        context: The source.
        record: The sender's id of the record (a document's, a row's, an object's); unique inside the source.
        mapping: Version of the mapping that reads it.
    """

    def __init__(self, context: SourceContext, record: str, mapping: str) -> None:
        self.context = context
        self.record = record
        self.mapping = mapping
        self.notes: list[Refusal] = []
        self.facts: dict[str, str] = {}
        self._resources: dict[tuple[str, str], Resource] = {}

    def note(self, code: str, where: str, message: str) -> None:
        """What could not be read fully is told, once."""
        note = Refusal(code, where, message)
        if note not in self.notes:
            self.notes.append(note)

    def add(
        self, body: Body, where: str, patient: str | None = None, mode: Literal["update", "ensure"] = "update"
    ) -> Body:
        """The resource belongs to the record, once; what is mentioned again completes what stands.

        Args:
            body: The resource, with ``resourceType`` and ``id``.
            where: The sender's coordinates of it.
            patient: Id of the Patient whose it is; None for the institution's own (Practitioner, Organization).
            mode: ``update`` for news, ``ensure`` for what is only mentioned.

        Returns:
            The body that stands: ``body``, or the earlier one of the same type and id.
        """
        key = (body["resourceType"], body["id"])
        earlier = self._resources.get(key)
        if earlier is None:
            self._resources[key] = Resource(body, where, patient, mode)
            return body
        for name, value in body.items():
            earlier.body.setdefault(name, value)
        if mode == "update" != earlier.mode:
            self._resources[key] = Resource(earlier.body, earlier.segment, earlier.patient, mode)
        return earlier.body

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The resources so far, in order."""
        return tuple(self._resources.values())

    def finish(self, recorded: str = "", activity: str = "", agents: tuple[Body, ...] = ()) -> Normalised:
        """Return all of it, with a Provenance for each patient: source, record, place in it, mapping.

        What is the institution's own stands in that of the first patient, or in one of its own where there is none.

        Args:
            recorded: When the sender made the record, a FHIR instant; ``""`` where it does not say.
            activity: What the sender calls what happened.
            agents: Provenance.agent of who else had a part in it.
        """
        by_owner: dict[str | None, list[Body]] = {}
        for resource in self._resources.values():
            by_owner.setdefault(resource.patient, []).append(_target(resource))
        own = by_owner.pop(None, [])
        if own and by_owner:
            next(iter(by_owner.values())).extend(own)
        elif own:
            by_owner[None] = own
        for owner, targets in by_owner.items():
            self.add(self._provenance(owner or "", targets, recorded, activity, agents), "", owner)
        return Normalised(self.resources, tuple(self.notes), self.mapping, self.facts)

    def _provenance(
        self, patient: str, targets: list[Body], recorded: str, activity: str, agents: tuple[Body, ...]
    ) -> Body:
        institution, source = self.context.institution, self.context.source
        system = f"urn:xinglin:{institution}:source:{source}:message"
        unknown: Mapping[str, Any] = {"_recorded": {"extension": [{"url": _ABSENT, "valueCode": "unknown"}]}}
        author = {"identifier": {"value": institution}, "display": institution}
        return {
            "resourceType": "Provenance",
            "id": id_within("Provenance", institution, patient, source, self.record),
            "target": targets,
            **({"recorded": recorded} if recorded else unknown),
            **({"activity": {"text": activity}} if activity else {}),
            "agent": [_agent("author", author), _agent("assembler", {"display": f"xinglin {self.mapping}"}), *agents],
            "entity": [{"role": "source", "what": {"identifier": {"system": system, "value": self.record}}}],
        }


def _target(resource: Resource) -> Body:
    place = [{"url": PLACE, "valueString": resource.segment}] if resource.segment else []
    return {
        "reference": f"{resource.type}/{resource.id}",
        **({"extension": place} if place else {}),
    }


def _agent(type_: str, who: Body) -> Body:
    return {"type": {"coding": [{"system": _TYPES, "code": type_}]}, "who": who}
