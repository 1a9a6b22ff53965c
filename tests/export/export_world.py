"""A founded region whose hospitals hold sealed patients, some of whom permit research; only Airflow is not there."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from dags.steps import publish
from dags.steps.site import Site
from ledger.carrier import Carrier, carry_block
from ledger.chain.state import REQUEST
from ledger.chain.transaction import Transaction
from ledger.chain.validators import institution_id, key_id
from ledger.messages.access import AccessRequest
from ledger.messages.approval import Approval
from ledger.messages.asked import SelectionAsked
from ledger.messages.consent import Consent
from ledger.messages.provisions import Provision
from schemas.records import RawRecord, Resource
from schemas.sharing import Code, Cohort, DatasetRequest, Demands, Ethics
from shangmi import sm3
from sharing.package import Opened
from sharing.request import desk, write_request
from vault.batches import RecordResult
from vault.store import Vault

EAST, WEST, RESEARCH, INSURER = "hospital-east", "hospital-west", "research-institute", "insurer"
COMMITTEE = ("hospital-district", "health-commission")
LOINC = "http://loinc.org"
CREATININE, GLUCOSE = "2160-0", "2345-7"
WHEN = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
NAME = "欧阳䶮"
#: Everybody has one of these.
MEASURED = Cohort(criteria=((Code(LOINC, CREATININE), Code(LOINC, GLUCOSE)),))
PERMIT = Provision(permits=True, purposes=frozenset({"research"}))

VALUES: dict[str, Any] = {
    "resourceType": "ViewDefinition", "name": "values", "status": "active", "resource": "Observation",
    "select": [
        {
            "column": [
                {"name": "patient", "path": "subject.getReferenceKey(Patient)", "type": "string"},
                {"name": "code", "path": "code.coding.first().code", "type": "string"},
                {"name": "value", "path": "value.ofType(Quantity).value", "type": "decimal"},
            ]
        }
    ],
}  # fmt: skip
PEOPLE: dict[str, Any] = {
    "resourceType": "ViewDefinition", "name": "people", "status": "active", "resource": "Patient",
    "select": [
        {
            "column": [
                {"name": "patient", "path": "getResourceKey()", "type": "string"},
                {
                    "name": "born", "path": "birthDate", "type": "date",
                    "tag": [
                        {"name": "xinglin/role", "value": "quasi-identifier"},
                        {"name": "xinglin/hierarchy", "value": "date"},
                    ],
                },
                {
                    "name": "sex", "path": "gender", "type": "code",
                    "tag": [{"name": "xinglin/role", "value": "quasi-identifier"}],
                },
            ]
        }
    ],
}  # fmt: skip


def person(at: str, number: int, chance: random.Random) -> list[Resource]:
    """One patient with three measurements and a diagnosis."""
    id_ = f"{at}-{number}"
    born = date(1950 + 10 * (number % 4), 1 + number % 12, 1 + number % 28)
    patient = {
        "resourceType": "Patient", "id": id_, "identifier": [{"system": f"urn:{at}:mr", "value": f"MR-{id_}"}],
        "name": [{"text": f"{NAME}{number}"}], "gender": "female" if number % 2 else "male",
        "birthDate": born.isoformat(), "telecom": [{"system": "phone", "value": f"1390000{number:04}"}],
        "address": [{"text": "和平路8号", "state": "北京市", "district": "朝阳区"}],
    }  # fmt: skip
    made = [Resource(patient, "PID", id_)]
    for place, code in enumerate((CREATININE, CREATININE, GLUCOSE)):
        made.append(measured(id_, place, code, round(chance.uniform(40, 140), 1), 3 + place))
    return made


def measured(patient: str, place: int, code: str, value: float, month: int) -> Resource:
    body = {
        "resourceType": "Observation", "id": f"{patient}-{place}", "status": "final",
        "category": [
            {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}
        ],
        "code": {"coding": [{"system": LOINC, "code": code}], "text": f"肌酐 {NAME}"},
        "subject": {"reference": f"Patient/{patient}", "display": NAME},
        "effectiveDateTime": f"2026-{month:02}-11T08:00:00+08:00",
        "valueQuantity": {"value": value, "unit": "umol/L", "system": "http://unitsofmeasure.org", "code": "umol/L"},
    }  # fmt: skip
    return Resource(body, "OBX[1]", patient)


def seal(vault: Vault, people: Iterable[list[Resource]], source: str) -> None:
    """Each person's resources come as one message and are sealed and reconciled."""
    messages: dict[str, list[Resource]] = {}
    for number, resources in enumerate(people):
        native = f"{source}-{resources[0].body['id']}-{number}-{len(resources)}"
        vault.landing.put(RawRecord(source, native, native.encode(), "hl7v2", WHEN, f"message {number}"))
        messages[native] = resources
    for batch in vault.batches.plan(source, 500, "a run"):
        landed = list(vault.batches.records(batch))
        results = [RecordResult(one.id, "sealed", tuple(messages[one.raw.native_id])) for one in landed]
        vault.batches.settle(batch, results, "map/1")
        vault.batches.reconcile(batch)


