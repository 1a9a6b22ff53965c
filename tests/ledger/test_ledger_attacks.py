"""What a dishonest producer, submitter, voter or carrier may try; each is refused, and nothing anywhere changes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from region_simulation import AUDITOR, RegionSimulation

from ledger.agreement.certificate import COMMIT, PREPARE, Ballot, QuorumCertificate, Vote, assemble_qc, qc_digest
from ledger.agreement.proposal import Proposal
from ledger.chain.batch import SubmitBatch
from ledger.chain.block import Block
from ledger.chain.header import Header
from ledger.chain.leaves import Leaves
from ledger.chain.merkle import tree_root
from ledger.chain.validators import institution_id, key_id
from ledger.encoding import u32
from ledger.errors import Behind, Malformed, Refused
from ledger.node import Node
from ledger.signatory import Submission
from shangmi import PrivateKey, sm3

pytestmark = pytest.mark.mongo


@contextmanager
def nothing_changed(region: RegionSimulation) -> Iterator[None]:
    before = region.snapshot()
    yield
    assert region.snapshot() == before


@pytest.fixture(scope="module")
def offer(settled: RegionSimulation) -> Submission:
    return settled.publish(settled.producer().institution, 5)


@pytest.fixture(scope="module")
def proposal(settled: RegionSimulation, offer: Submission) -> bytes:
    """The honest proposal that the attacks change."""
    return settled.proposal(offer)


def voter(region: RegionSimulation) -> Node:
    """A voter who is not the producer."""
    return next(region.node(one) for one in region.voters if region.node(one) is not region.producer())


def signed(region: RegionSimulation, proposal: Proposal, key: PrivateKey | None = None) -> bytes:
    """A proposal signed by its producer, dishonest or not."""
    key = key or region.keys[region.genesis.institution(proposal.producer)]
    return replace(proposal, signature=key.sign(proposal.signed_bytes())).encode()


def with_bodies(data: bytes, *bodies: bytes) -> bytes:
    return replace(Proposal.decode(data), bodies=bodies).encode()


def with_header(region: RegionSimulation, data: bytes, **changes: object) -> bytes:
    opened = Proposal.decode(data)
    block = Block.decode(opened.block)
    header = replace(block.header, **changes)  # type: ignore[arg-type]
    return signed(region, replace(opened, block=replace(block, header=header).encode()))


def signed_batch(
    region: RegionSimulation, submission: Submission, key: PrivateKey | None = None, **changes: object
) -> bytes:
    tx = replace(SubmitBatch.decode(submission.tx), **changes)  # type: ignore[arg-type]
    key = key or region.keys[region.genesis.institution(tx.submitter)]
    return replace(tx, signature=key.sign(tx.signed_bytes())).encode()


def byzantine_proposal(region: RegionSimulation, tx: bytes, leaves: bytes) -> bytes:
    """A proposal with a bad batch in it, every commitment of the header made to fit."""
    producer, view = region.producer(), region.producer().replica.view
    good = region.publish(producer.institution, 1)
    execution = region.execution(producer)
    execution.add(good.tx, good.leaves)
    header = replace(execution.header(), tx_root=tree_root([tx]))
    block = Block(header, view.commit_qc, (tx,))
    return signed(region, Proposal(0, producer.id, block.encode(), b"", b"", (leaves,)))


# --- leaves ------------------------------------------------------------------------------------------------------


def stranger_leaf(like: bytes) -> bytes:
    """The same leaf under an id that nobody published."""
    return like[:9] + bytes(15) + b"\1" + like[25:]


LEAF_ATTACKS: dict[str, tuple[str, Callable[[list[bytes]], list[bytes]]]] = {
    "swapped": ("batch root", lambda leaves: [leaves[1], leaves[0], *leaves[2:]]),
    "dropped": ("batch size", lambda leaves: leaves[:-1]),
    "another added": ("batch size", lambda leaves: [*leaves, stranger_leaf(leaves[0])]),
    "one put in another's place": ("batch root", lambda leaves: [stranger_leaf(leaves[0]), *leaves[1:]]),
    "a digest changed": ("batch root", lambda leaves: [leaves[0][:40] + b"\0\0\0" + leaves[0][43:], *leaves[1:]]),
}  # fmt: skip


@pytest.mark.parametrize("attack", LEAF_ATTACKS)
def test_a_block_with_leaves_that_were_not_signed_is_refused_and_nothing_changes(
    settled: RegionSimulation, proposal: bytes, offer: Submission, attack: str
) -> None:
    rule, change = LEAF_ATTACKS[attack]
    leaves = Leaves.decode(offer.leaves)
    body = Leaves.join(change([leaves.record(one) for one in range(len(leaves))])).encode()
    with nothing_changed(settled), pytest.raises(Refused) as refused:
        voter(settled).prepare(with_bodies(proposal, body))
    assert refused.value.rule == rule


def test_a_block_with_a_doubled_leaf_is_refused_and_nothing_changes(
    settled: RegionSimulation, proposal: bytes, offer: Submission
) -> None:
    leaves = Leaves.decode(offer.leaves)
    records = [leaves.record(one) for one in range(len(leaves))]
    head = offer.leaves[: len(b"XL/LEAVES/1\0")]
    doubled = head + u32(6) + u32(len(records[0])) + b"".join([*records, records[-1]])
    with nothing_changed(settled), pytest.raises(Malformed, match="stands twice"):
        voter(settled).prepare(with_bodies(proposal, doubled))


def test_a_block_without_its_leaves_or_with_too_many_is_refused(
    settled: RegionSimulation, proposal: bytes, offer: Submission
) -> None:
    with nothing_changed(settled):
        for bodies in ((), (offer.leaves, offer.leaves)):
            with pytest.raises(Refused, match="lists of leaves"):
                voter(settled).prepare(with_bodies(proposal, *bodies))


# --- the block ---------------------------------------------------------------------------------------------------

HEADER_LIES: dict[str, object] = {
    "chain_id": sm3(b"another chain"),
    "epoch": 1,
    "prev_block_id": sm3(b"another block"),
    "prev_commit_digest": sm3(b"another certificate"),
    "tx_root": sm3(b"other transactions"),
    "tx_count": 2,
    "history_root": sm3(b"another history"),
    "state_root": sm3(b"another state"),
    "receipts_root": sm3(b"other receipts"),
    "evidence_root": sm3(b"evidence"),
    "validators_hash": sm3(b"another set"),
    "next_validators_hash": sm3(b"another set"),
    "params_hash": sm3(b"other rules"),
    "timestamp_ms": 1,
    "builder_id": institution_id("nursing-home"),
    "build_round": 3,
}


@pytest.mark.parametrize("field", HEADER_LIES)
def test_a_signed_block_whose_header_lies_is_refused_and_nothing_changes(
    settled: RegionSimulation, proposal: bytes, field: str
) -> None:
    with nothing_changed(settled), pytest.raises(Refused):
        voter(settled).prepare(with_header(settled, proposal, **{field: HEADER_LIES[field]}))


def test_a_block_of_a_past_or_far_height_is_refused(settled: RegionSimulation, proposal: bytes) -> None:
    with nothing_changed(settled):
        with pytest.raises(Refused, match="final already"):
            voter(settled).prepare(with_header(settled, proposal, height=2))
        with pytest.raises(Behind, match="sync"):
            voter(settled).prepare(with_header(settled, proposal, height=9))


def test_a_changed_byte_anywhere_in_a_proposal_gets_no_vote(settled: RegionSimulation, proposal: bytes) -> None:
    rng = random.Random(5)
    places = {*range(120), *rng.sample(range(len(proposal)), 200)}
    node = voter(settled)
    with nothing_changed(settled):
        for place in sorted(places):
            changed = bytearray(proposal)
            changed[place] ^= 1 << rng.randrange(8)
            with pytest.raises((Refused, Behind)):
                node.prepare(bytes(changed))


def test_every_prefix_and_every_longer_proposal_is_refused(settled: RegionSimulation, proposal: bytes) -> None:
    node = voter(settled)
    with nothing_changed(settled):
        for end in (*range(0, 400, 7), len(proposal) - 1):
            with pytest.raises(Malformed):
                node.prepare(proposal[:end])
        with pytest.raises(Malformed, match="left over"):
            node.prepare(proposal + b"\0")


def test_a_proposal_of_someone_whose_turn_it_is_not_is_refused(settled: RegionSimulation, proposal: bytes) -> None:
    opened = Proposal.decode(proposal)
    others = [one for one in settled.voters if institution_id(one) != opened.producer]
    with nothing_changed(settled):
        for one in others:
            stolen = signed(settled, replace(opened, producer=institution_id(one)))
            with pytest.raises(Refused, match="another producer"):
                voter(settled).prepare(stolen)
            impersonated = signed(settled, opened, settled.keys[one])
            with pytest.raises(Refused, match="not signed by its producer"):
                voter(settled).prepare(impersonated)
            if one != settled.producer().institution:
                with pytest.raises(Refused, match="turn"):
                    settled.node(one).propose([])


def test_a_block_from_the_past_or_the_future_gets_no_vote(settled: RegionSimulation, proposal: bytes) -> None:
    now, drift = settled.clock.now, settled.genesis.parameters.clock_drift_ms
    with nothing_changed(settled):
        for moved in (now - drift - 1, now + drift + 1):
            settled.clock.now = moved
            with pytest.raises(Refused, match="from this clock"):
                voter(settled).prepare(proposal)
        settled.clock.now = now
        parent = voter(settled).replica.view.head.timestamp_ms
        with pytest.raises(Refused, match="not later"):
            voter(settled).prepare(with_header(settled, proposal, timestamp_ms=parent))


def test_a_block_with_a_changed_certificate_of_the_block_below_is_refused(
    settled: RegionSimulation, proposal: bytes
) -> None:
    opened = Proposal.decode(proposal)
    block = Block.decode(opened.block)
    qc = QuorumCertificate.decode(block.prev_commit)
    forged = replace(qc, signatures=(qc.signatures[1], *qc.signatures[1:])).encode()
    header = replace(block.header, prev_commit_digest=qc_digest(forged))
    lie = replace(opened, block=replace(block, header=header, prev_commit=forged).encode())
    with nothing_changed(settled), pytest.raises(Refused, match="certificate signature"):
        voter(settled).prepare(signed(settled, lie))


# --- batches -----------------------------------------------------------------------------------------------------


def batch_attacks(region: RegionSimulation, offer: Submission) -> dict[str, bytes]:
    stranger = PrivateKey.generate()
    tx = SubmitBatch.decode(offer.tx)
    other = next(one for one in region.voters if institution_id(one) != tx.submitter)
    return {
        "chain id": signed_batch(region, offer, chain_id=sm3(b"another chain")),
        "upload": signed_batch(
            region, offer, submitter=institution_id(AUDITOR), key_id=key_id(region.keys[AUDITOR].public.bytes)
        ),
        "policy": signed_batch(region, offer, policy_id=bytes(16)),
        "key": signed_batch(region, offer, key_id=bytes(16)),
        "batch number": signed_batch(region, offer, seq=tx.seq + 1),
        "expiry": signed_batch(region, offer, expiry_height=1),
        "batch signature": signed_batch(region, offer, stranger),
        "batch root": signed_batch(region, offer, batch_root=sm3(b"other leaves")),
        "batch size": signed_batch(region, offer, count=4),
        "block size": signed_batch(region, offer, count=100_001),
        "another's name": signed_batch(region, offer, region.keys[other]),
    }


def test_no_dishonest_batch_enters_a_block_honest_or_not(settled: RegionSimulation, offer: Submission) -> None:
    with nothing_changed(settled):
        for rule, tx in batch_attacks(settled, offer).items():
            rule = "batch signature" if rule == "another's name" else rule
            honest = settled.execution()
            with pytest.raises(Refused) as refused:
                honest.add(tx, offer.leaves)
            assert refused.value.rule == rule and not honest.batches
            with pytest.raises(Refused) as refused:
                voter(settled).prepare(byzantine_proposal(settled, tx, offer.leaves))
            assert refused.value.rule == rule


def test_a_stranger_cannot_publish(settled: RegionSimulation, offer: Submission) -> None:
    key = PrivateKey.generate()
    tx = signed_batch(settled, offer, key, submitter=institution_id("clinic-nobody"))
    with nothing_changed(settled), pytest.raises(Refused, match="not registered"):
        voter(settled).prepare(byzantine_proposal(settled, tx, offer.leaves))


def test_a_record_is_not_published_twice_in_one_version(region: RegionSimulation) -> None:
    first = region.producer()
    entries = region.entries(first.institution, 4)
    region.finish(region.proposal(first.submit(entries, 1, "vault")))
    again = [*region.entries(first.institution, 2), entries[2]]
    submission = first.submit(again, 2, "vault")
    skipped: list[Refused] = []
    with nothing_changed(region):
        offers = [(submission.tx, submission.leaves)]
        assert region.producer().propose(offers, on_skip=lambda _, error: skipped.append(error)) is None
        assert [one.rule for one in skipped] == ["duplicate"]
        with pytest.raises(Refused, match="duplicate"):
            voter(region).prepare(byzantine_proposal(region, submission.tx, submission.leaves))
    newer = first.submit([*again[:2], replace(entries[2], version=2)], 2, "vault")
    region.finish(region.proposal(newer))
    other = next(one for one in region.voters if one != first.institution)
    for key in [key for key in region.envelopes if key[0] == first.institution]:
        region.envelopes[other, key[1]] = region.envelopes[key]
    region.finish(
        region.proposal(region.node(other).submit([entries[0]], 1, "an id of one's own means nothing to others"))
    )
    assert {node.height for node in region.nodes.values()} == {3}


def test_two_batches_of_a_block_cannot_hold_one_record(region: RegionSimulation) -> None:
    node = region.producer()
    entries = region.entries(node.institution, 3)
    one, two = node.submit(entries, 1, "vault"), node.submit(entries[1:], 2, "vault")
    skipped: list[bytes] = []
    proposal = node.propose([(two.tx, two.leaves), (one.tx, one.leaves)], on_skip=lambda tx, _: skipped.append(tx))
    assert proposal is not None and skipped == [two.tx]
    assert Block.decode(Proposal.decode(proposal).block).transactions == (one.tx,)


def test_an_honest_producer_skips_and_names_what_is_bad_and_takes_the_rest_in_order(region: RegionSimulation) -> None:
    node = region.producer()
    batches = [node.submit(region.entries(node.institution, 2), seq, "vault") for seq in (1, 2, 3)]
    skipped: dict[bytes, str] = {}
    offers = [(batches[2].tx, batches[2].leaves), (b"no transaction", b""), (batches[0].tx, batches[0].leaves)]
    proposal = node.propose(offers, on_skip=lambda tx, error: skipped.update({tx: error.rule}))
    assert skipped == {b"no transaction": "encoding", batches[2].tx: "batch number"}
    assert proposal is not None
    region.finish(proposal)
    assert node.next_seq() == 2
    offers = [(one.tx, one.leaves) for one in reversed(batches)]
    region.clock.now += 1_000
    proposal = region.producer().propose(offers)
    assert proposal is not None
    region.finish(proposal)
    assert node.next_seq() == 4 and node.verify_chain().entries == 6


# --- envelopes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [None, b"", b"another envelope of forty bytes, or nearly."])
def test_a_batch_whose_envelopes_are_not_where_it_says_gets_no_vote(
    settled: RegionSimulation, proposal: bytes, offer: Submission, stored: bytes | None
) -> None:
    leaf = Leaves.decode(offer.leaves).record(3)
    place = (settled.producer().institution, leaf[139:].decode())
    kept = settled.envelopes[place]
    try:
        if stored is None:
            del settled.envelopes[place]
        else:
            settled.envelopes[place] = stored
        with nothing_changed(settled), pytest.raises(Refused, match="address"):
            voter(settled).prepare(proposal)
    finally:
        settled.envelopes[place] = kept


# --- votes and certificates --------------------------------------------------------------------------------------


def votes_on(region: RegionSimulation, ballot: Ballot, who: list[str]) -> list[bytes]:
    """Votes signed past the vote store: what byzantine voters can always make."""
    message = ballot.signed_bytes(region.genesis.chain_id)
    return [Vote(ballot, institution_id(one), region.keys[one].sign(message)).encode() for one in who]


def ballot_of(region: RegionSimulation, proposal: bytes, type_: int = PREPARE) -> Ballot:
    header = Block.decode(Proposal.decode(proposal).block).header
    ballot = Ballot(type_, header.height, 0, header.epoch, header.block_id)
    return ballot if type_ == PREPARE else replace(ballot, justify_round=0, justify_digest=sm3(b"some PrepareQC"))


def assembled(region: RegionSimulation, votes: list[bytes], type_: int = PREPARE) -> bytes | None:
    return assemble_qc(votes, type_, region.genesis.chain_id, region.genesis.validators)


def certificate(region: RegionSimulation, ballot: Ballot, who: list[str]) -> QuorumCertificate:
    """A certificate of any signers, quorum or not."""
    names = region.voters
    signers = tuple(sorted(names.index(one) for one in who))
    message = ballot.signed_bytes(region.genesis.chain_id)
    return QuorumCertificate(
        ballot, len(names), signers, tuple(region.keys[names[one]].sign(message) for one in signers)
    )


def test_a_quorum_short_by_one_certifies_nothing(settled: RegionSimulation, proposal: bytes) -> None:
    """Weights 3, 3, 3, 2, 1: 9 of 12 are more than two thirds, 8 are exactly two thirds."""
    ballot = ballot_of(settled, proposal)
    short = ["hospital-east", "hospital-west", "hospital-district"]
    enough = ["hospital-east", "hospital-west", "hospital-district", "nursing-home"]
    assert assembled(settled, votes_on(settled, ballot, short)) is None
    assert assembled(settled, votes_on(settled, ballot, enough)) is not None
    forged = certificate(settled, ballot, short)
    with nothing_changed(settled), pytest.raises(Refused, match="weight 8 of 12"):
        voter(settled).commit(forged.encode(), proposal)


def test_a_voter_who_signs_many_times_is_counted_once(settled: RegionSimulation, proposal: bytes) -> None:
    """SM2 is randomised: one voter can make any number of different good signatures on one ballot."""
    ballot = ballot_of(settled, proposal)
    many = [vote for _ in range(6) for vote in votes_on(settled, ballot, ["hospital-east", "hospital-west"])]
    assert len(set(many)) == 12
    assert assembled(settled, many) is None
    qc = certificate(settled, ballot, ["hospital-east", "hospital-west", "lab-centre"])
    place = qc.signers.index(settled.voters.index("hospital-east"))
    doubled = replace(qc, signatures=(qc.signatures[place],) * 3)
    with nothing_changed(settled), pytest.raises(Refused, match="signature"):
        voter(settled).commit(doubled.encode(), proposal)


def test_votes_of_the_auditor_and_of_strangers_count_for_nothing(settled: RegionSimulation, proposal: bytes) -> None:
    ballot = ballot_of(settled, proposal)
    votes = votes_on(settled, ballot, ["hospital-east", "hospital-west", AUDITOR])
    stranger = replace(Vote.decode(votes[0]), voter=institution_id("clinic-nobody")).encode()
    stolen = replace(Vote.decode(votes[0]), voter=institution_id("lab-centre")).encode()
    assert assembled(settled, [*votes, stranger, stolen, b"", b"no vote"]) is None
    with nothing_changed(settled), pytest.raises(Refused, match="has no vote"):
        settled.node(AUDITOR).prepare(proposal)


def test_votes_with_different_justification_do_not_add_up(settled: RegionSimulation, proposal: bytes) -> None:
    ballot = replace(ballot_of(settled, proposal), round=1)
    other = replace(ballot, justify_round=0, justify_digest=sm3(b"a certificate"))
    votes = votes_on(settled, ballot, ["hospital-east", "hospital-west"])
    assert assembled(settled, votes + votes_on(settled, other, ["lab-centre", "nursing-home"])) is None


def test_a_changed_byte_anywhere_in_a_vote_makes_it_worthless(settled: RegionSimulation, proposal: bytes) -> None:
    ballot = ballot_of(settled, proposal)
    first, *rest = votes_on(settled, ballot, ["hospital-east", "hospital-west", "lab-centre"])
    assert assembled(settled, [first, *rest]) is not None
    for place in range(len(first)):
        changed = bytearray(first)
        changed[place] ^= 0x10
        assert assembled(settled, [bytes(changed), *rest]) is None


def test_a_changed_byte_anywhere_in_a_certificate_is_refused_and_nothing_changes(
    settled: RegionSimulation, proposal: bytes
) -> None:
    node, opened = voter(settled), Proposal.decode(proposal)
    prepare = certificate(settled, ballot_of(settled, proposal), settled.voters).encode()
    commit = certificate(settled, ballot_of(settled, proposal, COMMIT), settled.voters).encode()
    with nothing_changed(settled):
        for place in range(0, len(prepare), 3):
            for good, use in (
                (prepare, lambda data: node.commit(data, proposal)),
                (commit, lambda data: node.apply(opened.block, data, opened.bodies)),
            ):
                changed = bytearray(good)
                changed[place] ^= 0x04
                with pytest.raises((Refused, Behind)):
                    use(bytes(changed))


def test_a_prepare_certificate_makes_nothing_final(settled: RegionSimulation, proposal: bytes) -> None:
    opened = Proposal.decode(proposal)
    prepare = certificate(settled, ballot_of(settled, proposal), settled.voters)
    with nothing_changed(settled), pytest.raises(Refused, match="only a CommitQC"):
        voter(settled).apply(opened.block, prepare.encode(), opened.bodies)


def test_a_certificate_of_another_block_or_chain_is_refused(settled: RegionSimulation, proposal: bytes) -> None:
    opened, node = Proposal.decode(proposal), voter(settled)
    below = node.replica.block(2)
    with nothing_changed(settled):
        with pytest.raises(Refused, match="another block"):
            node.apply(opened.block, below[1], opened.bodies)
        ballot = ballot_of(settled, proposal, COMMIT)
        foreign = certificate(settled, ballot, settled.voters)
        message = ballot.signed_bytes(sm3(b"another chain"))
        signatures = tuple(settled.keys[settled.voters[one]].sign(message) for one in foreign.signers)
        with pytest.raises(Refused, match="certificate signature"):
            node.apply(opened.block, replace(foreign, signatures=signatures).encode(), opened.bodies)


def test_certified_blocks_with_other_content_than_certified_are_refused(
    settled: RegionSimulation, proposal: bytes, offer: Submission
) -> None:
    opened, node = Proposal.decode(proposal), voter(settled)
    commit = certificate(settled, ballot_of(settled, proposal, COMMIT), settled.voters).encode()
    block = Block.decode(opened.block)
    tx = bytearray(block.transactions[0])
    tx[-1] ^= 1
    with nothing_changed(settled):
        for lie in (
            replace(block, transactions=(bytes(tx),)),
            replace(block, transactions=block.transactions * 2),
            replace(block, prev_commit=b""),
            replace(block, evidence=(b"evidence",)),
        ):
            with pytest.raises(Refused):
                node.apply(lie.encode(), commit, opened.bodies)
        leaves = Leaves.decode(offer.leaves)
        swapped = Leaves.join([leaves.record(one) for one in (1, 0, 2, 3, 4)]).encode()
        with pytest.raises(Refused, match="batch root"):
            node.apply(opened.block, commit, (swapped,))
    assert isinstance(block.header, Header)
