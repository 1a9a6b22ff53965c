"""Made-up records and resources, and the way of one batch, for the tests of the vault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pymongo.database import Database

from schemas.records import RawRecord, Refusal, Resource, Unreadable
from shangmi import sm3
from vault.batches import RecordResult
from vault.store import Vault

CHAIN = bytes(range(32))
WHEN = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
NAME = "欧阳䶮𠮷"


def raw(number: int, source: str = "east-his", text: str = "") -> RawRecord:
    content = f"MSH|^~\\&|HIS|EAST|||20261120||ORU^R01|M{number}|P|2.5\rPID|||MR{number}||{NAME}{text}\r".encode()
    return RawRecord(source, f"HIS|EAST|M{number}", content, "hl7v2", WHEN, f"message {number} of file 7f3a")


def unreadable(number: int, code: str = "not_hl7") -> Unreadable:
    head = f"rubbish {number} {NAME}".encode()
    refusal = Refusal(code, "file byte 812", "expected MSH, got 4 other bytes; send the file again")
    return Unreadable("east-his", refusal, sm3(head).hex(), len(head), head, WHEN, "file 7f3a")


def patient(id_: str, name: str = NAME, **changes: Any) -> Resource:
    body = {
        "resourceType": "Patient",
        "id": id_,
        "identifier": [{"system": "urn:east:mr", "value": f"MR-{id_}"}],
        "name": [{"text": name}],
    }
    return replace(Resource(body, "PID", id_), **changes)


def practitioner(id_: str = "dr-li", name: str = "李医生") -> Resource:
    return Resource({"resourceType": "Practitioner", "id": id_, "name": [{"text": name}]}, "OBR", None)


def observation(id_: str, of: str, value: float = 13.2, code: str = "718-7") -> Resource:
    body = {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": f"Patient/{of}"},
        "valueQuantity": {"value": value, "unit": "g/dL"},
    }
    return Resource(body, "OBX[1]", of)


def refused(landed_id: str, code: str = "bad_value", where: str = "PID-7") -> RecordResult:
    return RecordResult(landed_id, "quarantined", (), Refusal(code, where, "expected a date of 8 digits, got 5"))


Resources = Callable[[RawRecord], Sequence[Resource]]


def run(vault: Vault, source: str, resources: Resources, size: int = 100) -> list[str]:
    """Everything that waits of the source is sealed and reconciled; returns the ids of the batches."""
    ids = vault.batches.plan(source, size, "a run")
    for batch in ids:
        results = [RecordResult(one.id, "sealed", tuple(resources(one.raw))) for one in vault.batches.records(batch)]
        vault.batches.settle(batch, results, "map/1")
        vault.batches.reconcile(batch)
    return ids


def seal_one(vault: Vault, number: int, *resources: Resource, source: str = "east-his") -> str:
    """One message with these resources goes all the way; returns its batch."""
    vault.landing.put(raw(number, source))
    return run(vault, source, lambda _: resources)[0]


def everything(database: Database[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Every document of the database, to show that nothing changed."""
    return {
        name: sorted(database[name].find(), key=lambda one: str(one["_id"]))
        for name in sorted(database.list_collection_names())
    }
