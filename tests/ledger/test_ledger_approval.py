"""APPROVAL: what the committee says to a request, who may say it, and each naive way to get around it (section 14)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from region_simulation import MEMBERS
from sharing_world import (
    EAST,
    HOME,
    INSURER,
    LAB,
    REGULATOR,
    WEST,
    MemoryLedger,
    SharingRegion,
    key_of,
)  # fmt: skip

from ledger.chain.receipt import read_receipt
from ledger.chain.rules import ACCEPTED, DENIED, PENDING
from ledger.chain.state import DELIVERY, INSTITUTION, REQUEST, REVOKED, InstitutionState
from ledger.chain.transactions import open_transaction
from ledger.contracts.policy import NO_RULES
from ledger.encoding import u64
from ledger.errors import Malformed
from ledger.messages.access import AccessRequest, request_of
from ledger.messages.approval import Approval, read_approval
from ledger.messages.asked import SelectionAsked
from ledger.messages.delivery import Delivered, overdue
from ledger.messages.request_state import (
    ALLOWED,
    OVERRULED,
    REFUSED,
    VOICE_REASONS,
    WAITING,
    RequestState,
    Verdict,
    Voice,
)
from ledger.proofs.receipt_proving import prove_receipt
from ledger.proofs.receipts import verify_receipt
from ledger.signatory import Submission
from shangmi import PrivateKey, sm3

FILE = sm3(b"what the researcher wrote")


class Waiting:
    """A chain on which WEST's request for part of EAST's and LAB's records waits for the committee since block 7."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()
        self.tx = self.request()
        assert self.ledger.run(self.tx).code == PENDING

    def request(self, **changes: Any) -> AccessRequest:
        standard: dict[str, Any] = {
            "asked": SelectionAsked(FILE, 100), "holders": tuple(sorted((EAST, LAB))), "purpose": "research",
            "answer_key": key_of(WEST), "ethics": sm3(b"ethics approval"),
        }  # fmt: skip
        return AccessRequest(**(self.ledger.heading(WEST) | standard | changes))

    def says(self, member: bytes, **changes: Any) -> Approval:
        return self.ledger.approval(self.tx, member, **changes)

    @property
    def state(self) -> RequestState:
        return RequestState.decode(self.ledger.get(REQUEST, self.tx.tx_id) or b"")

    def delivered(self) -> Delivered:
        return Delivered(
            **self.ledger.heading(EAST), request=self.tx.tx_id, package=FILE, manifest=FILE, records=3, size=9
        )


@pytest.fixture
def chain() -> Waiting:
    return Waiting()


# ---- What it is for ----


def test_two_approvals_let_the_rules_allow_it_and_the_deadline_counts_from_there(chain: Waiting) -> None:
    ledger = chain.ledger
    assert ledger.refuse(chain.delivered()) == "request"
    outcome = ledger.run(chain.says(LAB))
    assert (outcome.code, read_approval(outcome.code, outcome.detail)) == (ACCEPTED, (WAITING, None))
    assert ledger.refuse(chain.delivered()) == "request"
    ledger.height = 90
    outcome = ledger.run(chain.says(REGULATOR))
    stage, verdict = read_approval(outcome.code, outcome.detail)
    assert (stage, outcome.code) == (ALLOWED, ACCEPTED)
    assert verdict is not None and (verdict.allowed, verdict.policies) == (True, ("research.dataset",))
    assert chain.state.voices == (Voice(LAB, True), Voice(REGULATOR, True))
    assert (chain.state.stage, chain.state.height, chain.state.deadline) == (ALLOWED, 90, 100)
    assert ledger.get(DELIVERY, u64(100)) == chain.tx.tx_id
    ledger.height = 100
    assert {one.holder for one in overdue(ledger)} == {EAST, LAB}
    ledger.run(chain.delivered())


def test_what_needs_no_approval_is_allowed_at_once_and_waits_for_nobody(chain: Waiting) -> None:
    ledger = chain.ledger
    tx = AccessRequest(
        **ledger.heading(REGULATOR), asked=SelectionAsked(FILE, 9), holders=(EAST,), purpose="audit",
        answer_key=key_of(REGULATOR),
    )  # fmt: skip
    assert ledger.run(tx).code == ACCEPTED
    assert ledger.refuse(ledger.approval(tx, EAST)) == "request"


def test_two_refusals_close_it_with_their_reasons_and_an_approval_in_between_does_not_count(chain: Waiting) -> None:
    ledger = chain.ledger
    for member, changes in (
        (LAB, {"approves": False, "reason": "too-much"}), (HOME, {}), (EAST, {"approves": False, "reason": "ethics"}),
    ):  # fmt: skip
        assert chain.state.stage == WAITING
        ledger.run(chain.says(member, **changes))
    assert chain.state.stage == REFUSED
    assert [(one.approves, one.reason) for one in chain.state.voices] == [
        (False, "too-much"), (True, ""), (False, "ethics"),
    ]  # fmt: skip
    assert ledger.refuse(chain.says(REGULATOR)) == "request"
    assert ledger.refuse(chain.delivered()) == "request"


