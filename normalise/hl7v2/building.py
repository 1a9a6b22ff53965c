"""What one message becomes while it is read: its resources so far, its notes, and where the reader stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from normalise.hl7v2.identity import assigner
from normalise.hl7v2.message import Segment
from normalise.ids import id_of, id_within
from schemas.records import Refusal, Resource, SourceContext

Body = dict[str, Any]


class Building:
    """The resources and notes of one message, in the order in which its segments give them.

    Attributes:
        context: The source.
        institution: Its institution, which scopes identifiers without a global assigner.
        zone: IANA name of the zone of times without an offset.
        scope: Institution and zone: what, beside itself, a coded field or a time depends on.
        notes: What could not be read fully.
        at: The segment being read.
        asked: How often anything was noted, repeats included.
        patient: Id of the patient whose data follow.
        encounter: Id of the encounter that they belong to, or None.
        account: The patient's account, or None.
        remembered: References already made in this message, by kind and raw field.
    """

    __slots__ = (
        "_assigners",
        "_noted",
        "_resources",
        "_watched",
        "account",
        "asked",
        "at",
        "context",
        "control_id",
        "encounter",
        "institution",
        "notes",
        "patient",
        "remembered",
        "scope",
        "zone",
    )

    def __init__(self, context: SourceContext, first: Segment, control_id: str) -> None:
        self.context = context
        self.institution = context.institution
        self.zone = context.time_zone
        self.scope = f"{context.institution} {context.time_zone}"
        self.control_id = control_id
        self.notes: list[Refusal] = []
        self.asked = 0
        self.at = first
        self.patient = ""
        self.encounter: str | None = None
        self.account: Body | None = None
        self.remembered: dict[tuple[str, str], Body | None] = {}
        self._resources: dict[tuple[str, str], Resource] = {}
        self._assigners: dict[str, str] = {}
        self._watched: list[Body] | None = None
        self._noted: set[tuple[str, str]] = set()

    def note(self, code: str, field: int, message: str) -> None:
        """The note is kept once a message, with the place of its first occasion; ``field`` 0 is the segment."""
        self.asked += 1
        if (code, message) not in self._noted:
            self._noted.add((code, message))
            where = f"{self.at.label}-{field}" if field else self.at.label
            self.notes.append(Refusal(code, where, message))

    def add(self, body: Body, mode: Literal["update", "ensure"] = "update", *, own: bool = True) -> Body:
        """The resource belongs to the message, once. What is mentioned twice is completed; news twice is noted.

        Args:
            body: The resource, with ``resourceType`` and ``id``.
            mode: ``update`` for news, ``ensure`` for what is only mentioned.
            own: Whether it is the patient's; the institution's own (Practitioner…) otherwise.

        Returns:
            The body that stands in the message: ``body``, or the earlier one of the same id.
        """
        key = (body["resourceType"], body["id"])
        if self._watched is not None:
            self._watched.append(body)
        earlier = self._resources.get(key)
        if earlier is None:
            self._resources[key] = Resource(body, self.at.label, self.patient if own else None, mode)
            return body
        if own:
            self.note("structure", 0, "The message says the same thing twice; the first is kept.")
        else:
            add_to(earlier.body, body)
        if mode == "update" != earlier.mode:
            self._resources[key] = Resource(earlier.body, earlier.segment, earlier.patient, mode)
        return earlier.body

    def find(self, type_: str, id_: str) -> Body | None:
        """Return the resource of this message with this type and id, if there is one yet."""
        found = self._resources.get((type_, id_))
        return found.body if found else None

    def complete(self, reference: Body, found: Body) -> None:
        """What the referred resource of this message does not say yet, it says now."""
        type_, _, id_ = reference["reference"].partition("/")
        for name, value in found.items():
            self._resources[type_, id_].body.setdefault(name, value)

    def watch(self, make: Callable[[str, Building], Body | None], raw: str) -> tuple[Body | None, list[Body]]:
        """Return what ``make`` returns, and the resources that it added."""
        added: list[Body] = []
        self._watched = added
        try:
            return make(raw, self), added
        finally:
            self._watched = None

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The resources so far, in order."""
        return tuple(self._resources.values())

    def learn_assigner(self, namespace: str, universal: str) -> None:
        """A namespace that this message gave a universal id for means the same id where it stands alone."""
        if namespace and universal:
            self._assigners.setdefault(namespace, universal)

    def assigner(self, namespace: str, universal: str) -> tuple[str, str]:
        """Return system and name of an assigning authority (HD) of this message."""
        return assigner(namespace, universal or self._assigners.get(namespace, ""), self.institution)

    def id_of(self, type_: str, system: str, value: str) -> str:
        """Return the id of the thing of this type that an identifier names; local ones are the institution's."""
        return id_of(type_, system, value, self.institution)

    def id_within(self, type_: str, *parts: str) -> str:
        """Return the id of a thing that only has a meaning inside something of this institution."""
        return id_within(type_, self.institution, *parts)


def add_to(body: Body, found: Body) -> None:
    """What is new in ``found`` stands in ``body``: elements it lacks, and elements of lists."""
    for name, value in found.items():
        if isinstance(value, list) and name in body:
            body[name] += [one for one in value if one not in body[name]]
        else:
            body.setdefault(name, value)
