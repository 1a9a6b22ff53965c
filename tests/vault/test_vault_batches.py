"""Batches: planned once, settled once, closed only when everything is accounted for."""

from __future__ import annotations

import base64
import random
import tracemalloc
from typing import Any

import pytest
from pymongo.database import Database
from vault_world import everything, observation, patient, practitioner, raw, refused, run, seal_one

from schemas.records import Refusal, Resource
from vault.batches import BatchCounts, RecordResult
from vault.errors import BatchClosed, Stop, Unreconciled
from vault.store import Vault

Db = Database[dict[str, Any]]


def landed(vault: Vault, count: int, size: int = 100) -> list[str]:
    vault.landing.put_many([raw(number) for number in range(count)])
    return vault.batches.plan("east-his", size, "run 1")


def sealed(vault: Vault, batch: str) -> list[RecordResult]:
    return [
        RecordResult(one.id, "sealed", (patient("p"), observation(f"o-{one.raw.native_id}", "p"), practitioner()))
        for one in vault.batches.records(batch)
    ]


def test_records_go_into_batches_in_order_of_arrival(vault: Vault) -> None:
    ids = landed(vault, 25, size=10)
    assert ids == ["east-his-000001", "east-his-000002", "east-his-000003"]
    read = [one.raw.native_id for batch in ids for one in vault.batches.records(batch)]
    assert read == [f"HIS|EAST|M{number}" for number in range(25)]


def test_large_records_are_held_a_few_at_a_time(vault: Vault) -> None:
    size = 1024 * 1024
    noise = (base64.b85encode(random.Random(number).randbytes(size)).decode() for number in range(64))
    vault.landing.put_many([raw(number, text=text) for number, text in enumerate(noise)])
    (batch,) = vault.batches.plan("east-his", 100, "run")
    tracemalloc.start()
    try:
        held = sum(len(one.raw.content) for one in vault.batches.records(batch))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert held > 64 * size
    assert peak < 56 * size


def test_planning_again_returns_the_same_open_batches(vault: Vault, database: Db) -> None:
    ids = landed(vault, 12, size=5)
    before = everything(database)
    assert vault.batches.plan("east-his", 5, "run 2") == ids
    assert everything(database) == before
    vault.landing.put(raw(77))
    assert vault.batches.plan("east-his", 5, "run 2") == [*ids, "east-his-000004"]
    assert vault.batches.plan("west-his", 5, "run 2") == []


def test_settled_batch_is_counted_reconciled_and_not_planned_again(vault: Vault) -> None:
    (batch,) = landed(vault, 3)
    counts = vault.batches.settle(batch, sealed(vault, batch), "map/1", {"seal": 0.5})
    assert counts == BatchCounts(received=3, sealed=3, resources=5, unchanged=4)
    assert vault.batches.reconcile(batch) == counts == vault.batches.reconcile(batch)
    assert vault.batches.plan("east-his", 100, "run 2") == []
    shown = vault.batches.get(batch)
    assert (shown.state, shown.mapping, shown.timings, shown.run) == ("reconciled", "map/1", {"seal": 0.5}, "run 1")


def test_settling_twice_seals_once(vault: Vault, database: Db) -> None:
    (batch,) = landed(vault, 5)
    results = sealed(vault, batch)
    first = vault.batches.settle(batch, results, "map/1")
    before = {name: everything(database)[name] for name in ("records", "outbox", "landing", "patients")}
    assert vault.batches.settle(batch, results, "map/1") == first
    assert {name: everything(database)[name] for name in before} == before
    vault.batches.reconcile(batch)
    assert vault.batches.settle(batch, results, "map/1") == first


def test_batch_is_settled_in_parts(vault: Vault) -> None:
    (batch,) = landed(vault, 7)
    results = sealed(vault, batch)
    assert vault.batches.settle(batch, results[:3], "map/1").waiting == 4
    with pytest.raises(Unreconciled, match="4 records are not settled"):
        vault.batches.reconcile(batch)
    vault.batches.settle(batch, results[2:], "map/1")
    assert vault.batches.reconcile(batch).sealed == 7


def test_every_outcome_is_counted_and_the_sum_is_what_was_received(vault: Vault) -> None:
    (batch,) = landed(vault, 4)
    ids = [one.id for one in vault.batches.records(batch)]
    results = [
        RecordResult(ids[0], "sealed", (patient("p"),)),
        RecordResult(ids[1], "filtered"),
        refused(ids[2]),
        RecordResult(ids[3], "sealed"),
    ]
    vault.landing.put(raw(1))
    vault.landing.put(raw(1))
    vault.batches.settle(batch, results, "map/1")
    counts = vault.batches.reconcile(batch)
    assert counts == BatchCounts(received=6, sealed=2, duplicate=2, quarantined=1, filtered=1, resources=1)
    assert counts.received == counts.sealed + counts.duplicate + counts.quarantined + counts.filtered
    totals = vault.batches.totals()["east-his"]
    assert (totals.received, totals.sealed, totals.duplicate, totals.quarantined) == (6, 2, 2, 1)


