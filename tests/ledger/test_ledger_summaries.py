"""Summaries reach every node, are read by members alone, and are gone everywhere when the chain says so (18)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from killed import run_apart
from sharing_world import EAST, TYPE, SharingRegion

from ledger.chain.leaves import Leaves
from ledger.chain.validators import institution_id, key_id
from ledger.encoding import u32
from ledger.errors import Malformed, Refused
from ledger.messages import summary_store
from ledger.messages.erasure import Erase
from ledger.messages.granted_keys import GrantedKeys, grant_topic
from ledger.messages.key_grants import KeyGrant, commitment, grant, make_region_grant, region_key
from ledger.messages.sealed_summary import SEALED, Bundle, SealedSummary, announced, read_summary
from ledger.messages.summary_board import MemoryBoard, MongoBoard
from ledger.messages.summary_store import SummaryStore
from ledger.signatory import Submission
from schemas.records import Entry
from schemas.summary import Summary
from shangmi import PrivateKey, sm3, sm4_gcm_seal

HERE = Path(__file__).parent
SECRET = bytes(range(200, 216))
TOLD = Summary(sm3(b"person"), sm3(b"patient"), TYPE, 20261120, "LAB", "J18.9", 12_345)


class Vault(dict[bytes, bytes]):
    """An institution's own sealed summaries by record."""

    def sealed(self, records: Sequence[bytes]) -> Iterator[bytes]:
        return (self[one] for one in records if one in self)


def seal(chain_id: bytes, publisher: str, record: bytes, told: Summary = TOLD, secret: bytes = SECRET) -> bytes:
    """A summary as docs/formats/summary.md says."""
    header = b"XLS1" + commitment(secret, chain_id, publisher)[:16] + record
    aad = b"XL/SUMS/1\0" + chain_id + u32(len(publisher)) + publisher.encode() + header
    nonce = os.urandom(12)
    return header + nonce + sm4_gcm_seal(secret, nonce, told.encode(), aad)


class SummaryRegion(SharingRegion):
    """A region in which every institution has a store, and hospital-east publishes records with summaries."""

    def equip(self, board: Any) -> None:
        self.board = board
        self.vaults: dict[str, Vault] = {one: Vault() for one in self.nodes}
        self.stores = {one: self.store(one) for one in self.nodes}
        members = self.node("hospital-east").replica.view.roster
        made = grant(SECRET, self.genesis.chain_id, "hospital-east", 1, members)
        self.exchange.post(grant_topic(made.id), made.encode())

    def store(self, institution: str) -> SummaryStore:
        database = self.mongo[self.database_name(institution)]
        return SummaryStore(database, self.node(institution).replica, institution, self.board, self.vaults[institution])

    def summarised(self, count: int = 3, secret: bytes = SECRET) -> Submission:
        """A batch of hospital-east whose records have summaries, but for the last."""
        made: list[Entry] = []
        for number, one in enumerate(self.entries("hospital-east", count)):
            record = one.rid + u32(one.version)
            sealed = seal(self.genesis.chain_id, "hospital-east", record, secret=secret)
            if number < count - 1:
                self.vaults["hospital-east"][record] = sealed
                one = Entry(one.rid, 1, one.ct_digest, one.key_commit, sm3(sealed), one.ct_len, TYPE, one.locator)
            made.append(one)
        node = self.node("hospital-east")
        return node.submit(made, node.next_seq(), "vault of hospital-east")

    def post(self, batch: Submission) -> None:
        self.board.put(batch.tx_id, self.bundle(batch).encode())

    def bundle(self, batch: Submission) -> Bundle:
        records = announced(Leaves.decode(batch.leaves))
        return Bundle.of(batch.tx_id, self.vaults["hospital-east"].sealed(list(records)))

    def erase(self, batch: Submission, *indices: int, reason: str = "patient") -> None:
        keys = Leaves.decode(batch.leaves).keys
        records = tuple(sorted((keys[one][:16], 1) for one in indices))
        self.block_of(self.sign("hospital-east", Erase, reason=reason, records=records))
        for one in indices:
            self.vaults["hospital-east"].pop(keys[one], None)  # as vault.erase and vault.summaries.withhold do

    def read(self, institution: str, key: PrivateKey | None = None, publisher: str | None = None) -> list[Any]:
        store = self.stores[institution]
        return list(store.read(self.exchange, key or self.keys[institution], publisher))


