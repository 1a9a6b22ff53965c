"""Patients and observations in a real vault, for the tests of the catalogue."""

from __future__ import annotations

from datetime import UTC, datetime

from schemas.records import RawRecord, Resource
from vault.batches import RecordResult
from vault.store import Vault

NAME = "欧阳䶮"
LOINC = "http://loinc.org"
HAEMOGLOBIN = (LOINC, "718-7", "Hemoglobin")


def observation(number: int, of: int, when: str, code: tuple[str, str, str]) -> Resource:
    body = {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "code": {"coding": [dict(zip(("system", "code", "display"), code, strict=True))]},
        "subject": {"reference": f"Patient/p{of}"},
        "effectiveDateTime": when,
    }
    return Resource(body, "OBX", f"p{of}")


def patient(of: int) -> Resource:
    body = {"resourceType": "Patient", "id": f"p{of}", "name": [{"text": NAME}],
            "identifier": [{"system": "urn:mr", "value": f"MR{of}"}]}  # fmt: skip
    return Resource(body, "PID", f"p{of}")


def seal(vault: Vault, *resources: Resource) -> None:
    for resource in resources:
        content = f"{resource.type} {resource.body['id']}".encode()
        vault.landing.put(RawRecord("east-his", content.decode(), content, "hl7v2", datetime.now(UTC), "m"))
    batch = vault.batches.plan("east-his", 10_000, "run")[0]
    by_content = {f"{one.type} {one.body['id']}".encode(): one for one in resources}
    results = [
        RecordResult(one.id, "sealed", (by_content[one.raw.content],))
        for one in vault.batches.records(batch)
        if isinstance(one.raw, RawRecord)
    ]
    vault.batches.settle(batch, results, "map/1")
    vault.batches.reconcile(batch)
