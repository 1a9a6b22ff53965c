"""A region on whose chain datasets were asked for and allowed: what evidence is gathered from."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pymongo import MongoClient

sys.path.append(str(Path(__file__).parents[1] / "ledger"))  # the region's simulation lives beside the ledger's tests

from sharing_world import SharingRegion

from ledger.chain.leaves import Leaves, RecordLeaf
from ledger.chain.validators import institution_id
from ledger.messages.access import AccessRequest
from ledger.messages.approval import Approval
from ledger.messages.asked import SelectionAsked
from ledger.signatory import Submission
from schemas.sharing import Cohort, DatasetRequest, Demands, Ethics, Excluded
from shangmi import PublicKey, sm3
from sharing.package import Finished, ManifestFacts, Table, Writer
from sharing.package.evidence import gather
from sharing.package.names import DICTIONARY, JSON, NDJSON, PARQUET, table_part
from sharing.request import read_request, request_digest, write_request
from sharing.views import compile_view, dictionary, library

HOLDER, ASKER, REGULATOR, OTHER = "hospital-east", "hospital-west", "health-commission", "lab-centre"
FILE, ETHICS = sm3(b"the request file"), sm3(b"the ethics committee's document")
Record = tuple[bytes, int]


class DatasetRegion(SharingRegion):
    """The simulated region, with words for a dataset's road."""

    away: tuple[str, ...] = ()

    def block_of(self, *submissions: Submission) -> None:
        """One block with these, by whoever is not away; every one of them must have entered it."""
        final = self.finish(self.proposal(*submissions), self.away)
        assert all(one.tx in final.block for one in submissions), "one of them was left out"

    def published(self, institution: str, *counts: int) -> list[list[Record]]:
        """Blocks with one batch each; the records of every batch."""
        found = []
        for count in counts:
            batch = self.publish(institution, count)
            self.block_of(batch)
            leaves = Leaves.decode(batch.leaves)
            opened = [RecordLeaf.decode(leaves.record(one)) for one in range(count)]
            found.append([(one.rid, one.version) for one in opened])
        return found

    def asks(self, who: str, digest: bytes, holders: Sequence[str] = (HOLDER,), most: int = 1_000) -> Submission:
        """A request for a dataset: for supervision by the regulator, for research by anybody else."""
        supervises = who == REGULATOR
        return self.sign(
            who, AccessRequest, asked=SelectionAsked(digest, most),
            holders=tuple(sorted(institution_id(one) for one in holders)),
            purpose="audit" if supervises else "research", answer_key=self.node(who).heading()["key_id"],
            ethics=bytes(32) if supervises else ETHICS,
        )  # fmt: skip

    def says(self, who: str, request: Submission, digest: bytes, *, approves: bool = True) -> Submission:
        reason = {} if approves else {"reason": "unclear"}
        return self.sign(who, Approval, request=request.tx_id, digest=digest, approves=approves, **reason)

    def allowed(self, who: str, digest: bytes, **more: Any) -> Submission:
        """A request that stands allowed: at once for the regulator, else with one refusal and two approvals."""
        request = self.asks(who, digest, **more)
        self.block_of(request)
        if who != REGULATOR:
            self.block_of(self.says("nursing-home", request, digest, approves=False))
            self.block_of(self.says(OTHER, request, digest))
            self.block_of(self.says(REGULATOR, request, digest))
        return request


@contextmanager
def dataset_region(
    mongo: MongoClient[dict[str, Any]], folder: Path, name: str = "", **parameters: int
) -> Iterator[DatasetRegion]:
    made = DatasetRegion(mongo, folder, name or f"t{sm3(str(folder).encode()).hex()[:12]}", **parameters)
    try:
        yield made
    finally:
        made.close()


VIEWS = ("laboratory_results", "patients")
VALID = date(2026, 1, 1), date(2027, 1, 1)