@dataclass(slots=True)
class World:
    """The region and who does what in it."""

    at: Site
    people: int = 60

    def fill(self, *holders: str) -> None:
        """These hospitals hold sealed, published patients."""
        for holder in holders:
            chance = random.Random(holder)
            seal(self.at.vault(holder), (person(holder, one, chance) for one in range(self.people)), f"{holder}-his")
            publish.submit(holder, self.at)
        self.grow()

    def grow(self) -> int | None:
        """One block of what is offered."""
        return carry_block([Carrier(self.at.node(one.id), self.at.exchange) for one in self.at.region.institutions])

    def offer(self, institution: str, kind: type[Transaction], **fields: Any) -> bytes:
        node = self.at.node(institution)
        draft = kind(**node.heading(), **fields)
        self.at.exchange.post_submission(node.sign(draft), b"")
        return draft.tx_id

    def say(self, holder: str, numbers: Iterable[int], sequence: int = 1, **fields: Any) -> None:
        """These patients' statements are offered; without fields they permit research."""
        said = fields or {"provisions": (PERMIT,)}
        for one in numbers:
            patient = self.at.vault(holder).summaries.patient(f"{holder}-{one}")
            self.offer(holder, Consent, patient=patient, sequence=sequence, reference=sm3(b"form"), **said)

    def request(
        self, *holders: str, views: Collection[Mapping[str, Any]] = (VALUES,), **changes: Any
    ) -> DatasetRequest:
        """A request of the research institute's."""
        made = DatasetRequest(
            self.at.genesis.chain_id, "Creatinine and glucose", RESEARCH, tuple(sorted(holders)), "research", "", b"",
            MEASURED, {one["name"]: dict(one) for one in views}, "gbt-37964", Demands(suppression=200), False, 10_000,
            Ethics("Ethics committee", "2026-17", (date(2026, 1, 1), date(2126, 1, 1)), sm3(b"approval")),
            date(2026, 11, 20), date(2027, 11, 20), random.randbytes(16),
        )  # fmt: skip
        return replace(made, **changes)

    def submit(self, request: DatasetRequest) -> bytes:
        """The request is posted, offered, and approved by two of the committee; returns its id."""
        digest = desk.post(self.at.exchange, write_request(request))
        me = self.at.genesis.validators.member(institution_id(request.requester))
        assert me is not None
        tx = self.offer(
            request.requester, AccessRequest, asked=SelectionAsked(digest, request.most),
            holders=tuple(sorted(map(institution_id, request.holders))), purpose=request.purpose,
            answer_key=key_id(me.public_key), ethics=request.ethics.digest if request.ethics else bytes(32),
        )  # fmt: skip
        self.grow()
        if self.state(REQUEST, tx) is not None:
            for member in COMMITTEE:
                self.offer(member, Approval, request=tx, digest=digest, approves=True)
            self.grow()
        return tx

    def state(self, kind: int, identity: bytes) -> bytes | None:
        found: bytes | None = self.at.replica(EAST).view.state(kind, identity)
        return found


def counts(excluded: Iterable[Any]) -> Mapping[tuple[str, str], int]:
    """What was left out, by stage and reason."""
    return {(one.stage, one.reason): one.count for one in excluded}


def table(opened: Opened, name: str) -> Any:
    """A table of an opened package."""
    import pyarrow.parquet as pq

    with opened.file(f"tables/{name}.parquet") as stream:
        return pq.read_table(stream).to_pandas()
