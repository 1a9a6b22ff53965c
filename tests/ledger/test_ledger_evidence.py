"""Evidence: whatever an institution signs two ways convicts it, nothing else does, and it costs once (invariant 8)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations

import pytest
from credit_ledger import (
    AUDITOR,
    BLOCK_A,
    BLOCK_B,
    DISTRICT,
    EAST,
    HOME,
    KEYS,
    LAB,
    VOTERS,
    WEST,
    DictLedger,
    certificate,
    commit,
    locked_timeout,
    prepare,
    timeout,
    vote,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.agreement.certificate import COMMIT, NO_ROUND, PREPARE, TIMEOUT, Ballot, TimeoutCertificate, Vote
from ledger.agreement.proposal import Proposal
from ledger.chain.block import Block
from ledger.chain.header import Header
from ledger.chain.state import EVIDENCE, INSTITUTION, REVOKED, InstitutionState
from ledger.chain.validators import institution_id
from ledger.credit.evidence import KINDS, Conviction, Evidence, convict, execute, find_evidence
from ledger.credit.offences import BROKEN_LOCK, DOUBLE_BUILD, DOUBLE_PROPOSAL, DOUBLE_VOTE, HIDDEN_LOCK, Offence
from ledger.encoding import ZERO_DIGEST
from ledger.errors import Refused

HEIGHT = 7


@pytest.fixture
def ledger() -> DictLedger:
    """A chain in its eighth block, with nothing against anybody."""
    made = DictLedger(epoch_blocks=100, evidence_blocks=50, jail_epochs=4)
    made.run(7)
    return made


def header_of(ledger: DictLedger, builder: str, build_round: int, number: int = 0, height: int = HEIGHT) -> Header:
    return replace(
        ledger.genesis.header, height=height, prev_block_id=BLOCK_A, state_root=bytes([number]) * 32,
        builder_id=institution_id(builder), build_round=build_round,
    )  # fmt: skip


def proposal(ledger: DictLedger, name: str, round_: int, header: Header, signer: str = "") -> bytes:
    made = Proposal(round_, institution_id(name), Block(header, b"", ()).encode(), b"", b"", ())
    return replace(made, signature=KEYS[signer or name].sign(made.signed_bytes())).encode()


def turn_of(ledger: DictLedger, round_: int, height: int = HEIGHT) -> str:
    return ledger.genesis.institution(ledger.validators.producer(height, round_).id)


def double_vote(ledger: DictLedger, name: str) -> list[bytes]:
    return [vote(ledger, name, prepare(HEIGHT, 0, one)) for one in (BLOCK_A, BLOCK_B)]


#: Ways to break the rules of agreement, each with the rule it breaks.
CRIMES: dict[str, tuple[int, Callable[[DictLedger], list[bytes]]]] = {
    "two PREPAREs of one round": (DOUBLE_VOTE, lambda at: double_vote(at, EAST)),
    "two PREPAREs of one block under two justifications": (
        DOUBLE_VOTE,
        lambda at: [vote(at, EAST, prepare(HEIGHT, 2, BLOCK_A, justify)) for justify in (0, 1)],
    ),
    "two COMMITs of one round": (
        DOUBLE_VOTE,
        lambda at: [vote(at, EAST, commit(HEIGHT, 1, one)) for one in (BLOCK_A, BLOCK_B)],
    ),
    "two TIMEOUTs with different locks": (
        DOUBLE_VOTE,
        lambda at: [
            locked_timeout(at, EAST, HEIGHT, 1, certificate(at, prepare(HEIGHT, 0, BLOCK_A))),
            vote(at, EAST, timeout(HEIGHT, 1)),
        ],
    ),
    "two proposals of one round": (
        DOUBLE_PROPOSAL,
        lambda at: [proposal(at, turn_of(at, 0), 0, header_of(at, turn_of(at, 0), 0, one)) for one in (1, 2)],
    ),
    "two builds of one round, proposed in two": (
        DOUBLE_BUILD,
        lambda at: [
            proposal(at, turn_of(at, 0), round_, header_of(at, turn_of(at, 0), 0, round_)) for round_ in (0, 3)
        ],
    ),
    "a PREPARE against its own lock": (
        BROKEN_LOCK,
        lambda at: [vote(at, EAST, commit(HEIGHT, 1, BLOCK_A)), vote(at, EAST, prepare(HEIGHT, 2, BLOCK_B, 0))],
    ),
    "a PREPARE that leans on nothing after a COMMIT": (
        BROKEN_LOCK,
        lambda at: [vote(at, EAST, prepare(HEIGHT, 1, BLOCK_B)), vote(at, EAST, commit(HEIGHT, 0, BLOCK_A))],
    ),
    "a TIMEOUT that hides a lock": (
        HIDDEN_LOCK,
        lambda at: [vote(at, EAST, commit(HEIGHT, 1, BLOCK_A)), vote(at, EAST, timeout(HEIGHT, 1))],
    ),
    "a TIMEOUT that reports an older lock": (
        HIDDEN_LOCK,
        lambda at: [
            vote(at, EAST, commit(HEIGHT, 1, BLOCK_A)),
            locked_timeout(at, EAST, HEIGHT, 2, certificate(at, prepare(HEIGHT, 0, BLOCK_A), VOTERS[1:])),
        ],
    ),
    "votes that only certificates show": (
        DOUBLE_VOTE,
        lambda at: [
            certificate(at, prepare(HEIGHT, 0, BLOCK_A), (EAST, WEST, LAB)),
            certificate(at, prepare(HEIGHT, 0, BLOCK_B), (EAST, DISTRICT, HOME)),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("crime", CRIMES)
def test_every_way_to_sign_two_ways_convicts_its_signer_and_nobody_else(ledger: DictLedger, crime: str) -> None:
    rule, commit_it = CRIMES[crime]
    messages = commit_it(ledger)
    for order in (messages, messages[::-1]):
        found = [convict(one, ledger.voters) for one in find_evidence(order, ledger.voters)]
        assert rule in [one.kind for one in found]
        assert len({one.institution for one in found}) == 1
        assert {one.height for one in found} == {HEIGHT}


#: What honest nodes do when rounds fail, and what others may make of their messages.
INNOCENCE: dict[str, Callable[[DictLedger], list[bytes]]] = {
    "PREPARE of one block, COMMIT of another that was certified": lambda at: [
        vote(at, EAST, prepare(HEIGHT, 0, BLOCK_A)), vote(at, EAST, commit(HEIGHT, 0, BLOCK_B)),
    ],
    "the locked block again under its certificate": lambda at: [
        vote(at, EAST, commit(HEIGHT, 0, BLOCK_A)), vote(at, EAST, prepare(HEIGHT, 1, BLOCK_A, 0)),
    ],
    "another block under a certificate as new as the lock": lambda at: [
        vote(at, EAST, commit(HEIGHT, 1, BLOCK_A)), vote(at, EAST, prepare(HEIGHT, 3, BLOCK_B, 1)),
    ],
    "a TIMEOUT with the lock": lambda at: [
        vote(at, EAST, commit(HEIGHT, 0, BLOCK_A)),
        locked_timeout(at, EAST, HEIGHT, 0, certificate(at, prepare(HEIGHT, 0, BLOCK_A))),
    ],
    "a TIMEOUT before a COMMIT of a later round": lambda at: [
        vote(at, EAST, timeout(HEIGHT, 0)), vote(at, EAST, commit(HEIGHT, 1, BLOCK_A)),
    ],
    "votes of two heights": lambda at: [
        vote(at, EAST, prepare(HEIGHT, 0, BLOCK_A)), vote(at, EAST, prepare(HEIGHT - 1, 0, BLOCK_B)),
    ],
    "votes of two institutions": lambda at: [
        vote(at, EAST, prepare(HEIGHT, 0, BLOCK_A)), vote(at, WEST, prepare(HEIGHT, 0, BLOCK_B)),
    ],
    "one vote signed twice": lambda at: [vote(at, EAST, prepare(HEIGHT, 0, BLOCK_A)) for _ in "ab"],
    "its own build proposed again": lambda at: [
        proposal(at, turn_of(at, 0, 1), round_, header_of(at, turn_of(at, 0, 1), 0, height=1)) for round_ in (0, 3)
    ],
    "a forged second vote": lambda at: [
        vote(at, EAST, prepare(HEIGHT, 0, BLOCK_A)),
        replace(Vote.decode(vote(at, WEST, prepare(HEIGHT, 0, BLOCK_B))), voter=institution_id(EAST)).encode(),
    ],
    "a proposal of another's build in its name": lambda at: [
        proposal(at, turn_of(at, 0, 1), 0, header_of(at, turn_of(at, 0, 1), 0, height=1)),
        proposal(at, turn_of(at, 0, 1), 0, header_of(at, turn_of(at, 0, 1), 0, 1, height=1), signer=AUDITOR),
    ],
    "garbage": lambda _: [b"", b"garbage", bytes(85), b"XL/PROPOSAL/1\0"],
}  # fmt: skip


@pytest.mark.parametrize("story", INNOCENCE)
def test_nothing_that_an_honest_node_does_and_nothing_forged_in_its_name_is_evidence(
    ledger: DictLedger, story: str
) -> None:
    assert find_evidence(INNOCENCE[story](ledger), ledger.voters) == []


def test_following_the_locked_block_under_an_older_certificate_is_wrong_and_no_evidence(ledger: DictLedger) -> None:
    """Honest nodes refuse it (the lock is strict); section 10 convicts for another block only."""
    messages = [vote(ledger, EAST, commit(HEIGHT, 1, BLOCK_A)), vote(ledger, EAST, prepare(HEIGHT, 2, BLOCK_A, 0))]
    assert find_evidence(messages, ledger.voters) == []


def test_a_vote_of_another_chain_and_one_of_this_are_no_evidence(ledger: DictLedger) -> None:
    other = DictLedger(epoch_blocks=99)
    messages = [vote(ledger, EAST, prepare(HEIGHT, 0, BLOCK_A)), vote(other, EAST, prepare(HEIGHT, 0, BLOCK_B))]
    assert find_evidence(messages, ledger.voters) == []
    theirs = find_evidence(double_vote(other, EAST), other.voters)
    with pytest.raises(Refused, match="signed statement"):
        convict(theirs[0], ledger.voters)


def test_a_timeout_certificate_convicts_who_hides_a_lock_in_it(ledger: DictLedger) -> None:
    voters = ledger.validators.voters
    names = [ledger.genesis.institution(one.id) for one in voters]
    message = timeout(HEIGHT, 1).signed_bytes(ledger.chain_id)
    signatures = tuple(KEYS[name].sign(message) for name in names)
    tc = TimeoutCertificate(
        HEIGHT, 1, 0, len(voters), tuple(range(len(voters))), ((timeout(HEIGHT, 1).justify_round, ZERO_DIGEST),) * 5,
        signatures, (),
    )  # fmt: skip
    lie = vote(ledger, WEST, commit(HEIGHT, 0, BLOCK_A))
    [found] = [convict(one, ledger.voters) for one in find_evidence([tc.encode(), lie], ledger.voters)]
    assert (found.institution, found.kind) == (institution_id(WEST), HIDDEN_LOCK)


def test_a_flood_of_forgeries_neither_frames_nor_shields(ledger: DictLedger) -> None:
    rng = random.Random(8)
    victim, guilty = institution_id(WEST), institution_id(EAST)
    forged = [
        Vote(prepare(HEIGHT, 0, rng.randbytes(32)), who, rng.randbytes(64)).encode()
        for who in (victim, guilty)
        for _ in range(150)
    ]
    found = find_evidence([*forged, *double_vote(ledger, EAST), *forged[::-1]], ledger.voters)
    assert {convict(one, ledger.voters).institution for one in found} == {guilty}


def test_two_institutions_that_sign_the_same_two_ways_are_both_convicted(ledger: DictLedger) -> None:
    found = find_evidence([*double_vote(ledger, EAST), *double_vote(ledger, WEST)], ledger.voters)
    for one in found:
        execute(one, ledger)
    assert ledger.credit(EAST).score == ledger.credit(WEST).score == 0


def test_a_forged_signature_seen_first_does_not_hide_the_good_one(ledger: DictLedger) -> None:
    first, second = double_vote(ledger, EAST)
    forged = replace(Vote.decode(first), signature=bytes(31) + b"\1" + bytes(31) + b"\2").encode()
    assert len(find_evidence([forged, first, second], ledger.voters)) == 1


# --- what evidence costs ---------------------------------------------------------------------------------------


def proof_of(ledger: DictLedger, crime: str = "two PREPAREs of one round") -> bytes:
    return find_evidence(CRIMES[crime][1](ledger), ledger.voters)[0]


def test_evidence_takes_all_credit_and_the_key_at_once(ledger: DictLedger) -> None:
    id_ = execute(proof_of(ledger), ledger)
    credit = ledger.credit(EAST)
    assert (credit.score, credit.jailed_until, credit.convicted_at) == (0, 4, ledger.height)
    value = ledger.get(INSTITUTION, institution_id(EAST))
    assert value is not None and InstitutionState.decode(value).standing == REVOKED
    kept = ledger.get(EVIDENCE, id_)
    assert kept is not None and Offence.decode(kept) == Offence(
        DOUBLE_VOTE, institution_id(EAST), HEIGHT, ledger.height
    )
    assert ledger.member(EAST).weight == 3, "votes in flight are counted by the set they were asked of"


def refused(ledger: DictLedger, data: bytes) -> str:
    """Return the rule that refuses the evidence; the state is what it was."""
    before = dict(ledger.entries)
    with pytest.raises(Refused) as error:
        execute(data, ledger)
    assert error.value.section
    assert ledger.entries == before
    return error.value.rule


def test_the_same_evidence_counts_once(ledger: DictLedger) -> None:
    data = proof_of(ledger)
    execute(data, ledger)
    assert refused(ledger, data) == "repeated evidence"


def test_the_same_statements_under_fresh_signatures_are_the_same_evidence(ledger: DictLedger) -> None:
    one, other = proof_of(ledger), proof_of(ledger)
    assert one != other
    assert Evidence.decode(one).id == Evidence.decode(other).id


def test_a_second_pair_of_a_punished_height_prolongs_nothing(ledger: DictLedger) -> None:
    execute(proof_of(ledger), ledger)
    jailed = ledger.credit(EAST).jailed_until
    assert refused(ledger, proof_of(ledger, "a PREPARE against its own lock")) == "repeated evidence"
    assert ledger.credit(EAST).jailed_until == jailed


def test_who_goes_on_after_a_conviction_is_convicted_again(ledger: DictLedger) -> None:
    execute(proof_of(ledger), ledger)
    ledger.run(100)
    again = [vote(ledger, EAST, prepare(ledger.height, 0, one, epoch=1)) for one in (BLOCK_A, BLOCK_B)]
    execute(find_evidence(again, ledger.voters)[0], ledger)
    assert ledger.credit(EAST).jailed_until == 5


def test_evidence_older_than_the_limit_and_of_heights_to_come_is_refused(ledger: DictLedger) -> None:
    data = proof_of(ledger)
    ledger.run(50)
    assert refused(ledger, data) == "evidence age"
    ahead = [vote(ledger, EAST, prepare(ledger.height + 1, 0, one)) for one in (BLOCK_A, BLOCK_B)]
    assert refused(ledger, find_evidence(ahead, ledger.voters)[0]) == "evidence age"


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_evidence_in_any_order_ends_in_the_same_state(ledger: DictLedger, order: Sequence[int]) -> None:
    crimes = ["two COMMITs of one round", "a PREPARE against its own lock", "two proposals of one round"]
    for at in order:
        try:
            execute(proof_of(ledger, crimes[at]), ledger)
        except Refused as error:
            assert error.rule == "repeated evidence"
    builder = turn_of(ledger, 0)
    scores = {one: ledger.credit(one) for one in {EAST, builder}}
    assert all(one.score == 0 and one.convicted_at == ledger.height for one in scores.values())


# --- what is no evidence ---------------------------------------------------------------------------------------


def tampered(evidence: Evidence) -> dict[str, Evidence]:
    """Evidence changed in one place each."""
    (one, other), first = evidence.signed, evidence.signed[0]
    return {
        "named another member": replace(evidence, place=evidence.place ^ 1),
        "named nobody": replace(evidence, place=60),
        "named another rule": replace(evidence, kind=BROKEN_LOCK),
        "signatures exchanged": replace(evidence, signed=((one[0], other[1]), (other[0], one[1]))),
        "one signature changed": replace(evidence, signed=((one[0], bytes(64)), other)),
        "one statement changed": replace(evidence, signed=((first[0][:-1] + b"\1", first[1]), other)),
    }


@pytest.mark.parametrize("change", tampered(Evidence(1, 0, ((b"a", bytes(64)), (b"b", bytes(64))))))
def test_evidence_changed_in_one_place_proves_nothing(ledger: DictLedger, change: str) -> None:
    evidence = tampered(Evidence.decode(proof_of(ledger)))[change]
    assert refused(ledger, evidence.encode())


def test_a_header_that_was_not_signed_proves_no_double_build(ledger: DictLedger) -> None:
    evidence = Evidence.decode(proof_of(ledger, "two builds of one round, proposed in two"))
    other = header_of(ledger, turn_of(ledger, 0), 0, 9).encode()
    assert refused(ledger, replace(evidence, shown=(evidence.shown[0], other)).encode()) == "evidence"


def test_every_prefix_and_every_extension_of_evidence_is_refused(ledger: DictLedger) -> None:
    for crime in ("two PREPAREs of one round", "two builds of one round, proposed in two"):
        data = proof_of(ledger, crime)
        for cut in range(0, len(data), 7):
            assert refused(ledger, data[:cut]) == "encoding"
        assert refused(ledger, data + b"\0") == "encoding"


@given(st.binary(max_size=400), st.integers(0, 10_000))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_no_bytes_raise_anything_but_refused(noise: bytes, at: int) -> None:
    ledger = FUZZED
    data = bytearray(FUZZED_PROOF)
    place = at % len(data)
    data[place : place + len(noise) % 5] = noise[: len(noise) % 7]
    for bad in (noise, bytes(data), b"XL/EVID/1\0" + noise):
        try:
            found = convict(bad, ledger.voters)
        except Refused:
            continue
        assert found.institution == institution_id(EAST)


FUZZED = DictLedger(epoch_blocks=100)
FUZZED.run(7)
FUZZED_PROOF = proof_of(FUZZED)


# --- random messages against a reference -----------------------------------------------------------------------

BALLOTS = st.one_of(
    st.builds(
        lambda round_, block, less: prepare(HEIGHT, round_, block, round_ - 1 - less if round_ - 1 - less >= 0 else -1),
        st.integers(0, 3), st.sampled_from((BLOCK_A, BLOCK_B)), st.integers(0, 3),
    ),
    st.builds(lambda round_, one: commit(HEIGHT, round_, one), st.integers(0, 3), st.sampled_from((BLOCK_A, BLOCK_B))),
    st.builds(lambda round_: timeout(HEIGHT, round_), st.integers(0, 3)),
)  # fmt: skip


def guilty(ballots: Sequence[Ballot]) -> bool:
    """E1, E3 and E4 as section 10 words them, one line each."""
    rounds = {one: -1 if one.justify_round == NO_ROUND else one.justify_round for one in ballots}
    pairs = [(one, other) for one in ballots for other in ballots]
    double = any(one.type == other.type and one.round == other.round and one != other for one, other in pairs)
    commits = [(one, other) for one, other in pairs if one.type == COMMIT and rounds[other] < one.round]
    against = any(
        other.type == PREPARE and other.round > one.round and other.block_id != one.block_id for one, other in commits
    )
    return double or against or any(other.type == TIMEOUT and other.round >= one.round for one, other in commits)


@given(st.lists(st.tuples(st.sampled_from(VOTERS), BALLOTS), max_size=12))
@settings(max_examples=80, derandomize=True, deadline=None)
def test_exactly_those_are_convicted_whom_the_words_of_section_10_convict(votes: list[tuple[str, Ballot]]) -> None:
    ledger = FUZZED
    expected = {name for name in VOTERS if guilty([ballot for voter, ballot in votes if voter == name])}
    messages = [vote(ledger, name, ballot) for name, ballot in votes]
    found: list[Conviction] = [convict(one, ledger.voters) for one in find_evidence(messages, ledger.voters)]
    assert {ledger.genesis.institution(one.institution) for one in found} == expected


def test_every_kind_of_evidence_has_a_name_and_a_test() -> None:
    assert {rule for rule, _ in CRIMES.values()} | {6} == set(KINDS)
