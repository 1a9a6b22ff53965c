"""Who sits in the next set: floors, caps and the third that may move hold whatever the facts are (10, 21)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from credit_ledger import AUDITOR, BLOCK_A, BLOCK_B, DISTRICT, EAST, HOME, KEYS, LAB, WEST, DictLedger, prepare, vote
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.chain.roster import CLASS_WEIGHT, Registration
from ledger.chain.state import ACTIVE, CREDIT, INSTITUTION, ONLY, ROSTER, InstitutionState
from ledger.chain.validators import Member, ValidatorSet, institution_id
from ledger.credit.credit import next_set
from ledger.credit.evidence import execute, find_evidence
from ledger.credit.scoring import CreditState, earned_role
from ledger.credit.seats import (
    ALARMS,
    BARRED,
    DELAYED,
    FREE,
    JAILED,
    KEPT_PRODUCER,
    KEPT_VOTER,
    MIN_PRODUCERS,
    MIN_VOTERS,
    TOO_FEW,
    Alarms,
    Candidate,
    assign,
    capped,
)
from ledger.errors import Malformed
from shangmi import PrivateKey

POOL = [PrivateKey.generate().public.bytes for _ in range(14)]


def candidate(number: int, class_: str, score: int, role: str, bar: int = FREE) -> Candidate:
    return Candidate(bytes([number]) * 16, class_, POOL[number], CLASS_WEIGHT[class_], score, role, bar)


def set_of(candidates: list[Candidate]) -> ValidatorSet:
    """A genesis set of everyone who earned a seat, weights capped."""
    weights = capped({one.id: one.weight for one in candidates if one.votes})
    return ValidatorSet(
        Member(
            one.id, one.class_,
            (one.role if weights.get(one.id) else "auditor" if one.class_ == "R" else "member"),
            weights.get(one.id, 0), one.public_key,
        )
        for one in candidates
    )  # fmt: skip


REGION = [
    candidate(0, "A", 600, "producer"), candidate(1, "A", 600, "producer"), candidate(2, "A", 600, "producer"),
    candidate(3, "B", 600, "validator"), candidate(4, "C", 600, "validator"), candidate(5, "R", 600, "auditor"),
]  # fmt: skip


def bounds_hold(before: ValidatorSet, after: ValidatorSet) -> None:
    """Cap, floors and the third, from one epoch to the next."""
    assert max(one.weight for one in after.voters) <= (after.total - 1) // 3
    assert len(after.voters) >= MIN_VOTERS
    assert len(after.producers) >= MIN_PRODUCERS
    assert all(one.weight for one in after.producers)
    then, now = ({one.id: one.weight for one in members.members} for members in (before, after))
    moved = sum(abs(then.get(id_, 0) - now.get(id_, 0)) for id_ in then.keys() | now.keys())
    assert 3 * moved < before.total


def test_without_changes_the_set_stays_as_it_is() -> None:
    present = set_of(REGION)
    seats = assign(REGION, present)
    assert (seats.members.hash, seats.alarms) == (present.hash, ())
    assert [one.weight for one in present.members] == [3, 3, 3, 2, 1, 0]


def test_credit_never_changes_a_weight() -> None:
    present = set_of(REGION)
    rich = [replace(one, score=1_000 if one.id[0] == 0 else 510) for one in REGION]
    assert assign(rich, present).members.hash == present.hash


def test_a_convicted_producer_loses_turn_and_weight_while_the_others_keep_the_bounds() -> None:
    present, fallen = set_of(REGION), [replace(REGION[0], score=12, role="member", bar=JAILED), *REGION[1:]]
    weights = []
    for _ in range(3):
        seats = assign(fallen, present)
        bounds_hold(present, seats.members)
        present = seats.members
        weights.append([one.weight for one in present.members])
        assert [one.id[0] for one in present.producers] == [1, 2, 3], "the best other voter takes the turn"
        assert (KEPT_PRODUCER, REGION[3].id) in seats.alarms
    assert weights == [[1, 3, 3, 2, 1, 0], [0, 2, 2, 2, 1, 0], [0, 2, 2, 2, 1, 0]]


def test_four_voters_stay_even_where_one_of_them_was_convicted_and_an_alarm_says_so() -> None:
    four = [REGION[0], REGION[1], REGION[2], REGION[3]]
    fallen = [replace(four[0], score=12, role="member", bar=JAILED), *four[1:]]
    seats = assign(fallen, set_of(four))
    bounds_hold(set_of(four), seats.members)
    assert (KEPT_VOTER, four[0].id) in seats.alarms


def test_a_roster_too_small_for_agreement_leaves_the_set_as_it_is() -> None:
    present = set_of(REGION)
    seats = assign(REGION[:3], present)
    assert (seats.members.hash, seats.alarms) == (present.hash, ((TOO_FEW, bytes(16)),))


def test_who_left_the_roster_leaves_the_set_within_the_bounds() -> None:
    present = set_of(REGION)
    for _ in range(4):
        seats = assign(REGION[1:], present)
        bounds_hold(present, seats.members)
        present = seats.members
    assert present.member(REGION[0].id) is None


def test_a_newcomer_votes_and_in_time_takes_its_turn() -> None:
    present, newcomer = set_of(REGION), candidate(6, "A", 600, "validator")
    present = assign([*REGION, newcomer], present).members
    assert present.member(newcomer.id) == Member(newcomer.id, "A", "validator", 3, newcomer.public_key)
    proven = replace(newcomer, score=700, role="producer")
    assert newcomer.id in [one.id for one in assign([*REGION, proven], present).members.producers]


def test_empty_turns_go_to_the_best_by_credit_and_then_by_id() -> None:
    weak = [*REGION[:2], replace(REGION[2], score=450, role="validator"), replace(REGION[3], score=900), REGION[4]]
    seats = assign(weak, set_of(REGION[:5]))
    assert [one.id[0] for one in seats.members.producers] == [0, 1, 2], "class A before a better other class"
    gone = [*REGION[:2], replace(REGION[2], bar=JAILED), REGION[3], replace(REGION[4], score=900)]
    assert [one.id[0] for one in assign(gone, set_of(REGION[:5])).members.producers] == [0, 1, 4]


@st.composite
def histories(draw: st.DrawFn) -> list[list[Candidate]]:
    """A consortium of 4 to 14 and what becomes of it over some epochs."""
    classes = ["A"] * draw(st.integers(3, 5)) + draw(st.lists(st.sampled_from("ABCRP"), min_size=1, max_size=9))
    if sum(CLASS_WEIGHT[one] > 0 for one in classes) < MIN_VOTERS:
        classes[-1] = "C"
    roles = {"A": "producer", "B": "validator", "C": "validator", "R": "auditor", "P": "member"}
    founding = [candidate(number, one, 600, roles[one]) for number, one in enumerate(classes)]
    epochs = [founding]
    for _ in range(draw(st.integers(1, 6))):
        following = []
        for one in epochs[-1]:
            score = draw(st.integers(0, 1_000))
            bar = draw(st.sampled_from((FREE, FREE, FREE, FREE, JAILED, BARRED)))
            following.append(
                replace(one, score=score, role=earned_role(one.class_, score, one.role, bar != FREE), bar=bar)
            )
        epochs.append(following)
    return epochs


@given(histories())
@settings(max_examples=150, derandomize=True, deadline=None)
def test_cap_floors_and_the_third_hold_over_every_history(epochs: list[list[Candidate]]) -> None:
    present = set_of(epochs[0])
    bounds_hold(present, present)
    for candidates in epochs[1:]:
        seats = assign(candidates, present)
        bounds_hold(present, seats.members)
        again = assign(list(reversed(candidates)), present)
        assert (again.members.hash, again.alarms) == (seats.members.hash, seats.alarms), "in whatever order they come"
        assert Alarms.decode(Alarms(3, seats.alarms).encode()).alarms == seats.alarms
        for one in candidates:
            if one.bar != FREE and seats.members.member(one.id).weight:  # type: ignore[union-attr]
                assert any(id_ == one.id for _, id_ in seats.alarms), "who votes against its bar is named"
        present = seats.members


@given(histories())
@settings(max_examples=60, derandomize=True, deadline=None)
def test_weights_settle_once_nothing_else_changes(epochs: list[list[Candidate]]) -> None:
    present, settled = set_of(epochs[0]), epochs[-1]
    hashes = [present.hash]
    while len(hashes) < 40 and hashes[-1:] != hashes[-2:-1]:
        seats = assign(settled, present)
        present = seats.members
        hashes.append(present.hash)
    assert hashes[-1] == hashes[-2], "it neither swings nor creeps for ever"
    if len(present.voters) > MIN_VOTERS:
        assert DELAYED not in [reason for reason, _ in seats.alarms]


@given(st.dictionaries(st.integers(0, 40).map(lambda one: bytes([one]) * 16), st.integers(1, 1_000), min_size=4))
@settings(max_examples=200, derandomize=True)
def test_nobody_is_above_the_cap_and_who_is_below_keeps_its_weight(weights: dict[bytes, int]) -> None:
    found = capped(weights)
    cap = (sum(found.values()) - 1) // 3
    assert max(found.values()) <= cap
    assert all(found[id_] == min(weight, max(found.values())) for id_, weight in weights.items())


def test_alarms_that_are_none_are_malformed() -> None:
    data = Alarms(3, tuple((one, bytes(16)) for one in ALARMS)).encode()
    for bad in (data[:-1], data + b"\0", data[:19] + b"\0\0\0\x11\x09" + bytes(16)):
        with pytest.raises(Malformed):
            Alarms.decode(bad)


# --- over the epochs of a chain --------------------------------------------------------------------------------


def convicted(ledger: DictLedger, name: str) -> None:
    height = ledger.height - 1
    votes = [
        vote(ledger, name, prepare(height, 0, one, epoch=ledger.genesis.epoch(height))) for one in (BLOCK_A, BLOCK_B)
    ]
    execute(find_evidence(votes, ledger.voters)[0], ledger)


def test_a_convicted_institution_comes_back_after_jail_with_a_new_key_and_earned_credit() -> None:
    ledger = DictLedger(epoch_blocks=5, jail_epochs=2)
    ledger.run(3)
    convicted(ledger, DISTRICT)
    ledger.end_epoch()
    assert ledger.member(DISTRICT).weight == 0
    assert ledger.credit(DISTRICT).score == 12
    ledger.run(15)
    assert ledger.member(DISTRICT).weight == 0, "out of jail, and still without a key and credit"
    id_ = institution_id(DISTRICT)
    ledger.put(CREDIT, id_, CreditState(450, "member", 2, 4).encode())
    ledger.end_epoch()
    assert ledger.member(DISTRICT).weight == 0, "the convicted key stays revoked"
    value = ledger.get(INSTITUTION, id_)
    assert value is not None
    ledger.put(INSTITUTION, id_, replace(InstitutionState.decode(value), standing=ACTIVE).encode())
    ledger.end_epoch()
    assert (ledger.member(DISTRICT).weight, ledger.member(DISTRICT).role) == (2, "validator")


def test_one_set_is_in_force_at_each_height_and_changes_only_between_epochs() -> None:
    """No height has two quorums of different sets: the set of a height is one value, written once, before it begins."""
    ledger = DictLedger(epoch_blocks=4)
    seen: dict[int, bytes] = {}
    for height in range(1, 30):
        if height in (3, 10):
            convicted(ledger, EAST if height == 3 else HOME)
        assert ledger.validators.hash == seen.setdefault(ledger.epoch, ledger.validators.hash)
        before = ledger.validators.hash
        ledger.end_block()
        if ledger.epoch == ledger.genesis.epoch(height):
            assert ledger.validators.hash == before
    assert len(set(seen.values())) > 1


def test_governance_freezes_a_member_out_of_the_next_epoch() -> None:
    ledger = DictLedger(epoch_blocks=4)
    roster = ledger.roster
    frozen = roster.registration(institution_id(HOME))
    assert frozen is not None
    ledger.put(ROSTER, ONLY, roster.with_(replace(frozen, standing="frozen")).encode())
    ledger.end_epoch()
    assert (ledger.member(HOME).role, ledger.member(HOME).weight) == ("member", 0)
    assert ledger.member(WEST).weight == ledger.member(LAB).weight


def test_an_institution_that_governance_admits_votes_from_the_next_epoch_on() -> None:
    ledger = DictLedger(epoch_blocks=4)
    newcomer = Registration(
        institution_id("hospital-north"), "hospital-north", "北城医院", "B", PrivateKey.generate().public.bytes
    )
    insurer = Registration(institution_id("insurer"), "insurer", "医保中心", "P", PrivateKey.generate().public.bytes)
    ledger.put(ROSTER, ONLY, ledger.roster.with_(newcomer).with_(insurer).encode())
    ledger.end_epoch()
    assert (ledger.member("hospital-north").role, ledger.member("hospital-north").weight) == ("validator", 2)
    assert (ledger.member("insurer").role, ledger.member("insurer").weight) == ("member", 0)


def test_removal_and_registration_anew_wash_no_score_clean() -> None:
    ledger = DictLedger(epoch_blocks=4)
    roster, id_ = ledger.roster, institution_id(HOME)
    ledger.put(CREDIT, id_, CreditState(150, "suspended", 0, 0).encode())
    ledger.put(ROSTER, ONLY, type(roster)(one for one in roster if one.id != id_).encode())
    ledger.end_epoch()
    ledger.put(ROSTER, ONLY, roster.encode())
    ledger.end_epoch()
    assert ledger.credit(HOME).score < 200
    assert next_set(ledger).member(id_).weight == 0  # type: ignore[union-attr]
    assert KEYS[AUDITOR].public.bytes == ledger.member(AUDITOR).public_key