def test_result_for_a_foreign_or_doubled_record_is_our_own_fault_and_changes_nothing(
    vault: Vault, database: Db
) -> None:
    (batch,) = landed(vault, 2)
    results = sealed(vault, batch)
    before = everything(database)
    for wrong in ([*results, RecordResult("00" * 16, "filtered")], [*results, results[0]]):
        with pytest.raises(RuntimeError):
            vault.batches.settle(batch, wrong, "map/1")
    assert everything(database) == before
    for build in (
        lambda: RecordResult("00", "quarantined"),
        lambda: RecordResult("00", "sealed", (), Refusal("quality", "", "")),
        lambda: RecordResult("00", "filtered", (patient("p"),)),
    ):
        with pytest.raises(RuntimeError):
            build()


def test_resource_type_without_a_number_stops_and_nothing_is_sealed(vault: Vault, database: Db) -> None:
    (batch,) = landed(vault, 1)
    (only,) = vault.batches.records(batch)
    before = everything(database)
    strange = Resource({"resourceType": "Papyrus", "id": "c"}, "ZZZ", None)
    with pytest.raises(Stop, match="Papyrus"):
        vault.batches.settle(batch, [RecordResult(only.id, "sealed", (strange,))], "map/1")
    assert everything(database) == before


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda db: db["records"].delete_one({"type": 14}), "envelopes stored"),
        (lambda db: db["outbox"].delete_many({}), "in the outbox"),
        (lambda db: db["quarantine"].delete_many({}), "in quarantine"),
        (lambda db: db["landing"].delete_one({"status": "sealed"}), "records planned"),
        (lambda db: db["landing"].update_one({"status": "sealed"}, {"$set": {"status": "batched"}}), "not settled"),
    ],
    ids=["a record lost", "the outbox lost", "the quarantine lost", "a landed record lost", "a status lost"],
)
def test_batch_with_a_loss_does_not_reconcile_and_is_not_published(
    vault: Vault, database: Db, damage: Any, named: str
) -> None:
    (batch,) = landed(vault, 4)
    results = sealed(vault, batch)
    results[3] = refused(results[3].landed_id)
    vault.batches.settle(batch, results, "map/1")
    damage(database)
    with pytest.raises(Unreconciled, match=named):
        vault.batches.reconcile(batch)
    assert vault.batches.get(batch).state == "open"
    assert vault.outbox.assign(100) is None


def test_stopped_batch_takes_nothing_publishes_nothing_and_holds_the_cursor(vault: Vault) -> None:
    (batch,) = landed(vault, 2)
    vault.cursors.propose("east-his", {"at": 2})
    vault.batches.settle(batch, sealed(vault, batch)[:1], "map/1")
    vault.batches.stop(batch, "3 of 4 records set aside")
    vault.batches.stop(batch, "again")
    for refuse in (
        lambda: vault.batches.settle(batch, sealed(vault, batch), "map/1"),
        lambda: vault.batches.reconcile(batch),
    ):
        with pytest.raises(BatchClosed):
            refuse()
    assert vault.batches.plan("east-his", 10, "run 2") == []
    assert not vault.cursors.advance("east-his") and vault.cursors.get("east-his") is None
    assert vault.outbox.assign(100) is None
    vault.batches.reopen(batch)
    assert vault.batches.plan("east-his", 10, "run 3") == [batch]
    vault.batches.settle(batch, sealed(vault, batch), "map/2")
    assert vault.batches.reconcile(batch).sealed == 2
    assert vault.cursors.advance("east-his") and vault.cursors.get("east-his") == {"at": 2}


def test_reconciled_batch_cannot_be_stopped_or_reopened(vault: Vault) -> None:
    batch = seal_one(vault, 1, patient("p"))
    for move in (lambda: vault.batches.stop(batch, "late"), lambda: vault.batches.reopen(batch)):
        with pytest.raises(BatchClosed):
            move()
    assert vault.batches.get(batch).state == "reconciled"