@pytest.fixture
def region(mongo: Any, tmp_path: Path, database: Any) -> Iterator[SummaryRegion]:
    made = SummaryRegion(mongo, tmp_path, f"t{sm3(str(tmp_path).encode()).hex()[:12]}")
    made.equip(MongoBoard(database))
    yield made
    made.close()


def test_every_member_reads_what_was_published_and_an_outsider_nothing(region: SummaryRegion) -> None:
    batch = region.summarised()
    region.post(batch)
    region.block_of(batch)
    for name, store in region.stores.items():
        done = store.follow()
        assert (done.height, done.stored, done.purged, done.missing) == (1, 2, 0, 0), name
        assert store.follow().stored == 0
        found = region.read(name)
        assert [(one.publisher, one.height, one.summary) for one in found] == [("hospital-east", 1, TOLD)] * 2
        assert region.read(name, publisher="hospital-east") == found
        assert region.read(name, publisher="lab-centre") == []
    assert region.read("nursing-home", PrivateKey.generate()) == []  # no wrapped key fits
    keys = Leaves.decode(batch.leaves).keys
    assert {one.rid for one in found} == {key[:16] for key in keys[:2]}
    assert region.board.asked() == []


def test_a_node_that_lacks_summaries_asks_and_gets_them_from_whoever_has_them(region: SummaryRegion) -> None:
    batch = region.summarised()
    region.post(batch)
    region.block_of(batch)
    region.stores["lab-centre"].follow()
    region.board.drop(batch.tx_id)
    late = region.stores["nursing-home"]
    assert (late.follow().missing, region.board.asked()) == (2, [batch.tx_id])
    region.stores["health-commission"].follow()  # has nothing to give
    assert late.follow().missing == 2
    region.stores["lab-centre"].follow()
    done = late.follow()
    assert (done.stored, done.missing, region.board.asked()) == (2, 0, [])


def test_a_publisher_whose_bundle_got_lost_shows_its_own_again(region: SummaryRegion) -> None:
    batch = region.summarised()
    region.block_of(batch)
    assert region.stores["hospital-east"].follow().stored == 2
    assert region.stores["lab-centre"].follow().stored == 2


def test_what_does_not_have_the_digest_on_the_chain_is_passed_over(region: SummaryRegion) -> None:
    batch, chain_id = region.summarised(), region.genesis.chain_id
    region.block_of(batch)
    records = list(announced(Leaves.decode(batch.leaves)))
    forged = [seal(chain_id, "hospital-east", one) for one in records]
    swapped = [self_[:20] + other[20:40] + self_[40:] for self_, other in zip(forged, forged[::-1], strict=True)]
    store = region.stores["nursing-home"]
    for rubbish in (
        b"", b"rubbish", Bundle(batch.tx_id, tuple(forged)).encode(), Bundle(batch.tx_id, tuple(swapped)).encode(),
        Bundle(batch.tx_id, (b"XLS1",)).encode(), region.bundle(batch).encode()[:-1],
    ):  # fmt: skip
        region.board.put(batch.tx_id, rubbish)
        done = store.follow()
        assert (done.stored, done.missing, len(store)) == (0, 2, 0)
    half = Bundle(batch.tx_id, (*forged, region.bundle(batch).sealed[0]))
    region.board.put(batch.tx_id, half.encode())
    assert (store.follow().missing, len(store)) == (1, 1)
    region.post(batch)
    assert (store.follow().missing, len(store)) == (0, 2)


