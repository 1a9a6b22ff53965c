"""Whose a resource is: the Patient compartment of FHIR R4 as a table, and what the record itself knows.

Source: FHIR R4, CompartmentDefinition/patient; rows of ours for types that it leaves out and that are about a patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from normalise.fhir.addresses import Addresses
from normalise.fhir.tables import COMPARTMENT

Body = dict[str, Any]

_PATIENT: Final = "Patient/"


def owners(bodies: Sequence[Body], addresses: Addresses) -> list[str | None]:
    """Return the patient of each resource, in order; None for the institution's own.

    What names no patient itself and is about something else of the record (a Provenance, an AuditEvent) has that one's
    patient.
    """
    found = [_own(body, addresses) for body in bodies]
    known = {(body["resourceType"], body["id"]): owner for body, owner in zip(bodies, found, strict=True)}
    return [owner or _through(body, known) for body, owner in zip(bodies, found, strict=True)]


def _own(body: Body, addresses: Addresses) -> str | None:
    if body["resourceType"] == "Patient":
        return str(body["id"])
    for node in pointing(body):
        reference = node.get("reference")
        if isinstance(reference, str) and reference.startswith(_PATIENT):
            return reference.removeprefix(_PATIENT)
        if isinstance(reference, str) and reference.startswith("#"):
            if (inner := _contained(body, reference[1:])) is not None:
                return addresses.contained(body["id"], inner)
        elif reference is None and (named := _logical(node, addresses)) is not None:
            node["reference"] = f"{_PATIENT}{named}"
            return named
    return None


def _logical(node: Body, addresses: Addresses) -> str | None:
    """Return the patient that a reference names by an identifier alone."""
    identifier = node.get("identifier")
    if node.get("type") != "Patient" or not isinstance(identifier, dict):
        return None
    parts = (identifier.get("value"), identifier.get("system", ""))
    return addresses.by_identifier("Patient", [identifier]) if all(isinstance(one, str) for one in parts) else None


def _through(body: Body, known: Mapping[tuple[str, str], str | None]) -> str | None:
    for node in pointing(body):
        type_, _, id_ = str(node.get("reference", "")).partition("/")
        if (owner := known.get((type_, id_))) is not None:
            return owner
    return None


def pointing(body: Body) -> Iterator[Body]:
    """Yield the references of a resource that say whose it is, those of its subject first."""
    for path in COMPARTMENT.get(body["resourceType"], ()):
        nodes: list[Any] = [body]
        for name in path:
            below = (node.get(name) for node in nodes if isinstance(node, dict))
            nodes = [one for found in below for one in (found if isinstance(found, list) else (found,))]
        yield from (node for node in nodes if isinstance(node, dict))


def _contained(body: Body, id_: str) -> Body | None:
    inside = body.get("contained")
    for one in inside if isinstance(inside, list) else ():
        if isinstance(one, dict) and one.get("id") == id_ and one.get("resourceType") == "Patient":
            return one
    return None


def contained_patient(body: Body, owner: str | None) -> Body | None:
    """Return the patient that only stands inside its own data, as a resource of its own; None where there is none."""
    for node in pointing(body):
        reference = node.get("reference")
        inner = _contained(body, reference[1:]) if isinstance(reference, str) and reference.startswith("#") else None
        if inner is not None and owner is not None:
            return {**{key: value for key, value in inner.items() if key != "meta"}, "id": owner}
    return None
