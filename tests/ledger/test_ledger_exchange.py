"""The exchange: content under its digest or not at all, whatever it lists."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo.database import Database

from ledger.agreement.certificate import COMMIT, PREPARE, TIMEOUT
from ledger.chain.replica import FinalBlock
from ledger.errors import Refused
from ledger.exchange import CHUNK, MAX_LISTED, Exchange, MemoryExchange, MongoExchange
from shangmi import sm3


@pytest.fixture(params=["memory", pytest.param("mongo", marks=pytest.mark.mongo)])
def exchange(request: pytest.FixtureRequest) -> Exchange:
    if request.param == "memory":
        return MemoryExchange()
    return MongoExchange(request.getfixturevalue("database"))


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_bytes_come_back_whole_under_their_digest(exchange: Exchange, size: int) -> None:
    data = bytes(size)
    digest = exchange.put(data)
    assert digest == sm3(data).hex() == exchange.put(data)
    assert exchange.get(digest) == data
    assert exchange.get(sm3(b"unknown").hex()) is None


def test_topics_list_once_in_order_and_forget_what_is_retired(exchange: Exchange) -> None:
    for batch in (b"one", b"two", b"one"):
        exchange.post_submission(batch, b"leaves of " + batch)
    assert exchange.submissions() == [(b"one", b"leaves of one"), (b"two", b"leaves of two")]
    exchange.retire_submission(b"one", b"leaves of one")
    exchange.retire_submission(b"never", b"there")
    assert exchange.submissions() == [(b"two", b"leaves of two")]


def test_heights_rounds_and_kinds_are_kept_apart(exchange: Exchange) -> None:
    exchange.post_proposal(1, 0, b"proposal")
    exchange.post_vote(1, 0, PREPARE, b"prepare")
    exchange.post_vote(1, 0, COMMIT, b"commit")
    exchange.post_vote(1, 1, TIMEOUT, b"timeout")
    exchange.post_certificate(1, 0, PREPARE, b"first")
    exchange.post_certificate(1, 0, PREPARE, b"second")
    assert list(exchange.proposals(1, 0)) == [b"proposal"] and list(exchange.proposals(1, 1)) == []
    assert exchange.votes(1, 0, PREPARE) == [b"prepare"] and exchange.votes(1, 0, COMMIT) == [b"commit"]
    assert exchange.votes(1, 1, TIMEOUT) == [b"timeout"]
    assert exchange.certificate(1, 0, PREPARE) == b"first"
    assert list(exchange.certificates(1, 0, PREPARE)) == [b"first", b"second"]
    assert exchange.certificate(1, 0, COMMIT) is None


def test_garbage_among_final_blocks_and_submissions_is_passed_over(exchange: Exchange) -> None:
    final = FinalBlock(b"block", b"certificate", (b"leaves",))
    exchange.post("final/1", b"garbage")
    exchange.post_final(1, final)
    assert list(exchange.finals(1)) == [final] and list(exchange.finals(2)) == []
    for garbage in (b"", b"\xff", b"a\nb\nc", b"\n", b"00\n11"):
        exchange.post("submissions", garbage)
    assert exchange.submissions() == []


def test_changed_content_is_as_good_as_missing() -> None:
    exchange = MemoryExchange()
    digest = exchange.post("topic", b"content")
    exchange.blobs[digest] = b"another"
    assert exchange.get(digest) is None and list(exchange.read("topic")) == []


@pytest.mark.mongo
def test_changed_or_missing_pieces_in_the_database_are_as_good_as_missing(
    database: Database[dict[str, Any]],
) -> None:
    exchange = MongoExchange(database)
    digest = exchange.post("topic", bytes(CHUNK + 1))
    piece = {"_id": f"{digest}.1"}
    database["chunks"].update_one(piece, {"$set": {"data": b"\1"}})
    assert exchange.get(digest) is None
    database["chunks"].update_one({"_id": f"{digest}.0"}, {"$set": {"count": 1}})
    assert exchange.get(digest) is None
    database["chunks"].delete_many({})
    assert exchange.get(digest) is None and list(exchange.read("topic")) == []
    assert exchange.put(bytes(CHUNK + 1)) == digest and exchange.get(digest) == bytes(CHUNK + 1)


def test_a_flood_costs_a_reader_little() -> None:
    exchange = MemoryExchange()
    for number in range(MAX_LISTED + 50):
        exchange.post("topic", b"%d" % number)
    assert len(list(exchange.read("topic"))) == MAX_LISTED


def test_offers_beyond_what_a_reader_takes_wait_and_smaller_ones_behind_go_on(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.exchange.MAX_OFFERED", 100)
    for number, size in enumerate((60, 2 * CHUNK, 60, 40)):
        exchange.post_submission(b"%d" % number, bytes([number]) * size)
    exchange.post_submission(bytes(70_000), b"")
    assert [tx for tx, _ in exchange.submissions()] == [b"0", b"3"]


def test_a_vote_as_large_as_a_block_is_not_read(exchange: Exchange) -> None:
    exchange.post_vote(1, 0, PREPARE, bytes(CHUNK + 1))
    exchange.post_vote(1, 0, PREPARE, b"vote")
    assert exchange.votes(1, 0, PREPARE) == [b"vote"]


@pytest.mark.mongo
def test_documents_of_any_shape_in_the_database_stop_no_reader(database: Database[dict[str, Any]]) -> None:
    exchange = MongoExchange(database)
    for strange in ({}, {"digest": 7}, {"digest": "00"}, {"digest": None, "at": "x"}):
        database["topics"].insert_one({"topic": "topic", **strange})
    for strange in ({}, {"data": 7, "count": 1}, {"data": b"", "count": "x"}):
        database["chunks"].replace_one({"_id": "00.0"}, strange, upsert=True)
        assert list(exchange.read("topic")) == []
    exchange.post("topic", b"content")
    assert list(exchange.read("topic")) == [b"content"]


def test_what_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = MemoryExchange()
    monkeypatch.setattr("ledger.exchange.MAX_BLOB", 10)
    with pytest.raises(Refused):
        exchange.put(bytes(11))
    assert exchange.blobs == {}


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=50)))
def test_a_topic_reads_as_what_was_posted_without_repeats(posted: list[bytes]) -> None:
    exchange = MemoryExchange()
    for one in posted:
        exchange.post("topic", one)
    assert list(exchange.read("topic")) == list(dict.fromkeys(posted))