def request_file(region: DatasetRegion, who: str = ASKER, **changes: Any) -> bytes:
    """A request as it is signed, for two tables of the region's own views."""
    supervises = who == REGULATOR
    standard: dict[str, Any] = {
        "chain_id": region.genesis.chain_id, "title": "血糖控制与年龄 glucose by age", "requester": who,
        "holders": (HOLDER,), "purpose": "audit" if supervises else "research", "reader": "", "recipient": b"",
        "cohort": Cohort(), "views": {one: library()[one] for one in VIEWS}, "profile": "gbt-37964",
        "demands": Demands(), "ndjson": True, "most": 1_000,
        "ethics": None if supervises else Ethics("区伦理委员会", "2026-7", VALID, ETHICS),
        "made": date(2026, 11, 1), "keep_until": date(2028, 12, 31), "nonce": bytes(16),
    }  # fmt: skip
    return write_request(DatasetRequest(**(standard | changes)))


def resources(persons: int) -> list[dict[str, Any]]:
    """Made-up patients with two results of glucose each."""
    chance, found = random.Random(20261101), list[dict[str, Any]]()
    for number in range(persons):
        year = 1935 + number * 7 % 60
        found.append(
            {"resourceType": "Patient", "id": f"p{number}", "gender": ("female", "male")[number % 2],
             "birthDate": f"{year}-01-01"}
        )  # fmt: skip
        for day in (3, 17):
            value = round(4.5 + (2026 - year) / 40 + chance.random() * 3, 1)
            found.append(
                {"resourceType": "Observation", "id": f"o{number}-{day}", "status": "final",
                 "category": [{"coding": [{"code": "laboratory"}]}],
                 "code": {"coding": [{"system": "http://loinc.org", "code": "2339-0"}]},
                 "subject": {"reference": f"Patient/p{number}"},
                 "effectiveDateTime": f"2026-0{1 + number % 9}-{day:02}",
                 "valueQuantity": {"value": value, "unit": "mmol/L", "code": "mmol/L"}}
            )  # fmt: skip
    return found


@dataclass(frozen=True)
class Delivered:
    """A dataset on the chain: where it lies, the request it answers, and what it was made from."""

    finished: Finished
    request: bytes
    content: bytes
    records: Sequence[Record]


def deliver(
    region: DatasetRegion, path: Path, request: bytes, content: bytes, sources: Sequence[Record],
    recipient: PublicKey | None = None, persons: int = 40, evidence: bytes | None = None,
    signer: Any = None, **changes: Any,
) -> Delivered:  # fmt: skip
    """Write the package as an export does; ``changes`` are of the manifest's facts."""
    import pyarrow.parquet as pq

    node, asked = signer or region.node(HOLDER), read_request(content)
    view, tables = node.replica.view, list[Table]()
    key = recipient or region.keys[asked.requester].public
    with Writer(path, request, HOLDER, key) as writer:
        for name in asked.views:
            compiled = compile_view(asked.views[name])
            batch, _ = compiled.rows(resources(persons))
            with writer.sealed(table_part(name, 0), PARQUET) as file, pq.ParquetWriter(file, batch.schema) as rows:
                rows.write_batch(batch)
            columns = tuple((one.name, str(one.type)) for one in batch.schema)
            tables.append(Table(name, batch.num_rows, columns, (table_part(name, 0),)))
        if asked.ndjson:
            with writer.sealed("fhir/Patient.ndjson", NDJSON) as file:
                file.writelines(json.dumps(one).encode() + b"\n" for one in resources(3))
        meaning = {one: dictionary(compile_view(asked.views[one])) for one in asked.views}
        writer.plain(DICTIONARY, JSON, json.dumps(meaning).encode())
        standard: dict[str, Any] = {
            "chain_id": region.genesis.chain_id, "holder_key": node.public.bytes, "request_file": content,
            "asked": request_digest(content), "policies": view.policies, "consents": sm3(b"statements"),
            "profile": (asked.profile, sm3(b"profile")), "made_height": view.head.height,
            "made_ms": view.head.timestamp_ms, "keep_until": asked.keep_until, "persons": persons,
            "records": len(sources), "tables": tuple(tables), "excluded": (Excluded("consent", "denied", 3),),
        }  # fmt: skip
        shown = gather(node.replica, request, sources, holder=HOLDER) if evidence is None else evidence
        facts = ManifestFacts(**(standard | changes))
        finished = writer.finish(facts, shown, lambda digest: node.sign_manifest(request, digest))
    return Delivered(finished, request, content, sources)
