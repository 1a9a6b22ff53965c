"""Landing: durable, once each, repeats counted, nothing in the clear."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from bson import encode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.database import Database
from vault_world import CHAIN, NAME, WHEN, everything, raw, refused, run, seal_one, unreadable

from schemas.records import RawRecord
from vault.errors import Tampered, Unknown, WrongVault
from vault.keystore import FileKeystore
from vault.landing import pack, unpack
from vault.store import Vault


def test_record_comes_back_byte_for_byte(vault: Vault) -> None:
    china = timezone(timedelta(hours=8))
    sent = replace(raw(1), content=bytes(range(256)) * 9, received_at=datetime(2026, 11, 20, 16, 30, tzinfo=china))
    vault.landing.put(sent)
    (batch,) = vault.batches.plan("east-his", 10, "run")
    (landed,) = vault.batches.records(batch)
    assert landed.raw == sent and landed.raw.received_at.utcoffset() == timedelta(hours=8)


def test_repeat_lands_once_and_is_counted(vault: Vault) -> None:
    first, again = vault.landing.put(raw(1)), vault.landing.put(raw(1))
    assert first.new and not again.new and first.id == again.id
    totals = vault.batches.totals()["east-his"]
    assert (totals.received, totals.duplicate, totals.pending) == (2, 1, 1)


def test_same_control_id_with_other_content_is_another_record(vault: Vault) -> None:
    assert vault.landing.put(raw(1)).id != vault.landing.put(raw(1, text="corrected")).id
    assert vault.landing.put(raw(1, source="west-his")).new


def test_many_at_once_with_repeats_among_them_and_before(vault: Vault) -> None:
    vault.landing.put(raw(3))
    landed = vault.landing.put_many([raw(1), raw(2), raw(1), raw(3), raw(4)])
    assert [one.new for one in landed] == [True, True, False, False, True]
    assert vault.batches.totals()["east-his"].duplicate == 2
    assert vault.landing.put_many([]) == []


def test_more_records_than_one_insert_takes_land_in_order(vault: Vault) -> None:
    landed = vault.landing.put_many([raw(number) for number in range(2_300)])
    (batch,) = vault.batches.plan("east-his", 10_000, "run")
    assert [one.id for one in vault.batches.records(batch)] == [one.id for one in landed]


def test_unreadable_piece_goes_straight_to_quarantine_once(vault: Vault) -> None:
    first, again = vault.landing.put_unreadable(unreadable(1)), vault.landing.put_unreadable(unreadable(1))
    assert first.new and not again.new
    (item,) = vault.quarantine.list()
    assert (item.code, item.where, item.readable, item.batch) == ("not_hl7", "file byte 812", False, None)
    assert vault.quarantine.show(first.id)[1] == unreadable(1)
    totals = vault.batches.totals()["east-his"]
    assert (totals.received, totals.duplicate, totals.quarantined) == (2, 1, 1)
    assert vault.batches.plan("east-his", 10, "run") == []


def test_message_refused_at_the_door_is_counted_and_not_kept(vault: Vault, database: Database[dict[str, Any]]) -> None:
    for _ in range(3):
        vault.landing.refused("east-his", "not_hl7")
    vault.landing.refused("west-his", "oversize")
    assert vault.batches.totals()["east-his"].refused == {"not_hl7": 3}
    assert vault.batches.totals("west-his")["west-his"].refused == {"oversize": 1}
    assert database["landing"].count_documents({}) == 0


def test_no_name_id_code_or_control_id_stands_in_the_database(vault: Vault, database: Database[dict[str, Any]]) -> None:
    from vault_world import observation, patient, practitioner

    seal_one(vault, 1, patient("east-mr-7788"), observation("obs-7788", "east-mr-7788"), practitioner())
    vault.landing.put_unreadable(unreadable(5))
    aside = vault.landing.put(raw(9))
    (batch,) = vault.batches.plan("east-his", 10, "run")
    vault.batches.settle(batch, [refused(aside.id)], "map/1")
    vault.cursors.set("east-his", {"file": f"{NAME}.hl7"}, [])
    vault.outbox.assign(10)
    stored = b"".join(encode(one) for documents in everything(database).values() for one in documents)
    assert len(stored) > 2_000
    for secret in (NAME, "7788", "李医生", "718-7", "HIS|EAST", "M9", "message 1 of", "loinc", "5 digits, got 5"):
        assert secret.encode() not in stored, secret


def test_changed_byte_of_a_landed_record_is_refused_and_named(vault: Vault, database: Database[dict[str, Any]]) -> None:
    landed = vault.landing.put(raw(1))
    (batch,) = vault.batches.plan("east-his", 10, "run")
    for name in ("key", "body"):
        document = database["landing"].find_one({"_id": landed.id})
        assert document is not None
        for at in (0, 11, 12, len(document[name]) // 2, len(document[name]) - 1):
            changed = bytearray(document[name])
            changed[at] ^= 1
            database["landing"].update_one({"_id": landed.id}, {"$set": {name: bytes(changed)}})
            with pytest.raises(Tampered, match=landed.id):
                list(vault.batches.records(batch))
        database["landing"].replace_one({"_id": landed.id}, document)
    assert [one.id for one in vault.batches.records(batch)] == [landed.id]


def test_record_put_in_anothers_place_is_refused(vault: Vault, database: Database[dict[str, Any]]) -> None:
    one, other = vault.landing.put(raw(1)), vault.landing.put(raw(2))
    (batch,) = vault.batches.plan("east-his", 10, "run")
    theirs = database["landing"].find_one({"_id": other.id})
    assert theirs is not None
    database["landing"].update_one({"_id": one.id}, {"$set": {"key": theirs["key"], "body": theirs["body"]}})
    with pytest.raises(Tampered):
        list(vault.batches.records(batch))


def test_database_of_another_keystore_institution_or_chain_is_refused_and_unchanged(
    vault: Vault, database: Database[dict[str, Any]], keystore: FileKeystore, tmp_path: Any
) -> None:
    vault.landing.put(raw(1))
    before = everything(database)
    stranger = FileKeystore.create(tmp_path / "other", b"pw")
    for arguments in (
        (stranger, "hospital-east", CHAIN),
        (keystore, "hospital-west", CHAIN),
        (keystore, "hospital-east", bytes(32)),
    ):
        with pytest.raises(WrongVault, match="hospital-east"):
            Vault(database, *arguments)
    assert everything(database) == before
    assert Vault(database, keystore, "hospital-east", CHAIN).batches.totals()["east-his"].pending == 1


def test_unknown_ids_raise_one_error(vault: Vault) -> None:
    for ask in (
        lambda: vault.quarantine.show("00"),
        lambda: vault.batches.counts("east-his-000009"),
        lambda: list(vault.batches.records("east-his-000009")),
        lambda: vault.outbox.final("hospital-east-000001", 3),
        lambda: vault.records.open("Patient", "nobody"),
        lambda: vault.records.envelope("00.1"),
        lambda: vault.records.verify(bytes(16), 1),
    ):
        with pytest.raises(Unknown):
            ask()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.binary(max_size=300), st.text(), st.datetimes(timezones=st.just(WHEN.tzinfo)))
def test_packed_record_is_unpacked_the_same(native_id: str, content: bytes, position: str, when: datetime) -> None:
    try:
        native_id.encode(), position.encode()
    except UnicodeEncodeError:
        return
    record = RawRecord("s", native_id, content, "hl7v2", when, position)
    assert unpack("s", pack(record)) == record


def test_settled_records_stay_readable_for_a_second_run(vault: Vault) -> None:
    from vault_world import patient

    sent = [raw(1), raw(2)]
    vault.landing.put_many(sent)
    (batch,) = run(vault, "east-his", lambda one: [patient(one.native_id[-1]), patient("both")])
    assert [one.raw for one in vault.batches.records(batch)] == sent
