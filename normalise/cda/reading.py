"""One document being read: what it has become so far, and where the reader stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from normalise.cda.tables import MAPPING, SectionRule
from normalise.cda.tree import Node
from normalise.collecting import Collector
from normalise.ids import derive, id_within
from schemas.records import SourceContext

Body = dict[str, Any]

#: The section of a statement that stands in none.
NO_SECTION = SectionRule("", "", "", "")


class Reading:
    """A document's resources, its patient and its narrative.

    Attributes:
        zone: IANA name of the zone of times without an offset.
        institution: Its source's institution, which scopes identifiers without a global assigner.
        document: Identity of the document: root and extension of its id.
        collector: Resources and notes so far.
        patient: Id of the patient.
        where: The sender's coordinate of what is being read (``ClinicalDocument/component[3]/entry[2]``).
        section: Rule of the section being read.
        mentions: Elements of narrative by their ID.
        ordinal: Number, from 1, of the element that a row of a table has just found.
    """

    def __init__(self, context: SourceContext, document: str) -> None:
        self.zone = context.time_zone
        self.institution = context.institution
        self.document = document
        self.collector = Collector(context, document, MAPPING)
        self.patient = ""
        self.where = "ClinicalDocument"
        self.section = NO_SECTION
        self.mentions: dict[str, Node] = {}
        self.ordinal = 1
        self._made: dict[tuple[str, str], Body] = {}
        self._noted: set[tuple[str, str]] = set()
        self._placed: Counter[tuple[str, str]] = Counter()

    def note(self, code: str, message: str, below: str = "") -> None:
        """The note is kept once a document, with the place of its first occasion."""
        if (code, message) not in self._noted:
            self._noted.add((code, message))
            self.collector.note(code, f"{self.where}/{below}" if below else self.where, message)

    @contextmanager
    def at(self, step: str) -> Iterator[None]:
        """What is read meanwhile stands a step further down."""
        before = self.where
        self.where = f"{before}/{step}"
        try:
            yield
        finally:
            self.where = before

    def statement_id(self, type_: str, root: str, extension: str) -> str:
        """Return the id of a patient's thing: by its own id within the patient, else by its place in the document.

        Systems reuse one root for all their patients, so an id names a thing only together with its patient.
        """
        if root:
            return id_within(type_, self.institution, self.patient, root, extension)
        return id_within(type_, self.institution, self.document, *self._place(type_))

    def _place(self, type_: str) -> tuple[str, str]:
        """Where the reader stands, and how many of the type it has met there: no two are the same."""
        self._placed[type_, self.where] += 1
        return self.where, str(self._placed[type_, self.where])

    def add(self, body: Body) -> Body:
        """The patient's resource belongs to the document; returns the reference to it.

        What the document says twice, it says once; two different things under one id get ids of their own.
        """
        key = (body["resourceType"], body["id"])
        earlier = self._made.get(key)
        if earlier is not None and earlier != body:
            self.note("structure", "Two different entries have the same id; the later one is known by its place.")
            body["id"] = derive(body["resourceType"], body["id"], self.document, *self._place(key[0]))
            key = (body["resourceType"], body["id"])
            earlier = self._made.get(key)
        if earlier is None:
            self._made[key] = body.copy()
            self.collector.add(body, self.where, self.patient)
        return {"reference": f"{key[0]}/{key[1]}"}

    def mention(self, body: Body, *, own: bool = False, mode: Literal["update", "ensure"] = "ensure") -> Body:
        """What the document only mentions (people, organisations) is stored where nothing stands yet."""
        self.collector.add(body, self.where, self.patient if own else None, mode)
        return {"reference": f"{body['resourceType']}/{body['id']}"}
