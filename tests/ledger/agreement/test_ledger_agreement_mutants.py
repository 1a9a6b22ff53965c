"""Every naive variant of sections 6 and 16 is killed: a check that the code as it is passes, and its mutant fails."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import pytest
import test_ledger_credit
import test_ledger_credit_seats
import test_ledger_merkle
from adversary import Adversary
from agreement_invariants import Watch
from agreement_model import CODE, Candidate, Facts, Local, Lock, Model, Move
from byzantine_voters import ByzantineVoters
from hypothesis import given, settings
from hypothesis import strategies as st
from model_bench import ModelBench, Shown
from mutants import MUTANTS
from network_simulation import (
    InvariantBroken,
    NetworkSimulation,
    require,
    signed_vote,
)

from ledger.agreement.certificate import PREPARE, Ballot, QuorumCertificate, assemble_qc
from ledger.agreement.proposal import Proposal, check_against_lock
from ledger.agreement.round_timer import Instant, StoredTimer
from ledger.chain.block import Block
from ledger.chain.leaves import Leaves
from ledger.chain.smt import MemoryNodes, SparseTree
from ledger.chain.validators import Member, ValidatorSet, institution_id
from ledger.encoding import listed
from ledger.errors import Halted, ProofError, Refused, TooEarly
from ledger.node import Node
from ledger.proofs.proof import verify_proof
from schemas.errors import ConfigurationError
from schemas.region import load_region
from shangmi import PrivateKey, reference_engine, sm3

Checks = Callable[[NetworkSimulation, NetworkSimulation, Path], None]
CHECKS: dict[str, Checks] = {}


def check(function: Checks) -> Checks:
    CHECKS[function.__name__] = function
    return function


def refused(act: Callable[[], object], what: str) -> None:
    """Raise InvariantBroken unless this is refused."""
    try:
        act()
    except (Refused, ProofError, Halted, ConfigurationError):
        return
    raise InvariantBroken(what)


# --- agreement -------------------------------------------------------------------------------------------------------


class Everything(Facts):
    """All certificates there could ever be, and one report."""

    def __init__(self, bench: ModelBench, shown: Shown) -> None:
        super().__init__(bench.model.rules, (), 0)
        self._locks = frozenset((*bench.locks(0), *bench.locks(1)))
        self._shown = shown

    @property
    def prepared(self) -> frozenset[Lock]:
        return self._locks

    def reported(self, round_: int) -> frozenset[Lock | tuple[()]]:
        return frozenset() if self._shown.report is None else frozenset({self._shown.report})


def conforms(bench: ModelBench, local: Local, folder: Path) -> None:
    """Raise InvariantBroken unless a real node in this state answers every message as the model does."""
    answers = bench.answers(local, folder)
    for shown in bench.messages_once:
        after, move = answers[shown.name], shown.move
        if after == local:
            require(move and not _is_new(bench, local, move), f"{shown.name}: answered, and nothing was stored")
            continue
        may = move is not None and bench.model.allows(local, Everything(bench, shown), move)
        require(may == (after is not None), f"{shown.name} in {local}: the model says {may}, the code {after}")
        if move is not None and after is not None:
            require(after == bench.model.do((local,), 0, move)[0], f"{shown.name} in {local} ends in {after}")


def _is_new(bench: ModelBench, local: Local, move: Move) -> bool:
    return bench.model.do((local,), 0, move)[0] != local


@check
def the_code_is_the_model(network: NetworkSimulation, four: NetworkSimulation, folder: Path) -> None:
    a = Candidate("A0", None)
    locals_: list[Local] = [
        (("-", "-", None), ("-", "-", None)),
        ((a, a, None), ("-", "-", None)),
        ((a, a, Lock(0, a)), ("-", "-", None)),
        ((a, "-", ()), ("-", "-", None)),
    ]
    bench = ModelBench(four, Model(CODE))
    for local in locals_:
        conforms(bench, local, folder)


def prepared(four: NetworkSimulation) -> tuple[bytes, bytes]:
    """A proposal of round 0 and a PrepareQC on it."""
    four.reset()
    four.publish(count=3)
    watch = Watch(four)
    producer = four.voter(watch.network.voter(four.honest[0]).node.producer())
    producer.propose()
    proposal = four.sent[-1].data
    votes = [four.voter(name).node.prepare(proposal) for name in four.honest]
    certificate = producer.node.assemble_prepare(votes)
    assert certificate is not None
    return proposal, certificate


@check
def a_prepare_certificate_makes_nothing_final(network: NetworkSimulation, four: NetworkSimulation, _: Path) -> None:
    proposal, certificate = prepared(four)
    opened = Proposal.decode(proposal)
    node = four.voter(four.honest[0]).node
    refused(lambda: node.apply(opened.block, certificate, opened.bodies), "a PrepareQC made a block final")


@check
def a_round_has_its_time(network: NetworkSimulation, four: NetworkSimulation, _: Path) -> None:
    four.reset()
    four.publish()
    one = four.voter(four.honest[0])
    timer = StoredTimer(four.genesis.chain_id, one.votes, lambda: Instant("boot", 5))
    own = four.keys[one.name], one.node.replica, one.votes
    node = Node(four.genesis, one.name, *own, four.envelopes, four.clock, timer)
    node.open_round(1, 0, four.submissions[-1][0])
    try:
        node.timeout(1, 0)
    except TooEarly:
        return
    raise InvariantBroken("a round was given up before its time")


@check
def a_split_vote_stops_no_height(network: NetworkSimulation, four: NetworkSimulation, _: Path) -> None:
    producer = four.genesis.institution(four.genesis.validators.producer(1, 0).id)
    adversary = Adversary(four, [producer], linear=True)
    four.publish(four.honest[0])
    adversary.equivocate(0, 0b00110)
    adversary.settle()


@check
def a_key_without_its_votes_signs_nothing(network: NetworkSimulation, four: NetworkSimulation, _: Path) -> None:
    prepared(four)
    one = four.voter(four.honest[0])
    one.votes.close()
    for left in four.folder.glob(f"{one.name}.votes*"):
        left.unlink()
    try:
        refused(lambda: one.start(), "a key began anew without its votes")
    finally:
        if not four.votes_path(one.name).is_file():
            shutil.copy(four.folder / f"{one.name}.empty", four.votes_path(one.name))
        one.start()


@check
def a_process_killed_after_signing_signs_nothing_else(
    network: NetworkSimulation, four: NetworkSimulation, _: Path
) -> None:
    producer = four.genesis.institution(four.genesis.validators.producer(1, 0).id)
    four.reset([producer])
    watch, liars = Watch(four), ByzantineVoters(four)
    four.publish(four.honest[0])
    first, second = liars.propose(0)
    one = four.voter(four.honest[0])
    one.fuse.point, one.fuse.passes = "after sign", 0
    for proposal in (first, second):
        one.survive(lambda proposal=proposal: _try(lambda: one.node.prepare(proposal)))  # type: ignore[misc]
        watch.look(one.name)


def _try(act: Callable[[], object]) -> None:
    with contextlib.suppress(Refused):
        act()


@check
def a_lock_gives_way_to_no_older_certificate(network: NetworkSimulation, four: NetworkSimulation, _: Path) -> None:
    bench = ModelBench(four, Model(CODE))
    first = Lock(0, Candidate("A0", None))
    again = Lock(1, Candidate("A0", first))
    old = QuorumCertificate.decode(bench.certificate(first))
    refused(lambda: check_against_lock(bench.certificate(again), old), "a lock gave way to an older certificate")
    check_against_lock(bench.certificate(again), QuorumCertificate.decode(bench.certificate(again)))


@check
def two_justifications_do_not_add_up(network: NetworkSimulation, four: NetworkSimulation, _: Path) -> None:
    bench = ModelBench(four, Model(CODE))
    under = bench.ballot(Lock(1, Candidate("A0", Lock(0, Candidate("A0", None)))))
    bare = replace(under, justify_round=0, justify_digest=sm3(b"another certificate of the block"))
    votes = [
        signed_vote(four.genesis, name, four.keys[name], under if place < 2 else bare)
        for place, name in enumerate(bench.names)
    ]
    found = assemble_qc(votes, PREPARE, four.genesis.chain_id, four.genesis.validators)
    require(found is None, "PREPAREs under two justifications made one certificate")


# --- certificates ----------------------------------------------------------------------------------------------------

KEYS = [PrivateKey.from_scalar(sm3(b"voter %d" % one)) for one in range(6)]
BALLOT = Ballot(PREPARE, 3, 0, 0, sm3(b"a block"))
CHAIN = sm3(b"a chain")


def voters_of(weights: tuple[int, ...]) -> tuple[ValidatorSet, list[PrivateKey]]:
    """A set with these weights, and the keys in the order of certificates."""
    rows = [
        Member(sm3(bytes([place]))[:16], "A", "producer", weight, key.public.bytes)
        for place, (weight, key) in enumerate(zip(weights, KEYS, strict=False))
    ]
    made = ValidatorSet(rows)
    keys = {key.public.bytes: key for key in KEYS}
    return made, [keys[one.public_key] for one in made.voters]


def reference(weights: list[int], bits: int, signers: tuple[int, ...], good: list[bool]) -> bool:
    """Whether a certificate is good, in the words of section 7."""
    ascending = all(one < two for one, two in pairwise(signers))
    inside = all(0 <= one < len(weights) for one in signers)
    weight = sum(weights[one] for one in signers) if inside else 0
    return bits == len(weights) and ascending and inside and all(good) and 3 * weight > 2 * sum(weights)


def accepted(voters: ValidatorSet, certificate: QuorumCertificate) -> bool:
    """Whether the code takes a certificate that came as bytes."""
    try:
        QuorumCertificate.decode(certificate.encode()).verify(CHAIN, voters)
    except (Refused, IndexError):
        return False
    return True


@check
def a_quorum_is_what_the_reference_says(network: NetworkSimulation, four: NetworkSimulation, _: Path) -> None:
    for weights in ((3, 3, 3, 2, 1), (1, 1, 1, 1), (1, 1, 1), (1, 1, 1, 1, 1), (3, 2, 2, 1, 1)):
        voters, keys = voters_of(weights)
        in_order = [one.weight for one in voters.voters]
        message = BALLOT.signed_bytes(CHAIN)
        signed = [key.sign(message) for key in keys]
        for count in range(1, len(weights) + 1):
            for signers in combinations(range(len(weights)), count):
                for bad in (None, signers[0], signers[-1]):
                    given_ = tuple(KEYS[5].sign(message) if one == bad else signed[one] for one in signers)
                    found = accepted(voters, QuorumCertificate(BALLOT, len(weights), signers, given_))
                    good = reference(in_order, len(weights), signers, [one != bad for one in signers])
                    require(found == good, f"{signers} of {in_order}, bad {bad}: {found}")
        many = [keys[0].sign(message) for _ in range(6)]
        votes = [_vote(voters, 0, signature) for signature in many]
        require(assemble_qc(votes, PREPARE, CHAIN, voters) is None, "one voter's signatures made a quorum")


def _vote(voters: ValidatorSet, place: int, signature: bytes) -> bytes:
    from ledger.agreement.certificate import Vote

    return Vote(BALLOT, voters.voters[place].id, signature).encode()


@check
def producers_take_turns(network: NetworkSimulation, four: NetworkSimulation, _: Path) -> None:
    voters = network.genesis.validators
    for height in range(1, 12):
        turns = {voters.producer(height, round_).id for round_ in range(len(voters.producers))}
        require(len(turns) == len(voters.producers), f"a producer has no turn in a full schedule at height {height}")


@check
def a_certificate_of_another_chain_certifies_nothing_here(
    network: NetworkSimulation, four: NetworkSimulation, _: Path
) -> None:
    voters, keys = voters_of((1, 1, 1, 1))
    message = BALLOT.signed_bytes(sm3(b"another chain of the same members"))
    foreign = QuorumCertificate(BALLOT, 4, (0, 1, 2, 3), tuple(key.sign(message) for key in keys))
    require(not accepted(voters, foreign), "a certificate of another chain was taken")


# --- trees and bytes -------------------------------------------------------------------------------------------------


@check
def trees_commit_to_their_leaves(network: NetworkSimulation, four: NetworkSimulation, _: Path) -> None:
    test_ledger_merkle.test_a_doubled_last_leaf_changes_the_root()
    test_ledger_merkle.test_inner_nodes_cannot_be_shown_as_leaves()


@check
def what_is_listed_is_told_apart(network: NetworkSimulation, four: NetworkSimulation, _: Path) -> None:
    require(listed([b"ab", b"c"]) != listed([b"a", b"bc"]), "ab, c and a, bc have the same bytes")
    block = Block(network.genesis.header, b"", (b"ab", b"c"))
    require(block.encode() != replace(block, transactions=(b"a", b"bc")).encode(), "two blocks have the same bytes")


@check
def the_state_root_is_not_linear(network: NetworkSimulation, four: NetworkSimulation, _: Path) -> None:
    one, two = {sm3(b"1"): sm3(b"a")}, {sm3(b"2"): sm3(b"b")}
    roots = [int.from_bytes(SparseTree(MemoryNodes()).update(some).root, "big") for some in (one, two, one | two)]
    require(roots[0] ^ roots[1] != roots[2], "the root of two entries is the sum of theirs: any root can be forged")


@check
def ciphertexts_have_one_order(network: NetworkSimulation, four: NetworkSimulation, _: Path) -> None:
    key = KEYS[0]
    sealed = reference_engine.encrypt(key.public.bytes, b"a key of 16 bytes")
    try:
        opened = key.decrypt(sealed)
    except Exception as error:
        raise InvariantBroken("the engines write C1, C2 and C3 in different orders") from error
    require(opened == b"a key of 16 bytes", "another plaintext")


# --- execution and replicas ------------------------------------------------------------------------------------------


@check
def an_invented_state_gets_no_vote(network: NetworkSimulation, four: NetworkSimulation, _: Path) -> None:
    producer = four.genesis.institution(four.genesis.validators.producer(1, 0).id)
    four.reset([producer])
    four.publish(four.honest[0])
    liars = ByzantineVoters(four)
    lie = liars.twin(producer, liars.propose(0)[0], state_root=sm3(b"an invented state"))
    refused(lambda: four.voter(four.honest[0]).node.prepare(lie), "a voter believed a header's state root")


@check
def a_chain_is_followed_at_any_time(network: NetworkSimulation, four: NetworkSimulation, _: Path) -> None:
    adversary = Adversary(four, (), linear=True)
    late, *others = four.participants.values()
    for one in others:
        one.fuse.point = ""
    four.split({late.name: 1})
    adversary.go_on()
    require(min(one.node.height for one in others) == 1, "no block to follow")
    four.clock.now += 400 * 24 * 3_600_000
    late.inbox.clear()
    try:
        late.catch_up(others[0])
    except (Refused, Halted) as error:
        raise InvariantBroken(f"a chain a year old is not followed: {error}") from error
    require(late.node.replica.view.head == others[0].node.replica.view.head, "another head")


@check
def the_voters_of_a_height_stay(network: NetworkSimulation, four: NetworkSimulation, _: Path) -> None:
    from ledger.chain.roster import Roster
    from ledger.chain.state import ONLY, ROSTER
    from ledger.chain.view import ChainView

    four.reset()
    view = four.voter(four.honest[0]).node.replica.view
    fallen = replace(view.roster.registration(institution_id(four.honest[1])), standing="revoked")  # type: ignore[type-var]
    roster: Roster = view.roster.with_(fallen)  # type: ignore[arg-type]

    class Fallen(type(view)):  # type: ignore[misc]
        """The same view after one member was revoked."""

        def state(self, kind: int, identity: bytes = ONLY) -> bytes | None:
            return roster.encode() if kind == ROSTER else ChainView.state(view, kind, identity)

    changed = object.__new__(Fallen)
    changed.__dict__.update({key: value for key, value in view.__dict__.items() if key != "validators"})
    require(changed.validators.hash == four.genesis.validators.hash, "a member lost its vote inside an epoch")


@check
def credit_is_no_weight(network: NetworkSimulation, four: NetworkSimulation, _: Path) -> None:
    test_ledger_credit_seats.test_credit_never_changes_a_weight()


@check
def drift_is_cut_off(network: NetworkSimulation, four: NetworkSimulation, _: Path) -> None:
    test_ledger_credit.test_a_negative_fraction_is_cut_off_not_rounded_down()


@check
def a_vote_store_out_of_a_backup_is_noticed(network: NetworkSimulation, four: NetworkSimulation, folder: Path) -> None:
    proposal, certificate = prepared(four)
    one = four.voter(four.honest[0])
    vote = one.node.prepare(proposal)
    one.votes.close()
    for left in four.folder.glob(f"{one.name}.votes*"):
        left.unlink()
    shutil.copy(four.folder / f"{one.name}.empty", four.votes_path(one.name))
    one.start()
    one.node.observe([vote])
    refused(lambda: one.node.commit(certificate, proposal), "a key with an old vote store signed again")


# --- proof files and regions -----------------------------------------------------------------------------------------


def proved(four: NetworkSimulation, max_age: int | None = None) -> tuple[dict[str, object], bytes]:
    """A proof of a record in a batch of three, and its anchor."""
    prepared(four)
    four.flush()
    node = four.voter(four.honest[0]).node
    for name in four.honest:
        four.act(name, four.voter(name).propose)
    four.deliver_kind("proposal", four.participants)
    four.flush()
    require(node.height >= 1, "no block to prove from")
    leaves = Leaves.decode(node.replica.body(1, 0))
    document = node.prove(leaves.record(0)[9:25], 1, four.honest[0])
    return document, four.genesis.anchor(max_age)


@check
def a_proof_names_nothing_itself(network: NetworkSimulation, four: NetworkSimulation, _: Path) -> None:
    document, anchor = proved(four)
    good = json.dumps(document).encode()
    verify_proof(good, anchor)
    batch = document["batch"]
    assert isinstance(batch, dict)
    require(batch["size"] == 3, "expected a batch of three")
    lie = {**document, "batch": {**batch, "size": 4}}
    refused(lambda: verify_proof(json.dumps(lie).encode(), anchor), "a proof chose the size of its own tree")
    twice = good[:-1] + b', "format": ' + json.dumps(document["format"]).encode() + b"}"
    refused(lambda: verify_proof(twice, anchor), "a proof with a doubled key was read")


@check
def an_old_head_is_refused(network: NetworkSimulation, four: NetworkSimulation, _: Path) -> None:
    document, anchor = proved(four, max_age=3_600)
    data = json.dumps(document).encode()
    verify_proof(data, anchor, now_ms=four.clock.now)
    later = four.clock.now + 7_200_000
    refused(lambda: verify_proof(data, anchor, now_ms=later), "a head older than the anchor allows was believed")


REGION = """name: 三家
founded: '2026-11-01T00:00:00+08:00'
institutions:
"""


@check
def a_region_of_three_voters_is_refused(network: NetworkSimulation, four: NetworkSimulation, folder: Path) -> None:
    rows = [f"  - {{id: hospital-{one}, name: 医院, class: A, role: producer, weight: 1}}\n" for one in "abc"]
    path = folder / "region.yaml"
    rows += [
        "  - {id: insurer, name: 保险, class: P, role: member}\n",
        "  - {id: office, name: 局, class: R, role: auditor}\n",
    ]
    path.write_text(REGION + "".join(rows), encoding="utf-8")
    try:
        load_region(path)
    except ConfigurationError as error:
        require("at least 4 must vote" in str(error), f"refused for another reason: {error}")
    else:
        raise InvariantBroken("a region of three voters was founded")


# --- the mutants -----------------------------------------------------------------------------------------------------

_PASSED: set[str] = set()


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_killed(
    name: str, network: NetworkSimulation, four: NetworkSimulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant = MUTANTS[name]
    checks = CHECKS[mutant.killed_by]
    (tmp_path / "as it is").mkdir()
    (tmp_path / "mutant").mkdir()
    if mutant.killed_by not in _PASSED:
        checks(network, four, tmp_path / "as it is")
        _PASSED.add(mutant.killed_by)
    with monkeypatch.context() as patch, pytest.raises(AssertionError):
        mutant.apply(patch)
        checks(network, four, tmp_path / "mutant")


def test_every_check_kills_a_mutant() -> None:
    assert {one.killed_by for one in MUTANTS.values()} == set(CHECKS)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_a_certificate_is_accepted_exactly_where_the_reference_says_so(data: st.DataObject) -> None:
    """Invariant 6: bitmap, order, weight, epoch, every signature."""
    weights = tuple(data.draw(st.lists(st.integers(1, 5), min_size=4, max_size=5)))
    voters, keys = voters_of(weights)
    in_order, message = [one.weight for one in voters.voters], BALLOT.signed_bytes(CHAIN)
    bits = data.draw(st.sampled_from([len(weights), len(weights), len(weights), len(weights) - 1, len(weights) + 3]))
    signers = tuple(sorted(data.draw(st.sets(st.integers(0, bits - 1), min_size=1, max_size=bits))))
    wrong = data.draw(st.sampled_from(["", "", "", "signature", "epoch", "order"]))
    signatures = [keys[one % len(keys)].sign(message) for one in signers]
    ballot = BALLOT
    if wrong == "signature":
        signatures[0] = KEYS[5].sign(message)
    elif wrong == "epoch":
        ballot = replace(BALLOT, epoch=1)
    elif wrong == "order" and len(signers) > 1:
        signatures = signatures[1:] + signatures[:1]
    good = [not wrong or (wrong == "order" and len(signers) == 1)] * len(signers)
    found = accepted(voters, QuorumCertificate(ballot, bits, signers, tuple(signatures)))
    assert found == reference(in_order, bits, signers, good)