def test_the_rules_are_asked_again_and_what_they_say_then_holds(chain: Waiting) -> None:
    ledger = chain.ledger
    ledger.run(chain.says(LAB))
    ledger.policies = b""
    outcome = ledger.run(chain.says(HOME))
    stage, verdict = read_approval(outcome.code, outcome.detail)
    assert (outcome.code, stage) == (DENIED, OVERRULED) and verdict is not None and verdict.reason == NO_RULES
    assert ledger.refuse(chain.says(EAST)) == "request"
    assert ledger.refuse(chain.delivered()) == "request"


def test_delivery_is_judged_with_the_facts_of_the_request_not_with_later_ones(chain: Waiting) -> None:
    ledger = chain.ledger
    ledger.approve(chain.tx, LAB, HOME)
    for number in range(30):
        ledger.run(chain.request(asked=SelectionAsked(sm3(b"%d" % number), 100)))
    again = chain.request(asked=SelectionAsked(sm3(b"once more"), 100))
    assert Verdict.decode(DENIED, ledger.run(again).detail).policies == ("rate.datasets",)
    ledger.run(chain.delivered())


# ---- Naive variants: each is refused, and the state is what it was ----


def test_the_requester_cannot_approve_its_own_request(chain: Waiting) -> None:
    assert chain.ledger.refuse(chain.says(WEST)) == "committee"
    chain.ledger.run(chain.says(LAB))
    assert chain.ledger.refuse(chain.says(WEST)) == "committee"
    assert chain.state.stage == WAITING


def test_one_member_is_not_two_whatever_it_says_the_second_time(chain: Waiting) -> None:
    chain.ledger.run(chain.says(LAB))
    assert chain.ledger.refuse(chain.says(LAB)) == "voice"
    assert chain.ledger.refuse(chain.says(LAB, approves=False, reason="other")) == "voice"
    assert chain.state.voices == (Voice(LAB, True),)


def test_an_approval_of_another_digest_approves_nothing(chain: Waiting) -> None:
    assert chain.ledger.refuse(chain.says(LAB, digest=sm3(b"what was shown instead"))) == "digest"
    other = chain.request(asked=SelectionAsked(sm3(b"another file"), 100))
    chain.ledger.run(other)
    assert chain.ledger.refuse(chain.says(LAB, request=other.tx_id)) == "digest"


def test_who_has_no_seat_on_the_committee_approves_nothing(chain: Waiting) -> None:
    assert chain.ledger.refuse(chain.says(INSURER)) == "committee"
    for standing in ("frozen", "revoked"):
        chain.ledger.stand(LAB, standing)
        assert chain.ledger.refuse(chain.says(LAB)) == "committee"
    chain.ledger.put(INSTITUTION, EAST, InstitutionState(0, key_of(EAST), REVOKED).encode())
    assert chain.ledger.refuse(chain.says(EAST)) == "committee"


def test_who_approved_and_was_frozen_meanwhile_does_not_count(chain: Waiting) -> None:
    chain.ledger.run(chain.says(LAB))
    chain.ledger.stand(LAB, "frozen")
    chain.ledger.run(chain.says(HOME))
    assert chain.state.stage == WAITING
    assert chain.ledger.approve(chain.tx, EAST).allowed


def test_who_refused_and_was_frozen_meanwhile_does_not_count_either(chain: Waiting) -> None:
    chain.ledger.run(chain.says(LAB, approves=False, reason="other"))
    chain.ledger.stand(LAB, "frozen")
    chain.ledger.run(chain.says(HOME, approves=False, reason="other"))
    assert chain.state.stage == WAITING


def test_after_the_deadline_nobody_is_heard_and_its_own_block_is_in_time(chain: Waiting) -> None:
    ledger = chain.ledger
    ledger.height = 7 + 8 * 100 + 1
    assert ledger.refuse(chain.says(LAB)) == "deadline"
    ledger.height -= 1
    ledger.run(chain.says(LAB))


def test_what_is_decided_is_decided(chain: Waiting) -> None:
    chain.ledger.approve(chain.tx, LAB, HOME)
    for says in (chain.says(EAST), chain.says(EAST, approves=False, reason="other"), chain.says(LAB)):
        assert chain.ledger.refuse(says) == "request"


def test_an_approval_of_nothing_or_of_a_denied_request_is_refused(chain: Waiting) -> None:
    assert chain.ledger.refuse(chain.says(LAB, request=sm3(b"no request"))) == "request"
    denied = chain.request(purpose="care", asked=SelectionAsked(sm3(b"another file"), 100))
    assert chain.ledger.run(denied).code == DENIED
    assert chain.ledger.refuse(chain.ledger.approval(denied, LAB)) == "request"


