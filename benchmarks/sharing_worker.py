"""One part of sharing in a process of its own; started by sharing_speed.py.

    python sharing_worker.py fill|ask|export|verify MONGOD_PID ARGUMENT…

Works on the region that ``XINGLIN_HOME`` and ``MONGODB_URI`` name. Writes one line of JSON: what the part gave, and
what it cost from the moment the process was ready.
"""

from __future__ import annotations

import json
import logging
import random
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import wraps
from typing import Any

from spent import peak_mib, spending

from dags.steps import publish, share
from dags.steps.site import Site, site
from ledger.carrier import Carrier, carry_block
from ledger.chain.transactions import open_transaction
from schemas.records import RawRecord, Resource
from schemas.sharing import Code, Cohort, DatasetRequest, Demands
from sharing.deidentify import Deidentifier
from sharing.export import cutting, run
from sharing.package import verify
from sharing.reader import open_dataset
from sharing.request import desk, write_request
from sharing.request.signing import Signatures, sign_request
from sharing.views import View, library
from vault.batches import RecordResult
from vault.extract import Extract

REGULATOR = "health-commission"
VIEWS = ("laboratory_results", "patients")
TESTS = ("2160-0", "2345-7", "718-7", "6690-2", "777-3")
BATCH = 100
WHEN = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)


def person(number: int, chance: random.Random) -> list[Resource]:
    """One patient with nineteen laboratory results."""
    id_ = f"p{number:07}"
    born = date(1940, 1, 1) + timedelta(chance.randrange(25_000))
    body = {
        "resourceType": "Patient", "id": id_, "gender": chance.choice(("female", "male")), "birthDate": str(born),
        "identifier": [{"system": "urn:bench:mr", "value": f"MR{number}"}], "name": [{"text": f"张{number}"}],
        "address": [{"state": "北京市", "district": chance.choice(("朝阳区", "海淀区", "东城区"))}],
    }  # fmt: skip
    return [Resource(body, "PID", id_), *(measured(id_, at, chance) for at in range(19))]


def measured(patient: str, at: int, chance: random.Random) -> Resource:
    """One laboratory result."""
    body = {
        "resourceType": "Observation", "id": f"{patient}-{at}", "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": TESTS[at % 5], "display": "a test"}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": f"2026-{1 + at % 11:02}-{1 + at:02}T08:00:00+08:00",
        "valueQuantity": {
            "value": round(chance.uniform(20, 200), 1), "unit": "umol/L", "system": "http://unitsofmeasure.org",
            "code": "umol/L",
        },
        "referenceRange": [{"low": {"value": 40}, "high": {"value": 110}}],
    }  # fmt: skip
    return Resource(body, "OBX[1]", patient)


def fill(at: Site, holder: str, people: str) -> dict[str, Any]:
    """Seal and publish a holder's patients, and notarise them."""
    vault, chance, source = at.vault(holder), random.Random(holder), f"{holder}-bench"
    for first in range(0, int(people), BATCH):
        made = {f"m{one}": person(one, chance) for one in range(first, min(first + BATCH, int(people)))}
        for name in made:
            vault.landing.put(RawRecord(source, name, name.encode(), "hl7v2", WHEN, name))
        for batch in vault.batches.plan(source, 500, "benchmark"):
            landed = list(vault.batches.records(batch))
            results = [RecordResult(one.id, "sealed", tuple(made[one.raw.native_id])) for one in landed]
            vault.batches.settle(batch, results, "map/1")
            vault.batches.reconcile(batch)
    publish.submit(holder, at)
    return {"blocks": blocks(at)}


def blocks(at: Site) -> int:
    """Make blocks until nothing waits; return how many."""
    carriers = [Carrier(at.node(one.id), at.exchange) for one in at.region.institutions]
    made = 0
    while carry_block(carriers) is not None:
        made += 1
    return made


