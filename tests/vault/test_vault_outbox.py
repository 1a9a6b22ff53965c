"""The outbox and the quarantine: what comes back the same, and what moves on exactly once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pymongo.database import Database
from vault_world import everything, observation, patient, raw, refused, run, seal_one, unreadable

from shangmi import sm3
from vault.batches import RecordResult
from vault.errors import Stop
from vault.store import Vault

Db = Database[dict[str, Any]]


def test_entries_say_what_is_stored(vault: Vault) -> None:
    seal_one(vault, 1, patient("p"), observation("o", "p"))
    submission = vault.outbox.assign(100)
    assert submission is not None and submission.id == "hospital-east-000001"
    assert [one.resource_type for one in submission.entries] == [1, 14]
    for entry in submission.entries:
        stored = vault.records.envelope(entry.locator)
        assert sm3(stored) == entry.ct_digest == vault.records.verify(entry.rid, entry.version)
        assert (len(stored), entry.summary_digest) == (entry.ct_len, bytes(32))
    assert submission.entries[0].rid == vault.records.rid("Patient", "p")


def test_assigned_submission_comes_back_the_same_until_it_is_sent(vault: Vault, database: Db) -> None:
    seal_one(vault, 1, patient("p"))
    first = vault.outbox.assign(100)
    seal_one(vault, 2, patient("q"))
    before = everything(database)
    assert vault.outbox.assign(1) == first == vault.outbox.assign(100)
    assert everything(database) == before


def test_limit_splits_what_waits_and_no_entry_goes_twice(vault: Vault) -> None:
    seal_one(vault, 1, *[observation(f"o{i}", "p") for i in range(7)])
    seal_one(vault, 2, *[observation(f"q{i}", "p") for i in range(3)])
    seen = []
    while (one := vault.outbox.assign(4)) is not None:
        vault.outbox.sent(one.id, f"tx{one.id}", len(seen) + 1, b"tx")
        seen.append([entry.locator for entry in one.entries])
    assert [len(part) for part in seen] == [4, 4, 2]
    assert len({locator for part in seen for locator in part}) == 10
    assert vault.outbox.waiting() == 0
    assert vault.outbox.counts() == {"sent": 10}


def test_runs_that_ask_at_once_are_given_the_same_submission(vault: Vault, database: Db) -> None:
    """Two submissions at a time would be signed under one number, and whatever follows the loser would be lost."""
    for turn in range(4):
        seal_one(vault, turn, *[observation(f"o{turn}-{i}", "p") for i in range(12)])
    for _ in range(4):
        ready = threading.Barrier(6)

        def ask(ready: threading.Barrier = ready) -> str:
            ready.wait()
            submission = vault.outbox.assign(8)
            assert submission is not None
            return submission.id

        with ThreadPoolExecutor(6) as threads:
            (given,) = {one.result() for one in [threads.submit(ask) for _ in range(6)]}
        assert database["submissions"].count_documents({"state": "assigned"}) == 1
        vault.outbox.sent(given, "aa", 1, b"tx")


def test_a_submission_that_another_run_took_up_again_does_not_stop_this_one(vault: Vault, database: Db) -> None:
    seal_one(vault, 1, patient("p"))
    submission = vault.outbox.assign(10)
    assert submission is not None
    vault.outbox.sent(submission.id, "aa", 1, b"tx")
    vault.outbox.lapsed(submission.id)
    assert vault.outbox.assign(10) is not None
    before = everything(database)
    vault.outbox.lapsed(submission.id)
    assert everything(database) == before


def test_first_signature_counts_when_a_submission_is_sent_twice(vault: Vault) -> None:
    seal_one(vault, 1, patient("p"))
    submission = vault.outbox.assign(10)
    assert submission is not None
    first = vault.outbox.sent(submission.id, "aa", 1, b"first bytes")
    assert vault.outbox.sent(submission.id, "bb", 1, b"other bytes") == first
    assert vault.outbox.outstanding() == [first] and first.tx == b"first bytes"
    vault.outbox.final(submission.id, 9)
    vault.outbox.final(submission.id, 9)
    assert vault.outbox.outstanding() == [] and vault.outbox.assign(10) is None
    for wrong in (lambda: vault.outbox.final(submission.id, 10), lambda: vault.outbox.lapsed(submission.id)):
        with pytest.raises(Stop):
            wrong()


def test_lapsed_entries_wait_again_and_come_first(vault: Vault) -> None:
    seal_one(vault, 1, patient("p"), patient("q"))
    first = vault.outbox.assign(10)
    assert first is not None
    vault.outbox.sent(first.id, "aa", 1, b"tx")
    vault.outbox.lapsed(first.id)
    seal_one(vault, 2, patient("r"))
    assert vault.outbox.waiting() == 3
    again = vault.outbox.assign(10)
    assert again is not None and again.id != first.id and again.entries == first.entries
    vault.outbox.sent(again.id, "bb", 2, b"tx")
    rest = vault.outbox.assign(10)
    assert rest is not None and len(rest.entries) == 1
    assert vault.outbox.counts() == {"assigned": 1, "sent": 2}


def test_batches_are_published_in_the_order_they_were_reconciled(vault: Vault) -> None:
    vault.landing.put_many([raw(1), raw(2)])
    one, two = vault.batches.plan("east-his", 1, "run")
    for batch, id_ in ((one, "p"), (two, "q")):
        (record,) = vault.batches.records(batch)
        vault.batches.settle(batch, [RecordResult(record.id, "sealed", (patient(id_),))], "map/1")
    vault.batches.reconcile(two)
    first = vault.outbox.assign(10)
    assert first is not None and [e.rid for e in first.entries] == [vault.records.rid("Patient", "q")]


def set_aside(vault: Vault, *numbers: int) -> list[str]:
    vault.landing.put_many([raw(number) for number in numbers])
    (batch,) = vault.batches.plan("east-his", 100, "run")
    ids = [one.id for one in vault.batches.records(batch)]
    vault.batches.settle(batch, [refused(id_) for id_ in ids], "map/1")
    vault.batches.reconcile(batch)
    return ids


def test_record_set_aside_is_shown_with_its_reason_and_bytes(vault: Vault) -> None:
    (id_,) = set_aside(vault, 4)
    item, content = vault.quarantine.show(id_)
    assert (item.code, item.where, item.message) == ("bad_value", "PID-7", "expected a date of 8 digits, got 5")
    assert content == raw(4) and item.readable and item.times == 1
    assert vault.quarantine.counts() == {"bad_value": 1}
    assert vault.quarantine.list(code="quality") == [] == vault.quarantine.list(source="west-his")


def test_replayed_record_keeps_its_identity_and_is_sealed_once(vault: Vault) -> None:
    ids = set_aside(vault, 1, 2, 3)
    assert vault.quarantine.replay(ids=ids[:1]) == 1
    assert vault.quarantine.replay(ids=ids[:1]) == 0
    (batch,) = vault.batches.plan("east-his", 100, "run 2")
    (record,) = vault.batches.records(batch)
    assert record.id == ids[0] and record.raw == raw(1)
    vault.batches.settle(batch, [RecordResult(record.id, "sealed", (patient("p"),))], "map/2")
    assert vault.batches.reconcile(batch).sealed == 1
    assert [item.id for item in vault.quarantine.list()] == ids[1:]
    assert not vault.landing.put(raw(1)).new
    assert vault.quarantine.replay(code="bad_value") == 2


def test_replayed_record_that_fails_again_lies_in_quarantine_once(vault: Vault) -> None:
    (id_,) = set_aside(vault, 1)
    vault.quarantine.replay(code="bad_value")
    (batch,) = vault.batches.plan("east-his", 100, "run 2")
    vault.batches.settle(batch, [refused(id_, "quality", "OBX[3]-5")], "map/2")
    assert vault.batches.reconcile(batch).quarantined == 1
    (item,) = vault.quarantine.list()
    assert (item.times, item.code, item.where, item.batch) == (2, "quality", "OBX[3]-5", batch)


def test_replay_leaves_unreadable_pieces_and_open_batches_alone(vault: Vault, database: Db) -> None:
    vault.landing.put_unreadable(unreadable(1))
    vault.landing.put(raw(1))
    (batch,) = vault.batches.plan("east-his", 100, "run")
    (record,) = vault.batches.records(batch)
    vault.batches.settle(batch, [refused(record.id)], "map/1")
    before = everything(database)
    assert vault.quarantine.replay(source="east-his") == 0
    with pytest.raises(RuntimeError):
        vault.quarantine.replay()
    assert everything(database) == before
    vault.batches.reconcile(batch)
    assert vault.quarantine.replay(source="east-his") == 1


def test_old_record_replayed_after_newer_news_does_not_overwrite_it(vault: Vault) -> None:
    set_aside(vault, 1)
    seal_one(vault, 2, patient("p", "新"))
    vault.quarantine.replay(code="bad_value")
    (batch,) = run(vault, "east-his", lambda _: [patient("p", "旧")])
    assert vault.batches.counts(batch).stale == 1
    assert vault.records.open("Patient", "p")["name"] == [{"text": "新"}]
