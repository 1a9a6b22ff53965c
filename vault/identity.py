"""What every Patient brings as evidence of who the person is: blind tokens only, kept with the newest version.

Two collections: ``identities`` has one document a patient (its identifiers' tokens, its resident numbers' tokens, and
what speaks against them), ``identity_links`` one a pair of patients that a sender merged or took apart again. The
later arrival decides, in whatever order they are settled. What follows from all of it is read in ``vault/persons.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pymongo import UpdateOne

from schemas.records import Resource
from schemas.residents import RESIDENT, birth_date, gender, is_resident_number
from vault.blind_index import BlindIndex
from vault.layout import PAST, Document

#: Extension of a Patient: another Patient that it was taken for and is not (HL7 v2 A37, unlink).
UNLINKED: Final = "urn:xinglin:fhir:StructureDefinition:unlinked"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one version of a Patient says about who it is.

    Attributes:
        owner: Token of the patient.
        numbers: Tokens of its identifiers that name their assigner, resident numbers apart.
        residents: Tokens of its resident identity numbers, those with a right checksum.
        doubts: Which of ``birthDate`` and ``gender`` disagree with a resident number.
        links: Token of another patient, whether they are one, and whether the other replaces this one.
    """

    owner: bytes
    numbers: tuple[bytes, ...]
    residents: tuple[bytes, ...]
    doubts: tuple[str, ...]
    links: tuple[tuple[bytes, bool, bool], ...]


def evidence_of(resource: Resource, index: BlindIndex) -> Evidence | None:
    """Return what a resource tells about who the patient is; None for anything but a Patient."""
    body = resource.body
    if resource.type != "Patient":
        return None
    named = [one for one in body.get("identifier", ()) if one.get("system") and one.get("value")]
    residents = [str(one["value"]) for one in named if one["system"] == RESIDENT]
    good = [number for number in residents if is_resident_number(number)]
    others = [(one["system"], str(one["value"])) for one in named if one["system"] != RESIDENT]
    return Evidence(
        index.owner(resource.id),
        tuple(sorted({index.token("identifier", *one) for one in others})),
        tuple(sorted({index.token("identifier", RESIDENT, number) for number in good})),
        tuple(sorted({doubt for number in good for doubt in _doubts(number, body)})),
        tuple(_links(body, index)),
    )


def _doubts(number: str, body: Mapping[str, Any]) -> Iterator[str]:
    """A resident number holds birth date and gender; where the record says another, one of both is somebody else's."""
    born = str(body.get("birthDate", ""))
    if born and not str(birth_date(number)).startswith(born[:10]):
        yield "birthDate"
    if body.get("gender") in ("male", "female") and body["gender"] != gender(number):
        yield "gender"


def _links(body: Mapping[str, Any], index: BlindIndex) -> Iterator[tuple[bytes, bool, bool]]:
    for link in body.get("link", ()):
        if other := _patient(link.get("other")):
            yield index.owner(other), True, link.get("type") == "replaced-by"
    for extension in body.get("extension", ()):
        if extension.get("url") == UNLINKED and (other := _patient(extension.get("valueReference"))):
            yield index.owner(other), False, False


def _patient(reference: Any) -> str:
    type_, _, id_ = str((reference or {}).get("reference", "")).rpartition("/")
    return id_ if type_ == "Patient" else ""


def updates(evidence: Evidence, order: int) -> tuple[UpdateOne, list[UpdateOne]]:
    """Return the writes to ``identities`` and ``identity_links``; an earlier arrival changes nothing of a later one.

    Args:
        evidence: What one Patient says.
        order: Its record's place in order of arrival.
    """
    document = {
        "numbers": list(evidence.numbers), "residents": list(evidence.residents),
        "doubts": list(evidence.doubts), "order": order, "examined": False,
    }  # fmt: skip
    links = [_link(evidence.owner, other, one, replaced, order) for other, one, replaced in evidence.links]
    return _later(evidence.owner, document), links


def _link(owner: bytes, other: bytes, one: bool, replaced: bool, order: int) -> UpdateOne:
    pair = sorted((owner, other))
    # Both sides of a merge say it, one of them who survives; the pair's document says it for both.
    document = {"pair": pair, "one": one, "order": order}
    if replaced:
        document["survivor"] = other
    return _later(b"".join(pair), document, keep="survivor")


def _later(id_: bytes, document: Document, keep: str = "") -> UpdateOne:
    """An upsert that holds where nothing as late stands; ``keep`` names what an equally late one adds to."""
    literal = {name: {"$literal": value} for name, value in document.items()}
    standing: Any = {"$lt": [document["order"], {"$ifNull": ["$order", PAST]}]}
    merged: Any = {"$mergeObjects": [{"_id": id_}, literal]}
    if keep and keep not in document:
        same = {"$eq": [document["order"], {"$ifNull": ["$order", PAST]}]}
        kept = {"$cond": [{"$and": [same, {"$ne": [{"$type": f"${keep}"}, "missing"]}]}, {keep: f"${keep}"}, {}]}
        merged = {"$mergeObjects": [{"_id": id_}, literal, kept]}
    return UpdateOne({"_id": id_}, [{"$replaceWith": {"$cond": [standing, "$$ROOT", merged]}}], upsert=True)
