"""Receipts and entries of the state, proved offline under a certified header (sections 12 and 14)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sharing_world import EAST, PATIENT, SharingRegion

from ledger.agreement.certificate import PREPARE
from ledger.chain.header import HEADER_BYTES
from ledger.chain.leaves import Leaves
from ledger.chain.receipt import encode_receipt, read_receipt
from ledger.chain.rules import ACCEPTED, DENIED, Outcome
from ledger.chain.state import CONSENT, REQUEST
from ledger.encoding import var
from ledger.errors import ProofError
from ledger.messages.consent import Consent, ConsentState
from ledger.messages.provisions import Provision
from ledger.messages.request_state import RequestState, Verdict
from ledger.proofs.receipt_proving import prove_entry, prove_receipt
from ledger.proofs.receipts import EntryProof, ReceiptProof, verify_entry, verify_receipt
from shangmi import sm3


class Shared(NamedTuple):
    """A region whose second block holds an allowed and a denied request and a consent; one block stands above."""

    region: SharingRegion
    allowed: bytes
    denied: bytes
    consent: bytes
    anchor: bytes


@pytest.fixture(scope="module")
def shared(mongo: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    folder = tmp_path_factory.mktemp("region")
    region = SharingRegion(mongo, folder, f"t{sm3(str(folder).encode()).hex()[:12]}")
    batch = region.publish("hospital-east")
    region.block_of(batch)
    leaves = Leaves.decode(batch.leaves)
    allowed = region.request("hospital-west", "hospital-east", leaves, purpose="emergency")
    denied = region.request("nursing-home", "hospital-east", leaves)
    will = {"patient": PATIENT, "sequence": 1, "provisions": (Provision(True),), "reference": sm3(b"form")}
    consent = region.sign("hospital-east", Consent, **will)
    region.block_of(allowed, denied, consent)
    region.grow(1)
    yield Shared(region, allowed.tx_id, denied.tx_id, consent.tx_id, region.genesis.anchor())
    region.close()


def receipt(shared: Shared, tx_id: bytes) -> bytes:
    return prove_receipt(shared.region.node("nursing-home").replica, tx_id)


def entry(shared: Shared, kind: int, identity: bytes) -> bytes:
    return prove_entry(shared.region.node("nursing-home").replica, kind, identity)


def test_a_receipt_proves_that_a_request_was_allowed_and_by_which_policy(shared: Shared) -> None:
    found = verify_receipt(receipt(shared, shared.allowed), shared.anchor, shared.allowed)
    verdict = Verdict.decode(found.outcome.code, found.outcome.detail)
    assert verdict.allowed and verdict.policies == ("care.emergency",)
    assert verdict.policy_hash == shared.region.genesis.parameters.policy_hash
    assert (found.header.height, found.head.height) == (2, 3)


def test_a_receipt_proves_a_denial_too(shared: Shared) -> None:
    found = verify_receipt(receipt(shared, shared.denied), shared.anchor, shared.denied)
    assert found.outcome.code == DENIED and not Verdict.decode(DENIED, found.outcome.detail).allowed


def test_an_entry_proves_that_a_request_stands_allowed_and_that_a_denied_one_does_not(shared: Shared) -> None:
    stands = verify_entry(entry(shared, REQUEST, shared.allowed), shared.anchor, REQUEST, shared.allowed)
    assert RequestState.decode(stands.value or b"").purpose == "emergency"
    nothing = verify_entry(entry(shared, REQUEST, shared.denied), shared.anchor, REQUEST, shared.denied)
    assert nothing.value is None and nothing.head.height == 3


def test_an_entry_proves_that_a_consent_stands(shared: Shared) -> None:
    place = EAST + PATIENT
    found = verify_entry(entry(shared, CONSENT, place), shared.anchor, CONSENT, place)
    assert ConsentState.decode(found.value or b"").provisions == (Provision(True),)
    assert verify_receipt(receipt(shared, shared.consent), shared.anchor, shared.consent).outcome.code == ACCEPTED


def test_a_receipt_of_the_head_itself_needs_no_history(shared: Shared, tmp_path: Path) -> None:
    region = SharingRegion(shared.region.mongo, tmp_path, f"t{sm3(str(tmp_path).encode()).hex()[:12]}")
    try:
        batch = region.publish("hospital-east")
        region.block_of(batch)
        request = region.request("hospital-west", "hospital-east", Leaves.decode(batch.leaves), purpose="emergency")
        region.block_of(request)
        proof = prove_receipt(region.node("lab-centre").replica, request.tx_id)
        assert ReceiptProof.decode(proof).history == ()
        assert verify_receipt(proof, region.genesis.anchor(), request.tx_id).head.height == 2
        with pytest.raises(ProofError):  # another region's anchor
            verify_receipt(proof, shared.anchor, request.tx_id)
    finally:
        region.close()


def test_a_proof_answers_only_the_question_that_was_asked(shared: Shared) -> None:
    proof = receipt(shared, shared.allowed)
    with pytest.raises(ProofError, match="another transaction"):
        verify_receipt(proof, shared.anchor, shared.denied)
    proof = entry(shared, REQUEST, shared.allowed)
    for kind, identity in ((REQUEST, shared.denied), (CONSENT, shared.allowed)):
        with pytest.raises(ProofError):
            verify_entry(proof, shared.anchor, kind, identity)
    with pytest.raises(KeyError):
        receipt(shared, sm3(b"never sent"))


def test_every_part_of_a_proof_is_needed(shared: Shared) -> None:
    good = ReceiptProof.decode(receipt(shared, shared.allowed))
    other = ReceiptProof.decode(receipt(shared, shared.denied))
    trunk = good.trunk
    forged = encode_receipt(shared.denied, Outcome(ACCEPTED, read_receipt(good.receipt)[1].detail))
    replica = shared.region.node("nursing-home").replica
    first = replica.header(1).encode()
    wrong = [
        replace(good, receipt=forged), replace(good, receipt=other.receipt), replace(good, index=other.index),
        replace(good, path=good.path[:-1]), replace(good, path=(*good.path, bytes(32))), replace(good, history=()),
        replace(good, header=first), replace(good, header=trunk.head),
        replace(good, history=(bytes(32), *good.history)),
        replace(good, trunk=replace(trunk, chain_id=bytes(32))), replace(good, trunk=replace(trunk, head=good.header)),
        replace(good, trunk=replace(trunk, certificate=trunk.certificate[:-1] + bytes([trunk.certificate[-1] ^ 1]))),
        replace(good, trunk=replace(trunk, certificate=bytes([PREPARE]) + trunk.certificate[1:])),
        replace(good, trunk=replace(trunk, head=first, certificate=replica.block(1)[1])),
    ]  # fmt: skip
    for one in wrong:
        for asked in (shared.allowed, shared.denied):
            with pytest.raises(ProofError):
                verify_receipt(one.encode(), shared.anchor, asked)


def test_a_value_that_does_not_stand_and_a_nothing_where_something_stands_are_refused(shared: Shared) -> None:
    good = EntryProof.decode(entry(shared, REQUEST, shared.allowed))
    none = EntryProof.decode(entry(shared, REQUEST, shared.denied))
    for wrong in (replace(good, value=None), replace(good, value=b"other"), replace(good, proof=none.proof)):
        with pytest.raises(ProofError):
            verify_entry(wrong.encode(), shared.anchor, REQUEST, shared.allowed)
    with pytest.raises(ProofError):
        verify_entry(replace(none, value=good.value).encode(), shared.anchor, REQUEST, shared.denied)


def test_an_anchor_may_limit_the_heads_age(shared: Shared) -> None:
    limited = json.loads(shared.anchor)
    limited["max_age_seconds"] = 60
    anchor, proof = json.dumps(limited).encode(), receipt(shared, shared.allowed)
    head = shared.region.node("nursing-home").replica.view.head.timestamp_ms
    assert verify_receipt(proof, anchor, shared.allowed, head + 60_000)
    for now in (None, head + 61_000):
        with pytest.raises(ProofError):
            verify_receipt(proof, anchor, shared.allowed, now)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.data())
def test_no_changed_byte_of_a_proof_is_accepted_and_nothing_but_a_proof_error_is_raised(data: st.DataObject) -> None:
    shared = data.draw(st.just(_HELD[0]))
    which = data.draw(st.booleans())
    proof = _HELD[1] if which else _HELD[2]
    at = data.draw(st.integers(0, len(proof) - 1))
    flipped = proof[:at] + bytes([proof[at] ^ data.draw(st.integers(1, 255))]) + proof[at + 1 :]
    for wrong in (flipped, proof[:at], proof + proof[at:], data.draw(st.binary(max_size=200))):
        with pytest.raises(ProofError):
            if which:
                verify_receipt(wrong, shared.anchor, shared.allowed)
            else:
                verify_entry(wrong, shared.anchor, REQUEST, shared.allowed)


_HELD: list[Any] = []


@pytest.fixture(autouse=True)
def hold(shared: Shared) -> None:
    """Hypothesis runs a test many times; what it changes is made once."""
    _HELD[:] = [shared, receipt(shared, shared.allowed), entry(shared, REQUEST, shared.allowed)]


def test_an_oversized_file_is_refused_unread(shared: Shared) -> None:
    with pytest.raises(ProofError, match="at most"):
        verify_receipt(bytes((1 << 20) + 1), shared.anchor, shared.allowed)
    assert HEADER_BYTES == 398 and var(b"") == bytes(4)
