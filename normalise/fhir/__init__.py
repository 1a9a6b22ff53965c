"""FHIR R4 resources of others as ours. Pure functions: no I/O, no clock, the same input gives the same output.

What a resource says stays as it was sent: elements, extensions, meta, contained resources. Changed are its id and the
references in it, so that they mean the same thing here whatever record they come in. Whether it is valid FHIR is the
next stage's question. A deletion becomes the least resource of its type that says it was entered in error or is no
longer active, and a Provenance that says DELETE.
"""

from __future__ import annotations

import copy
import hashlib
import re
from typing import Any, Final

from normalise.collecting import Collector
from normalise.errors import set_aside
from normalise.fhir.addresses import Addresses
from normalise.fhir.entries import Held, held
from normalise.fhir.owning import contained_patient, owners
from normalise.fhir.reading import read
from normalise.fhir.rebasing import Rebasing
from normalise.fhir.tables import DELETED, MAPPING, TYPES
from normalise.ids import id_within
from schemas.records import Normalised, SourceContext

__all__ = ["MAPPING", "convert"]

Body = dict[str, Any]

#: Entries of one bundle, at most: a transaction of the vault holds them together.
ENTRIES: Final = 10_000
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}", re.ASCII)
_DELETION: Final = {"system": "http://terminology.hl7.org/CodeSystem/v3-DataOperation", "code": "DELETE"}


def convert(content: bytes, context: SourceContext) -> Normalised:
    """Return the resources that one record of FHIR JSON becomes: a resource, a bundle, or Parameters.

    Args:
        content: One resource in JSON, UTF-8.
        context: The source.

    Raises:
        SetAside: The record is refused; the only exception that any bytes can cause.
    """
    sent = read(content)
    everything: list[Held] = []
    by_condition: list[Held] = []
    for one in held(sent):
        (by_condition if one.deleted and "id" not in one.body else everything).append(one)
    if len(everything) > ENTRIES:
        raise set_aside("oversize", "Bundle.entry", f"Expected at most {ENTRIES} entries; send it in several bundles.")
    addresses = Addresses(context)
    collector = Collector(context, _record(sent, content), MAPPING)
    collector.facts = _facts(sent)
    for one in by_condition:
        collector.note("unresolved", one.where, "A deletion by condition names no resource; nothing was deleted here.")
    names = [_named(one, addresses) for one in everything]
    rebasing = Rebasing(addresses, collector)
    for one, name in zip(everything, names, strict=True):
        if not one.deleted:
            rebasing.run(one)
            one.body["id"] = name
    _collect(everything, names, addresses, collector)
    activity = "DELETE" if any(one.deleted for one in everything) else collector.facts["Bundle.type"]
    return collector.finish(collector.facts["recorded"], activity)


def _named(one: Held, addresses: Addresses) -> str:
    type_ = one.body["resourceType"]
    if type_ not in TYPES:
        raise set_aside("not_fhir", f"{one.where}.resourceType", "Expected a type of resource of FHIR R4; correct it.")
    sent = one.body.get("id")
    if sent is not None and not (isinstance(sent, str) and _ID.fullmatch(sent)):
        raise set_aside("bad_value", f"{one.where}.id", "Expected an id of 1 to 64 letters, digits, - and . (FHIR R4).")
    return addresses.name(one)


def _collect(everything: list[Held], names: list[str], addresses: Addresses, collector: Collector) -> None:
    bodies = [
        _gone(one.body["resourceType"], name) if one.deleted else one.body
        for one, name in zip(everything, names, strict=True)
    ]
    met: set[tuple[str, str]] = set()
    for one, body, owner in zip(everything, bodies, owners(bodies, addresses), strict=True):
        if (body["resourceType"], body["id"]) in met:
            # A history says the newest version first.
            collector.note("structure", one.where, "The record says the same resource again; the first is kept.")
            continue
        met.add((body["resourceType"], body["id"]))
        if one.deleted:
            _delete(one, body, owner, collector)
            continue
        if (patient := contained_patient(body, owner)) is not None:
            collector.add(patient, f"{one.where}.contained", owner, "ensure")
        collector.add(body, one.where, owner)


def _gone(type_: str, name: str) -> Body:
    return {**copy.deepcopy(DELETED.get(type_, {"resourceType": type_})), "id": name}


def _delete(one: Held, body: Body, owner: str | None, collector: Collector) -> None:
    """What was deleted says so, as far as its type can; a Provenance says it for every type."""
    if body["resourceType"] in DELETED:
        collector.add(body, one.where, owner)
    institution = collector.context.institution
    agent = {"who": {"identifier": {"value": institution}, "display": institution}}
    unknown = {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}
    recorded = collector.facts["recorded"]
    proof = {
        "resourceType": "Provenance",
        "id": id_within("Provenance", institution, "deleted", body["resourceType"], body["id"]),
        "target": [{"reference": f"{body['resourceType']}/{body['id']}"}],
        **({"recorded": recorded} if recorded else {"_recorded": {"extension": [unknown]}}),
        "activity": {"coding": [dict(_DELETION)]},
        "agent": [agent],
    }
    collector.add(proof, one.where, owner)


def _many(sent: Body) -> bool:
    return bool(sent["resourceType"] == "Bundle")


def _record(sent: Body, content: bytes) -> str:
    """Return the sender's name of the record: type, id and version; a bundle's identifier; else its digest."""
    identifier, meta = sent.get("identifier"), sent.get("meta")
    if _many(sent) and isinstance(identifier, dict) and isinstance(identifier.get("value"), str):
        return f"Bundle {identifier.get('system', '')}|{identifier['value']}"
    version = meta.get("versionId", meta.get("lastUpdated", "")) if isinstance(meta, dict) else ""
    if isinstance(sent.get("id"), str) and not _many(sent):
        name = f"{sent['resourceType']}/{sent['id']}"
        return f"{name}/_history/{version}" if version else name
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _recorded(sent: Body) -> str:
    meta = sent.get("meta")
    for told in (sent.get("timestamp"), meta.get("lastUpdated") if isinstance(meta, dict) else None):
        if isinstance(told, str) and _INSTANT.fullmatch(told):
            return told
    return ""


def _facts(sent: Body) -> dict[str, str]:
    """What quality rules read beside the resources."""
    type_ = sent.get("type")
    return {
        "resourceType": sent["resourceType"],
        "Bundle.type": type_ if _many(sent) and isinstance(type_, str) else "",
        "recorded": _recorded(sent),
    }