@pytest.mark.parametrize("reason", ["patient", "directory"])
def test_an_erasure_purges_the_summary_everywhere_and_no_late_bundle_brings_it_back(
    region: SummaryRegion, reason: str
) -> None:
    batch = region.summarised()
    region.post(batch)
    region.block_of(batch)
    whole = region.bundle(batch)
    present = [store for name, store in region.stores.items() if name != "nursing-home"]
    for store in present:
        store.follow()
    region.erase(batch, 0, reason=reason)
    assert [store.follow().purged for store in present] == [1] * len(present)
    assert list(region.board.read(batch.tx_id)) in ([], [region.bundle(batch).encode()])
    region.board.put(batch.tx_id, whole.encode())  # somebody who was away shows all of it again
    late = region.stores["nursing-home"].follow()
    assert (late.stored, late.missing) == (1, 0)
    for name, store in region.stores.items():
        store.follow()
        assert len(region.read(name)) == 1
    erased, kept = Leaves.decode(batch.leaves).keys[:2]
    assert {one.rid for one in region.read("nursing-home")} == {kept[:16]} != {erased[:16]}
    sealed = next(one for one in whole.sealed if one[20:40] == erased)
    for one in region.nodes:
        database = region.mongo[region.database_name(one)]
        stored = [document for name in database.list_collection_names() for document in database[name].find()]
        assert all(document.get("sealed") != sealed for document in stored)


def test_only_its_owner_can_purge_a_summary(region: SummaryRegion) -> None:
    batch = region.summarised()
    region.post(batch)
    region.block_of(batch)
    rid = Leaves.decode(batch.leaves).keys[0][:16]
    region.block_of(region.sign("lab-centre", Erase, reason="patient", records=((rid, 1),)))
    done = region.stores["nursing-home"].follow()
    assert (done.purged, done.stored) == (0, 2)


def test_a_publisher_clears_the_board_after_a_while_and_shows_again_what_is_asked_for(
    region: SummaryRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary_store, "KEPT_BLOCKS", 2)
    batch = region.summarised()
    region.post(batch)
    region.block_of(batch)
    region.stores["hospital-east"].follow()
    region.grow(2, 1)
    assert list(region.board.read(batch.tx_id))
    region.stores["hospital-east"].follow()
    assert list(region.board.read(batch.tx_id)) == []
    assert region.stores["nursing-home"].follow().missing == 2
    region.stores["hospital-east"].follow()
    assert region.stores["nursing-home"].follow().missing == 0


def test_following_again_from_nothing_gives_the_same_store(region: SummaryRegion) -> None:
    first, second = region.summarised(), region.summarised(4)
    region.post(first)
    region.block_of(first)
    region.erase(first, 1)
    store = region.stores["nursing-home"]
    store.follow()
    database = region.mongo[region.database_name("nursing-home")]
    before = {name: list(database[name].find()) for name in ("summaries", "summaries_gone", "summaries_wanted")}
    database["summaries_meta"].delete_many({})
    store.follow()
    assert {name: list(database[name].find()) for name in before} == before
    assert second.tx_id not in {one["_id"] for one in before["summaries_wanted"]}


@pytest.mark.parametrize("kind", ["memory", "mongo"])
def test_a_board_shows_what_was_put_until_it_is_dropped_and_lists_what_is_asked_for(kind: str, database: Any) -> None:
    board = MemoryBoard() if kind == "memory" else MongoBoard(database)
    one, other, large = bytes(32), bytes([1]) * 32, os.urandom(5 << 20)
    for _ in range(2):
        board.put(one, b"bundle")
        board.put(one, large)
        board.put(other, b"another")
        board.ask(other)
    assert sorted(board.read(one), key=len) == [b"bundle", large]
    assert (list(board.read(other)), board.asked()) == ([b"another"], [other])
    board.drop(one)
    board.answered(other)
    board.answered(one)
    assert (list(board.read(one)), list(board.read(other)), board.asked()) == ([], [b"another"], [])


def test_what_members_scribble_on_the_board_is_passed_over(database: Any) -> None:
    board, tx_id = MongoBoard(database), bytes(32)
    board.put(tx_id, b"good")
    digest = sm3(b"bad")
    for document in (
        {"tx": tx_id, "bundle": "text", "piece": 0, "data": b"x"},
        {"tx": tx_id, "bundle": digest, "piece": 0, "data": 7},
        {"tx": tx_id, "bundle": sm3(b"other"), "piece": 0, "data": b"not that"}, {"tx": tx_id, "bundle": digest},
    ):  # fmt: skip
        database["summaries"].insert_one(dict(document))
    database["summaries_asked"].insert_many([{"_id": "text"}, {"_id": b"short"}])
    assert (list(board.read(tx_id)), board.asked()) == ([b"good"], [])


