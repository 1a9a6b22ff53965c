"""ERASE: what is on the chain stays and proves, what could be read is denied and cannot be guessed (section 15)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sharing_world import EAST, LAB, MemoryLedger, SharingRegion

from ledger.chain.leaves import Leaves
from ledger.chain.state import TOMBSTONE
from ledger.chain.transaction import MAX_TRANSACTION
from ledger.chain.transactions import open_transaction
from ledger.errors import Malformed, ProofError
from ledger.messages.erasure import MAX_RECORDS, Erase, Tombstone, erased, identity, portions
from ledger.proofs.proof import verify_proof
from ledger.proofs.receipt_proving import prove_entry
from ledger.proofs.receipts import verify_entry
from shangmi import hmac_sm3, sm3

RECORDS = tuple(sorted((sm3(b"%d" % number)[:16], 1 + number % 2) for number in range(5)))


def erase(ledger: MemoryLedger, sender: bytes = EAST, **changes: Any) -> Erase:
    return Erase(**ledger.heading(sender), **({"reason": "patient", "records": RECORDS} | changes))


def test_an_owner_erases_its_records_and_nobody_elses() -> None:
    ledger = MemoryLedger()
    ledger.run(erase(ledger, LAB))
    assert not any(erased(ledger, EAST, *one) for one in RECORDS)
    ledger.run(erase(ledger))
    assert all(erased(ledger, EAST, *one) for one in RECORDS)
    assert not erased(ledger, EAST, RECORDS[0][0], 9)
    stone = Tombstone.decode(ledger.get(TOMBSTONE, identity(EAST, *RECORDS[0])) or b"")
    assert stone == Tombstone(7, "patient")


def test_erasing_twice_is_refused_whole_and_nothing_changes() -> None:
    ledger = MemoryLedger()
    ledger.run(erase(ledger, records=RECORDS[:1]))
    assert ledger.refuse(erase(ledger)) == "erased already"
    assert ledger.refuse(erase(ledger, reason="directory")) == "erased already"
    ledger.run(erase(ledger, records=RECORDS[1:]))


def test_taking_summaries_back_leaves_records_as_they_are() -> None:
    ledger = MemoryLedger()
    before = dict(ledger.values)
    ledger.run(erase(ledger, reason="directory"))
    assert ledger.values == before


def test_what_is_no_erasure_is_malformed() -> None:
    ledger = MemoryLedger()
    for records in ((), RECORDS[::-1], RECORDS[:1] * 2, ((bytes(16), 0),)):
        with pytest.raises(Malformed):
            open_transaction(erase(ledger, records=records).encode() + bytes(64))
    good = erase(ledger).encode()
    at = good.index(b"".join(rid + version.to_bytes(4, "big") for rid, version in RECORDS)) - 5
    with pytest.raises(Malformed):
        open_transaction(good[:at] + b"\x04" + good[at + 1 :] + bytes(64))
    with pytest.raises(Malformed):
        Tombstone.decode(b"\0" * 8 + b"\x04")


def test_the_largest_erasure_fits_a_transaction_and_more_go_in_portions() -> None:
    ledger = MemoryLedger()
    many = [(number.to_bytes(16, "big"), 1) for number in range(MAX_RECORDS * 2 + 1)]
    parts = list(portions([*many, many[0]]))
    assert [len(one) for one in parts] == [MAX_RECORDS, MAX_RECORDS, 1]
    largest = erase(ledger, records=tuple(parts[0]))
    assert len(largest.encode()) + 64 <= MAX_TRANSACTION
    assert open_transaction(largest.encode() + bytes(64)) == replace(largest, signature=bytes(64))
    assert list(portions([])) == []


# --- on a whole region -------------------------------------------------------------------------------------------


@pytest.fixture
def region(mongo: Any, tmp_path: Path) -> Iterator[SharingRegion]:
    made = SharingRegion(mongo, tmp_path, f"t{sm3(str(tmp_path).encode()).hex()[:12]}")
    yield made
    made.close()


def test_after_an_erasure_inclusion_holds_status_is_erased_and_others_stay_active(region: SharingRegion) -> None:
    batch = region.publish("hospital-east")
    region.block_of(batch)
    leaves = Leaves.decode(batch.leaves)
    rids = [key[:16] for key in leaves.keys]
    region.block_of(region.sign("hospital-east", Erase, reason="patient", records=((rids[0], 1),)))
    region.grow(1)
    node, anchor = region.node("nursing-home"), region.genesis.anchor()
    gone, kept = (verify_proof(_json(node.prove(rid, 1)), anchor) for rid in rids[:2])
    assert (gone.height, gone.status, gone.erased_height, kept.status) == (1, "erased", 2, "active")
    proof = prove_entry(node.replica, TOMBSTONE, identity(EAST, rids[0], 1))
    found = verify_entry(proof, anchor, TOMBSTONE, identity(EAST, rids[0], 1))
    assert Tombstone.decode(found.value or b"") == Tombstone(2, "patient")
    active = prove_entry(node.replica, TOMBSTONE, identity(EAST, rids[1], 1))
    assert verify_entry(active, anchor, TOMBSTONE, identity(EAST, rids[1], 1)).value is None
    with pytest.raises(ProofError):
        verify_entry(proof, anchor, TOMBSTONE, identity(EAST, rids[1], 1))


def test_an_erasure_denies_from_the_next_block_on_and_after_it_in_its_own(region: SharingRegion) -> None:
    batch = region.publish("hospital-east")
    region.block_of(batch)
    leaves = Leaves.decode(batch.leaves)
    rid = leaves.keys[0][:16]
    erasure = region.sign("hospital-east", Erase, reason="patient", records=((rid, 1),))
    beside = region.request("hospital-west", "hospital-east", leaves, purpose="emergency")
    region.block_of(erasure, beside)
    after = region.request("hospital-west", "hospital-east", leaves, purpose="emergency")
    region.block_of(after)
    receipts = region.node("lab-centre").replica.receipts
    assert _code(receipts(3)[0]) == 2
    codes = {one[10:42]: _code(one) for one in receipts(2)}
    assert codes[erasure.tx_id] == 1 and codes[beside.tx_id] in (1, 2)


def test_no_guess_over_a_small_space_of_plaintext_is_found_in_any_byte_of_the_chain(region: SharingRegion) -> None:
    """Invariant 32: whoever has the whole chain, and no key, tests every name, number, code and date against it."""
    numbers = [f"11010519491231{last:03}X" for last in range(100)]
    words = [one.encode() for one in ("张三", "李四", "J18.9", "LAB", "H", "2026-11-20", "20261120", *numbers)]
    bodies = [b'{"conclusion":"%s","patient":"%s"}' % pair for pair in product(words[:8], repeat=2)]
    batch = region.publish("hospital-east")
    region.block_of(batch)
    rid = Leaves.decode(batch.leaves).keys[0][:16]
    region.block_of(region.sign("hospital-east", Erase, reason="patient", records=((rid, 1),)))
    database = region.mongo[region.database_name("nursing-home")]
    chain = b"".join(
        repr(one).encode() if not isinstance(one, bytes) else one
        for name in database.list_collection_names()
        for document in database[name].find()
        for value in document.values()
        for one in (value if isinstance(value, list) else [value])
    )
    public = (b"", region.genesis.chain_id, EAST, rid, b"hospital-east")
    for guess in (*words, *bodies):
        assert guess not in chain or len(guess) < 4
        for salt in public:
            assert sm3(salt + guess)[:16] not in chain and sm3(guess + salt)[:16] not in chain
            assert hmac_sm3(salt, guess)[:16] not in chain
    for one in region.keys.values():
        assert one._scalar not in chain
    assert rid in chain  # the attack does look at the bytes


def _json(document: dict[str, Any]) -> bytes:
    import json

    return json.dumps(document).encode()


def _code(receipt: bytes) -> int:
    return receipt[42]