def ask(at: Site, *holders: str) -> dict[str, Any]:
    """Have the regulator ask; its rules need no committee."""
    today = date(2026, 11, 20)
    request = DatasetRequest(
        at.genesis.chain_id, "Benchmark", REGULATOR, tuple(sorted(holders)), "public-health", "", b"",
        Cohort(criteria=(tuple(Code("http://loinc.org", one) for one in TESTS),)),
        {one: dict(library()[one]) for one in VIEWS}, "gbt-37964", Demands(suppression=50), False, 900_000, None,
        today, today + timedelta(365), bytes(16),
    )  # fmt: skip
    content = write_request(request)
    signed = Signatures.decode(sign_request(content, at.node(REGULATOR)).encode()).transaction
    desk.post(at.exchange, content)
    at.exchange.post_submission(signed, b"")
    return {"request": open_transaction(signed).tx_id.hex(), "blocks": blocks(at)}


class Stages:
    """Seconds by stage, counted around the calls that are the stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a call that is counted under a stage."""
        self.seconds.setdefault(stage, 0.0)

        @wraps(call)
        def timing(*given: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            try:
                return call(*given, **named)
            finally:
                self.seconds[stage] += time.perf_counter() - begun

        return timing

    def drawn(self, stage: str, call: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """Return a generator whose steps are counted under a stage."""
        step = self.timed(stage, lambda items: next(items, self))

        def drawing(*given: Any, **named: Any) -> Iterator[Any]:
            items = call(*given, **named)
            while (item := step(items)) is not self:
                yield item

        return drawing

    def watch(self) -> None:
        """Count the export's own stages."""
        Extract.records = self.drawn("open", Extract.records)  # type: ignore[method-assign]
        Deidentifier.resource = self.timed("de-identify", Deidentifier.resource)  # type: ignore[method-assign]
        View.rows = self.timed("project", View.rows)  # type: ignore[method-assign]
        cutting.encode = self.timed("set down", cutting.encode)
        run.plans = self.timed("gate", run.plans)
        run.pack = self.timed("pack", run.pack)
        run.gather = self.timed("evidence", run.gather)


def export(at: Site, holder: str, request: str) -> dict[str, Any]:
    """Export from the beginning, and say what went in and where this process's time went."""
    stages = Stages()
    stages.watch()
    asked = share.export(share.holder(holder, at), bytes.fromhex(request))
    asked.clear()
    begun = time.perf_counter()
    finished, packed = asked._package()
    whole = time.perf_counter() - begun
    shares = {stage: seconds / whole for stage, seconds in stages.seconds.items()}
    return {
        "resources": finished.records, "rows": sum(table.rows for table in packed.tables),
        "mib": round(finished.size / 2**20, 1), "stages": {**shares, "rest": 1 - sum(shares.values())},
    }  # fmt: skip


def check(at: Site, holder: str, request: str) -> dict[str, Any]:
    """Verify the package from the anchor alone, then open it with the key."""
    path = share.holder(holder, at).folder / f"{request}.xld"
    begun = time.perf_counter()
    verify(path, at.home.anchor)
    verified = time.perf_counter()
    with open_dataset(path, at.keystore(REGULATOR).signing_key) as dataset:
        rows = sum(len(dataset.pandas(name)) for name in dataset.tables)
    return {
        "verify": round(verified - begun, 2), "open": round(time.perf_counter() - verified, 2), "rows": rows,
    }  # fmt: skip


PARTS: dict[str, Callable[..., dict[str, Any]]] = {"fill": fill, "ask": ask, "export": export, "verify": check}


def main() -> None:
    """Do one part and report."""
    logging.getLogger("ledger.carrier").setLevel(logging.ERROR)
    at = site()
    with spending(int(sys.argv[2])) as spent:
        result = PARTS[sys.argv[1]](at, *sys.argv[3:])
    print(json.dumps({"result": result, "cost": {**spent.figures(), "peak_mib": round(peak_mib(), 1)}}))


if __name__ == "__main__":
    main()
