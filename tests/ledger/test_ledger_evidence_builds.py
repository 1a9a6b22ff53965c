"""E5: a signed build that breaks a rule by itself is shown by one part of it; what was not signed shows nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from credit_ledger import BLOCK_A, EAST, KEYS, LAB, VOTERS, WEST, DictLedger, certificate, commit, prepare

from ledger.agreement.certificate import qc_digest
from ledger.agreement.proposal import Proposal
from ledger.chain.batch import SubmitBatch
from ledger.chain.block import Block
from ledger.chain.genesis import DEFAULT_POLICY
from ledger.chain.header import Header
from ledger.chain.merkle import Levels, tree_root
from ledger.chain.state import ONLY, TALLY
from ledger.chain.validators import institution_id, key_id
from ledger.credit.evidence import Evidence, convict, execute, find_evidence
from ledger.credit.offences import BROKEN_BUILD
from ledger.credit.tally import Tally
from ledger.encoding import listed, u8, u32, var
from ledger.errors import Refused

HEIGHT = 7


@pytest.fixture
def ledger() -> DictLedger:
    """A chain in its eighth block."""
    made = DictLedger(epoch_blocks=100)
    made.run(7)
    return made


def batch(ledger: DictLedger, seq: int = 1, **changes: object) -> bytes:
    """A batch as an honest institution signs it, or changed and signed all the same."""
    key = KEYS[WEST]
    made = SubmitBatch(
        ledger.chain_id, institution_id(WEST), key_id(key.public.bytes), seq, BLOCK_A, 3, DEFAULT_POLICY, 99, "vault"
    )
    made = replace(made, **changes)  # type: ignore[arg-type]
    return replace(made, signature=key.sign(made.signed_bytes())).encode()


def build(ledger: DictLedger, transactions: tuple[bytes, ...] = (), prev: bytes = b"", **changes: object) -> bytes:
    """The proposal of a build by whose turn it is; without changes a good one as far as a build alone can tell."""
    builder = ledger.validators.producer(HEIGHT, 0)
    below = prev or certificate(ledger, commit(HEIGHT - 1, 0, BLOCK_A))
    header = replace(
        ledger.genesis.header, height=HEIGHT, prev_block_id=BLOCK_A, prev_commit_digest=qc_digest(below),
        tx_root=tree_root(transactions), tx_count=len(transactions), builder_id=builder.id,
    )  # fmt: skip
    header = replace(header, **changes)  # type: ignore[arg-type]
    signer = ledger.genesis.institution(header.builder_id)
    made = Proposal(0, header.builder_id, Block(header, below, transactions).encode(), b"", b"", ())
    return replace(made, signature=KEYS[signer].sign(made.signed_bytes())).encode()


def resigned(ledger: DictLedger) -> bytes:
    return replace(SubmitBatch.decode(batch(ledger)), signature=KEYS[EAST].sign(b"something else")).encode()


#: Rules that a build can break by itself, each with the words that evidence says it in.
FAULTS: dict[str, Callable[[DictLedger], bytes]] = {
    "the header names another epoch": lambda at: build(at, (batch(at),), epoch=1),
    "the header names other voters": lambda at: build(at, (batch(at),), validators_hash=BLOCK_A),
    "it was another producer's turn": lambda at: build(at, (batch(at),), build_round=1),
    "the certificate of the block below: quorum": lambda at: build(
        at, (batch(at),), certificate(at, commit(HEIGHT - 1, 0, BLOCK_A), VOTERS[:2])
    ),
    "the certificate of the block below: commit certificate": lambda at: build(
        at, (batch(at),), certificate(at, prepare(HEIGHT - 1, 0, BLOCK_A))
    ),
    "a transaction is malformed": lambda at: build(at, (batch(at), b"XL/TX/1\0\xc8")),
    "a transaction is of another chain": lambda at: build(at, (batch(at), batch(at, 2, chain_id=BLOCK_A))),
    "a transaction had lapsed": lambda at: build(at, (batch(at, expiry_height=HEIGHT - 1), batch(at, 2))),
    "a transaction is not signed by its sender": lambda at: build(at, (batch(at, 2), resigned(at))),
    "a transaction stands in it twice": lambda at: build(at, (batch(at), batch(at, 2), batch(at))),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_build_that_breaks_a_rule_by_itself_costs_its_builder_points_once(ledger: DictLedger, fault: str) -> None:
    [data] = find_evidence([FAULTS[fault](ledger)], ledger.voters)
    found = convict(data, ledger.voters)
    assert (found.kind, found.reason, found.height) == (BROKEN_BUILD, fault, HEIGHT)
    execute(data, ledger)
    value = ledger.get(TALLY, ONLY)
    assert value is not None and Tally.decode(value).of(found.institution).broken == 1
    before = dict(ledger.entries)
    with pytest.raises(Refused, match="repeated"):
        execute(data, ledger)
    assert ledger.entries == before


def test_good_builds_are_no_evidence(ledger: DictLedger) -> None:
    good = [build(ledger, (batch(ledger),)), build(ledger, tuple(batch(ledger, one) for one in range(1, 6)))]
    for one in good:
        assert find_evidence([one], ledger.voters) == []


def test_another_signature_over_a_bad_block_convicts_nobody(ledger: DictLedger) -> None:
    bad = Proposal.decode(FAULTS["a transaction had lapsed"](ledger))
    forged = replace(bad, signature=KEYS[LAB if bad.producer != institution_id(LAB) else EAST].sign(bad.signed_bytes()))
    assert find_evidence([forged.encode()], ledger.voters) == []


def parts_of_another_block(ledger: DictLedger, header: Header) -> dict[str, bytes]:
    """What somebody may try to show of a good block."""
    lapsed = batch(ledger, expiry_height=1)
    levels = Levels.over([lapsed])
    shown = var(lapsed) + u32(0) + listed(levels.inclusion(0))
    return {
        "nothing": b"",
        "an unknown kind": u8(9),
        "a header without a fault": u8(1),
        "a header and more": u8(1) + b"\0",
        "another certificate": u8(2) + var(certificate(ledger, commit(HEIGHT - 1, 0, BLOCK_A), VOTERS[:2])),
        "a transaction of another block": u8(3) + shown,
        "one transaction as two": u8(4) + shown + shown,
    }


@pytest.mark.parametrize("what", parts_of_another_block(DictLedger(), DictLedger().genesis.header))
def test_what_is_not_in_the_block_proves_nothing_against_its_builder(ledger: DictLedger, what: str) -> None:
    good = Proposal.decode(build(ledger, (batch(ledger), batch(ledger, 2))))
    header = Block.decode(good.block).header
    place = [one.id for one in ledger.validators.members].index(good.producer)
    part = parts_of_another_block(ledger, header)[what]
    data = Evidence(BROKEN_BUILD, place, ((good.signed_bytes(), good.signature),), (header.encode(), part)).encode()
    before = dict(ledger.entries)
    with pytest.raises(Refused):
        execute(data, ledger)
    assert ledger.entries == before


def test_one_leaf_under_two_places_is_no_transaction_twice(ledger: DictLedger) -> None:
    """A promoted leaf has one path at its place and at a made-up one of a smaller tree; the size is the header's."""
    three = tuple(batch(ledger, one) for one in (1, 2, 3))
    good = Proposal.decode(build(ledger, three))
    header, last = Block.decode(good.block).header, Levels.over(three).inclusion(2)
    pair = b"".join(var(three[2]) + u32(index) + listed(last) for index in (2, 1))
    place = [one.id for one in ledger.validators.members].index(good.producer)
    signed = ((good.signed_bytes(), good.signature),)
    data = Evidence(BROKEN_BUILD, place, signed, (header.encode(), u8(4) + pair)).encode()
    with pytest.raises(Refused, match="not in the block"):
        convict(data, ledger.voters)
