"""Bytes of governance: one encoding of each value, one family of errors, and any history leaves the rules standing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from rule_ledger import AUDITOR, KEYS, PEOPLE, RuleLedger

from ledger.chain.genesis import NUMBERS
from ledger.chain.roster import CLASSES, parties_of
from ledger.chain.state import PARAMETERS, POLICIES, ROSTER
from ledger.chain.transactions import open_transaction
from ledger.chain.validators import institution_id
from ledger.contracts.change import Change
from ledger.contracts.governance import Propose, Vote, count_votes, due_epoch
from ledger.contracts.member_changes import Admit, Freeze, NewWeight, Remove, RotateKey, Thaw
from ledger.contracts.motions import (
    AGAINST,
    CHANGES,
    ENACTED,
    FOR,
    OPEN,
    PASSED,
    STAGES,
    Motion,
    ballots_of,
    change_bytes,
    decode_ballots,
    decode_index,
    encode_ballots,
    encode_index,
    motion_of,
    open_motions,
    read_change,
)
from ledger.contracts.policy import PolicySet, default_policies
from ledger.contracts.rule_changes import NewEngine, NewNumbers, NewRules
from ledger.encoding import Reader
from ledger.errors import Malformed, Refused
from shangmi import sm3

ids, digests, keys, signatures = (st.binary(min_size=n, max_size=n) for n in (16, 32, 64, 64))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
names = st.from_regex(r"\A[a-z][a-z0-9-]{1,20}\Z")
titles = st.text("东城医院abc 123", min_size=1, max_size=20).map(str.strip).filter(bool)
numbers = st.dictionaries(st.sampled_from(NUMBERS), st.integers(0, 2**32 - 1), min_size=1).map(
    lambda found: tuple(sorted(found.items(), key=lambda item: NUMBERS.index(item[0])))
)


@st.composite
def admissions(draw: st.DrawFn) -> Admit:
    class_ = draw(st.sampled_from(CLASSES))
    party = draw(st.sampled_from(parties_of(class_)))
    return Admit(draw(names), draw(titles), class_, party, draw(keys), draw(signatures))


changes: st.SearchStrategy[Change] = st.one_of(
    st.builds(NewRules, digests, texts, texts),
    st.builds(NewNumbers, numbers),
    st.builds(NewEngine, st.from_regex(r"\Acedar-[1-9]\.[0-9]{1,3}\Z")),
    admissions(),
    st.builds(Remove, ids),
    st.builds(Freeze, ids),
    st.builds(Thaw, ids),
    st.builds(RotateKey, ids, keys, signatures),
    st.builds(NewWeight, ids, st.integers(0, 2**32 - 1)),
)
headings = st.fixed_dictionaries(
    {"chain_id": digests, "sender": ids, "key_id": ids, "nonce": ids, "expiry_height": st.integers(0, 2**64 - 1),
     "signature": signatures}
)  # fmt: skip


def test_every_kind_of_change_is_generated() -> None:
    assert set(CHANGES) == {1, 2, 3, 16, 17, 18, 19, 20, 21}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(headings, titles, changes)
def test_every_proposal_reads_back_from_its_one_encoding(heading: dict[str, Any], title: str, change: Change) -> None:
    tx = Propose(**heading, title=title, change=change)
    assert open_transaction(tx.encode()) == tx
    motion = Motion(heading["sender"], title, change, 7, 1, PASSED, 3)
    assert Motion.decode(motion.encode()) == motion


@settings(max_examples=60, deadline=None, derandomize=True)
@given(headings, digests, st.sampled_from([FOR, AGAINST]))
def test_every_vote_reads_back_from_its_one_encoding(heading: dict[str, Any], proposal: bytes, choice: int) -> None:
    tx = Vote(**heading, proposal=proposal, choice=choice)
    assert open_transaction(tx.encode()) == tx


@settings(max_examples=200, deadline=None, derandomize=True)
@given(headings, titles, changes, st.data())
def test_every_change_of_a_proposals_bytes_is_another_proposal_or_malformed(
    heading: dict[str, Any], title: str, change: Change, data: st.DataObject
) -> None:
    tx = Propose(**heading, title=title, change=change)
    encoded = tx.encode()
    place = data.draw(st.integers(0, len(encoded) - 1))
    mutants = [encoded[:place], encoded + encoded[-1:], encoded[:place] + b"\0" + encoded[place:]]
    mutants.append(
        encoded[:place] + bytes([encoded[place] ^ (1 << data.draw(st.integers(0, 7)))]) + encoded[place + 1 :]
    )
    for mutant in mutants:
        with suppress(Malformed):
            found = open_transaction(mutant)
            assert found.encode() == mutant
            assert mutant == encoded or found != tx


READ_AND_WRITTEN: list[tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = [
    (Motion.decode, Motion.encode),
    (decode_ballots, encode_ballots),
    (decode_index, encode_index),
    (PolicySet.decode, PolicySet.encode),
    *((kind.decode, kind.content) for kind in CHANGES.values()),
]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=300))
def test_any_bytes_are_what_would_have_been_written_or_malformed(data: bytes) -> None:
    for read, write in READ_AND_WRITTEN:
        with suppress(Malformed):
            assert write(read(data)) == data
    with suppress(Malformed):  # what stands behind a change in a proposal is not the change's to read
        assert data.startswith(change_bytes(read_change(Reader(data, "change"))))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.dictionaries(ids, st.sampled_from([FOR, AGAINST]), max_size=8), st.lists(digests, max_size=5, unique=True))
def test_ballots_and_index_read_back(ballots: dict[bytes, int], index: list[bytes]) -> None:
    assert decode_ballots(encode_ballots(ballots)) == ballots
    assert decode_index(encode_index(index)) == index


@pytest.mark.parametrize(
    "wrong",
    [
        b"\0\0\0\2\0\0\0\x11" + bytes(17) + b"\0\0\0\x11" + bytes(17),
        b"\0\0\0\1\0\0\0\x11" + bytes(16) + b"\2",
        b"\0\0\0\1\0\0\0\x10" + bytes(16),
    ],
    ids=["a voter twice", "a choice that is none", "too short"],
)
def test_ballots_that_are_none_are_malformed(wrong: bytes) -> None:
    with pytest.raises(Malformed):
        decode_ballots(wrong)


def test_a_title_that_nobody_sees_and_kinds_nobody_knows_are_malformed() -> None:
    ledger = RuleLedger()
    heading = ledger.heading("hospital-east") | {"signature": bytes(64)}
    good = Propose(**heading, title="x", change=Freeze(bytes(16)))
    for title in ("", " x", "a\nb", "\u202eabc", "x" * 401):
        broken = Propose(**heading, title=title, change=Freeze(bytes(16)))
        with pytest.raises(Malformed):
            Propose.decode(broken.encode())
    assert Propose.decode(good.encode()) == good
    with pytest.raises(Malformed, match="kind 99"):
        read_change(Reader(b"\x63\0\0\0\0", "change"))
    for engine in ("cedar-4", "cedar-04.1", "CEDAR-4.12", "cedar-4.12 ", "4.12"):
        with pytest.raises(Malformed):
            NewEngine.decode(NewEngine(engine).content())


SHIPPED = PolicySet.decode(default_policies())
FORBID = '\n@id("n{0}") @says("x") forbid (principal, action, resource) when {{ principal.credit == {0} }};'
VOTERS = [name for name, (class_, _) in PEOPLE.items() if class_ != "P"]


class Consortium(RuleBasedStateMachine):
    """Any order of proposals, votes and blocks: widening waits, denying does not, and nothing else changes anything."""

    @initialize()
    def found(self) -> None:
        self.ledger = RuleLedger(epoch_blocks=3)
        self.passed: dict[bytes, int] = {}
        self.before = self.standing()

    def standing(self) -> tuple[bytes, bytes, bytes]:
        return (self.ledger.standing(PARAMETERS), self.ledger.standing(POLICIES), self.ledger.standing(ROSTER))

    @rule(who=st.sampled_from(VOTERS), number=st.integers(1, 4), kind=st.integers(0, 4))
    def propose(self, who: str, number: int, kind: int) -> None:
        standing = PolicySet.decode(self.ledger.standing(POLICIES))
        name = institution_id(VOTERS[1 + number])
        change: Change = [
            NewRules(standing.hash, standing.text + FORBID.format(number), standing.schema),
            NewRules(standing.hash, standing.text.replace("credit < 200", f"credit < {number}"), standing.schema),
            NewNumbers((("round_seconds", 20 + number),)),
            Freeze(name),
            Thaw(name),
        ][kind]
        with suppress(Refused):
            self.ledger.propose(change, who)

    @rule(who=st.sampled_from([*PEOPLE, "spare"]), choice=st.sampled_from([FOR, FOR, FOR, AGAINST]), data=st.data())
    def vote(self, who: str, choice: int, data: st.DataObject) -> None:
        waiting = open_motions(self.ledger)
        if not waiting:
            return
        id_ = data.draw(st.sampled_from(waiting))
        motion = motion_of(self.ledger, id_)
        before = self.standing()
        with suppress(Refused):
            self.ledger.vote(id_, who, choice=choice)
        if self.standing() != before:
            assert motion is not None
            assert motion_of(self.ledger, id_).stage == ENACTED
            assert isinstance(motion.change, Freeze | NewRules)
            if isinstance(motion.change, NewRules):
                assert motion.change.text.startswith(PolicySet.decode(before[1]).text)

    @rule()
    def everybody_votes(self) -> None:
        for id_ in open_motions(self.ledger)[:1]:
            for who in VOTERS:
                with suppress(Refused):
                    self.ledger.vote(id_, who)

    @rule(blocks=st.integers(1, 7))
    def grow(self, blocks: int) -> None:
        for _ in range(blocks):
            due = {
                one: motion for one in open_motions(self.ledger)
                if (motion := motion_of(self.ledger, one)).stage == PASSED
            }  # fmt: skip
            last, before, epoch = self.ledger.last_of_epoch, self.standing(), self.ledger.epoch
            self.ledger.close_block()
            made = [one for one in due if motion_of(self.ledger, one).stage == ENACTED]
            assert made == [] or (last and all(due[one].since < epoch for one in made))
            assert self.standing() == before or made

    @invariant()
    def what_stands_hangs_together(self) -> None:
        if not hasattr(self, "ledger"):
            return
        ledger = self.ledger
        assert sm3(ledger.policies) == ledger.parameters.policy_hash
        waiting = open_motions(ledger)
        assert len(waiting) == len(set(waiting)) <= 24
        for one in waiting:
            motion = motion_of(ledger, one)
            assert motion.stage in (OPEN, PASSED)
            if motion.stage == PASSED:
                assert due_epoch(ledger, motion) > motion.since
                assert ledger.epoch <= due_epoch(ledger, motion)
            assert set(ballots_of(ledger, one)) <= {institution_id(name) for name in PEOPLE}
            count = count_votes(ledger, motion.change, ballots_of(ledger, one))
            assert count.suffices == (3 * count.weight > 2 * count.total and count.cosigned)


Consortium.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
test_any_history_of_governance = Consortium.TestCase


def test_the_state_machine_knows_the_regulator_and_every_stage() -> None:
    assert AUDITOR in VOTERS
    assert set(VOTERS) < set(KEYS)
    assert STAGES == ("open", "passed", "enacted", "lapsed", "void")
