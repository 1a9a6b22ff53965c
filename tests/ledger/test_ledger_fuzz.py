"""Every decoder: what it accepts it would have written itself, and everything else is Malformed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from region_simulation import MEMBERS, START

from ledger.batch import SubmitBatch
from ledger.block import Block
from ledger.certificate import (
    COMMIT,
    NO_ROUND,
    PREPARE,
    TIMEOUT,
    Ballot,
    QuorumCertificate,
    TimeoutCertificate,
    Vote,
    qc_digest,
)
from ledger.errors import Malformed
from ledger.genesis import ChainParameters, Genesis
from ledger.header import HEADER_BYTES, Header
from ledger.leaves import LEAF_BYTES, Leaves, RecordLeaf, leaves_of
from ledger.proposal import Proposal
from ledger.replica import FinalBlock
from ledger.state import BatchState, InstitutionState
from ledger.validators import Member, ValidatorSet
from schemas.records import Entry
from schemas.region import Parameters, Region
from shangmi import PrivateKey

RNG = random.Random(11)
KEYS = {one.id: PrivateKey.generate() for one in MEMBERS}
GENESIS = Genesis.from_region(
    Region("杏林示范区", START, MEMBERS, Parameters()), {one: key.public for one, key in KEYS.items()}
)


def blob(length: int = 32) -> bytes:
    return RNG.randbytes(length)


def entry(locator: str = "5f3a") -> Entry:
    return Entry(blob(16), 1 + RNG.randrange(9), blob(), blob(), bytes(32), 900, 14, locator)


BALLOT = Ballot(PREPARE, 7, 2, 0, blob(), 1, blob())
QC = QuorumCertificate(BALLOT, 5, (0, 2, 4), (blob(64), blob(64), blob(64)))
LOCK = QC.encode()
TC = TimeoutCertificate(
    7, 2, 0, 5, (1, 2, 3), ((NO_ROUND, bytes(32)), (2, qc_digest(LOCK)), (2, qc_digest(LOCK))), (blob(64),) * 3, (LOCK,)
)
BATCH = SubmitBatch(blob(), blob(16), blob(16), 3, blob(), 4, blob(16), 99, "vault of 东城医院", blob(64))
HEADER = GENESIS.header
BLOCK = Block(HEADER, LOCK, (BATCH.encode(), BATCH.encode()))
EVEN, MIXED = leaves_of([entry(), entry()]), leaves_of([entry("a"), entry("bcd"), entry("东")])
PROPOSAL = Proposal(3, blob(16), BLOCK.encode(), LOCK, TC.encode(), (EVEN.encode(), MIXED.encode()), blob(64))

#: Each structure by a good example of its bytes and its decoder.
STRUCTURES: dict[str, tuple[bytes, Callable[[bytes], Any]]] = {
    "header": (HEADER.encode(), Header.decode),
    "block": (BLOCK.encode(), Block.decode),
    "batch": (BATCH.encode(), SubmitBatch.decode),
    "record leaf": (MIXED.record(2), RecordLeaf.decode),
    "leaves of one width": (EVEN.encode(), Leaves.decode),
    "leaves of different widths": (MIXED.encode(), Leaves.decode),
    "PREPARE": (Vote(BALLOT, blob(16), blob(64)).encode(), Vote.decode),
    "COMMIT": (Vote(Ballot(COMMIT, 7, 2, 0, blob(), 2, blob()), blob(16), blob(64)).encode(), Vote.decode),
    "TIMEOUT": (
        Vote(Ballot(TIMEOUT, 7, 2, 0, bytes(32), 2, qc_digest(LOCK)), blob(16), blob(64), LOCK).encode(),
        Vote.decode,
    ),
    "certificate": (LOCK, QuorumCertificate.decode),
    "timeout certificate": (TC.encode(), TimeoutCertificate.decode),
    "proposal": (PROPOSAL.encode(), Proposal.decode),
    "final block": (FinalBlock(BLOCK.encode(), LOCK, (EVEN.encode(),)).encode(), FinalBlock.decode),
    "member": (GENESIS.validators.members[0].encode(), Member.decode),
    "validator set": (GENESIS.validators.encode(), ValidatorSet.decode),
    "parameters": (GENESIS.parameters.encode(), ChainParameters.decode),
    "genesis": (GENESIS.encode(), Genesis.load),
    "institution state": (InstitutionState(5, blob(16)).encode(), InstitutionState.decode),
    "batch state": (BatchState(blob(), 5, 6, 7).encode(), BatchState.decode),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_decoded_encodes_to_the_same_bytes(name: str) -> None:
    data, decode = STRUCTURES[name]
    assert decode(data).encode() == data


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_prefix_and_every_extension_is_malformed(name: str) -> None:
    data, decode = STRUCTURES[name]
    # A record leaf ends with its locator, whose length is checked against the whole.
    for end in range(len(data)):
        with pytest.raises(Malformed):
            decode(data[:end])
    for more in (b"\0", b"\xff", data):
        with pytest.raises(Malformed):
            decode(data + more)


@pytest.mark.parametrize("name", STRUCTURES)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_any_change_is_malformed_or_another_canonical_value(name: str, data: st.DataObject) -> None:
    good, decode = STRUCTURES[name]
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(good) - 1))
        changed[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    spliced = bytes(changed[:cut]) + data.draw(st.binary(max_size=8)) + bytes(changed[cut:])
    for candidate in (bytes(changed), spliced, data.draw(st.binary(max_size=300))):
        try:
            found = decode(candidate)
        except Malformed:
            continue
        assert found.encode() == candidate


@pytest.mark.parametrize("name", STRUCTURES)
def test_no_structure_is_read_as_another(name: str) -> None:
    data, _ = STRUCTURES[name]
    family = {"leaves of different widths": "leaves", "leaves of one width": "leaves"}
    votes = {"PREPARE", "COMMIT", "TIMEOUT"}
    for other, (_, decode) in STRUCTURES.items():
        if other == name or {name, other} <= votes or family.get(name, name) == family.get(other, other):
            continue
        with pytest.raises(Malformed):
            decode(data)


@pytest.mark.parametrize("wrong", [None, "text", 7, bytearray(b"bytes"), [b"bytes"]])
def test_what_is_no_bytes_is_malformed(wrong: Any) -> None:
    for _, decode in STRUCTURES.values():
        with pytest.raises(Malformed):
            decode(wrong)


def test_leaves_keep_every_field_of_the_entries() -> None:
    entries = [entry(), entry("a longer locator"), entry("locator-3")]
    leaves = leaves_of(entries)
    for index, one in enumerate(entries):
        leaf = RecordLeaf.decode(leaves.record(index))
        assert (leaf.rid, leaf.version, leaf.ct_digest, leaf.key_commit) == (
            one.rid, one.version, one.ct_digest, one.key_commit,
        )  # fmt: skip
        assert (leaf.summary_digest, leaf.ct_len, leaf.resource_type) == (bytes(32), 900, 14)
        assert leaf.locator.decode() == one.locator and leaf.encode() == leaves.record(index)


def test_entries_of_the_wrong_shape_are_our_own_mistake() -> None:
    good = entry()
    for wrong in ({"rid": b"short"}, {"ct_digest": bytes(31)}, {"locator": ""}, {"locator": "x" * 129}):
        with pytest.raises(ValueError, match="another length"):
            leaves_of([Entry(**{**{k: getattr(good, k) for k in Entry.__slots__}, **wrong})])
    for twice in ([good, good], [Entry(good.rid, 0, *(blob() for _ in range(3)), 1, 1, "x")]):
        with pytest.raises(Malformed):
            leaves_of(twice)


def test_sizes_are_what_the_formats_say() -> None:
    assert (398, 139, len(BALLOT.encode())) == (HEADER_BYTES, LEAF_BYTES, Ballot.BYTES)
    assert len(LOCK) == 85 + 2 + 1 + 3 * 64