def test_the_same_file_signed_anew_is_no_second_request_as_long_as_the_first_stands(chain: Waiting) -> None:
    ledger = chain.ledger
    assert request_of(ledger, WEST, FILE) == chain.tx.tx_id
    assert ledger.refuse(chain.request()) == "request file"
    ledger.approve(chain.tx, LAB, HOME)
    assert ledger.refuse(chain.request()) == "request file"
    # Another institution cannot take the name of a file away from its requester, nor stand in its place.
    other = replace(chain.request(), **ledger.heading(HOME), answer_key=key_of(HOME))
    assert ledger.run(other).code == DENIED
    assert request_of(ledger, WEST, FILE) == chain.tx.tx_id


def test_a_denied_file_may_be_asked_with_again_once_the_reason_is_gone(chain: Waiting) -> None:
    ledger, policies = chain.ledger, chain.ledger.policies
    file = SelectionAsked(sm3(b"another file"), 100)
    ledger.policies = b""
    denied = chain.request(asked=file)
    assert ledger.run(denied).code == DENIED and request_of(ledger, WEST, file.digest) == denied.tx_id
    ledger.policies = policies
    again = chain.request(asked=file)
    assert ledger.run(again).code == PENDING and request_of(ledger, WEST, file.digest) == again.tx_id


def test_nobody_is_overdue_on_what_waits_or_was_refused(chain: Waiting) -> None:
    chain.ledger.height = 17
    assert overdue(chain.ledger) == []
    chain.ledger.run(chain.says(LAB, approves=False, reason="other"))
    chain.ledger.run(chain.says(HOME, approves=False, reason="other"))
    assert overdue(chain.ledger) == []


def test_a_key_changed_while_it_waited_stops_the_delivery(chain: Waiting) -> None:
    chain.ledger.rekey(WEST, PrivateKey.generate())
    chain.ledger.approve(chain.tx, LAB, HOME)
    assert chain.ledger.refuse(chain.delivered()) == "delivery"


# ---- Bytes ----


def test_a_refusal_without_reason_and_an_approval_with_one_are_malformed(chain: Waiting) -> None:
    for wrong in (chain.says(LAB, approves=False), chain.says(LAB, reason="ethics")):
        with pytest.raises(Malformed):
            open_transaction(wrong.encode() + bytes(64))
    content = chain.says(LAB).encode()
    for ending in (b"\2\0", b"\0" + bytes([len(VOICE_REASONS)])):
        with pytest.raises(Malformed):
            open_transaction(content[:-2] + ending + bytes(64))
    with pytest.raises(Malformed):
        RequestState.decode(replace(chain.state, voices=(Voice(LAB, True), Voice(LAB, False, "other"))).encode())


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 4))
def test_receipts_that_say_two_things_at_once_are_malformed(detail: bytes, code: int) -> None:
    try:
        _, verdict = read_approval(code, detail)
    except Malformed:
        return
    assert verdict is None or verdict.code == code


# ---- On a real chain ----


def submissions(region: SharingRegion) -> Submission:
    key = region.node("hospital-west").heading()["key_id"]
    return region.sign(
        "hospital-west", AccessRequest, asked=SelectionAsked(FILE, 100), holders=(EAST,), purpose="research",
        answer_key=key, ethics=sm3(b"ethics approval"),
    )  # fmt: skip


def test_every_replica_decides_alike_and_a_replayed_approval_has_no_second_effect(mongo: Any, tmp_path: Any) -> None:
    region = SharingRegion(mongo, tmp_path, f"t{sm3(str(tmp_path).encode()).hex()[:12]}")
    try:
        asked = submissions(region)
        region.block_of(asked)
        said = {"request": asked.tx_id, "digest": FILE, "approves": True}
        first = region.sign("lab-centre", Approval, **said)
        region.block_of(first)
        # The same bytes, signed anew, and by the same member as another transaction: none of them enters a block.
        node = region.node("lab-centre")
        again = node.sign(open_transaction(first.tx))  # type: ignore[arg-type]
        twice = region.sign("lab-centre", Approval, **said)
        before = region.snapshot()
        assert region.producer().propose([(first.tx, b""), (again, b""), (twice.tx, b"")]) is None
        assert region.snapshot() == before
        second = region.sign("health-commission", Approval, **said)
        region.block_of(second)
        states = {region.node(one.id).replica.view.state(REQUEST, asked.tx_id) for one in MEMBERS}
        assert len(states) == 1 and RequestState.decode(states.pop() or b"").stage == ALLOWED
        replica = node.replica
        receipts = [verify_receipt(prove_receipt(replica, one.tx_id), region.genesis.anchor(), one.tx_id)
                    for one in (asked, first, second)]  # fmt: skip
        assert [one.outcome.code for one in receipts] == [PENDING, ACCEPTED, ACCEPTED]
        assert read_receipt(replica.receipts(3)[0])[0] == second.tx_id
    finally:
        region.close()
