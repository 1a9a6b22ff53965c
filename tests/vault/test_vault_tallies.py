"""What was not read fully, and codes without a standard one: counted once a record, sealed."""

from __future__ import annotations

from typing import Any

from pymongo.database import Database
from vault_world import everything, observation, raw

from schemas.records import Refusal
from vault.batches import RecordResult
from vault.store import Vault

NOTE = Refusal("imprecise", "OBX-14", "seconds are missing and FHIR requires them; written as 00.")
CODE = ("urn:xinglin:east:codes:L", "甄一的血", "血")


def test_each_record_counts_once_however_often_it_comes_or_is_settled(vault: Vault) -> None:
    vault.landing.put_many([raw(1), raw(2), raw(3), raw(1)])
    (batch,) = vault.batches.plan("east-his", 100, "a run")
    records = list(vault.batches.records(batch))
    results = [
        RecordResult(one.id, "sealed", (observation(f"o{at}", "p"),), notes=(NOTE,), unmapped=(CODE, CODE)[: at + 1])
        for at, one in enumerate(records[:2])
    ]
    results.append(RecordResult(records[2].id, "quarantined", refusal=Refusal("quality", "PID-7", "…")))
    vault.batches.settle(batch, results, "map/1")
    vault.batches.settle(batch, results, "map/1")
    (note,) = vault.tallies.of("east-his", "note")
    assert (note.count, note.what["where"]) == (2, "OBX-14")
    (code,) = vault.tallies.of("east-his", "unmapped")
    assert (code.count, code.what["code"], code.what["display"]) == (3, "甄一的血", "血")
    assert vault.tallies.of("west-his", "note") == []


def test_a_senders_code_stands_nowhere_readable(vault: Vault, database: Database[dict[str, Any]]) -> None:
    vault.landing.put(raw(1))
    (batch,) = vault.batches.plan("east-his", 100, "a run")
    (record,) = vault.batches.records(batch)
    vault.batches.settle(batch, [RecordResult(record.id, "sealed", (observation("o", "p"),), unmapped=(CODE,))], "m")
    assert "甄" not in repr(everything(database)["tallies"])
    assert "codes:L" not in repr(everything(database)["tallies"])