def test_cursor_moves_only_over_what_is_reconciled(vault: Vault) -> None:
    (batch,) = landed(vault, 2)
    with pytest.raises(Unreconciled):
        vault.cursors.set("east-his", {"at": 1}, [batch])
    assert vault.cursors.get("east-his") is None
    vault.cursors.propose("east-his", {"at": 2})
    assert not vault.cursors.advance("east-his")
    vault.landing.put(raw(50))  # landed after the proposal: not waited for
    vault.batches.settle(batch, sealed(vault, batch), "map/1")
    assert not vault.cursors.advance("east-his")
    vault.batches.reconcile(batch)
    assert vault.cursors.advance("east-his") and vault.cursors.get("east-his") == {"at": 2}
    assert not vault.cursors.advance("east-his")
    vault.cursors.set("east-his", {"at": 3, "数": [1]}, [batch])
    assert vault.cursors.get("east-his") == {"at": 3, "数": [1]}


def test_unchanged_resource_is_not_sealed_again_and_a_changed_one_is_a_new_version(vault: Vault) -> None:
    seal_one(vault, 1, patient("p", "甲"), practitioner())
    seal_one(vault, 2, patient("p", "甲"), practitioner())
    batch = seal_one(vault, 3, patient("p", "乙"), practitioner())
    assert vault.batches.counts(batch).unchanged == 1
    assert vault.records.open("Patient", "p")["name"] == [{"text": "乙"}]
    assert vault.records.open("Patient", "p", 1)["name"] == [{"text": "甲"}]
    assert vault.summary().versions == 3


def test_change_and_change_back_within_one_batch_are_versions(vault: Vault) -> None:
    for number in range(4):
        vault.landing.put(raw(number))
    names = iter("甲乙乙甲")
    (batch,) = run(vault, "east-his", lambda _: [patient("p", next(names))])
    assert vault.batches.counts(batch).resources == 3
    assert [vault.records.open("Patient", "p", v)["name"][0]["text"] for v in (1, 2, 3)] == ["甲", "乙", "甲"]
    assert [one.version for one in vault.records.find(resource_type="Patient")] == [3]


def test_key_order_of_the_body_makes_no_new_version(vault: Vault) -> None:
    body = patient("p").body
    seal_one(vault, 1, patient("p"))
    batch = seal_one(vault, 2, Resource(dict(reversed(body.items())), "PID", "p"))
    assert vault.batches.counts(batch).unchanged == 1


def test_ensured_resource_is_stored_only_where_nothing_stands(vault: Vault) -> None:
    seal_one(vault, 1, patient("p", "来自化验", mode="ensure"))
    assert vault.records.open("Patient", "p")["name"] == [{"text": "来自化验"}]
    seal_one(vault, 2, patient("p", "来自登记"))
    batch = seal_one(vault, 3, patient("p", "来自化验二", mode="ensure"))
    assert vault.batches.counts(batch).unchanged == 1
    assert vault.records.open("Patient", "p")["name"] == [{"text": "来自登记"}]


def test_record_settled_late_does_not_overwrite_what_arrived_after_it(vault: Vault) -> None:
    vault.landing.put_many([raw(1), raw(2)])
    early, late = vault.batches.plan("east-his", 1, "run")
    for batch, name in ((late, "新"), (early, "旧")):
        (one,) = vault.batches.records(batch)
        vault.batches.settle(batch, [RecordResult(one.id, "sealed", (patient("p", name),))], "map/1")
    assert vault.batches.reconcile(early).stale == 1
    assert vault.records.open("Patient", "p")["name"] == [{"text": "新"}]


def test_two_processes_that_settle_the_same_batch_seal_it_once(vault: Vault, database: Db) -> None:
    from concurrent.futures import ThreadPoolExecutor

    (batch,) = landed(vault, 450, size=1_000)
    results = sealed(vault, batch)
    with ThreadPoolExecutor(3) as pool:
        counts = list(pool.map(lambda _: vault.batches.settle(batch, results, "map/1"), range(3)))
    assert vault.batches.reconcile(batch) == counts[0]
    assert database["records"].count_documents({}) == 452 == counts[0].resources


def test_batches_settled_at_the_same_time_agree_on_what_they_share(vault: Vault, database: Db) -> None:
    from concurrent.futures import ThreadPoolExecutor

    ids = landed(vault, 40, size=5)
    work = {batch: sealed(vault, batch) for batch in ids}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda batch: vault.batches.settle(batch, work[batch], "map/1"), ids))
    for batch in ids:
        vault.batches.reconcile(batch)
    assert vault.records.counts() == {"Observation": 40, "Patient": 1, "Practitioner": 1}
    assert database["records"].count_documents({"version": {"$gt": 1}}) == 0


def test_settling_splits_into_transactions_of_bounded_size(vault: Vault, database: Db) -> None:
    vault.landing.put_many([raw(number) for number in range(3)])
    run(vault, "east-his", lambda one: [observation(f"{one.native_id}-{i}", "p") for i in range(1_500)])
    assert sorted(one["count"] for one in database["outbox"].find()) == [1_500] * 3
