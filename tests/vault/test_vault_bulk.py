"""Large objects: whole or not there, bound to name, place and patient, swept after a kill at any command."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from killed import run_apart
from pymongo.database import Database
from vault_world import CHAIN, NAME, observation, patient, raw, run

from vault.bulk import PIECE
from vault.errors import Erased, Tampered, Unknown
from vault.keystore import FileKeystore
from vault.store import Vault

HERE = Path(__file__).parent
WORD = "像素".encode()


def content(pieces: float = 2.5) -> bytes:
    return (WORD * PIECE)[: int(PIECE * pieces)]


def stored(database: Database[dict[str, Any]]) -> dict[str, int]:
    """How many documents the bulk store keeps, by collection."""
    names = ("bulk", "bulk.files", "bulk.chunks", "bulk.unfinished")
    return {name: database[name].count_documents({}) for name in names}


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE - 7])
def test_content_of_any_length_comes_back_as_it_went_in(vault: Vault, size: int) -> None:
    whole = content(4)[:size]
    vault.bulk.put("a", (whole[at : at + 70_000] for at in range(0, size, 70_000)))
    assert b"".join(vault.bulk.open("a")) == whole


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=st.lists(st.binary(max_size=500), max_size=20))
def test_how_the_content_is_cut_makes_no_difference(vault: Vault, chunks: list[bytes]) -> None:
    vault.bulk.put("cut", iter(chunks))
    assert b"".join(vault.bulk.open("cut")) == b"".join(chunks)


def test_same_name_and_content_again_changes_nothing(vault: Vault, database: Database[dict[str, Any]]) -> None:
    vault.bulk.put("a", [content()])
    before = {name: list(database[name].find()) for name in stored(database)}
    vault.bulk.put("a", [content()[:10], content()[10:]])
    assert {name: list(database[name].find()) for name in stored(database)} == before


def test_other_content_replaces_the_whole_object_and_leaves_nothing_of_the_old(
    vault: Vault, database: Database[dict[str, Any]]
) -> None:
    vault.bulk.put("a", [content(3.5)])
    vault.bulk.put("a", [b"new"])
    assert list(vault.bulk.open("a")) == [b"new"]
    assert stored(database) == {"bulk": 1, "bulk.files": 1, "bulk.chunks": 1, "bulk.unfinished": 0}


def test_source_that_fails_in_the_middle_leaves_the_old_object_and_nothing_else(
    vault: Vault, database: Database[dict[str, Any]]
) -> None:
    def failing() -> Iterator[bytes]:
        yield content(5)
        raise ConnectionResetError

    vault.bulk.put("a", [b"old"])
    for name in ("a", "b"):
        with pytest.raises(ConnectionResetError):
            vault.bulk.put(name, failing())
    assert list(vault.bulk.open("a")) == [b"old"]
    with pytest.raises(Unknown):
        next(vault.bulk.open("b"))
    assert stored(database) == {"bulk": 1, "bulk.files": 1, "bulk.chunks": 1, "bulk.unfinished": 0}


def test_memory_stays_bounded_however_large_the_object(vault: Vault) -> None:
    vault.bulk.put("warm", [b""])
    piece = content(1)
    tracemalloc.start()
    try:
        vault.bulk.put("large", (piece for _ in range(60)))
        size = sum(len(one) for one in vault.bulk.open("large"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == 60 * PIECE and peak < 40 * PIECE  # MongoDB answers with up to 16 MB at a time


def test_database_holds_neither_name_nor_content(vault: Vault, database: Database[dict[str, Any]]) -> None:
    vault.bulk.put(f"{NAME}/1.2.3", [NAME.encode() * 100])
    for name in database.list_collection_names():
        held = repr(list(database[name].find())).encode() + b"".join(
            one["data"] for one in database["bulk.chunks"].find() if name == "bulk.chunks"
        )
        assert NAME.encode() not in held and NAME not in held.decode("utf-8", "replace")
        assert "1.2.3" not in held.decode("utf-8", "replace")


def test_changed_swapped_missing_added_and_foreign_pieces_are_refused(
    vault: Vault, database: Database[dict[str, Any]]
) -> None:
    chunks = database["bulk.chunks"]

    def spoil(kind: str) -> None:
        vault.bulk.put(kind, [content(2.5)])
        pointer = database["bulk"].find_one({"_id": vault.bulk.identify(kind)})
        assert pointer is not None
        file = pointer["file"]
        mine = {one["n"]: one for one in chunks.find({"files_id": file})}
        if kind == "changed":
            bad = bytearray(mine[1]["data"])
            bad[500] ^= 1
            chunks.update_one({"_id": mine[1]["_id"]}, {"$set": {"data": bytes(bad)}})
        elif kind == "swapped":
            for at, other in ((0, 1), (1, 0)):
                chunks.update_one({"_id": mine[at]["_id"]}, {"$set": {"data": mine[other]["data"]}})
        elif kind == "missing":
            chunks.delete_one({"_id": mine[1]["_id"]})
        elif kind == "cut":
            chunks.delete_one({"_id": mine[2]["_id"]})
            length = len(mine[0]["data"]) * 2
            database["bulk.files"].update_one({"_id": file}, {"$set": {"length": length}})
            database["bulk"].update_one({"file": file}, {"$set": {"pieces": 2, "size": 2 * PIECE}})
        elif kind == "foreign":
            other = chunks.find_one({"files_id": {"$ne": file}, "n": 0})
            chunks.update_one({"_id": mine[0]["_id"]}, {"$set": {"data": other["data"]}})  # type: ignore[index]
        elif kind == "gone":
            database["bulk.files"].delete_one({"_id": file})

    vault.bulk.put("right", [content(2.5)])
    for kind in ("changed", "swapped", "missing", "cut", "foreign", "gone"):
        spoil(kind)
        with pytest.raises(Tampered):
            list(vault.bulk.open(kind))
    assert b"".join(vault.bulk.open("right")) == content(2.5)


def test_object_under_another_name_or_of_another_institution_is_refused(
    vault: Vault, database: Database[dict[str, Any]], mongo: Any, keystore: FileKeystore
) -> None:
    vault.bulk.put("mine", [b"one"])
    pointer = database["bulk"].find_one({"_id": vault.bulk.identify("mine")})
    assert pointer is not None
    database["bulk"].insert_one({**pointer, "_id": vault.bulk.identify("yours")})
    with pytest.raises(Tampered):
        list(vault.bulk.open("yours"))
    name = f"{database.name}_west"
    try:
        west = Vault(mongo[name], keystore, "hospital-west", CHAIN)
        for collection in ("bulk", "bulk.files", "bulk.chunks"):
            mongo[name][collection].insert_many(list(database[collection].find()))
        with pytest.raises(Tampered):
            list(west.bulk.open("mine"))
    finally:
        mongo.drop_database(name)


def test_wrong_key_opens_nothing(vault: Vault, database: Database[dict[str, Any]]) -> None:
    vault.bulk.put("a", [b"one"])
    vault.bulk.put("b", [b"two"])
    other = database["bulk"].find_one({"_id": vault.bulk.identify("b")})
    assert other is not None
    database["bulk"].update_one({"_id": vault.bulk.identify("a")}, {"$set": {"key": other["key"]}})
    with pytest.raises(Tampered):
        list(vault.bulk.open("a"))


def test_deleted_object_is_unknown_and_leaves_nothing(vault: Vault, database: Database[dict[str, Any]]) -> None:
    vault.bulk.put("a", [content()])
    vault.bulk.delete("a")
    vault.bulk.delete("a")
    with pytest.raises(Unknown):
        next(vault.bulk.open("a"))
    assert set(stored(database).values()) == {0}


def test_erasing_a_patient_reaches_the_pixels_of_settled_records_only(vault: Vault) -> None:
    for number in (1, 2):
        vault.bulk.put(f"pixels {number}", [content(1.2)])
        vault.landing.put(replace(raw(number), bulk=(f"pixels {number}", "never stored")))
    run(vault, "east-his", lambda one: (patient(one.native_id), observation(f"o-{one.native_id}", one.native_id)))
    vault.bulk.put("pixels 3", [b"unsettled"])
    assert b"".join(vault.bulk.open("pixels 1")) == content(1.2)

    assert vault.erase(raw(1).native_id).bulk == 1
    with pytest.raises(Erased):
        list(vault.bulk.open("pixels 1"))
    assert b"".join(vault.bulk.open("pixels 2")) == content(1.2)
    assert list(vault.bulk.open("pixels 3")) == [b"unsettled"]
    assert vault.erase(raw(1).native_id).bulk == 0


def test_erased_pixels_sent_again_stay_erased(vault: Vault, database: Database[dict[str, Any]]) -> None:
    record = replace(raw(1), bulk=("pixels",))
    vault.bulk.put("pixels", [content()])
    vault.landing.put(record)
    run(vault, "east-his", lambda _: (patient("p"),))
    vault.erase("p")
    vault.bulk.put("pixels", [content()])
    assert not vault.landing.put(record).new
    with pytest.raises(Erased):
        list(vault.bulk.open("pixels"))
    assert stored(database) == {"bulk": 1, "bulk.files": 0, "bulk.chunks": 0, "bulk.unfinished": 0}


def test_salt_alone_gone_makes_the_pixels_unreadable(vault: Vault, database: Database[dict[str, Any]]) -> None:
    vault.bulk.put("pixels", [content()])
    vault.landing.put(replace(raw(1), bulk=("pixels",)))
    run(vault, "east-his", lambda _: (patient("p"),))
    database["patients"].update_many({}, {"$unset": {"salt": ""}})
    with pytest.raises(Erased):
        list(vault.bulk.open("pixels"))


def test_record_settled_for_another_patient_takes_the_pixels_along(vault: Vault) -> None:
    vault.bulk.put("pixels", [b"of the second"])
    vault.landing.put(replace(raw(1), bulk=("pixels",)))
    run(vault, "east-his", lambda _: (patient("first"),))
    vault.landing.put(replace(raw(2), bulk=("pixels",)))
    run(vault, "east-his", lambda _: (patient("second"),))
    vault.erase("first")
    assert list(vault.bulk.open("pixels")) == [b"of the second"]
    vault.erase("second")
    with pytest.raises(Erased):
        list(vault.bulk.open("pixels"))


def test_landed_record_remembers_its_large_parts(vault: Vault) -> None:
    record = replace(raw(1), bulk=("pixels", "overlay"))
    vault.landing.put(record)
    (batch,) = vault.batches.plan("east-his", 10, "run")
    assert [one.raw for one in vault.batches.records(batch)] == [record]


def test_young_uploads_are_not_swept(vault: Vault, database: Database[dict[str, Any]]) -> None:
    seen = []

    def slow() -> Iterator[bytes]:
        yield content(3)
        seen.append(vault.bulk.sweep())
        yield content(1)

    vault.bulk.put("a", slow())
    assert seen == [0] and b"".join(vault.bulk.open("a")) == content(3) + content(1)


def test_writer_killed_before_any_of_its_commands_leaves_old_or_new_and_nothing_half(
    mongo_uri: str, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    FileKeystore.create(tmp_path, b"a password")
    done = run_apart(HERE / "vault_bulk_killed.py", mongo_uri, database.name, tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    assert len(outcomes) > 20
    assert {tuple(one["at_once"]) for one in outcomes} <= {("old", "-"), ("new", "-"), ("new", "kept"), ("new", "gone"),
                                                          ("old", "kept"), ("-", "-")}  # fmt: skip
    assert {json.dumps(one["swept"]) for one in outcomes} == {"true"}
    assert {json.dumps(one["again"]) for one in outcomes} == {json.dumps(["new", "gone", [1, 1, 1, 0]])}
