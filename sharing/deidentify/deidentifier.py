"""De-identification of FHIR R4 resources by a profile: listed elements, each changed as the profile says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import date
from typing import Any, Final

from sharing.deidentify.compiler import compiled
from sharing.deidentify.profile import Profile
from sharing.deidentify.report import Report
from sharing.deidentify.run import Run, now

#: All that is said about a resource: that its identities are pseudonyms (HL7 v3 ObservationValue, security labels).
_META: Final = {
    "security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "PSEUDED"}]
}
_REPLACED: Final = (("meta", "meta"), ("text", "unlisted"), ("language", "unlisted"))


class Deidentifier:
    """De-identifies the resources of one dataset; everything it returns is made of listed values only.

    Not for several threads at once. Equal profile, secret, person, ``today`` and resource give equal results.

    Args:
        profile: What may leave, and how.
        secret: 32 random bytes, one for each dataset and holder.
        today: Date by which the oldest are capped; today's where left out. A dataset that is cut again needs the same.

    Attributes:
        profile: As given.
        report: What was dropped and changed so far.

    Raises:
        ConfigurationError: The profile's rules do not fit FHIR R4.
        ValueError: The secret has another length.
    """

    def __init__(self, profile: Profile, secret: bytes, *, today: date | None = None) -> None:
        self.profile = profile
        self.report = Report()
        self._steps = compiled(profile)
        self._run = Run(profile, secret, today or now(), frozenset(self._steps))
        self._run.counts = self.report.counts

    def resource(self, body: Mapping[str, Any], person: bytes, known: Collection[str] = ()) -> dict[str, Any] | None:
        """Return what may leave of a resource, or None where nothing of it may.

        Args:
            body: A FHIR R4 resource in JSON's shapes; it is not changed. Parts of other shapes are dropped.
            person: Whose it is; dates of one person move together. Any bytes.
            known: Names and numbers of this person, which scrubbing looks for in texts.

        Returns:
            A resource, valid where ``body`` was. Parts may be shared between results: do not change it.
        """
        self.report.taken += 1
        self._run.whose(person, known)
        try:
            found = self._resource(dict(body))
        except RecursionError:  # nothing that people record is nested so deeply
            self.report.note(self._named(body.get("resourceType")), "shape")
            return None
        if found is not None:
            self.report.left += 1
        return found

    def bundle(self, body: Mapping[str, Any], whose: Callable[[Mapping[str, Any]], bytes]) -> dict[str, Any]:
        """Return a Bundle of type collection with what may leave of its entries; references among them still meet.

        Args:
            body: A Bundle of any type.
            whose: Returns the person of a resource, as in ``resource``.
        """
        from sharing.deidentify.bundles import bundle

        return bundle(self, self._run, body, whose)

    def _resource(self, body: dict[str, Any]) -> dict[str, Any] | None:
        run = self._run
        kind = body.pop("resourceType", None)
        step = self._steps.get(kind) if type(kind) is str else None
        if step is None:
            run.counts[self._named(kind), "type"] += 1
            return None
        id_ = body.pop("id", None)
        for name, rule in _REPLACED:  # the narrative says everything again, in words
            if body.pop(name, None) is not None:
                run.counts[f"{kind}.{name}", rule] += 1
        contained = body.pop("contained", None)
        run.inside, run.seen = {}, set()
        if contained is not None:
            return self._containing(kind, id_, body, contained)
        return self._whole(kind, id_, step(body, run))

    def _whole(self, kind: str, id_: Any, found: dict[str, Any] | None) -> dict[str, Any] | None:
        if found is None:
            return None
        head: dict[str, Any] = {"resourceType": kind}
        if type(id_) is str:
            head["id"] = self._run.pseudonyms.id(kind, id_)
            self._run.counts[f"{kind}.id", "id:pseudonym"] += 1
        head["meta"] = _META
        return head | found

    def _containing(self, kind: str, id_: Any, body: dict[str, Any], contained: Any) -> dict[str, Any] | None:
        """Return a resource with those contained ones that may leave and that somebody refers to."""
        from sharing.deidentify.bundles import within

        run = self._run
        inner = within(run, kind, contained, self._steps)
        found = self._whole(kind, id_, self._steps[kind](body, run))
        if found is None:
            return None
        kept = inner()
        return {**found, "contained": kept} if kept else found

    def _named(self, kind: Any) -> str:
        """Return a type's name for the report, unless the sender made it up."""
        from sharing.deidentify.definitions import resource_types

        return kind if type(kind) is str and kind in resource_types() else "(not FHIR)"