# --- killed anywhere ---------------------------------------------------------------------------------------------


def test_killed_before_any_of_its_commands_a_store_ends_as_if_undisturbed(
    mongo: Any, mongo_uri: str, tmp_path: Path
) -> None:
    region = SummaryRegion(mongo, tmp_path, f"t{sm3(str(tmp_path).encode()).hex()[:12]}")
    prefix = f"k{region.name}_"
    try:
        region.equip(MemoryBoard())
        batch = region.summarised(4)
        region.block_of(batch)
        (tmp_path / "genesis").write_bytes(region.genesis.encode())
        (tmp_path / "bundle").write_bytes(region.bundle(batch).encode())

        def run(stage: str) -> list[dict[str, Any]]:
            name = region.database_name("nursing-home")
            arguments = (mongo_uri, name, tmp_path / "genesis", "nursing-home", prefix, stage, tmp_path / "bundle")
            done = run_apart(HERE / "summaries_killed.py", *arguments)
            assert done.returncode == 0, done.stderr
            found: list[dict[str, Any]] = json.loads(done.stdout)
            return found

        filled = run("fill")
        assert filled[-1]["ended"] and sum(not one.pop("ended") for one in filled) > 5
        assert all(one == filled[-1] for one in filled)
        assert (len(filled[-1]["here"]), filled[-1]["wanted"], filled[-1]["cursor"]) == (3, 0, 1)
        region.erase(batch, 0, 2)
        purged = run("purge")
        assert purged[-1]["ended"] and sum(not one.pop("ended") for one in purged) > 3
        assert all(one == purged[-1] for one in purged)
        counts = {name: value if isinstance(value, int) else len(value) for name, value in purged[-1].items()}
        assert counts == {"here": 1, "gone": 2, "wanted": 0, "cursor": 2, "board": 0, "asked": 0}
    finally:
        region.close()
        for name in mongo.list_database_names():
            if name.startswith(prefix):
                mongo.drop_database(name)


# --- keys and bytes ----------------------------------------------------------------------------------------------


class Member:
    def __init__(self, name: str) -> None:
        self.key = PrivateKey.generate()
        self.id, self.public_key = institution_id(name), self.key.public.bytes


CHAIN = bytes(range(32))


def test_a_secret_opens_for_those_it_was_granted_and_for_nobody_else() -> None:
    east, west, gone = Member("hospital-east"), Member("hospital-west"), Member("gone")
    made = KeyGrant.decode(grant(SECRET, CHAIN, "hospital-east", 3, [west, east]).encode())
    assert made.open(east.id, east.key) == made.open(west.id, west.key) == SECRET
    assert made.open(gone.id, gone.key) is None
    assert made.open(east.id, gone.key) is None  # a stolen id without its key
    assert SECRET not in made.encode()
    assert made.id == commitment(SECRET, CHAIN, "hospital-east")[:16] != commitment(SECRET, CHAIN, "x")[:16]


def test_a_grant_that_wraps_another_secret_than_it_commits_to_is_refused() -> None:
    east = Member("hospital-east")
    made, other = grant(SECRET, CHAIN, "a", 1, [east]), grant(bytes(16), CHAIN, "a", 1, [east])
    lying = KeyGrant(CHAIN, "a", 1, made.commitment, other.wraps)
    with pytest.raises(Refused, match="not the one the grant commits to"):
        lying.open(east.id, east.key)
    broken = other.wraps[0]
    for wrapped in (b"", bytes(113), broken.wrapped[:-1] + bytes([broken.wrapped[-1] ^ 1])):
        one = type(broken)(east.id, key_id(east.public_key), wrapped)
        with pytest.raises(Refused):
            KeyGrant(CHAIN, "a", 1, other.commitment, (one,)).open(east.id, east.key)


def test_rubbish_under_a_keys_topic_hides_no_good_grant(region: SummaryRegion) -> None:
    east = region.keys["nursing-home"]
    made = grant(SECRET, region.genesis.chain_id, "hospital-east", 1, region.node("lab-centre").replica.view.roster)
    topic = grant_topic(made.id)
    other = grant(bytes(16), region.genesis.chain_id, "hospital-east", 1, [])
    for rubbish in (
        b"",
        b"x" * 100,
        other.encode(),
        KeyGrant(CHAIN, "lab-centre", 1, made.commitment, made.wraps).encode(),
    ):
        region.exchange.post(topic, rubbish)
    assert GrantedKeys(region.exchange, "nursing-home", east).secret(made.id, "hospital-east") == SECRET
    assert GrantedKeys(region.exchange, "nursing-home", east).secret(made.id, "lab-centre") is None
    assert GrantedKeys(region.exchange, "nursing-home", east).secret(bytes(16), "hospital-east") is None


