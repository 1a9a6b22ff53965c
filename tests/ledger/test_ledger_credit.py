"""Credit as section 11 words it: caps, waiver, absence, conviction, drift; roles with hysteresis."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

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
    prepare,
    timeout,
    vote,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.agreement.certificate import assemble_tc
from ledger.chain.state import CREDIT, ONLY, TALLY
from ledger.chain.transactions import open_transaction
from ledger.chain.validators import institution_id, key_id
from ledger.credit.credit import credit_of, tally_of
from ledger.credit.credit_messages import Finding, LateVote, Missed, Violation
from ledger.credit.scoring import CreditState, earned_role, judge, points, toward_zero
from ledger.credit.tally import Confirmed, EpochFacts, Facts, MissedTurn, Tally
from ledger.encoding import u32
from ledger.errors import Malformed, Refused
from shangmi import sm3

ROOT = Path(__file__).parents[2]

# --- the transition --------------------------------------------------------------------------------------------

#: Facts of one epoch and what they are worth, as a person would reckon them from section 11.
WORTH: dict[str, tuple[Facts, int]] = {
    "nothing at all": (Facts(), 0),
    "seven blocks built": (Facts(built=7), 7),
    "building is capped": (Facts(built=33), 10),
    "nine confirmations are none": (Facts(included=9, seats=9), 0),
    "a hundred confirmations": (Facts(included=100, seats=100), 10),
    "confirming is capped": (Facts(included=990, seats=990), 10),
    "one missed turn": (Facts(missed=1), -5),
    "missing is capped": (Facts(missed=9), -25),
    "waived turns": (Facts(waived=9), 0),
    "half of the certificates": (Facts(included=50, seats=100), 5),
    "less than half": (Facts(included=49, seats=100), 4 - 10),
    "two broken builds": (Facts(broken=2), -40),
    "two violations": (Facts(violated=400), -400),
    "two unanswered requests": (Facts(unanswered=2), -40),
    "silence is capped": (Facts(unanswered=50), -100),
    "everything at once": (Facts(20, 40, 100, 2, 0, 1, 100, 1), 10 + 4 - 10 - 10 - 20 - 100 - 20),
}


@pytest.mark.parametrize("case", WORTH)
def test_facts_are_worth_what_section_11_says(case: str) -> None:
    facts, expected = WORTH[case]
    assert sum(number for _, number in points(facts)) == expected


@pytest.mark.parametrize(("score", "drift"), [(0, 12), (549, 1), (551, 0), (600, 0), (649, 0), (650, -1), (1_000, -8)])
def test_drift_goes_to_600_in_fiftieths_without_their_fraction(score: int, drift: int) -> None:
    assert judge(score, Facts()).drift == drift


def test_a_negative_fraction_is_cut_off_not_rounded_down() -> None:
    assert [toward_zero(one, 50) for one in (-51, -50, -49, -1, 0, 1, 49, 50)] == [-1, -1, 0, 0, 0, 0, 0, 1]


def test_a_conviction_takes_all_whatever_else_was_earned() -> None:
    change = judge(873, Facts(built=50, included=100, seats=100, convicted=True))
    assert (change.causes, change.drift, change.after) == ((("convicted", -873),), 12, 12)


FACTS = st.builds(
    Facts,
    st.integers(0, 400), st.integers(0, 400), st.integers(0, 400), st.integers(0, 40), st.integers(0, 40),
    st.integers(0, 5), st.integers(0, 900), st.integers(0, 9), st.booleans(),
)  # fmt: skip


@given(st.integers(0, 1_000), FACTS)
@settings(max_examples=500, derandomize=True)
def test_credit_stays_in_range_and_gains_stay_within_their_caps(score: int, facts: Facts) -> None:
    change = judge(score, facts)
    assert 0 <= change.after <= 1_000
    assert sum(number for _, number in change.causes if number > 0) <= 20
    assert abs(change.drift) <= 12
    assert change.after - score <= 20 + 12
    if facts.convicted:
        assert change.after == 12


@given(st.integers(0, 1_000))
@settings(max_examples=200, derandomize=True)
def test_without_facts_every_score_comes_within_fifty_of_600_and_stays(score: int) -> None:
    distances = [abs(score - 600)]
    for _ in range(200):
        score = judge(score, Facts()).after
        distances.append(abs(score - 600))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 50


@given(st.sampled_from("ABC"), st.integers(0, 1_000), st.sampled_from(("producer", "validator", "member", "suspended")))
@settings(max_examples=400, derandomize=True)
def test_roles_are_entered_high_and_left_low(class_: str, score: int, before: str) -> None:
    role = earned_role(class_, score, before, jailed=False)
    if role == "producer":
        assert class_ == "A" and score >= (500 if before == "producer" else 700)
    elif role == "validator":
        assert score >= (300 if before in ("producer", "validator") else 400)
    else:
        assert role == ("suspended" if score < 200 else "member")
        assert score < 400
    assert earned_role(class_, score, role, jailed=False) == role, "what was earned is not lost at the same score"
    assert earned_role(class_, score, before, jailed=True) in ("member", "suspended")


def test_genesis_producers_keep_their_role_from_600_down_to_500() -> None:
    assert earned_role("A", 600, "producer", jailed=False) == "producer"
    assert earned_role("A", 500, "producer", jailed=False) == "producer"
    assert earned_role("A", 499, "producer", jailed=False) == "validator"
    assert earned_role("A", 600, "validator", jailed=False) == "validator"
    assert earned_role("R", 0, "auditor", jailed=False) == "auditor"
    assert earned_role("P", 900, "member", jailed=False) == "member"


# --- counting blocks -------------------------------------------------------------------------------------------


def facts_of(ledger: DictLedger, name: str) -> Facts:
    return tally_of(ledger).of(institution_id(name))


def test_a_block_counts_for_its_builder_and_for_who_confirmed_it() -> None:
    ledger = DictLedger(epoch_blocks=100)
    ledger.run(5, builder=LAB, absent=[HOME])
    assert facts_of(ledger, LAB) == Facts(built=4, included=4, seats=4)
    assert facts_of(ledger, EAST) == Facts(built=0, included=4, seats=4)
    assert facts_of(ledger, HOME) == Facts(built=0, included=0, seats=4)
    assert facts_of(ledger, AUDITOR) == Facts()


def test_an_epoch_ends_with_the_scores_that_its_blocks_give() -> None:
    ledger = DictLedger(epoch_blocks=100)
    ledger.run(100, builder=LAB, absent=[HOME])
    scores = {one: ledger.credit(one).score for one in (*VOTERS, AUDITOR)}
    assert scores == {EAST: 609, WEST: 609, DISTRICT: 609, LAB: 619, HOME: 590, AUDITOR: 600}
    assert tally_of(ledger).facts == {}
    kept = ledger.get(TALLY, u32(0))
    assert kept is not None
    facts = EpochFacts.decode(kept).facts
    assert facts[institution_id(HOME)] == Facts(0, 0, 99)
    assert facts[institution_id(LAB)] == Facts(99, 99, 99)


def test_the_tally_is_as_long_as_the_heights_still_open_and_no_longer() -> None:
    ledger = DictLedger(epoch_blocks=100, late_blocks=5)
    ledger.run(40, absent=[HOME])
    assert [one.height for one in tally_of(ledger).confirmed] == [35, 36, 37, 38, 39]
    assert len(tally_of(ledger).encode()) < 600


# --- late votes ------------------------------------------------------------------------------------------------


def heading(ledger: DictLedger, name: str = EAST) -> dict[str, object]:
    key = KEYS[name].public.bytes
    return {
        "chain_id": ledger.chain_id, "sender": institution_id(name), "key_id": key_id(key), "nonce": bytes(16),
        "expiry_height": 1_000,
    }  # fmt: skip


def late_vote(ledger: DictLedger, height: int, name: str = HOME, **changes: bytes) -> LateVote:
    final = commit(height, 0, BLOCK_A, epoch=ledger.genesis.epoch(height))
    fields = {
        "vote": vote(ledger, name, final),
        "certificate": certificate(ledger, final, [one for one in VOTERS if one != name]),
    }
    return LateVote(**heading(ledger), **(fields | changes))  # type: ignore[arg-type]


@pytest.fixture
def ledger() -> DictLedger:
    """A chain at height 12 whose certificates all leave the nursing home out."""
    made = DictLedger(epoch_blocks=100, late_blocks=5)
    made.run(11, absent=[HOME])
    return made


def test_a_voter_left_out_of_a_certificate_is_counted_once_and_so_is_who_carries_it(ledger: DictLedger) -> None:
    ledger.execute(late_vote(ledger, 9))
    assert facts_of(ledger, HOME).included == 1
    assert refused(ledger, late_vote(ledger, 9)) == "late vote"
    before = facts_of(ledger, WEST).included
    ledger.end_block(EAST)  # counts height 11; the late vote stands in height 12
    ledger.end_block(WEST)  # counts height 12, built by the west
    assert facts_of(ledger, WEST).included == before + 2 + 1


def test_omission_starves_nobody_whose_votes_come_late() -> None:
    ledger = DictLedger(epoch_blocks=100, late_blocks=5)
    for _ in range(99):
        ledger.end_block(EAST, [HOME])
        if ledger.height > 3:
            ledger.execute(late_vote(ledger, ledger.height - 2))
    ledger.end_block(EAST, [HOME])
    assert ledger.credit(HOME).score == 600 + 9


def refused(ledger: DictLedger, transaction: LateVote | Missed | Finding) -> str:
    """Return the rule that refuses the transaction; the state is what it was."""
    before = dict(ledger.entries)
    with pytest.raises(Refused) as error:
        ledger.execute(transaction)
    assert error.value.section
    assert ledger.entries == before
    return error.value.rule


BAD_LATE_VOTES: dict[str, tuple[str, Callable[[DictLedger], LateVote]]] = {
    "of a height too old": ("late vote", lambda at: late_vote(at, 5)),
    "of a height that is not final": ("late vote", lambda at: late_vote(at, 12)),
    "of a voter that was counted": ("late vote", lambda at: late_vote(at, 9, EAST)),
    "of nobody": ("late vote", lambda at: late_vote(at, 9, vote=vote(at, AUDITOR, commit(9, 0, BLOCK_A)))),
    "no COMMIT": ("late vote", lambda at: late_vote(at, 9, vote=vote(at, HOME, prepare(9, 0, BLOCK_A)))),
    "of another block": (
        "commit certificate",
        lambda at: late_vote(at, 9, vote=vote(at, HOME, commit(9, 0, BLOCK_B))),
    ),
    "of another epoch": ("late vote", lambda at: late_vote(at, 9, vote=vote(at, HOME, commit(9, 0, BLOCK_A, 1)))),
    "under too few": (
        "quorum",
        lambda at: late_vote(at, 9, certificate=certificate(at, commit(9, 0, BLOCK_A), VOTERS[:2])),
    ),
    "signed by another": (
        "vote signature",
        lambda at: late_vote(at, 9, vote=vote(at, HOME, commit(9, 0, BLOCK_A))[:101] + bytes(64) + bytes(4)),
    ),
    "garbage": ("encoding", lambda at: late_vote(at, 9, vote=b"\0")),
}


@pytest.mark.parametrize("case", BAD_LATE_VOTES)
def test_a_late_vote_that_is_none_counts_for_nobody(ledger: DictLedger, case: str) -> None:
    rule, make = BAD_LATE_VOTES[case]
    assert refused(ledger, make(ledger)) == rule


@pytest.mark.parametrize("order", list(permutations((8, 9, 10))))
def test_late_votes_in_any_order_end_in_the_same_state(ledger: DictLedger, order: tuple[int, ...]) -> None:
    for height in order:
        ledger.execute(late_vote(ledger, height))
    assert sm3(tally_of(ledger).encode()).hex() == sm3(IN_ORDER.encode()).hex()


def _in_order() -> Tally:
    made = DictLedger(epoch_blocks=100, late_blocks=5)
    made.run(11, absent=[HOME])
    tally = tally_of(made)
    for height in (8, 9, 10):
        tally = tally.add_late_vote(height, institution_id(HOME))
    return tally


IN_ORDER = _in_order()


# --- missed turns ----------------------------------------------------------------------------------------------


def timeouts(ledger: DictLedger, height: int, round_: int, names: tuple[str, ...] = VOTERS) -> bytes:
    epoch = ledger.genesis.epoch(height)
    votes = [vote(ledger, one, timeout(height, round_, epoch=epoch)) for one in names]
    members = ledger.validators_of(epoch)
    assert members is not None
    found = assemble_tc(votes, ledger.chain_id, members, height, round_, epoch)
    assert found is not None
    return found


def missed(ledger: DictLedger, height: int, round_: int = 0) -> Missed:
    return Missed(**heading(ledger), certificate=timeouts(ledger, height, round_))  # type: ignore[arg-type]


def turn(ledger: DictLedger, height: int, round_: int) -> str:
    return ledger.genesis.institution(ledger.genesis.validators.producer(height, round_).id)


@pytest.fixture
def slow() -> DictLedger:
    """A chain at height 12 of epochs of 20, whose turns are judged three blocks later; the district built it all."""
    made = DictLedger(epoch_blocks=20, late_blocks=3)
    made.run(11, builder=DISTRICT)
    return made


def test_a_missed_turn_costs_five_points_once(slow: DictLedger) -> None:
    slow.execute(missed(slow, 10))
    assert refused(slow, missed(slow, 10)) == "missed turn"
    slow.end_epoch(DISTRICT)
    assert slow.credit(turn(slow, 10, 0)).score == 600 + 1 - 5
    others = {EAST, WEST, LAB} - {turn(slow, 10, 0)}
    assert {slow.credit(one).score for one in others} == {601}


def test_three_timeouts_of_one_height_are_the_networks_fault_in_whatever_order_they_come(slow: DictLedger) -> None:
    for round_ in (2, 0, 1):
        slow.execute(missed(slow, 10, round_))
    slow.end_epoch(DISTRICT)
    assert {slow.credit(one).score for one in (EAST, WEST, LAB)} == {601}


def test_the_third_timeout_alone_shows_the_networks_fault(slow: DictLedger) -> None:
    slow.execute(missed(slow, 10, 2))
    slow.end_epoch(DISTRICT)
    assert {slow.credit(one).score for one in (EAST, WEST, LAB)} == {601}


def test_a_turn_at_an_epochs_end_is_judged_in_the_next_once_nothing_can_be_added(slow: DictLedger) -> None:
    slow.run(8, builder=DISTRICT)
    assert slow.height == 20
    slow.execute(missed(slow, 18))
    slow.end_epoch(DISTRICT)
    assert {slow.credit(one).score for one in (EAST, WEST, LAB)} == {601}, "round 2 of height 18 may still come"
    slow.end_epoch(DISTRICT)
    assert slow.credit(turn(slow, 18, 0)).score == 601 + 2 - 5


def test_missing_many_turns_costs_at_most_twenty_five(slow: DictLedger) -> None:
    for _ in range(8):
        height = slow.height - 2
        if turn(slow, height, 0) == EAST or turn(slow, height, 1) == EAST:
            slow.execute(missed(slow, height, 0 if turn(slow, height, 0) == EAST else 1))
        slow.end_block(DISTRICT)
    slow.end_epoch(DISTRICT)
    assert 600 + 1 - 25 <= slow.credit(EAST).score < 600


def test_who_built_the_final_block_missed_no_turn_of_it() -> None:
    ledger = DictLedger(epoch_blocks=100, late_blocks=5)
    ledger.run(11, builder=EAST)
    height = next(one for one in (8, 9, 10) if turn(ledger, one, 0) == EAST)
    assert refused(ledger, missed(ledger, height)) == "missed turn"


BAD_MISSED: dict[str, tuple[str, Callable[[DictLedger], bytes]]] = {
    "of a height too old": ("missed turn", lambda at: timeouts(at, 5, 0)),
    "of the open height": ("missed turn", lambda at: timeouts(at, 12, 0)),
    "of a height to come": ("height", lambda at: timeouts(at, 13, 0)),
    "of another epoch": ("missed turn", lambda at: timeouts(at, 10, 0)[:13] + b"\0\0\0\1" + timeouts(at, 10, 0)[17:]),
    "with a signature changed": ("certificate signature", lambda at: timeouts(at, 10, 0)[:-2] + b"\1\0"),
    "garbage": ("encoding", lambda _: b"\3"),
}


@pytest.mark.parametrize("case", BAD_MISSED)
def test_a_timeout_certificate_that_is_none_costs_nobody(slow: DictLedger, case: str) -> None:
    rule, make = BAD_MISSED[case]
    assert refused(slow, Missed(**heading(slow), certificate=make(slow))) == rule  # type: ignore[arg-type]


# --- findings --------------------------------------------------------------------------------------------------

CASE = sm3(b"request 7")


def finding(
    ledger: DictLedger, signers: tuple[str, ...] = (AUDITOR, WEST, DISTRICT), forged: str = "", **changes: object
) -> Finding:
    violation = replace(Violation(institution_id(EAST), 1, CASE, 150, 9), **changes)  # type: ignore[arg-type]
    message = violation.signed_bytes(ledger.chain_id)
    signed = [(institution_id(one), KEYS[HOME if one == forged else one].sign(message)) for one in signers]
    return Finding(**heading(ledger, WEST), violation=violation, signatures=tuple(sorted(signed)))  # type: ignore[arg-type]


def test_a_violation_that_an_auditor_and_a_third_of_the_votes_confirm_costs_its_points(ledger: DictLedger) -> None:
    ledger.execute(finding(ledger))
    assert facts_of(ledger, EAST).violated == 150


def test_a_case_costs_once_whatever_it_is_called_the_second_time(ledger: DictLedger) -> None:
    ledger.execute(finding(ledger))
    assert refused(ledger, finding(ledger, kind=2, points=300, height=10)) == "repeated finding"
    assert facts_of(ledger, EAST).violated == 150


BAD_FINDINGS: dict[str, tuple[str, Callable[[DictLedger], Finding]]] = {
    "without an auditor": ("finding", lambda at: finding(at, (WEST, DISTRICT, LAB))),
    "with a third of the votes and no more": ("finding", lambda at: finding(at, (AUDITOR, WEST, HOME))),
    "signed by the accused": ("finding", lambda at: finding(at, (AUDITOR, WEST, EAST))),
    "with a forged signature": ("finding signature", lambda at: finding(at, forged=DISTRICT)),
    "of a height to come": ("finding age", lambda at: finding(at, height=40)),
    "of nobody registered": ("finding", lambda at: finding(at, accused=bytes(16))),
}


@pytest.mark.parametrize("case", BAD_FINDINGS)
def test_a_finding_that_too_few_confirm_costs_nothing(ledger: DictLedger, case: str) -> None:
    rule, make = BAD_FINDINGS[case]
    assert refused(ledger, make(ledger)) == rule


# --- bytes -----------------------------------------------------------------------------------------------------


def test_what_a_decoder_takes_it_would_have_written_and_everything_else_is_malformed(ledger: DictLedger) -> None:
    signature = bytes(64)
    structures: list[tuple[bytes, Callable[[bytes], object]]] = [
        (CreditState(612, "producer", 9, 77).encode(), CreditState.decode),
        (EpochFacts({bytes(16): Facts(1, 2, 3, 4, 5, 6, 7, 8, True)}).encode(), EpochFacts.decode),
        (Confirmed(7, 1, bytes(16), (bytes(16),)).encode(), Confirmed.decode),
        (replace(tally_of(ledger), missed=(MissedTurn(9, 1, bytes(16)),)).encode(), Tally.decode),
        (replace(late_vote(ledger, 9), signature=signature).encode(), open_transaction),
        (replace(missed(ledger, 9), signature=signature).encode(), open_transaction),
        (replace(finding(ledger), signature=signature).encode(), open_transaction),
        (finding(ledger).violation.encode(), Violation.decode),
    ]
    for data, decode in structures:
        again = decode(data)
        assert again.encode() == data  # type: ignore[attr-defined]
        for bad in (*(data[:cut] for cut in range(0, len(data), 5)), data + b"\0"):
            with pytest.raises(Malformed):
                decode(bad)


@given(st.binary(max_size=200))
@settings(max_examples=200, derandomize=True)
def test_any_bytes_are_what_a_decoder_of_credit_would_write_or_malformed(noise: bytes) -> None:
    decoders: list[Callable[[bytes], Any]] = [
        CreditState.decode, Confirmed.decode, Tally.decode, Violation.decode, open_transaction,
    ]  # fmt: skip
    for decode in decoders:
        for data in (noise, b"XL/TALLY/1\0" + noise, b"XL/TX/1\0\x0b" + noise):
            try:
                found = decode(data)
            except Malformed:
                continue
            assert found.encode() == data


# --- the same everywhere ---------------------------------------------------------------------------------------

SCENE = """
from credit_ledger import *
from ledger.chain.state import CREDIT, TALLY
ledger = DictLedger(genesis(epoch_blocks=10, late_blocks=3))
for height in range(1, 35):
    ledger.end_block([EAST, WEST, LAB][height % 3], [HOME] if height % 2 else [])
# Keys are new in each process; scores, facts and alarms hold none.
print("".join(value.hex() for (kind, _), value in sorted(ledger.entries.items()) if kind in (CREDIT, TALLY)))
"""


def test_scores_are_the_same_under_every_hash_seed_time_zone_and_locale() -> None:
    outputs = set()
    for seed, zone, locale in (("0", "UTC", "C"), ("1", "Asia/Shanghai", "C.UTF-8"), ("77", "America/St_Johns", "C")):
        done = subprocess.run(
            [sys.executable, "-c", SCENE], capture_output=True, check=True, timeout=60, text=True,
            env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": locale,
                 "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "plugins", ROOT, ROOT / "tests" / "ledger")))},
        )  # fmt: skip
        outputs.add(done.stdout)
    assert len(outputs) == 1 and len(outputs.pop()) > 200


def test_an_institution_without_credit_begins_at_600_in_its_role() -> None:
    ledger = DictLedger()
    assert credit_of(ledger, institution_id(EAST)) == CreditState(600, "producer", 0, 0)
    assert credit_of(ledger, bytes(16)) == CreditState(600, "member", 0, 0)
    assert ledger.get(CREDIT, ONLY) is None