def test_the_regions_key_is_the_same_for_every_member_and_lies_in_the_clear_nowhere() -> None:
    east, west, gone = Member("hospital-east"), Member("hospital-west"), Member("gone")
    made = make_region_grant(CHAIN, [east, west])
    key = region_key(made, CHAIN, "hospital-east", east.key)
    assert key == region_key(made, CHAIN, "hospital-west", west.key) and key is not None and len(key) == 32
    assert key not in made and region_key(made, CHAIN, "gone", gone.key) is None
    with pytest.raises(Refused):
        region_key(made, bytes(32), "hospital-east", east.key)
    with pytest.raises(Refused):
        region_key(grant(SECRET, CHAIN, "hospital-east", 1, [east]).encode(), CHAIN, "hospital-east", east.key)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.data())
def test_every_decoder_takes_its_own_bytes_and_refuses_changed_ones(data: st.DataObject) -> None:
    sealed = seal(CHAIN, "hospital-east", bytes(19) + b"\1")
    decoders = {
        "grant": (_GRANT, lambda b: KeyGrant.decode(b).encode()),
        "bundle": (Bundle.of(bytes(32), [sealed]).encode(), lambda b: Bundle.decode(b).encode()),
        "summary": (TOLD.encode(), lambda b: read_summary(b).encode()),
    }
    good, again = decoders[data.draw(st.sampled_from(sorted(decoders)))]
    assert again(good) == good
    at = data.draw(st.integers(0, len(good) - 1))
    for wrong in (
        good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :],
        good[:at],
        good + b"\0",
    ):
        try:
            assert again(wrong) == wrong
        except Malformed:
            continue
    for wrong in (good[:at], data.draw(st.binary(max_size=SEALED - 1))):
        with pytest.raises(Malformed):
            SealedSummary.read(wrong)


_GRANT = grant(SECRET, CHAIN, "hospital-east", 1, [Member("hospital-east")]).encode()


def test_a_sealed_summary_opens_for_its_record_publisher_and_chain_alone() -> None:
    record = sm3(b"r")[:16] + u32(1)
    sealed = SealedSummary.read(seal(CHAIN, "hospital-east", record))
    assert sealed.open(SECRET, CHAIN, "hospital-east") == TOLD
    other = SealedSummary.read(sealed.data[:20] + sm3(b"s")[:16] + sealed.data[36:])
    tampered = SealedSummary.read(sealed.data[:-1] + bytes([sealed.data[-1] ^ 1]))
    for one, secret, chain, publisher in (
        (sealed, bytes(16), CHAIN, "hospital-east"), (sealed, SECRET, bytes(32), "hospital-east"),
        (sealed, SECRET, CHAIN, "hospital-west"), (other, SECRET, CHAIN, "hospital-east"),
        (tampered, SECRET, CHAIN, "hospital-east"),
    ):  # fmt: skip
        with pytest.raises(Refused):
            one.open(secret, chain, publisher)


def test_a_dictionary_of_every_summary_that_could_be_finds_no_digest() -> None:
    """The space is small on purpose: person and patient known, 3 codes, 31 days; only the key and nonce are not."""
    record = sm3(b"r")[:16] + u32(1)
    digest = sm3(seal(CHAIN, "hospital-east", record))
    for day in range(1, 32):
        for code in ("LAB", "RAD", ""):
            plain = Summary(TOLD.person, TOLD.patient, TYPE, 20261100 + day, code, "J18.9", 12_345).encode()
            for guess in (plain, record + plain, CHAIN + record + plain, EAST + plain):
                assert sm3(guess) != digest
    again = seal(CHAIN, "hospital-east", record)
    assert sm3(again) != digest  # even who holds the key cannot repeat it without the nonce, which is purged with it
